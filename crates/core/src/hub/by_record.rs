//! Whose newest records a record of the log made, by its partition and its own key: a deletion names no organisation.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::sync::Arc;

use super::OrganisationKey;

/// An organisation's number here: half as long as its key. Used again only when all others were.
pub(super) type Owner = u32;

/// Kept in step with the tables of all organisations: see [`Latest`](super::latest::Latest), which counts the memory.
#[derive(Debug, Default)]
pub(super) struct ByRecord {
    /// Partition, key, owner, and the sequence number in the owner's table.
    entries: BTreeSet<(u32, Arc<str>, Owner, u64)>,
    owners: HashMap<Owner, OrganisationKey>,
    last: Owner,
}

impl ByRecord {
    /// An organisation is there from now on.
    pub(super) fn enlist(&mut self, organisation: OrganisationKey) -> Owner {
        loop {
            self.last = self.last.wrapping_add(1);
            if let hash_map::Entry::Vacant(free) = self.owners.entry(self.last) {
                free.insert(organisation);
                return self.last;
            }
        }
    }

    /// It is there no more, and has no records.
    pub(super) fn strike(&mut self, owner: Owner) {
        self.owners.remove(&owner);
    }

    pub(super) fn insert(&mut self, partition: u32, key: &Arc<str>, owner: Owner, sequence: u64) {
        self.entries
            .insert((partition, key.clone(), owner, sequence));
    }

    pub(super) fn remove(&mut self, partition: u32, key: &Arc<str>, owner: Owner, sequence: u64) {
        self.entries
            .remove(&(partition, key.clone(), owner, sequence));
    }

    /// In which tables the records of this key are, and where.
    pub(super) fn of(&self, partition: u32, key: &Arc<str>) -> Vec<(OrganisationKey, u64)> {
        let first = (partition, key.clone(), 0, 0);
        let last = (partition, key.clone(), Owner::MAX, u64::MAX);
        let found = self.entries.range(first..=last);
        found
            .filter_map(|(.., owner, sequence)| Some((*self.owners.get(owner)?, *sequence)))
            .collect()
    }

    /// How many records there are, and how many organisations.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.owners.len())
    }
}
