//! Produces at a steady pace, with bursts and pauses on demand, and keeps the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::clock::Clock;
use crate::producer::client_config;

use super::ledger::{Fate, Ledger};
use super::record::{self, Stamp};
use super::seating::Seating;

/// The longest outage of a scenario, and its aftermath: a record that waits so long is not given up.
const MESSAGE_TIMEOUT: Duration = Duration::from_mins(15);
const METADATA_TIMEOUT: Duration = Duration::from_secs(15);
const FLUSH_TIMEOUT: Duration = Duration::from_mins(1);

/// What the nemesis may change while records are produced.
#[derive(Debug, Default)]
struct Plan {
    /// Where channel records and organisation records go.
    channel_lanes: Vec<u16>,
    organisation_lanes: Vec<u16>,
    position_lanes: Vec<u16>,
    /// Room, and how many records are still to be sent into it, without a pause.
    burst: Option<(u16, u32)>,
    /// Nothing is sent for now.
    paused: bool,
    /// The producer has seen the pause, and has no Kafka client any more.
    resting: bool,
    stop: bool,
}

/// The book that the producer writes and the nemesis looks into.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) clock: Clock,
    ledger: Mutex<Ledger>,
    plan: Mutex<Plan>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            ledger: Mutex::default(),
            plan: Mutex::default(),
        })
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// From now on channel records go to these partitions too.
    pub(crate) fn open_channel_lanes(&self, topic: &str, partitions: std::ops::Range<i32>) {
        let lanes = self.lanes(topic, partitions);
        lock(&self.plan).channel_lanes.extend(lanes);
    }

    pub(crate) fn open_organisation_lanes(&self, topic: &str, partitions: std::ops::Range<i32>) {
        let lanes = self.lanes(topic, partitions);
        lock(&self.plan).organisation_lanes.extend(lanes);
    }

    pub(crate) fn open_position_lanes(&self, topic: &str, partitions: std::ops::Range<i32>) {
        let lanes = self.lanes(topic, partitions);
        lock(&self.plan).position_lanes.extend(lanes);
    }

    fn lanes(&self, topic: &str, partitions: std::ops::Range<i32>) -> Vec<u16> {
        let mut ledger = self.ledger();
        let lanes = partitions.map(|partition| ledger.add_lane(topic, partition));
        lanes.collect()
    }

    /// Channel records no longer go anywhere that they went so far.
    pub(crate) fn close_channel_lanes(&self) {
        lock(&self.plan).channel_lanes.clear();
    }

    pub(crate) fn burst(&self, room: u16, records: u32) {
        lock(&self.plan).burst = Some((room, records));
    }

    pub(crate) fn bursting(&self) -> bool {
        lock(&self.plan).burst.is_some()
    }

    /// Waits until everything that was sent is acknowledged and the producer has given its Kafka client up, or too long: a
    /// producer that asks for a topic while it is being recreated creates it itself, with too few partitions.
    pub(crate) fn pause(&self) -> Result<()> {
        lock(&self.plan).paused = true;
        let until = Instant::now() + FLUSH_TIMEOUT;
        while Instant::now() < until {
            if lock(&self.plan).resting {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the brokers do not acknowledge what is in flight")
    }

    pub(crate) fn go_on(&self) {
        lock(&self.plan).paused = false;
    }

    pub(crate) fn stop(&self) {
        lock(&self.plan).stop = true;
    }
}

struct Reports(Arc<Book>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// Lane and order.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        // What failed stays unknown: it may be in the log or not.
        if let Ok(message) = result {
            let (lane, order) = unpack(place);
            let now = self.0.clock.now_ns();
            self.0
                .ledger()
                .acknowledge(lane, order, message.offset(), now);
        }
    }
}

fn pack(lane: u16, order: u32) -> usize {
    usize::from(lane) << 32 | order as usize
}

fn unpack(place: usize) -> (u16, u32) {
    let lane = u16::try_from(place >> 32).unwrap_or(u16::MAX);
    (lane, u32::try_from(place & 0xffff_ffff).unwrap_or(u32::MAX))
}

pub(crate) struct Settings {
    pub(crate) brokers: String,
    pub(crate) run: String,
    pub(crate) seed: u64,
    /// Records per second.
    pub(crate) rate: u32,
    /// Of a hundred records, so many go to an organisation's room.
    pub(crate) organisation_percent: u32,
    /// And so many are positions.
    pub(crate) position_percent: u32,
    /// Of so many records all but one are of the first organisation; `None`: all organisations have the same.
    pub(crate) noise: Option<u32>,
    pub(crate) payload_bytes: usize,
}

/// So many assets of an organisation move at a time, each of them so often; then others do.
const ASSETS: u32 = 4;
const MOVES: u32 = 10;

pub(crate) struct ChaosProducer {
    producer: ThreadedProducer<Reports>,
    book: Arc<Book>,
    seating: Arc<Seating>,
    settings: Settings,
    /// By organisation: positions that were sent.
    positions: Vec<u32>,
    text: String,
}

fn client(brokers: &str, book: &Arc<Book>) -> Result<ThreadedProducer<Reports>> {
    let mut config = client_config(brokers);
    config
        .set("linger.ms", "5")
        // New partitions are to be found soon.
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set(
            "message.timeout.ms",
            MESSAGE_TIMEOUT.as_millis().to_string(),
        )
        // What piles up while Kafka is away.
        .set("queue.buffering.max.messages", "2000000")
        .set("queue.buffering.max.kbytes", "1500000");
    config
        .create_with_context(Reports(Arc::clone(book)))
        .context("cannot make a Kafka producer")
}

