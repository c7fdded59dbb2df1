//! The real hub against a model of the world: several instances with clocks of their own read the same log in different
//! interleavings, stall, lose contact, restart, run out of space and find new partitions at different times, while clients
//! read slowly, join and leave rooms, are cut off and come back to any of them. Each record of a client's rooms must arrive
//! exactly once, or the client must have been told to resync. Of class `latest` the newest of each key must arrive, never
//! an older one behind it, and who asks how things stand must get all of it.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "offsets and partitions of the model are small numbers"
)]

mod client;
mod newest;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use fleetcast_core::domain::cursor::{Table, Tag, partition_hash};
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::protocol::ResyncReason;
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::room::{Kind, Room, Which};
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::outlet::{Item, Offered, Outlet, Resumed};
use fleetcast_core::hub::resume::Inspection;
use fleetcast_core::hub::{ConnectionKey, Hub, Now, Settings, Start};

use client::{Client, Held, Stage};
use serde_json::value::RawValue;

const TOPIC: &str = "incident";
const TOPIC_ID: [u8; 16] = [7; 16];
const EPOCH: u64 = 1_795_000_000_000;
const WINDOW_MS: u64 = 60_000;

/// New partitions are added up to so many.
const MOST_PARTITIONS: usize = 7;

/// By then an instance has found a new partition.
const FOUND_WITHIN_MS: u64 = 25_000;

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

#[derive(Clone, Debug)]
struct Written {
    at: u64,
    organisation: usize,
    /// One or two of the rooms 0 to 2; none stands for a record that reaches nobody.
    rooms: Vec<usize>,
    /// Of class `latest`, and what it is the latest of. A key stays in one partition.
    key: Option<usize>,
}

impl Written {
    fn is_heard_in(&self, room: usize) -> bool {
        self.rooms.contains(&room) || (room == WHOLE && !self.rooms.is_empty())
    }
}

/// The whole kind of room that the others are of.
const WHOLE: usize = 3;
const ROOMS: [usize; 4] = [0, 1, 2, WHOLE];

/// Keys of class `latest`, per organisation.
const KEYS: usize = 6;

type Place = (usize, i64);

/// What travels to a client: lost when the connection is cut.
enum Sent {
    Interval {
        resumed: bool,
        cursor: Arc<str>,
    },
    Cursor(Arc<str>),
    Stale(Arc<str>),
    Record(Place, Arc<str>),
    Newest(Place, Arc<str>),
    /// The room of this number was joined (the how-manieth joining it was) or left when this was the newest item.
    Joined(usize, usize),
    Left(usize),
    /// How things stand in this room was asked when this was the newest item.
    Asked(usize, usize),
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
            Item::Cursor { cursor } => Sent::Cursor(cursor.clone()),
            Item::Stale { cursor, .. } | Item::Revoked { cursor, .. } => {
                Sent::Stale(cursor.clone())
            }
            Item::Publication {
                publication,
                cursor,
            } => Sent::Record(
                (publication.partition as usize, publication.offset),
                cursor.clone(),
            ),
            Item::Newest {
                publication,
                cursor,
            } => Sent::Newest(
                (publication.partition as usize, publication.offset),
                cursor.clone(),
            ),
        });
        Offered::Taken
    }
}

struct Instance {
    hub: Hub<TestOutlet>,
    /// By partition that it knows: what it reads next, and what it read first.
    next: Vec<i64>,
    first: Vec<i64>,
    /// It has been told the topic's id. Until then, and for ever with some brokers, it goes by the name alone.
    knows_id: bool,
    stalled: usize,
    /// Steps until the brokers answer again.
    out_of_contact: usize,
    /// Its clock is off by so many milliseconds.
    skew: i64,
}

impl Instance {
    fn time(&self, now: u64) -> Now {
        Now {
            monotonic: now - EPOCH,
            wall: now.saturating_add_signed(self.skew),
        }
    }
}

struct Connected {
    instance: usize,
    key: ConnectionKey,
    pipe: Rc<RefCell<Pipe>>,
}

