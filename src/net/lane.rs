//! The lane: finished frames that are written below the library, at frame boundaries.
//!
//! A frame is encoded once and shared by all connections that it goes to. [`Guard::offer_frame`] queues it within the send budget,
//! [`Guard::push_frame`] without asking, and [`Guard::flush_lane`] writes out what is queued. Only for upgraded connections.

use std::sync::Arc;

use super::guard::Guard;
use super::lane_flush::LaneFlush;
use crate::telemetry::DeliveryTimes;

/// A finished WebSocket frame. Clones share its bytes.
#[derive(Debug, Clone)]
pub struct LaneFrame(Arc<FrameBytes>);

#[derive(Debug)]
struct FrameBytes {
    bytes: Vec<u8>,
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

/// Is notified of every record that has left by a lane. One for all connections of a listener.
pub trait RecordObserver: Send + Sync {
    /// The kernel has taken the last byte of `count` frames that carry records with this stamp. `wall_ms`: about when, in milliseconds
    /// since the Unix epoch; one reading of the clock serves several writes. May be called under the lock of a writer: it never blocks.
    fn records_written(&self, record: RecordStamp, count: u64, wall_ms: u64);
}

impl RecordObserver for DeliveryTimes {
    fn records_written(&self, record: RecordStamp, count: u64, wall_ms: u64) {
        let elapsed = Self::elapsed(record.timestamp, wall_ms);
        self.observe_many(record.event, elapsed, count);
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneOffer {
    /// It is queued, and its flush is seen to: by the caller that was answered [`FirstQueued`](Self::FirstQueued), or, while the kernel
    /// takes no more, by the connection's pump.
    Queued,
    /// It is the first one that was queued since the last flush: the caller sees to the next flush.
    FirstQueued,
    /// There is no capacity. The observer's [`lane_drained`](super::Observer::lane_drained) says when there is, or the connection
    /// ends.
    ///
    /// It is called once, at any time from now on and maybe on another thread. A caller that notes only now who waits for it may
    /// have missed it, and offers once more after that.
    Full,
    /// The connection has ended, or a Close frame has gone out.
    Closed,
}

impl LaneFrame {
    /// `bytes`: one whole WebSocket frame, unmasked.
    pub fn new(bytes: Vec<u8>, record: Option<RecordStamp>) -> Self {
        Self(Arc::new(FrameBytes { bytes, record }))
    }

    /// Header included.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// They share their bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn record(&self) -> Option<RecordStamp> {
        self.0.record
    }
}

impl Guard {
    /// Brings what [`offer_frame`](Self::offer_frame) and [`flush_lane`](Self::flush_lane) work on into the processor's caches. Their locks
    /// make each wait for its own memory; looking ahead for several waits for all of it at once.
    pub fn look_ahead(&self) {
        std::hint::black_box(self.writer().look_ahead());
    }

    /// Queues a frame if the send budget allows it. An empty queue takes any one. It is not written before the next flush, and behind
    /// everything that was queued or written before.
    pub fn offer_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.writer().offer_frame(frame)
    }

    /// Queues a frame without a limit: an answer, after [`lane_has_capacity`](Self::lane_has_capacity).
    pub fn push_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.writer().push_frame(frame)
    }

    /// Whether an answer to a command may be queued now. If not, [`lane_drained`](super::Observer::lane_drained) says when, as after
    /// [`LaneOffer::Full`].
    pub fn lane_has_capacity(&self) -> bool {
        self.writer().lane_has_capacity()
    }

    /// Writes out what is queued, as much as the kernel takes; the rest goes out when it takes more. May end the connection, so it is not
    /// to be called under a lock, nor by an observer.
    pub fn flush_lane(self: &Arc<Self>, flush: &mut LaneFlush) {
        let flushed = self.writer().flush_lane(flush);
        self.start_pump();
        if let Err(error) = flushed {
            self.end_failed(&error);
        }
    }
}
