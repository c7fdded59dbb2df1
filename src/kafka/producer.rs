//! Writes records: receipts, and those that `produce` is given by hand. Each has its delivery report.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

use super::ConsumerSettings;
use super::client::{self, ClientError, Context};

/// Records that wait for the brokers, and their bytes in KiB. Full: the caller gets an error at once.
const QUEUE: (&str, &str) = ("50000", "65536");

/// What one record is. Nothing is checked: broken ones are sent as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutgoingRecord<'a> {
    /// By its full name.
    pub topic: &'a str,
    pub key: Option<&'a str>,
    pub headers: &'a [(String, String)],
    pub value: &'a [u8],
}

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenAt {
    pub partition: i32,
    pub offset: i64,
}

/// Why a record is in no log, as far as anybody knows.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the queue of records to write is full")]
    Full,
    #[error("not delivered: {0}")]
    NotDelivered(String),
    /// The brokers are away, or have no such topic: which of the two, librdkafka does not know.
    #[error("not delivered in time")]
    TimedOut,
    #[error("the client was stopped before the delivery report came")]
    Stopped,
}

/// A producer that waits for all replicas and does not write twice.
#[derive(Clone)]
pub struct Producer {
    client: FutureProducer<Context>,
    context: Context,
}

impl Producer {
    /// A record that not all replicas have within `delivery` counts as failed. Asks no broker yet.
    pub fn new(settings: &ConsumerSettings, delivery: Duration) -> Result<Self, ClientError> {
        let config = config(settings, delivery)?;
        let context = Context::new(settings);
        let client = config.create_with_context(context.clone())?;
        Ok(Self { client, context })
    }

    /// Writes one record. It is in the queue when this returns; the future gives what became of it, within the time for
    /// delivery.
    pub fn write(
        &self,
        record: OutgoingRecord<'_>,
    ) -> impl Future<Output = Result<WrittenAt, WriteError>> + Send + 'static + use<> {
        let mut outgoing: FutureRecord<'_, str, [u8]> =
            FutureRecord::to(record.topic).payload(record.value);
        if let Some(key) = record.key {
            outgoing = outgoing.key(key);
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in record.headers {
                headers = headers.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            outgoing = outgoing.headers(headers);
        }
        self.send(outgoing)
    }

    /// Writes a record without a value, which deletes what a compacted topic has of the key.
    pub fn delete(
        &self,
        topic: &str,
        key: &str,
    ) -> impl Future<Output = Result<WrittenAt, WriteError>> + Send + 'static + use<> {
        self.send(FutureRecord::<str, [u8]>::to(topic).key(key))
    }

    fn send(
        &self,
        outgoing: FutureRecord<'_, str, [u8]>,
    ) -> impl Future<Output = Result<WrittenAt, WriteError>> + Send + 'static + use<> {
        let queued = self.client.send_result(outgoing);
        let queued = queued.map_err(|(error, _)| refused(&self.context, &error));
        let context = self.context.clone();
        async move {
            match queued?.await {
                Ok(Ok(delivery)) => Ok(WrittenAt {
                    partition: delivery.partition,
                    offset: delivery.offset,
                }),
                Ok(Err((error, _))) => Err(refused(&context, &error)),
                Err(_) => Err(WriteError::Stopped),
            }
        }
    }

    /// Waits for what is on its way, at most so long. Blocks the thread.
    pub fn flush(&self, at_most: Duration) -> KafkaResult<()> {
        self.client.flush(Timeout::After(at_most))
    }
}

fn config(settings: &ConsumerSettings, delivery: Duration) -> Result<ClientConfig, ClientError> {
    let mut config = client::common(settings)?;
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // Of its own accord a broker makes a topic that forgets: its records are deleted by their age.
        .set("allow.auto.create.topics", "false")
        .set("linger.ms", "5")
        .set("message.timeout.ms", delivery.as_millis().to_string())
        .set("queue.buffering.max.messages", QUEUE.0)
        .set("queue.buffering.max.kbytes", QUEUE.1);
    Ok(config)
}

fn refused(context: &Context, error: &KafkaError) -> WriteError {
    match error {
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => WriteError::Full,
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut) => WriteError::TimedOut,
        error => WriteError::NotDelivered(context.masked(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The brokers' own topics delete by age, and a compacted topic that was deleted is written to until that is noticed.
    #[test]
    fn h6_a_producer_makes_no_topic() {
        let settings = ConsumerSettings::new("127.0.0.1:1");
        let config = config(&settings, Duration::from_secs(5)).expect("good settings");
        assert_eq!(config.get("allow.auto.create.topics"), Some("false"));
        assert_eq!(config.get("acks"), Some("all"));
        assert!(Producer::new(&settings, Duration::from_secs(5)).is_ok());
    }
}
