//! What a client may and must have received.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleetcast_core::domain::cursor::{Cursor, Table, partition_hash};

use super::{Connected, Place, TOPIC, WINDOW_MS, Written};

pub(crate) struct Client {
    pub(crate) organisation: usize,
    pub(crate) rooms: BTreeMap<usize, Held>,
    pub(crate) cursor: Option<Arc<str>>,
    /// Where the interval that is being checked began.
    pub(crate) since: Option<Cursor>,
    /// What came of the rooms that are held now, and how often anything came since the interval began.
    pub(crate) got: BTreeSet<Place>,
    pub(crate) times: BTreeMap<Place, usize>,
    pub(crate) connected: Option<Connected>,
    /// Rooms that were left before the item that was read last.
    pub(crate) leaving: Vec<usize>,
}

/// From where on a room is held. A subscription takes effect somewhere between what the client had read and what the
/// instance had read; what lies between may come or not, the rest is strict.
#[derive(Default)]
pub(crate) struct Held {
    /// What this covers does not come.
    pub(crate) not_before: Option<Arc<str>>,
    /// By partition: what comes from here on must come.
    pub(crate) surely_from: Vec<i64>,
    pub(crate) stage: Stage,
    /// Tells one joining of a room from the next.
    pub(crate) nth: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client has not read as far as to the moment of joining.
    Asked,
    /// It has, but not the cursor behind it.
    Joined,
    #[default]
    Held,
}

impl Held {
    /// It holds from this cursor on, wherever the instance was.
    fn known_from(&mut self, cursor: &Cursor, partitions: usize) {
        self.surely_from.resize(partitions, 0);
        for (partition, from) in self.surely_from.iter_mut().enumerate() {
            *from = cursor.next(hash(partition)).unwrap_or(0).max(*from);
        }
        self.stage = Stage::Held;
    }
}

fn hash(partition: usize) -> u32 {
    partition_hash(TOPIC, partition as i32)
}

pub(crate) fn decode(text: &str, tables: &[Table]) -> Cursor {
    Cursor::decode(text, |digest, tag| {
        tables.iter().find(|table| table.fits(digest, tag))
    })
    .unwrap()
}

/// Whether a record is behind this cursor. A partition without a name carried nothing that was read for a window before.
fn is_new(cursor: &Cursor, place: Place, written: &Written) -> bool {
    match cursor.next(hash(place.0)) {
        Some(next) => place.1 >= next,
        None => written.at + WINDOW_MS > cursor.issued,
    }
}

impl Client {
    pub(crate) fn new(organisation: usize, rooms: &[usize]) -> Self {
        Self {
            organisation,
            rooms: rooms.iter().map(|room| (*room, Held::default())).collect(),
            cursor: None,
            since: None,
            got: BTreeSet::new(),
            times: BTreeMap::new(),
            connected: None,
            leaving: Vec::new(),
        }
    }

    /// An item with this cursor was read.
    pub(crate) fn moved(
        &mut self,
        text: Arc<str>,
        log: &[Vec<Written>],
        tables: &[Table],
        seed: u64,
    ) {
        let joined = |held: &&mut Held| held.stage == Stage::Joined;
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
                    !back || written.organisation != self.organisation || written.room == 3,
                    "seed {seed}: {place:?} of {} is uncovered by {new:?} after {old:?}",
                    written.at
                );
            }
        }
    }

    /// It was welcomed without a past, or told to resync.
    pub(crate) fn begins_anew(&mut self, tables: &[Table]) {
        self.since = self.cursor.as_deref().map(|text| decode(text, tables));
        self.got.clear();
        self.times.clear();
        for held in self.rooms.values_mut() {
            held.not_before = None;
            if held.stage != Stage::Asked {
                *held = Held::default();
            }
        }
    }

    /// What was on its way is lost; all rooms are held from the cursor on.
    pub(crate) fn comes_back(&mut self, log: &[Vec<Written>], tables: &[Table]) {
        for room in 0..3 {
            if !self
                .rooms
                .get(&room)
                .is_some_and(|held| held.stage == Stage::Held)
            {
                self.left(room, log);
            }
        }
        self.leaving = (0..3)
            .filter(|room| !self.rooms.contains_key(room))
            .collect();
        let Some(text) = &self.cursor else {
            return;
        };
        let cursor = decode(text, tables);
        let not_yet = |held: &&mut Held| held.stage != Stage::Held;
        for held in self.rooms.values_mut().filter(not_yet) {
            held.known_from(&cursor, tables.len());
        }
    }

    /// What came of the room until here belongs to the past.
    pub(crate) fn left(&mut self, room: usize, log: &[Vec<Written>]) {
        self.got
            .retain(|(partition, offset)| log[*partition][*offset as usize].room != room);
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
        for (index, held) in &self.rooms {
            if one.is_some_and(|one| one != *index) || held.stage == Stage::Asked {
                continue;
            }
            let not_before = held.not_before.as_deref().map(|text| decode(text, tables));
            for (partition, log) in log.iter().enumerate() {
                let surely_from = held.surely_from.get(partition).copied().unwrap_or(0);
                for (offset, written) in log.iter().enumerate() {
                    if written.organisation != self.organisation || written.room != *index {
                        continue;
                    }
                    let place = (partition, offset as i64);
                    let got = self.got.contains(&place);
                    let behind = |cursor: &Cursor| is_new(cursor, place, written);
                    let may = behind(since) && not_before.as_ref().is_none_or(behind);
                    let was_read = read.as_ref().is_none_or(|read| {
                        read.next(hash(partition))
                            .is_some_and(|next| place.1 < next)
                    });
                    let must =
                        may && was_read && held.stage == Stage::Held && place.1 >= surely_from;
                    assert!(
                        got || !must,
                        "seed {seed}: {place:?} is lost since {since:?}"
                    );
                    assert!(
                        !got || may,
                        "seed {seed}: {place:?} of {} came too early, since {since:?}, {not_before:?}",
                        written.at
                    );
                }
            }
        }
    }
}
