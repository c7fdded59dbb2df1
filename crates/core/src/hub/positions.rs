//! How far this instance has read each partition, and how it names partitions to the world.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::domain::cursor::{Cursor, CursorError, Mark, Table, Tag, partition_hash};

use super::Now;

/// How long a new partition may exist before it is found here: nothing newer than that is known to be read.
const DISCOVERY_MS: u64 = 30_000;

/// Tables of partitions that are remembered, so that cursors issued before a change can still be read.
const TABLES: usize = 32;

#[derive(Debug)]
pub(super) struct Partition {
    /// Topic and number.
    place: (Arc<str>, i32),
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
    pub(super) gone: bool,
    /// It is there, and not read any more.
    pub(super) unwanted: bool,
    /// Wall time of the last moment at which the end was confirmed to be reached.
    end_seen: u64,
}

/// All partitions of this instance, by the consumer's index.
#[derive(Debug)]
pub(super) struct Positions {
    partitions: Vec<Option<Partition>>,
    by_hash: HashMap<u32, u32>,
    /// Hashes that stand for two partitions. A cursor has one position for both, so none that names such a one can be resumed.
    ambiguous: HashSet<u32>,
    table: Table,
    earlier: VecDeque<Table>,
    /// Monotonic time of the last change after the start.
    changed: Option<u64>,
    /// For so many milliseconds after a change no cursor is encoded with the table, while other instances may not know it.
    settle: u64,
    loading: bool,
}

