//! What only a real broker does. The address comes from `FLEETCAST_TEST_KAFKA`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::Offset;

use super::super::{ConsumerSettings, OwnTopic};
use super::rig::{KafkaRig, SOON, STOP, eventually, produce, producer, settings, values};
use crate::clock;

pub(super) struct Real {
    pub(super) bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Real {
    pub(super) fn connect() -> Self {
        let bootstrap = std::env::var("FLEETCAST_TEST_KAFKA")
            .expect("FLEETCAST_TEST_KAFKA is the address of a real broker");
        let admin = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .create()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            bootstrap,
            admin,
            runtime,
        }
    }

    pub(super) fn settings(&self) -> ConsumerSettings {
        settings(&self.bootstrap)
    }

    pub(super) fn producer(&self) -> BaseProducer {
        producer(&self.bootstrap, &[])
    }

    pub(super) fn create(&self, topic: &str, partitions: i32) {
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        eventually("the topic is made", || {
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
            let made = self
                .runtime
                .block_on(self.admin.create_topics([&new], &options))
                .unwrap();
            // "Already exists" right after a deletion passes.
            made[0].is_ok()
        });
    }

    pub(super) fn delete(&self, topic: &str) {
        let done = self
            .runtime
            .block_on(self.admin.delete_topics(&[topic], &AdminOptions::new()))
            .unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }

    pub(super) fn add_partitions(&self, topic: &str, count: usize) {
        let new = NewPartitions::new(topic, count);
        let done = self
            .runtime
            .block_on(self.admin.create_partitions([&new], &AdminOptions::new()))
            .unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }

    pub(super) fn delete_records(&self, topic: &str, below: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(topic, 0, Offset::Offset(below))
            .unwrap();
        self.runtime
            .block_on(self.admin.delete_records(&offsets, &AdminOptions::new()))
            .unwrap();
    }
}

/// A name that no other test and no earlier run has used.
pub(super) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{number}", clock::wall_ms())
}

#[test]
#[ignore = "real Kafka"]
fn loading_starts_with_the_window() {
    let real = Real::connect();
    let (mixed, old) = (unique("mixed"), unique("old"));
    real.create(&mixed, 1);
    real.create(&old, 1);
    let producer = real.producer();
    let now = i64::try_from(clock::wall_ms()).unwrap();
    for (topic, age_s, value) in [
        (&mixed, 3_600, "hour"),
        (&mixed, 305, "margin"),
        (&mixed, 100, "young"),
        (&old, 3_600, "hour"),
    ] {
        let record = BaseRecord::<(), str>::to(topic).partition(0).payload(value);
        producer
            .send(record.timestamp(now - age_s * 1_000))
            .unwrap();
        producer.flush(SOON).unwrap();
    }
    let settings = ConsumerSettings {
        keep: Some(Duration::from_mins(6)),
        ..real.settings()
    };
    let mut rig = KafkaRig::start(&settings, &[&mixed, &old]);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert_eq!(rig.values(&mixed), ["margin", "young"]);
    let index = rig.indexes.values().find(|seen| seen.topic == old).unwrap();
    assert_eq!((index.start, index.values.len()), (1, 0));
    produce(&producer, &old, 0, &values("live", 2));
    rig.until("live", |rig| rig.values(&old).len() == 2);
    assert!(rig.stop() < STOP);
}

#[test]
#[ignore = "real Kafka"]
fn the_end_counts_transactions_and_their_markers() {
    let real = Real::connect();
    let topic = unique("transactions");
    real.create(&topic, 1);
    let producer = producer(&real.bootstrap, &[("transactional.id", &topic)]);
    producer.init_transactions(SOON).unwrap();
    let transact = |name: &str, commit: bool| {
        producer.begin_transaction().unwrap();
        produce(&producer, &topic, 0, &values(name, 3));
        if commit {
            producer.commit_transaction(SOON).unwrap();
        } else {
            producer.abort_transaction(SOON).unwrap();
        }
    };
    transact("aborted", false);
    transact("good", true);
    transact("also aborted", false);
    let mut rig = KafkaRig::start(&real.settings(), &[&topic]);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert_eq!(rig.values(&topic), values("good", 3));
    // Three times three records and a marker.
    assert_eq!(rig.indexes[&0].ends.last(), Some(&12));
    rig.until("no lag", |rig| {
        let status = rig.status();
        (status.partitions[0].position, status.partitions[0].lag) == (12, 0)
    });

    // Nothing of an open transaction comes, and it counts as neither lag nor stall.
    producer.begin_transaction().unwrap();
    produce(&producer, &topic, 0, &values("open", 3));
    let plain = real.producer();
    produce(&plain, &topic, 0, &values("behind", 1));
    assert!(rig.refreshed());
    assert_eq!(rig.values(&topic).len(), 3);
    rig.until("the end again", |rig| rig.indexes[&0].ends.len() > 1);
    assert_eq!(rig.indexes[&0].ends.last(), Some(&12));
    producer.commit_transaction(SOON).unwrap();
    rig.until("all", |rig| rig.values(&topic).len() == 7);
    rig.until("the end behind the marker", |rig| {
        rig.indexes[&0].ends.last() == Some(&17)
    });
    assert_eq!(rig.status().restarts, 0);
    assert_eq!(rig.contacts, [true]);
}

