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
            CompactedItem::Deleted { topic } => format!("deleted {topic}"),
            CompactedItem::Truncated { topic } => {
                // Whether the first record of the new log counts as applied.
                let first = handle.applied(topic, 0, 0, Duration::ZERO);
                let applied = first.now_or_never() == Some(true);
                format!("truncated {topic}, applied: {applied}")
            }
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
        eventually("all of it again", || given.all().len() == 42);
        let again = &given.all()[21..];
        // What was applied of the log that is gone says nothing of the one in its place.
        assert_eq!(again[0], "truncated revoked, applied: false");
        assert_eq!(again[1..], values("old", 20));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(given.all().len(), 42);
    });
}
