//! What is done to servers and brokers while records flow.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::Serialize;
use tokio::sync::watch;

use crate::clock::Clock;

use super::cluster::Cluster;
use super::fleet::Fleet;
use super::habit::Habit;
use super::note;
use super::part::{Orders, Shared};
use super::producer::Book;
use super::recovery::Fault;
use super::redis::Redis;
use super::scenario::{CROWDED_LEAST, Form, NOISY_LEAST, STALL_AFTER, Scenario};
use super::seating::Seating;
use super::verdict::Permit;

/// Why a server closes a connection whose client does not read: nothing could be written for long, or the answer to a ping
/// stayed away first. What the buffers on the way hold decides which.
const UNREAD: [&str; 2] = ["write_stall", "heartbeat"];

/// Clients that read nothing, and whether the servers close them.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Stalls {
    /// Never again.
    pub(crate) for_good: usize,
    /// For a while, and those.
    pub(crate) all: usize,
    /// Connections that the servers say they closed for one of the [`UNREAD`] reasons. They do not say whose: one that read a
    /// trickle counts as well, and may stand here for one that read nothing.
    pub(crate) closed: f64,
    /// After so long those read on that have not stopped for good.
    #[serde(skip)]
    pub(crate) lasts: Duration,
    /// From the moment at which they stopped until so many were closed.
    pub(crate) closed_after_ms: Option<u64>,
}

impl Stalls {
    pub(crate) fn expected(scenario: Scenario, form: Form, seconds: u64, clients: usize) -> Self {
        let mut stalls = Self::default();
        for index in 0..clients {
            match scenario.habit(index, form, seconds) {
                Habit::StopForGood { .. } => {
                    stalls.for_good += 1;
                    stalls.all += 1;
                }
                Habit::Stop { lasts, .. } => {
                    stalls.all += 1;
                    stalls.lasts = lasts;
                }
                _ => {}
            }
        }
        stalls
    }
}

/// Everything that can be broken, and the record of what was.
pub(crate) struct World<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) cluster: &'a Cluster,
    pub(crate) redis: Option<Redis>,
    pub(crate) book: Arc<Book>,
    pub(crate) seating: Arc<Seating>,
    pub(crate) orders: &'a watch::Sender<Orders>,
    pub(crate) shared: &'a Shared,
    pub(crate) clock: Clock,
    /// Of the scenario, for what is noted.
    pub(crate) name: String,
    pub(crate) random: SmallRng,
    pub(crate) form: Form,
    /// Faults are over by then.
    pub(crate) until: Instant,
    /// Topic names have this in front.
    pub(crate) prefix: String,
    /// What its records call themselves.
    pub(crate) run: String,
    pub(crate) drain: Duration,
    pub(crate) faults: Vec<Fault>,
    pub(crate) permits: Vec<Permit>,
    pub(crate) stalls: Stalls,
    /// Promises that were broken and that no client sees.
    pub(crate) complaints: Vec<String>,
}

