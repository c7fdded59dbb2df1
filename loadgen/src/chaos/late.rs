//! How far behind the servers were, as clients saw it that were connected all the time and read at once.
//!
//! A window that is bounded by bytes is shorter in time while a server catches up, and a cursor is as old as what the server
//! that issued it had read. Neither can be seen from outside, but both show in how late records came to those who were there.

use std::collections::BTreeMap;

/// A server that is behind by less counts as not behind.
const NOTICED_NS: u64 = 200_000_000;
/// Records that were sent within so much of each other are one.
const SLICE_NS: u64 = 100_000_000;

/// When a slice of time began, and when the last record came that was sent in it: of those that came late.
#[derive(Debug, Default, Clone)]
pub(crate) struct Late(BTreeMap<u64, u64>);

impl Late {
    pub(crate) fn note(&mut self, sent_ns: u64, came_ns: u64) {
        if came_ns.saturating_sub(sent_ns) >= NOTICED_NS {
            self.put(sent_ns / SLICE_NS * SLICE_NS, came_ns);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (slice, came_ns) in &other.0 {
            self.put(*slice, *came_ns);
        }
    }

    fn put(&mut self, slice: u64, came_ns: u64) {
        let last = self.0.entry(slice).or_default();
        *last = came_ns.max(*last);
    }

    /// Everything that was sent before this time had reached everybody at that moment.
    pub(crate) fn reach(&self, moment_ns: u64) -> u64 {
        let mut before = self.0.range(..moment_ns);
        let missing = before.find(|(_, came_ns)| **came_ns > moment_ns);
        missing.map_or(moment_ns, |(slice, _)| *slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_reaches_back_to_the_first_record_that_is_still_to_come() {
        let mut late = Late::default();
        late.note(3 * SECOND, 3 * SECOND + NOTICED_NS - 1);
        assert_eq!(late.reach(3 * SECOND + 1), 3 * SECOND + 1, "soon enough");
        late.note(4 * SECOND + 5, 9 * SECOND);
        late.note(4 * SECOND, 8 * SECOND);
        let mut all = Late::default();
        all.note(6 * SECOND, 7 * SECOND);
        all.add(&late);
        for (moment, reach) in [(4, 4), (5, 4), (6, 4), (8, 4), (9, 9), (10, 10)] {
            assert_eq!(all.reach(moment * SECOND), reach * SECOND, "{moment}");
        }
    }
}
