//! Which organisations have a record of a partition and key in their snapshot: a tombstone names no organisation.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::sync::Arc;

use crate::hub::outlet::Outlet;
use crate::hub::{Hub, OrganisationKey};

/// An organisation's number here: half as long as its key. Used again only when all others were.
pub(in crate::hub) type Owner = u32;

/// Kept in step with the snapshots of all organisations: see [`SnapshotTable`](super::snapshot::SnapshotTable), which counts the
/// memory.
#[derive(Debug, Default)]
pub(in crate::hub) struct RecordIndex {
    /// Partition, key (its bytes: what compaction goes by), owner, and the sequence number in the owner's snapshot.
    entries: BTreeSet<(u32, Arc<[u8]>, Owner, u64)>,
    owners: HashMap<Owner, OrganisationKey>,
    last: Owner,
}

impl RecordIndex {
    /// Gives a new organisation its number.
    pub(in crate::hub) fn add_owner(&mut self, organisation: OrganisationKey) -> Owner {
        loop {
            self.last = self.last.wrapping_add(1);
            if let hash_map::Entry::Vacant(free) = self.owners.entry(self.last) {
                free.insert(organisation);
                return self.last;
            }
        }
    }

    /// The organisation was removed, and has no records.
    pub(in crate::hub) fn remove_owner(&mut self, owner: Owner) {
        self.owners.remove(&owner);
    }

    pub(in crate::hub) fn insert(
        &mut self,
        partition: u32,
        key: &Arc<[u8]>,
        owner: Owner,
        sequence: u64,
    ) {
        self.entries
            .insert((partition, key.clone(), owner, sequence));
    }

    pub(in crate::hub) fn remove(
        &mut self,
        partition: u32,
        key: &Arc<[u8]>,
        owner: Owner,
        sequence: u64,
    ) {
        self.entries
            .remove(&(partition, key.clone(), owner, sequence));
    }

    /// In which snapshots records of this key are, and where.
    pub(in crate::hub) fn of(
        &self,
        partition: u32,
        key: &Arc<[u8]>,
    ) -> Vec<(OrganisationKey, u64)> {
        let first = (partition, key.clone(), 0, 0);
        let last = (partition, key.clone(), Owner::MAX, u64::MAX);
        let found = self.entries.range(first..=last);
        found
            .filter_map(|(.., owner, sequence)| Some((*self.owners.get(owner)?, *sequence)))
            .collect()
    }

    /// How many records there are, and how many organisations.
    #[cfg(test)]
    pub(in crate::hub) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.owners.len())
    }
}

impl<O: Outlet> Hub<O> {
    /// A tombstone: the record of this key no longer exists in its partition, so it leaves every snapshot. Clients that have it
    /// are not notified.
    pub(in crate::hub) fn remove_record(&mut self, partition: u32, key: &Arc<[u8]>) {
        // It may have been written when the partition was read under an earlier index.
        for partition in self.positions.same_log(partition) {
            for (organisation, sequence) in self.record_index.of(partition, key) {
                if let Some(log) = self.organisations.get_mut(organisation) {
                    self.snapshot_bytes -= log.snapshot.remove(sequence, &mut self.record_index);
                }
            }
        }
    }
}
