//! The hub against outlets that only write down what they are offered.

mod conflation;
mod cursor_vectors;
mod delivery;
mod ephemeral;
mod eviction;
mod hostile;
mod joining;
mod lag_cursors;
mod limit;
mod resumption;
mod resyncs;
mod revocation;
mod snapshots;
mod timestamps;
mod topic_ids;
mod truncation;
mod unwanted;
mod visits;
mod work;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::feed::Feed;
use super::outlet::{ControlItem, Item, Offered, Outlet};
use super::resume::{Inspection, Resumption};
use super::{ConnectionKey, Hub, HubSettings, Now, Start};
use crate::domain::cursor::{Cursor, Mark, Tag, partition_hash};
use crate::domain::id::Id;
use crate::domain::protocol::{ResyncReason, RevokeReason};
use crate::domain::publication::{Class, Ephemeral, Publication};
use crate::domain::room::{Kind, Room, Which};

const TOPIC: &str = "incident";
const EPOCH: u64 = 1_795_000_000_000;
const WINDOW_MS: u64 = 60_000;
const KEPT_MS: u64 = WINDOW_MS + 10_000;
/// What a cursor names was touched within this time.
const MEMORY_MS: u64 = 2 * KEPT_MS + 50_000;
const NO_LIMIT: usize = usize::MAX / 2;

/// What an outlet took.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Welcome(Resumption, u64),
    Resync(ResyncReason),
    Cursor,
    Stale(bool),
    /// The ids of the rooms.
    Revoked(Vec<String>),
    Granted(Vec<String>),
    TokenExpiring,
    /// Partition and offset.
    Record(i32, i64),
    Snapshot(i32, i64),
    /// The event's name.
    Ephemeral(String),
}

use Seen::{Record, Snapshot, Stale, Welcome};

#[derive(Default)]
struct Pipe {
    capacity: usize,
    /// With the cursor; an ephemeral event and an expiring token have none: the empty text.
    taken: VecDeque<(Seen, Arc<str>)>,
    refused: usize,
}

struct Mock(Rc<RefCell<Pipe>>);

impl Outlet for Mock {
    type Shared = ();

    fn offer(&mut self, item: Item<'_>) -> Offered {
        let mut pipe = self.0.borrow_mut();
        if pipe.taken.len() >= pipe.capacity {
            pipe.refused += 1;
            return Offered::Full;
        }
        let (seen, cursor) = match item {
            Item::Control(ControlItem::Welcome {
                resumption,
                window_seconds,
                cursor,
                ..
            }) => (Welcome(resumption, window_seconds), cursor),
            Item::Control(ControlItem::Resync { reason, cursor, .. }) => {
                (Seen::Resync(reason), cursor)
            }
            Item::Control(ControlItem::Cursor { cursor }) => (Seen::Cursor, cursor),
            Item::Control(ControlItem::Stale { stale, cursor, .. }) => (Stale(stale), cursor),
            Item::Control(ControlItem::Granted { rooms, cursor, .. }) => {
                let ids = rooms.iter().map(|room| room.which.to_string()).collect();
                (Seen::Granted(ids), cursor)
            }
            Item::Control(ControlItem::Revoked { rooms, cursor, .. }) => {
                let ids = rooms.iter().map(|room| room.which.to_string()).collect();
                (Seen::Revoked(ids), cursor)
            }
            Item::Control(ControlItem::TokenExpiring) => {
                pipe.taken.push_back((Seen::TokenExpiring, "".into()));
                return Offered::Taken;
            }
            Item::Publication(delivery) => {
                let publication = delivery.publication();
                let record = Record(publication.partition, publication.offset);
                (record, delivery.cursor())
            }
            Item::Ephemeral(ephemeral) => {
                let event = ephemeral.event.to_string();
                pipe.taken.push_back((Seen::Ephemeral(event), "".into()));
                return Offered::Taken;
            }
            Item::Snapshot {
                publication,
                cursor,
            } => (Snapshot(publication.partition, publication.offset), cursor),
        };
        pipe.taken.push_back((seen, cursor.clone()));
        Offered::Taken
    }
}

struct Client {
    key: ConnectionKey,
    pipe: Rc<RefCell<Pipe>>,
    /// The cursor of the newest item that was read.
    cursor: Arc<str>,
}

