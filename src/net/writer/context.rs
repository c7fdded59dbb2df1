//! What the writers of all connections of a listener share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::net::RecordObserver;

pub(in crate::net) struct WriterContext {
    /// A write of which the peer takes nothing for so long ends the connection.
    pub(in crate::net) deadline: Duration,
    /// Calls to the kernel that wrote at least one byte of a frame of the lane.
    pub(in crate::net) lane_writes: Arc<AtomicU64>,
    pub(in crate::net) records: Arc<dyn RecordObserver>,
    /// Where pumps run.
    pub(in crate::net) tracker: TaskTracker,
    /// A flush may come from any thread.
    pub(in crate::net) runtime: Handle,
}

impl WriterContext {
    /// Of the runtime that it is called on.
    pub(in crate::net) fn new(
        deadline: Duration,
        lane_writes: Arc<AtomicU64>,
        records: Arc<dyn RecordObserver>,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            lane_writes,
            records,
            tracker,
            runtime: Handle::current(),
        })
    }
}
