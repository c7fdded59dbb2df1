//! The brokers of one test: a mock cluster of its own, or topics of its own in a real one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use fleetcast::clock;
use fleetcast::demo::broker::Broker;
use futures_util::future::join_all;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Cluster, SOON, eventually};

pub(crate) struct Kafka {
    pub(crate) address: String,
    prefix: String,
    producer: FutureProducer,
    admin: AdminClient<DefaultClientContext>,
    /// Of each partition.
    replicas: i32,
    /// Dropped last: its clients would look for it.
    broker: Option<Broker>,
}

impl Kafka {
    /// `topics` are names without the prefix and numbers of partitions.
    pub(crate) async fn mock(topics: &[(&str, i32)]) -> Self {
        let broker = Broker::start().unwrap();
        let address = broker.bootstrap().to_owned();
        Self::with(address, Some(broker), topics).await
    }

    /// At `FLEETCAST_TEST_KAFKA`.
    pub(crate) async fn real(topics: &[(&str, i32)]) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the address of the tests' broker"
        )]
        let address = std::env::var("FLEETCAST_TEST_KAFKA")
            .expect("FLEETCAST_TEST_KAFKA is the address of a real broker");
        Self::with(address, None, topics).await
    }

    /// Brokers that a test has to itself.
    pub(crate) async fn of(cluster: &Cluster, topics: &[(&str, i32)]) -> Self {
        let mut kafka = Self::with(cluster.address.clone(), None, &[]).await;
        kafka.replicas = cluster.replicas();
        for (topic, partitions) in topics {
            kafka.create_topic(topic, *partitions).await;
        }
        kafka
    }

    async fn with(address: String, broker: Option<Broker>, topics: &[(&str, i32)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let kafka = Self {
            prefix: format!("it{}-{number}-", clock::wall_ms()),
            producer: config(&address).create().unwrap(),
            admin: config(&address).create().unwrap(),
            address,
            replicas: 1,
            broker,
        };
        for (topic, partitions) in topics {
            kafka.create_topic(topic, *partitions).await;
        }
        kafka
    }

    /// Other mock brokers, where topics have the same full names.
    pub(crate) async fn mock_beside(&self, topics: &[(&str, i32)]) -> Self {
        let mut other = Self::mock(&[]).await;
        other.prefix.clone_from(&self.prefix);
        for (topic, partitions) in topics {
            other.create_topic(topic, *partitions).await;
        }
        other
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) async fn create_topic(&self, name: &str, partitions: i32) {
        let topic = self.topic(name);
        if let Some(broker) = &self.broker {
            return broker.create_topic(&topic, partitions).unwrap();
        }
        eventually("the topic is made", async || {
            let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(self.replicas));
            let made = self.admin.create_topics([&new], &options()).await.unwrap();
            // "Already exists", right after a deletion, passes.
            made[0].is_ok().then_some(())
        })
        .await;
        self.led(&topic, partitions).await;
    }

    /// One partition, and settings of the topic. Real brokers only.
    pub(crate) async fn create_with(&self, name: &str, config: &[(&str, &str)]) {
        let topic = self.topic(name);
        let mut new = NewTopic::new(&topic, 1, TopicReplication::Fixed(self.replicas));
        for (name, value) in config {
            new = new.set(name, value);
        }
        let made = self.admin.create_topics([&new], &options()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        self.led(&topic, 1).await;
    }

    /// A setting of a topic. Real brokers only.
    pub(crate) async fn config(&self, name: &str, setting: &str) -> Option<String> {
        let topic = self.topic(name);
        let wanted = [ResourceSpecifier::Topic(&topic)];
        let shown = self.admin.describe_configs(&wanted, &options()).await;
        let shown = shown.unwrap().pop().unwrap().unwrap();
        shown.get(setting).and_then(|entry| entry.value.clone())
    }

    /// All partitions have a leader.
    async fn led(&self, topic: &str, partitions: i32) {
        eventually("the partitions have leaders", async || {
            let metadata = self
                .producer
                .client()
                .fetch_metadata(Some(topic), SOON)
                .ok()?;
            let found = metadata.topics().first()?.partitions();
            let led = found.iter().filter(|found| found.leader() >= 0).count();
            (i32::try_from(led) == Ok(partitions)).then_some(())
        })
        .await;
    }

    pub(crate) async fn delete_topic(&mut self, name: &str) {
        // A producer that knows the topic would have the broker make it again.
        self.producer = config(&self.address).create().unwrap();
        let topic = self.topic(name);
        let done = self.admin.delete_topics(&[&topic], &options()).await;
        assert!(done.unwrap().iter().all(Result::is_ok));
    }

    pub(crate) async fn grow_topic(&self, name: &str, partitions: i32) {
        let topic = self.topic(name);
        let new = NewPartitions::new(&topic, usize::try_from(partitions).unwrap());
        let done = self.admin.create_partitions([&new], &options()).await;
        assert!(done.unwrap().iter().all(Result::is_ok));
        self.led(&topic, partitions).await;
    }

    /// Of partition 0, all below `offset`.
    pub(crate) async fn delete_records(&self, name: &str, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(&self.topic(name), 0, Offset::Offset(offset))
            .unwrap();
        self.admin
            .delete_records(&offsets, &options())
            .await
            .unwrap();
    }

    /// One record, to partition 0.
    pub(crate) async fn produce(&self, name: &str, value: impl ToString) {
        self.produce_all(&self.topic(name), vec![(0, value.to_string())])
            .await;
    }

    /// One record that says it was written in so many milliseconds from now, to partition 0.
    pub(crate) async fn produce_from_the_future(
        &self,
        name: &str,
        ahead: i64,
        value: impl ToString,
    ) {
        let topic = self.topic(name);
        let since_epoch = UNIX_EPOCH.elapsed().unwrap().as_millis();
        let value = value.to_string();
        let record = FutureRecord::<(), String>::to(&topic)
            .partition(0)
            .timestamp(i64::try_from(since_epoch).unwrap() + ahead)
            .payload(&value);
        let sent = self.producer.send(record, SOON).await;
        sent.map_err(|(error, _)| error).unwrap();
    }

    /// One record with all that it may have, to partition 0.
    pub(crate) async fn produce_record(
        &self,
        name: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
        value: &[u8],
    ) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, Some(value.as_bytes())))
            .collect();
        self.produce_bytes(name, key.map(str::as_bytes), &headers, Some(value))
            .await;
    }

    /// The same of any bytes. A record without a value is a tombstone.
    pub(crate) async fn produce_bytes(
        &self,
        name: &str,
        key: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
        value: Option<&[u8]>,
    ) {
        let topic = self.topic(name);
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: *value })
            });
        let mut record = FutureRecord::<[u8], [u8]>::to(&topic)
            .partition(0)
            .headers(headers);
        (record.key, record.payload) = (key, value);
        let sent = self.producer.send_result(record);
        let delivered = sent.map_err(|(error, _)| error).unwrap().await;
        delivered.unwrap().map_err(|(error, _)| error).unwrap();
    }

    /// One record without a value, to partition 0.
    pub(crate) async fn produce_tombstone(&self, name: &str, key: &str) {
        let topic = self.topic(name);
        let record = FutureRecord::<str, [u8]>::to(&topic).partition(0).key(key);
        let sent = self.producer.send(record, SOON).await;
        sent.map_err(|(error, _)| error).unwrap();
    }

    /// A tombstone that says to have been written so long ago.
    pub(crate) async fn produce_old_tombstone(&self, name: &str, key: &str, age: Duration) {
        let topic = self.topic(name);
        let age_ms = i64::try_from(age.as_millis()).unwrap();
        let now_ms = i64::try_from(clock::wall_ms()).unwrap();
        let record = FutureRecord::<str, [u8]>::to(&topic)
            .partition(0)
            .key(key)
            .timestamp(now_ms - age_ms);
        let sent = self.producer.send(record, SOON).await;
        sent.map_err(|(error, _)| error).unwrap();
    }

    /// One record with a key, to a partition whatever its key.
    pub(crate) async fn produce_keyed_to(&self, to: (&str, i32), key: &str, value: &str) {
        let topic = self.topic(to.0);
        let record = FutureRecord::to(&topic).partition(to.1).key(key);
        let sent = self.producer.send(record.payload(value), SOON).await;
        sent.map_err(|(error, _)| error).unwrap();
    }

    /// One record with a key, to the key's partition.
    pub(crate) async fn produce_keyed(&self, name: &str, key: &str, value: &str) {
        let topic = self.topic(name);
        let record = FutureRecord::to(&topic).key(key).payload(value);
        let sent = self.producer.send(record, SOON).await;
        sent.map_err(|(error, _)| error).unwrap();
    }

    /// Records with their partitions; returns when the log has them all.
    pub(crate) async fn produce_all(&self, topic: &str, records: Vec<(i32, String)>) {
        let sent = records.iter().map(|(partition, value)| {
            let record = FutureRecord::<(), String>::to(topic)
                .partition(*partition)
                .payload(value);
            self.producer
                .send_result(record)
                .map_err(|(error, _)| error)
                .unwrap()
        });
        let sent: Vec<_> = sent.collect();
        for delivered in join_all(sent).await {
            delivered.unwrap().map_err(|(error, _)| error).unwrap();
        }
    }

    /// Reads the only partition of a topic from its beginning.
    pub(crate) fn consumer(&self, name: &str) -> StreamConsumer {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", &self.prefix)
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset(&self.topic(name), 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&partitions).unwrap();
        consumer
    }

    /// A producer for transactions. Its calls block.
    pub(crate) fn transactional(&self) -> FutureProducer {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("transactional.id", &self.prefix)
            .create()
            .unwrap();
        producer.init_transactions(SOON).unwrap();
        producer
    }
}

fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("linger.ms", "1")
        .set("message.timeout.ms", "60000")
        .set("topic.metadata.refresh.interval.ms", "1000");
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)))
}
