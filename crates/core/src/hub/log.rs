//! The log window of one organisation: what was published of late, indexed by room.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::cursor::{Cursor, Mark, organisation_hash};
use crate::domain::id::Id;
use crate::domain::publication::Publication;
use crate::domain::room::Room;

use super::by_record::{ByRecord, Owner};
use super::late::Late;
use super::latest::Latest;
use super::positions::{Partition, Positions};
use super::{ConnectionKey, Now, Settings};

/// What an entry costs besides its bytes: the publication, the shared counts, its places in the room index.
const ENTRY_OVERHEAD: usize = 320;
const ROOM_OVERHEAD: usize = 96;

/// A publication in the window, shared with every connection that it is sent to.
#[derive(Debug)]
pub struct Entry {
    pub(super) publication: Arc<Publication>,
    pub(super) partition: u32,
    /// True for a connection that has everything up to and with this entry.
    pub(super) cursor: Arc<str>,
    appended: Now,
    /// Bytes that it takes, its places in the indices included.
    cost: usize,
}

impl Entry {
    pub fn new(
        publication: Arc<Publication>,
        partition: u32,
        cursor: Arc<str>,
        appended: Now,
    ) -> Self {
        let rooms = publication.audience().count();
        let key = publication.key.as_ref().map_or(0, |key| key.len());
        Self {
            cost: publication.payload.get().len()
                + key
                + cursor.len()
                + rooms * ROOM_OVERHEAD
                + ENTRY_OVERHEAD,
            publication,
            partition,
            cursor,
            appended,
        }
    }

    pub fn publication(&self) -> &Arc<Publication> {
        &self.publication
    }

    /// The cursor that all live connections get with it.
    pub fn cursor(&self) -> &Arc<str> {
        &self.cursor
    }
}

/// Offsets below `next` are no longer in the window; `appended` is the wall time at which the last of them came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floor {
    pub(super) next: i64,
    pub(super) appended: u64,
}

#[derive(Debug, Default)]
pub(super) struct RoomLog {
    /// Sequence numbers of the entries of this room, rising.
    pub(super) entries: VecDeque<u64>,
    /// One past the last entry of this room that was evicted.
    pub(super) evicted: u64,
    pub(super) members: Vec<ConnectionKey>,
}

/// Entries are numbered by a sequence of their own, without holes, in the order in which they were appended here.
#[derive(Debug)]
pub(super) struct OrganisationLog {
    pub(super) id: Id,
    pub(super) hash: u32,
    pub(super) rooms: HashMap<Room, RoomLog>,
    pub(super) connections: usize,
    pub(super) bytes: usize,
    /// The newest of each key, by the same sequence numbers, also when the window has let go of it.
    pub(super) latest: Latest,
    pub(super) late: Late,
    entries: VecDeque<Arc<Entry>>,
    first: u64,
    /// Sequence numbers of the entries of each partition: their offsets rise.
    by_partition: HashMap<u32, VecDeque<u64>>,
    floors: HashMap<u32, Floor>,
    /// When each partition last carried a record of this organisation, in monotonic milliseconds.
    pub(super) touched: Vec<(u32, u64)>,
    /// Monotonic time at which the newest entry was appended that the byte cap has evicted.
    cut_short: Option<u64>,
}

