//! The servers under test as child processes, and haproxy in front of them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::http;
use crate::serve::{self, Launch};

use super::leftovers::{self, Leftover};
use super::proxy;

const START_TIMEOUT: Duration = Duration::from_secs(90);

/// What all servers of a fleet are started with.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) binary: PathBuf,
    /// Where logs are written.
    pub(crate) directory: PathBuf,
    /// Signs the clients' tokens.
    pub(crate) secret: String,
    pub(crate) environment: Vec<(String, String)>,
    /// Of the proxy, in bytes.
    pub(crate) buffers: usize,
}

pub(crate) struct Instance {
    number: usize,
    port: u16,
    internal_port: u16,
    child: Option<Child>,
    pub(crate) memory: Memory,
}

/// Of one server, in KiB.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    /// Resident, before the faults.
    before: u64,
    most: u64,
    /// The same without what the window takes.
    pub(crate) before_beside_window: u64,
    pub(crate) most_beside_window: u64,
}

impl Memory {
    fn note(&mut self, resident: u64, window: u64) {
        let beside = resident.saturating_sub(window);
        if self.before == 0 {
            (self.before, self.before_beside_window) = (resident, beside);
        }
        self.most = self.most.max(resident);
        self.most_beside_window = self.most_beside_window.max(beside);
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "{} to {} MiB, beside the window {} to {}",
            self.before / 1024,
            self.most / 1024,
            self.before_beside_window / 1024,
            self.most_beside_window / 1024
        )
    }
}

pub(crate) struct Fleet {
    recipe: Recipe,
    pub(crate) instances: Vec<Instance>,
    proxy: Child,
    pub(crate) proxy_port: u16,
}

impl Fleet {
    /// Starts `count` servers, waits until they are ready, and puts haproxy in front.
    pub(crate) fn start(recipe: Recipe, count: usize) -> Result<Self> {
        let ports = free_ports(count * 2 + 1)?;
        let instances = (0..count).map(|number| Instance {
            number,
            port: ports[number * 2],
            internal_port: ports[number * 2 + 1],
            child: None,
            memory: Memory::default(),
        });
        let mut instances: Vec<Instance> = instances.collect();
        let proxy_port = ports[count * 2];
        for instance in &mut instances {
            instance.launch(&recipe)?;
        }
        let servers = instances.iter();
        let servers: Vec<_> = servers
            .map(|instance| (instance.number, instance.port))
            .collect();
        let proxy = proxy::start(&recipe.directory, proxy_port, &servers, recipe.buffers)?;
        let mut fleet = Self {
            recipe,
            instances,
            proxy,
            proxy_port,
        };
        for number in 0..count {
            fleet.await_ready(number)?;
        }
        Ok(fleet)
    }

    /// Starts a server that is down.
    pub(crate) fn launch(&mut self, number: usize) -> Result<()> {
        self.instances[number].launch(&self.recipe)
    }

    pub(crate) fn await_ready(&mut self, number: usize) -> Result<Duration> {
        let instance = &mut self.instances[number];
        let (name, port) = (format!("server {number}"), instance.port);
        let log = instance.log(&self.recipe);
        let ended = || instance.ended();
        serve::await_ready(&name, port, &log, START_TIMEOUT, ended)
    }

    pub(crate) fn signal(&self, number: usize, signal: &str) -> Result<()> {
        let child = self.instances[number]
            .child
            .as_ref()
            .context("that server is down")?;
        kill(child.id(), signal)
    }

    /// Waits for the end of a server that was asked to stop.
    pub(crate) fn await_end(
        &mut self,
        number: usize,
        within: Duration,
    ) -> Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.instances[number].ended()? {
                self.instances[number].child = None;
                return Ok(Some(status));
            }
            if begin.elapsed() > within {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn cut_at_proxy(&self, number: usize) -> Result<()> {
        proxy::cut(&self.recipe.directory, number)
    }

    /// The value of a metric summed over its series and the servers that answer.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let instances = self.instances.iter();
        instances
            .filter_map(|instance| instance.metric(series))
            .sum()
    }

