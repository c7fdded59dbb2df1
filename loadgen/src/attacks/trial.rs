//! One attack on one server: what its neighbours notice before, while it lasts, and afterwards.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::ROOMS;
use super::attacker::{Arms, Spoils, launch};
use super::kind::Attack;
use super::sessions::oldest_cursor;
use super::visitor::Visitor;
use crate::bench::BrokenPromise;
use crate::bench::cases::{from_append, scattered};
use crate::bench::figures::{Figures, OTHERS, STOLEN};
use crate::bench::server::{Contestant, SECRET, Surroundings};
use crate::bench::stage::{Paced, Population, Stage, WARM};
use crate::bench::tally::Faults;
use crate::metrics::{Counters, label};
use crate::socket::Minter;

/// Well-behaved clients, in rooms of ten.
const NEIGHBOURS: usize = 10 * ROOMS;
/// Of the neighbours, from each address.
const FROM_AN_ADDRESS: usize = 10;
/// Records: a thousand deliveries a second.
const PACE: Paced = Paced {
    rate: 100,
    burst: 1,
};
const TOKENS_VALID: u64 = 7_200;

/// How long the neighbours are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) calm: Duration,
    pub(super) attack: Duration,
}

/// Milliseconds, of the neighbours in one of the three parts of a trial.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Felt {
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Until a good client that comes now is connected.
    pub(super) connect_p99: f64,
    pub(super) deliveries: f64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Trial {
    /// As far as it came.
    pub(super) calm: Option<Felt>,
    pub(super) under_attack: Option<Felt>,
    pub(super) after: Option<Felt>,
    pub(super) attack_seconds: f64,
    pub(super) attackers: Spoils,
    /// By reason, what `fleetcast_refused_total` and `fleetcast_disconnects_total` have grown by since the attack began.
    pub(super) refused: BTreeMap<String, f64>,
    pub(super) disconnected: BTreeMap<String, f64>,
    /// Of one core, while the attack lasted.
    pub(super) server_busy: f64,
    /// Its peak above what the server had before.
    pub(super) rss_growth_mib: f64,
    pub(super) faults: Faults,
    /// A neighbour's connection was ended, or given a resync.
    pub(super) cut: Option<String>,
    /// Good clients that could not connect.
    pub(super) turned_away: Vec<String>,
    /// Percent of the server's core that other processes took, and other machines.
    pub(super) others: f64,
    pub(super) stolen: f64,
}

pub(super) fn run(
    attack: Attack,
    contestant: &Contestant,
    around: &Surroundings<'_>,
    times: Times,
) -> Result<Trial> {
    let name = format!("{}-{}", attack.name(), contestant.label);
    let population = Population {
        clients: NEIGHBOURS,
        rooms: ROOMS,
    };
    let mut stage = Stage::start(contestant, around, &name, population, &[])?;
    stage.swarm.come_from(|client| {
        let host = u8::try_from(1 + client / FROM_AN_ADDRESS).unwrap_or(u8::MAX);
        Ipv4Addr::new(127, 0, 1, host)
    });
    stage.fill()?;
    let minter = |secret| Minter::new(secret, stage.clock.unix_seconds() + TOKENS_VALID);
    let mut arms = Arms {
        port: stage.server.port,
        minter: minter(SECRET)?,
        forger: minter("not-the-secret-of-the-server-that-is-attacked")?,
        resume: String::new(),
    };
    if attack == Attack::Resumes {
        arms.resume = oldest_cursor(&arms.minter, arms.port)?;
    }
    stage.paced(PACE, WARM, any_room)?;
    stage.drain()?;
    let mut trial = Trial {
        attack_seconds: times.attack.as_secs_f64(),
        ..Trial::default()
    };
    let before = Counters::parse(&stage.server.metrics()?);
    match parts(&mut trial, &mut stage, attack, &arms, times) {
        Err(error) if error.is::<BrokenPromise>() => trial.cut = Some(format!("{error:#}")),
        result => {
            result?;
            trial.faults = stage.faults()?;
        }
    }
    let grown = Counters::parse(&stage.server.metrics()?).since(&before);
    trial.refused = by_reason(&grown, "fleetcast_refused_total");
    trial.disconnected = by_reason(&grown, "fleetcast_disconnects_total");
    stage.server.stop(around.cluster)?;
    Ok(trial)
}

