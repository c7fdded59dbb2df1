//! How long the event loop did not come to a task that was due: one long task holds up every client. A task of ours beats, and looks
//! at how late each beat was. Late by the clock alone may also mean that the process was stopped, or that others had the processor;
//! so a beat counts as late by no more than the loop's thread has worked since the beat before.
//!
//! What it shows is short by up to the time between two beats, for a pause may begin that long before a beat is due. Of a process
//! that was stopped or preempted it shows at most what the loop worked between two beats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::catalogue::{LOOP_PAUSE_MAX_SECONDS, LOOP_PAUSE_SECONDS};
use super::histogram::{BucketBounds, BucketCounts, line, render_head, seconds};
use super::{Metrics, events};
use crate::clock;

/// Between two beats while there is something to measure.
const BEAT: Duration = Duration::from_millis(5);

/// Between two beats of an idle process: 200 wake-ups a second would be felt on a laptop. One pause is noticed by chance then (one
/// of 50 ms in every other case); what it costs makes the process busy, so those that follow are seen.
const IDLE_BEAT: Duration = Duration::from_millis(100);

/// With so many connections the process is never idle.
const MANY_CONNECTIONS: u64 = 100;

/// Busy is a loop that worked for so long between two beats: 3 % of the time between two beats of an idle process. A beat itself
/// takes 0.1 ms, and sometimes 1 ms, in a debug build on a full machine, so beats every 5 ms are no reason to go on with them.
const BUSY: Duration = Duration::from_millis(3);

/// For so long after it was found busy, a process is not idle. Then one slow beat looks again.
const QUIET: Duration = Duration::from_secs(10);

/// A longer pause is logged: the limit that the hub's slices are made for.
const LONG: Duration = Duration::from_millis(20);

pub(super) const BOUNDS: BucketBounds = BucketBounds {
    per_second: MICROSECONDS,
    at_most: &[
        (1_000, "0.001"),
        (2_000, "0.002"),
        (5_000, "0.005"),
        (10_000, "0.01"),
        (20_000, "0.02"),
        (50_000, "0.05"),
        (100_000, "0.1"),
        (250_000, "0.25"),
        (500_000, "0.5"),
        (1_000_000, "1"),
        (2_500_000, "2.5"),
        (5_000_000, "5"),
    ],
};

/// In a second.
const MICROSECONDS: u32 = 1_000_000;

/// `fleetcast_loop_pause_seconds` and the longest pause.
pub struct LoopPauses {
    pauses: BucketCounts,
    /// The longest since the start, in microseconds.
    longest: AtomicU64,
}

impl LoopPauses {
    pub(super) fn new() -> Self {
        Self {
            pauses: BucketCounts::new(&BOUNDS),
            longest: AtomicU64::new(0),
        }
    }

    fn add(&self, pause: Duration) {
        let microseconds = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.pauses.add(microseconds, 1);
        self.longest.fetch_max(microseconds, Ordering::Relaxed);
    }

    /// Appends both metrics in Prometheus' text format.
    pub(super) fn render(&self, text: &mut String) {
        render_head(LOOP_PAUSE_SECONDS, "histogram", text);
        self.pauses.render(LOOP_PAUSE_SECONDS, None, text);
        render_head(LOOP_PAUSE_MAX_SECONDS, "gauge", text);
        let name = LOOP_PAUSE_MAX_SECONDS.name;
        let longest = seconds(self.longest.load(Ordering::Relaxed), MICROSECONDS);
        line(text, format_args!("{name} {longest}"));
    }
}

/// Measures the loop that it runs on, which has to have one thread, until `stop`.
pub async fn watch_loop(metrics: Metrics, stop: CancellationToken) {
    let pauses = Arc::clone(&metrics.loop_pauses);
    let mut activity = LoopActivity::new();
    let (mut began, mut worked) = (Instant::now(), clock::thread_cpu());
    loop {
        let due = began + activity.next_beat(open_connections(&metrics));
        if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
            return;
        }
        let (now, cpu) = (Instant::now(), clock::thread_cpu());
        let work = cpu.saturating_sub(worked);
        let pause = pause(now.saturating_duration_since(due), work);
        pauses.add(pause);
        if pause > LONG {
            events::loop_paused(&metrics, pause);
        }
        activity.add(now.saturating_duration_since(began), work);
        (began, worked) = (now, cpu);
    }
}

