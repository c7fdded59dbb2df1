//! What a client must have of class `latest`: the newest of each key, and the snapshots that it asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{ModelPlace, Written};

#[derive(Default)]
pub(crate) struct Newest {
    /// By key: what came since the interval began, and as the how-manieth item.
    received: BTreeMap<usize, Vec<(ModelPlace, usize)>>,
    count: usize,
    /// By key: what came last on this connection.
    last: BTreeMap<usize, ModelPlace>,
    /// What came on this connection since something was asked last.
    here: BTreeSet<ModelPlace>,
    asked: BTreeMap<usize, SnapshotRequest>,
}

/// The snapshot of a room was asked for.
struct SnapshotRequest {
    /// Tells one question from the next.
    nth: usize,
    /// By partition: what the instance has read from here on is in its table; `None`, if the table is too small for it.
    first: Option<Vec<i64>>,
    stage: RequestStage,
    /// What came from here on counts.
    since: usize,
}

#[derive(PartialEq, Eq)]
enum RequestStage {
    /// The client has not read as far as to the question.
    Sent,
    /// It has, but not the cursor behind the answer.
    Read,
    Answered,
}

impl Newest {
    /// What was not answered in full must be asked again.
    pub(crate) fn connected(&mut self) {
        self.last.clear();
        self.here.clear();
        self.asked
            .retain(|_, asked| asked.stage == RequestStage::Answered);
    }

    pub(crate) fn starts_over(&mut self) {
        self.received.clear();
        self.asked.clear();
    }

    /// A room was left: what is newest without it may be older.
    pub(crate) fn left(&mut self) {
        self.last.clear();
    }

    pub(crate) fn leaves(&mut self, room: usize) {
        self.asked.remove(&room);
    }

    pub(crate) fn ask(&mut self, room: usize, nth: usize, first: Option<Vec<i64>>) {
        let asked = SnapshotRequest {
            nth,
            first,
            stage: RequestStage::Sent,
            since: 0,
        };
        self.asked.insert(room, asked);
    }

    pub(crate) fn is_asked(&mut self, room: usize, nth: usize) {
        self.here.clear();
        self.last.clear();
        if let Some(asked) = self.asked.get_mut(&room).filter(|asked| asked.nth == nth) {
            asked.stage = RequestStage::Read;
            asked.since = self.count;
        }
    }

    pub(crate) fn cursor_came(&mut self) {
        for asked in self.asked.values_mut() {
            if asked.stage == RequestStage::Read {
                asked.stage = RequestStage::Answered;
            }
        }
    }

    /// Came as an event.
    pub(crate) fn record(&mut self, key: usize, place: ModelPlace, seed: u64) {
        assert!(
            self.here.insert(place),
            "seed {seed}: {place:?} came twice on one connection"
        );
        self.came(key, place, seed);
    }

    /// Came because it was asked for.
    pub(crate) fn given(&mut self, key: usize, place: ModelPlace, seed: u64) {
        self.here.insert(place);
        self.came(key, place, seed);
    }

    fn came(&mut self, key: usize, place: ModelPlace, seed: u64) {
        let last = self.last.insert(key, place);
        assert!(
            last.is_none_or(|last| last <= place),
            "seed {seed}: {place:?} of key {key} came behind {last:?}"
        );
        let received = self.received.entry(key).or_default();
        received.push((place, self.count));
        self.count += 1;
    }

    /// This one or a newer one of the key.
    pub(crate) fn has(&self, key: usize, place: ModelPlace) -> bool {
        self.came_since(key, place, 0)
    }

    fn came_since(&self, key: usize, place: ModelPlace, since: usize) -> bool {
        let received = self.received.get(&key);
        let mut received = received.into_iter().flatten();
        received.any(|(came, nth)| *came >= place && *nth >= since)
    }

    /// Who asked and was answered has the newest of each key of the room, `read` being what the client has read.
    pub(crate) fn check(
        &self,
        room: usize,
        newest: &BTreeMap<usize, ModelPlace>,
        read: impl Fn(ModelPlace) -> bool,
        seed: u64,
    ) {
        let answered = self.asked.get(&room);
        let Some(asked) = answered.filter(|asked| asked.stage == RequestStage::Answered) else {
            return;
        };
        let Some(first) = &asked.first else { return };
        for (key, place) in newest.iter().map(|(key, place)| (*key, *place)) {
            let had = first.get(place.0).is_some_and(|first| place.1 >= *first);
            assert!(
                !had || !read(place) || self.came_since(key, place, asked.since),
                "seed {seed}: room {room} was asked, {place:?} of key {key} is not there"
            );
        }
    }
}

/// By key: its newest record in the room.
pub(crate) fn newest_of(
    room: usize,
    organisation: usize,
    log: &[Vec<Written>],
) -> BTreeMap<usize, ModelPlace> {
    let mut newest = BTreeMap::new();
    for (partition, log) in log.iter().enumerate() {
        for (offset, written) in log.iter().enumerate() {
            if let Some(key) = written.key
                && written.organisation == organisation
                && written.is_heard_in(room)
            {
                newest.insert(key, (partition, offset as i64));
            }
        }
    }
    newest
}
