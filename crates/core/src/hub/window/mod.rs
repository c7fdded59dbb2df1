//! The window: what was published recently, kept for a time and within a number of bytes, by organisation.
//!
//! Here is what one organisation has in it, indexed by room and by partition. Each concern beside it has a file: an [`entry`],
//! [`evict`]ion, the [`snapshot`] of the newest record of each key (which outlives the window) with its [`record_index`], and
//! records that were read [`late`].

pub(in crate::hub) mod entry;
mod evict;
pub(in crate::hub) mod late;
pub(in crate::hub) mod record_index;
pub(in crate::hub) mod snapshot;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::cursor::{Cursor, Mark, organisation_hash};
use crate::domain::id::Id;
use crate::domain::room::{Kind, Room};
use crate::hub::positions::Positions;
use crate::hub::positions::partition::Partition;
use crate::hub::{ConnectionKey, HubSettings, Now};

use entry::Entry;
use late::LateRecords;
use record_index::{Owner, RecordIndex};
use snapshot::SnapshotTable;

/// By room. Clients name rooms, so the hash is seeded; it needs no more than that, because what a client may join is limited.
pub(in crate::hub) type RoomMap<T> = HashMap<Room, T, foldhash::fast::RandomState>;

/// Offsets below `next` are no longer in the window; `appended` is the wall time at which the last of them came.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct Floor {
    pub(in crate::hub) next: i64,
    pub(in crate::hub) appended: u64,
}

#[derive(Debug, Default)]
pub(in crate::hub) struct RoomLog {
    /// Sequence numbers of the entries of this room, rising.
    pub(in crate::hub) entries: VecDeque<u64>,
    /// One past the last entry of this room that was evicted.
    pub(in crate::hub) evicted: u64,
    pub(in crate::hub) members: Vec<ConnectionKey>,
}

/// Entries are numbered by a sequence of their own, without holes, in the order in which they were appended here.
#[derive(Debug)]
pub(in crate::hub) struct OrganisationLog {
    pub(in crate::hub) id: Id,
    pub(in crate::hub) hash: u32,
    pub(in crate::hub) rooms: RoomMap<RoomLog>,
    /// Of its rooms, so that all share the text of each. A profile names few.
    kinds: Vec<Kind>,
    pub(in crate::hub) connections: usize,
    pub(in crate::hub) bytes: usize,
    /// The newest record of each key, by the same sequence numbers, also when the window has evicted it.
    pub(in crate::hub) snapshot: SnapshotTable,
    pub(in crate::hub) late: LateRecords,
    entries: VecDeque<Arc<Entry>>,
    /// The cursors of the newest entry and of the one before, also when they were evicted. Empty: there was none.
    cursors: [Arc<str>; 2],
    first: u64,
    /// Sequence numbers of the entries of each partition: their offsets rise.
    by_partition: HashMap<u32, VecDeque<u64>>,
    floors: HashMap<u32, Floor>,
    /// When each partition last carried a record of this organisation, in monotonic milliseconds.
    pub(in crate::hub) touched: Vec<(u32, u64)>,
    /// Monotonic time at which the newest entry was appended that the byte cap has evicted.
    shortened: Option<u64>,
}

impl OrganisationLog {
    pub(in crate::hub) fn new(id: Id, owner: Owner) -> Self {
        Self {
            hash: organisation_hash(&id),
            id,
            rooms: RoomMap::default(),
            kinds: Vec::new(),
            connections: 0,
            bytes: 0,
            snapshot: SnapshotTable::new(owner),
            late: LateRecords::default(),
            entries: VecDeque::new(),
            cursors: [Arc::from(""), Arc::from("")],
            first: 0,
            by_partition: HashMap::new(),
            floors: HashMap::new(),
            touched: Vec::new(),
            shortened: None,
        }
    }

