//! A server under test: started on its own core, with what publishes to it, and stopped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::publisher::{KafkaPublisher, Publisher, SocketPublisher};
use crate::chaos::cluster::Cluster;
use crate::chaos::fleet::free_ports;
use crate::chaos::leftovers::{self, Leftover};
use crate::http;
use crate::process::{Usage, threads_cpu, usage};
use crate::test_bed::TestBed;

/// What is compared is not the limits.
const WITHOUT_LIMITS: &[(&str, &str)] = &[
    // A little more than are held: a connection that was reset may still count when its client is back.
    ("MAX_CONNECTIONS", "10500"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ("HANDSHAKES_PER_SECOND_PER_ADDRESS", "0"),
    ("MAX_CONNECTIONS_PER_USER", "0"),
    ("COMMANDS_PER_SECOND", "0"),
];
/// The defaults, for connections from this machine too.
const DEFAULT_LIMITS: &[(&str, &str)] = &[("LIMIT_LOOPBACK", "true")];
const START_TIMEOUT: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 15;
/// The load and Kafka stay off it.
pub(crate) const SERVER_CORE: usize = 0;
/// Of each `EventKind`.
const TOPICS: [&str; 2] = ["transmission", "alert"];
/// Where the Node peer is, below the repository.
pub(crate) const NODE_PEER: &str = "loadgen/peers/node";
pub(crate) const SECRET: &str = "loadgen-bench-secret-of-forty-characters";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    Fleetcast,
    Node,
    Bare,
}

/// One of the servers that are compared.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) label: String,
    pub(crate) kind: ServerKind,
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// With its default limits, else without any that has a setting.
    pub(crate) limited: bool,
}

impl Contestant {
    /// `LABEL=PATH[,NAME=VALUE...]`: a Fleetcast.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not LABEL=PATH[,NAME=VALUE...]");
        let (label, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.split(',');
        let program = PathBuf::from(parts.next().ok_or_else(wrong)?);
        let environment = parts.map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(Self {
            label: label.to_owned(),
            kind: ServerKind::Fleetcast,
            program,
            environment: environment.collect::<Result<_, String>>()?,
            limited: false,
        })
    }

    /// Its program on the servers' core, without arguments and settings. What it prints goes to `log`.
    fn command(&self, log: File) -> Result<Command> {
        let mut command = Command::new("taskset");
        command
            .args(["-c", &SERVER_CORE.to_string()])
            .arg(&self.program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }
}

/// Where servers find what they need.
pub(crate) struct Surroundings<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) directory: &'a Path,
    /// Tells the topics of this run from those of others.
    pub(crate) run: String,
}

impl<'a> Surroundings<'a> {
    pub(crate) fn of(bed: &'a TestBed) -> Self {
        Self {
            cluster: &bed.cluster,
            directory: &bed.directory,
            run: bed.run.clone(),
        }
    }
}

fn create_topics(cluster: &Cluster, prefix: &str) -> Result<()> {
    // So that the producer learns when each record was appended.
    let settings = [("message.timestamp.type", "LogAppendTime")];
    TOPICS.iter().try_for_each(|topic| {
        cluster.create_topic_with(&format!("{prefix}{topic}"), PARTITIONS, &settings)
    })
}

pub(crate) struct Server {
    kind: ServerKind,
    child: Child,
    pub(crate) port: u16,
    internal_port: u16,
    brokers: String,
    prefix: String,
}

