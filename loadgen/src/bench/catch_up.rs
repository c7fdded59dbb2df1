//! Cases in which clients were away and catch up: what it costs the others, how long it takes, and the memory that it leaves.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::BrokenPromise;
use super::cases::{CaseContext, quantile_ms, scattered};
use super::event::EventKind;
use super::figures::Figures;
use super::publisher::Linger;
use super::stage::{Paced, Population, Stage};
use super::tally::Seen;
use crate::latency::ratio;

/// For a catch-up of all; then something is lost.
const PATIENCE: Duration = Duration::from_mins(2);
/// Connections that are opened between two looks at what has come: one takes about 50 us.
const OPENED_AT_ONCE: usize = 8;
/// Clients that catch up at a time when memory is measured.
const WAVE: usize = 500;
/// Events of 500 bytes: 1 MB.
const MISSED_MEGABYTE: usize = 2_000;
/// Events that each client misses in the other cases.
const MISSED: usize = 300;

/// RSS per client before and after each has been replayed 1 MB.
pub(crate) fn memory(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let population = Population {
        clients: 10_000,
        rooms: 1,
    };
    let mut stage = context.stage(population, &[("FLEETCAST_WINDOW", "900")])?;
    let empty = stage.server.usage()?.rss_kib;
    stage.swarm.keep_cursors = true;
    stage.fill()?;
    stage.wait(Duration::from_secs(2))?;
    let idle = stage.server.usage()?.rss_kib;
    let everyone: Vec<usize> = (0..population.clients).collect();
    stage.swarm.cut(&everyone)?;
    stage.linger(Linger::Millisecond);
    for _ in 0..MISSED_MEGABYTE {
        stage.publish(EventKind::Transmission, 0, 1, false)?;
    }
    stage.appended()?;
    stage.wait(Duration::from_secs(1))?;
    let begin = Instant::now();
    let mut figures = stage.measured(|stage| {
        for wave in everyone.chunks(WAVE) {
            resume(stage, wave, |stage| {
                stage.swarm.turn(Duration::from_millis(1))
            })?;
        }
        Ok(())
    })?;
    figures.set("seconds", begin.elapsed().as_secs_f64());
    stage.wait(Duration::from_secs(2))?;
    let after = stage.server.usage()?.rss_kib;
    let clients = population.clients as u64;
    let each = |kib: u64| ratio(kib, clients);
    figures.set("idle_kb", each(idle.saturating_sub(empty)));
    // The megabyte itself is in the window.
    figures.set(
        "more_kb",
        each(after.saturating_sub(idle)) - 1_000.0 / ratio(clients, 1),
    );
    let mut named = Figures::default();
    named.add("memory", figures);
    Ok((named, stage))
}

