//! The snapshot of an organisation: the newest record of each key of class `latest`, per room, kept within a number of bytes.
//!
//! It is ordered by the sequence numbers of the organisation's log, which are the order in which everything was appended. So
//! "the newest records of this room that were appended before here" is a range, and a slow reader of it is one number. When a
//! newer record replaces one, the key moves to the end of that order, where the reader finds it as an ordinary event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::RoomMap;
use super::record_index::{Owner, RecordIndex};
use crate::domain::publication::Publication;
use crate::domain::room::Room;

/// What a record costs besides its bytes, its place among all that can be deleted included, and what each room of it does.
/// Measured: see the test `memory`.
const RECORD_OVERHEAD: usize = 576;
const ROOM_OVERHEAD: usize = 224;

/// Event and what it is the latest of.
type SnapshotKey = (Arc<str>, Arc<str>);

/// A room's number here: shorter than its name, never used again.
type Number = u64;

#[derive(Debug)]
pub(in crate::hub) struct SnapshotTable {
    /// Whose they are. Every record that has a key of its own is in the [`RecordIndex`] too, for tombstones.
    owner: Owner,
    /// By sequence number: what is the newest of its key in at least one room.
    records: BTreeMap<u64, SnapshotRecord>,
    rooms: RoomMap<RoomKeys>,
    newest: HashMap<(Number, SnapshotKey), u64>,
    in_room: BTreeSet<(Number, u64)>,
    numbers: Number,
    bytes: usize,
}

#[derive(Debug)]
struct SnapshotRecord {
    publication: Arc<Publication>,
    partition: u32,
    /// In how many rooms it is the newest of its key.
    rooms: usize,
    cost: usize,
}

#[derive(Debug)]
struct RoomKeys {
    number: Number,
    keys: usize,
}

impl SnapshotTable {
    pub(in crate::hub) fn new(owner: Owner) -> Self {
        Self {
            owner,
            records: BTreeMap::new(),
            rooms: RoomMap::default(),
            newest: HashMap::new(),
            in_room: BTreeSet::new(),
            numbers: 0,
            bytes: 0,
        }
    }

    pub(in crate::hub) fn owner(&self) -> Owner {
        self.owner
    }

    pub(in crate::hub) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::hub) fn len(&self) -> usize {
        self.records.len()
    }

    /// Takes in what was appended under this sequence number, the highest so far. Other classes are ignored.
    pub(in crate::hub) fn put(
        &mut self,
        sequence: u64,
        publication: &Arc<Publication>,
        partition: u32,
        record_index: &mut RecordIndex,
    ) {
        let Some((event, of)) = publication.latest_key() else {
            return;
        };
        let (mut rooms, mut cost) = (0, RECORD_OVERHEAD + publication.payload.get().len());
        for room in publication.audience() {
            let made = self.numbers;
            let room = self.rooms.entry(room.into_owned()).or_insert(RoomKeys {
                number: made,
                keys: 0,
            });
            let number = room.number;
            let older = self
                .newest
                .insert((number, (event.clone(), of.clone())), sequence);
            room.keys += usize::from(older.is_none());
            self.numbers += u64::from(number == made);
            self.in_room.insert((number, sequence));
            if let Some(older) = older {
                self.in_room.remove(&(number, older));
                self.replace_in_room(older, record_index);
            }
            rooms += 1;
            cost += ROOM_OVERHEAD;
        }
        if let Some(key) = &publication.key {
            cost += key.len();
            record_index.insert(partition, key, self.owner, sequence);
        }
        self.bytes += cost;
        let record = SnapshotRecord {
            publication: publication.clone(),
            partition,
            rooms,
            cost,
        };
        self.records.insert(sequence, record);
    }

    /// A newer record has replaced this one in one room.
    fn replace_in_room(&mut self, sequence: u64, record_index: &mut RecordIndex) {
        let Some(record) = self.records.get_mut(&sequence) else {
            return;
        };
        record.rooms -= 1;
        if record.rooms == 0 {
            self.remove(sequence, record_index);
        }
    }

    /// Takes it out of every room in which it is still the newest. Returns the bytes that became free.
    pub(in crate::hub) fn remove(
        &mut self,
        sequence: u64,
        record_index: &mut RecordIndex,
    ) -> usize {
        let Some(record) = self.records.remove(&sequence) else {
            return 0;
        };
        let publication = &record.publication;
        if let Some((event, of)) = publication.latest_key().filter(|_| record.rooms > 0) {
            for room in publication.audience() {
                let Some(keys) = self.rooms.get_mut(&*room) else {
                    continue;
                };
                // Else a newer one is there.
                if self.in_room.remove(&(keys.number, sequence)) {
                    let key = (event.clone(), of.clone());
                    self.newest.remove(&(keys.number, key));
                    keys.keys -= 1;
                    if keys.keys == 0 {
                        self.rooms.remove(&*room);
                    }
                }
            }
        }
        if let Some(key) = &publication.key {
            record_index.remove(record.partition, key, self.owner, sequence);
        }
        self.bytes -= record.cost;
        record.cost
    }

    /// Evicts the record that was updated longest ago. Returns the bytes that became free.
    pub(in crate::hub) fn evict_oldest(&mut self, record_index: &mut RecordIndex) -> usize {
        let oldest = self.records.first_key_value();
        let oldest = oldest.map(|(sequence, _)| *sequence);
        oldest.map_or(0, |sequence| self.remove(sequence, record_index))
    }

    /// Removes the records of a partition that was deleted. Returns the bytes that became free.
    pub(in crate::hub) fn remove_partition(
        &mut self,
        partition: u32,
        record_index: &mut RecordIndex,
    ) -> usize {
        let of_it = |(sequence, record): (&u64, &SnapshotRecord)| {
            (record.partition == partition).then_some(*sequence)
        };
        let removed: Vec<u64> = self.records.iter().filter_map(of_it).collect();
        removed
            .into_iter()
            .map(|sequence| self.remove(sequence, record_index))
            .sum()
    }

    /// How many keys have a record in the room.
    pub(in crate::hub) fn keys_of(&self, room: &Room) -> usize {
        self.rooms.get(room).map_or(0, |room| room.keys)
    }

    /// The sequence number of what is the newest in the room of what this publication is the latest of.
    pub(in crate::hub) fn newest(&self, room: &Room, publication: &Publication) -> Option<u64> {
        let (event, of) = publication.latest_key()?;
        let number = self.rooms.get(room)?.number;
        self.newest
            .get(&(number, (event.clone(), of.clone())))
            .copied()
    }

    /// The first of the room's newest records in this range of sequence numbers.
    pub(in crate::hub) fn first_in(&self, room: &Room, range: std::ops::Range<u64>) -> Option<u64> {
        let number = self.rooms.get(room)?.number;
        if range.is_empty() {
            return None;
        }
        let mut found = self
            .in_room
            .range((number, range.start)..(number, range.end));
        found.next().map(|(_, sequence)| *sequence)
    }

    pub(in crate::hub) fn get(&self, sequence: u64) -> Option<&Arc<Publication>> {
        Some(&self.records.get(&sequence)?.publication)
    }
}
