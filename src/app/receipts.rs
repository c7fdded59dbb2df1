//! Receipts into their topic.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::client_settings;
use crate::kafka::{OutgoingRecord, Producer};
use crate::session::receipts::{CountOnly, Kept, Receipts};
use crate::settings::KafkaSettings;
use crate::telemetry::{Metrics, events};

/// A receipt that is not written by then is lost, and counted.
const DELIVERY: Duration = Duration::from_secs(10);

/// At the end of the process, for receipts that are still on their way.
const LAST_WRITES: Duration = Duration::from_secs(2);

struct ReceiptsTopic {
    name: Arc<str>,
    producer: Producer,
    metrics: Metrics,
}

impl Receipts for ReceiptsTopic {
    fn keep(&self, key: &str, receipt: Vec<u8>) -> Kept {
        let written = self.producer.write(OutgoingRecord {
            topic: &self.name,
            key: Some(key),
            value: &receipt,
            headers: &[],
        });
        let metrics = self.metrics.clone();
        Box::pin(async move {
            match written.await {
                Ok(_) => {
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
    let producer = Producer::new(&client_settings(kafka), DELIVERY)
        .context("cannot create the producer of receipts")?;
    let receipts = ReceiptsTopic {
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
