//! The lane: finished frames that are written below the library, at frame boundaries.
//!
//! A frame is encoded once and shared by all connections that it goes to. [`Guard::offer_frame`] queues it within the send budget,
//! [`Guard::push_frame`] without asking, and [`Guard::flush_lane`] writes out what is queued. Only for upgraded connections.

use std::sync::Arc;

use axum::body::Bytes;

use super::guard::Guard;

/// A finished WebSocket frame. Clones share its bytes.
#[derive(Debug, Clone)]
pub struct LaneFrame {
    bytes: Bytes,
    record: Option<RecordStamp>,
}

/// Which record a frame carries, for the time that its delivery takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordStamp {
    /// The index of the event in `telemetry::DeliveryTimes`.
    pub event: u32,
    /// Of Kafka, in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneOffer {
    /// It is queued, and so were others since the last flush.
    Queued,
    /// It is the first one that was queued since the last flush: the caller sees to the next flush.
    FirstQueued,
    /// There is no capacity. The observer's [`lane_drained`](super::Observer::lane_drained) says when there is.
    Full,
    /// The connection has ended, or a Close frame has gone out.
    Closed,
}

impl LaneFrame {
    /// `bytes`: one whole WebSocket frame, unmasked.
    pub fn new(bytes: impl Into<Bytes>, record: Option<RecordStamp>) -> Self {
        Self {
            bytes: bytes.into(),
            record,
        }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn record(&self) -> Option<RecordStamp> {
        self.record
    }
}

impl Guard {
    /// Queues a frame if the send budget allows it. An empty queue takes any one.
    pub fn offer_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.writer().offer_frame(frame)
    }

    /// Queues a frame without a limit: an answer, after [`lane_has_capacity`](Self::lane_has_capacity).
    pub fn push_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.writer().push_frame(frame)
    }

    /// Whether an answer to a command may be queued now.
    pub fn lane_has_capacity(&self) -> bool {
        self.writer().lane_has_capacity()
    }

    /// Writes out what is queued, as much as the kernel takes; the rest goes out when it takes more. Not to be called under the
    /// hub's lock, nor by an observer.
    pub fn flush_lane(self: &Arc<Self>) {
        let observer = self.observer();
        if let Err(error) = self.writer().flush_lane(observer.as_deref()) {
            tracing::debug!(?error, "cannot write");
        }
    }
}
