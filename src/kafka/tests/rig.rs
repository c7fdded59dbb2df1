//! A consumer with its feed collected, and a producer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::feed::{Feed, PartitionIndices};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::{
    ConsumerRole, ConsumerSettings, ConsumerStatus, Handle, LogConsumer, PollIntervals, Router,
    TopicSelection,
};
use crate::telemetry::Metrics;

pub(super) const SOON: Duration = Duration::from_secs(30);
/// What the end of the process may take, and so that of the threads.
pub(super) const STOP: Duration = Duration::from_secs(5);

/// Every value is a payload, apart from `poison`.
struct Plain {
    routed: Arc<AtomicU64>,
    noted: Arc<Mutex<Vec<i64>>>,
}

impl Router for Plain {
    fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Option<Publication> {
        self.routed.fetch_add(1, Ordering::Relaxed);
        let value = record.value.filter(|value| *value != b"poison")?;
        let organisation = Id::parse("o1").unwrap();
        Some(Publication {
            topic: Arc::clone(topic),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Arc::from),
            event: Arc::from(
                record
                    .headers
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.escape_ascii()))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            rooms: vec![Room::organisation(&organisation)],
            organisation,
            class: Class::Event,
            latest_of: None,
            ack: false,
            payload: to_raw_value(std::str::from_utf8(value).unwrap()).unwrap(),
        })
    }

    fn note(&self, record: &Record<'_>, _topic: &Arc<str>) {
        self.noted.lock().unwrap().push(record.offset);
    }
}

/// What the hub would know of one index.
#[derive(Debug, Default, Clone)]
pub(super) struct SeenPartition {
    pub(super) topic: String,
    pub(super) number: i32,
    pub(super) start: i64,
    pub(super) values: Vec<String>,
    /// Timestamp, key and headers of the same.
    pub(super) others: Vec<(Option<i64>, Option<String>, String)>,
    pub(super) passed: Vec<i64>,
    pub(super) ends: Vec<i64>,
    pub(super) gaps: Vec<i64>,
    pub(super) deleted: bool,
    pub(super) truncated: bool,
    pub(super) unwanted: bool,
    pub(super) topic_id: Option<[u8; 16]>,
    next: i64,
}

pub(super) struct KafkaRig {
    pub(super) handle: Handle,
    feed: Option<mpsc::Receiver<Vec<Feed>>>,
    runtime: tokio::runtime::Runtime,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    pub(super) indexes: BTreeMap<u32, SeenPartition>,
    pub(super) contacts: Vec<bool>,
    /// How many records were shown to the router, also of batches that were not taken yet.
    pub(super) routed: Arc<AtomicU64>,
    /// The offsets of those that were only to be noted.
    pub(super) noted: Arc<Mutex<Vec<i64>>>,
}

impl KafkaRig {
    pub(super) fn start(settings: &ConsumerSettings, topics: &[&str]) -> Self {
        Self::with_feed_of(settings, topics, 1024)
    }

    pub(super) fn with_feed_of(settings: &ConsumerSettings, topics: &[&str], bound: usize) -> Self {
        Self::with_topics(settings, named(topics), bound)
    }

    pub(super) fn with_topics(
        settings: &ConsumerSettings,
        topics: TopicSelection,
        bound: usize,
    ) -> Self {
        let (sender, feed) = mpsc::channel(bound);
        let stop = CancellationToken::new();
        let mut threads = Vec::new();
        let routed = Arc::new(AtomicU64::new(0));
        let noted = Arc::new(Mutex::default());
        let consumer = LogConsumer {
            settings: settings.clone(),
            role: ConsumerRole::Log,
            topics,
            router: Arc::new(Plain {
                routed: Arc::clone(&routed),
                noted: Arc::clone(&noted),
            }),
            metrics: Metrics::new(),
            feed: sender,
            indices: PartitionIndices::default(),
            stop: stop.clone(),
        };
        let handle = consumer
            .start(&mut |_name, run| {
                threads.push(std::thread::spawn(run));
                Ok(())
            })
            .unwrap();
        Self {
            handle,
            feed: Some(feed),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            stop,
            threads,
            indexes: BTreeMap::new(),
            contacts: Vec::new(),
            routed,
            noted,
        }
    }

