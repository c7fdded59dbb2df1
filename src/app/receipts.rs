//! Receipts into their topic.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::kafka::Producer;
use crate::session::receipts::{CountOnly, Kept, Receipts};
use crate::settings::KafkaSettings;
use crate::telemetry::{Metrics, events};

/// At the end of the process, for receipts that are still on their way.
const LAST_WRITES: Duration = Duration::from_secs(2);

struct Topic {
    name: Arc<str>,
    producer: Producer,
    metrics: Metrics,
}

impl Receipts for Topic {
    fn keep(&self, key: &str, receipt: Vec<u8>) -> Kept {
        let written = self.producer.write(&self.name, key, &receipt);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            match written.await {
                Ok(()) => {
                    events::receipt_kept(&metrics);
                    true
                }
                Err(error) => {
                    events::receipt_lost(&metrics, &error);
                    false
                }
            }
        })
    }
}

/// What keeps the receipts, and what to call once the last one has been handed over.
pub(super) fn open(
    kafka: &KafkaSettings,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<dyn Receipts>, Option<Producer>)> {
    let Some(topic) = &kafka.receipts_topic else {
        return Ok((Arc::new(CountOnly), None));
    };
    let client_id = "fleetcast-receipts";
    let producer = Producer::new(&kafka.bootstrap_servers, &kafka.properties, client_id)
        .context("cannot create the producer of receipts")?;
    let receipts = Topic {
        name: topic.as_str().into(),
        producer: producer.clone(),
        metrics: metrics.clone(),
    };
    Ok((Arc::new(receipts), Some(producer)))
}

/// Gives the last receipts their time.
pub(super) async fn flush(producer: Producer) {
    // Waiting blocks a thread; the loop still closes connections meanwhile.
    let flushed = tokio::task::spawn_blocking(move || producer.flush(LAST_WRITES)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("receipts were still on their way at the end");
    }
}
