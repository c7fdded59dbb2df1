//! Eviction: what leaves the window because it is old or because it is too much, and what may then be forgotten.
//!
//! Over a cap in bytes those organisations lose their oldest entries that take more than their share of it, down to that share, so a
//! noisy organisation shortens only its own window.

use std::collections::BinaryHeap;

use slotmap::SlotMap;

use super::record_index::RecordIndex;
use super::{Floor, OrganisationLog};
use crate::hub::outlet::Outlet;
use crate::hub::positions::Positions;
use crate::hub::{Hub, HubSettings, Now, OrganisationKey};

/// Two or three milliseconds.
const EVICTED_AT_ONCE: u64 = 4_096;

impl<O: Outlet> Hub<O> {
    /// Evicts what is older than the window, so much at a time: what was loaded at the start grows old at once. Visits go on with the
    /// rest. The newest record of a key stays in its snapshot.
    pub(in crate::hub) fn evict_expired(&mut self, now: Now) {
        let kept = self.settings.kept_ms();
        // Cursors are as old as what has been read, so the partitions that they have to name are, too.
        let behind = now.wall.saturating_sub(self.positions.read_up_to(now));
        let memory = self.settings.memory_ms().saturating_add(behind);
        self.positions.expire(memory, now);
        let mut left = EVICTED_AT_ONCE;
        for log in self.organisations.values_mut() {
            let is_due = |at: Now| now.monotonic.saturating_sub(at.monotonic) >= kept;
            while left > 0 && log.oldest().is_some_and(is_due) {
                self.bytes -= log.evict_oldest(false);
                left -= 1;
            }
            log.expire(&self.positions, &self.settings, memory, now);
        }
        self.organisations.retain(|_, log| {
            let keep = !log.is_unused();
            if !keep {
                self.by_id.remove(&log.id);
                self.record_index.remove_owner(log.snapshot.owner());
            }
            keep
        });
        left -= self.evict_over_limit(left, now);
        self.visits.evict = left == 0;
    }

    /// Evicts the oldest entries while the window takes more bytes than it may.
    pub(in crate::hub) fn evict_over_cap(&mut self) {
        self.counts.evicted_early += evict_largest(
            &mut self.organisations,
            &mut self.bytes,
            self.settings.window_bytes,
            u64::MAX,
            |log| log.bytes,
            |log| (!log.is_empty()).then(|| log.evict_oldest(true)),
        );
        // What is over the limit can wait for a visit, unless there is nothing more that may go.
        self.visits.evict |= self.bytes > self.limit.now.bytes && !self.limit.is_reached;
    }

    /// The same for what the window may take for now, `most` entries at most. Returns how many were evicted.
    fn evict_over_limit(&mut self, most: u64, now: Now) -> u64 {
        let limit = self.limit.now;
        let may_go = |at: Now| now.monotonic.saturating_sub(at.monotonic) >= limit.kept_ms;
        let evicted = evict_largest(
            &mut self.organisations,
            &mut self.bytes,
            limit.bytes,
            most,
            |log| log.bytes,
            |log| {
                let oldest = log.oldest().filter(|at| may_go(*at));
                oldest.map(|_| log.evict_oldest(true))
            },
        );
        self.counts.evicted_early += evicted;
        self.limit.is_reached = self.bytes > limit.bytes && evicted < most;
        evicted
    }

    /// Snapshots have a cap of their own: over it, the records go that were updated longest ago.
    pub(in crate::hub) fn evict_snapshots(&mut self) {
        let record_index = &mut self.record_index;
        self.counts.latest_evicted += evict_largest(
            &mut self.organisations,
            &mut self.snapshot_bytes,
            self.settings.latest_bytes,
            u64::MAX,
            |log| log.snapshot.bytes(),
            |log| (log.snapshot.len() > 0).then(|| log.snapshot.evict_oldest(record_index)),
        );
    }
}

impl OrganisationLog {
    /// Evicts the oldest entry and raises the floor of its partition. Returns the bytes that became free.
    fn evict_oldest(&mut self, for_space: bool) -> usize {
        let Some(entry) = self.entries.pop_front() else {
            return 0;
        };
        let sequence = self.first;
        self.first += 1;
        self.bytes -= entry.cost;
        if for_space {
            self.shortened = Some(entry.appended.monotonic);
        }
        self.raise_floor(
            entry.partition,
            entry.publication().offset.saturating_add(1),
            entry.appended.wall,
        );
        if let Some(same) = self.by_partition.get_mut(&entry.partition) {
            same.pop_front();
            if same.is_empty() {
                self.by_partition.remove(&entry.partition);
            }
        }
        for room in entry.publication().audience() {
            let Some(log) = self.rooms.get_mut(&*room) else {
                continue;
            };
            if log.entries.front() == Some(&sequence) {
                log.entries.pop_front();
            }
            log.evicted = sequence + 1;
            if log.entries.is_empty() && log.members.is_empty() {
                self.rooms.remove(&*room);
            }
        }
        entry.cost
    }

    fn raise_floor(&mut self, partition: u32, next: i64, appended: u64) {
        let floor = self
            .floors
            .entry(partition)
            .or_insert(Floor { next, appended });
        floor.next = floor.next.max(next);
        floor.appended = floor.appended.max(appended);
    }

    /// Removes what is known of a partition that was deleted: no cursor names it from now on. Returns the bytes of the snapshot that
    /// became free.
    pub(in crate::hub) fn remove_partition(
        &mut self,
        partition: u32,
        record_index: &mut RecordIndex,
    ) -> usize {
        self.touched.retain(|(index, _)| *index != partition);
        self.snapshot.remove_partition(partition, record_index)
    }