pub(super) fn wait(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

impl World<'_> {
    pub(crate) fn run(&mut self, scenario: Scenario) -> Result<()> {
        match scenario {
            Scenario::Crowded => {
                self.permit(None, &["evicted"], CROWDED_LEAST);
                self.watch(scenario.name());
                Ok(())
            }
            Scenario::Noisy => {
                self.permit(Some(0), &["evicted"], NOISY_LEAST);
                self.watch(scenario.name());
                Ok(())
            }
            Scenario::Cuts | Scenario::Slow | Scenario::Away => {
                self.watch(scenario.name());
                Ok(())
            }
            Scenario::Kill => self.kill(),
            Scenario::Rolling => self.rolling(),
            Scenario::Pause => self.pause(),
            Scenario::Kafka => self.kafka(),
            Scenario::Leader => self.leader(),
            Scenario::Topics => self.topics(),
            Scenario::Storm => {
                self.storm();
                Ok(())
            }
            Scenario::Burst => self.burst(),
            Scenario::Redis => self.redis_outages(),
        }
    }

    pub(super) fn begin(&mut self, name: &str) {
        let epoch = self.shared.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        self.note(name);
        self.faults.push(Fault {
            name: name.to_owned(),
            begin_ns: self.clock.now_ns(),
            end_ns: u64::MAX,
            epoch,
        });
    }

    pub(super) fn end(&mut self) {
        let now = self.clock.now_ns();
        self.shared.ended_ns.store(now, Ordering::Relaxed);
        self.shared.epoch.fetch_add(1, Ordering::Relaxed);
        if let Some(fault) = self.faults.last_mut() {
            fault.end_ns = now;
        }
    }

    /// From now on it is right to tell a client to resync for one of these reasons, if it has missed so much.
    pub(super) fn permit(
        &mut self,
        organisation: Option<u16>,
        reasons: &'static [&'static str],
        least: Duration,
    ) {
        let room = organisation.map(|number| self.seating.organisation_room(number));
        self.permits.push(Permit {
            organisation: room.map(|room| self.seating.name(room).0),
            from_ns: self.clock.now_ns(),
            until_ns: u64::MAX,
            reasons,
            least_ns: u64::try_from(least.as_nanos()).unwrap_or(u64::MAX),
        });
    }

    pub(super) fn note(&self, text: &str) {
        note(&format!("{}: {text}", self.name));
    }

    /// Time for so much more.
    pub(super) fn has(&self, seconds: u64) -> bool {
        self.until.saturating_duration_since(Instant::now()) >= Duration::from_secs(seconds)
    }

    /// The clients do it themselves.
    fn watch(&mut self, name: &str) {
        self.begin(name);
        let begin = Instant::now();
        while self.has(1) && !self.is_past_stalls(begin) {
            self.look(begin);
        }
        self.end();
        while self.has(1) {
            self.look(begin);
        }
    }

    /// Those that stopped read on, all at once, and are given all that they have missed: a load of another kind.
    fn is_past_stalls(&self, begin: Instant) -> bool {
        self.stalls.all > 0 && begin.elapsed() >= STALL_AFTER + self.stalls.lasts
    }

    fn look(&mut self, begin: Instant) {
        self.fleet.weigh();
        if self.stalls.all > 0 {
            self.watch_stalls(begin);
        }
        wait(1);
    }

    fn watch_stalls(&mut self, begin: Instant) {
        let stalls = &mut self.stalls;
        stalls.closed = UNREAD
            .map(|reason| format!("fleetcast_disconnects_total{{reason=\"{reason}\"}}"))
            .iter()
            .map(|series| self.fleet.metric(series))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a few clients")]
        if stalls.closed >= stalls.all as f64 && stalls.closed_after_ms.is_none() {
            let after = begin.elapsed().saturating_sub(STALL_AFTER);
            stalls.closed_after_ms = u64::try_from(after.as_millis()).ok();
        }
    }

    fn one_of(&mut self) -> usize {
        self.random.random_range(0..self.fleet.instances.len())
    }

    fn kill(&mut self) -> Result<()> {
        while self.has(10) {
            let number = self.one_of();
            self.begin("kill -9");
            self.fleet.signal(number, "KILL")?;
            self.fleet.await_end(number, Duration::from_secs(5))?;
            let down = self.random.random_range(500..4_000);
            std::thread::sleep(Duration::from_millis(down));
            self.fleet.launch(number)?;
            let took = self.fleet.await_ready(number)?;
            self.end();
            note(&format!(
                "  server {number} is ready again after {} ms",
                took.as_millis()
            ));
            wait(self.form.pick(5, 12));
        }
        Ok(())
    }

    fn rolling(&mut self) -> Result<()> {
        loop {
            for number in 0..self.fleet.instances.len() {
                if !self.has(self.drain.as_secs() + 4) {
                    return Ok(());
                }
                self.begin("SIGTERM");
                let begin = Instant::now();
                self.fleet.signal(number, "TERM")?;
                let allowed = self.drain + Duration::from_secs(5);
                match self.fleet.await_end(number, allowed)? {
                    Some(status) if status.success() => {
                        note(&format!(
                            "  server {number} has ended after {} ms",
                            begin.elapsed().as_millis()
                        ));
                    }
                    Some(status) => self
                        .complaints
                        .push(format!("server {number} ended with {status} after SIGTERM")),
                    None => {
                        self.complaints.push(format!(
                            "server {number} has not ended {allowed:?} after SIGTERM"
                        ));
                        self.fleet.signal(number, "KILL")?;
                        self.fleet.await_end(number, Duration::from_secs(5))?;
                    }
                }
                self.fleet.launch(number)?;
                self.fleet.await_ready(number)?;
                self.end();
                wait(2);
            }
        }
    }

    fn pause(&mut self) -> Result<()> {
        let seconds = self.form.pick(7, 30);
        for round in 0.. {
            if !self.has(seconds + 4) {
                break;
            }
            let number = self.one_of();
            self.begin(if round % 2 == 0 {
                "SIGSTOP"
            } else {
                "SIGSTOP, cut by haproxy"
            });
            self.fleet.signal(number, "STOP")?;
            wait(2);
            if round % 2 == 1 {
                self.fleet.cut_at_proxy(number)?;
            }
            wait(seconds - 2);
            self.fleet.signal(number, "CONT")?;
            self.end();
            wait(self.form.pick(4, 12));
        }
        Ok(())
    }

    fn kafka(&mut self) -> Result<()> {
        let outages: &[(&str, &str, &str, u64)] = match self.form {
            Form::Short => &[
                ("pause", "resume", "broker paused", 8),
                ("kill", "start", "broker killed", 8),
                ("stop", "start", "broker stopped", 8),
            ],
            Form::Long => &[
                ("pause", "resume", "broker paused", 60),
                ("kill", "start", "broker killed", 120),
                ("stop", "start", "broker stopped", 240),
            ],
        };
        for (down, up, name, seconds) in outages {
            if !self.has(seconds + 6) {
                self.note("no time for the rest");
                break;
            }
            self.begin(name);
            self.cluster.act(down, 1)?;
            wait(*seconds);
            self.cluster.act(up, 1)?;
            self.end();
            wait(self.form.pick(5, 30));
        }
        Ok(())
    }

    fn leader(&mut self) -> Result<()> {
        let topic = format!("{}transmission", self.prefix);
        while self.has(15) {
            let node = self.cluster.leader(&topic, 0)?;
            self.begin("leader killed");
            self.cluster.act("kill", node)?;
            wait(self.form.pick(6, 20));
            self.cluster.act("start", node)?;
            self.end();
            wait(self.form.pick(4, 15));
        }
        Ok(())
    }

    fn storm(&mut self) {
        while self.has(8) {
            self.begin("all cut at once");
            self.orders.send_modify(|orders| orders.storms += 1);
            wait(self.form.pick(6, 25));
            self.end();
            wait(2);
        }
    }

    fn burst(&mut self) -> Result<()> {
        while self.has(10) {
            self.begin("burst");
            let before = Instant::now();
            self.book
                .burst(self.seating.burst_room(), self.form.pick(5_000, 20_000));
            while self.book.bursting() {
                if before.elapsed() > Duration::from_secs(30) {
                    bail!("the burst does not end");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            self.note(&format!("sent in {} ms", before.elapsed().as_millis()));
            wait(5);
            self.end();
            wait(self.form.pick(3, 10));
        }
        Ok(())
    }
}
