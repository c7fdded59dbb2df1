//! What was read late: whether it is new to a client whose cursor does not name its partition.
//!
//! Such a partition carried nothing of the organisation for a long time before the cursor was issued ([`Settings::silent_from`]).
//! So a record that was written after the beginning of that time was written after its end, and is new. When a record was
//! written is not known here (its timestamp is its producer's word), but it was not there when the end of its partition was
//! reached before. That tells enough, unless this instance could not read for longer than partitions are remembered: then
//! others may have handed out the same record so long ago that their cursors have forgotten its partition.

use std::collections::HashMap;

use super::{Now, Settings};

/// By partition: records in the window that were read long after they may have been written.
#[derive(Debug, Default)]
pub(super) struct Late(HashMap<u32, Span>);

#[derive(Debug, Clone, Copy)]
struct Span {
    /// Wall time after which all of them were written.
    written_after: u64,
    /// Monotonic time at which the last of them was appended.
    appended: u64,
}

impl Late {
    /// A record was appended that was written after that wall time. One that is no older than what is loaded at a start is not
    /// late.
    pub(super) fn note(
        &mut self,
        partition: u32,
        written_after: u64,
        settings: &Settings,
        now: Now,
    ) {
        if now.wall.saturating_sub(written_after) <= settings.loaded_ms() {
            return;
        }
        let span = self.0.entry(partition).or_insert(Span {
            written_after,
            appended: now.monotonic,
        });
        span.written_after = span.written_after.min(written_after);
        span.appended = now.monotonic;
    }

    /// Lets go of what the window has let go of.
    pub(super) fn forget(&mut self, kept: u64, now: Now) {
        self.0
            .retain(|_, span| now.monotonic.saturating_sub(span.appended) < kept);
    }

    /// Whether records of the partition may be from before this wall time.
    pub(super) fn has_before(&self, partition: u32, wall: u64) -> bool {
        let span = self.0.get(&partition);
        span.is_some_and(|span| span.written_after < wall)
    }
}
