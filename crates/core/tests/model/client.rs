//! What a client may and must have received.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use fleetcast_core::domain::cursor::{Cursor, Table, partition_hash};

use super::log::{MOST_PARTITIONS, ModelPlace, ROOMS, TOPIC, Written};
use super::newest::{Newest, newest_of};
use super::world::{Connected, WINDOW_MS};

pub(crate) struct ModelClient {
    pub(crate) organisation: usize,
    pub(crate) rooms: BTreeMap<usize, Held>,
    pub(crate) cursor: Option<Arc<str>>,
    /// Where the interval that is being checked began.
    pub(crate) since: Option<Cursor>,
    /// What came of the rooms that are held now, and how often anything came since the interval began.
    pub(crate) got: BTreeSet<ModelPlace>,
    pub(crate) times: BTreeMap<ModelPlace, usize>,
    /// Of class `latest`.
    pub(crate) newest: Newest,
    pub(crate) connected: Option<Connected>,
    /// Rooms that were left before the item that was read last.
    pub(crate) leaving: Vec<usize>,
    /// Rooms that were left behind it: what was on its way still comes.
    pub(crate) parting: Vec<usize>,
}

/// From where on a room is held. A subscription takes effect somewhere between what the client had read and what the
/// instance had read; what lies between may come or not, the rest is strict.
#[derive(Default)]
pub(crate) struct Held {
    /// What this covers does not come.
    pub(crate) not_before: Option<Arc<str>>,
    /// By partition: what comes from here on must come.
    pub(crate) surely_from: Vec<i64>,
    pub(crate) stage: RoomStage,
    /// Tells one joining of a room from the next.
    pub(crate) nth: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomStage {
    /// The client has not read as far as to the moment of joining.
    Asked,
    /// It has, but not the cursor behind it.
    Joined,
    #[default]
    Held,
}

impl Held {
    fn begin(&self, tables: &[Table]) -> Option<Cursor> {
        self.not_before.as_deref().map(|text| decode(text, tables))
    }

    /// It holds from this cursor on, wherever the instance was.
    fn known_from(&mut self, cursor: &Cursor, partitions: usize) {
        self.surely_from.resize(partitions, 0);
        for (partition, from) in self.surely_from.iter_mut().enumerate() {
            *from = cursor.next(hash(partition)).unwrap_or(0).max(*from);
        }
        self.stage = RoomStage::Held;
    }
}

fn hash(partition: usize) -> u32 {
    // Asked for each record again and again.
    static HASHES: LazyLock<[u32; MOST_PARTITIONS]> =
        LazyLock::new(|| std::array::from_fn(|partition| partition_hash(TOPIC, partition as i32)));
    HASHES[partition]
}

pub(crate) fn decode(text: &str, tables: &[Table]) -> Cursor {
    Cursor::decode(text, |digest, tag| {
        tables.iter().find(|table| table.fits(digest, tag))
    })
    .unwrap()
}

/// Whether a record is behind this cursor. A partition without a name carried nothing that was read for a window before.
fn is_new(cursor: &Cursor, place: ModelPlace, written: &Written) -> bool {
    match cursor.next(hash(place.0)) {
        Some(next) => place.1 >= next,
        None => written.at + WINDOW_MS > cursor.issued,
    }
}

impl ModelClient {
    pub(crate) fn new(organisation: usize, rooms: &[usize]) -> Self {
        Self {
            organisation,
            rooms: rooms.iter().map(|room| (*room, Held::default())).collect(),
            cursor: None,
            since: None,
            got: BTreeSet::new(),
            times: BTreeMap::new(),
            newest: Newest::default(),
            connected: None,
            leaving: Vec::new(),
            parting: Vec::new(),
        }
    }

    /// It came by a room that is held.
    pub(crate) fn may_hear(&self, place: ModelPlace, written: &Written, seed: u64) {
        assert_eq!(
            written.organisation, self.organisation,
            "seed {seed}: {place:?} belongs to another client"
        );
        let heard = |room: &usize| written.is_heard_in(*room) && !self.leaving.contains(room);
        assert!(
            ROOMS.iter().any(heard),
            "seed {seed}: {place:?} came after its room was left"
        );
    }

    pub(crate) fn once(&mut self, place: ModelPlace, seed: u64) {
        self.got.insert(place);
        let times = self.times.entry(place).or_default();
        *times += 1;
        assert_eq!(*times, 1, "seed {seed}: {place:?} came twice");
    }

    /// An item with this cursor was read.
    pub(crate) fn moved(
        &mut self,
        text: Arc<str>,
        log: &[Vec<Written>],
        tables: &[Table],
        seed: u64,
    ) {
        let joined = |held: &&mut Held| held.stage == RoomStage::Joined;
        for held in self.rooms.values_mut().filter(joined) {
            held.known_from(&decode(&text, tables), tables.len());
        }
        if let Some(old) = &self.cursor {
            self.goes_forward(&decode(old, tables), &decode(&text, tables), log, seed);
        }
        self.cursor = Some(text);
    }

