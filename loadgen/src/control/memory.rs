//! A server that may take only so much memory: thousands of clients, and large events that fill its window.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ControlRun;
use super::audience::{Attendance, Audience, SeatPlan, Tallied};
use super::group::MemoryGroup;
use super::outcome::{Demand, Outcome};
use super::records::{Flow, Stream};
use super::server::ControlServer;
use super::watched::Routine;
use crate::check::RoomLedger;
use crate::latency::{Summary, ratio};

/// Of the control group; `MAX_RSS` is about three quarters of it, as docs/operations.md advises.
const LIMIT: u64 = 256 << 20;
const MAX_RSS: &str = "200MiB";
const ROOMS: usize = 50;
/// Small events a second into all rooms, which every client must get.
const LIGHT_RATE: u32 = 100;
/// Large events a second, into a room of their own, so that 2.5 MB of window are written each second.
const HEAVY_RATE: u32 = 25;
const HEAVY_BYTES: usize = 100_000;
/// Clients that are away while the window gets shorter, and that read too slowly for it.
const LEAVING: usize = 20;
const DAWDLING: usize = 5;
/// A large one in each of these.
const DAWDLE: Duration = Duration::from_secs(2);
/// How often the server is looked at, and a new client asks for admission.
const LOOK: Duration = Duration::from_millis(250);
/// After the large events: those that were away come back.
const AFTERWARDS: Duration = Duration::from_secs(15);

const SHORTENED: &str = "fleetcast_window_shortened_total";
const REFUSED: &str = "fleetcast_refused_total";
const WINDOW: &str = "fleetcast_window_seconds";

/// What was seen of the server meanwhile.
#[derive(Debug, Default)]
struct Watch {
    /// The most that the window reached back before it was first shortened, and the least from then on.
    longest: f64,
    shortest: Option<f64>,
    shortened: f64,
    /// Handshakes of new clients, and how many got 503.
    asked: u64,
    refused: u64,
    others: Vec<String>,
}

pub(super) fn run(run: &ControlRun<'_>) -> Result<Outcome> {
    let clients = run.pick(5_000, 1_000);
    // The fewer clients, the more is left to fill; so the short form fills it faster.
    let heavy_rate = u32::try_from(run.pick(HEAVY_RATE as usize, 80))?;
    let filling = Duration::from_secs(run.seconds(60, 25));
    let group = match MemoryGroup::make(LIMIT) {
        Ok(group) => Some(group),
        Err(error) => {
            super::note(&format!("memory: without a limit of the kernel: {error:#}"));
            None
        }
    };
    let topics = run.topics("memory")?;
    let environment = [("MAX_RSS", MAX_RSS)];
    let mut server = run.server("memory", &topics, &environment, group)?;
    let lasts = filling + AFTERWARDS;
    let light = Stream::plan(run, &topics.records(), ROOMS, LIGHT_RATE, lasts, 300)?;
    let heavy_channel = super::audience::channel(ROOMS);
    let heavy = Stream::into_channels(
        run,
        &topics.records(),
        [heavy_channel].into_iter(),
        heavy_rate,
        filling,
        HEAVY_BYTES,
    )?;
    let bound = light.bound().max(heavy.bound());
    let audience = run.audience(vec![(server.endpoint()?, plans(clients, filling))], bound)?;
    let light = light.start()?;
    let heavy = heavy.start()?;
    std::thread::sleep(Duration::from_secs(2));
    audience.want(|wanted| wanted.disturbed = true);
    let mut watch = Watch::default();
    observe(&mut watch, &mut server, &light)?;
    let mut ledgers = light.finish()?;
    ledgers.extend(heavy.finish()?);
    // How many deliveries are due to those that were behind is not known: so until nothing comes.
    audience.await_deliveries(u64::MAX);
    finish(&mut server, audience, &ledgers, &watch).and_then(|outcome| {
        drop(server);
        topics.delete()?;
        Ok(outcome)
    })
}

fn plans(clients: usize, filling: Duration) -> Vec<SeatPlan> {
    let steady = (0..clients).map(|number| SeatPlan {
        user: format!("steady-{number}"),
        room: number % ROOMS,
        routine: Routine::Steady,
    });
    let leaving = (0..LEAVING).map(|number| SeatPlan {
        user: format!("leaving-{number}"),
        room: number % ROOMS,
        routine: Routine::Leaves(filling),
    });
    let dawdling = (0..DAWDLING).map(|number| SeatPlan {
        user: format!("dawdling-{number}"),
        room: ROOMS,
        routine: Routine::Dawdles {
            lasts: filling,
            pause: DAWDLE,
        },
    });
    steady.chain(leaving).chain(dawdling).collect()
}