#[derive(Default, Debug)]
struct Outcome {
    received: usize,
    resumed: usize,
    resyncs: usize,
    refused: usize,
    slowed: u64,
    joined: usize,
    left: usize,
    asked: usize,
    given: usize,
    conflated: u64,
    /// Cursors over partitions that the instance had to find first, and those that it did not find in time.
    unknown: usize,
    not_found: usize,
    stale: usize,
    /// Instances that learned the topic's id while they ran.
    learned: usize,
    by_reason: BTreeMap<&'static str, usize>,
}

struct World {
    random: Random,
    now: u64,
    log: Vec<Vec<Written>>,
    /// When each partition was made.
    made: Vec<u64>,
    /// By partition and organisation: whether records are written there for now. A partition that was silent for long is
    /// not named by cursors.
    active: Vec<[bool; 2]>,
    /// All tables of partitions that any instance can have.
    tables: Vec<Table>,
    instances: Vec<Instance>,
    clients: Vec<Client>,
    bytes: usize,
    /// Where the records of a key go: one of the partitions that were there first.
    partitions: usize,
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
        which: if index == WHOLE {
            Which::All
        } else {
            Which::parse(&index.to_string()).unwrap()
        },
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
        let name = |number| {
            (
                partition_hash(TOPIC, number as i32),
                Tag::of(Some(TOPIC_ID)),
            )
        };
        let tables = (1..=MOST_PARTITIONS).map(|count| Table::new((0..count).map(name).collect()));
        let mut world = Self {
            tables: tables.collect(),
            random,
            now: EPOCH + 10_000,
            log: vec![Vec::new(); partitions],
            made: vec![EPOCH; partitions],
            active: vec![[true; 2]; partitions],
            instances: Vec::new(),
            clients: Vec::new(),
            bytes,
            partitions,
            outcome: Outcome::default(),
            seed,
        };
        for _ in 0..instances {
            let instance = world.boot();
            world.instances.push(instance);
        }
        for _ in 0..4 {
            let rooms = match world.random.below(4) {
                0 => vec![0],
                1 => vec![1, 2],
                2 => vec![2, WHOLE],
                _ => vec![0, 1, 2],
            };
            let organisation = world.random.below(2);
            world.clients.push(Client::new(organisation, &rooms));
        }
        world
    }

    fn boot(&mut self) -> Instance {
        let mut instance = Instance {
            hub: Hub::new(Settings {
                window_ms: WINDOW_MS,
                window_bytes: self.bytes,
                latest_bytes: self.bytes,
            }),
            next: Vec::new(),
            first: Vec::new(),
            knows_id: self.random.chance(50),
            stalled: 0,
            out_of_contact: 0,
            skew: self.random.below(6_000) as i64 - 3_000,
        };
        self.find_partitions(&mut instance, WINDOW_MS + 10_000);
        self.read(&mut instance, usize::MAX);
        instance.hub.loaded();
        instance
    }

    /// Takes up the partitions that it does not read yet, from what is younger than `age` by its own clock.
    fn find_partitions(&self, instance: &mut Instance, age: u64) {
        let now = instance.time(self.now);
        for number in instance.next.len()..self.log.len() {
            let log = &self.log[number];
            let kept = |written: &Written| written.at.saturating_add(age) >= now.wall;
            let start = log.iter().position(kept).unwrap_or(log.len()) as i64;
            let feed = Feed::Partition {
                index: number as u32,
                topic: TOPIC.into(),
                number: number as i32,
                topic_id: instance.knows_id.then_some(TOPIC_ID),
                start,
            };
            instance.hub.apply(feed, now);
            instance.next.push(start);
            instance.first.push(start);
        }
    }

    fn learn_id(&mut self, instance: &mut Instance) {
        if instance.knows_id || !self.random.chance(2) {
            return;
        }
        instance.knows_id = true;
        self.outcome.learned += 1;
        let now = instance.time(self.now);
        for partition in 0..instance.next.len() as u32 {
            let topic_id = TOPIC_ID;
            instance.hub.apply(
                Feed::TopicId {
                    partition,
                    topic_id,
                },
                now,
            );
        }
    }

    /// Reads up to `count` records in a random interleaving of the partitions.
    fn read(&mut self, instance: &mut Instance, count: usize) {
        let now = instance.time(self.now);
        for _ in 0..count {
            let waiting: Vec<usize> = (0..instance.next.len())
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
        for partition in 0..instance.next.len() {
            let next = self.log[partition].len() as i64;
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
            let organisation = self.random.below(2);
            let key = self.random.chance(40).then(|| self.random.below(KEYS));
            let partition = match key {
                Some(key) => key % self.partitions,
                None if self.random.chance(90) => self.random.below(self.log.len()),
                None => 0,
            };
            let mut rooms = match (key, self.random.below(4)) {
                // A key is mostly in one room.
                (Some(key), 1..) => vec![key % 3],
                (None, 3) => Vec::new(),
                (_, room) => vec![room % 3],
            };
            let second = self.random.below(3);
            if self.random.chance(15) && !rooms.is_empty() && !rooms.contains(&second) {
                rooms.push(second);
            }
            let written = Written {
                at: self.now,
                organisation,
                rooms,
                key,
            };
            if self.active[partition][organisation] {
                self.log[partition].push(written);
            }
        }
        self.change_partitions();
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
                } else if self.random.chance(5) {
                    self.join_or_leave(&mut client);
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

    fn change_partitions(&mut self) {
        for active in self.active.iter_mut().flatten() {
            *active ^= self.random.below(if *active { 200 } else { 400 }) == 0;
        }
        if self.log.len() < MOST_PARTITIONS && self.random.below(150) == 0 {
            self.log.push(Vec::new());
            self.made.push(self.now);
            self.active.push([true; 2]);
        }
    }

    /// Loses contact or is without it. True if nothing is read meanwhile.
    fn out_of_contact(&mut self, instance: &mut Instance) -> bool {
        let now = instance.time(self.now);
        if instance.out_of_contact > 0 {
            instance.out_of_contact -= 1;
            if instance.out_of_contact == 0 {
                instance.hub.apply(Feed::Contact { up: true }, now);
            }
        } else if self.random.chance(1) {
            instance.out_of_contact = 2 + self.random.below(30);
            instance.hub.apply(Feed::Contact { up: false }, now);
            self.outcome.stale += 1;
        }
        instance.out_of_contact > 0
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
        if !self.out_of_contact(instance) {
            self.learn_id(instance);
            let due = |made: &u64| made + FOUND_WITHIN_MS < self.now;
            if self.made.get(instance.next.len()).is_some_and(due) || self.random.chance(10) {
                self.find_partitions(instance, u64::MAX);
            }
            self.read(instance, count);
        }
        let now = instance.time(self.now);
        if self.random.chance(30) {
            instance.hub.tick(now);
        }
        for _ in 0..self.random.below(8) {
            instance.hub.turn(now);
        }
    }

    /// As `socketio::handshake` does it: judged, the brokers are asked if that may help, and judged again.
    fn start(&mut self, client: &Client, at: usize) -> Start {
        let Some(text) = &client.cursor else {
            return Start::Fresh;
        };
        let id = organisation(client.organisation);
        let now = self.instances[at].time(self.now);
        if self.instances[at].hub.inspect(&id, text, now) == Inspection::Unknown {
            self.outcome.unknown += 1;
            if self.instances[at].out_of_contact == 0 && self.random.chance(80) {
                let mut instance = self.instances.remove(at);
                self.find_partitions(&mut instance, u64::MAX);
                self.instances.insert(at, instance);
            }
        }
        match self.instances[at].hub.inspect(&id, text, now) {
            Inspection::Resume(cursor) => {
                self.outcome.resumed += 1;
                Start::Resume(cursor, text.clone())
            }
            Inspection::Resync(reason) => {
                self.outcome.refused += 1;
                *self.outcome.by_reason.entry(reason.as_str()).or_default() += 1;
                Start::Resync(reason)
            }
            Inspection::Unknown => {
                self.outcome.not_found += 1;
                Start::Resync(ResyncReason::TopicRecreated)
            }
        }
    }

    fn connect(&mut self, client: &mut Client, at: usize) {
        let start = self.start(client, at);
        let now = self.instances[at].time(self.now);
        let id = organisation(client.organisation);
        let pipe = Rc::new(RefCell::new(Pipe {
            room_for: 1 + self.random.below(6),
            queue: VecDeque::new(),
            hungry: false,
        }));
        let rooms = client.rooms.keys();
        let rooms = rooms
            .map(|index| room(client.organisation, *index))
            .collect();
        client.comes_back(&self.log, &self.tables);
        let hub = &mut self.instances[at].hub;
        let key = hub.connect(&id, rooms, start, TestOutlet(pipe.clone()), now);
        client.connected = Some(Connected {
            instance: at,
            key,
            pipe,
        });
        client.newest.connected();
    }

    /// A command of the client's, and the cursor that follows it.
    fn join_or_leave(&mut self, client: &mut Client) {
        let Some(connected) = &client.connected else {
            return;
        };
        let instance = &mut self.instances[connected.instance];
        if client.since.is_none() || instance.stalled > 0 {
            return;
        }
        let now = instance.time(self.now);
        let index = ROOMS[self.random.below(4)];
        let named = room(client.organisation, index);
        let asks = self.random.chance(50);
        if asks {
            let nth = self.outcome.asked;
            connected
                .pipe
                .borrow_mut()
                .queue
                .push_back(Sent::Asked(index, nth));
            // The cap of the table may push out what it had.
            let first = (self.bytes > 1_000_000).then(|| instance.first.clone());
            client.newest.ask(index, nth, first);
            self.outcome.asked += 1;
        }
        if client.rooms.contains_key(&index) && asks {
            instance.hub.subscribe_latest(connected.key, &named, now);
            instance.hub.cursor(connected.key, now);
        } else if client.rooms.contains_key(&index) {
            if client.rooms.len() == 1 {
                return;
            }
            assert!(instance.hub.unsubscribe(connected.key, &named));
            connected
                .pipe
                .borrow_mut()
                .queue
                .push_back(Sent::Left(index));
            self.outcome.left += 1;
            client.check(&self.log, &self.tables, Some(index), self.seed);
            client.rooms.remove(&index);
            client.left(index, &self.log, &self.tables);
        } else {
            let nth = self.outcome.joined;
            connected
                .pipe
                .borrow_mut()
                .queue
                .push_back(Sent::Joined(index, nth));
            if asks {
                instance.hub.subscribe_latest(connected.key, &named, now);
            } else {
                assert!(instance.hub.subscribe(connected.key, &named, now));
            }
            instance.hub.cursor(connected.key, now);
            self.outcome.joined += 1;
            let held = Held {
                not_before: client.cursor.clone(),
                surely_from: instance.next.clone(),
                stage: Stage::Asked,
                nth,
            };
            client.rooms.insert(index, held);
        }
    }

    fn cut(&mut self, client: &mut Client) {
        if let Some(connected) = client.connected.take() {
            self.instances[connected.instance].hub.close(connected.key);
        }
    }

    fn receive(&mut self, client: &mut Client, count: usize) {
        let Some(connected) = client.connected.take() else {
            return;
        };
        for _ in 0..count {
            let Some(sent) = connected.pipe.borrow_mut().queue.pop_front() else {
                break;
            };
            match sent {
                Sent::Interval { resumed, cursor } => {
                    self.outcome.resyncs += usize::from(!resumed && client.since.is_some());
                    if !resumed {
                        client.cursor = None;
                    }
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    if !resumed {
                        client.begins_anew(&self.tables);
                    }
                }
                Sent::Cursor(cursor) => {
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    client.newest.cursor_came();
                }
                Sent::Stale(cursor) => client.moved(cursor, &self.log, &self.tables, self.seed),
                Sent::Asked(index, nth) => client.newest.is_asked(index, nth),
                Sent::Joined(index, nth) => {
                    let held = client.rooms.get_mut(&index);
                    if let Some(held) = held.filter(|held| held.nth == nth) {
                        held.stage = Stage::Joined;
                    }
                    client.leaving.retain(|left| *left != index);
                }
                Sent::Left(index) => {
                    client.left(index, &self.log, &self.tables);
                    client.newest.left();
                    client.leaving.push(index);
                }
                Sent::Record(place, cursor) => {
                    let written = &self.log[place.0][place.1 as usize];
                    client.may_hear(place, written, self.seed);
                    match written.key {
                        Some(key) => client.newest.record(key, place, self.seed),
                        None => client.once(place, self.seed),
                    }
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    self.outcome.received += 1;
                }
                Sent::Newest(place, cursor) => {
                    let written = &self.log[place.0][place.1 as usize];
                    client.may_hear(place, written, self.seed);
                    let key = written.key.expect("only class latest has a newest");
                    client.newest.given(key, place, self.seed);
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    self.outcome.given += 1;
                }
            }
        }
        let hungry = std::mem::take(&mut connected.pipe.borrow_mut().hungry);
        if hungry {
            self.instances[connected.instance].hub.ready(connected.key);
        }
        client.connected = Some(connected);
    }

    /// Everything is read, everybody is connected and has received all: the books must balance.
    fn settle(&mut self) {
        for at in 0..self.instances.len() {
            let mut instance = self.instances.remove(at);
            let now = instance.time(self.now);
            instance.hub.apply(Feed::Contact { up: true }, now);
            instance.out_of_contact = 0;
            self.find_partitions(&mut instance, u64::MAX);
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
                let now = self.instances[instance].time(self.now);
                self.instances[instance].hub.tick(now);
                while self.instances[instance].hub.turn(now) {}
                if pipe.borrow().queue.is_empty() {
                    break;
                }
                self.receive(&mut client, usize::MAX);
            }
            client.check(&self.log, &self.tables, None, self.seed);
            self.clients.insert(at, client);
        }
        for instance in &self.instances {
            let snapshot = instance.hub.snapshot(instance.time(self.now));
            assert_eq!(
                snapshot.lagging, 0,
                "seed {}: somebody never caught up",
                self.seed
            );
            self.outcome.slowed += snapshot.counts.slowed;
            self.outcome.conflated += snapshot.counts.conflated;
        }
    }
}