/// Of a beat that was `late` by the clock. `work` is the time that the thread had the processor since the beat before: how much
/// of it came after the beat was due is not known.
fn pause(late: Duration, work: Duration) -> Duration {
    late.min(work)
}

fn open_connections(metrics: &Metrics) -> u64 {
    let connects = metrics.total_connects();
    connects.saturating_sub(metrics.disconnects.total())
}

/// Whether the loop has something to do.
#[derive(Debug)]
struct LoopActivity {
    /// For so long it counts as busy from now on.
    busy_for: Duration,
}

impl LoopActivity {
    /// At the start there is something to do.
    fn new() -> Self {
        Self { busy_for: QUIET }
    }

    /// Between two beats there was so much time, and so much of it the loop worked.
    fn add(&mut self, time: Duration, work: Duration) {
        self.busy_for = if work >= BUSY {
            QUIET
        } else {
            self.busy_for.saturating_sub(time)
        };
    }

    fn next_beat(&self, connections: u64) -> Duration {
        if connections >= MANY_CONNECTIONS || !self.busy_for.is_zero() {
            BEAT
        } else {
            IDLE_BEAT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// The longest pause that is shown after `hold` had the thread.
    async fn longest_after(hold: fn()) -> Duration {
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let watch = watch_loop(metrics.clone(), stop.clone());
        let held = async {
            // The watch waits for its first beat by now.
            hold();
            tokio::time::sleep(milliseconds(20)).await;
            stop.cancel();
        };
        tokio::join!(watch, held);
        Duration::from_micros(metrics.loop_pauses.longest.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_task_that_works_for_50_ms_is_a_pause() {
        let longest = longest_after(|| {
            let end = clock::thread_cpu() + milliseconds(50);
            while clock::thread_cpu() < end {}
        })
        .await;
        assert!(longest >= milliseconds(45), "{longest:?}");
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread that does not get the processor"
    )]
    async fn time_in_which_the_thread_does_not_run_is_no_pause() {
        let longest = longest_after(|| std::thread::sleep(milliseconds(50))).await;
        assert!(longest <= LONG, "{longest:?}");
    }

    #[test]
    fn a_pause_is_no_longer_than_the_lateness_and_than_the_work() {
        for (late, work, expected) in [(50, 55, 50), (50, 3, 3), (0, 5, 0), (1, 0, 0)] {
            let pause = pause(milliseconds(late), milliseconds(work));
            assert_eq!(pause, milliseconds(expected), "{late} ms late, {work} ms");
        }
    }

    #[test]
    fn an_idle_process_beats_slowly_and_a_busy_one_or_a_full_one_does_not() {
        let mut activity = LoopActivity::new();
        let quiet_beat = Duration::from_micros(500);
        for _ in 0..2_000 {
            assert_eq!(activity.next_beat(0), BEAT);
            activity.add(BEAT, quiet_beat);
        }
        assert_eq!(activity.next_beat(0), IDLE_BEAT, "10 s of beats alone");
        assert_eq!(activity.next_beat(MANY_CONNECTIONS), BEAT);
        activity.add(IDLE_BEAT, quiet_beat);
        assert_eq!(activity.next_beat(0), IDLE_BEAT);
        activity.add(IDLE_BEAT, milliseconds(3));
        assert_eq!(activity.next_beat(0), BEAT, "3 % of the time");
        for work in [milliseconds(4), quiet_beat] {
            activity.add(milliseconds(6_000), work);
            assert_eq!(activity.next_beat(0), BEAT, "busy 6 s ago");
        }
        activity.add(milliseconds(6_000), quiet_beat);
        assert_eq!(activity.next_beat(0), IDLE_BEAT, "busy 12 s ago");
    }

    #[test]
    fn what_is_rendered_has_the_longest_pause_too() {
        let pauses = LoopPauses::new();
        pauses.add(milliseconds(30));
        pauses.add(Duration::from_micros(300));
        let mut text = String::new();
        pauses.render(&mut text);
        for line in [
            "# TYPE fleetcast_loop_pause_seconds histogram",
            "fleetcast_loop_pause_seconds_bucket{le=\"0.001\"} 1",
            "fleetcast_loop_pause_seconds_bucket{le=\"0.02\"} 1",
            "fleetcast_loop_pause_seconds_bucket{le=\"0.05\"} 2",
            "fleetcast_loop_pause_seconds_sum 0.0303",
            "# TYPE fleetcast_loop_pause_max_seconds gauge",
            "fleetcast_loop_pause_max_seconds 0.03",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}:\n{text}");
        }
    }
}
