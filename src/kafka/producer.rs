//! Writes records of our own: receipts now, publications later.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

/// A record that is not written by then is lost, and counted.
const DELIVERY: Duration = Duration::from_secs(10);

/// Records that wait for the brokers. Full: the caller is told at once.
const QUEUE: usize = 50_000;

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the queue of records to write is full")]
    Full,
    #[error("the record was not written: {0}")]
    Failed(KafkaError),
}

/// A producer that waits for all replicas and does not write twice.
#[derive(Clone)]
pub struct Producer {
    client: FutureProducer,
}

impl Producer {
    /// `properties` are librdkafka's, by their own names.
    pub fn new(
        bootstrap_servers: &str,
        properties: &BTreeMap<String, String>,
        client_id: &str,
    ) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        for (name, value) in properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", bootstrap_servers)
            .set("client.id", client_id)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVERY.as_millis().to_string())
            .set("queue.buffering.max.messages", QUEUE.to_string())
            .set("queue.buffering.max.kbytes", "65536");
        Ok(Self {
            client: config.create()?,
        })
    }

    /// Writes one record. It is in the queue when this returns; the future tells when the brokers have it.
    pub fn write(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
    ) -> impl Future<Output = Result<(), WriteError>> + Send + 'static {
        let record = FutureRecord::to(topic).key(key).payload(value);
        let queued = self.client.send_result(record).map_err(|(error, _)| error);
        async move {
            match queued {
                Ok(report) => match report.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err((error, _))) => Err(WriteError::Failed(error)),
                    Err(_) => Err(WriteError::Failed(KafkaError::Canceled)),
                },
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                    Err(WriteError::Full)
                }
                Err(error) => Err(WriteError::Failed(error)),
            }
        }
    }

    /// Waits for what is on its way, at most so long. Blocks the thread.
    pub fn flush(&self, at_most: Duration) -> Result<(), KafkaError> {
        self.client.flush(Timeout::After(at_most))
    }
}
