//! Writes records: receipts, and those that `produce` is given by hand. Each has its delivery report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

use super::ConsumerSettings;
use super::client::{self, ClientError, Context};
use crate::telemetry::events;

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
    /// No broker of this setting will ever take it.
    #[error("the record is larger than the brokers take")]
    TooLarge,
    #[error("the brokers do not let this server write to the topic")]
    NotAllowed,
    /// The client could not go on; there is a new one by now.
    #[error("fatal client error, the producer was recreated: {0}")]
    Fatal(String),
    #[error("not delivered: {0}")]
    NotDelivered(String),
    /// The brokers are away, or have no such topic: which of the two, librdkafka does not know.
    #[error("not delivered in time")]
    TimedOut,
    #[error("the client was stopped before the delivery report came")]
    Stopped,
}

/// The largest record that the client sends, in bytes: librdkafka's own limit, so that the brokers decide. A batch of several
/// records stays below `batch.size`.
const MOST_BYTES: &str = "1000000000";

/// A producer that waits for all replicas and does not write twice. After an error that its client cannot go on from it has another
/// one.
#[derive(Clone)]
pub struct Producer(Arc<Renewable>);

struct Renewable {
    config: ClientConfig,
    context: Context,
    /// With its number. Locked for a moment, and for as long as it takes to make one.
    client: Mutex<(u64, FutureProducer<Context>)>,
}

impl Producer {
    /// A record that not all replicas have within `delivery` counts as failed. Asks no broker yet.
    pub fn new(settings: &ConsumerSettings, delivery: Duration) -> Result<Self, ClientError> {
        let config = config(settings, delivery)?;
        let context = Context::new(settings);
        let client = Mutex::new((0, config.create_with_context(context.clone())?));
        Ok(Self(Arc::new(Renewable {
            config,
            context,
            client,
        })))
    }

    /// Writes one record. It is in the queue when this returns; the future gives what became of it, within the time for
    /// delivery.
    pub fn write(
        &self,
        record: OutgoingRecord<'_>,
    ) -> impl Future<Output = Result<WrittenAt, WriteError>> + Send + 'static + use<> {
        let queued = self.queue(record);
        async move { queued?.await }
    }

    /// The same for one who wants to know at once whether it is in the queue.
    pub fn queue(
        &self,
        record: OutgoingRecord<'_>,
    ) -> Result<
        impl Future<Output = Result<WrittenAt, WriteError>> + Send + 'static + use<>,
        WriteError,
    > {
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
        let queued = self.send(FutureRecord::<str, [u8]>::to(topic).key(key));
        async move { queued?.await }
    }

    fn send(
        &self,
        outgoing: FutureRecord<'_, str, [u8]>,
    ) -> Result<
        impl Future<Output = Result<WrittenAt, WriteError>> + Send + 'static + use<>,
        WriteError,
    > {
        let (number, queued) = {
            // Dropped at once: the last one who holds a client waits for its end.
            let (number, client) = self.0.current();
            (number, client.send_result(outgoing))
        };
        let report = queued.map_err(|(error, _)| self.0.refused(number, &error))?;
        // The future does not keep the client: once the producer is dropped, no report is waited for.
        let (producer, context) = (Arc::downgrade(&self.0), self.0.context.clone());
        Ok(async move {
            match report.await {
                Ok(Ok(delivery)) => Ok(WrittenAt {
                    partition: delivery.partition,
                    offset: delivery.offset,
                }),
                Ok(Err((error, _))) => Err(match producer.upgrade() {
                    Some(producer) => producer.refused(number, &error),
                    None => meaning(&context, &error),
                }),
                Err(_) => Err(WriteError::Stopped),
            }
        })
    }

    /// Waits for what is on its way, at most so long. Blocks the thread.
    pub fn flush(&self, at_most: Duration) -> KafkaResult<()> {
        self.0.current().1.flush(Timeout::After(at_most))
    }
}

impl Renewable {
    fn lock(&self) -> MutexGuard<'_, (u64, FutureProducer<Context>)> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> (u64, FutureProducer<Context>) {
        self.lock().clone()
    }

    /// What an error of the client with this number means.
    fn refused(&self, number: u64, error: &KafkaError) -> WriteError {
        match self.renew(number) {
            Some(why) => WriteError::Fatal(why),
            None => meaning(&self.context, error),
        }
    }

    /// Replaces the client with this number if it has failed for good, and says why it had to go.
    fn renew(&self, number: u64) -> Option<String> {
        let mut held = self.lock();
        if held.0 != number {
            return None;
        }
        let (_, why) = held.1.client().fatal_error()?;
        let why = self.context.masked(&why);
        match self.config.create_with_context(self.context.clone()) {
            Ok(client) => {
                let failed = std::mem::replace(&mut *held, (number.wrapping_add(1), client));
                drop(held);
                events::producer_renewed(&why);
                end(failed.1);
            }
            // The next one who writes tries it again.
            Err(error) => return Some(self.context.masked(&error.to_string())),
        }
        Some(why)
    }
}

/// Ends a client, which takes up to a second.
fn end(client: FutureProducer<Context>) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
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
    if !settings.properties.contains_key("message.max.bytes") {
        config.set("message.max.bytes", MOST_BYTES);
    }
    Ok(config)
}

fn meaning(context: &Context, error: &KafkaError) -> WriteError {
    match error {
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => WriteError::Full,
        KafkaError::MessageProduction(
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize,
        ) => WriteError::TooLarge,
        KafkaError::MessageProduction(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => WriteError::NotAllowed,
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
