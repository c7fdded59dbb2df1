//! How many bytes may be in flight to a client: what it takes in five seconds.
//!
//! A ping and an answer to a command wait behind everything in flight. If that were a whole MiB for all clients, one that
//! reads 20 KB/s would receive a ping after 50 s, and be closed for a missed pong although it makes progress. So the limit
//! follows what has left. The words:
//!
//! - *busy*: something is in flight, and has been since `busy_since`
//! - *fresh*: not busy for long, so its speed is not known: a client to which nothing was sent has taken nothing. It may
//!   have [`START`]

use std::time::{Duration, Instant};

/// The most there can be, however fast the client was: with the buffers of the library and the kernel it costs not quite a
/// MiB of memory when it stops.
pub const MOST: usize = 768 * 1024;

/// For a client of unknown speed: about what the kernels in between take at once. A fast one drains it in
/// milliseconds and has earned as much again. Also what a poll's answer may always have, and what answers may always have
/// over a WebSocket.
pub const START: usize = 64 * 1024;

/// What left within this time may be in flight again.
const SPAN: Duration = Duration::from_secs(5);

/// Being busy for this long shows how fast the client is; having nothing in flight for this long makes it fresh again.
const FRESH: Duration = Duration::from_secs(1);

/// What has left, and how much may be in flight.
///
/// The span slides over two buckets, of which the older one counts in proportion to how much of it still lies within.
#[derive(Debug)]
pub struct DrainRate {
    began: Instant,
    /// Bytes that left since `began`.
    left: usize,
    /// Bytes that left in the span before `began`.
    left_before: usize,
    busy_since: Instant,
    /// When nothing was in flight any more, and whether our limit was the cause rather than a lack of events.
    idle_since: Option<(Instant, bool)>,
}

impl DrainRate {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            left: 0,
            left_before: 0,
            busy_since: now,
            idle_since: None,
        }
    }

    /// Bytes that may be in flight now, including those that are.
    pub fn limit(&self, now: Instant) -> usize {
        let fresh = now.saturating_duration_since(self.busy_since) < FRESH;
        let least = if fresh { START } else { 0 };
        self.left_lately(now).clamp(least, MOST)
    }

    /// Something is in flight, and nothing was.
    pub fn busy(&mut self, now: Instant) {
        let goes_on = self
            .idle_since
            .is_some_and(|(at, limited)| limited && now.saturating_duration_since(at) < FRESH);
        if !goes_on {
            self.busy_since = now;
        }
    }

    /// So many bytes have left.
    pub fn drained(&mut self, bytes: usize, now: Instant) {
        let spans = now.saturating_duration_since(self.began).as_micros() / SPAN.as_micros();
        if spans > 0 {
            self.left_before = if spans == 1 { self.left } else { 0 };
            self.left = 0;
            self.began = if spans == 1 { self.began + SPAN } else { now };
        }
        self.left += bytes;
    }

    /// Nothing is in flight any more. `limited`: a connection waits for capacity, or was just notified of it.
    pub fn idle(&mut self, limited: bool, now: Instant) {
        self.idle_since = Some((now, limited));
    }

    fn left_lately(&self, now: Instant) -> usize {
        let age = now.saturating_duration_since(self.began);
        if age < SPAN {
            self.left + part(self.left_before, SPAN.saturating_sub(age))
        } else {
            part(self.left, (SPAN * 2).saturating_sub(age))
        }
    }
}

/// The part of what left in a whole span that falls on so much of it.
fn part(bytes: usize, of: Duration) -> usize {
    let bytes = bytes as u128 * of.as_micros() / SPAN.as_micros();
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KB: usize = 1000;

    /// A rate and the time at which it began.
    fn drain_rate() -> (DrainRate, Instant) {
        let now = Instant::now();
        (DrainRate::new(now), now)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn limit_follows_what_has_left_in_five_seconds() {
        let (mut rate, start) = drain_rate();
        rate.busy(start);
        // 20 KB/s for 12 s, then nothing.
        for tenth in 0..120 {
            rate.drained(2 * KB, start + ms(tenth * 100));
        }
        for (at, expected) in [
            (12_000, 100 * KB),
            (13_000, 80 * KB),
            (14_500, 50 * KB),
            (17_000, 20 * KB),
            (19_000, 4 * KB),
            (20_000, 0),
            (90_000, 0),
        ] {
            let limit = rate.limit(start + ms(at));
            // In the older of two buckets it is only known how much there was, not when.
            assert!(limit.abs_diff(expected) <= 13 * KB, "{at}: {limit}");
        }
    }

    #[test]
    fn limit_has_a_ceiling_and_for_a_fresh_client_a_floor() {
        let (mut rate, start) = drain_rate();
        assert_eq!(rate.limit(start), START);
        rate.busy(start);
        assert_eq!(rate.limit(start + ms(999)), START);
        assert_eq!(rate.limit(start + ms(1_000)), 0);
        rate.drained(KB, start + ms(10));
        assert_eq!(rate.limit(start + ms(10)), START);
        assert_eq!(rate.limit(start + ms(1_000)), KB);
        rate.drained(300 * KB, start + ms(20));
        assert_eq!(rate.limit(start + ms(20)), 301 * KB);
        rate.drained(usize::MAX / 2, start + ms(30));
        assert_eq!(rate.limit(start + ms(30)), MOST);
    }

    #[test]
    fn client_is_fresh_again_after_a_gap_that_our_limit_did_not_cause() {
        for (limited, gap, fresh) in [
            (false, 0, true),
            (false, 5, true),
            (true, 5, false),
            (true, 999, false),
            (true, 1_000, true),
        ] {
            let (mut rate, start) = drain_rate();
            rate.busy(start);
            let idle = start + ms(3_000);
            rate.drained(KB, idle);
            rate.idle(limited, idle);
            let now = idle + ms(gap);
            rate.busy(now);
            let expected = if fresh { START } else { KB };
            assert_eq!(rate.limit(now), expected, "{limited} {gap}");
        }
    }

    #[test]
    fn client_that_was_idle_for_long_may_have_a_burst() {
        let (mut rate, start) = drain_rate();
        rate.busy(start);
        rate.drained(KB, start + ms(1));
        rate.idle(false, start + ms(1));
        let later = start + Duration::from_hours(1);
        assert_eq!(rate.left_lately(later), 0);
        rate.busy(later);
        assert_eq!(rate.limit(later), START);
        rate.drained(KB, later + ms(1));
        assert_eq!(rate.left_lately(later + ms(1)), KB, "nothing from before");
    }

    #[test]
    fn time_that_stands_still_or_goes_back_is_harmless() {
        let (mut rate, start) = drain_rate();
        rate.drained(KB, start + ms(6_000));
        // Another thread asked the clock before.
        rate.drained(KB, start + ms(4_000));
        rate.busy(start);
        rate.idle(true, start + ms(6_000));
        rate.busy(start + ms(5_000));
        assert_eq!(rate.left_lately(start + ms(4_000)), 2 * KB);
    }
}
