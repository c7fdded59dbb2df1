//! Every open TCP connection of a listener, and what became of the others.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::guard::{ConnectionEnd, Guard};
use super::lane::RecordObserver;
use super::peers::PeerSlot;
use super::writer::{FrameWriter, WriterContext};

/// What a listener has seen since the start. The caller shows it as metrics when it is asked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetStats {
    pub open: usize,
    pub accepted: u64,
    /// Answered 503 because the listener was full, or closed in favour of a later one.
    pub refused: u64,
    /// Answered 429 because the peer had as many as it may have.
    pub refused_peers: u64,
    /// Failures of `accept` itself, such as no file descriptor left.
    pub accept_errors: u64,
    /// Calls to the kernel that wrote at least one byte of a frame of the lane.
    pub lane_writes: u64,
    /// By [`ConnectionEnd::label`].
    pub closed: BTreeMap<&'static str, u64>,
}

/// The open connections of a listener. A connection is in it exactly as long as its socket is open, also after an upgrade.
pub struct ConnectionTable {
    open: Mutex<HashMap<u64, OpenConnection>>,
    closed: Mutex<BTreeMap<&'static str, u64>>,
    /// The most that were open at a time, since it was asked for.
    peak: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    refused_peers: AtomicU64,
    accept_errors: AtomicU64,
    lane_writes: Arc<AtomicU64>,
    records: Arc<dyn RecordObserver>,
}

struct OpenConnection {
    guard: Arc<Guard>,
    /// Held for as long as the socket is open.
    _slot: Option<PeerSlot>,
}

impl ConnectionTable {
    /// `records` is notified of the records that leave by the lanes of these connections.
    pub fn new(records: Arc<dyn RecordObserver>) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            closed: Mutex::default(),
            peak: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_peers: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            lane_writes: Arc::default(),
            records,
        })
    }

    pub fn len(&self) -> usize {
        self.open().len()
    }

    pub fn is_empty(&self) -> bool {
        self.open().is_empty()
    }

    /// All that are open now, in no order: idle keep-alive connections, held polls and upgraded ones alike. For the drain,
    /// which shuffles it and kicks one after another.
    pub fn snapshot(&self) -> Vec<Arc<Guard>> {
        self.open().values().map(|it| it.guard.clone()).collect()
    }

    /// The most connections that were open at a time since the last call, and how many are open now.
    pub fn take_peak(&self) -> (usize, usize) {
        let open = self.open();
        let now = open.len();
        (self.peak.swap(now, Ordering::Relaxed).max(now), now)
    }

    pub fn stats(&self) -> NetStats {
        NetStats {
            open: self.len(),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            refused_peers: self.refused_peers.load(Ordering::Relaxed),
            accept_errors: self.accept_errors.load(Ordering::Relaxed),
            lane_writes: self.lane_writes.load(Ordering::Relaxed),
            closed: self
                .closed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    pub(super) fn insert(
        &self,
        tcp_peer: SocketAddr,
        writer: FrameWriter,
        slot: Option<PeerSlot>,
    ) -> Arc<Guard> {
        let id = self.accepted.fetch_add(1, Ordering::Relaxed);
        let guard = Arc::new(Guard::new(id, tcp_peer, writer));
        let mut open = self.open();
        let connection = OpenConnection {
            guard: guard.clone(),
            _slot: slot,
        };
        open.insert(id, connection);
        self.peak.fetch_max(open.len(), Ordering::Relaxed);
        guard
    }

    /// The socket of this guard closes now.
    pub(super) fn remove(&self, guard: &Guard) {
        self.open().remove(&guard.id());
        let reason = guard.close_reason().unwrap_or(ConnectionEnd::Server);
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        *closed.entry(reason.label()).or_default() += 1;
    }

    /// What the writers of its connections share. To be called on the runtime that they write on.
    pub(super) fn writers(&self, deadline: Duration, tracker: TaskTracker) -> Arc<WriterContext> {
        let (calls, records) = (self.lane_writes.clone(), self.records.clone());
        WriterContext::new(deadline, calls, records, tracker)
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused_peer(&self) {
        self.refused_peers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, OpenConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
