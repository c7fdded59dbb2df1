//! Positions: how far this instance has read each partition, and how cursors name that.
//!
//! Beside the positions themselves: one [`partition`], the [`tables`] that cursors are encoded with, the [`read_history`] that says
//! how old a cursor may be, and what happens when a log is deleted, [`recreated`] or truncated.

pub(in crate::hub) mod partition;
pub(in crate::hub) mod read_history;
pub(in crate::hub) mod recreated;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::cursor::{Cursor, Table, Tag, partition_hash};
use crate::domain::record::TopicPartition;

use crate::hub::{HubSettings, Now};

use partition::Partition;
use tables::Tables;

/// How long a new partition may exist before it is found here: nothing newer than that is known to be read.
pub(in crate::hub) const DISCOVERY_MS: u64 = 30_000;

/// All partitions of this instance, by the feeder's index. Topics come and go for as long as it runs, and every record looks
/// here: what a record needs goes through neither those that were deleted nor all that exist.
#[derive(Debug)]
pub(in crate::hub) struct Positions {
    settings: HubSettings,
    partitions: BTreeMap<u32, Partition>,
    by_hash: HashMap<u32, u32>,
    /// By hash: the last one of a name that was removed, and since when (monotonic time). What takes its name is another log, for
    /// as long as a cursor may name it.
    removed: HashMap<u32, (Partition, u64)>,
    /// The indices of each, rising: it gets another one each time that it is wanted again.
    by_place: HashMap<TopicPartition, Vec<u32>>,
    /// `end_seen` and index of all that are read.
    ends: BTreeSet<(u64, u32)>,
    /// `partly_read_since` and index of those that have one.
    partly_read: BTreeSet<(u64, u32)>,
    /// Hashes of two partitions. A cursor has one position for both, so none that names such a hash can be resumed.
    ambiguous: HashSet<u32>,
    tables: Tables,
    loading: bool,
}

impl Positions {
    pub(in crate::hub) fn new(settings: HubSettings) -> Self {
        Self {
            settings,
            partitions: BTreeMap::new(),
            by_hash: HashMap::new(),
            removed: HashMap::new(),
            by_place: HashMap::new(),
            ends: BTreeSet::new(),
            partly_read: BTreeSet::new(),
            ambiguous: HashSet::new(),
            tables: Tables::new(settings.window_ms),
            loading: true,
        }
    }

    /// Adds a partition that is read from `start` on under this index. Returns the earlier indices of a log that it turns out to
    /// have replaced: what was read under them no longer exists.
    pub(in crate::hub) fn add(
        &mut self,
        index: u32,
        topic: &Arc<str>,
        topic_id: Option<[u8; 16]>,
        number: i32,
        start: i64,
        now: Now,
    ) -> Vec<u32> {
        let (hash, tag) = (partition_hash(topic, number), Tag::of(topic_id));
        let place = (Arc::clone(topic), number);

        // What was read under this name before: still here under another index, or removed not long ago. It may matter to cursors
        // for that long, so both count.
        let earlier = self.by_hash.get(&hash).copied();
        let seen = match earlier {
            Some(index) => self.get(index),
            None => self.removed.get(&hash).map(|(removed, _)| removed),
        };

        // Two names with one hash are no earlier log of each other. A cursor cannot tell them apart, so none that names the hash is
        // resumed from now on.
        let clashes = seen.is_some_and(|earlier| earlier.place != place);
        let seen = seen.filter(|_| !clashes);

        // A log that was merely unwanted for a while is the same log if its id does not say otherwise and it goes on no lower than
        // where reading ended. Anything else of that name is another log: its offsets begin again, and older cursors do not fit.
        let is_same = |earlier: &&Partition| {
            earlier.unwanted && !earlier.tag.differs(tag) && start >= earlier.next
        };
        let replaced = seen.filter(|earlier| !is_same(earlier));
        let (recreated_at, former) = (
            replaced.map(|_| now.wall),
            replaced.map(|replaced| replaced.tag),
        );

        // Of a log that was read until now the feeder has said so itself, before this. Of one that was unwanted it could not know,
        // so its indices end here, and the caller notifies the connections.
        let ended = match (replaced, earlier) {
            (Some(replaced), Some(earlier)) if replaced.unwanted => self.end_log(earlier, now),
            _ => Vec::new(),
        };

        // Asked before the partition is inserted: its own end is not known yet, and must not count as one that was seen.
        let read_up_to = self.read_up_to(now);
        if clashes {
            self.ambiguous.insert(hash);
        }
        let partition = Partition {
            place,
            hash,
            tag,
            next: start,
            start,
            // What lies below `start` belonged to organisations that are not known here.
            partly_read_since: (start > 0).then_some(now.monotonic),
            recreated_at,
            former: former.unwrap_or_default(),
            gap_at: None,
            appended: 0,
            unwanted: false,
            // While loading, nothing is known to be read before the end was reached. Afterwards a new partition may have existed
            // for as long as it takes to find one, so "everything is read" falls back by that much and no further.
            end_seen: if self.loading {
                0
            } else {
                read_up_to.min(now.wall.saturating_sub(DISCOVERY_MS))
            },
            // The oldest record that can come: at a start, or when reading begins in the middle, it is as old as what is loaded.
            // A partition that is read from its first offset is younger than that: it would have been found before.
            written_after: if self.loading || start > 0 {
                now.wall.saturating_sub(self.settings.loaded_ms())
            } else {
                read_up_to.saturating_sub(DISCOVERY_MS)
            },
        };
        self.insert(index, partition);
        // Last, when the removed indices are out and the new one is in: the table names exactly what is read.
        self.rebuild_table(now);
        ended
    }

