//! Records sent by hand, each with its delivery report.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::ConsumerSettings;
use super::client::{self, ClientError, Context};

/// What one record is. Nothing is checked: broken ones are sent as they are.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    pub topic: String,
    pub key: Option<String>,
    pub headers: Vec<(String, String)>,
    pub value: Vec<u8>,
}

/// Where a record stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// Why a record is in no log, as far as anybody knows.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("not delivered: {0}")]
    NotDelivered(String),
    #[error("the client was stopped before the delivery report came")]
    Stopped,
}

pub struct Sender {
    producer: FutureProducer<Context>,
    context: Context,
}

/// A record under way. Comes to an end within the time-out of its [`Sender`].
pub struct UnderWay {
    future: DeliveryFuture,
    context: Context,
}

impl Sender {
    /// A record that is not acknowledged by all its replicas within `timeout` counts as failed.
    pub fn new(settings: &ConsumerSettings, timeout: Duration) -> Result<Self, ClientError> {
        let mut config = client::common(settings)?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", timeout.as_millis().to_string());
        let context = Context::new(settings);
        let producer = config.create_with_context(context.clone())?;
        Ok(Self { producer, context })
    }

    /// Hands the record to the client's bounded queue. Full is an error: the caller bounds what is under way.
    pub fn send(&self, record: &Outgoing) -> Result<UnderWay, SendError> {
        let mut outgoing: FutureRecord<'_, str, [u8]> =
            FutureRecord::to(&record.topic).payload(&record.value);
        if let Some(key) = &record.key {
            outgoing = outgoing.key(key);
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in &record.headers {
                headers = headers.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            outgoing = outgoing.headers(headers);
        }
        match self.producer.send_result(outgoing) {
            Ok(future) => Ok(UnderWay {
                future,
                context: self.context.clone(),
            }),
            Err((error, _)) => Err(refused(&self.context, &error)),
        }
    }
}

impl UnderWay {
    pub async fn delivered(self) -> Result<Place, SendError> {
        match self.future.await {
            Ok(Ok(delivery)) => Ok(Place {
                partition: delivery.partition,
                offset: delivery.offset,
            }),
            Ok(Err((error, _))) => Err(refused(&self.context, &error)),
            Err(_) => Err(SendError::Stopped),
        }
    }
}

fn refused(context: &Context, error: &KafkaError) -> SendError {
    SendError::NotDelivered(context.masked(&error.to_string()))
}
