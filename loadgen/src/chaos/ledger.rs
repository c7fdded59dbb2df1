//! The producer's side of the history: every record that was handed to Kafka, and what became of it.

use std::collections::HashMap;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// In flight, or the producer gave up: it may be in the log or not.
    Unknown,
    /// Part of a transaction that is still open: it counts when that is committed.
    Open,
    /// The brokers have it, at this time (nanoseconds since the epoch): clients must get it.
    Acknowledged(u64),
    /// Of an aborted transaction: no client may get it.
    Aborted,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerEntry {
    pub(crate) sent_ns: u64,
    /// In the partition; -1 until it is known.
    pub(crate) offset: i64,
    pub(crate) fate: Fate,
}

/// One partition of one topic; a topic that is recreated has lanes of its own.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// By `order`.
    pub(crate) entries: Vec<LedgerEntry>,
    /// By room: the orders of its records, by `sequence`.
    rooms: HashMap<u16, Vec<u32>>,
    /// By room, by key: the orders of its records of class `latest`.
    keys: HashMap<u16, HashMap<u32, Vec<u32>>>,
    /// Acknowledged records whose offset does not rise with their order: above 0 the order check means nothing.
    pub(crate) misplaced: u64,
    last: Option<(u32, i64)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) lanes: Vec<Lane>,
}

impl Ledger {
    pub(crate) fn add_lane(&mut self, topic: &str, partition: i32) -> u16 {
        self.lanes.push(Lane {
            topic: topic.to_owned(),
            partition,
            entries: Vec::new(),
            rooms: HashMap::new(),
            keys: HashMap::new(),
            misplaced: 0,
            last: None,
        });
        u16::try_from(self.lanes.len() - 1).expect("a run has a few dozen lanes")
    }

    /// Notes a record that is about to be sent. Gives its order in the lane and its sequence in the room's share of it.
    pub(crate) fn send(&mut self, lane: u16, room: u16, sent_ns: u64, fate: Fate) -> (u32, u32) {
        let lane = &mut self.lanes[usize::from(lane)];
        let order = lane.push(sent_ns, fate);
        (order, note(lane.rooms.entry(room).or_default(), order))
    }

    /// The same of a record of class `latest`: the sequence is that of its key.
    pub(crate) fn send_latest(
        &mut self,
        lane: u16,
        room: u16,
        key: u32,
        sent_ns: u64,
        fate: Fate,
    ) -> (u32, u32) {
        let lane = &mut self.lanes[usize::from(lane)];
        let order = lane.push(sent_ns, fate);
        let keys = lane.keys.entry(room).or_default();
        (order, note(keys.entry(key).or_default(), order))
    }

    /// The brokers have it. One of a transaction counts once that is committed: see [`Ledger::settle`].
    pub(crate) fn acknowledge(&mut self, lane: u16, order: u32, offset: i64, now_ns: u64) {
        let lane = &mut self.lanes[usize::from(lane)];
        let Some(entry) = lane.entries.get_mut(order as usize) else {
            return;
        };
        entry.offset = offset;
        if entry.fate == Fate::Unknown {
            entry.fate = Fate::Acknowledged(now_ns);
        }
        if lane
            .last
            .replace((order, offset))
            .is_some_and(|(before, at)| (before < order) != (at < offset))
        {
            lane.misplaced += 1;
        }
    }

    /// The open transaction on the lane is over.
    pub(crate) fn settle(&mut self, lane: u16, fate: Fate) {
        for entry in &mut self.lanes[usize::from(lane)].entries {
            if entry.fate == Fate::Open {
                entry.fate = fate;
            }
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.lanes
            .iter()
            .map(|lane| lane.entries.len() as u64)
            .sum()
    }

    pub(crate) fn count(&self, like: impl Fn(Fate) -> bool) -> u64 {
        let entries = self.lanes.iter().flat_map(|lane| &lane.entries);
        entries.filter(|entry| like(entry.fate)).count() as u64
    }

    pub(crate) fn misplaced(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.misplaced).sum()
    }
}

/// Gives its place.
fn note(orders: &mut Vec<u32>, order: u32) -> u32 {
    orders.push(order);
    u32::try_from(orders.len() - 1).unwrap_or(u32::MAX)
}

impl Lane {
    /// What clients know a record of it by.
    pub(crate) fn id(&self, entry: &LedgerEntry) -> String {
        format!("{}/{}/{}", self.topic, self.partition, entry.offset)
    }

    fn push(&mut self, sent_ns: u64, fate: Fate) -> u32 {
        let order = u32::try_from(self.entries.len()).expect("a lane holds less than 2^32");
        self.entries.push(LedgerEntry {
            sent_ns,
            offset: -1,
            fate,
        });
        order
    }

    /// The orders of the records of each of a room's keys.
    pub(crate) fn keys(&self, room: u16) -> impl Iterator<Item = (u32, &[u32])> {
        let keys = self.keys.get(&room).into_iter().flatten();
        keys.map(|(key, orders)| (*key, orders.as_slice()))
    }

    pub(crate) fn key(&self, room: u16, key: u32) -> &[u32] {
        let orders = self.keys.get(&room).and_then(|keys| keys.get(&key));
        orders.map_or(&[], Vec::as_slice)
    }

    /// The orders of a room's records, by sequence.
    pub(crate) fn room(&self, room: u16) -> &[u32] {
        self.rooms.get(&room).map_or(&[], Vec::as_slice)
    }

    /// The order of the first record that was sent after that moment.
    pub(crate) fn first_after(&self, moment_ns: u64) -> u32 {
        let at = self
            .entries
            .partition_point(|entry| entry.sent_ns <= moment_ns);
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}
