//! How many bytes may be on their way to a client: what it takes in five seconds.
//!
//! A ping and an answer to a command wait behind whatever is on its way. If that were a whole MiB for everybody, a client
//! that reads 20 KB/s would see a ping after 50 s, and be closed for want of a pong although it gets on. So the bound
//! follows what has left. The words:
//!
//! - *busy*: something is on its way, and has been since `busy_since`
//! - *fresh*: not busy for long, so nothing can be said of how fast it is: a client to whom nothing was sent has taken
//!   nothing. It may have [`START`]

use std::time::{Duration, Instant};

/// The most there can be, however fast the client was: with the buffers of the library and the kernel it costs not quite a
/// MiB of memory when it stops.
pub(super) const MOST: usize = 768 * 1024;

/// For a client of which nothing is known: about what the kernels on the way take at once. A fast one drains it in
/// milliseconds and has earned as much again. Also what a poll's answer may always have, and what answers may always have
/// over a WebSocket.
pub(super) const START: usize = 64 * 1024;

/// What left within so long may be on its way again.
const SPAN: Duration = Duration::from_secs(5);

/// Being busy for so long shows how fast the client is; having nothing on the way for so long makes it fresh again.
const FRESH: Duration = Duration::from_secs(1);

/// What has left a way, and how much may be on it.
///
/// The span slides over two buckets, of which the older one counts in proportion to how much of it still lies within.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    /// Bytes that left since `began`.
    left: usize,
    /// Bytes that left in the span before `began`.
    left_before: usize,
    busy_since: Instant,
    /// When it was drained, and whether we kept it short: then it was empty for our bound's sake and not for want of events.
    drained: Option<(Instant, bool)>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            left: 0,
            left_before: 0,
            busy_since: now,
            drained: None,
        }
    }

    /// Bytes that may be on their way now, together with what is.
    pub(super) fn allows(&self, now: Instant) -> usize {
        let fresh = now.saturating_duration_since(self.busy_since) < FRESH;
        let least = if fresh { START } else { 0 };
        self.left_lately(now).clamp(least, MOST)
    }

    /// Something is on its way, and nothing was.
    pub(super) fn begins(&mut self, now: Instant) {
        let goes_on = self.drained.is_some_and(|(at, kept_short)| {
            kept_short && now.saturating_duration_since(at) < FRESH
        });
        if !goes_on {
            self.busy_since = now;
        }
    }

    /// So many bytes have left.
    pub(super) fn leaves(&mut self, bytes: usize, now: Instant) {
        let spans = now.saturating_duration_since(self.began).as_micros() / SPAN.as_micros();
        if spans > 0 {
            self.left_before = if spans == 1 { self.left } else { 0 };
            self.left = 0;
            self.began = if spans == 1 { self.began + SPAN } else { now };
        }
        self.left += bytes;
    }

    /// Nothing is on its way any more. `kept_short`: somebody waits for room, or was just told that there is.
    pub(super) fn ends(&mut self, kept_short: bool, now: Instant) {
        self.drained = Some((now, kept_short));
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

    /// A pace and the time at which it began.
    fn pace() -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(now), now)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_follows_what_has_left_in_five_seconds() {
        let (mut pace, start) = pace();
        pace.begins(start);
        // 20 KB/s for 12 s, then nothing.
        for tenth in 0..120 {
            pace.leaves(2 * KB, start + ms(tenth * 100));
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
            let allowed = pace.allows(start + ms(at));
            // In the older of two buckets it is only known how much there was, not when.
            assert!(allowed.abs_diff(expected) <= 13 * KB, "{at}: {allowed}");
        }
    }

    #[test]
    fn it_has_a_ceiling_and_a_fresh_client_a_floor() {
        let (mut pace, start) = pace();
        assert_eq!(pace.allows(start), START);
        pace.begins(start);
        assert_eq!(pace.allows(start + ms(999)), START);
        assert_eq!(pace.allows(start + ms(1_000)), 0);
        pace.leaves(KB, start + ms(10));
        assert_eq!(pace.allows(start + ms(10)), START);
        assert_eq!(pace.allows(start + ms(1_000)), KB);
        pace.leaves(300 * KB, start + ms(20));
        assert_eq!(pace.allows(start + ms(20)), 301 * KB);
        pace.leaves(usize::MAX / 2, start + ms(30));
        assert_eq!(pace.allows(start + ms(30)), MOST);
    }

    #[test]
    fn a_client_is_fresh_again_after_every_gap_that_is_not_our_doing() {
        for (kept_short, gap, fresh) in [
            (false, 0, true),
            (false, 5, true),
            (true, 5, false),
            (true, 999, false),
            (true, 1_000, true),
        ] {
            let (mut pace, start) = pace();
            pace.begins(start);
            let drained = start + ms(3_000);
            pace.leaves(KB, drained);
            pace.ends(kept_short, drained);
            let now = drained + ms(gap);
            pace.begins(now);
            let expected = if fresh { START } else { KB };
            assert_eq!(pace.allows(now), expected, "{kept_short} {gap}");
        }
    }

    #[test]
    fn a_client_that_was_idle_for_long_may_have_a_burst() {
        let (mut pace, start) = pace();
        pace.begins(start);
        pace.leaves(KB, start + ms(1));
        pace.ends(false, start + ms(1));
        let later = start + Duration::from_hours(1);
        assert_eq!(pace.left_lately(later), 0);
        pace.begins(later);
        assert_eq!(pace.allows(later), START);
        pace.leaves(KB, later + ms(1));
        assert_eq!(pace.left_lately(later + ms(1)), KB, "nothing from before");
    }

    #[test]
    fn time_that_stands_still_or_comes_late_does_no_harm() {
        let (mut pace, start) = pace();
        pace.leaves(KB, start + ms(6_000));
        // Another thread asked the clock before.
        pace.leaves(KB, start + ms(4_000));
        pace.begins(start);
        pace.ends(true, start + ms(6_000));
        pace.begins(start + ms(5_000));
        assert_eq!(pace.left_lately(start + ms(4_000)), 2 * KB);
    }
}