    /// Takes batches until `done`, and fails after `SOON`.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; {:#?} {:?} {:#?}",
                self.indexes,
                self.contacts,
                self.handle.status()
            );
            self.take(Duration::from_millis(20));
        }
    }

    fn take(&mut self, wait: Duration) {
        let Some(feed) = &mut self.feed else { return };
        let batch = self
            .runtime
            .block_on(async { tokio::time::timeout(wait, feed.recv()).await });
        for item in batch.ok().flatten().unwrap_or_default() {
            self.note(item);
        }
    }

    /// Notes one item, and holds it to what the hub may rely on.
    fn note(&mut self, item: Feed) {
        match item {
            Feed::Ephemeral(_) => unreachable!("Kafka has no record without a position"),
            Feed::Partition {
                index,
                topic,
                number,
                topic_id,
                start,
            } => {
                assert_eq!(index as usize, self.indexes.len(), "dense, never reused");
                let seen = SeenPartition {
                    topic: topic.to_string(),
                    number,
                    start,
                    topic_id,
                    next: start,
                    ..SeenPartition::default()
                };
                self.indexes.insert(index, seen);
            }
            Feed::Publication {
                partition,
                publication,
            } => {
                let seen = self.live(partition);
                assert!(
                    publication.offset >= seen.next,
                    "in order, once: {publication:?}"
                );
                assert_eq!(*publication.topic, *seen.topic);
                assert_eq!(publication.partition, seen.number);
                seen.next = publication.offset + 1;
                seen.values
                    .push(serde_json::from_str(publication.payload.get()).unwrap());
                seen.others.push((
                    publication.timestamp,
                    publication.key_text().map(str::to_owned),
                    publication.event.to_string(),
                ));
            }
            Feed::Passed { partition, offset }
            | Feed::Tombstone {
                partition, offset, ..
            } => {
                let seen = self.live(partition);
                assert!(offset >= seen.next, "in order, once");
                seen.next = offset + 1;
                seen.passed.push(offset);
            }
            Feed::End {
                partition, next, ..
            } => {
                let seen = self.live(partition);
                assert!(next >= seen.next, "an end is not below what came");
                seen.next = next;
                seen.ends.push(next);
            }
            Feed::Gap { partition, next } => {
                let seen = self.live(partition);
                assert!(next > seen.next);
                seen.next = next;
                seen.gaps.push(next);
            }
            Feed::TopicId {
                partition,
                topic_id,
            } => {
                let seen = self.live(partition);
                assert_eq!(seen.topic_id.replace(topic_id), None, "learned once");
            }
            Feed::TopicDeleted { partition } => self.live(partition).deleted = true,
            Feed::Truncated { partition } => self.live(partition).truncated = true,
            Feed::Unwanted { partition } => self.live(partition).unwanted = true,
            Feed::Contact { up } => {
                assert_ne!(self.contacts.last(), Some(&up), "edges only");
                self.contacts.push(up);
            }
        }
    }

    fn live(&mut self, index: u32) -> &mut SeenPartition {
        let seen = self.indexes.get_mut(&index).expect("Partition comes first");
        let ended = seen.deleted || seen.truncated || seen.unwanted;
        assert!(!ended, "nothing comes after the end");
        seen
    }

    pub(super) fn status(&self) -> Arc<ConsumerStatus> {
        self.handle.status()
    }

    /// All values of a topic, of all indexes.
    pub(super) fn values(&self, topic: &str) -> Vec<String> {
        self.indexes
            .values()
            .filter(|seen| seen.topic == topic)
            .flat_map(|seen| seen.values.clone())
            .collect()
    }

    /// Whether exactly `all` came, each once.
    pub(super) fn has_exactly(&self, topic: &str, all: &[String]) -> bool {
        let values = self.values(topic);
        let unique: BTreeSet<_> = values.iter().collect();
        assert_eq!(unique.len(), values.len(), "something came twice");
        values.len() >= all.len() && all.iter().collect::<BTreeSet<_>>() == unique
    }

    pub(super) fn refreshed(&mut self) -> bool {
        let handle = self.handle.clone();
        self.runtime
            .block_on(async move { handle.refreshed(SOON).await })
    }

    /// Stops the consumer and says how long its threads took to end.
    pub(super) fn stop(&mut self) -> Duration {
        let begin = Instant::now();
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        begin.elapsed()
    }

    /// As when the hub ends.
    pub(super) fn drop_feed(&mut self) {
        self.feed = None;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for KafkaRig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn named(topics: &[&str]) -> TopicSelection {
    let alone = |topic: &&str| vec![Arc::from(*topic)];
    TopicSelection {
        names: topics.iter().map(alone).collect(),
        wanted: None,
    }
}

/// All topics whose names begin so.
pub(super) fn beginning(prefix: &str) -> TopicSelection {
    let prefix = prefix.to_owned();
    TopicSelection {
        names: Vec::new(),
        wanted: Some(Arc::new(move |topic| topic.starts_with(&prefix))),
    }
}

pub(super) fn settings(bootstrap: &str) -> ConsumerSettings {
    ConsumerSettings {
        intervals: PollIntervals {
            look: Duration::from_millis(500),
            retry: Duration::from_millis(200),
            silence: Duration::from_secs(3),
            stall: Duration::from_secs(6),
        },
        ..ConsumerSettings::new(bootstrap)
    }
}

pub(super) type MockBroker = MockCluster<'static, DefaultProducerContext>;

/// A mock broker that has these topics with so many partitions, and how it is read.
pub(super) fn mock_broker(topics: &[(&str, i32)]) -> (MockBroker, ConsumerSettings) {
    let broker = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        broker.create_topic(topic, *partitions, 1).unwrap();
    }
    let settings = ConsumerSettings {
        mock: true,
        ..settings(&broker.bootstrap_servers())
    };
    (broker, settings)
}

pub(super) fn producer(bootstrap: &str, more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "0");
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Produces and waits until all of it is in the log.
pub(super) fn produce(producer: &BaseProducer, topic: &str, partition: i32, values: &[String]) {
    for value in values {
        producer
            .send(
                BaseRecord::<(), String>::to(topic)
                    .partition(partition)
                    .payload(value),
            )
            .unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// `name-0`, `name-1`, ...
pub(super) fn values(name: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{name}-{number}"))
        .collect()
}

/// Looks until it is so, without taking anything off a feed.
pub(super) fn eventually(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