    /// No cursor uncovers a record that the one before it covered.
    fn goes_forward(&self, old: &Cursor, new: &Cursor, log: &[Vec<Written>], seed: u64) {
        let young = |(_, written): &(usize, &Written)| written.at + WINDOW_MS > old.issued;
        for (partition, log) in log.iter().enumerate() {
            for (offset, written) in log.iter().enumerate().rev().take_while(young) {
                let place = (partition, offset as i64);
                let back = !is_new(old, place, written) && is_new(new, place, written);
                assert!(
                    !back || written.organisation != self.organisation || written.rooms.is_empty(),
                    "seed {seed}: {place:?} of {} is uncovered by {new:?} after {old:?}",
                    written.at
                );
            }
        }
    }

    /// It was welcomed fresh, or resynced.
    pub(crate) fn starts_over(&mut self, tables: &[Table]) {
        self.since = self.cursor.as_deref().map(|text| decode(text, tables));
        self.got.clear();
        self.times.clear();
        self.newest.starts_over();
        for held in self.rooms.values_mut() {
            held.not_before = None;
            if held.stage != RoomStage::Asked {
                *held = Held::default();
            }
        }
    }

    /// What was on its way is lost; all rooms are held from the cursor on.
    pub(crate) fn comes_back(&mut self, log: &[Vec<Written>], tables: &[Table]) {
        for room in ROOMS {
            if !self
                .rooms
                .get(&room)
                .is_some_and(|held| held.stage == RoomStage::Held)
            {
                self.left(room, log, tables);
            }
        }
        self.parting.clear();
        self.leaving = ROOMS
            .into_iter()
            .filter(|room| !self.rooms.contains_key(room))
            .collect();
        let Some(text) = &self.cursor else {
            return;
        };
        let cursor = decode(text, tables);
        let not_yet = |held: &&mut Held| held.stage != RoomStage::Held;
        for held in self.rooms.values_mut().filter(not_yet) {
            held.known_from(&cursor, tables.len());
        }
    }

    /// What came of the room until here belongs to the past, unless it came by another room too.
    pub(crate) fn left(&mut self, room: usize, log: &[Vec<Written>], tables: &[Table]) {
        let Some(since) = self.since.clone() else {
            return;
        };
        let others = self.rooms.iter().filter(|(other, _)| **other != room);
        let others: Vec<_> = others
            .map(|(other, held)| (*other, held.begin(tables)))
            .collect();
        self.got.retain(|place| {
            let written = &log[place.0][place.1 as usize];
            !written.is_heard_in(room)
                || others.iter().any(|(other, begin)| {
                    written.is_heard_in(*other) && may_come(*place, written, &since, begin.as_ref())
                })
        });
        if !self.rooms.contains_key(&room) {
            self.newest.leaves(room);
        }
    }

    /// The books must balance: for all rooms when everything was read, or for one as far as was read.
    pub(crate) fn check(
        &self,
        log: &[Vec<Written>],
        tables: &[Table],
        one: Option<usize>,
        seed: u64,
    ) {
        let since = self.since.as_ref().expect("everybody was welcomed");
        let read = one
            .and(self.cursor.as_deref())
            .map(|text| decode(text, tables));
        let was_read = |place: ModelPlace| {
            read.as_ref()
                .is_none_or(|read| read.next(hash(place.0)).is_some_and(|next| place.1 < next))
        };
        for (index, held) in &self.rooms {
            if one.is_some_and(|one| one != *index) {
                continue;
            }
            let newest = newest_of(*index, self.organisation, log);
            self.newest.check(*index, &newest, was_read, seed);
            if held.stage != RoomStage::Held {
                continue;
            }
            let begin = held.begin(tables);
            for (place, written) in places(log) {
                let must = written.organisation == self.organisation
                    && written.is_heard_in(*index)
                    && may_come(place, written, since, begin.as_ref())
                    && was_read(place)
                    && place.1 >= held.surely_from.get(place.0).copied().unwrap_or(0);
                let got = match written.key {
                    None => self.got.contains(&place),
                    // Of each key the newest must come; what led there may be left out.
                    Some(key) => newest.get(&key) != Some(&place) || self.newest.has(key, place),
                };
                assert!(
                    got || !must,
                    "seed {seed}: {place:?} {written:?} is lost since {since:?}"
                );
            }
        }
        let held: Vec<_> = self
            .rooms
            .iter()
            .map(|(index, held)| (*index, held.begin(tables)))
            .collect();
        for place in &self.got {
            let written = &log[place.0][place.1 as usize];
            let may = held.iter().any(|(index, begin)| {
                written.is_heard_in(*index) && may_come(*place, written, since, begin.as_ref())
            });
            let parts = self.parting.iter().any(|room| written.is_heard_in(*room));
            assert!(
                may || parts,
                "seed {seed}: {place:?} {written:?} came too early, since {since:?}, {held:?}"
            );
        }
    }
}

fn places(log: &[Vec<Written>]) -> impl Iterator<Item = (ModelPlace, &Written)> {
    log.iter().enumerate().flat_map(|(partition, log)| {
        let offsets = log.iter().enumerate();
        offsets.map(move |(offset, written)| ((partition, offset as i64), written))
    })
}

/// Whether neither the beginning of the interval nor that of the room covers it.
fn may_come(place: ModelPlace, written: &Written, since: &Cursor, begin: Option<&Cursor>) -> bool {
    is_new(since, place, written) && begin.is_none_or(|begin| is_new(begin, place, written))
}
