//! A `fleetcast serve` of a run: its start with nothing of our environment, and the wait until it is ready.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::chaos::leftovers::{self, Leftover};
use crate::http;

/// How one is started.
pub(crate) struct Launch<'a> {
    pub(crate) port: u16,
    pub(crate) internal_port: u16,
    /// Signs the clients' tokens.
    pub(crate) secret: &'a str,
    pub(crate) environment: &'a [(String, String)],
    /// Where its output goes, behind what is there.
    pub(crate) log: &'a Path,
}

impl Launch<'_> {
    /// `command`: the program, or what it is started by.
    pub(crate) fn start(&self, mut command: Command) -> Result<Child> {
        let log = File::options().create(true).append(true).open(self.log)?;
        command
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOST", "127.0.0.1")
            .env("PORT", self.port.to_string())
            .env("INTERNAL_PORT", self.internal_port.to_string())
            .env("JWT_SECRET", self.secret)
            // All clients come from here, and many of them at once.
            .env("MAX_CONNECTIONS_PER_ADDRESS", "0")
            .env("HANDSHAKES_PER_SECOND_PER_ADDRESS", "0")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn();
        let program = command.get_program().display();
        let child = child.with_context(|| format!("cannot start {program}"))?;
        leftovers::add(Leftover::Process(child.id()));
        Ok(child)
    }
}

/// Gives how long it took. `ended`: how the server has ended, if it has.
pub(crate) fn await_ready(
    name: &str,
    port: u16,
    log: &Path,
    within: Duration,
    mut ended: impl FnMut() -> Result<Option<ExitStatus>>,
) -> Result<Duration> {
    let begin = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let log = log.display();
    loop {
        if let Some(status) = ended()? {
            bail!("{name} ended at once with {status}: see {log}");
        }
        if let Ok((200, _)) = http::get(address, "/ready", Duration::from_secs(2)) {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > within {
            bail!("{name} is not ready after {within:?}: see {log}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
