//! Records of our own topics: receipts, and who connects and disconnects. Each topic has a producer of its own, so that a full queue of
//! one loses nothing of the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::client_settings;
use crate::kafka::{OutgoingRecord, Producer, WriteError};
use crate::lifecycle::Lifecycle;
use crate::session::receipts::{CountOnly, Kept, Receipts};
use crate::session::{ConnectionReports, ConnectionSink};
use crate::settings::KafkaSettings;
use crate::telemetry::{Metrics, events};

/// A record that is not written by then is lost, and counted.
const DELIVERY: Duration = Duration::from_secs(10);

/// At the end of the process, for records that are still on their way.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// One of our topics. Clones write to the same.
#[derive(Clone)]
pub(super) struct ServiceTopic {
    name: Arc<str>,
    producer: Producer,
    metrics: Metrics,
    outcome: RecordOutcomes,
}

/// How what became of a record is counted.
#[derive(Clone, Copy)]
struct RecordOutcomes {
    kept: fn(&Metrics),
    lost: fn(&Metrics, &WriteError),
}

impl ServiceTopic {
    fn open(
        name: &str,
        outcome: RecordOutcomes,
        kafka: &KafkaSettings,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let producer = Producer::new(&client_settings(kafka), DELIVERY)
            .with_context(|| format!("cannot create the producer of topic {name}"))?;
        Ok(Self {
            name: name.into(),
            producer,
            metrics: metrics.clone(),
            outcome,
        })
    }

    /// Records of one key stay in order.
    fn write(&self, key: &str, value: &[u8]) -> Kept {
        let written = self.producer.write(OutgoingRecord {
            topic: &self.name,
            key: Some(key),
            value,
            headers: &[],
        });
        let (metrics, RecordOutcomes { kept, lost }) = (self.metrics.clone(), self.outcome);
        Box::pin(async move {
            match written.await {
                Ok(_) => {
                    kept(&metrics);
                    true
                }
                Err(error) => {
                    lost(&metrics, &error);
                    false
                }
            }
        })
    }

    /// Gives the last records their time.
    pub(super) async fn flush(self) {
        let Self { name, producer, .. } = self;
        // Waiting blocks a thread; the loop still closes connections meanwhile.
        let flushed = tokio::task::spawn_blocking(move || producer.flush(LAST_WRITES)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            events::records_on_their_way(&name);
        }
    }
}

impl Receipts for ServiceTopic {
    fn keep(&self, key: &str, receipt: Vec<u8>) -> Kept {
        self.write(key, &receipt)
    }
}

impl ConnectionSink for ServiceTopic {
    fn keep(&self, key: &str, record: Vec<u8>) -> Kept {
        self.write(key, &record)
    }
}

/// What keeps the receipts, and what to flush once the last one has been handed over.
pub(super) fn receipts(
    kafka: &KafkaSettings,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<dyn Receipts>, Option<ServiceTopic>)> {
    let Some(name) = &kafka.receipts_topic else {
        return Ok((Arc::new(CountOnly), None));
    };
    let outcome = RecordOutcomes {
        kept: events::receipt_kept,
        lost: events::receipt_lost,
    };
    let topic = ServiceTopic::open(name, outcome, kafka, metrics)?;
    Ok((Arc::new(topic.clone()), Some(topic)))
}

/// Reports of connects and disconnects, and where they go.
#[derive(Clone)]
pub(super) struct ReportedConnections {
    pub(super) reports: Arc<ConnectionReports>,
    pub(super) topic: ServiceTopic,
}

/// `None`: there is no topic for them.
pub(super) fn connections(
    kafka: &KafkaSettings,
    instance: &str,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Option<ReportedConnections>> {
    let Some(name) = &kafka.connections_topic else {
        return Ok(None);
    };
    let outcome = RecordOutcomes {
        kept: events::connection_event_kept,
        lost: events::connection_event_lost,
    };
    let topic = ServiceTopic::open(name, outcome, kafka, metrics)?;
    let sink = Arc::new(topic.clone());
    let debounce = kafka.connections_debounce;
    let reports = ConnectionReports::new(instance.to_owned(), debounce, sink, lifecycle.tasks());
    Ok(Some(ReportedConnections { reports, topic }))
}

/// A name of this process that no other one has, now or later: host, process id and a random number.
pub(super) fn instance() -> Arc<str> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let (pid, random) = (std::process::id(), rand::random::<u32>());
    format!("{host}-{pid}-{random:08x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_processes_have_one_name() {
        let (one, other) = (instance(), instance());
        assert_ne!(one, other);
        assert!(one.contains(&format!("-{}-", std::process::id())), "{one}");
    }
}
