//! From a revocation to silence: users are revoked one after the other, at one instance, while events flow. The other instance hears
//! of it by `REVOCATIONS_TOPIC`, or by Redis alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::ControlRun;
use super::api::Api;
use super::audience::{Attendance, SeatPlan, Tallied, read};
use super::outcome::{Demand, Outcome};
use super::records::Stream;
use super::server::Topics;
use super::watched::{ORGANISATION, Routine, Seen};
use crate::bitmap::Bitmap;
use crate::chaos::redis::Redis;
use crate::check::RoomLedger;
use crate::latency::{Summary, histogram};
use crate::producer::AckTimes;

const ROOMS: usize = 10;
/// Events a second into all of them.
const RATE: u32 = 200;
/// Connections of one user, half of them at each of two servers.
const OF_USER: usize = 10;
const SERVERS: usize = 2;
/// Between two revocations.
const EVERY: Duration = Duration::from_millis(150);
/// Events flow alone for so long before the first, and after the last.
const CALM: Duration = Duration::from_secs(2);
/// After the last, so that every client has come back once and was refused.
const TAIL: Duration = Duration::from_secs(5);
/// What a revoked token may still get, by way of the topic and of Redis.
const SILENT_WITHIN_MS: [f64; 2] = [2_000.0, 1_000.0];
/// What was acknowledged so long before a revocation has arrived before it.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Connections that were not silenced, in words.
const SAMPLES: u64 = 5;

/// By `REVOCATIONS_TOPIC`.
pub(super) fn run(run: &ControlRun<'_>) -> Result<Outcome> {
    let topics = run.topics("revoke")?;
    revoke(run, "revoke", topics, &[], SILENT_WITHIN_MS[0])
}

/// By Redis, without the topic.
pub(super) fn run_with_redis(run: &ControlRun<'_>) -> Result<Outcome> {
    let topics = run.topics("revoke-redis")?.without("REVOCATIONS_TOPIC");
    let redis = Redis::start(&run.bed.directory)?;
    let settings = [("REDIS_URL", redis.url())];
    let settings = settings.each_ref().map(|(name, url)| (*name, url.as_str()));
    revoke(run, "revoke-redis", topics, &settings, SILENT_WITHIN_MS[1])
}

fn revoke(
    run: &ControlRun<'_>,
    case: &'static str,
    topics: Topics<'_>,
    settings: &[(&str, &str)],
    silent_within_ms: f64,
) -> Result<Outcome> {
    let users = run.pick(100, 10);
    let first = run.server(&format!("{case}-1"), &topics, settings, None)?;
    let second = run.server(&format!("{case}-2"), &topics, settings, None)?;
    let lasts = CALM + EVERY * u32::try_from(users)? + TAIL;
    let stream = Stream::plan(run, &topics.records(), ROOMS, RATE, lasts, 300)?;

    let mut lists = [Vec::new(), Vec::new()];
    for number in 0..users * OF_USER {
        let (user, connection) = (number / OF_USER, number % OF_USER);
        lists[connection % SERVERS].push(SeatPlan {
            user: user_name(user),
            room: number % ROOMS,
            routine: Routine::Steady,
        });
    }
    for (server, list) in lists.iter_mut().enumerate() {
        list.extend((0..ROOMS).map(|room| SeatPlan {
            user: format!("bystander-{server}-{room}"),
            room,
            routine: Routine::Steady,
        }));
    }
    let [at_first, at_second] = lists;
    let lists = vec![
        (first.endpoint()?, at_first),
        (second.endpoint()?, at_second),
    ];
    let audience = run.audience(lists, stream.bound())?;
    let acks = stream.acks();
    let stream = stream.start()?;
    std::thread::sleep(CALM);
    let posted = revoke_all(run, first.internal(), users)?;
    let all_refused = (users * OF_USER) as u64;
    let begin = Instant::now();
    while read(&audience.counts.refused) < all_refused && begin.elapsed() < TAIL {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ledgers = stream.finish()?;
    // How many deliveries are due depends on when each was revoked: so until nothing comes.
    audience.await_deliveries(u64::MAX);
    let (attendances, _) = audience.leave()?;
    drop((first, second));
    topics.delete()?;
    let mut outcome = Outcome::new(case);
    judge(
        &mut outcome,
        attendances,
        &posted,
        &ledgers,
        &acks,
        silent_within_ms,
    );
    Ok(outcome)
}

fn user_name(user: usize) -> String {
    format!("revoked-{user}")
}

/// Gives the moment before each request, by user.
fn revoke_all(
    run: &ControlRun<'_>,
    address: std::net::SocketAddr,
    users: usize,
) -> Result<Vec<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut api = Api::new(address);
        let mut posted = Vec::new();
        let mut beat = tokio::time::interval(EVERY);
        for user in 0..users {
            beat.tick().await;
            posted.push(run.clock.now_ns());
            let body = format!(
                "{{\"organization_id\":\"{ORGANISATION}\",\"user_id\":\"{}\"}}",
                user_name(user)
            );
            let (status, text) = api
                .post("/api/revocations", &body)
                .await
                .context("a revocation was not answered")?;
            ensure!(
                status == 200 && text.contains("\"scope\":\"fleet\""),
                "a revocation was answered {status} {text}"
            );
        }
        Ok(posted)
    })
}