    pub(in crate::hub) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number that the next entry will get.
    pub(in crate::hub) fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(in crate::hub) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(in crate::hub) fn entry(&self, sequence: u64) -> Option<&Arc<Entry>> {
        let at = sequence.checked_sub(self.first)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The first entry that the cursor does not cover, or the head. What lies before it is of no use to a client that resumes from
    /// the cursor, so it may be evicted before the first turn.
    pub(in crate::hub) fn first_after(&self, cursor: &Cursor, positions: &Positions) -> u64 {
        let missed = |(partition, entries): (&u32, &VecDeque<u64>)| {
            let next = cursor.next(positions.get(*partition)?.hash).unwrap_or(0);
            let covered = |sequence: &u64| {
                self.entry(*sequence)
                    .is_some_and(|entry| entry.publication().offset < next)
            };
            entries.get(entries.partition_point(covered)).copied()
        };
        let missed = self.by_partition.iter().filter_map(missed);
        missed.min().unwrap_or(self.head())
    }

    /// The cursor of what was appended before the newest entry, or before the head.
    pub(in crate::hub) fn cursor_before(&self, next: u64) -> Arc<str> {
        self.cursors[usize::from(next < self.head())].clone()
    }

    pub(in crate::hub) fn oldest(&self) -> Option<Now> {
        self.entries.front().map(|entry| entry.appended)
    }

    /// Notes that the partition carries records of this organisation, so that cursors name it.
    pub(in crate::hub) fn touch(&mut self, partition: u32, now: Now) {
        match self
            .touched
            .iter_mut()
            .find(|(index, _)| *index == partition)
        {
            Some((_, when)) => *when = now.monotonic,
            None => self.touched.push((partition, now.monotonic)),
        }
    }

    /// How far this instance has read, as the cursor of this organisation's connections. Of many partitions, it omits those that
    /// carried nothing of the organisation for long before the cursor's time of issue ([`HubSettings::silent_from`]). Another
    /// instance may still hold an old record of such a partition that it read late, and take it for new; so until that much has
    /// been read since the start, every partition is named.
    pub(in crate::hub) fn cursor(
        &self,
        positions: &Positions,
        settings: &HubSettings,
        now: Now,
    ) -> Cursor {
        let issued = positions.read_up_to(now);
        let mut marks: Vec<Mark> = if positions.len() <= settings.named_partitions {
            let all = positions.live();
            all.map(|(_, partition)| partition.mark()).collect()
        } else {
            let memory = settings.memory_ms() + now.wall.saturating_sub(issued);
            let since_start = memory.saturating_sub(settings.loaded_ms());
            self.touched
                .iter()
                .filter(|(_, when)| now.monotonic.saturating_sub(*when) < memory)
                .map(|(index, _)| *index)
                .chain(positions.partly_read(since_start, now))
                .filter_map(|index| positions.get(index))
                .map(Partition::mark)
                .collect()
        };
        // A partition that was unwanted for a while is here under two indices: the one that was read last counts.
        marks.sort_unstable_by_key(|mark| (mark.hash, Reverse(mark.next)));
        marks.dedup_by_key(|mark| mark.hash);
        Cursor {
            issued,
            organisation: self.hash,
            marks,
        }
    }

    /// Appends and returns the entry's sequence number.
    pub(in crate::hub) fn append(
        &mut self,
        entry: Arc<Entry>,
        record_index: &mut RecordIndex,
    ) -> u64 {
        let sequence = self.head();
        let publication = entry.publication();
        for room in publication.audience() {
            self.room(&room).entries.push_back(sequence);
        }
        self.snapshot
            .put(sequence, publication, entry.partition, record_index);
        self.bytes += entry.cost;
        self.cursors.swap(0, 1);
        self.cursors[0] = entry.cursor().clone();
        let same = self.by_partition.entry(entry.partition).or_default();
        same.push_back(sequence);
        self.entries.push_back(entry);
        sequence
    }

    /// Adds the connection to the room. Returns the room with texts that are shared with all its members: each connection holds
    /// several rooms for as long as it lives.
    pub(in crate::hub) fn join(&mut self, room: &Room, connection: ConnectionKey) -> Room {
        self.room(room).members.push(connection);
        let shared = self.rooms.get_key_value(room).map(|(shared, _)| shared);
        shared.unwrap_or(room).clone()
    }

    fn room(&mut self, room: &Room) -> &mut RoomLog {
        if !self.rooms.contains_key(room) {
            let shared = self.shared(room);
            self.rooms.insert(shared, RoomLog::default());
        }
        self.rooms.get_mut(room).expect("it was inserted above")
    }

    /// The room with the organisation's own text, and that of its kind.
    fn shared(&mut self, room: &Room) -> Room {
        let known = self.kinds.iter().find(|kind| **kind == room.kind);
        let kind = known.unwrap_or(&room.kind).clone();
        if known.is_none() {
            self.kinds.push(kind.clone());
        }
        Room {
            organisation: self.id.clone(),
            kind,
            which: room.which.clone(),
        }
    }

    pub(in crate::hub) fn floor(&self, partition: u32) -> Option<Floor> {
        self.floors.get(&partition).copied()
    }

    /// How far back this organisation can be resumed, in milliseconds.
    pub(in crate::hub) fn window(&self, promised: u64, now: Now) -> u64 {
        self.shortened.map_or(promised, |at| {
            now.monotonic.saturating_sub(at).min(promised)
        })
    }

    pub(in crate::hub) fn leave(&mut self, room: &Room, connection: ConnectionKey) {
        let Some(log) = self.rooms.get_mut(room) else {
            return;
        };
        if let Some(at) = log.members.iter().position(|member| *member == connection) {
            log.members.swap_remove(at);
        }
        if log.entries.is_empty() && log.members.is_empty() {
            self.rooms.remove(room);
        }
    }
}
