//! The Redis of a run: a process of ours, so that it can be killed and paused, and which forgets everything when it ends.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::fleet::{free_ports, kill};
use super::leftovers::{self, Leftover};
use super::namespace::Namespace;
use super::note;
use crate::process::usage;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// It is killed so often while a scenario of another kind runs,
const KILLED_EVERY: Duration = Duration::from_secs(20);
/// and is away for so long.
const AWAY: Duration = Duration::from_secs(4);

pub(crate) struct Redis {
    address: SocketAddr,
    directory: PathBuf,
    /// Where its packets can be dropped.
    namespace: Option<Namespace>,
    child: Option<Child>,
}

impl Redis {
    /// `directory`: for its log. It keeps nothing else.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, free_ports(1)?[0]).into();
        Self::start_at(address, directory, None)
    }

    /// In a network of its own. An error: that cannot be made here, as without root.
    pub(crate) fn start_apart(directory: &Path) -> Result<Self> {
        let namespace = Namespace::make()?;
        let address = (namespace.address(), 6379).into();
        Self::start_at(address, directory, Some(namespace))
    }

    fn start_at(
        address: SocketAddr,
        directory: &Path,
        namespace: Option<Namespace>,
    ) -> Result<Self> {
        let mut redis = Self {
            address,
            directory: directory.to_owned(),
            namespace,
            child: None,
        };
        redis.launch()?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// Starts it, empty, and waits until it takes connections.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let log = self.directory.join("redis.log");
        let log = File::options().create(true).append(true).open(log)?;
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        let child = self
            .program("redis-server")
            .args(["--port", &port.to_string(), "--bind", &host])
            .args(["--save", "", "--appendonly", "no", "--protected-mode", "no"])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start redis-server: make setup installs it")?;
        leftovers::add(Leftover::Process(child.id()));
        self.child = Some(child);
        let begin = Instant::now();
        let address = self.address;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if begin.elapsed() > START_TIMEOUT {
                bail!("redis-server does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        match &self.namespace {
            Some(namespace) => namespace.command(name),
            None => Command::new(name),
        }
    }

    /// A command, as `redis-cli` takes it; `input` is its last argument.
    pub(crate) fn command(&self, arguments: &[&str], input: &[u8]) -> Result<()> {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        let mut child = self
            .program("redis-cli")
            .args(["-h", &host, "-p", &port.to_string(), "-x"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run redis-cli: make setup installs it")?;
        let mut stdin = child.stdin.take().context("its input")?;
        stdin.write_all(input)?;
        drop(stdin);
        let status = child.wait()?;
        ensure!(status.success(), "redis-cli {} failed", arguments.join(" "));
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("Redis is down")?;
        child.kill().context("cannot kill Redis")?;
        child.wait()?;
        leftovers::remove(&Leftover::Process(child.id()));
        Ok(())
    }

    /// Of all its threads, so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let child = self.child.as_ref().context("Redis is down")?;
        Ok(usage(&child.id().to_string())?.cpu)
    }

    /// STOP or CONT.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        kill(self.child.as_ref().context("Redis is down")?.id(), signal)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(error) = self.kill()
        {
            note(&format!("Redis may be left over: {error:#}"));
        }
    }
}

/// Kills it over and over while something else is tested.
pub(crate) struct RedisKiller {
    stop: Sender<()>,
    thread: JoinHandle<Result<u32>>,
}

impl RedisKiller {
    pub(crate) fn start(mut redis: Redis) -> Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || {
                let mut killed = 0;
                while !is_stopped(&stopped, KILLED_EVERY) {
                    redis.kill()?;
                    killed += 1;
                    let over = is_stopped(&stopped, AWAY);
                    redis.launch()?;
                    if over {
                        break;
                    }
                }
                Ok(killed)
            })?;
        Ok(Self { stop, thread })
    }

    /// How often it was killed.
    pub(crate) fn stop(self) -> Result<u32> {
        drop(self.stop);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread that kills Redis panicked"))?
    }
}

fn is_stopped(stopped: &Receiver<()>, within: Duration) -> bool {
    stopped.recv_timeout(within) != Err(RecvTimeoutError::Timeout)
}
