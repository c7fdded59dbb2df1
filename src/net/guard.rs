//! One per TCP connection: what the rest of the program knows of it, and the handle that closes it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::delivery::ResponseDelivery;
use super::observer::Observer;
use super::writer::FrameWriter;
use crate::clock;

/// Why a connection ended; the first cause stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The other side closed or reset it.
    Peer,
    /// We had nothing more to say: the last response is out, or the library dropped it.
    Server,
    /// No complete request head in time, or none at all for the time that an idle connection is kept.
    HeaderTimeout,
    /// A request body that did not come in time.
    BodyTimeout,
    /// Too many or too large request headers, or too long a target.
    HeaderLimit,
    /// Bytes that are no HTTP/1 request.
    BadHttp,
    /// A request for a WebSocket that is not as RFC 6455 says.
    BadUpgrade,
    /// The other side took no byte for the whole of `slow_client_timeout`.
    WriteStall,
    /// The other side sent on and on, and took too little of what it was sent.
    OneSided,
    /// A proxy that must send a PROXY preamble sent none, or not in time.
    ProxyPreamble,
    /// Another part of the program said so.
    Kicked(&'static str),
}

impl ConnectionEnd {
    /// Why a connection ends of which a write has failed.
    pub(super) fn of_write(error: &io::Error) -> Self {
        // Our deadline, or TCP_USER_TIMEOUT.
        if error.kind() == io::ErrorKind::TimedOut {
            Self::WriteStall
        } else {
            Self::Peer
        }
    }

    /// The metric label: one of a closed list, as long as kicks name theirs from one.
    pub fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Server => "server",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::HeaderLimit => "header_limit",
            Self::BadHttp => "bad_http",
            Self::BadUpgrade => "bad_upgrade",
            Self::WriteStall => "write_stall",
            Self::OneSided => "one_sided",
            Self::ProxyPreamble => "proxy_preamble",
            Self::Kicked(reason) => reason,
        }
    }
}

/// One accepted TCP connection. Every request of it carries an `Arc<Guard>` in its extensions.
///
/// It may outlive the connection (a polling session keeps the parts of its first request): its writer lets the file
/// descriptor go with the stream.
///
/// The writer stands first in memory, next to the counts of the `Arc`: see [`FrameWriter`].
#[repr(C)]
pub struct Guard {
    writer: FrameWriter,
    id: u64,
    tcp_peer: SocketAddr,
    /// Where a proxy says that the connection comes from.
    client: OnceLock<SocketAddr>,
    ended: AtomicBool,
    reason: OnceLock<ConnectionEnd>,
    upgraded: AtomicBool,
    reads_messages: AtomicBool,
    /// Requests that have come whole in their heads, and those of them that were answered.
    requests: AtomicU64,
    answered: AtomicU64,
    last_heard: AtomicU64,
    delivery: ResponseDelivery,
}

impl Guard {
    pub(super) fn new(id: u64, tcp_peer: SocketAddr, writer: FrameWriter) -> Self {
        Self {
            writer,
            id,
            tcp_peer,
            client: OnceLock::new(),
            ended: AtomicBool::new(false),
            reason: OnceLock::new(),
            upgraded: AtomicBool::new(false),
            reads_messages: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            last_heard: AtomicU64::new(clock::monotonic_ms()),
            delivery: ResponseDelivery::default(),
        }
    }

    /// Closes the transport now, whatever the peer does and whichever task waits in a read or a write: both fail at once, so the
    /// library runs its disconnect handlers. Stock clients take it for a lost connection and reconnect.
    ///
    /// What the kernel has taken already still goes out, unless the peer had stopped reading: then it is discarded. Never
    /// to be called by an [`Observer`] of this connection while it is notified of what goes out: there it answers
    /// [`Close`](super::FrameAnswer::Close) instead.
    pub fn kick(&self, reason: &'static str) {
        self.end(ConnectionEnd::Kicked(reason));
    }

    /// The client, if a proxy in front has named it; else the other end of the TCP connection.
    pub fn peer(&self) -> SocketAddr {
        self.client.get().copied().unwrap_or(self.tcp_peer)
    }