    /// Removes what can no longer matter to any cursor that is young enough to be resumed.
    fn expire(&mut self, positions: &Positions, settings: &HubSettings, memory: u64, now: Now) {
        self.late.expire(settings.kept_ms(), now);
        // The window goes on to evict what it has of a partition that was deleted, and that raises floors.
        if self.floors.len() > positions.len() {
            self.floors
                .retain(|partition, _| positions.get(*partition).is_some());
        }
        self.touched
            .retain(|(_, when)| now.monotonic.saturating_sub(*when) < memory);
        if self.entries.is_empty() {
            let touched = &self.touched;
            self.floors
                .retain(|partition, _| touched.iter().any(|(index, _)| index == partition));
        }
        if self
            .shortened
            .is_some_and(|at| now.monotonic.saturating_sub(at) >= memory)
        {
            self.shortened = None;
        }
    }

    fn is_unused(&self) -> bool {
        self.connections == 0
            && self.entries.is_empty()
            && self.touched.is_empty()
            && self.snapshot.len() == 0
    }
}

/// Evicts, while all together take more than `cap` bytes, from each organisation that takes more than its share, down to that. The share is
/// the same for all, and what one leaves of it is divided among those that want more. `bytes` gives what one of them takes, and is called
/// once for each, however many entries must go: with many small organisations that is one entry of nearly all of them. `evict` removes the
/// oldest entry of one and returns the bytes that became free, or `None` if it has none that may go: then the cap is exceeded by that,
/// and the others keep their share all the same. `taken` is what all of them take. `most` entries at most are evicted. Returns how many
/// were.
fn evict_largest<T>(
    organisations: &mut SlotMap<OrganisationKey, T>,
    taken: &mut usize,
    cap: usize,
    most: u64,
    bytes: impl Fn(&T) -> usize,
    mut evict: impl FnMut(&mut T) -> Option<usize>,
) -> u64 {
    if *taken <= cap {
        return 0;
    }
    // A little more than needed, so that this is not repeated at each append.
    let target = cap - cap / 64;
    let sizes = organisations.iter().map(|(key, one)| (bytes(one), key));
    let mut by_size: BinaryHeap<_> = sizes.collect();
    // The largest first, until the next one takes no more than what would then be the share of each. `within`: what all take that are
    // not over it.
    let (mut over, mut within, mut share) = (Vec::new(), *taken, 0);
    while let Some((size, key)) = by_size.pop().filter(|(size, _)| *size > share) {
        over.push((size, key));
        within -= size;
        share = target.saturating_sub(within) / over.len();
    }
    let mut evicted = 0;
    for (mut left, key) in over {
        let one = &mut organisations[key];
        while left > share
            && *taken > target
            && evicted < most
            && let Some(freed) = evict(one)
        {
            evicted += 1;
            left -= freed;
            *taken -= freed;
        }
    }
    evicted
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;

    use super::*;

    /// Organisations by the sizes of their entries, oldest first.
    type All = SlotMap<OrganisationKey, VecDeque<usize>>;

    fn all(sizes: &[&[usize]]) -> All {
        let mut all = All::with_key();
        for entries in sizes {
            all.insert(entries.iter().copied().collect());
        }
        all
    }

    fn sum(all: &All) -> usize {
        all.values().flatten().sum()
    }

    /// How many entries were evicted, and how often an organisation's size was asked.
    fn evict_to(all: &mut All, cap: usize) -> (u64, usize) {
        let (mut taken, looks) = (sum(all), Cell::new(0));
        let look = || looks.set(looks.get() + 1);
        let evicted = evict_largest(
            all,
            &mut taken,
            cap,
            u64::MAX,
            |one| {
                look();
                one.iter().sum()
            },
            |one| {
                look();
                one.pop_front()
            },
        );
        assert_eq!(taken, sum(all));
        (evicted, looks.get())
    }

    #[test]
    fn each_organisation_is_measured_once_however_many_entries_are_evicted() {
        for many in [1_000, 16_000] {
            let mut all = all(&vec![&[100, 100, 100][..]; many]);
            let cap = many * 300 - 1;
            let (evicted, looks) = evict_to(&mut all, cap);
            assert!(evicted > many as u64 / 32, "{evicted}");
            assert_eq!(looks, many + usize::try_from(evicted).unwrap());
            assert_eq!(evict_to(&mut all, cap), (0, 0), "below the cap");
        }
    }

    #[test]
    fn the_largest_organisations_are_evicted_and_a_small_one_keeps_what_it_has() {
        for (sizes, cap, expected) in [
            // The oldest of the largest.
            (&[&[10, 20, 30, 40][..], &[15, 15]][..], 101, &[70, 30][..]),
            // Two that are alike.
            (&[&[10; 50], &[10; 50], &[10; 5]], 650, &[300, 290, 50]),
            // All of them, if need be.
            (&[&[5, 5], &[7], &[9]], 0, &[0, 0, 0]),
            (&[&[5, 5], &[7], &[9]], 26, &[10, 7, 9]),
            (&[&[], &[200]], 100, &[0, 0]),
        ] {
            let mut all = all(sizes);
            evict_to(&mut all, cap);
            let mut left: Vec<usize> = all.values().map(|one| one.iter().sum()).collect();
            let mut expected = expected.to_vec();
            left.sort_unstable();
            expected.sort_unstable();
            assert_eq!(left, expected, "{sizes:?}");
        }
    }
}
