//! The real hub against a model of the world: several instances read the same log in different interleavings, stall,
//! restart and run out of space, while clients read slowly, are cut off and come back to any of them. Each record of a
//! client's rooms must arrive exactly once, or the client must have been told to resync.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use fleetcast_core::domain::cursor::{Cursor, Table, partition_hash};
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::{Kind, Room};
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::outlet::{Item, Offered, Outlet, Resumed};
use fleetcast_core::hub::resume::Inspection;
use fleetcast_core::hub::{ConnectionKey, Hub, Now, Settings, Start};

use serde_json::value::RawValue;

const TOPIC: &str = "incident";
const EPOCH: u64 = 1_795_000_000_000;
const WINDOW_MS: u64 = 60_000;

/// A small generator of its own, so that a failing seed stays failing.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
struct Written {
    at: u64,
    organisation: usize,
    /// Room 3 stands for a record that reaches nobody.
    room: usize,
}

type Place = (usize, i64);

/// What travels to a client: lost when the connection is cut.
enum Sent {
    Interval { resumed: bool, cursor: Arc<str> },
    Cursor(Arc<str>),
    Record(Place, Arc<str>),
}

struct Pipe {
    room_for: usize,
    queue: VecDeque<Sent>,
    hungry: bool,
}

#[derive(Clone)]
struct TestOutlet(Rc<RefCell<Pipe>>);

impl Outlet for TestOutlet {
    fn offer(&mut self, item: Item<'_>) -> Offered {
        let mut pipe = self.0.borrow_mut();
        if pipe.queue.len() >= pipe.room_for {
            pipe.hungry = true;
            return Offered::Full;
        }
        pipe.queue.push_back(match item {
            Item::Welcome {
                resumed, cursor, ..
            } => Sent::Interval {
                resumed: resumed == Resumed::Resumed,
                cursor: cursor.clone(),
            },
            Item::Resync { cursor, .. } => Sent::Interval {
                resumed: false,
                cursor: cursor.clone(),
            },
            Item::Cursor { cursor } | Item::Stale { cursor, .. } => Sent::Cursor(cursor.clone()),
            Item::Publication {
                publication,
                cursor,
            } => Sent::Record(
                (publication.partition as usize, publication.offset),
                cursor.clone(),
            ),
        });
        Offered::Taken
    }
}

struct Instance {
    hub: Hub<TestOutlet>,
    next: Vec<i64>,
    stalled: usize,
}

struct Connected {
    instance: usize,
    key: ConnectionKey,
    pipe: Rc<RefCell<Pipe>>,
}

struct Client {
    organisation: usize,
    rooms: Vec<usize>,
    cursor: Option<Arc<str>>,
    /// Where the interval that is being checked began.
    since: Option<Cursor>,
    got: BTreeMap<Place, usize>,
    connected: Option<Connected>,
}

#[derive(Default, Debug)]
struct Outcome {
    received: usize,
    resumed: usize,
    resyncs: usize,
    refused: usize,
    slowed: u64,
}

struct World {
    random: Random,
    now: u64,
    log: Vec<Vec<Written>>,
    table: Table,
    instances: Vec<Instance>,
    clients: Vec<Client>,
    bytes: usize,
    outcome: Outcome,
    seed: u64,
}

fn organisation(index: usize) -> Id {
    Id::parse(&format!("o{index}")).unwrap()
}

