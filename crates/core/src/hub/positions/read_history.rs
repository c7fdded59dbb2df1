//! The read history: how far this instance had read at each moment of the last window.
//!
//! A cursor says up to when its issuer had read everything. While brokers are away, or while there is much to catch up with, that
//! moment stands still, and so do cursors: the clock alone would call them expired although nothing that they miss has been
//! evicted. So a cursor is as old as the window allows if it is from before what this instance had read itself when the window
//! began.

use std::collections::VecDeque;

use crate::hub::Now;

/// One note a second is enough; a hub that is asked more often need not keep more.
const PAUSE_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(in crate::hub) struct ReadHistory {
    /// Monotonic time of the note, and the wall time up to which everything was read then. The first is the newest that is not
    /// within the window, if this instance is so old.
    notes: VecDeque<(u64, u64)>,
}

impl ReadHistory {
    pub(in crate::hub) fn note(&mut self, read_up_to: u64, window_ms: u64, now: Now) {
        let recent = |(at, _): &(u64, u64)| now.monotonic.saturating_sub(*at) < PAUSE_MS;
        if self.notes.back().is_some_and(recent) {
            return;
        }
        self.notes.push_back((now.monotonic, read_up_to));
        while self
            .notes
            .get(1)
            .is_some_and(|second| is_before(second, window_ms, now))
        {
            self.notes.pop_front();
        }
    }

    /// Wall time up to which everything was read when the window began; `None`: this instance is younger than that.
    pub(in crate::hub) fn at_window_start(&self, window_ms: u64, now: Now) -> Option<u64> {
        let before = self.notes.iter().rev();
        before
            .copied()
            .find(|note| is_before(note, window_ms, now))
            .map(|(_, read_up_to)| read_up_to)
    }
}

fn is_before((at, _): &(u64, u64), window_ms: u64, now: Now) -> bool {
    now.monotonic.saturating_sub(*at) >= window_ms
}
