//! A server under test: started with the topics of its case, killed, started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::group::MemoryGroup;
use crate::bench::BrokenPromise;
use crate::chaos::cluster::Cluster;
use crate::chaos::fleet::free_ports;
use crate::chaos::leftovers::{self, Leftover};
use crate::http;
use crate::process::{Usage, usage};
use crate::scrape::Scrape;
use crate::serve::{self, Launch};
use crate::socket::Endpoint;

const START_TIMEOUT: Duration = Duration::from_mins(1);
const PARTITIONS: i32 = 6;
/// Of the server's own: made by it, compacted where they must be.
const SERVICE_TOPICS: [(&str, &str); 3] = [
    ("PUBLISH_TOPIC", "publish"),
    ("REVOCATIONS_TOPIC", "revocations"),
    ("GRANTS_TOPIC", "grants"),
];
pub(super) const SECRET: &str = "loadgen-control-secret-of-forty-characters";

/// The topics of one case, which all its servers share.
pub(super) struct Topics<'a> {
    cluster: &'a Cluster,
    prefix: String,
    services: Vec<(&'static str, &'static str)>,
}

impl<'a> Topics<'a> {
    /// Makes that of the records; the others are the server's to make.
    pub(super) fn create(cluster: &'a Cluster, prefix: String) -> Result<Self> {
        let topics = Self {
            cluster,
            prefix,
            services: SERVICE_TOPICS.to_vec(),
        };
        cluster.create_topic(&topics.records(), PARTITIONS)?;
        Ok(topics)
    }

    /// The servers have no topic for this.
    pub(super) fn without(mut self, variable: &str) -> Self {
        self.services.retain(|(name, _)| *name != variable);
        self
    }

    /// Of events named `transmission_started`.
    pub(super) fn records(&self) -> String {
        format!("{}transmission", self.prefix)
    }

    fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let services = self.services.iter();
        let services = services
            .map(|(variable, name)| ((*variable).to_owned(), format!("{}{name}", self.prefix)));
        services.chain([
            ("KAFKA_CREATE_TOPICS".to_owned(), "true".to_owned()),
            ("KAFKA_TOPIC_PREFIX".to_owned(), self.prefix.clone()),
            (
                "KAFKA_BOOTSTRAP_SERVERS".to_owned(),
                self.cluster.addresses.clone(),
            ),
        ])
    }

    /// Gives their space back: the next case wants it.
    pub(super) fn delete(self) -> Result<()> {
        self.cluster.delete_topic(&self.records())?;
        self.services
            .iter()
            .try_for_each(|(_, name)| self.cluster.delete_topic(&format!("{}{name}", self.prefix)))
    }
}

pub(super) struct ControlServer {
    program: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    group: Option<MemoryGroup>,
    child: Option<Child>,
    port: u16,
    internal_port: u16,
}

impl ControlServer {
    /// Starts it and waits until it is ready. `log`: where its output goes.
    pub(super) fn start(
        program: &Path,
        log: PathBuf,
        topics: &Topics<'_>,
        more: &[(&str, &str)],
        group: Option<MemoryGroup>,
    ) -> Result<Self> {
        let ports = free_ports(2)?;
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut server = Self {
            program: program.to_owned(),
            environment: topics.environment().chain(more).collect(),
            log,
            group,
            child: None,
            port: ports[0],
            internal_port: ports[1],
        };
        server.launch()?;
        server.await_ready()?;
        Ok(server)
    }

    /// Starts it, for the first time or after it was killed, on the same ports.
    pub(super) fn launch(&mut self) -> Result<()> {
        let command = match &self.group {
            Some(group) => group.command(&self.program),
            None => Command::new(&self.program),
        };
        let launch = Launch {
            port: self.port,
            internal_port: self.internal_port,
            secret: SECRET,
            environment: &self.environment,
            log: &self.log,
        };
        self.child = Some(launch.start(command)?);
        Ok(())
    }

    /// Gives how long it took.
    pub(super) fn await_ready(&mut self) -> Result<Duration> {
        let (port, log) = (self.port, self.log.clone());
        let ended = || self.ended();
        serve::await_ready("the server", port, &log, START_TIMEOUT, ended)
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        let child = self.child.as_mut().context("the server is down")?;
        Ok(child.try_wait()?)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            if child.kill().is_ok() {
                let _status = child.wait();
            }
            leftovers::remove(&Leftover::Process(child.id()));
        }
    }

    pub(super) fn public(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Serves the HTTP API.
    pub(super) fn internal(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.internal_port).into()
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint> {
        Endpoint::parse(&format!("http://{}", self.public()), "/socket.io/")
    }

    /// An error is a [`BrokenPromise`] where the server has ended by itself.
    pub(super) fn metrics(&mut self) -> Result<Scrape> {
        match self.ask(self.internal(), "/metrics")? {
            (200, body) => Ok(Scrape::parse(body)),
            (status, _) => bail!("/metrics answered {status}"),
        }
    }

    /// What a new client that polls is answered. As for metrics.
    pub(super) fn handshake(&mut self) -> Result<(u16, String)> {
        let path = "/socket.io/?EIO=4&transport=polling";
        self.ask(self.public(), path)
    }

    fn ask(&mut self, address: SocketAddr, path: &str) -> Result<(u16, String)> {
        let answer = http::get(address, path, Duration::from_secs(5));
        if answer.is_err() {
            // One that was killed this moment has not ended yet.
            std::thread::sleep(Duration::from_millis(300));
            if let Some(status) = self.ended()? {
                bail!(BrokenPromise(format!("the server ended with {status}")));
            }
        }
        answer
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        let child = self.child.as_ref().context("the server is down")?;
        usage(&child.id().to_string())
    }

    pub(super) fn group(&self) -> Option<&MemoryGroup> {
        self.group.as_ref()
    }
}

impl Drop for ControlServer {
    /// Whatever happens, nothing of ours is left running.
    fn drop(&mut self) {
        self.kill();
    }
}