fn room(of: usize, index: usize) -> Room {
    Room {
        organisation: organisation(of),
        kind: Kind::parse("channel").unwrap(),
        id: Id::parse(&index.to_string()).unwrap(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let partitions = 1 + random.below(5);
        let instances = 1 + random.below(3);
        let bytes = if seed.is_multiple_of(3) {
            12_000
        } else {
            usize::MAX / 2
        };
        let hashes = (0..partitions).map(|number| partition_hash(TOPIC, None, number as i32));
        let mut world = Self {
            table: Table::new(hashes.collect()),
            random,
            now: EPOCH,
            log: vec![Vec::new(); partitions],
            instances: Vec::new(),
            clients: Vec::new(),
            bytes,
            outcome: Outcome::default(),
            seed,
        };
        for _ in 0..instances {
            let instance = world.boot();
            world.instances.push(instance);
        }
        for _ in 0..4 {
            let rooms = match world.random.below(3) {
                0 => vec![0],
                1 => vec![1, 2],
                _ => vec![0, 1, 2],
            };
            world.clients.push(Client {
                organisation: world.random.below(2),
                rooms,
                cursor: None,
                since: None,
                got: BTreeMap::new(),
                connected: None,
            });
        }
        world
    }

    fn time(&self) -> Now {
        Now {
            monotonic: self.now - EPOCH,
            wall: self.now,
        }
    }

    fn boot(&mut self) -> Instance {
        let now = self.time();
        let mut hub = Hub::new(Settings {
            window_ms: WINDOW_MS,
            window_bytes: self.bytes,
        });
        let mut next = Vec::new();
        for (number, partition) in self.log.iter().enumerate() {
            let kept = |written: &Written| written.at + WINDOW_MS + 10_000 >= self.now;
            let start = partition.iter().position(kept).unwrap_or(partition.len()) as i64;
            let feed = Feed::Partition {
                index: number as u32,
                topic: TOPIC.into(),
                number: number as i32,
                topic_id: None,
                start,
            };
            hub.apply(feed, now);
            next.push(start);
        }
        let mut instance = Instance {
            hub,
            next,
            stalled: 0,
        };
        self.read(&mut instance, usize::MAX);
        instance.hub.loaded();
        instance
    }

    /// Reads up to `count` records in a random interleaving of the partitions.
    fn read(&mut self, instance: &mut Instance, count: usize) {
        let now = self.time();
        for _ in 0..count {
            let waiting: Vec<usize> = (0..self.log.len())
                .filter(|partition| instance.next[*partition] < self.log[*partition].len() as i64)
                .collect();
            if waiting.is_empty() {
                break;
            }
            let partition = waiting[self.random.below(waiting.len())];
            let offset = instance.next[partition];
            instance.next[partition] = offset + 1;
            let written = &self.log[partition][offset as usize];
            instance.hub.apply(feed(partition, offset, written), now);
        }
        for (partition, log) in self.log.iter().enumerate() {
            let next = log.len() as i64;
            if instance.next[partition] == next {
                instance.hub.apply(
                    Feed::End {
                        partition: partition as u32,
                        next,
                        asked: now.wall,
                    },
                    now,
                );
            }
        }
    }

    fn step(&mut self) {
        self.now += 100 * (1 + self.random.below(20) as u64);
        for _ in 0..self.random.below(4) {
            let partition = if self.random.chance(90) {
                self.random.below(self.log.len())
            } else {
                0
            };
            let written = Written {
                at: self.now,
                organisation: self.random.below(2),
                room: self.random.below(4),
            };
            self.log[partition].push(written);
        }
        self.now += 100;
        for at in 0..self.instances.len() {
            let mut instance = self.instances.remove(at);
            self.run(&mut instance);
            if self.random.chance(1) {
                for client in &mut self.clients {
                    client
                        .connected
                        .take_if(|connected| connected.instance == at);
                }
                instance = self.boot();
            }
            self.instances.insert(at, instance);
        }
        for at in 0..self.clients.len() {
            let mut client = self.clients.remove(at);
            if client.connected.is_some() {
                if self.random.chance(6) {
                    self.cut(&mut client);
                } else {
                    let eager = self.random.chance(70);
                    let count = if eager {
                        usize::MAX
                    } else {
                        self.random.below(3)
                    };
                    self.receive(&mut client, count);
                }
            } else if self.random.chance(20) {
                let instance = self.random.below(self.instances.len());
                self.connect(&mut client, instance);
            }
            self.clients.insert(at, client);
        }
    }

    fn run(&mut self, instance: &mut Instance) {
        if instance.stalled > 0 {
            instance.stalled -= 1;
            return;
        }
        if self.random.chance(1) {
            instance.stalled = 3 + self.random.below(30);
        }
        let count = if self.random.chance(80) {
            usize::MAX
        } else {
            self.random.below(4)
        };
        self.read(instance, count);
        if self.random.chance(30) {
            instance.hub.tick(self.time());
        }
        for _ in 0..self.random.below(8) {
            instance.hub.turn(self.time());
        }
    }

    fn connect(&mut self, client: &mut Client, at: usize) {
        let now = self.time();
        let hub = &mut self.instances[at].hub;
        let id = organisation(client.organisation);
        let start = match &client.cursor {
            None => Start::Fresh,
            Some(text) => match hub.inspect(&id, text, now) {
                Inspection::Resume(cursor) => {
                    self.outcome.resumed += 1;
                    Start::Resume(cursor, text.clone())
                }
                Inspection::Resync(reason) => {
                    self.outcome.refused += 1;
                    Start::Resync(reason)
                }
                Inspection::Unknown => panic!("seed {}: all know all partitions", self.seed),
            },
        };
        let pipe = Rc::new(RefCell::new(Pipe {
            room_for: 1 + self.random.below(6),
            queue: VecDeque::new(),
            hungry: false,
        }));
        let rooms = client
            .rooms
            .iter()
            .map(|index| room(client.organisation, *index))
            .collect();
        let key = hub.connect(&id, rooms, start, TestOutlet(pipe.clone()), now);
        client.connected = Some(Connected {
            instance: at,
            key,
            pipe,
        });
    }

    fn cut(&mut self, client: &mut Client) {
        if let Some(connected) = client.connected.take() {
            self.instances[connected.instance].hub.close(connected.key);
        }
    }

    fn receive(&mut self, client: &mut Client, count: usize) {
        let Some(connected) = &client.connected else {
            return;
        };
        for _ in 0..count {
            let Some(sent) = connected.pipe.borrow_mut().queue.pop_front() else {
                break;
            };
            match sent {
                Sent::Interval { resumed, cursor } => {
                    if !resumed {
                        self.outcome.resyncs += usize::from(client.since.is_some());
                        let since = Cursor::decode(&cursor, |_| Some(&self.table)).unwrap();
                        client.since = Some(since);
                        client.got.clear();
                    }
                    client.cursor = Some(cursor);
                }
                Sent::Cursor(cursor) => client.cursor = Some(cursor),
                Sent::Record(place, cursor) => {
                    let times = client.got.entry(place).or_default();
                    *times += 1;
                    assert_eq!(*times, 1, "seed {}: {place:?} came twice", self.seed);
                    let written = &self.log[place.0][place.1 as usize];
                    assert_eq!(
                        written.organisation, client.organisation,
                        "seed {}",
                        self.seed
                    );
                    client.cursor = Some(cursor);
                    self.outcome.received += 1;
                }
            }
        }
        let hungry = std::mem::take(&mut connected.pipe.borrow_mut().hungry);
        if hungry {
            self.instances[connected.instance].hub.ready(connected.key);
        }
    }

    /// Everything is read, everybody is connected and has received all: the books must balance.
    fn settle(&mut self) {
        for at in 0..self.instances.len() {
            let mut instance = self.instances.remove(at);
            self.read(&mut instance, usize::MAX);
            self.instances.insert(at, instance);
        }
        for at in 0..self.clients.len() {
            let mut client = self.clients.remove(at);
            if client.connected.is_none() {
                let instance = self.random.below(self.instances.len());
                self.connect(&mut client, instance);
            }
            let connected = client.connected.as_ref().expect("connected above");
            let (instance, pipe) = (connected.instance, connected.pipe.clone());
            for _ in 0..10_000 {
                let now = self.time();
                self.instances[instance].hub.tick(now);
                while self.instances[instance].hub.turn(now) {}
                if pipe.borrow().queue.is_empty() {
                    break;
                }
                self.receive(&mut client, usize::MAX);
            }
            self.balance(&client);
            self.clients.insert(at, client);
        }
        for instance in &self.instances {
            let snapshot = instance.hub.snapshot(self.time());
            assert_eq!(
                snapshot.lagging, 0,
                "seed {}: somebody never caught up",
                self.seed
            );
            self.outcome.slowed += snapshot.counts.slowed;
        }
    }

    fn balance(&self, client: &Client) {
        let since = client.since.as_ref().expect("everybody was welcomed");
        for (partition, log) in self.log.iter().enumerate() {
            let named = since.next(partition_hash(TOPIC, None, partition as i32));
            for (offset, written) in log.iter().enumerate() {
                let wanted = written.organisation == client.organisation
                    && client.rooms.contains(&written.room)
                    && named.map_or(written.at > since.issued, |next| offset as i64 >= next);
                let place = (partition, offset as i64);
                let got = client.got.contains_key(&place);
                assert_eq!(got, wanted, "seed {}: {place:?} since {since:?}", self.seed);
            }
        }
    }
}

fn feed(partition: usize, offset: i64, written: &Written) -> Feed {
    if written.room == 3 {
        return Feed::Passed {
            partition: partition as u32,
            offset,
        };
    }
    let publication = Publication {
        topic: TOPIC.into(),
        partition: partition as i32,
        offset,
        timestamp: None,
        key: None,
        event: "incident_updated".into(),
        organisation: organisation(written.organisation),
        rooms: vec![room(written.organisation, written.room)],
        class: Class::Event,
        latest_of: None,
        ack: false,
        payload: RawValue::NULL.to_owned(),
    };
    Feed::Publication {
        partition: partition as u32,
        publication,
    }
}

fn play(seeds: std::ops::Range<u64>) -> Outcome {
    let mut total = Outcome::default();
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.settle();
        total.received += world.outcome.received;
        total.resumed += world.outcome.resumed;
        total.resyncs += world.outcome.resyncs;
        total.refused += world.outcome.refused;
        total.slowed += world.outcome.slowed;
    }
    total
}

#[test]
fn each_record_arrives_once_or_the_client_is_told() {
    let total = play(0..400);
    // The model must have exercised what it claims to check.
    assert!(total.received > 50_000, "{total:?}");
    assert!(total.resumed > 5_000, "{total:?}");
    assert!(total.refused + total.resyncs > 20, "{total:?}");
    assert!(total.slowed > 1_000, "{total:?}");
    assert!(
        total.refused * 4 < total.resumed,
        "most cursors can be resumed: {total:?}"
    );
}
