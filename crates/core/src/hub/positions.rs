//! How far this instance has read each partition.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::cursor::{Cursor, Mark, Table, Tag, partition_hash};

use super::tables::Tables;
use super::{Now, Settings};

/// How long a new partition may exist before it is found here: nothing newer than that is known to be read.
pub(super) const DISCOVERY_MS: u64 = 30_000;

/// Topic and number.
type Place = (Arc<str>, i32);

#[derive(Debug)]
pub(super) struct Partition {
    place: Place,
    pub(super) hash: u32,
    pub(super) tag: Tag,
    /// The first offset not handed over yet.
    pub(super) next: i64,
    /// The first offset that was read at all: what came before is not in the window.
    pub(super) start: i64,
    /// Monotonic time at which reading began, if older records were left out: whose they were is not known.
    began_late: Option<u64>,
    /// A topic of this name and number existed before, with other offsets: older cursors do not fit.
    pub(super) reborn_at: Option<u64>,
    /// Which topic that was.
    former: Tag,
    /// Wall time at which offsets turned out to be lost before they were read here.
    pub(super) gap_at: Option<u64>,
    /// It is there, and not read any more.
    pub(super) unwanted: bool,
    /// Wall time of the last moment at which the end was confirmed to be reached.
    end_seen: u64,
    /// Wall time after which all was written that is read from now on.
    pub(super) written_after: u64,
    /// The newest append of a record of it.
    appended: u64,
}

/// All partitions of this instance, by the consumer's index. Topics come and go for as long as it runs, and every record asks
/// here: what it asks goes over neither those that are gone nor all that are there.
#[derive(Debug)]
pub(super) struct Positions {
    settings: Settings,
    /// Those that are there.
    partitions: BTreeMap<u32, Partition>,
    by_hash: HashMap<u32, u32>,
    /// By hash: the last one of a name that is gone, and since when (monotonic time). Who takes its name is another, for as
    /// long as a cursor may name it.
    former: HashMap<u32, (Partition, u64)>,
    /// The indices of each, rising: it gets another one each time that it is wanted again.
    by_place: HashMap<Place, Vec<u32>>,
    /// `end_seen` and index of all that are read.
    ends: BTreeSet<(u64, u32)>,
    /// `began_late` and index of those that have one.
    late: BTreeSet<(u64, u32)>,
    /// Hashes that stand for two partitions. A cursor has one position for both, so none that names such a one can be resumed.
    ambiguous: HashSet<u32>,
    tables: Tables,
    loading: bool,
}

