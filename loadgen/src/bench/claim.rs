//! The claim of the source documents for one instance: 10,000 clients in 1,000 rooms.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cases::{CaseContext, scattered};
use super::event::EventKind;
use super::figures::Figures;
use super::publisher::Linger;
use super::server::ServerKind;
use super::stage::{Paced, Population, Stage};
use crate::latency::ratio;
use crate::scrape::Scrape;

/// What the source documents ask of p95.
const CLAIMED_P95_MS: f64 = 10.0;
/// Deliveries a second that they promise.
const CLAIMED_RATE: usize = 100_000;
/// 128 MiB, as the server is set.
const WINDOW_BYTES: f64 = 134_217_728.0;

/// 10,000 clients in 1,000 rooms: the most deliveries a second with p95 under 10 ms, in bursts of eight and one by one.
pub(crate) fn claim(context: &CaseContext<'_>) -> Result<(Figures, Stage)> {
    let population = Population {
        clients: 10_000,
        rooms: 1_000,
    };
    let mut stage = context.stage(population, &[("FLEETCAST_WINDOW_BYTES", "128MiB")])?;
    stage.fill()?;
    stage.linger(Linger::Millisecond);
    let mut figures = Figures::default();
    let window = if context.contestant.kind == ServerKind::Fleetcast {
        Some(fill_window(&mut stage, population.rooms)?)
    } else {
        None
    };
    for (measurement, burst) in [("bursts", 8), ("unbatched", 1)] {
        let mut found = highest(&mut stage, population, burst, context.lasts)?;
        if let Some(bytes) = window.filter(|_| burst == 8) {
            let members = ratio((population.clients / population.rooms) as u64, 1);
            let records = found.get("reached").unwrap_or(0.0) / members;
            if records > 0.0 {
                found.set("window_seconds", WINDOW_BYTES / bytes / records);
            }
        }
        figures.add(measurement, found);
    }
    Ok((figures, stage))
}

/// Publishes to a room without members until the window has to evict. Returns the bytes that one takes in it.
fn fill_window(stage: &mut Stage, empty_room: usize) -> Result<f64> {
    let bytes = |stage: &Stage| -> Result<f64> {
        let scrape = Scrape::parse(stage.server.metrics()?);
        scrape
            .value("fleetcast_window_bytes")
            .context("fleetcast_window_bytes is absent")
    };
    let empty = bytes(stage)?;
    let mut each = None;
    for _ in 0..12 {
        for _ in 0..2_500 {
            stage.publish(EventKind::Transmission, empty_room, 8, false)?;
            stage.swarm.turn(Duration::ZERO)?;
        }
        stage.appended()?;
        stage.wait(Duration::from_secs(1))?;
        // Only the first round tells: later ones evict.
        if each.is_none() {
            each = Some((bytes(stage)? - empty) / 20_000.0);
        }
    }
    let each = each.context("nothing was published")?;
    ensure!(
        each > 100.0,
        "records take {each} bytes of the window: were they read?"
    );
    Ok(each)
}

/// The highest rate of deliveries that is kept up, in steps.
fn highest(
    stage: &mut Stage,
    population: Population,
    burst: usize,
    lasts: Duration,
) -> Result<Figures> {
    let members = population.clients / population.rooms;
    let mut best = Figures::default();
    best.set("reached", 0.0);
    for step in 1..=10 {
        let deliveries = CLAIMED_RATE * step / 10;
        let plan = Paced {
            rate: deliveries / members,
            burst,
        };
        // All of one burst go to one room.
        let room = |number: u64| scattered(number / burst as u64, population.rooms);
        let lasts = if step == 10 {
            lasts
        } else {
            lasts.min(Duration::from_secs(2))
        };
        let mut figures = stage.measured(|stage| {
            stage.paced(plan, lasts, room)?;
            stage.drain()
        })?;
        let p95 = figures.get("p95_ms").unwrap_or(f64::INFINITY);
        for (name, busy) in [
            ("server_percent", "server_busy"),
            ("load_percent", "load_busy"),
        ] {
            figures.set(name, figures.get(busy).unwrap_or(0.0) * 100.0);
        }
        if p95 >= CLAIMED_P95_MS {
            best.set("failed_at", ratio(deliveries as u64, 1));
            for name in ["p95_ms", "server_percent", "load_percent"] {
                best.set(&format!("failed_{name}"), figures.get(name).unwrap_or(0.0));
            }
            break;
        }
        figures.set("reached", ratio(deliveries as u64, 1));
        best = figures;
    }
    let rss = stage.server.usage()?.rss_kib;
    best.set("rss_mib", ratio(rss, 1_024));
    Ok(best)
}
