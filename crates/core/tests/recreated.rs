//! The real hub against a world in which the topic is deleted and recreated, again and again: instances notice it late and at
//! different times, and read the new log from the old position until then; others start afterwards and never knew the old one.
//! Clients move between them. A client that has seen something of an old topic must be resynced before the new one counts, and
//! then gets all of it exactly once; a client that has not must not be resynced.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "offsets and partitions of the model are small numbers"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use fleetcast_core::domain::cursor::{Cursor, Table, Tag, partition_hash};
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::protocol::ResyncReason;
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::{Kind, Room, Which};
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::outlet::{ControlItem, Item, Offered, Outlet};
use fleetcast_core::hub::resume::{Inspection, Resumption};
use fleetcast_core::hub::{ConnectionKey, Hub, HubSettings, NAMED_PARTITIONS, Now, Start};
use serde_json::value::to_raw_value;

const TOPIC: &str = "incident";
const EPOCH: u64 = 1_795_000_000_000;
const PARTITIONS: i32 = 2;

/// A small generator of its own, so that a failing seed stays failing.
struct RecreationRandom(u64);

impl RecreationRandom {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Which topic of the name, partition, offset.
type RecreationPlace = (u8, i32, i64);

enum RecreationSent {
    Interval { resumed: bool, cursor: Arc<str> },
    Cursor(Arc<str>),
    Record(RecreationPlace, Arc<str>),
}

type RecreationPipe = Rc<RefCell<VecDeque<RecreationSent>>>;

struct RecreationOutlet(RecreationPipe);

impl Outlet for RecreationOutlet {
    type Shared = ();

    fn offer(&mut self, item: Item<'_>) -> Offered {
        let sent = match item {
            Item::Control(ControlItem::Welcome {
                resumption, cursor, ..
            }) => RecreationSent::Interval {
                resumed: resumption == Resumption::Resumed,
                cursor: cursor.clone(),
            },
            Item::Control(ControlItem::Resync { cursor, .. }) => RecreationSent::Interval {
                resumed: false,
                cursor: cursor.clone(),
            },
            Item::Control(
                ControlItem::Cursor { cursor }
                | ControlItem::Stale { cursor, .. }
                | ControlItem::Granted { cursor, .. }
                | ControlItem::Revoked { cursor, .. },
            ) => RecreationSent::Cursor(cursor.clone()),
            Item::Publication(delivery) => {
                let place = serde_json::from_str(delivery.publication().payload.get()).unwrap();
                RecreationSent::Record(place, delivery.cursor().clone())
            }
            Item::Snapshot { .. }
            | Item::Ephemeral(_)
            | Item::Control(ControlItem::TokenExpiring) => {
                unreachable!(
                    "nothing of this model asks for a snapshot or makes an ephemeral event"
                )
            }
        };
        self.0.borrow_mut().push_back(sent);
        Offered::Taken
    }
}

struct RecreationInstance {
    hub: Hub<RecreationOutlet>,
    /// By partition: the topic that it takes the name for.
    topics: Vec<u8>,
    next_index: u32,
    /// By partition: the consumer's index, and the next offset.
    reads: Vec<(u32, i64)>,
}

#[derive(Default)]
struct RecreationClient {
    cursor: Option<Arc<str>>,
    /// Where the interval that is checked began, and what came since.
    since: Option<Arc<str>>,
    got: BTreeMap<RecreationPlace, u32>,
    connected: Option<(usize, ConnectionKey, RecreationPipe)>,
}

#[derive(Default, Debug)]
struct RecreationOutcome {
    received: usize,
    recreated: usize,
    outgrown: usize,
    resumed: usize,
    resynced: usize,
    refused: usize,
}

struct RecreationWorld {
    random: RecreationRandom,
    seed: u64,
    now: u64,
    topic: u8,
    /// By partition: the end of the log.
    ends: Vec<i64>,
    instances: Vec<RecreationInstance>,
    clients: Vec<RecreationClient>,
    outcome: RecreationOutcome,
}

fn id_of(topic: u8) -> [u8; 16] {
    [topic + 1; 16]
}

fn tag(topic: u8) -> Tag {
    Tag::of(Some(id_of(topic)))
}

/// The tables of all topics that there can be.
static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let name = |topic| move |number| (partition_hash(TOPIC, number), tag(topic));
    let table = |topic| Table::new((0..PARTITIONS).map(name(topic)).collect());
    (0..64).map(table).collect()
});

fn decode(text: &str) -> Cursor {
    let find = |digest, tag| TABLES.iter().find(|table| table.fits(digest, tag));
    Cursor::decode(text, find).unwrap()
}

