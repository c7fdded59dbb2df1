//! The reader of compacted topics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio_util::sync::CancellationToken;

use super::super::{CompactedHandle, CompactedItem, CompactedReader};
use super::rig::{eventually, mock_broker, produce, producer, values};
use crate::telemetry::Metrics;

/// What it gave, in short: values, and what became of topics.
#[derive(Default)]
struct ReadItems(Mutex<Vec<String>>);

impl ReadItems {
    fn take(&self, item: &CompactedItem, handle: &CompactedHandle) {
        let short = match item {
            CompactedItem::Record(record) => {
                let value = record.value.clone().expect("no tombstone");
                String::from_utf8(value).expect("text")
            }
            CompactedItem::Lost { topic, partition } => {
                // Whether the first record of the new log counts as applied.
                let first = handle.applied(topic, *partition, 0, Duration::ZERO);
                let applied = first.now_or_never() == Some(true);
                format!("lost {topic}/{partition}, applied: {applied}")
            }
            CompactedItem::Repeated { topic, partition } => format!("repeated {topic}/{partition}"),
            CompactedItem::Loaded => "loaded".to_owned(),
        };
        self.0.lock().unwrap().push(short);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// While the reader runs.
fn reading(
    settings: super::super::ConsumerSettings,
    topic: &str,
    test: impl FnOnce(&ReadItems, &CompactedHandle),
) {
    let (stop, given) = (CancellationToken::new(), Arc::<ReadItems>::default());
    let mut threads = Vec::new();
    let reader = CompactedReader::start(
        settings,
        &[topic.into()],
        &Metrics::new(),
        &stop,
        &mut |_, work| {
            threads.push(std::thread::spawn(work));
            Ok(())
        },
    )
    .unwrap();
    let handle = reader.handle();
    let (giving, asked, stopped) = (given.clone(), reader.handle(), stop.clone());
    threads.push(std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let run = reader.run(&stopped, |item| giving.take(&item, &asked));
        assert!(runtime.block_on(run));
    }));
    test(&given, &handle);
    stop.cancel();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn h6_that_everything_is_read_is_said_once_behind_it() {
    let (cluster, settings) = mock_broker(&[("revoked", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "revoked", 0, &values("old", 700));
    reading(settings, "revoked", |given, handle| {
        eventually("loaded", || handle.is_loaded());
        produce(&producer, "revoked", 0, &values("new", 1));
        eventually("the new one", || given.all().len() == 702);
        let mut expected = values("old", 700);
        expected.push("loaded".to_owned());
        expected.extend(values("new", 1));
        assert_eq!(given.all(), expected);
    });
}

/// Where it was truncated is not known when the log has grown again, and a record that is passed over would never be applied.
#[test]
fn h6_a_truncated_topic_is_read_from_its_beginning_again() {
    let (cluster, settings) = mock_broker(&[("revoked", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "revoked", 0, &values("old", 20));
    reading(settings, "revoked", |given, handle| {
        eventually("loaded", || handle.is_loaded());
        let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE];
        cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
        eventually("all of it again", || given.all().len() == 43);
        let again = &given.all()[21..];
        // What was applied of the log that is gone says nothing of the one in its place.
        assert_eq!(again[0], "lost revoked/0, applied: false");
        assert_eq!(again[1..21], values("old", 20));
        assert_eq!(again[21], "repeated revoked/0");
        assert!(!handle.is_lost("revoked"));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(given.all().len(), 43);
    });
}

/// Brokers that have just started answer so. Nothing is known to be gone.
#[test]
fn h6_a_topic_that_brokers_forget_for_a_while_is_read_once_more_when_it_is_there_again() {
    let (cluster, settings) = mock_broker(&[("granted", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "granted", 0, &values("old", 3));
    reading(settings, "granted", |given, handle| {
        eventually("loaded", || handle.is_loaded());
        let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        cluster.topic_error("granted", none).unwrap();
        eventually("it is gone", || given.all().len() == 5);
        assert_eq!(given.all()[4], "lost granted/0, applied: false");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(given.all().len(), 5);
        assert!(handle.is_lost("granted") && handle.is_loaded());
        let good = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        cluster.topic_error("granted", good).unwrap();
        eventually("all of it again", || given.all().len() == 9);
        assert_eq!(given.all()[5..8], values("old", 3));
        assert_eq!(given.all()[8], "repeated granted/0");
    });
}