impl Positions {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            partitions: BTreeMap::new(),
            by_hash: HashMap::new(),
            former: HashMap::new(),
            by_place: HashMap::new(),
            ends: BTreeSet::new(),
            late: BTreeSet::new(),
            ambiguous: HashSet::new(),
            tables: Tables::new(settings.window_ms),
            loading: true,
        }
    }

    /// A partition is read from now on. Answers which of its earlier indices turn out to be of another log, which is gone.
    pub(super) fn add(
        &mut self,
        index: u32,
        topic: &Arc<str>,
        topic_id: Option<[u8; 16]>,
        number: i32,
        start: i64,
        now: Now,
    ) -> Vec<u32> {
        let (hash, tag) = (partition_hash(topic, number), Tag::of(topic_id));
        let earlier = self.by_hash.get(&hash).copied();
        let place = (Arc::clone(topic), number);
        let seen = match earlier {
            Some(index) => self.get(index),
            None => self.former.get(&hash).map(|(former, _)| former),
        };
        let clashes = seen.is_some_and(|earlier| earlier.place != place);
        let seen = seen.filter(|_| !clashes);
        // One that was merely not wanted for a while is the same log, and goes on no lower than where it ended.
        let is_same = |earlier: &&Partition| {
            earlier.unwanted && !earlier.tag.differs(tag) && start >= earlier.next
        };
        let reborn = seen.filter(|earlier| !is_same(earlier));
        let (reborn_at, former) = (reborn.map(|_| now.wall), reborn.map(|former| former.tag));
        let gone = match (reborn, earlier) {
            (Some(former), Some(earlier)) if former.unwanted => self.end_log(earlier, now),
            _ => Vec::new(),
        };
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
            began_late: (start > 0).then_some(now.monotonic),
            reborn_at,
            former: former.unwrap_or_default(),
            gap_at: None,
            appended: 0,
            unwanted: false,
            end_seen: if self.loading {
                0
            } else {
                read_up_to.min(now.wall.saturating_sub(DISCOVERY_MS))
            },
            written_after: if self.loading || start > 0 {
                now.wall.saturating_sub(self.settings.loaded_ms())
            } else {
                // Before, it would have been found.
                read_up_to.saturating_sub(DISCOVERY_MS)
            },
        };
        self.insert(index, partition);
        self.rebuild(now);
        gone
    }

    fn insert(&mut self, index: u32, partition: Partition) {
        self.former.remove(&partition.hash);
        self.by_hash.insert(partition.hash, index);
        let indices = self.by_place.entry(partition.place.clone()).or_default();
        indices.push(index);
        self.ends.insert((partition.end_seen, index));
        if let Some(began) = partition.began_late {
            self.late.insert((began, index));
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
        if let Some(began) = partition.began_late {
            self.late.remove(&(began, index));
        }
        Some(partition)
    }

    /// The log is gone. Answers the indices under which it was read.
    pub(super) fn remove(&mut self, index: u32, now: Now) -> Vec<u32> {
        let gone = self.end_log(index, now);
        self.rebuild(now);
        gone
    }

    fn end_log(&mut self, index: u32, now: Now) -> Vec<u32> {
        let gone = self.same_log(index);
        for index in &gone {
            let Some(partition) = self.take(*index) else {
                continue;
            };
            // Else another one has that hash by now.
            if self.by_hash.get(&partition.hash) == Some(index) {
                self.by_hash.remove(&partition.hash);
                let former = (partition, now.monotonic);
                self.former.insert(former.0.hash, former);
            }
        }
        gone
    }

    /// Lets go of what went more than `memory` milliseconds ago: cursors that name it are too old to be resumed.
    pub(super) fn forget(&mut self, memory: u64, now: Now) {
        self.former
            .retain(|_, (_, since)| now.monotonic.saturating_sub(*since) < memory);
    }

    /// How much is kept of what is there, and of what is gone.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> ([usize; 5], usize) {
        let there = [
            self.partitions.len(),
            self.by_hash.len(),
            self.by_place.len(),
            self.ends.len(),
            self.late.len(),
        ];
        (there, self.former.len())
    }

    /// All indices of the log that is read under this one: it gets another when it was not wanted for a while.
    pub(super) fn same_log(&self, index: u32) -> Vec<u32> {
        let place = self.get(index).map(|partition| &partition.place);
        let Some(indices) = place.and_then(|place| self.by_place.get(place)) else {
            return Vec::new();
        };
        let unwanted = |index: u32| self.get(index).is_some_and(|other| other.unwanted);
        let upto = indices.iter().copied().take_while(|other| *other <= index);
        upto.filter(|other| *other == index || unwanted(*other))
            .collect()
    }

    /// It is not read any more, and what was read of it stays good.
    pub(super) fn unwanted(&mut self, index: u32, now: Now) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.unwanted = true;
            self.ends.remove(&(partition.end_seen, index));
        }
        self.rebuild(now);
    }

    /// The topic's id is known from now on. Cursors that were issued without it stay good, here and elsewhere.
    pub(super) fn learn(&mut self, index: u32, topic_id: [u8; 16], now: Now) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.tag = partition.tag.or(Tag::of(Some(topic_id)));
        }
        self.rebuild(now);
    }

    fn rebuild(&mut self, now: Now) {
        let read = self.live().filter(|(_, partition)| !partition.unwanted);
        let names = read.map(|(_, partition)| (partition.hash, partition.tag));
        let table = Table::new(names.collect());
        self.tables.change(table, self.loading, now);
    }

    /// The start is over: from here on a new table is a change that other instances may not have seen.
    pub(super) fn loaded(&mut self) {
        self.loading = false;
    }

    pub(super) fn is_loaded(&self) -> bool {
        !self.loading
    }

    /// Every partition has been read for at least so many milliseconds, or from its beginning.
    pub(super) fn all_read_for(&self, ms: u64, now: Now) -> bool {
        self.half_known(ms, now).next().is_none()
    }

    /// Takes note of a record. False if its offset was passed before: it must not be handed out again.
    pub(super) fn advance(&mut self, index: u32, offset: i64) -> bool {
        match self.partitions.get_mut(&index) {
            Some(partition) if offset >= partition.next => {
                partition.next = offset.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// What was read of it last became this append.
    pub(super) fn appended(&mut self, index: u32, append: u64) {
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.appended = append;
        }
    }

    /// The topic of a partition that is there, and the newest append of what was read of its log under any index.
    pub(super) fn last_append(&self, index: u32) -> Option<(Arc<str>, u64)> {
        let topic = Arc::clone(&self.get(index)?.place.0);
        let log = self.same_log(index).into_iter();
        let appended = log
            .filter_map(|index| Some(self.get(index)?.appended))
            .max();
        Some((topic, appended?))
    }

    /// The newest index of a partition that is there.
    pub(super) fn newest_index(&self) -> u32 {
        self.partitions.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether a partition of the topic is there under this index or an earlier one.
    pub(super) fn has_up_to(&self, topic: &str, index: u32) -> bool {
        let mut earlier = self.partitions.range(..=index);
        earlier.any(|(_, partition)| *partition.place.0 == *topic)
    }

    pub(super) fn end(&mut self, index: u32, next: i64, asked: u64) {
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

    /// Offsets below `next` were lost before they were read. True if that is news.
    pub(super) fn gap(&mut self, index: u32, next: i64, now: Now) -> bool {
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
    pub(super) fn read_up_to(&self, now: Now) -> u64 {
        self.ends.first().map_or(now.wall, |(seen, _)| *seen)
    }

    /// `None` if it is gone.
    pub(super) fn get(&self, index: u32) -> Option<&Partition> {
        self.partitions.get(&index)
    }

    pub(super) fn is_ambiguous(&self, cursor: &Cursor) -> bool {
        !self.ambiguous.is_empty()
            && (cursor.marks.iter()).any(|mark| self.ambiguous.contains(&mark.hash))
    }

    pub(super) fn index_of(&self, hash: u32) -> Option<u32> {
        self.by_hash.get(&hash).copied()
    }

    /// How many are there.
    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (u32, &Partition)> {
        (self.partitions.iter()).map(|(index, partition)| (*index, partition))
    }

    /// Partitions of which it is not known yet who had records in them within the last two times `kept`: only what came
    /// within `kept` before the start was read.
    pub(super) fn half_known(&self, kept: u64, now: Now) -> impl Iterator<Item = u32> {
        let young = move |began: u64| now.monotonic.saturating_sub(began) < kept;
        let latest_first = self.late.iter().rev();
        latest_first
            .take_while(move |(began, _)| young(*began))
            .map(|(_, index)| *index)
    }

    /// How those that are read are named, in one word for all.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The cursor, with every topic named that is known here: it was found to fit.
    pub(super) fn completed(&self, mut cursor: Cursor) -> Cursor {
        for mark in &mut cursor.marks {
            let here = self.index_of(mark.hash).and_then(|index| self.get(index));
            mark.tag = mark.tag.or(here.map_or(Tag::UNKNOWN, |here| here.tag));
        }
        cursor
    }
}

impl Partition {
    /// How far it is read.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            hash: self.hash,
            tag: self.tag,
            next: self.next,
        }
    }

    pub(super) fn is_same_topic(&self, other: &Self) -> bool {
        self.place.0 == other.place.0
    }

    /// Whether this mark was made in the log of this name that stood here before. `after_issue` says whether a moment of wall
    /// time lies behind the issue of the cursor.
    pub(super) fn was_another(&self, mark: Mark, after_issue: impl Fn(u64) -> bool) -> bool {
        let Some(reborn_at) = self.reborn_at else {
            return false;
        };
        if self.tag.differs(self.former) && mark.tag.is_known() {
            return mark.tag == self.former;
        }
        // It is the same topic, cut short, or nobody knows.
        !self.tag.differs(mark.tag) && after_issue(reborn_at)
    }
}