impl RecreationInstance {
    /// Takes up the topic that now has the name, for so many more of its partitions: offsets may tell before the id does.
    fn notice(&mut self, topic: u8, partitions: usize, now: Now) {
        let old = |number: &usize| self.topics.get(*number) != Some(&topic);
        let old: Vec<usize> = (0..PARTITIONS as usize).filter(old).collect();
        for number in old.into_iter().take(partitions) {
            if let Some((partition, _)) = self.reads.get(number).copied() {
                self.hub.apply(Feed::TopicDeleted { partition }, now);
            }
            let index = self.next_index;
            self.next_index += 1;
            self.hub.apply(
                Feed::Partition {
                    index,
                    topic: TOPIC.into(),
                    number: i32::try_from(number).unwrap(),
                    topic_id: Some(id_of(topic)),
                    start: 0,
                },
                now,
            );
            self.topics.resize(self.topics.len().max(number + 1), topic);
            self.reads.resize(self.topics.len(), (index, 0));
            (self.topics[number], self.reads[number]) = (topic, (index, 0));
        }
    }
}

impl RecreationWorld {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: RecreationRandom(seed),
            seed,
            now: EPOCH,
            topic: 0,
            ends: vec![0; PARTITIONS as usize],
            instances: Vec::new(),
            clients: Vec::new(),
            outcome: RecreationOutcome::default(),
        };
        for _ in 0..3 {
            let instance = world.boot();
            world.instances.push(instance);
        }
        world.clients.resize_with(4, RecreationClient::default);
        world
    }

    fn time(&self) -> Now {
        Now {
            monotonic: self.now - EPOCH,
            wall: self.now,
        }
    }

    fn boot(&mut self) -> RecreationInstance {
        let mut instance = RecreationInstance {
            hub: Hub::new(HubSettings {
                window_ms: 60_000,
                window_bytes: usize::MAX / 2,
                latest_bytes: 0,
                named_partitions: if self.random.chance(50) {
                    NAMED_PARTITIONS
                } else {
                    0
                },
            }),
            topics: Vec::new(),
            next_index: 0,
            reads: Vec::new(),
        };
        instance.notice(self.topic, usize::MAX, self.time());
        self.read(&mut instance, usize::MAX);
        instance.hub.loaded();
        instance
    }

    /// Reads what stands under the name, whatever topic that is by now.
    fn read(&mut self, instance: &mut RecreationInstance, count: usize) {
        let now = self.time();
        for _ in 0..count {
            let behind = |number: &usize| instance.reads[*number].1 < self.ends[*number];
            let waiting: Vec<usize> = (0..self.ends.len()).filter(behind).collect();
            if waiting.is_empty() {
                break;
            }
            let at = waiting[self.random.below(waiting.len() as u64) as usize];
            let number = i32::try_from(at).unwrap();
            let (partition, offset) = instance.reads[at];
            instance.reads[at].1 += 1;
            let publication = publication((self.topic, number, offset));
            instance.hub.apply(
                Feed::Publication {
                    partition,
                    publication,
                },
                now,
            );
        }
        for (number, (partition, next)) in instance.reads.iter().enumerate() {
            if self.ends[number] == *next {
                let (partition, next, asked) = (*partition, *next, now.wall);
                instance.hub.apply(
                    Feed::End {
                        partition,
                        next,
                        asked,
                    },
                    now,
                );
            }
        }
    }

    fn step(&mut self) {
        self.now += 50;
        for end in 0..self.ends.len() {
            self.ends[end] += i64::from(self.random.chance(40));
        }
        if self.random.chance(1) {
            self.recreate();
        }
        for at in 0..self.instances.len() {
            let mut instance = self.instances.remove(at);
            if self.random.chance(2) {
                for client in &mut self.clients {
                    client.connected.take_if(|(of, ..)| *of == at);
                }
                instance = self.boot();
            }
            if self.random.chance(8) {
                let partitions = 1 + self.random.below(PARTITIONS as u64) as usize;
                instance.notice(self.topic, partitions, self.time());
            }
            let count = if self.random.chance(70) {
                usize::MAX
            } else {
                self.random.below(3) as usize
            };
            self.read(&mut instance, count);
            let now = self.time();
            if self.random.chance(70) {
                instance.hub.visit(self.random.below(2) as usize, now);
            }
            while instance.hub.turn(now) {}
            self.instances.insert(at, instance);
        }
        for at in 0..self.clients.len() {
            let mut client = std::mem::take(&mut self.clients[at]);
            if client.connected.is_none() {
                if self.random.chance(30) {
                    self.connect(&mut client);
                }
            } else if self.random.chance(8) {
                let (of, key, _) = client.connected.take().unwrap();
                self.instances[of].hub.close(key);
            } else if self.random.chance(80) {
                self.receive(&mut client);
            }
            self.clients[at] = client;
        }
    }

    fn recreate(&mut self) {
        self.topic += 1;
        self.outcome.recreated += 1;
        for end in 0..self.ends.len() {
            let before = self.ends[end];
            // At once longer than the old one, or not yet.
            self.ends[end] = i64::try_from(self.random.below(2 * before as u64 + 2)).unwrap();
            self.outcome.outgrown += usize::from(self.ends[end] > before);
        }
    }

    fn connect(&mut self, client: &mut RecreationClient) {
        let at = self.random.below(self.instances.len() as u64) as usize;
        let now = self.time();
        let organisation = Id::parse("o1").unwrap();
        let mut start = Start::Fresh;
        if let Some(text) = client.cursor.clone() {
            let instance = &mut self.instances[at];
            let mut judged = instance.hub.inspect(&organisation, &text, now);
            let marks = decode(&text).marks;
            let of = |topic: u8| marks.iter().all(|mark| mark.tag == tag(topic));
            let topic = instance.topics[0];
            if instance.topics.iter().all(|other| *other == topic) && of(topic) {
                let good = matches!(judged, Inspection::Resume(_));
                assert!(good, "seed {}: resynced for nothing: {judged:?}", self.seed);
            }
            if judged == Inspection::Unknown && self.random.chance(80) {
                instance.notice(self.topic, usize::MAX, now);
                judged = instance.hub.inspect(&organisation, &text, now);
            }
            start = match judged {
                Inspection::Resume(cursor) => {
                    self.outcome.resumed += 1;
                    Start::Resume(cursor, text)
                }
                Inspection::Resync(reason) => {
                    self.outcome.refused += 1;
                    Start::Resync(reason)
                }
                Inspection::Unknown => Start::Resync(ResyncReason::TopicRecreated),
            };
        }
        let pipe = RecreationPipe::default();
        let hub = &mut self.instances[at].hub;
        let outlet = RecreationOutlet(pipe.clone());
        let key = hub.connect(&organisation, vec![room()], start, outlet, now);
        while hub.turn(now) {}
        client.connected = Some((at, key, pipe));
    }

    fn receive(&mut self, client: &mut RecreationClient) {
        let Some((_, _, pipe)) = &client.connected else {
            return;
        };
        for sent in pipe.take() {
            match sent {
                RecreationSent::Interval { resumed, cursor } => {
                    if !resumed {
                        self.outcome.resynced += usize::from(client.since.is_some());
                        client.since = Some(cursor.clone());
                        client.got.clear();
                    }
                    client.cursor = Some(cursor);
                }
                RecreationSent::Cursor(cursor) => client.cursor = Some(cursor),
                RecreationSent::Record(place, cursor) => {
                    let times = client.got.entry(place).or_default();
                    *times += 1;
                    assert_eq!(*times, 1, "seed {}: {place:?} came twice", self.seed);
                    client.cursor = Some(cursor);
                    self.outcome.received += 1;
                }
            }
        }
    }

    /// Everybody has noticed, everything is read and received: the books must balance.
    fn settle(&mut self) {
        let now = self.time();
        for at in 0..self.instances.len() {
            let mut instance = self.instances.remove(at);
            instance.notice(self.topic, usize::MAX, now);
            self.read(&mut instance, usize::MAX);
            while instance.hub.visit(1, now) {}
            while instance.hub.turn(now) {}
            self.instances.insert(at, instance);
        }
        for at in 0..self.clients.len() {
            let mut client = std::mem::take(&mut self.clients[at]);
            if client.connected.is_none() {
                self.connect(&mut client);
            }
            self.receive(&mut client);
            let since = decode(client.since.as_ref().unwrap());
            for (number, end) in (0..).zip(&self.ends) {
                let mark = since.mark(partition_hash(TOPIC, number));
                // Told of another partition, it may have begun before this one was noticed, if nothing came of it since.
                let mark = mark.filter(|mark| mark.tag == tag(self.topic));
                let from = mark.map_or(0, |mark| mark.next);
                for offset in 0..*end {
                    let place = (self.topic, number, offset);
                    let got = client.got.contains_key(&place);
                    assert_eq!(got, offset >= from, "seed {}: {place:?}", self.seed);
                }
            }
        }
    }
}