impl ChaosProducer {
    pub(crate) fn connect(
        settings: Settings,
        book: Arc<Book>,
        seating: Arc<Seating>,
    ) -> Result<Self> {
        let producer = client(&settings.brokers, &book)?;
        Ok(Self {
            producer,
            book,
            positions: vec![0; usize::from(seating.organisations)],
            seating,
            settings,
            text: String::new(),
        })
    }

    /// Runs until it is stopped; then waits for the brokers. Blocks: it wants a thread of its own.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut random = SmallRng::seed_from_u64(self.settings.seed);
        let mut channel: u16 = 0;
        let mut start = Instant::now();
        let mut number: u64 = 0;
        loop {
            let next = {
                let mut plan = lock(&self.book.plan);
                if plan.stop {
                    break;
                }
                if plan.paused {
                    None
                } else if let Some((room, left)) = plan.burst {
                    plan.burst = left
                        .checked_sub(1)
                        .map(|left| (room, left))
                        .filter(|(_, left)| *left > 0);
                    Some((room, plan.channel_lanes.clone(), true))
                } else {
                    channel = channel.wrapping_add(1);
                    let (room, lanes) = self.next_room(&plan, channel, &mut random);
                    Some((room, lanes.clone(), false))
                }
            };
            let Some((room, lanes, burst)) = next else {
                self.rest()?;
                (start, number) = (Instant::now(), 0);
                continue;
            };
            if !burst {
                let due =
                    Duration::from_nanos(number * 1_000_000_000 / u64::from(self.settings.rate));
                number += 1;
                if let Some(wait) = due.checked_sub(start.elapsed()) {
                    std::thread::sleep(wait);
                }
            }
            if lanes.is_empty() {
                continue;
            }
            let asset = self.next_asset(room);
            let among = asset.map_or_else(
                || random.random_range(0..lanes.len()),
                |asset| asset as usize,
            );
            self.produce(lanes[among % lanes.len()], room, asset)?;
        }
        // What is in flight afterwards stays unknown in the ledger: shown, but not counted as lost.
        self.producer
            .flush(FLUSH_TIMEOUT)
            .context("the brokers do not take the last records")
    }

    /// `channel` counts up.
    fn next_room<'a>(
        &self,
        plan: &'a Plan,
        channel: u16,
        random: &mut SmallRng,
    ) -> (u16, &'a Vec<u16>) {
        let Settings {
            organisation_percent,
            position_percent,
            noise,
            ..
        } = self.settings;
        let seating = &self.seating;
        let organisation = match noise {
            Some(noise) => u16::from(random.random_range(0..noise) == 0),
            None => random.random_range(0..seating.organisations),
        };
        match random.random_range(0..100) {
            among if among < organisation_percent => (
                seating.organisation_room(organisation),
                &plan.organisation_lanes,
            ),
            among if among < organisation_percent + position_percent => {
                (seating.positions_room(organisation), &plan.position_lanes)
            }
            _ => {
                let step = seating.organisations;
                let room = channel % (seating.channels / step) * step + organisation;
                (room, &plan.channel_lanes)
            }
        }
    }

    /// What has moved, if the room is one of positions.
    fn next_asset(&mut self, room: u16) -> Option<u32> {
        let organisation = room.checked_sub(self.seating.positions_room(0))?;
        let sent = &mut self.positions[usize::from(organisation)];
        let asset = *sent / (ASSETS * MOVES) * ASSETS + *sent % ASSETS;
        *sent += 1;
        Some(asset)
    }

    /// Until the pause is over.
    fn rest(&mut self) -> Result<()> {
        self.producer
            .flush(FLUSH_TIMEOUT)
            .context("the brokers do not take what is in flight")?;
        // Another one that has not asked for anything yet takes its place.
        self.producer = client(&self.settings.brokers, &self.book)?;
        lock(&self.book.plan).resting = true;
        while lock(&self.book.plan).paused {
            std::thread::sleep(Duration::from_millis(5));
        }
        lock(&self.book.plan).resting = false;
        Ok(())
    }

    fn produce(&mut self, lane: u16, room: u16, asset: Option<u32>) -> Result<()> {
        let sent_ns = self.book.clock.now_ns();
        let (order, sequence, topic, partition) = {
            let mut ledger = self.book.ledger();
            let (order, sequence) = match asset {
                Some(asset) => ledger.send_latest(lane, room, asset, sent_ns, Fate::Unknown),
                None => ledger.send(lane, room, sent_ns, Fate::Unknown),
            };
            let lane = &ledger.lanes[usize::from(lane)];
            (order, sequence, lane.topic.clone(), lane.partition)
        };
        let (organisation, channel) = self.seating.name(room);
        let stamp = Stamp {
            organisation: &organisation,
            channel: channel.as_deref(),
            asset,
            run: &self.settings.run,
            lane,
            order,
            sequence,
            sent_ns,
        };
        record::write(&stamp, self.settings.payload_bytes, &mut self.text);
        let mut record = BaseRecord::<str, str, usize>::with_opaque_to(&topic, pack(lane, order))
            .partition(partition)
            .payload(&self.text);
        let tried = Instant::now();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                // Just made: librdkafka does not look again by itself at a topic that it has found missing.
                Err((
                    KafkaError::MessageProduction(
                        RDKafkaErrorCode::UnknownPartition
                        | RDKafkaErrorCode::UnknownTopic
                        | RDKafkaErrorCode::UnknownTopicOrPartition,
                    ),
                    back,
                )) if tried.elapsed() < METADATA_TIMEOUT => {
                    record = back;
                    let client = self.producer.client();
                    // If it fails, so does the next attempt to send, and the time runs out.
                    drop(client.fetch_metadata(Some(&topic), METADATA_TIMEOUT));
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(error).context("cannot produce"),
            }
        }
    }
}