impl Positions {
    pub(super) fn new(settle: u64) -> Self {
        Self {
            partitions: Vec::new(),
            by_hash: HashMap::new(),
            ambiguous: HashSet::new(),
            table: Table::new(Vec::new()),
            earlier: VecDeque::new(),
            changed: None,
            settle,
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
        let seen = earlier.and_then(|index| self.get(index));
        let clashes = seen.is_some_and(|earlier| earlier.place != place);
        let seen = seen.filter(|_| !clashes);
        // One that was merely not wanted for a while is the same log, and goes on no lower than where it ended.
        let is_same = |earlier: &&Partition| {
            earlier.unwanted && !earlier.tag.differs(tag) && start >= earlier.next
        };
        let reborn = seen.filter(|earlier| !is_same(earlier));
        let (reborn_at, former) = (reborn.map(|_| now.wall), reborn.map(|former| former.tag));
        let gone = match (reborn, earlier) {
            (Some(former), Some(earlier)) if former.unwanted => self.end_log(earlier),
            _ => Vec::new(),
        };
        if clashes {
            self.ambiguous.insert(hash);
        }
        self.by_hash.insert(hash, index);
        let slot = index as usize;
        if self.partitions.len() <= slot {
            self.partitions.resize_with(slot + 1, || None);
        }
        self.partitions[slot] = Some(Partition {
            place,
            hash,
            tag,
            next: start,
            start,
            began_late: (start > 0).then_some(now.monotonic),
            reborn_at,
            former: former.unwrap_or_default(),
            gap_at: None,
            gone: false,
            unwanted: false,
            end_seen: if self.loading {
                0
            } else {
                now.wall.saturating_sub(DISCOVERY_MS)
            },
        });
        self.rebuild(now);
        gone
    }

    /// The log is gone. Answers the indices under which it was read.
    pub(super) fn remove(&mut self, index: u32, now: Now) -> Vec<u32> {
        let gone = self.end_log(index);
        self.rebuild(now);
        gone
    }

    fn end_log(&mut self, index: u32) -> Vec<u32> {
        let gone = self.same_log(index);
        for index in &gone {
            if let Some(partition) = self.get_mut(*index) {
                partition.gone = true;
            }
        }
        gone
    }

    /// All indices of the log that is read under this one: it gets another when it was not wanted for a while.
    pub(super) fn same_log(&self, index: u32) -> Vec<u32> {
        let Some(place) = self.get(index).map(|partition| &partition.place) else {
            return Vec::new();
        };
        let upto = self.live().take_while(|(other, _)| *other <= index);
        let same = upto.filter(|(other, partition)| {
            *other == index || (partition.unwanted && partition.place == *place)
        });
        same.map(|(index, _)| index).collect()
    }

    /// It is not read any more, and what was read of it stays good.
    pub(super) fn unwanted(&mut self, index: u32, now: Now) {
        if let Some(partition) = self.get_mut(index) {
            partition.unwanted = true;
        }
        self.rebuild(now);
    }

    /// The topic's id is known from now on. Cursors that were issued without it stay good, here and elsewhere.
    pub(super) fn learn(&mut self, index: u32, topic_id: [u8; 16], now: Now) {
        if let Some(partition) = self.get_mut(index) {
            partition.tag = partition.tag.or(Tag::of(Some(topic_id)));
        }
        self.rebuild(now);
    }

    fn rebuild(&mut self, now: Now) {
        let read = self.live().filter(|(_, partition)| !partition.unwanted);
        let table = Table::new(
            read.map(|(_, partition)| (partition.hash, partition.tag))
                .collect(),
        );
        if table == self.table {
            return;
        }
        // Partitions come and go one by one. No cursor was made with what stood for a moment in between, and to remember all of
        // that would push out the tables with which cursors were made. What the new table reads as well need not be kept either.
        let was_used = self.shared_table(now).is_some();
        let is_read = self.table.digest == table.digest && !self.table.tag.is_known();
        // Instances that have not learned what this one has can read its table all the same.
        if !self.loading && !self.table.fits(table.digest, table.tag) {
            self.changed = Some(now.monotonic);
        }
        let former = std::mem::replace(&mut self.table, table);
        if was_used && !is_read {
            self.earlier.push_front(former);
            self.earlier.truncate(TABLES);
        }
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
        self.live().all(|(_, partition)| {
            let young = |began: u64| now.monotonic.saturating_sub(began) < ms;
            !partition.began_late.is_some_and(young)
        })
    }

    /// Takes note of a record. False if its offset was passed before: it must not be handed out again.
    pub(super) fn advance(&mut self, index: u32, offset: i64) -> bool {
        match self.get_mut(index) {
            Some(partition) if offset >= partition.next && !partition.gone => {
                partition.next = offset.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    pub(super) fn end(&mut self, index: u32, next: i64, asked: u64) {
        if let Some(partition) = self.get_mut(index) {
            partition.next = partition.next.max(next);
            partition.end_seen = partition.end_seen.max(asked);
        }
    }

    /// Offsets below `next` were lost before they were read. True if that is news.
    pub(super) fn gap(&mut self, index: u32, next: i64, now: Now) -> bool {
        match self.get_mut(index) {
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
        self.live()
            .filter(|(_, partition)| !partition.unwanted)
            .map(|(_, partition)| partition.end_seen)
            .min()
            .unwrap_or(now.wall)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Partition> {
        self.partitions.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Partition> {
        self.partitions.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn is_ambiguous(&self, cursor: &Cursor) -> bool {
        !self.ambiguous.is_empty()
            && (cursor.marks.iter()).any(|mark| self.ambiguous.contains(&mark.hash))
    }

    pub(super) fn index_of(&self, hash: u32) -> Option<u32> {
        let index = *self.by_hash.get(&hash)?;
        self.get(index)
            .is_some_and(|partition| !partition.gone)
            .then_some(index)
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (u32, &Partition)> {
        (0_u32..)
            .zip(&self.partitions)
            .filter_map(|(index, partition)| Some((index, partition.as_ref()?)))
            .filter(|(_, partition)| !partition.gone)
    }

    /// Partitions of which it is not known yet who had records in them within the last two times `kept`: only what came
    /// within `kept` before the start was read.
    pub(super) fn half_known(&self, kept: u64, now: Now) -> impl Iterator<Item = u32> {
        let young = move |began: u64| now.monotonic.saturating_sub(began) < kept;
        self.live()
            .filter(move |(_, partition)| partition.began_late.is_some_and(young))
            .map(|(index, _)| index)
    }

    /// The table to encode with; `None` for a while after a change.
    pub(super) fn shared_table(&self, now: Now) -> Option<&Table> {
        let settled = self
            .changed
            .is_none_or(|changed| now.monotonic.saturating_sub(changed) >= self.settle);
        settled.then_some(&self.table)
    }

    /// Reads a cursor. Of the tables that this instance has had, the one with the same topics is looked for first.
    pub(super) fn decode(&self, text: &str) -> Result<Cursor, CursorError> {
        Cursor::decode(text, |digest, tag| {
            let tables = || std::iter::once(&self.table).chain(&self.earlier);
            tables()
                .find(|table| table.digest == digest && table.tag == tag)
                .or_else(|| tables().find(|table| table.fits(digest, tag)))
        })
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
