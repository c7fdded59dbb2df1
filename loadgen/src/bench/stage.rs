//! A server with its clients and its publisher, and the ways to load it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::event::{EventKind, ORGANISATION, Stamp, write_event};
use super::figures::{Figures, OTHERS, STOLEN};
use super::member::Identity;
use super::publisher::{Linger, Publication, Publisher};
use super::server::{Contestant, SECRET, SERVER_CORE, Server, ServerKind, Surroundings};
use super::swarm::Swarm;
use super::tally::Faults;
use crate::clock::Clock;
use crate::latency::ratio;
use crate::process::{CoreUsage, Usage, core_usage, usage};
use crate::scrape::{Scrape, WRITES};
use crate::socket::Minter;

/// Before something is measured: code is compiled, buffers grow.
pub(crate) const WARM: Duration = Duration::from_secs(1);
/// How long what is missing may take to come.
const DRAIN: Duration = Duration::from_mins(1);
/// How long nothing may come after that.
const QUIET: Duration = Duration::from_millis(300);
/// The longest wait for a socket before the clock is looked at.
const TURN: Duration = Duration::from_millis(10);

/// How many clients there are, in rooms of the same size; neighbours are in different ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Population {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
}

/// A closed loop publishes so that never more than `in_flight` events have not reached everyone, `burst` at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loop {
    pub(crate) in_flight: usize,
    pub(crate) burst: usize,
}

/// An open loop publishes `burst` events at a time, so that it is `rate` a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    pub(crate) rate: usize,
    pub(crate) burst: usize,
}

pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) swarm: Swarm,
    pub(crate) clock: Clock,
    /// Opened when something is published first.
    publisher: Option<Publisher>,
    linger: Linger,
    pub(crate) number: u64,
}

/// What is read at the begin and at the end of a measurement.
struct Sample {
    server: Usage,
    /// CPU time of the server's threads that read Kafka.
    kafka: Duration,
    own: Usage,
    /// Of the server's core, with everyone's work.
    core: CoreUsage,
    deliveries: u64,
    commands: u64,
    at: Instant,
    scrape: Scrape,
}

impl Stage {
    /// Starts the server; its clients are not connected yet.
    pub(crate) fn start(
        contestant: &Contestant,
        around: &Surroundings<'_>,
        name: &str,
        population: Population,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let server = Server::start(contestant, around, name, environment)?;
        let clock = Clock::start();
        let minter = Minter::new(SECRET, clock.unix_seconds() + 7_200)?;
        let identities = (0..population.clients).map(|index| {
            let token = match contestant.kind {
                ServerKind::Fleetcast => minter.dispatcher(&format!("u{index}"), ORGANISATION)?,
                ServerKind::Node | ServerKind::Bare => String::new(),
            };
            Ok(Identity {
                token,
                room: index % population.rooms,
            })
        });
        let identities = identities.collect::<Result<Vec<_>>>()?;
        // One room more, which has no members.
        let swarm = Swarm::new(server.port, clock, identities, population.rooms + 1)?;
        Ok(Self {
            server,
            swarm,
            clock,
            publisher: None,
            linger: Linger::None,
            number: 0,
        })
    }

    /// Connects everyone and subscribes them.
    pub(crate) fn fill(&mut self) -> Result<()> {
        let everyone: Vec<usize> = (0..self.swarm.len()).collect();
        self.swarm.connect(&everyone)?;
        self.swarm.join()?;
        self.wait(Duration::from_millis(500))
    }