    /// Notes how much memory each server takes.
    pub(crate) fn weigh(&mut self) {
        for instance in &mut self.instances {
            let Some(child) = &instance.child else {
                continue;
            };
            let usage = crate::process::usage(&child.id().to_string());
            let window = instance.metric("fleetcast_window_bytes");
            if let (Ok(usage), Some(window)) = (usage, window) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a number of bytes"
                )]
                instance.memory.note(usage.rss_kib, window as u64 / 1024);
            }
        }
    }

    /// Ends all in order. Says what did not end as it should.
    pub(crate) fn stop(mut self, within: Duration) -> Result<Vec<String>> {
        let mut complaints = Vec::new();
        for number in 0..self.instances.len() {
            if self.instances[number].child.is_some() {
                self.signal(number, "CONT")?;
                self.signal(number, "TERM")?;
            }
        }
        for number in 0..self.instances.len() {
            if self.instances[number].child.is_none() {
                continue;
            }
            match self.await_end(number, within)? {
                Some(status) if status.success() => {}
                Some(status) => complaints.push(format!("server {number} ended with {status}")),
                None => complaints.push(format!("server {number} did not end within {within:?}")),
            }
        }
        complaints.extend(self.panics());
        Ok(complaints)
    }

    fn panics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for instance in &self.instances {
            let path = instance.log(&self.recipe);
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            if let Some(line) = text.lines().find(|line| line.contains("panicked")) {
                found.push(format!("{}: {line}", path.display()));
            }
        }
        found
    }
}

impl Drop for Fleet {
    /// Whatever happens, nothing of ours is left running.
    fn drop(&mut self) {
        for child in self
            .instances
            .iter_mut()
            .filter_map(|instance| instance.child.as_mut())
        {
            end(child);
        }
        end(&mut self.proxy);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    if child.kill().is_ok() {
        let _status = child.wait();
    }
    leftovers::remove(&Leftover::Process(child.id()));
}

impl Instance {
    fn metric(&self, series: &str) -> Option<f64> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.internal_port));
        let (_, body) = http::get(address, "/metrics", Duration::from_secs(1)).ok()?;
        let like = body.lines().filter(|line| line.starts_with(series));
        let values = like.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Some(values.sum())
    }

    fn log(&self, recipe: &Recipe) -> PathBuf {
        recipe.directory.join(format!("server-{}.log", self.number))
    }

    fn launch(&mut self, recipe: &Recipe) -> Result<()> {
        // Faults make all clients reconnect at once.
        let unlimited = ["MAX_CONNECTIONS_PER_USER", "COMMANDS_PER_SECOND"];
        let unlimited = unlimited.map(|name| (name.to_owned(), "0".to_owned()));
        let launch = Launch {
            port: self.port,
            internal_port: self.internal_port,
            secret: &recipe.secret,
            environment: &[&unlimited[..], &recipe.environment].concat(),
            log: &self.log(recipe),
        };
        self.child = Some(launch.start(Command::new(&recipe.binary))?);
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().context("that server is down")?;
        let status = child.try_wait().context("cannot ask for its status")?;
        if status.is_some() {
            leftovers::remove(&Leftover::Process(child.id()));
        }
        Ok(status)
    }
}

pub(crate) fn kill(pid: u32, signal: &str) -> Result<()> {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .context("cannot run kill")?;
    if !status.success() {
        bail!("kill -{signal} {pid} failed");
    }
    Ok(())
}

/// Fleets that start side by side must not find the same ports.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Ports that are free now, below the range from which the kernel gives ports to clients.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    use rand::seq::SliceRandom;
    let mut candidates: Vec<u16> = (12_000..19_000).collect();
    candidates.shuffle(&mut rand::rng());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = |port: &u16| {
        !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    let found: Vec<u16> = candidates.into_iter().filter(free).take(count).collect();
    if found.len() < count {
        bail!("no free ports");
    }
    taken.extend(&found);
    Ok(found)
}
