//! Two servers of one kind, joined by Redis or alone, and who publishes to the first of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{EVENT, ORGANISATION, ROOM};
use crate::bench::server::{NODE_PEER, SECRET};
use crate::chaos::fleet::free_ports;
use crate::chaos::leftovers::{self, Leftover};
use crate::chaos::redis::Redis;
use crate::http;
use crate::process::usage;
use crate::protocol::connect_packet;
use crate::serve::{self, Launch};
use crate::socket::Minter;
use crate::test_bed::TestBed;

const START_TIMEOUT: Duration = Duration::from_mins(1);
const TOKEN_SECONDS: u64 = 3_600;

#[derive(Debug, Clone)]
pub(super) enum Contestant {
    /// The program.
    Fleetcast(PathBuf),
    Node,
}

impl Contestant {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Fleetcast(_) => "fleetcast",
            Self::Node => "node",
        }
    }

    /// What connects a client.
    pub(super) fn connect(&self) -> Result<String> {
        match self {
            Self::Fleetcast(_) => {
                let expires = crate::clock::Clock::start().unix_seconds() + TOKEN_SECONDS;
                let token = Minter::new(SECRET, expires)?.dispatcher("listener", ORGANISATION)?;
                Ok(connect_packet(&token, "", &[]))
            }
            Self::Node => Ok("40".to_owned()),
        }
    }

    /// What publishes one event: a path, and the body with `data`.
    pub(super) fn request(&self, data: &str) -> (&'static str, String) {
        let data = json!({ "text": data });
        match self {
            Self::Fleetcast(_) => {
                let body = json!({
                    "event": EVENT, "organization_id": ORGANISATION, "rooms": [ROOM], "data": data, "volatile": true,
                });
                ("/api/publish", body.to_string())
            }
            Self::Node => {
                let body = json!({ "event": EVENT, "room": ROOM, "data": data });
                ("/publish", body.to_string())
            }
        }
    }

    pub(super) fn start(&self, bed: &TestBed, redis: Option<&Redis>, name: &str) -> Result<Peer> {
        let ports = free_ports(2)?;
        let (port, internal_port) = (ports[0], ports[1]);
        let redis = redis.map(|redis| ("REDIS_URL".to_owned(), redis.url()));
        let log = bed.directory.join(format!("{name}.log"));
        let child = match self {
            Self::Fleetcast(program) => {
                let environment: Vec<_> = [
                    (
                        "KAFKA_BOOTSTRAP_SERVERS".to_owned(),
                        bed.cluster.addresses.clone(),
                    ),
                    ("KAFKA_CREATE_TOPICS".to_owned(), "true".to_owned()),
                    ("KAFKA_TOPIC_PREFIX".to_owned(), format!("{}.", bed.run)),
                ]
                .into_iter()
                .chain(redis)
                .collect();
                let launch = Launch {
                    port,
                    internal_port,
                    secret: SECRET,
                    environment: &environment,
                    log: &log,
                };
                launch.start(Command::new(program))?
            }
            Self::Node => {
                let out = std::fs::File::create(&log)?;
                let child = Command::new("node")
                    .arg("server.js")
                    .env("PORT", port.to_string())
                    .envs(redis)
                    .current_dir(NODE_PEER)
                    .stdin(Stdio::null())
                    .stdout(out.try_clone()?)
                    .stderr(out)
                    .spawn()
                    .context("cannot run node")?;
                leftovers::add(Leftover::Process(child.id()));
                child
            }
        };
        let api = match self {
            Self::Fleetcast(_) => internal_port,
            Self::Node => port,
        };
        let mut peer = Peer { child, port, api };
        match self {
            Self::Fleetcast(_) => {
                let child = &mut peer.child;
                serve::await_ready(name, port, &log, START_TIMEOUT, || Ok(child.try_wait()?))?;
            }
            Self::Node => peer.await_answer()?,
        }
        Ok(peer)
    }
}

/// One running server.
pub(super) struct Peer {
    child: Child,
    pub(super) port: u16,
    /// Where events are published.
    api: u16,
}

impl Peer {
    pub(super) fn api(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.api).into()
    }

    /// Of all its threads, so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        Ok(usage(&self.child.id().to_string())?.cpu)
    }

    fn await_answer(&mut self) -> Result<()> {
        let begin = Instant::now();
        while http::get(self.api(), "/", Duration::from_secs(1)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("node ended at once with {status}: make bench installs what it needs");
            }
            if begin.elapsed() > START_TIMEOUT {
                bail!("node does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            let _status = self.child.wait();
        }
        leftovers::remove(&Leftover::Process(self.child.id()));
    }
}