impl Client {
    /// Reads all that the outlet took, which frees capacity.
    fn read(&mut self) -> Vec<Seen> {
        let taken = std::mem::take(&mut self.pipe.borrow_mut().taken);
        if let Some((_, cursor)) = taken.iter().rfind(|(_, cursor)| !cursor.is_empty()) {
            self.cursor = cursor.clone();
        }
        taken.into_iter().map(|(seen, _)| seen).collect()
    }

    /// Reads as [`read`](Self::read) does, and keeps the records only.
    fn records(&mut self) -> Vec<(i32, i64)> {
        let read = self.read().into_iter();
        read.filter_map(|seen| match seen {
            Record(partition, offset) | Snapshot(partition, offset) => Some((partition, offset)),
            _ => None,
        })
        .collect()
    }

    fn set_capacity(&self, items: usize) {
        self.pipe.borrow_mut().capacity = items;
    }
}

/// One instance and its clock.
struct Rig {
    hub: Hub<Mock>,
    now: Now,
    /// By partition: the offset that the next record gets.
    next: Vec<i64>,
}

impl Rig {
    fn new(partitions: u32) -> Self {
        Self::with_bytes(partitions, NO_LIMIT)
    }

    fn with_bytes(partitions: u32, window_bytes: usize) -> Self {
        Self::with_space(partitions, window_bytes, NO_LIMIT)
    }

    fn with_space(partitions: u32, window_bytes: usize, latest_bytes: usize) -> Self {
        let settings = HubSettings {
            window_ms: WINDOW_MS,
            window_bytes,
            latest_bytes,
            named_partitions: 0,
        };
        let mut rig = Self {
            hub: Hub::new(settings),
            now: Now {
                monotonic: 5_000_000,
                wall: EPOCH,
            },
            next: Vec::new(),
        };
        for _ in 0..partitions {
            rig.add_partition();
        }
        rig.confirm();
        rig.hub.loaded();
        rig.hub.name_events(["incident_updated"].into_iter());
        rig
    }

    /// A partition of the topic that is read from offset 0.
    fn add_partition(&mut self) {
        let index = u32::try_from(self.next.len()).unwrap();
        self.next.push(0);
        self.apply(Feed::Partition {
            index,
            topic: TOPIC.into(),
            number: index.cast_signed(),
            topic_id: None,
            start: 0,
        });
    }

    fn apply(&mut self, feed: Feed) -> u64 {
        let work = self.hub.apply(feed, self.now);
        while self.hub.visit(1, self.now) {}
        work
    }

    /// The reader is at the end of every partition.
    fn confirm(&mut self) {
        for (partition, next) in (0..).zip(self.next.clone()) {
            let asked = self.now.wall;
            self.apply(Feed::End {
                partition,
                next,
                asked,
            });
        }
    }

    /// Time passes, a second at a time, as in the running process.
    fn pass(&mut self, ms: u64) {
        self.pass_while(ms, Self::confirm);
    }

    /// The same while the ends of the log are unknown.
    fn pass_unconfirmed(&mut self, ms: u64) {
        self.pass_while(ms, |_| ());
    }

