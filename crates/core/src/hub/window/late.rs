//! Records that were read late: whether they are new to a client whose cursor does not name their partition.
//!
//! Such a partition carried nothing of the organisation for a long time before the cursor was issued ([`HubSettings::silent_from`]).
//! So a record that was written after the beginning of that time was written after its end, and is new. When a record was
//! written is not known here (its timestamp is its producer's word), but it was not there when the end of its partition was
//! reached before. That is enough, unless this instance could not read for longer than partitions are remembered: then
//! other instances may have delivered the same record so long ago that their cursors no longer name its partition.

use std::collections::HashMap;

use crate::hub::{HubSettings, Now};

/// By partition: records in the window that were read long after they may have been written.
#[derive(Debug, Default)]
pub(in crate::hub) struct LateRecords(HashMap<u32, Span>);

#[derive(Debug, Clone, Copy)]
struct Span {
    /// Wall time after which all of them were written.
    written_after: u64,
    /// Monotonic time at which the last of them was appended.
    appended: u64,
}

impl LateRecords {
    /// A record was appended that was written after that wall time. One that is no older than what is loaded at a start is not
    /// late.
    pub(in crate::hub) fn note(
        &mut self,
        partition: u32,
        written_after: u64,
        settings: &HubSettings,
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

    /// Removes what the window has evicted.
    pub(in crate::hub) fn expire(&mut self, kept: u64, now: Now) {
        self.0
            .retain(|_, span| now.monotonic.saturating_sub(span.appended) < kept);
    }

    /// Whether records of the partition may be from before this wall time.
    pub(in crate::hub) fn has_before(&self, partition: u32, wall: u64) -> bool {
        let span = self.0.get(&partition);
        span.is_some_and(|span| span.written_after < wall)
    }
}
