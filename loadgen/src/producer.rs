//! Produces at a steady pace and remembers what the broker acknowledged, when and where.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::bitmap::Bitmap;
use crate::check::RoomLedger;
use crate::clock::Clock;
use crate::record::RecordWriter;

/// So many replicas as the brokers are set to make.
const BROKERS_DEFAULT: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// How long the tool waits for the broker after the last record.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// One room that records go to; its channel id is also the record's key, so a room stays in one partition.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) organisation: String,
    pub(crate) channel: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Records per second over all rooms.
    pub(crate) rate: u32,
    pub(crate) records: u64,
}

/// When each record was acknowledged, in nanoseconds since the epoch; 0: not yet. Clients read it while records fly.
#[derive(Debug)]
pub(crate) struct AckTimes {
    bound: u32,
    times: Vec<AtomicU64>,
}

impl AckTimes {
    /// `bound`: more sequence numbers than any room gets.
    pub(crate) fn new(rooms: usize, bound: u32) -> Self {
        Self {
            bound,
            times: (0..rooms * bound as usize)
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn acknowledge(&self, room: usize, sequence: u32, now_ns: u64) {
        self.times[self.place(room, sequence)].store(now_ns, Ordering::Relaxed);
    }

    /// More sequence numbers than any room gets.
    pub(crate) fn bound(&self) -> u32 {
        self.bound
    }

    fn place(&self, room: usize, sequence: u32) -> usize {
        room * self.bound as usize + sequence as usize
    }

    pub(crate) fn get(&self, room: usize, sequence: u32) -> Option<u64> {
        let time = self
            .times
            .get(self.place(room, sequence))?
            .load(Ordering::Relaxed);
        (time != 0).then_some(time)
    }
}

/// What was produced, and whether the ground that the checks stand on held.
#[derive(Debug, Default)]
pub(crate) struct Produced {
    pub(crate) ledgers: Vec<RoomLedger>,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    /// Records that landed in another partition than their room's, or at an offset below an earlier one of their room.
    pub(crate) misplaced: u64,
    pub(crate) partitions: usize,
    /// The most that the pace was behind its plan.
    pub(crate) late: Duration,
    pub(crate) took: Duration,
}

/// The log's end of one room as the delivery reports tell it.
#[derive(Debug, Clone, Copy)]
struct Tail {
    partition: i32,
    offset: i64,
    sequence: u32,
}

#[derive(Debug, Default)]
struct Deliveries {
    acknowledged: Vec<Bitmap>,
    tails: Vec<Option<Tail>>,
    failed: u64,
    first_failure: Option<String>,
    misplaced: u64,
}

struct Reports {
    clock: Clock,
    acks: Arc<AckTimes>,
    deliveries: Mutex<Deliveries>,
}

impl Reports {
    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// Place of the record in `AckTimes`.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        let now = self.clock.now_ns();
        let bound = self.acks.bound as usize;
        let (room, sequence) = (
            place / bound,
            u32::try_from(place % bound).unwrap_or(u32::MAX),
        );
        let mut deliveries = self.deliveries();
        match result {
            Ok(message) => {
                self.acks.times[place].store(now, Ordering::Relaxed);
                deliveries.acknowledged[room].insert(sequence);
                let tail = Tail {
                    partition: message.partition(),
                    offset: message.offset(),
                    sequence,
                };
                if let Some(before) = deliveries.tails[room].replace(tail)
                    && (before.partition != tail.partition
                        || before.offset >= tail.offset
                        || before.sequence >= tail.sequence)
                {
                    deliveries.misplaced += 1;
                }
            }
            Err((error, _)) => {
                deliveries.failed += 1;
                deliveries
                    .first_failure
                    .get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// The settings that make "acknowledged" mean something: all replicas, no repeats or reordering by retries.
pub(crate) fn client_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "loadgen")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "30000")
        .set("message.max.bytes", "2000000");
    config
}

/// Makes the topic, with these settings of its own. False: it is there already.
pub(crate) async fn create_topic(
    brokers: &str,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<bool> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .context("cannot make a Kafka admin client")?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let mut new = NewTopic::new(topic, partitions, BROKERS_DEFAULT);
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let results = admin
        .create_topics([&new], &options)
        .await
        .context("cannot create the topic")?;
    let mut made = true;
    for result in results {
        match result {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => made = false,
            Err((topic, code)) => bail!("cannot create topic {topic}: {code}"),
        }
    }
    Ok(made)
}

/// A producer that is connected and ready to start on the beat.
pub(crate) struct PacedProducer {
    producer: ThreadedProducer<Reports>,
    clock: Clock,
    acks: Arc<AckTimes>,
    topic: String,
    rooms: Vec<Room>,
    writer: RecordWriter,
    partitions: usize,
}

impl PacedProducer {
    pub(crate) fn connect(
        config: &ClientConfig,
        topic: &str,
        rooms: Vec<Room>,
        acks: Arc<AckTimes>,
        clock: Clock,
        writer: RecordWriter,
    ) -> Result<Self> {
        let deliveries = Deliveries {
            acknowledged: vec![Bitmap::with_bound(acks.bound); rooms.len()],
            tails: vec![None; rooms.len()],
            ..Deliveries::default()
        };
        let context = Reports {
            clock,
            acks: Arc::clone(&acks),
            deliveries: Mutex::new(deliveries),
        };
        let producer: ThreadedProducer<Reports> = config
            .create_with_context(context)
            .context("cannot make a Kafka producer")?;
        let metadata = producer
            .client()
            .fetch_metadata(Some(topic), Duration::from_secs(10))
            .context("no metadata from the brokers")?;
        let partitions = metadata
            .topics()
            .first()
            .map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            bail!("topic {topic} does not exist: create it, or give --create-topic");
        }
        Ok(Self {
            producer,
            clock,
            acks,
            topic: topic.to_owned(),
            rooms,
            writer,
            partitions,
        })
    }

    /// Produces round-robin over the rooms and waits for the broker. Blocks: it wants a thread of its own.
    pub(crate) fn run(mut self, pace: &Pace) -> Result<Produced> {
        let mut produced = vec![Bitmap::with_bound(self.acks.bound); self.rooms.len()];
        let start = Instant::now();
        let mut late = Duration::ZERO;
        for number in 0..pace.records {
            let due = Duration::from_nanos(number * 1_000_000_000 / u64::from(pace.rate));
            if let Some(wait) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(wait);
            }
            late = late.max(start.elapsed().saturating_sub(due));
            let rooms = self.rooms.len() as u64;
            let index = usize::try_from(number % rooms).context("room index")?;
            let sequence =
                u32::try_from(number / rooms).context("too many records for one room")?;
            self.produce(index, sequence)?;
            produced[index].insert(sequence);
        }
        let took = start.elapsed();
        // Records still in flight afterwards stay unacknowledged in the ledger: shown, but not counted as lost.
        let flushed = self.producer.flush(FLUSH_TIMEOUT);
        let deliveries = std::mem::take(&mut *self.producer.context().deliveries());
        let ledgers: Vec<RoomLedger> = produced
            .into_iter()
            .zip(deliveries.acknowledged)
            .map(|(produced, acknowledged)| RoomLedger {
                produced,
                acknowledged,
            })
            .collect();
        Ok(Produced {
            sent: pace.records,
            acknowledged: ledgers.iter().map(|ledger| ledger.acknowledged.len()).sum(),
            ledgers,
            failed: deliveries.failed,
            first_failure: deliveries
                .first_failure
                .or(flushed.err().map(|error| error.to_string())),
            misplaced: deliveries.misplaced,
            partitions: self.partitions,
            late,
            took,
        })
    }

    fn produce(&mut self, index: usize, sequence: u32) -> Result<()> {
        let room = &self.rooms[index];
        let value = self.writer.write(
            &room.organisation,
            &room.channel,
            sequence,
            self.clock.now_ns(),
        );
        let place = self.acks.place(index, sequence);
        let mut record = BaseRecord::with_opaque_to(&self.topic, place)
            .key(room.channel.as_bytes())
            .payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error).context("cannot produce"),
            }
        }
    }
}
