//! The threads of an attack: bounded in number and in time, and behind all others on the load's core.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use serde::Serialize;

use super::kind::Attack;
use super::wire::{Opening, Wire, is_end, is_silence};
use super::{handshakes, messages, sessions};
use crate::protocol::connect_packet;
use crate::socket::Minter;

/// The clients of the measurement and Kafka share the core with the attackers: they are to have it first.
const NICE: i32 = 10;
/// After a refusal: an attacker does not wait for a `Retry-After`.
const PAUSE: Duration = Duration::from_millis(20);
/// For what becomes of a CONNECT: a server may keep the answer for seconds to slow an attacker down, who does not wait for it.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// Organisation of attackers that need none of the neighbours' records.
const ORGANISATION: &str = "attackers";

/// What the attackers of one attack have in common.
pub(super) struct Arms {
    pub(super) port: u16,
    pub(super) minter: Minter,
    /// Signs with another secret than the server's.
    pub(super) forger: Minter,
    /// The packet that connects with the oldest cursor; only for [`Attack::Resumes`].
    pub(super) resume: String,
}

/// What an attack came to.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Spoils {
    /// Connections, requests or frames, as the attack counts them.
    pub(super) sent: u64,
    /// By HTTP status; 101 is an open WebSocket.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Connections that the server has ended.
    pub(super) closed: u64,
    /// Not answered, or not taken: a request within 2 s, a CONNECT within 0.1 s.
    pub(super) silent: u64,
}

impl Spoils {
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.closed += other.closed;
        self.silent += other.silent;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

/// One thread of an attack.
pub(super) struct Attacker<'a> {
    pub(super) arms: &'a Arms,
    /// Of this thread.
    pub(super) index: u16,
    threads: u16,
    own: Ipv4Addr,
    until: Instant,
    lasts: Duration,
    stop: &'a AtomicBool,
    pub(super) spoils: Spoils,
}

/// Starts the attack's threads. They end after `lasts`, or when `stop` is set.
pub(super) fn launch<'scope>(
    scope: &'scope Scope<'scope, '_>,
    attack: Attack,
    arms: &'scope Arms,
    lasts: Duration,
    stop: &'scope AtomicBool,
) -> Result<Vec<ScopedJoinHandle<'scope, Result<Spoils>>>> {
    let until = Instant::now() + lasts;
    let threads = attack.threads();
    let start = |index| {
        let host = if attack.has_many_addresses() {
            index
        } else {
            0
        };
        let attacker = Attacker {
            arms,
            index,
            threads,
            own: Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(host)?),
            until,
            lasts,
            stop,
            spoils: Spoils::default(),
        };
        let thread = std::thread::Builder::new().name(format!("attacker-{index}"));
        let handle = thread.spawn_scoped(scope, move || attacker.run(attack))?;
        Ok(handle)
    };
    (0..threads).map(start).collect()
}

impl Attacker<'_> {
    fn run(mut self, attack: Attack) -> Result<Spoils> {
        setpriority_process(Some(gettid()), NICE).context("cannot lower a thread's priority")?;
        let act = match attack {
            Attack::Connections => handshakes::keep_open,
            Attack::Churn => handshakes::churn,
            Attack::ForgedAddress => handshakes::forge,
            Attack::RandomSids => handshakes::random_sids,
            Attack::SlowBodies => handshakes::slow_bodies,
            Attack::Frames => messages::frames,
            Attack::TinyPackets => messages::tiny_packets,
            Attack::Commands => messages::commands,
            Attack::BadTokens => sessions::bad_tokens,
            Attack::Resumes => sessions::resumes,
            Attack::OneUser => sessions::one_user,
        };
        act(&mut self).with_context(|| format!("an attacker of {}", attack.name()))?;
        Ok(self.spoils)
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Acts so often in a second, all threads together; less often if the server does not keep up.
    pub(super) fn paced(
        &mut self,
        per_second: u32,
        mut act: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let step = Duration::from_secs(1) * u32::from(self.threads) / per_second;
        // So that the threads do not act in the same moment.
        let mut next = Instant::now() + step * u32::from(self.index) / u32::from(self.threads);
        while !self.is_over() {
            let now = Instant::now();
            if let Some(left) = next.checked_duration_since(now) {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                continue;
            }
            act(self)?;
            // What the server was too slow for is not made up for all at once.
            next = (next + step).max(now.checked_sub(step * 10).unwrap_or(now));
        }
        Ok(())
    }

    /// The rate at which so many are through when the attack ends.
    pub(super) fn rate_of(&self, count: u32) -> u32 {
        count / u32::try_from(self.lasts.as_secs().max(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn connect(&self) -> io::Result<Wire> {
        Wire::connect(self.own, self.arms.port)
    }

    /// A WebSocket, and whether its namespace is connected, which the server has so long for; `None`: it was refused, and there
    /// was a pause.
    pub(super) fn session(
        &mut self,
        connect: &str,
        patience: Duration,
    ) -> Result<Option<(Wire, bool)>> {
        let opened = Wire::session(self.own, self.arms.port, connect, patience);
        let Some(opened) = self.done(opened)? else {
            pause();
            return Ok(None);
        };
        self.status(match opened {
            Opening::Status(status) => status,
            _ => 101,
        });
        match opened {
            Opening::Connected(wire) => return Ok(Some((wire, true))),
            Opening::Waiting(wire) => {
                self.spoils.silent += 1;
                return Ok(Some((wire, false)));
            }
            Opening::Closed => self.spoils.closed += 1,
            Opening::Status(_) => {}
        }
        pause();
        Ok(None)
    }

    /// A session of a user of the attackers' organisation, with a connected namespace.
    pub(super) fn own_session(&mut self) -> Result<Option<Wire>> {
        let user = format!("attacker-{}", self.index);
        let token = self.arms.minter.dispatcher(&user, ORGANISATION)?;
        let opened = self.session(&connect_packet(&token, "", &[]), PATIENCE)?;
        Ok(opened.and_then(|(wire, connected)| connected.then_some(wire)))
    }

    pub(super) fn status(&mut self, status: u16) {
        *self.spoils.statuses.entry(status).or_default() += 1;
    }

    /// `None`: the server has ended the connection, or is silent, which is counted.
    pub(super) fn done<T>(&mut self, result: io::Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_end(&error) => {
                self.spoils.closed += 1;
                Ok(None)
            }
            Err(error) if is_silence(&error) => {
                self.spoils.silent += 1;
                Ok(None)
            }
            Err(error) => bail!(error),
        }
    }
}

pub(super) fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spoils_are_added_by_status() {
        let one = |status, sent| Spoils {
            sent,
            statuses: [(status, 2)].into(),
            closed: 1,
            silent: 0,
        };
        let mut all = one(101, 5);
        all.add(&one(429, 3));
        all.add(&one(429, 1));
        assert_eq!(all.sent, 9);
        assert_eq!(all.closed, 3);
        assert_eq!(all.statuses, BTreeMap::from([(101, 2), (429, 4)]));
    }
}