fn any_room(number: u64) -> usize {
    scattered(number, ROOMS)
}

fn parts(
    trial: &mut Trial,
    stage: &mut Stage,
    attack: Attack,
    arms: &Arms,
    times: Times,
) -> Result<()> {
    let (_, felt) = part(trial, stage, None, arms, times.calm)?;
    trial.calm = Some(felt);
    let before = stage.server.usage()?.rss_kib;
    let (figures, felt) = part(trial, stage, Some(attack), arms, times.attack)?;
    let growth = (stage.server.usage()?.peak_rss_kib).saturating_sub(before);
    let get = |name| figures.get(name).unwrap_or(0.0);
    trial.under_attack = Some(felt);
    trial.server_busy = get("server_busy");
    trial.rss_growth_mib = crate::latency::ratio(growth, 1_024);
    (trial.others, trial.stolen) = (get(OTHERS), get(STOLEN));
    let (_, felt) = part(trial, stage, None, arms, times.calm)?;
    trial.after = Some(felt);
    Ok(())
}

/// Measures the neighbours for so long, while good clients connect, and attackers do their worst if there is an attack.
fn part(
    trial: &mut Trial,
    stage: &mut Stage,
    attack: Option<Attack>,
    arms: &Arms,
    lasts: Duration,
) -> Result<(Figures, Felt)> {
    let stop = AtomicBool::new(false);
    let (figures, visitor, spoils) = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("visitor".to_owned());
        let visitor =
            thread.spawn_scoped(scope, || Visitor::run(arms.port, &arms.minter, &stop))?;
        let mut attackers = Vec::new();
        let figures = from_append(stage, |stage| {
            if let Some(attack) = attack {
                attackers = launch(scope, attack, arms, lasts, &stop)?;
            }
            stage.paced(PACE, lasts, any_room)?;
            stop.store(true, Ordering::Relaxed);
            // The clients are read until the last attacker has seen that it is over.
            while !attackers.iter().all(ScopedJoinHandle::is_finished) {
                stage.wait(Duration::from_millis(5))?;
            }
            stage.drain()
        });
        stop.store(true, Ordering::Relaxed);
        let mut spoils = Spoils::default();
        for handle in attackers {
            let thread = handle.join().ok().context("an attacker panicked")?;
            spoils.add(&thread?);
        }
        let visitor = visitor.join().ok().context("the visitor panicked")??;
        anyhow::Ok((figures, visitor, spoils))
    })?;
    trial.attackers.add(&spoils);
    trial.turned_away.extend(visitor.failures.iter().cloned());
    let figures = figures?;
    let get = |name| figures.get(name).unwrap_or(0.0);
    let felt = Felt {
        p50: get("append_p50_ms"),
        p99: get("append_p99_ms"),
        connect_p99: visitor.p99_ms(),
        deliveries: get("deliveries"),
    };
    Ok((figures, felt))
}

/// What a counter has grown by, by its label `reason`.
fn by_reason(grown: &BTreeMap<String, f64>, counter: &str) -> BTreeMap<String, f64> {
    let mut reasons = BTreeMap::new();
    for (series, growth) in grown {
        let is_of_counter = series.split('{').next() == Some(counter);
        if let Some(reason) = label(series, "reason").filter(|_| is_of_counter) {
            *reasons.entry(reason.to_owned()).or_insert(0.0) += growth;
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_summed_by_reason_of_one_counter() {
        let series = |name: &str| name.to_owned();
        let grown = BTreeMap::from([
            (series("a_total{reason=\"x\",namespace=\"/\"}"), 1.0),
            (series("a_total{reason=\"x\",namespace=\"/ws\"}"), 2.0),
            (series("a_total{reason=\"y\"}"), 4.0),
            (series("a_total_more{reason=\"x\"}"), 8.0),
        ]);
        let expected = [("x".to_owned(), 3.0), ("y".to_owned(), 4.0)];
        assert_eq!(by_reason(&grown, "a_total"), expected.into());
    }
}
