//! `loadgen bench --check`: a short run for the tests, which counts and never times.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cases::{CaseContext, scattered};
use super::publisher::Linger;
use super::server::{Contestant, Surroundings};
use super::stage::{Loop, Population};
use super::tally::Faults;
use super::{BrokenPromise, note, show};

/// Of each part.
const LASTS: Duration = Duration::from_secs(3);
const CLIENTS: usize = 500;
/// Deliveries, lest nothing was tried.
const ENOUGH: f64 = 4_000.0;

/// Nothing lost, duplicated or reordered; and when several events are ready for a client, fewer writes than events.
pub(crate) fn run(contestants: &[Contestant], around: &Surroundings<'_>) -> Result<()> {
    for contestant in contestants {
        let writes = part(
            contestant,
            around,
            "eight in flight",
            1,
            Loop {
                in_flight: 8,
                burst: 8,
            },
        )?;
        ensure!(
            writes > 0.0 && writes < 0.5,
            BrokenPromise(format!(
                "{writes} writes per delivery: eight events should leave in one or two"
            ))
        );
        part(
            contestant,
            around,
            "rooms of 10",
            50,
            Loop {
                in_flight: 50,
                burst: 1,
            },
        )?;
    }
    note("counts are right");
    Ok(())
}

/// Returns the writes per delivery.
fn part(
    contestant: &Contestant,
    around: &Surroundings<'_>,
    what: &str,
    rooms: usize,
    plan: Loop,
) -> Result<f64> {
    let context = CaseContext {
        contestant,
        around,
        name: format!("{}-check-{rooms}", contestant.label),
        lasts: LASTS,
    };
    let mut stage = context.stage(
        Population {
            clients: CLIENTS,
            rooms,
        },
        &[],
    )?;
    stage.fill()?;
    stage.linger(Linger::Millisecond);
    let figures =
        stage.measured(|stage| stage.closed(plan, LASTS, |number| scattered(number, rooms)))?;
    let faults = stage.faults()?;
    stage.server.stop(around.cluster)?;
    let deliveries = figures.get("deliveries").unwrap_or(0.0);
    let writes = figures
        .get("writes")
        .context("the server has no fleetcast_lane_writes_total")?;
    show(&format!(
        "{what}: {deliveries} deliveries, {writes:.3} writes for each, {faults:?}"
    ));
    ensure!(
        faults == Faults::default(),
        BrokenPromise(format!("{faults:?}"))
    );
    ensure!(deliveries >= ENOUGH, "only {deliveries} deliveries");
    Ok(writes)
}