    fn insert(&mut self, index: u32, partition: Partition) {
        self.removed.remove(&partition.hash);
        self.by_hash.insert(partition.hash, index);
        let indices = self.by_place.entry(partition.place.clone()).or_default();
        indices.push(index);
        self.ends.insert((partition.end_seen, index));
        if let Some(began) = partition.partly_read_since {
            self.partly_read.insert((began, index));
        }
        self.partitions.insert(index, partition);
    }

    fn take(&mut self, index: u32) -> Option<Partition> {
        let partition = self.partitions.remove(&index)?;
        if let Some(indices) = self.by_place.get_mut(&partition.place) {
            indices.retain(|other| *other != index);
            if indices.is_empty() {
                self.by_place.remove(&partition.place);
            }
        }
        self.ends.remove(&(partition.end_seen, index));
        if let Some(began) = partition.partly_read_since {
            self.partly_read.remove(&(began, index));
        }
        Some(partition)
    }

    /// Removes the log that is read under this index. Returns the indices under which it was read.
    pub(in crate::hub) fn remove(&mut self, index: u32, now: Now) -> Vec<u32> {
        let ended = self.end_log(index, now);
        self.rebuild_table(now);
        ended
    }

    fn end_log(&mut self, index: u32, now: Now) -> Vec<u32> {
        let ended = self.same_log(index);
        for index in &ended {
            let Some(partition) = self.take(*index) else {
                continue;
            };
            // Otherwise another partition has that hash by now.
            if self.by_hash.get(&partition.hash) == Some(index) {
                self.by_hash.remove(&partition.hash);
                let removed = (partition, now.monotonic);
                self.removed.insert(removed.0.hash, removed);
            }
        }
        ended
    }

    /// Drops what was removed more than `memory` milliseconds ago: cursors that name it are too old to be resumed.
    pub(in crate::hub) fn expire(&mut self, memory: u64, now: Now) {
        self.removed
            .retain(|_, (_, since)| now.monotonic.saturating_sub(*since) < memory);
    }

    /// How much is kept of what exists, and of what was removed.
    #[cfg(test)]
    pub(in crate::hub) fn sizes(&self) -> ([usize; 5], usize) {
        let existing = [
            self.partitions.len(),
            self.by_hash.len(),
            self.by_place.len(),
            self.ends.len(),
            self.partly_read.len(),
        ];
        (existing, self.removed.len())
    }

    /// All indices of the log that is read under this one: it gets another one after it was unwanted for a while.
    pub(in crate::hub) fn same_log(&self, index: u32) -> Vec<u32> {
        let place = self.get(index).map(|partition| &partition.place);
        let Some(indices) = place.and_then(|place| self.by_place.get(place)) else {
            return Vec::new();
        };
        let unwanted = |index: u32| self.get(index).is_some_and(|other| other.unwanted);
        let upto = indices.iter().copied().take_while(|other| *other <= index);
        upto.filter(|other| *other == index || unwanted(*other))
            .collect()
    }