/// Live events of 1,900 clients while 100 others catch up on 300 events each.
pub(crate) fn catch_up(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let (mut stage, live) = connected(context, 100, 1_900)?;
    let (mut quiet, mut busy, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..6 {
        live.miss(&mut stage)?;
        quiet.extend(live.times_while(&mut stage, |stage| {
            live.run(stage, Duration::from_millis(500))
        })?);
        busy.extend(live.times_while(&mut stage, |stage| {
            seconds.push(live.resume(stage)?.as_secs_f64());
            Ok(())
        })?);
        live.run(&mut stage, Duration::from_millis(300))?;
    }
    let mut figures = Figures::default();
    let (without, with) = (quantile_ms(quiet, 0.99), quantile_ms(busy, 0.99));
    figures.set("quiet_p99_ms", without);
    figures.set("busy_p99_ms", with);
    figures.set("p99_ratio", with / without);
    figures.set(
        "seconds",
        seconds.iter().sum::<f64>() / ratio(seconds.len() as u64, 1),
    );
    let mut named = Figures::default();
    named.add("catch_up", figures);
    Ok((named, stage))
}

/// 5,000 clients that all come back at once, while 500 others receive live events.
pub(crate) fn storm(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let (mut stage, live) = connected(context, 5_000, 500)?;
    live.miss(&mut stage)?;
    let mut figures = Figures::default();
    let others = live.times_while(&mut stage, |stage| {
        figures.set("seconds", live.resume(stage)?.as_secs_f64());
        Ok(())
    })?;
    figures.set("others_p99_ms", quantile_ms(others, 0.99));
    figures.set("rss_mib", ratio(stage.server.usage()?.rss_kib, 1_024));
    let mut named = Figures::default();
    named.add("storm", figures);
    Ok((named, stage))
}

/// Clients of the first rooms go away and come back; those of the others receive 1,000 records a second all the time.
struct Live {
    away: Vec<usize>,
    away_rooms: usize,
    rooms: usize,
}

impl Live {
    const PLAN: Paced = Paced {
        rate: 1_000,
        burst: 1,
    };

    fn room(&self, number: u64) -> usize {
        self.away_rooms + scattered(number, self.rooms - self.away_rooms)
    }

    fn stays(&self, client: usize) -> bool {
        client % self.rooms >= self.away_rooms
    }

    fn run(&self, stage: &mut Stage, lasts: Duration) -> Result<()> {
        stage.paced(Self::PLAN, lasts, |number| self.room(number))
    }

    /// Live events go on until those that were away have what they missed.
    fn resume(&self, stage: &mut Stage) -> Result<Duration> {
        resume(stage, &self.away, |stage| {
            self.run(stage, Duration::from_millis(4))
        })
    }

    /// Cuts those that go away and publishes what they are to catch up on, while live events go on.
    fn miss(&self, stage: &mut Stage) -> Result<()> {
        stage.swarm.cut(&self.away)?;
        for _ in 0..MISSED {
            for room in 0..self.away_rooms {
                stage.publish(EventKind::Transmission, room, 1, false)?;
            }
            self.run(stage, Duration::from_millis(4))?;
        }
        // Until the server has them in its window.
        stage.appended()?;
        self.run(stage, Duration::from_secs(1))
    }

    /// How long live events that were sent in this time took to reach those that stay, in nanoseconds.
    fn times_while(
        &self,
        stage: &mut Stage,
        act: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<Vec<u64>> {
        stage.swarm.tally.log = Some(Vec::new());
        let begin = stage.clock.now_ns();
        act(stage)?;
        let end = stage.clock.now_ns();
        stage.wait(Duration::from_millis(200))?;
        let seen = stage.swarm.tally.log.take().unwrap_or_default();
        let live = seen
            .iter()
            .filter(|seen| self.stays(seen.client) && (begin..end).contains(&seen.sent_ns));
        Ok(live.map(Seen::took_ns).collect())
    }
}

/// Connects so many clients that go away later, and others that stay, ten in each room.
fn connected(context: &CaseContext<'_>, away: usize, others: usize) -> Result<(Stage, Live)> {
    let clients = away + others;
    let (rooms, away_rooms) = (clients / 10, away / 10);
    let mut stage = context.stage(Population { clients, rooms }, &[])?;
    stage.swarm.keep_cursors = true;
    stage.fill()?;
    stage.linger(Linger::Millisecond);
    let live = Live {
        away: (0..clients)
            .filter(|client| client % rooms < away_rooms)
            .collect(),
        away_rooms,
        rooms,
    };
    stage.swarm.may_wait = (0..clients).map(|client| !live.stays(client)).collect();
    live.run(&mut stage, Duration::from_secs(1))?;
    Ok((stage, live))
}

/// Connects these clients again, all at once, and waits until each has what it missed.
///
/// `meanwhile` is called over and over; it must read what comes.
fn resume(
    stage: &mut Stage,
    clients: &[usize],
    mut meanwhile: impl FnMut(&mut Stage) -> Result<()>,
) -> Result<Duration> {
    let begin = Instant::now();
    for some in clients.chunks(OPENED_AT_ONCE) {
        for client in some {
            stage.swarm.open(*client)?;
        }
        stage.swarm.turn(Duration::ZERO)?;
    }
    // Nothing new is published to them, so one that is complete stays so.
    let mut left = clients;
    while let Some((client, rest)) = left.split_first() {
        if stage.swarm.tally.is_complete(*client) {
            left = rest;
            continue;
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            BrokenPromise(format!("{} clients have not caught up", left.len()))
        );
        meanwhile(stage)?;
    }
    Ok(begin.elapsed())
}
