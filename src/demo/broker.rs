//! A Kafka broker inside the process: librdkafka's mock cluster, which speaks the real protocol on a loopback port.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};

/// Runs until it is dropped; stop its clients first, or they will look for it.
///
/// It keeps 5 MiB or 100,000 records per partition and drops the oldest without a word: right for a demo and for
/// tests, not for load.
pub struct Broker {
    /// Never sends anything: the cluster belongs to this client and lives as long as it does. Made this way, and not
    /// with `MockCluster::new`, because that handle cannot move to another thread.
    owner: BaseProducer,
    bootstrap: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("cannot start the embedded broker: {0}")]
    Start(KafkaError),
    #[error("this librdkafka was built without its mock cluster")]
    NotBuiltIn,
    #[error("cannot create topic {topic} in the embedded broker: {reason}")]
    Topic { topic: String, reason: KafkaError },
}

impl Broker {
    pub fn start() -> Result<Self, BrokerError> {
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            // It would warn that the mock cluster replaces bootstrap.servers.
            .set_log_level(RDKafkaLogLevel::Error)
            .create()
            .map_err(BrokerError::Start)?;
        let bootstrap = owner
            .client()
            .mock_cluster()
            .ok_or(BrokerError::NotBuiltIn)?
            .bootstrap_servers();
        Ok(Self { owner, bootstrap })
    }

    /// `127.0.0.1:port`, the port chosen by the system.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Before its first use: a topic that a client merely asks for is made with four partitions.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        self.owner
            .client()
            .mock_cluster()
            .ok_or(BrokerError::NotBuiltIn)?
            .create_topic(topic, partitions, 1)
            .map_err(|reason| BrokerError::Topic {
                topic: topic.to_owned(),
                reason,
            })
    }
}