/// Until the last record is written.
fn observe(watch: &mut Watch, server: &mut ControlServer, light: &Flow) -> Result<()> {
    let mut next = Instant::now();
    while !light.is_over() {
        let metrics = server.metrics()?;
        let window = metrics.value(WINDOW).context(WINDOW)?;
        watch.shortened = metrics.value(SHORTENED).unwrap_or(0.0);
        if watch.shortened > 0.0 {
            watch.shortest = Some(watch.shortest.map_or(window, |least| least.min(window)));
        } else {
            watch.longest = watch.longest.max(window);
        }
        let (status, body) = server.handshake()?;
        watch.asked += 1;
        match status {
            200 => {}
            503 if body.contains("mem_shed") => watch.refused += 1,
            _ => watch.others.push(format!("{status} {body:.200}")),
        }
        next += LOOK;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn finish(
    server: &mut ControlServer,
    audience: Audience,
    ledgers: &[RoomLedger],
    watch: &Watch,
) -> Result<Outcome> {
    let mut outcome = Outcome::new("memory");
    let metrics = server.metrics()?;
    let usage = server.usage()?;
    let (attendances, times) = audience.leave()?;
    outcome.show("clients", "", ratio(attendances.len() as u64, 1));
    if let Some(group) = server.group() {
        outcome.none(
            "processes ended by the kernel (limit 256 MiB)",
            group.killed()?,
        );
        if let Some(peak) = group.peak() {
            outcome.show(
                "memory that the kernel counted, most",
                "MiB",
                ratio(peak, 1 << 20),
            );
        }
    }
    outcome.show(
        "resident memory, most (MAX_RSS 200 MiB)",
        "MiB",
        ratio(usage.peak_rss_kib, 1_024),
    );
    outcome.show("window before it was shortened", "s", watch.longest);
    outcome.promise(
        "the window was shortened",
        "times",
        watch.shortened,
        Demand::AtLeast(1.0),
    );
    outcome.show(
        "window afterwards, shortest",
        "s",
        watch.shortest.unwrap_or(0.0),
    );
    outcome.show("handshakes of new clients", "", ratio(watch.asked, 1));
    let refused = metrics
        .labelled(REFUSED, "reason=\"mem_shed\"")
        .unwrap_or(0.0);
    outcome.show("of these 503 mem_shed", "", ratio(watch.refused, 1));
    outcome.show("refusals that the server counted as mem_shed", "", refused);
    outcome.none("other refusals", watch.others.len() as u64);
    for other in watch.others.iter().take(3) {
        outcome.broken(other.clone());
    }
    judge(&mut outcome, attendances, ledgers);
    let deliveries = Summary::of(&times.deliveries[0]);
    outcome.show("producer to client, p99", "ms", deliveries.p99);
    Ok(outcome)
}

fn judge(outcome: &mut Outcome, attendances: Vec<Attendance>, ledgers: &[RoomLedger]) {
    let (mut steady, mut behind) = (Tallied::default(), Tallied::default());
    let mut told = 0;
    for attendance in attendances {
        if attendance.plan.routine == Routine::Steady {
            steady.take(attendance, ledgers);
        } else {
            told += u64::from(!attendance.seen.resyncs.is_empty());
            behind.take(attendance, ledgers);
        }
    }
    let all = Demand::Exactly(ratio((LEAVING + DAWDLING) as u64, 1));
    let title = "clients behind the window that received resync_required";
    outcome.promise(title, "", ratio(told, 1), all);
    outcome.none("events of these twice", behind.faults.duplicated);
    outcome.none("events of these out of order", behind.faults.out_of_order);
    outcome.none("connections lost by the others", steady.lost_connections);
    steady.report(outcome, "events of the others");
}

#[cfg(test)]
mod tests {
    use super::super::audience::fixture::{attendance, deliveries, ledgers};
    use super::*;

    /// One that was there all the time, and all those that were behind.
    fn is_clean(steady: Vec<u32>, behind: &[u32], resync: bool) -> bool {
        let mut attendances = vec![attendance("steady-0", Routine::Steady, steady)];
        for number in 0..LEAVING + DAWDLING {
            let user = format!("leaving-{number}");
            let routine = Routine::Leaves(Duration::ZERO);
            let mut one = attendance(&user, routine, behind.iter().copied());
            if resync {
                one.seen.resyncs.push("evicted".to_owned());
            }
            attendances.push(one);
        }
        let mut outcome = Outcome::new("memory");
        judge(&mut outcome, attendances, &ledgers(100));
        outcome.is_clean()
    }

    #[test]
    fn those_that_are_there_lose_nothing_and_those_behind_are_notified() {
        let all: Vec<u32> = (0..100).collect();
        for (sequences, clean) in deliveries(100) {
            assert_eq!(is_clean(sequences, &all, true), clean);
        }
        // Behind the window something is missing, which is what the resync is for.
        assert!(is_clean(all.clone(), &[0, 1, 60, 61], true));
        assert!(!is_clean(all.clone(), &all, false));
        assert!(!is_clean(all.clone(), &[0, 1, 60, 60], true));
        assert!(!is_clean(all, &[0, 60, 1], true));
    }
}
