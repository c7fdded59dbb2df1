//! Publishing over HTTP: what was accepted arrives once, whatever is sent twice, and also when the server is killed meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::ControlRun;
use super::audience::{Attendance, SeatPlan, Tallied, read};
use super::outcome::{Demand, Outcome};
use super::publishers::{PublishPlan, Published, publish};
use super::server::ControlServer;
use super::watched::Routine;
use crate::latency::{Summary, ratio};

/// One client in each.
const ROOMS: usize = 100;
const WORKERS: usize = 50;
/// What is not reached for lack of a processor is no broken promise, but fewer messages are no run.
const ENOUGH: u64 = 200;
/// How long the server may take to read the last record back.
const READ_BACK: Duration = Duration::from_secs(10);

/// As fast as is asked of it, on one server that lives.
pub(super) fn run(run: &ControlRun<'_>) -> Result<Outcome> {
    let rate = u32::try_from(run.pick(2_000, 200))?;
    let lasts = Duration::from_secs(run.seconds(60, 5));
    let topics = run.topics("publish")?;
    let mut server = run.server("publish", &topics, &[], None)?;
    let plan = plan(run, &server, rate, lasts);
    let audience = audience(run, &server, &plan)?;
    let accepted = Arc::new(AtomicU64::new(0));
    let published = publish(&plan, &accepted)?;
    audience.await_deliveries(published.accepted());
    let dropped = await_duplicates(&mut server, &published)?;
    let (attendances, times) = audience.leave()?;
    drop(server);
    topics.delete()?;

    let mut outcome = Outcome::new("publish");
    let mut all = Tallied::default();
    judge(&mut outcome, &mut all, attendances, &published);
    ensure_enough(&published)?;
    report_rate(&mut outcome, &plan, &published);
    let deliveries = Summary::of(&times.deliveries[0]);
    outcome.show("request to client, p50", "ms", deliveries.p50);
    outcome.show("the same, p99", "ms", deliveries.p99);
    let again = published.again_after_answer + published.again_after_cut;
    outcome.show("sent again under the same key", "", ratio(again, 1));
    outcome.show("records dropped as repeated", "", dropped);
    outcome.none("connections lost", all.lost_connections);
    Ok(outcome)
}

/// The same more slowly, with `kill -9` in the middle and a start at once.
pub(super) fn run_with_kill(run: &ControlRun<'_>) -> Result<Outcome> {
    let rate = u32::try_from(run.pick(500, 100))?;
    let lasts = Duration::from_secs(run.seconds(20, 6));
    let topics = run.topics("kill")?;
    let mut server = run.server("publish-kill", &topics, &[], None)?;
    let plan = plan(run, &server, rate, lasts);
    let audience = audience(run, &server, &plan)?;
    let accepted = Arc::new(AtomicU64::new(0));
    let thread = {
        let accepted = Arc::clone(&accepted);
        let thread = std::thread::Builder::new().name("publishers".to_owned());
        thread.spawn(move || publish(&plan, &accepted))?
    };
    std::thread::sleep(lasts / 2);
    let before = read(&accepted);
    ensure!(before > 0, "nothing was accepted before the kill");
    let down = Instant::now();
    server.kill();
    server.launch()?;
    server.await_ready()?;
    let down = down.elapsed();
    let published = thread
        .join()
        .map_err(|_| anyhow!("the publishers panicked"))??;
    audience.await_deliveries(published.accepted());
    let (attendances, _) = audience.leave()?;
    drop(server);
    topics.delete()?;

    let mut outcome = Outcome::new("publish-kill");
    let resumed = attendances
        .iter()
        .filter(|one| one.seen.resumed > 0)
        .count();
    let fresh = attendances.iter().filter(|one| one.seen.fresh > 1).count();
    let mut all = Tallied::default();
    judge(&mut outcome, &mut all, attendances, &published);
    ensure_enough(&published)?;
    outcome.show("accepted before the kill", "", ratio(before, 1));
    outcome.show(
        "tries that failed by themselves",
        "",
        ratio(published.failed_tries, 1),
    );
    outcome.show("kill to ready", "ms", down.as_secs_f64() * 1_000.0);
    let everyone = Demand::Exactly(ratio(ROOMS as u64, 1));
    outcome.promise(
        "clients that resumed by their cursor",
        "",
        ratio(resumed as u64, 1),
        everyone,
    );
    outcome.none("clients that had to begin afresh", fresh as u64);
    Ok(outcome)
}

fn plan(run: &ControlRun<'_>, server: &ControlServer, rate: u32, lasts: Duration) -> PublishPlan {
    PublishPlan {
        address: server.internal(),
        rate,
        lasts,
        rooms: ROOMS,
        workers: WORKERS,
        run: run.bed.run.clone(),
        clock: run.clock,
    }
}