#[test]
#[ignore = "real Kafka"]
fn records_deleted_before_they_were_read_are_a_gap() {
    let real = Real::connect();
    let topic = unique("retention");
    real.create(&topic, 1);
    let producer = real.producer();
    let big: Vec<String> = (0..40)
        .map(|n| format!("{n}-{}", "x".repeat(500_000)))
        .collect();
    produce(&producer, &topic, 0, &big);
    let mut settings = real.settings();
    // Little is read ahead, so that the deletion overtakes the reading.
    for (name, value) in [
        ("queued.max.messages.kbytes", "1024"),
        ("fetch.max.bytes", "1000000"),
        ("fetch.message.max.bytes", "600000"),
    ] {
        settings
            .properties
            .insert(name.to_owned(), value.to_owned());
    }
    let mut rig = KafkaRig::with_feed_of(&settings, &[&topic], 1);
    let routed = std::sync::Arc::clone(&rig.routed);
    eventually("it reads", || routed.load(Ordering::Relaxed) > 0);
    real.delete_records(&topic, 38);
    rig.until("the last two", |rig| {
        rig.values(&topic).ends_with(&big[38..])
    });
    let seen = &rig.indexes[&0];
    assert_eq!(seen.gaps, [38]);
    assert!(seen.values.len() < 40 && !seen.deleted);
    rig.until("caught up", |rig| rig.status().caught_up);
    produce(&producer, &topic, 0, &values("live", 1));
    rig.until("live", |rig| {
        rig.values(&topic).ends_with(&values("live", 1))
    });
}

#[test]
#[ignore = "real Kafka"]
fn new_partitions_are_read_from_their_beginning() {
    let real = Real::connect();
    let topic = unique("growing");
    real.create(&topic, 3);
    let producer = real.producer();
    let mut settings = real.settings();
    settings.intervals = super::super::PollIntervals::default();
    let mut rig = KafkaRig::start(&settings, &[&topic]);
    rig.until("caught up", |rig| rig.status().caught_up);
    real.add_partitions(&topic, 6);
    let mut all = Vec::new();
    for partition in 3..6 {
        let new = values(&format!("new{partition}"), 20);
        eventually("the producer knows the partition", || {
            let metadata = producer
                .client()
                .fetch_metadata(Some(&topic), SOON)
                .unwrap();
            metadata.topics()[0].partitions().len() == 6
        });
        produce(&producer, &topic, partition, &new);
        all.extend(new);
    }
    // `until` fails after 30 s, which is the promise.
    rig.until("all", |rig| rig.has_exactly(&topic, &all));
    assert_eq!(rig.indexes.len(), 6);
    assert_eq!(rig.status().restarts, 0);
}

#[test]
#[ignore = "real Kafka"]
fn a_deleted_and_recreated_topic_is_read_under_a_new_index() {
    let real = Real::connect();
    let topic = unique("phoenix");
    real.create(&topic, 1);
    let producer = real.producer();
    let first = values("first", 10);
    produce(&producer, &topic, 0, &first);
    let mut rig = KafkaRig::start(&real.settings(), &[&topic]);
    rig.until("caught up", |rig| rig.status().caught_up);
    real.delete(&topic);
    rig.until("deleted", |rig| rig.indexes[&0].deleted);
    rig.until("missing", |rig| rig.status().missing.len() == 1);
    assert_eq!(rig.contacts, [true]);
    real.create(&topic, 1);
    let producer = real.producer();
    let second = values("second", 5);
    produce(&producer, &topic, 0, &second);
    rig.until("the new log", |rig| {
        rig.indexes
            .get(&1)
            .is_some_and(|seen| seen.values == second)
    });
    assert_eq!(rig.indexes[&1].start, 0);
    assert!(rig.status().caught_up);
}

#[test]
#[ignore = "real Kafka"]
fn a_topic_recreated_between_two_polls_is_noticed_by_its_end() {
    let real = Real::connect();
    let topic = unique("swapped");
    real.create(&topic, 1);
    produce(&real.producer(), &topic, 0, &values("first", 50));
    let mut settings = real.settings();
    settings.intervals.retry = Duration::from_secs(1);
    let mut rig = KafkaRig::start(&settings, &[&topic]);
    rig.until("caught up", |rig| rig.status().caught_up);
    real.delete(&topic);
    real.create(&topic, 1);
    let second = values("second", 5);
    produce(&real.producer(), &topic, 0, &second);
    rig.until("the new log", |rig| {
        rig.indexes
            .get(&1)
            .is_some_and(|seen| seen.values == second)
    });
    assert!(rig.indexes[&0].deleted);
    assert_eq!(rig.indexes[&1].start, 0);
    assert_eq!(rig.indexes.len(), 2);
}

#[test]
#[ignore = "real Kafka"]
fn the_topic_of_our_own_is_read_further_back_than_the_hub_is_given() {
    let real = Real::connect();
    let topic = unique("publish");
    real.create(&topic, 1);
    let producer = real.producer();
    let now = i64::try_from(clock::wall_ms()).unwrap();
    for (age_s, value) in [(700, "before"), (500, "noted"), (100, "young")] {
        let record = BaseRecord::<(), str>::to(&topic)
            .partition(0)
            .payload(value)
            .timestamp(now - age_s * 1_000);
        producer.send(record).unwrap();
        producer.flush(SOON).unwrap();
    }
    let settings = ConsumerSettings {
        keep: Some(Duration::from_mins(5)),
        own: Some(OwnTopic {
            name: topic.as_str().into(),
            further: Duration::from_mins(5),
        }),
        ..real.settings()
    };
    let mut rig = KafkaRig::start(&settings, &[&topic]);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert_eq!(rig.indexes[&0].start, 2);
    assert_eq!(rig.values(&topic), ["young"]);
    assert_eq!(*rig.noted.lock().unwrap(), [1]);
}