    /// It is not read any more; what was read of it stays valid.
    pub(in crate::hub) fn unwanted(&mut self, index: u32, now: Now) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.unwanted = true;
            self.ends.remove(&(partition.end_seen, index));
        }
        self.rebuild_table(now);
    }

    /// The topic's id is known from now on. Cursors that were issued without it stay valid, here and elsewhere.
    pub(in crate::hub) fn learn_topic_id(&mut self, index: u32, topic_id: [u8; 16], now: Now) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.tag = partition.tag.or(Tag::of(Some(topic_id)));
        }
        self.rebuild_table(now);
    }

    fn rebuild_table(&mut self, now: Now) {
        let read = self.live().filter(|(_, partition)| !partition.unwanted);
        let names = read.map(|(_, partition)| (partition.hash, partition.tag));
        let table = Table::new(names.collect());
        self.tables.change(table, self.loading, now);
    }

    /// The start is over: from here on a new table is a change that other instances may not have seen.
    pub(in crate::hub) fn loaded(&mut self) {
        self.loading = false;
    }

    pub(in crate::hub) fn is_loaded(&self) -> bool {
        !self.loading
    }

    /// Every partition has been read for at least so many milliseconds, or from its beginning.
    pub(in crate::hub) fn all_read_for(&self, ms: u64, now: Now) -> bool {
        self.partly_read(ms, now).next().is_none()
    }

    /// Advances to the offset of a record. False if it was passed before: the record must not be delivered again.
    pub(in crate::hub) fn advance(&mut self, index: u32, offset: i64) -> bool {
        match self.partitions.get_mut(&index) {
            Some(partition) if offset >= partition.next => {
                partition.next = offset.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// The record that was read of it last became this append.
    pub(in crate::hub) fn appended(&mut self, index: u32, append: u64) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.appended = append;
        }
    }

    /// The topic of a partition that exists, and the newest append of what was read of its log under any index.
    pub(in crate::hub) fn last_append(&self, index: u32) -> Option<(Arc<str>, u64)> {
        let topic = Arc::clone(&self.get(index)?.place.0);
        let log = self.same_log(index).into_iter();
        let appended = log
            .filter_map(|index| Some(self.get(index)?.appended))
            .max();
        Some((topic, appended?))
    }

    /// The newest index of a partition that exists.
    pub(in crate::hub) fn newest_index(&self) -> u32 {
        self.partitions.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether a partition of the topic exists under this index or an earlier one.
    pub(in crate::hub) fn has_up_to(&self, topic: &str, index: u32) -> bool {
        let mut earlier = self.partitions.range(..=index);
        earlier.any(|(_, partition)| *partition.place.0 == *topic)
    }

    pub(in crate::hub) fn end(&mut self, index: u32, next: i64, asked: u64) {
        let Some(partition) = self.partitions.get_mut(&index) else {
            return;
        };
        partition.next = partition.next.max(next);
        if asked <= partition.end_seen {
            return;
        }
        partition.written_after = partition.written_after.max(asked);
        let before = std::mem::replace(&mut partition.end_seen, asked);
        if self.ends.remove(&(before, index)) {
            self.ends.insert((asked, index));
        }
    }

    /// Offsets below `next` were lost before they were read. False if they had been read.
    pub(in crate::hub) fn gap(&mut self, index: u32, next: i64, now: Now) -> bool {
        match self.partitions.get_mut(&index) {
            Some(partition) if next > partition.next => {
                partition.next = next;
                partition.start = next;
                partition.gap_at = Some(now.wall);
                true
            }
            _ => false,
        }
    }

    /// The wall time up to which everything has been read: the moment at which the slowest partition was last confirmed
    /// to be at its end. Being at the end *once* proves nothing about now: the process may have been stopped since.
    pub(in crate::hub) fn read_up_to(&self, now: Now) -> u64 {
        self.ends.first().map_or(now.wall, |(seen, _)| *seen)
    }

    /// `None` if it was removed.
    pub(in crate::hub) fn get(&self, index: u32) -> Option<&Partition> {
        self.partitions.get(&index)
    }

    pub(in crate::hub) fn is_ambiguous(&self, cursor: &Cursor) -> bool {
        !self.ambiguous.is_empty()
            && (cursor.marks.iter()).any(|mark| self.ambiguous.contains(&mark.hash))
    }

    pub(in crate::hub) fn index_of(&self, hash: u32) -> Option<u32> {
        self.by_hash.get(&hash).copied()
    }

    /// How many exist.
    pub(in crate::hub) fn len(&self) -> usize {
        self.partitions.len()
    }

    pub(in crate::hub) fn live(&self) -> impl Iterator<Item = (u32, &Partition)> {
        (self.partitions.iter()).map(|(index, partition)| (*index, partition))
    }

    /// Partitions of which it is not known yet which organisations had records in them within the last two times `kept`: only
    /// what came within `kept` before the start was read.
    pub(in crate::hub) fn partly_read(&self, kept: u64, now: Now) -> impl Iterator<Item = u32> {
        let young = move |began: u64| now.monotonic.saturating_sub(began) < kept;
        let latest_first = self.partly_read.iter().rev();
        latest_first
            .take_while(move |(began, _)| young(*began))
            .map(|(_, index)| *index)
    }

    /// The table that names all that are read by one digest.
    pub(in crate::hub) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The cursor, with every topic's id that is known here added: it was found to fit.
    pub(in crate::hub) fn completed(&self, mut cursor: Cursor) -> Cursor {
        for mark in &mut cursor.marks {
            let here = self.index_of(mark.hash).and_then(|index| self.get(index));
            mark.tag = mark.tag.or(here.map_or(Tag::UNKNOWN, |here| here.tag));
        }
        cursor
    }
}