impl Server {
    /// `name`: of this start, unlike any other of the run. Waits until it is ready.
    pub(crate) fn start(
        contestant: &Contestant,
        around: &Surroundings<'_>,
        name: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let ports = free_ports(2)?;
        let (port, internal_port) = (ports[0], ports[1]);
        let log_path = around.directory.join(format!("{name}.log"));
        let mut command = contestant.command(File::create(&log_path)?)?;
        let prefix = format!("{}-{name}.", around.run);
        match contestant.kind {
            ServerKind::Fleetcast => {
                create_topics(around.cluster, &prefix)?;
                let limits = if contestant.limited {
                    DEFAULT_LIMITS
                } else {
                    WITHOUT_LIMITS
                };
                command
                    .arg("serve")
                    .env("HOST", "127.0.0.1")
                    .env("PORT", port.to_string())
                    .env("INTERNAL_PORT", internal_port.to_string())
                    .env("JWT_SECRET", SECRET)
                    .envs(limits.iter().copied())
                    .env("KAFKA_BOOTSTRAP_SERVERS", &around.cluster.addresses)
                    .env("KAFKA_TOPIC_PREFIX", &prefix)
                    .envs(more.iter().copied())
                    .envs(contestant.environment.iter().cloned());
            }
            ServerKind::Node => {
                let port = port.to_string();
                command
                    .arg("server.js")
                    .env("PORT", port)
                    .current_dir(NODE_PEER);
            }
            ServerKind::Bare => {
                command.args(["bare", "--port", &port.to_string()]);
            }
        }
        let child = command.spawn().context("cannot run taskset")?;
        leftovers::add(Leftover::Process(child.id()));
        let mut server = Self {
            kind: contestant.kind,
            child,
            port,
            internal_port,
            brokers: around.cluster.addresses.clone(),
            prefix,
        };
        server
            .await_ready()
            .with_context(|| format!("{}: see {}", contestant.label, log_path.display()))?;
        Ok(server)
    }

    fn await_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once with {status}");
            }
            let ready = match self.kind {
                ServerKind::Fleetcast => matches!(
                    http::get(address, "/ready", Duration::from_secs(2)),
                    Ok((200, _))
                ),
                ServerKind::Node | ServerKind::Bare => TcpStream::connect(address).is_ok(),
            };
            if ready {
                return Ok(());
            }
            if begin.elapsed() > START_TIMEOUT {
                bail!("the server is not ready after {START_TIMEOUT:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn publisher(&self) -> Result<Publisher> {
        Ok(match self.kind {
            ServerKind::Fleetcast => Publisher::Kafka(Box::new(KafkaPublisher::connect(
                &self.brokers,
                &self.prefix,
            )?)),
            ServerKind::Node => Publisher::Node(SocketPublisher::connect(self.port)?),
            ServerKind::Bare => Publisher::Bare(SocketPublisher::connect(self.port)?),
        })
    }

    pub(crate) fn kind(&self) -> ServerKind {
        self.kind
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        usage(&self.child.id().to_string())
    }

    /// CPU time of the threads that read Kafka, by their names: only Fleetcast has any.
    pub(crate) fn kafka_cpu(&self) -> Result<Duration> {
        let reads = |name: &str| name.starts_with("rdk:") || name.starts_with("kafka-");
        threads_cpu(&self.child.id().to_string(), reads)
    }

    /// The text of its metrics; nothing if it has none.
    pub(crate) fn metrics(&self) -> Result<String> {
        if self.kind != ServerKind::Fleetcast {
            return Ok(String::new());
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.internal_port));
        let (status, body) = http::get(address, "/metrics", Duration::from_secs(5))?;
        if status != 200 {
            bail!("/metrics answered {status}");
        }
        Ok(body)
    }

    /// Ends it, and gives its topics' space back.
    pub(crate) fn stop(mut self, cluster: &Cluster) -> Result<()> {
        self.end();
        if self.kind == ServerKind::Fleetcast {
            for topic in TOPICS {
                cluster.delete_topic(&format!("{}{topic}", self.prefix))?;
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            let _status = self.child.wait();
        }
        leftovers::remove(&Leftover::Process(self.child.id()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contestant_is_a_label_a_path_and_settings() {
        let parsed = Contestant::parse("off=target/fleetcast,FLEETCAST_LANE=off").expect("valid");
        assert_eq!(parsed.label, "off");
        assert_eq!(parsed.program, Path::new("target/fleetcast"));
        assert_eq!(
            parsed.environment,
            [("FLEETCAST_LANE".to_owned(), "off".to_owned())]
        );
        for wrong in ["target/fleetcast", "off=x,NAME"] {
            assert!(Contestant::parse(wrong).is_err(), "{wrong}");
        }
    }
}