    /// Reads what comes, for so long.
    pub(crate) fn wait(&mut self, lasts: Duration) -> Result<()> {
        let until = Instant::now() + lasts;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.swarm.turn(left.min(TURN))?;
        }
        Ok(())
    }

    pub(crate) fn linger(&mut self, linger: Linger) {
        self.linger = linger;
    }

    /// Publishes `count` events of one room together. `tracked`: every member is connected.
    pub(crate) fn publish(
        &mut self,
        kind: EventKind,
        room: usize,
        count: usize,
        tracked: bool,
    ) -> Result<()> {
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => none.insert(self.server.publisher()?),
        };
        let sent_ns = self.clock.now_ns();
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            let stamp = Stamp {
                number: self.number,
                sequence: self.swarm.tally.publish(room, self.number, tracked),
                sent_ns,
            };
            let mut payload = Vec::new();
            write_event(&mut payload, kind, room, stamp);
            events.push(Publication {
                kind,
                room,
                number: self.number,
                payload,
            });
            self.number += 1;
        }
        if let Publisher::Kafka(kafka) = publisher {
            kafka.linger = self.linger;
        }
        publisher.publish(&events)
    }

    /// Keeps so many events in flight.
    pub(crate) fn closed(
        &mut self,
        plan: Loop,
        lasts: Duration,
        mut room: impl FnMut(u64) -> usize,
    ) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < lasts {
            while self.swarm.tally.in_flight + plan.burst <= plan.in_flight {
                let room = room(self.number);
                self.publish(EventKind::Transmission, room, plan.burst, true)?;
            }
            let before = self.swarm.tally.deliveries;
            self.swarm.turn(TURN)?;
            let idle = self.swarm.tally.deliveries == before;
            ensure!(!idle || self.swarm.joined() > 0, "no client is left");
        }
        self.drain()
    }

    /// Keeps so many events in flight: for a while to warm up, then measured.
    pub(crate) fn measure_closed(
        &mut self,
        plan: Loop,
        lasts: Duration,
        room: impl Fn(u64) -> usize,
    ) -> Result<Figures> {
        self.closed(plan, WARM, &room)?;
        self.measured(|stage| stage.closed(plan, lasts, &room))
    }

    /// Publishes at a steady rate: for a while to warm up, then measured until every client has everything.
    pub(crate) fn measure_paced(
        &mut self,
        plan: Paced,
        lasts: Duration,
        room: impl Fn(u64) -> usize,
    ) -> Result<Figures> {
        self.paced(plan, WARM, &room)?;
        self.drain()?;
        self.measured(|stage| {
            stage.paced(plan, lasts, &room)?;
            stage.drain()
        })
    }

    /// Publishes at a steady rate.
    pub(crate) fn paced(
        &mut self,
        plan: Paced,
        lasts: Duration,
        mut room: impl FnMut(u64) -> usize,
    ) -> Result<()> {
        let (begin, mut next) = (Instant::now(), Duration::ZERO);
        let step = Duration::from_secs(1) * u32::try_from(plan.burst)? / u32::try_from(plan.rate)?;
        while next < lasts {
            let Some(left) = next.checked_sub(begin.elapsed()) else {
                let room = room(self.number);
                self.publish(EventKind::Transmission, room, plan.burst, true)?;
                next += step;
                continue;
            };
            self.swarm.turn(left.min(TURN))?;
        }
        self.wait(lasts.saturating_sub(begin.elapsed()))
    }

    /// Waits until every client has everything, a minute at most: what is missing then counts as lost.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let begin = Instant::now();
        while !self.swarm.tally.all_complete() && begin.elapsed() < DRAIN {
            self.wait(Duration::from_millis(5))?;
        }
        if begin.elapsed() >= DRAIN {
            self.swarm.tally.in_flight = 0;
        }
        Ok(())
    }

    /// Measures while `load` runs. What is to be part of it, such as the wait for the last delivery, `load` does itself.
    pub(crate) fn measured(
        &mut self,
        load: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Figures> {
        self.swarm.tally.latencies.clear();
        let before = self.sample(true)?;
        load(self)?;
        let after = self.sample(false)?;
        let mut figures = Figures::default();
        let deliveries = after.deliveries - before.deliveries;
        let served = deliveries + after.commands - before.commands;
        let wall = after.at - before.at;
        let cpu = after.server.cpu.saturating_sub(before.server.cpu);
        let own = after.own.cpu.saturating_sub(before.own.cpu);
        let each_us = |time: Duration| time.as_secs_f64() * 1e6 / ratio(served.max(1), 1);
        figures.set("cpu_us", each_us(cpu));
        figures.set(
            "kafka_us",
            each_us(after.kafka.saturating_sub(before.kafka)),
        );
        figures.set("per_second", ratio(served, 1) / wall.as_secs_f64());
        figures.set("server_busy", cpu.as_secs_f64() / wall.as_secs_f64());
        figures.set("load_busy", own.as_secs_f64() / wall.as_secs_f64());
        let percent = |time: Duration| 100.0 * time.as_secs_f64() / wall.as_secs_f64();
        let busy = after.core.busy.saturating_sub(before.core.busy);
        figures.set(OTHERS, percent(busy.saturating_sub(cpu)));
        let stolen = after.core.stolen.saturating_sub(before.core.stolen);
        figures.set(STOLEN, percent(stolen));
        figures.set("deliveries", ratio(deliveries, 1));
        figures.set("rss_mib", ratio(after.server.rss_kib, 1024));
        if let Some(writes) = after.scrape.growth(&before.scrape, WRITES) {
            figures.set("writes", writes / ratio(deliveries.max(1), 1));
        }
        if !self.swarm.tally.latencies.is_empty() {
            let at = |quantile| {
                ratio(
                    self.swarm.tally.latencies.value_at_quantile(quantile),
                    1_000,
                )
            };
            for (name, quantile) in [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
                figures.set(name, at(quantile));
            }
        }
        Ok(figures)
    }

    fn sample(&self, begin: bool) -> Result<Sample> {
        // Answering costs the server something, which is not to be within the measurement.
        let scrape = || Scrape::parse(self.server.metrics().unwrap_or_default());
        let first = if begin { Some(scrape()) } else { None };
        let (server, own, at) = (self.server.usage()?, usage("self")?, Instant::now());
        let core = core_usage(SERVER_CORE)?;
        Ok(Sample {
            server,
            kafka: self.server.kafka_cpu()?,
            own,
            core,
            deliveries: self.swarm.tally.deliveries,
            commands: self.swarm.tally.commands,
            at,
            scrape: first.unwrap_or_else(scrape),
        })
    }

    /// When the brokers appended each record since the last call; only of Fleetcast.
    pub(crate) fn appended(&mut self) -> Result<Option<std::collections::BTreeMap<u64, u64>>> {
        self.publisher
            .as_mut()
            .map_or(Ok(None), Publisher::appended)
    }

    /// Looks for what was lost and for what should not have come.
    pub(crate) fn faults(&mut self) -> Result<Faults> {
        self.drain()?;
        self.wait(QUIET)?;
        Ok(self.swarm.tally.faults())
    }
}