    /// The other end of the TCP connection.
    pub fn tcp_peer(&self) -> SocketAddr {
        self.tcp_peer
    }

    /// What a PROXY preamble has named, if the connection began with one.
    pub fn named_peer(&self) -> Option<SocketAddr> {
        self.client.get().copied()
    }

    /// What the proxy says of the client, in a header that comes after the accept and before the first request. Only the
    /// first call counts.
    pub fn set_peer(&self, client: SocketAddr) {
        self.client.get_or_init(|| client);
    }

    /// Unique within its [`ConnectionTable`](super::ConnectionTable), never reused; says nothing to clients.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How long nothing that the peer sent has been read.
    pub fn not_heard_for(&self) -> Duration {
        let heard = self.last_heard.load(Ordering::Relaxed);
        Duration::from_millis(clock::monotonic_ms().saturating_sub(heard))
    }

    /// A write waits for the peer to read, or a part of one.
    pub fn write_blocked(&self) -> bool {
        self.writer.is_blocked()
    }

    /// HTTP is over: a `101` was answered.
    pub fn upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// The messages of the client are followed from the first one on, so those that answer frames of the lane are seen.
    pub fn reads_messages(&self) -> bool {
        self.reads_messages.load(Ordering::Relaxed)
    }

    pub(super) fn set_reads_messages(&self) {
        self.reads_messages.store(true, Ordering::Relaxed);
    }

    /// `None` while it is open.
    pub fn close_reason(&self) -> Option<ConnectionEnd> {
        self.reason.get().copied()
    }

    /// Notifies this observer of frames from now on, in place of any before. All namespaces of a WebSocket share the
    /// stream and hence the one observer. It is dropped when the connection ends, so it may hold this guard.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        // Checked under the writer's lock: `clear_observer` comes after the reason.
        self.writer
            .observe(|| self.close_reason().is_none().then_some(observer));
    }

    /// Notifies no observer from now on, not even that the connection is closed.
    pub fn clear_observer(&self) {
        self.writer.observe(|| None);
    }

    pub(super) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.writer.observer()
    }

    /// Remembers a cause, unless there is one.
    pub(super) fn note(&self, reason: ConnectionEnd) {
        // A second cause is the consequence of the first.
        self.reason.set(reason).ok();
    }

    /// Ends both directions, so that the reading task learns of a write that failed, and the other way round. Takes the
    /// writer's lock.
    pub(super) fn end(&self, reason: ConnectionEnd) {
        self.note(reason);
        self.ended.store(true, Ordering::Release);
        if let Err(error) = self.writer.abort() {
            let reason = reason.label();
            tracing::debug!(%error, reason, "cannot shut a connection down; its next read or write fails");
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
        self.writer.expect_upgrade();
    }

    pub(super) fn writer(&self) -> &FrameWriter {
        &self.writer
    }

    /// The head of a request has come.
    pub(super) fn request_began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Its answer is handed over.
    pub(super) fn request_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Between two requests, or before the first.
    pub(super) fn is_idle(&self) -> bool {
        self.requests() == self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn delivery(&self) -> &ResponseDelivery {
        &self.delivery
    }

    pub(super) fn heard(&self) {
        self.last_heard
            .store(clock::monotonic_ms(), Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("id", &self.id)
            .field("peer", &self.peer())
            .field("reason", &self.reason.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::super::memory::MemorySocket;
    use super::super::table::ConnectionTable;
    use super::*;
    use crate::telemetry::Metrics;

    impl Guard {
        /// Of a connection in memory.
        pub(crate) fn in_memory(tcp_peer: SocketAddr) -> Self {
            let table = ConnectionTable::new(Metrics::new().delivery_times.clone());
            let context = table.writers(Duration::from_secs(1), TaskTracker::new());
            Self::new(0, tcp_peer, FrameWriter::new(MemorySocket::new(), context))
        }
    }

    #[tokio::test]
    async fn peer_is_the_tcp_peer_until_a_proxy_names_the_client() {
        let [tcp, client, other] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let guard = Guard::in_memory(tcp);
        assert_eq!(guard.peer(), tcp);
        guard.set_peer(client);
        guard.set_peer(other);
        assert_eq!(guard.peer(), client, "the first call counts");
    }
}
