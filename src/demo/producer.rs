//! Drives the city into Kafka, as a company's own services would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::city::City;
use crate::clock;
use crate::telemetry::labels::Component;
use crate::telemetry::throttle::Throttle;
use crate::telemetry::{Metrics, events};

const TICK: Duration = Duration::from_millis(100);
/// How long the last records may take once the process stops.
const LAST_DELIVERIES: Duration = Duration::from_millis(300);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What became of the records so far.
#[derive(Debug, Default)]
pub struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl Deliveries {
    #[cfg(test)]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Not taken by the broker in time, or by the full queue in front of it.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

struct Reports(Arc<Deliveries>);

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        // Each record that suffers from it is counted when its time is over.
        tracing::debug!(%error, reason, "the simulator's Kafka client reports an error");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let counter = match result {
            Ok(_) => &self.0.delivered,
            Err(_) => &self.0.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The city with its way into Kafka. Nothing happens until [`Driver::run`].
pub struct Driver {
    city: City,
    producer: BaseProducer<Reports>,
    deliveries: Arc<Deliveries>,
    topic_prefix: String,
}

impl Driver {
    pub fn new(city: City, bootstrap: &str, topic_prefix: &str) -> Result<Self, KafkaError> {
        let deliveries = Arc::new(Deliveries::default());
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("client.id", "fleetcast-demo-city")
            .set("linger.ms", "2")
            // One at a time: a retry cannot overtake, so the order per object holds.
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.timeout.ms", "2000")
            .set("queue.buffering.max.messages", "1000")
            .set("queue.buffering.max.kbytes", "4096")
            .set_log_level(RDKafkaLogLevel::Error)
            .create_with_context(Reports(Arc::clone(&deliveries)))?;
        Ok(Self {
            city,
            producer,
            deliveries,
            topic_prefix: topic_prefix.to_owned(),
        })
    }

    #[cfg(test)]
    pub fn deliveries(&self) -> Arc<Deliveries> {
        Arc::clone(&self.deliveries)
    }

    /// Runs the city until `stopping`. Never blocks: sending and polling only touch the client's queues.
    pub async fn run(mut self, metrics: Metrics, stopping: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (complaints, mut reported) = (Throttle::new(COMPLAIN_EVERY), 0);
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.tick();
            let failed = self.deliveries.failed();
            if failed > reported && complaints.allow(&(), clock::monotonic_ms()).is_some() {
                let context = "records of the simulated city do not reach the broker";
                events::fault(&metrics, Component::Demo, context, &failed);
                reported = failed;
            }
        }
        let deadline = Instant::now() + LAST_DELIVERIES;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.take_reports();
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn tick(&mut self) {
        for event in self.city.step(clock::wall_ms()) {
            let topic = format!("{}{}", self.topic_prefix, event.topic);
            let value = event.value();
            let record = BaseRecord::to(&topic).key(&event.key).payload(&value);
            let record = match i64::try_from(event.timestamp_ms) {
                Ok(timestamp) => record.timestamp(timestamp),
                Err(_) => record,
            };
            if self.producer.send(record).is_err() {
                // The queue is full because the broker is away. The city is not kept waiting: it does not repeat itself.
                self.deliveries.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.take_reports();
    }

    /// One poll takes one batch of reports; there are as many batches as partitions at most.
    fn take_reports(&self) {
        const MOST_BATCHES: usize = 32;
        for _ in 0..MOST_BATCHES {
            self.producer.poll(Duration::ZERO);
        }
    }
}
