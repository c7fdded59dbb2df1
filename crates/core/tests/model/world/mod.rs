//! What happens to all of them, by chance and by the seed: records are written, instances run, clients come and go.

mod connections;
mod instances;
mod random;

use std::collections::BTreeMap;

use fleetcast_core::domain::cursor::{Table, Tag, partition_hash};
use fleetcast_core::hub::feed::Feed;

use super::client::ModelClient;
use super::log::{KEYS, MOST_PARTITIONS, TOPIC, TOPIC_ID, WHOLE, Written};
pub(crate) use connections::Connected;
use instances::Instance;
use random::Random;

const EPOCH: u64 = 1_795_000_000_000;
pub(crate) const WINDOW_MS: u64 = 60_000;

#[derive(Default, Debug)]
pub(crate) struct ModelOutcome {
    pub(crate) received: usize,
    pub(crate) resumed: usize,
    pub(crate) resyncs: usize,
    pub(crate) refused: usize,
    pub(crate) slowed: u64,
    pub(crate) joined: usize,
    pub(crate) left: usize,
    pub(crate) asked: usize,
    pub(crate) given: usize,
    pub(crate) conflated: u64,
    /// Cursors over partitions that the instance had to find first, and those that it did not find in time.
    pub(crate) unknown: usize,
    pub(crate) not_found: usize,
    pub(crate) stale: usize,
    /// All instances lost contact at once.
    pub(crate) outages: usize,
    /// Instances that learned the topic's id while they ran.
    pub(crate) learned: usize,
    pub(crate) gaps: usize,
    /// How often the memory of an instance got short, or was there again.
    pub(crate) limited: usize,
    pub(crate) by_reason: BTreeMap<&'static str, usize>,
}

/// As many as there can be, or more.
const ALL_NAMED: usize = MOST_PARTITIONS;

pub(crate) struct World {
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
    clients: Vec<ModelClient>,
    bytes: usize,
    has_short_memory: bool,
    /// Cursors name all partitions while there are no more than so many.
    named: usize,
    /// Where the records of a key go: one of the partitions that were there first.
    partitions: usize,
    pub(crate) outcome: ModelOutcome,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let partitions = 1 + random.below(5);
        let instances = 1 + random.below(3);
        let bytes = if seed.is_multiple_of(3) {
            12_000
        } else {
            usize::MAX / 2
        };
        let named = [0, 3, ALL_NAMED, ALL_NAMED][seed as usize % 4];
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
            has_short_memory: seed % 5 == 1,
            named,
            partitions,
            outcome: ModelOutcome::default(),
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
            world.clients.push(ModelClient::new(organisation, &rooms));
        }
        world
    }

    pub(crate) fn step(&mut self) {
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
                stamped: self.stamp(),
                organisation,
                rooms,
                key,
            };
            if self.active[partition][organisation] {
                self.log[partition].push(written);
            }
        }
        self.change_partitions();
        if self.random.below(500) == 0 {
            self.outage();
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

    /// Where all partitions are named, some records are stamped an hour early or late.
    fn stamp(&mut self) -> u64 {
        const HOUR: u64 = 3_600_000;
        match self.named {
            ALL_NAMED if self.random.chance(3) => {
                self.now - HOUR + 2 * HOUR * self.random.below(2) as u64
            }
            _ => self.now,
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

    /// Everything is read, everybody is connected and has received all: the books must balance.
    pub(crate) fn settle(&mut self) {
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
                while self.instances[instance].hub.visit(1, now) {}
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
            let snapshot = instance.hub.statistics(instance.time(self.now));
            assert_eq!(
                snapshot.lagging, 0,
                "seed {}: a connection never caught up",
                self.seed
            );
            self.outcome.slowed += snapshot.counts.slowed;
            self.outcome.conflated += snapshot.counts.conflated;
        }
    }
}