/// How a connection went silent, of a user that was revoked at `posted_ns`; an error says which promise was broken.
fn silence(seen: &Seen, posted_ns: u64) -> Result<Duration, String> {
    let closed_ns = seen.closed_ns.ok_or("its connection is still open")?;
    if closed_ns < posted_ns {
        return Err("its connection was closed before the revocation".to_owned());
    }
    if seen.fresh + seen.resumed != 1 || !seen.resyncs.is_empty() {
        return Err("it was admitted again".to_owned());
    }
    match seen.refused.as_deref() {
        Some("token_revoked") => {}
        Some(other) => return Err(format!("it was refused with {other}")),
        None => return Err("it was not refused when it came back".to_owned()),
    }
    let last_ns = closed_ns.max(seen.last_event_ns.unwrap_or(0));
    Ok(Duration::from_nanos(last_ns - posted_ns))
}

/// What a client that was revoked must have got: all that was on its way long enough before that, and nothing left out of what came.
fn owed(
    ledger: &RoomLedger,
    acks: &AckTimes,
    room: usize,
    seen: &Seen,
    posted_ns: u64,
) -> RoomLedger {
    let bound = acks.bound();
    let mut acknowledged = Bitmap::with_bound(bound);
    let before = posted_ns.saturating_sub(u64::try_from(ON_ITS_WAY.as_nanos()).unwrap_or(0));
    for sequence in 0..bound {
        let is_due = acks.get(room, sequence).is_some_and(|at| at <= before);
        let has_passed = seen.last_sequence.is_some_and(|last| sequence <= last);
        if ledger.acknowledged.contains(sequence) && (is_due || has_passed) {
            acknowledged.insert(sequence);
        }
    }
    RoomLedger {
        produced: ledger.produced.clone(),
        acknowledged,
    }
}

fn judge(
    outcome: &mut Outcome,
    attendances: Vec<Attendance>,
    posted: &[u64],
    ledgers: &[RoomLedger],
    acks: &AckTimes,
    silent_within_ms: f64,
) {
    let mut times: [Histogram<u64>; SERVERS] = [histogram(), histogram()];
    let (mut revoked, mut others) = (Tallied::default(), Tallied::default());
    let mut not_silent = 0;
    for mut attendance in attendances {
        let user = attendance.plan.user.strip_prefix("revoked-");
        let Some(user) = user.and_then(|user| user.parse::<usize>().ok()) else {
            others.take(attendance, ledgers);
            continue;
        };
        let (server, room) = (attendance.server, attendance.plan.room);
        match silence(&attendance.seen, posted[user]) {
            Ok(silent) => {
                let took = u64::try_from(silent.as_micros()).unwrap_or(u64::MAX);
                times[server].saturating_record(took);
            }
            Err(what) => {
                not_silent += 1;
                if not_silent <= SAMPLES {
                    let user = &attendance.plan.user;
                    outcome.broken(format!("{user} at server {}: {what}", server + 1));
                }
            }
        }
        let mut own = ledgers.to_vec();
        own[room] = owed(&ledgers[room], acks, room, &attendance.seen, posted[user]);
        attendance.forgive_end();
        revoked.take(attendance, &own);
    }
    outcome.none(
        "connections that were not silenced or not refused afterwards",
        not_silent,
    );
    for (server, times) in times.iter().enumerate() {
        let summary = Summary::of(times);
        let asked = if server == 0 {
            "the instance that was asked"
        } else {
            "the other instance"
        };
        outcome.show(
            &format!("connections revoked at {asked}"),
            "",
            crate::latency::ratio(summary.count, 1),
        );
        outcome.show("the same, to silence, p50", "ms", summary.p50);
        outcome.promise(
            "the same, p99",
            "ms",
            summary.p99,
            Demand::AtMost(silent_within_ms),
        );
        outcome.show("the same, longest", "ms", summary.max);
    }
    outcome.none("connections lost by others", others.lost_connections);
    others.report(outcome, "of others, events");
    revoked.report(outcome, "of the revoked until then, events");
}