fn audience(
    run: &ControlRun<'_>,
    server: &ControlServer,
    plan: &PublishPlan,
) -> Result<super::audience::Audience> {
    let plans = (0..ROOMS).map(|room| SeatPlan {
        user: format!("reader-{room}"),
        room,
        routine: Routine::Steady,
    });
    run.audience(vec![(server.endpoint()?, plans.collect())], plan.bound()?)
}

/// Records that each instance drops because they repeat an earlier one. An error: the retries did not reach the log, so nothing was tried.
fn await_duplicates(server: &mut ControlServer, published: &Published) -> Result<f64> {
    // Each retry after an answer is a second record; after a cut the first may not have been read.
    let least = ratio(published.again_after_answer, 1);
    let begin = Instant::now();
    loop {
        let metrics = server.metrics()?;
        let dropped = metrics.labelled("fleetcast_records_total", "outcome=\"duplicate\"");
        let dropped = dropped.unwrap_or(0.0);
        if dropped >= least {
            return Ok(dropped);
        }
        ensure!(
            begin.elapsed() < READ_BACK,
            "of at least {least} retries in the log {dropped} were dropped"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Accepted is delivered, once.
fn judge(
    outcome: &mut Outcome,
    all: &mut Tallied,
    attendances: Vec<Attendance>,
    published: &Published,
) {
    let killed = attendances.iter().any(|one| one.seen.resumed > 0);
    for mut attendance in attendances {
        if killed {
            attendance.forgive_end();
        }
        all.take(attendance, &published.ledgers);
    }
    let (accepted, delivered) = (published.accepted(), all.expected - all.faults.lost);
    outcome.show("messages accepted", "", ratio(accepted, 1));
    let as_many = Demand::Exactly(ratio(accepted, 1));
    outcome.promise("of these delivered", "", ratio(delivered, 1), as_many);
    all.report(outcome, "events");
    outcome.none("messages that were given up", published.given_up);
    let hopeless = published
        .refused
        .iter()
        .filter(|(status, _)| **status != 503);
    let hopeless: u64 = hopeless.map(|(_, count)| *count).sum();
    outcome.none("good messages refused for good", hopeless);
    for (status, count) in &published.refused {
        outcome.show(&format!("answers with {status}"), "", ratio(*count, 1));
    }
    if hopeless + published.given_up > 0 {
        for sample in &published.samples {
            outcome.broken(sample.clone());
        }
    }
}

fn ensure_enough(published: &Published) -> Result<()> {
    let accepted = published.accepted();
    ensure!(accepted >= ENOUGH, "only {accepted} messages were accepted");
    Ok(())
}

fn report_rate(outcome: &mut Outcome, plan: &PublishPlan, published: &Published) {
    let reached = ratio(published.accepted(), 1) / published.took.as_secs_f64();
    // The last of a second may be behind its end.
    let goal = Demand::AtLeast(f64::from(plan.rate) * 0.99);
    outcome.goal("messages accepted a second", "1/s", reached, goal);
    let requests = ratio(published.requests, 1) / published.took.as_secs_f64();
    outcome.show("requests a second, with those sent again", "1/s", requests);
    let answers = Summary::of(&published.answers);
    outcome.show("request to 202, p50", "ms", answers.p50);
    outcome.show("the same, p99", "ms", answers.p99);
}

#[cfg(test)]
mod tests {
    use super::super::audience::fixture::{attendance, deliveries, ledgers};
    use super::*;

    fn is_clean(published: &Published, sequences: Vec<u32>) -> bool {
        let mut outcome = Outcome::new("publish");
        let attendances = vec![attendance("reader-0", Routine::Steady, sequences)];
        judge(
            &mut outcome,
            &mut Tallied::default(),
            attendances,
            published,
        );
        outcome.is_clean()
    }

    #[test]
    fn accepted_is_delivered_once_and_in_order() {
        for (sequences, clean) in deliveries(100) {
            let published = Published::new(ledgers(100));
            assert_eq!(is_clean(&published, sequences), clean);
        }
    }

    #[test]
    fn what_was_never_accepted_may_come_once_or_not_at_all() {
        let mut published = Published::new(ledgers(100));
        published.ledgers[0].produced.insert(100);
        assert!(is_clean(&published, (0..100).collect()));
        assert!(is_clean(&published, (0..101).collect()));
        assert!(!is_clean(&published, (0..101).chain([100]).collect()));
        // It was never sent.
        assert!(!is_clean(&published, (0..102).collect()));
    }

    #[test]
    fn a_good_message_is_neither_given_up_nor_refused_for_good() {
        let mut published = Published::new(ledgers(100));
        published.refused.insert(503, 4);
        assert!(is_clean(&published, (0..100).collect()));
        published.refused.insert(400, 1);
        assert!(!is_clean(&published, (0..100).collect()));
        published.refused.remove(&400);
        published.given_up = 1;
        assert!(!is_clean(&published, (0..100).collect()));
    }
}
