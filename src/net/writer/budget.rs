//! How much may be queued on the lane, and whether a caller waits for capacity.

#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

use super::super::drain_rate::{DrainRate, START};
use super::queue::FrameQueue;

/// So many frames of the lane may be queued, however small they are.
pub(super) const MOST_FRAMES: usize = 1024;

#[derive(Default)]
pub(super) struct LaneBudget {
    /// Of a connection that has been blocked once. The others take what they are given, and no clock is read for them.
    drain_rate: Option<Box<DrainRate>>,
    wake: LaneWake,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum LaneWake {
    #[default]
    No,
    /// There was no capacity, and the observer has not been notified since.
    Wanted,
    /// The observer was notified, and no frame has come since.
    Expected,
}

impl LaneBudget {
    /// Whether so many bytes more may be queued: an empty queue takes any one frame.
    pub(super) fn fits(&self, queue: &FrameQueue, bytes: usize, blocked: bool) -> bool {
        // What the last flush left shows how fast the peer is.
        self.fits_above(if blocked { 0 } else { START }, queue, bytes)
    }

    /// Whether an answer to a command may be queued: however slow the peer is, [`START`] bytes may.
    pub(super) fn has_capacity(&self, queue: &FrameQueue) -> bool {
        self.fits_above(START, queue, 0)
    }

    fn fits_above(&self, least: usize, queue: &FrameQueue, more: usize) -> bool {
        if queue.is_empty() {
            return true;
        }
        let bytes = queue.bytes() + more;
        // The limit is asked for last: it may read the clock.
        queue.frames() < MOST_FRAMES && (bytes <= least || bytes <= self.limit(least))
    }

    fn limit(&self, least: usize) -> usize {
        self.drain_rate
            .as_ref()
            .map_or(START, |rate| rate.limit(Instant::now()).max(least))
    }

    /// There was no capacity.
    pub(super) fn want_wake(&mut self) {
        self.wake = LaneWake::Wanted;
    }

    /// A frame was queued.
    pub(super) fn offered(&mut self) {
        if self.wake == LaneWake::Expected {
            self.wake = LaneWake::No;
        }
    }

    /// True, once: there was no capacity, and now half of it is free.
    pub(super) fn wakes(&mut self, queue: &FrameQueue, blocked: bool) -> bool {
        let wakes = self.wake == LaneWake::Wanted
            && (queue.is_empty()
                || queue.frames() <= MOST_FRAMES / 2
                    && queue.bytes() <= self.limit(if blocked { 0 } else { START }) / 2);
        if wakes {
            self.wake = LaneWake::Expected;
        }
        wakes
    }

    /// A write has left something, and none had before.
    pub(super) fn blocked(&mut self) {
        let now = Instant::now();
        self.drain_rate
            .get_or_insert_with(|| Box::new(DrainRate::new(now)))
            .busy(now);
    }

    /// So many bytes have left a connection that is blocked.
    pub(super) fn drained(&mut self, bytes: usize) {
        if bytes > 0
            && let Some(rate) = &mut self.drain_rate
        {
            rate.drained(bytes, Instant::now());
        }
    }

    /// Nothing is left any more.
    pub(super) fn unblocked(&mut self) {
        let limited = self.wake != LaneWake::No;
        if let Some(rate) = &mut self.drain_rate {
            rate.idle(limited, Instant::now());
        }
    }

    /// As if the peer had taken so many bytes in the last seconds, and had been busy for long.
    #[cfg(test)]
    pub(super) fn set_speed(&mut self, bytes: usize) {
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(30)).unwrap();
        let mut rate = DrainRate::new(long_ago);
        rate.drained(bytes, now);
        self.drain_rate = Some(Box::new(rate));
    }
}