    fn pass_while(&mut self, ms: u64, each: impl Fn(&mut Self)) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(1_000);
            self.now.monotonic += step;
            self.now.wall += step;
            left -= step;
            each(self);
            self.tick();
            self.turns();
        }
    }

    fn tick(&mut self) {
        self.hub.tick(self.now);
        while self.hub.visit(1, self.now) {}
    }

    /// Turns, until none is queued.
    fn turns(&mut self) {
        for _ in 0..100_000 {
            if !self.hub.turn(self.now) {
                return;
            }
        }
        panic!("turns never end");
    }

    /// Appends a record for these rooms of an organisation.
    fn publish(&mut self, partition: u32, organisation: &str, rooms: &[&str]) -> i64 {
        self.publish_sized(partition, organisation, rooms, 4)
    }

    fn publish_sized(
        &mut self,
        partition: u32,
        organisation: &str,
        rooms: &[&str],
        bytes: usize,
    ) -> i64 {
        self.append(partition, organisation, rooms, bytes, None)
    }

    /// Appends a record of class `latest`, whose own key is what it is the latest of.
    fn update(&mut self, partition: u32, organisation: &str, rooms: &[&str], of: &str) -> i64 {
        self.append(partition, organisation, rooms, 4, Some((of, of.as_bytes())))
    }

    /// The same in room 1 of `o1`, with a key of its own.
    fn update_keyed(&mut self, partition: u32, key: &[u8], of: &str) -> i64 {
        self.append(partition, "o1", &["1"], 4, Some((of, key)))
    }

    fn append(
        &mut self,
        partition: u32,
        organisation: &str,
        rooms: &[&str],
        bytes: usize,
        latest: Option<(&str, &[u8])>,
    ) -> i64 {
        let publication = self.publication(partition, organisation, rooms, bytes, latest);
        let offset = publication.offset;
        self.apply(Feed::Publication {
            partition,
            publication,
        });
        offset
    }

    /// The partition's next record.
    fn publication(
        &mut self,
        partition: u32,
        organisation: &str,
        rooms: &[&str],
        bytes: usize,
        latest: Option<(&str, &[u8])>,
    ) -> Publication {
        let offset = self.next[partition as usize];
        self.next[partition as usize] = offset + 1;
        Publication {
            topic: TOPIC.into(),
            partition: partition.cast_signed(),
            offset,
            timestamp: None,
            key: latest.map(|(_, key)| key.into()),
            event: "incident_updated".into(),
            organisation: id(organisation),
            rooms: rooms.iter().map(|name| room(organisation, name)).collect(),
            class: latest.map_or(Class::Event, |_| Class::Latest),
            latest_of: latest.map(|(of, _)| of.into()),
            ack: false,
            payload: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))))
                .unwrap(),
        }
    }

    /// Offers an event without a position to these rooms of an organisation.
    fn ephemeral(&mut self, organisation: &str, rooms: &[&str]) -> u64 {
        self.apply(Feed::Ephemeral(Ephemeral {
            event: "presence".into(),
            organisation: id(organisation),
            rooms: rooms.iter().map(|name| room(organisation, name)).collect(),
            arguments: vec![RawValue::from_string("{}".to_owned()).unwrap()],
        }))
    }

    /// A client with a large outlet, and its welcome not yet sent.
    fn connect(&mut self, organisation: &str, rooms: &[&str], start: Start) -> Client {
        let pipe = Rc::new(RefCell::new(Pipe {
            capacity: NO_LIMIT,
            ..Pipe::default()
        }));
        let rooms = rooms.iter().map(|name| room(organisation, name)).collect();
        let organisation = id(organisation);
        let key = self
            .hub
            .connect(&organisation, rooms, start, Mock(pipe.clone()), self.now);
        Client {
            key,
            pipe,
            cursor: "".into(),
        }
    }

    /// A client of the organisation `o1` that is welcome and live.
    fn live(&mut self, rooms: &[&str]) -> Client {
        let mut client = self.connect("o1", rooms, Start::Fresh);
        self.turns();
        assert_eq!(
            client.read(),
            [Welcome(Resumption::Fresh, WINDOW_MS / 1000)]
        );
        client
    }

    /// A client of `o1` that comes back with this cursor, which must be good.
    fn resumed(&mut self, rooms: &[&str], text: &str) -> Client {
        match self.inspect("o1", text) {
            Inspection::Resume(cursor) => {
                self.connect("o1", rooms, Start::Resume(cursor, text.into()))
            }
            other => panic!("not to be resumed: {other:?}"),
        }
    }

    /// A client has read: its outlet notifies the hub.
    fn ready(&mut self, client: &Client) {
        self.hub.ready(client.key);
        self.turns();
    }

    fn subscribe(&mut self, client: &Client, name: &str) -> bool {
        self.hub.subscribe(client.key, &room("o1", name), self.now)
    }

    fn subscribe_latest(&mut self, client: &Client, name: &str) -> usize {
        let keys = self
            .hub
            .subscribe_latest(client.key, &room("o1", name), self.now);
        self.hub.cursor(client.key, self.now);
        keys
    }

    fn inspect(&self, organisation: &str, text: &str) -> Inspection {
        self.hub.inspect(&id(organisation), text, self.now)
    }

    fn decode(&self, text: &str) -> Cursor {
        self.hub.positions.tables().decode(text).unwrap()
    }

    /// What the cursor says of a partition of the topic.
    fn position(&self, text: &str, partition: i32) -> Option<i64> {
        self.decode(text).next(partition_hash(TOPIC, partition))
    }
}

/// Of the topic whose id is unknown.
fn mark(partition: i32, next: i64) -> Mark {
    Mark {
        hash: partition_hash(TOPIC, partition),
        tag: Tag::UNKNOWN,
        next,
    }
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn room(organisation: &str, name: &str) -> Room {
    Room {
        organisation: id(organisation),
        kind: Kind::parse("channel").unwrap(),
        which: Which::parse(name).unwrap(),
    }
}