fn feed(partition: usize, offset: i64, written: &Written) -> Feed {
    if written.rooms.is_empty() {
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
        rooms: written
            .rooms
            .iter()
            .map(|index| room(written.organisation, *index))
            .collect(),
        class: written.key.map_or(Class::Event, |_| Class::Latest),
        latest_of: written.key.map(|key| key.to_string().into()),
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
        total.joined += world.outcome.joined;
        total.left += world.outcome.left;
        total.asked += world.outcome.asked;
        total.given += world.outcome.given;
        total.conflated += world.outcome.conflated;
        total.unknown += world.outcome.unknown;
        total.not_found += world.outcome.not_found;
        total.stale += world.outcome.stale;
        total.learned += world.outcome.learned;
        for (reason, count) in world.outcome.by_reason {
            *total.by_reason.entry(reason).or_default() += count;
        }
    }
    total
}

#[test]
fn each_record_arrives_once_or_the_client_is_told() {
    let total = play(0..300);
    // The model must have exercised what it claims to check.
    assert!(total.received > 40_000, "{total:?}");
    assert!(total.resumed > 10_000, "{total:?}");
    assert!(total.refused > 200 && total.resyncs > 1_000, "{total:?}");
    assert!(total.slowed > 300, "{total:?}");
    assert!(total.joined > 1_000 && total.left > 1_000, "{total:?}");
    assert!(total.asked > 1_000 && total.given > 3_000, "{total:?}");
    assert!(total.conflated > 300, "{total:?}");
    assert!(total.unknown > 30 && total.not_found > 10, "{total:?}");
    assert!(total.stale > 500, "{total:?}");
    assert!(total.learned > 300, "{total:?}");
    assert!(
        total.refused * 4 < total.resumed,
        "most cursors can be resumed: {total:?}"
    );
}