#[cfg(test)]
mod tests {
    use super::super::audience::fixture::{BOUND, attendance, deliveries, ledgers};
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const POSTED: u64 = 100 * SECOND;

    /// Revoked 10 ms after the POST, with all of 50 events.
    fn revoked() -> Attendance {
        let mut attendance = attendance("revoked-0", Routine::Steady, 0..50);
        let seen = &mut attendance.seen;
        seen.closed_ns = Some(POSTED + SECOND / 100);
        seen.last_event_ns = Some(POSTED + SECOND / 200);
        seen.refused = Some("token_revoked".to_owned());
        seen.lost_connections = 1;
        attendance
    }

    fn is_clean(attendances: Vec<Attendance>, acks: &AckTimes) -> bool {
        let mut outcome = Outcome::new("revoke");
        let within = SILENT_WITHIN_MS[0];
        judge(
            &mut outcome,
            attendances,
            &[POSTED],
            &ledgers(100),
            acks,
            within,
        );
        outcome.is_clean()
    }

    fn revoked_is_clean(change: impl FnOnce(&mut Seen)) -> bool {
        let mut attendance = revoked();
        change(&mut attendance.seen);
        is_clean(vec![attendance], &AckTimes::new(1, BOUND))
    }

    #[test]
    fn a_revoked_client_that_goes_on_in_any_way_breaks_the_promise() {
        assert!(revoked_is_clean(|_| {}));
        let late = POSTED + 3 * SECOND;
        assert!(!revoked_is_clean(|seen| seen.last_event_ns = Some(late)));
        assert!(!revoked_is_clean(|seen| seen.closed_ns = Some(late)));
        assert!(!revoked_is_clean(|seen| seen.closed_ns = None));
        assert!(!revoked_is_clean(|seen| seen.closed_ns = Some(POSTED - 1)));
        assert!(!revoked_is_clean(|seen| seen.resumed = 1));
        assert!(!revoked_is_clean(|seen| seen.refused = None));
        let other = Some("token_expired".to_owned());
        assert!(!revoked_is_clean(|seen| seen.refused = other));
    }

    #[test]
    fn a_revoked_client_is_owed_what_came_long_enough_before() {
        let acks = AckTimes::new(1, BOUND);
        acks.acknowledge(0, 49, POSTED - 2 * SECOND);
        acks.acknowledge(0, 50, POSTED - SECOND / 2);
        assert!(is_clean(vec![revoked()], &acks));
        acks.acknowledge(0, 50, POSTED - 2 * SECOND);
        assert!(!is_clean(vec![revoked()], &acks));
    }

    #[test]
    fn nothing_is_lost_doubled_or_reordered_for_anyone() {
        for (sequences, clean) in deliveries(100) {
            let bystander = attendance("bystander-0-0", Routine::Steady, sequences.clone());
            let acks = AckTimes::new(1, BOUND);
            assert_eq!(is_clean(vec![bystander, revoked()], &acks), clean);
            let mut until = attendance("revoked-0", Routine::Steady, sequences);
            let Seen {
                closed_ns, refused, ..
            } = revoked().seen;
            (until.seen.closed_ns, until.seen.refused) = (closed_ns, refused);
            assert_eq!(is_clean(vec![until], &acks), clean);
        }
        let mut bystander = attendance("bystander-0-0", Routine::Steady, 0..100);
        bystander.seen.lost_connections = 1;
        assert!(!is_clean(vec![bystander], &AckTimes::new(1, BOUND)));
    }
}
