//! Connects and disconnects as records for back-ends. What is reported and when is decided by [`ConnectionEvents`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::connection_events::{
    ConnectedUser, ConnectionEvents, ConnectionReport, ReportTime,
};
use fleetcast_core::domain::protocol::CloseReason;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Session;
use super::receipts::Kept;
use crate::clock;

/// Ends that are held for the debounce: some tens of MiB. Beyond that the oldest is reported early.
const MOST_HELD: usize = 65_536;

/// Ends are reported so late at most.
const LOOK: Duration = Duration::from_millis(250);

/// After so many ends other tasks get the thread.
const ENDS_PER_SLICE: usize = 64;

/// Where the records go. Never blocks; a full queue is an answer of false.
pub trait ConnectionSink: Send + Sync {
    /// Records of one key stay in order.
    fn keep(&self, key: &str, record: Vec<u8>) -> Kept;
}

/// Reports who connects to this instance and disconnects from it.
pub struct ConnectionReports {
    /// Which process this is.
    instance: String,
    sink: Arc<dyn ConnectionSink>,
    /// Waits for what becomes of the records, which is counted there.
    tasks: TaskTracker,
    events: Mutex<ConnectionEvents>,
}

#[derive(Serialize)]
struct ConnectionRecord<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    user_id: &'a str,
    organization_id: &'a str,
    connection_id: &'a str,
    instance: &'a str,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// RFC 3339.
    timestamp: String,
}

impl ConnectionReports {
    pub fn new(
        instance: String,
        debounce: Duration,
        sink: Arc<dyn ConnectionSink>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let debounce_ms = u64::try_from(debounce.as_millis()).unwrap_or(u64::MAX);
        Arc::new(Self {
            instance,
            sink,
            tasks,
            events: Mutex::new(ConnectionEvents::new(debounce_ms, MOST_HELD)),
        })
    }

    pub(super) fn connected(&self, session: &Session, transport: &'static str) {
        let mut events = self.lock();
        let user = user_of(session);
        let reports = events.connected(&user, &session.connection_id, transport, now());
        self.write(&events, reports);
    }

    pub(super) fn disconnected(&self, session: &Session, reason: CloseReason) {
        let mut events = self.lock();
        let user = user_of(session);
        let reports = events.disconnected(&user, session.connection_id(), reason, now());
        self.write(&events, reports);
    }

    /// Reports ends when they are due, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            while self.report_due(ENDS_PER_SLICE) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Clients that disconnect from now on do not come back to this instance, so nothing is held any more.
    pub fn stop_holding(&self) {
        let mut events = self.lock();
        let reports = events.stop_holding();
        self.write(&events, reports);
    }

    /// The process ends: all that is open or held has ended.
    pub fn end_all(&self) {
        let mut events = self.lock();
        let reports = events.end_all(CloseReason::Draining, clock::wall_ms());
        self.write(&events, reports);
    }

    /// True if there were as many as that: there may be more.
    fn report_due(&self, most: usize) -> bool {
        let mut events = self.lock();
        let held = events.held();
        let reports = events.due(clock::monotonic_ms(), most);
        self.write(&events, reports);
        held - events.held() == most
    }

    /// Under the lock, so that the records have the order of the changes.
    fn write(&self, _: &MutexGuard<'_, ConnectionEvents>, reports: Vec<ConnectionReport>) {
        for report in reports {
            let ConnectedUser { organisation, user } = &report.user;
            let record = ConnectionRecord {
                kind: report.kind.as_str(),
                user_id: user.as_str(),
                organization_id: organisation.as_str(),
                connection_id: &report.connection_id,
                instance: &self.instance,
                transport: report.transport,
                reason: report.reason.map(CloseReason::as_str),
                timestamp: clock::rfc3339(report.at),
            };
            let record = serde_json::to_vec(&record).expect("a record is plain data");
            // No organisation has a slash in its name, so the first one is where the user's begins.
            let key = format!("{}/{}", organisation.as_str(), user.as_str());
            let kept = self.sink.keep(&key, record);
            self.tasks.spawn(async {
                // Counted where it is kept.
                kept.await;
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionEvents> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn user_of(session: &Session) -> ConnectedUser {
    ConnectedUser {
        organisation: session.organisation().clone(),
        user: session.user().clone(),
    }
}

fn now() -> ReportTime {
    ReportTime {
        monotonic: clock::monotonic_ms(),
        wall: clock::wall_ms(),
    }
}
