//! What the hub keeps, and for how long.

use super::positions::DISCOVERY_MS;
use super::resume::SKEW_MS;

#[derive(Debug, Clone, Copy)]
pub struct HubSettings {
    /// How far back a client can be resumed, in milliseconds.
    pub window_ms: u64,
    /// The most that the window may take, in bytes.
    pub window_bytes: usize,
    /// The most that snapshots (the newest records of class `latest`) may take, in bytes; 0 keeps none.
    pub latest_bytes: usize,
    /// Cursors name every partition while there are no more than so many; [`NAMED_PARTITIONS`] is a good number.
    pub named_partitions: usize,
}

/// Then a cursor is at most about 380 characters long, and most are much shorter. Beyond, partitions are omitted that carried
/// nothing of the organisation for long, and whether a record in them is new is known only as well as timestamps are right: one
/// that is stamped an hour late is missing at the start of an instance, one of the future is read again.
pub const NAMED_PARTITIONS: usize = 64;

impl HubSettings {
    /// How long an instance keeps what it promises to keep for the window: clocks differ.
    pub fn kept_ms(&self) -> u64 {
        self.window_ms + SKEW_MS
    }

    /// How far back an instance reads when it starts, in milliseconds: also what was written before a cursor was issued, in a
    /// partition that its issuer had not found by then.
    pub fn loaded_ms(&self) -> u64 {
        self.kept_ms() + DISCOVERY_MS
    }

    /// Of many partitions, cursors name those that carried a record of the organisation within this time: long enough for what another
    /// instance has loaded at its start, and then kept.
    pub(super) fn memory_ms(&self) -> u64 {
        self.kept_ms() + self.loaded_ms() + 2 * SKEW_MS
    }

    /// A partition that a cursor does not name carried nothing of its organisation from this wall time on until the cursor was
    /// issued, by the clock of any instance.
    pub(super) fn silent_from(&self, issued: u64) -> u64 {
        issued
            .saturating_add(SKEW_MS)
            .saturating_sub(self.memory_ms())
    }

    /// A quiet connection is given a newer cursor this often.
    pub(super) fn quiet_ms(&self) -> u64 {
        (self.window_ms / 4).min(60_000)
    }
}
