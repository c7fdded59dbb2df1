//! Newer tokens under load: every connection refreshes its token again and again while events flow.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;

use super::ControlRun;
use super::audience::{Attendance, SeatPlan, Tallied};
use super::outcome::{Demand, Outcome};
use super::records::Stream;
use super::watched::{Routine, Times};
use crate::check::RoomLedger;
use crate::latency::{Summary, ratio};

const ROOMS: usize = 50;
/// Events a second into all rooms.
const RATE: u32 = 500;
/// Of one connection.
const EVERY: Duration = Duration::from_secs(5);

pub(super) fn run(run: &ControlRun<'_>) -> Result<Outcome> {
    let connections = run.pick(1_000, 100);
    let refreshing = Duration::from_secs(run.seconds(30, 10));
    let calm = Duration::from_secs(run.pick(10, 3));
    let topics = run.topics("refresh")?;
    let server = run.server("refresh", &topics, &[], None)?;
    // A second more: what is on its way at the end of the refreshing.
    let lasts = calm + refreshing + Duration::from_secs(1);
    let stream = Stream::plan(run, &topics.records(), ROOMS, RATE, lasts, 300)?;
    let plans = (0..connections).map(|number| SeatPlan {
        user: format!("refresher-{number}"),
        room: number % ROOMS,
        routine: Routine::Refreshes {
            // Spread over the interval, as clients that connected at different times are.
            first: EVERY.mul_f64(ratio(number as u64, connections as u64)),
            every: EVERY,
        },
    });
    let audience = run.audience(vec![(server.endpoint()?, plans.collect())], stream.bound())?;
    let flow = stream.start()?;
    std::thread::sleep(calm);
    let second_stretch = &audience.counts.second_stretch_ns;
    second_stretch.store(run.clock.now_ns(), Ordering::Relaxed);
    audience.want(|wanted| wanted.refreshing = true);
    std::thread::sleep(refreshing);
    audience.want(|wanted| wanted.refreshing = false);
    let ledgers = flow.finish()?;
    let produced: u64 = ledgers.iter().map(|ledger| ledger.acknowledged.len()).sum();
    audience.await_deliveries(produced * (connections / ROOMS) as u64);
    let (attendances, times) = audience.leave()?;
    drop(server);
    topics.delete()?;

    let turns = refreshing.as_secs() / EVERY.as_secs();
    Ok(judge(attendances, &times, &ledgers, turns))
}

/// `turns`: how often the time suffices for a refresh.
fn judge(
    attendances: Vec<Attendance>,
    times: &Times,
    ledgers: &[RoomLedger],
    turns: u64,
) -> Outcome {
    let mut outcome = Outcome::new("refresh");
    let mut all = Tallied::default();
    let connections = attendances.len();
    let (mut refreshes, mut fewest) = (0, u64::MAX);
    for attendance in attendances {
        refreshes += attendance.seen.refreshes;
        fewest = fewest.min(attendance.seen.refreshes);
        all.take(attendance, ledgers);
    }
    outcome.show("connections", "", ratio(connections as u64, 1));
    outcome.show("refreshes acknowledged", "", ratio(refreshes, 1));
    // The last of each may fall on the end.
    let demand = Demand::AtLeast(ratio(turns.saturating_sub(1), 1));
    outcome.promise(
        "the same, of the connection with the fewest",
        "",
        ratio(fewest, 1),
        demand,
    );
    let acknowledged = Summary::of(&times.refreshes);
    outcome.show("acknowledgement of a refresh, p50", "ms", acknowledged.p50);
    outcome.show("the same, p99", "ms", acknowledged.p99);
    let [calm, busy] = times.deliveries.each_ref().map(Summary::of);
    outcome.show("producer to client without refreshes, p99", "ms", calm.p99);
    outcome.show("the same with them", "ms", busy.p99);
    outcome.show("events delivered", "", ratio(calm.count + busy.count, 1));
    outcome.none("connections lost", all.lost_connections);
    all.report(&mut outcome, "events");
    outcome
}

#[cfg(test)]
mod tests {
    use super::super::audience::fixture::{attendance, deliveries, ledgers};
    use super::*;

    fn is_clean(attendance: Attendance) -> bool {
        judge(vec![attendance], &Times::new(), &ledgers(100), 6).is_clean()
    }

    fn refreshed(sequences: Vec<u32>) -> Attendance {
        let mut attendance = attendance("refresher-0", Routine::Steady, sequences);
        attendance.seen.refreshes = 6;
        attendance
    }

    #[test]
    fn a_refresh_loses_no_connection_and_no_event_and_is_acknowledged() {
        for (sequences, clean) in deliveries(100) {
            assert_eq!(is_clean(refreshed(sequences)), clean);
        }
        let all = || refreshed((0..100).collect());
        let mut lost = all();
        lost.seen.lost_connections = 1;
        assert!(!is_clean(lost));
        let mut silent = all();
        silent.seen.refreshes = 1;
        assert!(!is_clean(silent));
        let mut resync = all();
        resync.seen.resyncs.push("gap".to_owned());
        assert!(!is_clean(resync));
    }
}