impl OrganisationLog {
    pub(super) fn new(id: Id, owner: Owner) -> Self {
        Self {
            hash: organisation_hash(&id),
            id,
            rooms: HashMap::new(),
            connections: 0,
            bytes: 0,
            latest: Latest::new(owner),
            late: Late::default(),
            entries: VecDeque::new(),
            first: 0,
            by_partition: HashMap::new(),
            floors: HashMap::new(),
            touched: Vec::new(),
            cut_short: None,
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number that the next entry will get.
    pub(super) fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entry(&self, sequence: u64) -> Option<&Arc<Entry>> {
        let at = sequence.checked_sub(self.first)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The first entry that the cursor does not cover, or the head. Nothing before it is looked at for who comes with it, so it
    /// does not matter if the window lets go of that before the first turn.
    pub(super) fn first_after(&self, cursor: &Cursor, positions: &Positions) -> u64 {
        let missed = |(partition, entries): (&u32, &VecDeque<u64>)| {
            let next = cursor.next(positions.get(*partition)?.hash).unwrap_or(0);
            let covered = |sequence: &u64| {
                self.entry(*sequence)
                    .is_some_and(|entry| entry.publication.offset < next)
            };
            entries.get(entries.partition_point(covered)).copied()
        };
        let missed = self.by_partition.iter().filter_map(missed);
        missed.min().unwrap_or(self.head())
    }

    pub(super) fn oldest(&self) -> Option<Now> {
        self.entries.front().map(|entry| entry.appended)
    }

    /// Notes that the partition carries records of this organisation, so that cursors name it.
    pub(super) fn touch(&mut self, partition: u32, now: Now) {
        match self
            .touched
            .iter_mut()
            .find(|(index, _)| *index == partition)
        {
            Some((_, when)) => *when = now.monotonic,
            None => self.touched.push((partition, now.monotonic)),
        }
    }

    /// Where this instance stands, as this organisation's connections are told it. Of many partitions, those that carried nothing
    /// of it for long before the cursor's time of issue ([`Settings::silent_from`]) are left out. Others may still hold an old
    /// record of such a partition that they read late, and take it for new; so until so much has been read since the start, every
    /// partition is named.
    pub(super) fn cursor(&self, positions: &Positions, settings: &Settings, now: Now) -> Cursor {
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
                .chain(positions.half_known(since_start, now))
                .filter_map(|index| positions.get(index))
                .map(Partition::mark)
                .collect()
        };
        // One that was not wanted for a while stands here twice: what was read of it last counts.
        marks.sort_unstable_by_key(|mark| (mark.hash, Reverse(mark.next)));
        marks.dedup_by_key(|mark| mark.hash);
        Cursor {
            issued,
            organisation: self.hash,
            marks,
        }
    }

    /// Appends and returns the entry's sequence number.
    pub(super) fn append(&mut self, entry: Arc<Entry>, by_record: &mut ByRecord) -> u64 {
        let sequence = self.head();
        let publication = &entry.publication;
        for room in publication.audience() {
            self.room(&room).entries.push_back(sequence);
        }
        self.latest
            .put(sequence, publication, entry.partition, by_record);
        self.bytes += entry.cost;
        let same = self.by_partition.entry(entry.partition).or_default();
        same.push_back(sequence);
        self.entries.push_back(entry);
        sequence
    }

    pub(super) fn room(&mut self, room: &Room) -> &mut RoomLog {
        if !self.rooms.contains_key(room) {
            self.rooms.insert(room.clone(), RoomLog::default());
        }
        self.rooms.get_mut(room).expect("it was inserted above")
    }

    /// Drops the oldest entry and raises the floor of its partition. Returns the bytes that became free.
    pub(super) fn evict_oldest(&mut self, for_space: bool) -> usize {
        let Some(entry) = self.entries.pop_front() else {
            return 0;
        };
        let sequence = self.first;
        self.first += 1;
        self.bytes -= entry.cost;
        if for_space {
            self.cut_short = Some(entry.appended.monotonic);
        }
        self.raise_floor(
            entry.partition,
            entry.publication.offset.saturating_add(1),
            entry.appended.wall,
        );
        if let Some(same) = self.by_partition.get_mut(&entry.partition) {
            same.pop_front();
            if same.is_empty() {
                self.by_partition.remove(&entry.partition);
            }
        }
        for room in entry.publication.audience() {
            let Some(log) = self.rooms.get_mut(&room) else {
                continue;
            };
            if log.entries.front() == Some(&sequence) {
                log.entries.pop_front();
            }
            log.evicted = sequence + 1;
            if log.entries.is_empty() && log.members.is_empty() {
                self.rooms.remove(&room);
            }
        }
        entry.cost
    }

    pub(super) fn raise_floor(&mut self, partition: u32, next: i64, appended: u64) {
        let floor = self
            .floors
            .entry(partition)
            .or_insert(Floor { next, appended });
        floor.next = floor.next.max(next);
        floor.appended = floor.appended.max(appended);
    }

    pub(super) fn floor(&self, partition: u32) -> Option<Floor> {
        self.floors.get(&partition).copied()
    }

    /// The partition is gone: no cursor names it from now on. Returns the bytes of the newest records that became free.
    pub(super) fn forget_partition(&mut self, partition: u32, by_record: &mut ByRecord) -> usize {
        self.touched.retain(|(index, _)| *index != partition);
        self.latest.forget_partition(partition, by_record)
    }

    /// Forgets what can no longer matter to any cursor that is young enough to be resumed.
    pub(super) fn forget(
        &mut self,
        positions: &Positions,
        settings: &Settings,
        memory: u64,
        now: Now,
    ) {
        self.late.forget(settings.kept_ms(), now);
        // The window goes on to let go of what it has of a partition that is gone.
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
            .cut_short
            .is_some_and(|at| now.monotonic.saturating_sub(at) >= memory)
        {
            self.cut_short = None;
        }
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.connections == 0
            && self.entries.is_empty()
            && self.touched.is_empty()
            && self.latest.len() == 0
    }

    /// How far back this organisation can be resumed, in milliseconds.
    pub(super) fn window(&self, promised: u64, now: Now) -> u64 {
        self.cut_short.map_or(promised, |at| {
            now.monotonic.saturating_sub(at).min(promised)
        })
    }

    pub(super) fn leave(&mut self, room: &Room, connection: ConnectionKey) {
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
