//! What `fleetcast demo` adds to the server: a broker in the process, a simulated city that writes to it, five people.
//!
//! - [`city`]: the simulator, pure; [`producer`]: drives it into Kafka
//! - [`broker`]: librdkafka's mock cluster; `tests/it` runs on it, too
//! - [`mod@people`]: whose tokens the QA page offers; [`mod@secret`]: what these are signed with
//!
//! The ordinary consumer reads from it; it only knows that the broker is a mock, whose quirks it tolerates.

pub mod broker;
pub mod city;
pub mod people;
pub mod producer;
pub mod secret;

use broker::{Broker, BrokerError};
use city::City;
use people::{Person, people};
pub use producer::Driver;
use rdkafka::error::KafkaError;

/// Enough to see that order holds per partition and not across them.
const PARTITIONS: i32 = 3;

/// A running broker with its topics, and the people of the demo. Keep it until the consumer has stopped.
pub struct Demo {
    /// `127.0.0.1:port`, for `bootstrap.servers`.
    pub bootstrap: String,
    pub people: Vec<Person>,
    /// Ends with this value.
    _broker: Broker,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot create the simulator's Kafka client: {0}")]
    Producer(KafkaError),
}

/// Starts the broker and creates the topics of the dispatch profile, and others by name and number of partitions. The city starts
/// when the driver is run: spawn [`Driver::run`] as a task of the lifecycle.
pub fn start(
    topic_prefix: &str,
    others: &[(String, i32)],
    seed: u64,
) -> Result<(Demo, Driver), DemoError> {
    let broker = Broker::start()?;
    for topic in city::TOPICS {
        broker.create_topic(&format!("{topic_prefix}{topic}"), PARTITIONS)?;
    }
    for (topic, partitions) in others {
        broker.create_topic(topic, *partitions)?;
    }
    let bootstrap = broker.bootstrap().to_owned();
    let driver =
        Driver::new(City::new(seed), &bootstrap, topic_prefix).map_err(DemoError::Producer)?;
    let demo = Demo {
        bootstrap,
        people: people(),
        _broker: broker,
    };
    Ok((demo, driver))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::Metrics;

    /// Records after which keys have come more than once.
    const ENOUGH: usize = 80;

    fn consumer(bootstrap: &str) -> BaseConsumer {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "demo-test")
            .set("fetch.wait.max.ms", "10")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for topic in city::TOPICS {
            for partition in 0..PARTITIONS {
                partitions
                    .add_partition_offset(&format!("t.{topic}"), partition, Offset::Beginning)
                    .unwrap();
            }
        }
        consumer.assign(&partitions).unwrap();
        consumer
    }

    #[tokio::test]
    async fn the_city_reaches_kafka_with_order_per_object() {
        let (demo, driver) = start("t.", &[], 1).unwrap();
        let deliveries = driver.deliveries();
        let stopping = CancellationToken::new();
        let consumer = consumer(&demo.bootstrap);
        let reading = tokio::task::spawn_blocking(move || {
            let mut records: Vec<(String, i32, String)> = Vec::new();
            let deadline = Instant::now() + Duration::from_secs(30);
            let mut topics = BTreeSet::new();
            while (records.len() <= ENOUGH || topics.len() < city::TOPICS.len())
                && Instant::now() < deadline
            {
                if let Some(record) = consumer.poll(Duration::from_millis(50)) {
                    let record = record.unwrap();
                    let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
                    topics.insert(record.topic().to_owned());
                    records.push((record.topic().to_owned(), record.partition(), key));
                }
            }
            records
        });
        let running = tokio::time::timeout(Duration::from_secs(40), async {
            let stop = async {
                let records = reading.await.unwrap();
                stopping.cancel();
                records
            };
            tokio::join!(driver.run(Metrics::new(), stopping.clone()), stop).1
        });
        let records = running.await.expect("the driver ends when it is stopped");
        assert!(records.len() > ENOUGH, "{} records in 30 s", records.len());
        let topics: BTreeSet<_> = records.iter().map(|(topic, ..)| topic.as_str()).collect();
        assert_eq!(topics.len(), city::TOPICS.len(), "{topics:?}");
        let mut partition_of = BTreeMap::new();
        for (topic, partition, key) in &records {
            let first = partition_of.entry((topic, key)).or_insert(*partition);
            assert_eq!(first, partition, "{key} is in one partition");
        }
        assert_eq!(deliveries.failed(), 0);
        assert!(deliveries.delivered() >= records.len().try_into().unwrap());
    }

    #[tokio::test]
    async fn without_a_broker_records_are_counted_and_the_driver_still_stops() {
        let (demo, driver) = start("", &[], 1).unwrap();
        let deliveries = driver.deliveries();
        drop(demo);
        let stopping = CancellationToken::new();
        let stop = async {
            while deliveries.failed() == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stopping.cancel();
        };
        let both = async { tokio::join!(driver.run(Metrics::new(), stopping.clone()), stop) };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .expect("failures are reported and the driver ends");
    }
}