fn room() -> Room {
    Room {
        organisation: Id::parse("o1").unwrap(),
        kind: Kind::parse("channel").unwrap(),
        which: Which::parse("1").unwrap(),
    }
}

fn publication(place: RecreationPlace) -> Publication {
    Publication {
        topic: TOPIC.into(),
        partition: place.1,
        offset: place.2,
        timestamp: None,
        key: None,
        event: "incident_updated".into(),
        organisation: Id::parse("o1").unwrap(),
        rooms: vec![room()],
        class: Class::Event,
        latest_of: None,
        ack: false,
        payload: to_raw_value(&place).unwrap(),
    }
}

#[test]
fn no_client_goes_on_from_a_deleted_topic_into_the_recreated_one_without_a_resync() {
    let mut total = RecreationOutcome::default();
    for seed in 0..60 {
        let mut world = RecreationWorld::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.settle();
        let outcome = world.outcome;
        total.received += outcome.received;
        total.recreated += outcome.recreated;
        total.outgrown += outcome.outgrown;
        total.resumed += outcome.resumed;
        total.resynced += outcome.resynced;
        total.refused += outcome.refused;
    }
    // The model must have exercised what it claims to check.
    assert!(total.received > 20_000, "{total:?}");
    assert!(total.recreated > 150 && total.outgrown > 100, "{total:?}");
    assert!(total.resumed > 1_500 && total.refused > 50, "{total:?}");
    assert!(total.resynced > 300, "{total:?}");
}
