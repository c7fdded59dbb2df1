//! How long records took from Kafka to the kernel, by whatever road they left.

use std::sync::Arc;

use fleetcast_core::domain::publication::Publication;

use crate::net::RecordStamp;
use crate::telemetry::DeliveryTimes;

/// Stamps records, and takes their times when they have left. Clones share the counts.
#[derive(Clone)]
pub(in crate::socketio) struct DeliveryStamps(Arc<DeliveryTimes>);

impl DeliveryStamps {
    pub(in crate::socketio) fn new(times: Arc<DeliveryTimes>) -> Self {
        Self(times)
    }

    /// `None`: its producer gave it no time.
    pub(in crate::socketio) fn stamp(&self, publication: &Publication) -> Option<RecordStamp> {
        Some(RecordStamp {
            event: self.0.index(&publication.event),
            timestamp: publication.timestamp?,
        })
    }

    pub(super) fn observe(&self, record: RecordStamp, wall_ms: u64) {
        let took = DeliveryTimes::elapsed(record.timestamp, wall_ms);
        self.0.observe(record.event, took);
    }
}
