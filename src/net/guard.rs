//! One per TCP connection: what the rest of the program knows of it, and the handle that closes it.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::clock;

/// Told by the stream, on the task that writes and inside its write: never blocks, never writes to the same connection.
pub trait Observer: Send + Sync {
    /// The kernel has taken the last byte of a frame. `head` is the start of its payload, at most
    /// [`HEAD_BYTES`](super::frames::HEAD_BYTES).
    fn frame_written(&self, opcode: u8, head: &[u8], payload_len: usize);
    /// Asked before a frame goes out: a reason closes the connection in its place.
    fn forbids(&self, _opcode: u8, _head: &[u8], _payload_len: usize) -> Option<&'static str> {
        None
    }
    /// The connection is closed; nothing follows.
    fn closed(&self) {}
}

/// Why a connection ended; the first cause stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The other side closed or reset it.
    Peer,
    /// We had nothing more to say: the last response is out, or the library let go of it.
    Server,
    /// No complete request head in time, or an idle connection after its last request.
    HeaderTimeout,
    /// A request body that did not come in time.
    BodyTimeout,
    /// Too many or too large request headers, or too long a target.
    HeaderLimit,
    /// Bytes that are no HTTP/1 request.
    BadHttp,
    /// The other side took no byte for the whole of `slow_client_timeout`.
    WriteStall,
    /// The other side sent on and on, and took too little of what it was sent.
    OneSided,
    /// Another part of the program said so.
    Kicked(&'static str),
}

impl CloseReason {
    /// The metric label: one of a closed list, as long as kicks name theirs from one.
    pub fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Server => "server",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::HeaderLimit => "header_limit",
            Self::BadHttp => "bad_http",
            Self::WriteStall => "write_stall",
            Self::OneSided => "one_sided",
            Self::Kicked(reason) => reason,
        }
    }
}

/// One accepted TCP connection. Every request of it carries an `Arc<Guard>` in its extensions.
///
/// It may outlive the connection (a polling session keeps the parts of its first request): it holds no file descriptor.
pub struct Guard {
    id: u64,
    peer: SocketAddr,
    /// Weak, so that the descriptor is closed with the stream and not with the last guard.
    socket: Weak<TcpStream>,
    ended: AtomicBool,
    reason: OnceLock<CloseReason>,
    upgraded: AtomicBool,
    write_blocked: AtomicBool,
    bytes_written: AtomicU64,
    frames_out: AtomicU64,
    last_heard: AtomicU64,
    observer: Mutex<Option<Arc<dyn Observer>>>,
}

impl Guard {
    pub(super) fn new(id: u64, peer: SocketAddr, socket: &Arc<TcpStream>) -> Self {
        Self {
            id,
            peer,
            socket: Arc::downgrade(socket),
            ended: AtomicBool::new(false),
            reason: OnceLock::new(),
            upgraded: AtomicBool::new(false),
            write_blocked: AtomicBool::new(false),
            bytes_written: AtomicU64::new(0),
            frames_out: AtomicU64::new(0),
            last_heard: AtomicU64::new(clock::monotonic_ms()),
            observer: Mutex::new(None),
        }
    }

    /// Closes the transport now, whatever the peer does and whoever waits in a read or a write: both fail at once, so the
    /// library runs its disconnect handlers. Stock clients take it for a lost connection and come back.
    ///
    /// What the kernel has taken already still goes out, unless the peer had stopped reading: then it is thrown away.
    pub fn kick(&self, reason: &'static str) {
        self.end(CloseReason::Kicked(reason));
    }

    /// The other end of the TCP connection; behind a proxy that is the proxy.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Unique within its [`ConnectionTable`](super::ConnectionTable), never reused; says nothing to clients.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes that the kernel has taken.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// WebSocket frames whose last byte the kernel has taken.
    pub fn frames_out(&self) -> u64 {
        self.frames_out.load(Ordering::Relaxed)
    }

    /// How long nothing that the peer sent has been read.
    pub fn not_heard_for(&self) -> Duration {
        let heard = self.last_heard.load(Ordering::Relaxed);
        Duration::from_millis(clock::monotonic_ms().saturating_sub(heard))
    }

    /// A write waits for the peer to read.
    pub fn write_blocked(&self) -> bool {
        self.write_blocked.load(Ordering::Relaxed)
    }

    /// HTTP is over: a `101` was answered.
    pub fn upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }

    /// Sets who is told of frames from now on, in place of any observer before. All namespaces of a WebSocket share the
    /// stream and hence the one observer. It is let go of when the connection ends, so it may hold this guard.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        let mut current = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        // Checked under the lock: `clear_observer` comes after the reason.
        if self.close_reason().is_none() {
            *current = Some(observer);
        }
    }

    pub(super) fn clear_observer(&self) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.observer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Remembers a cause, unless there is one.
    pub(super) fn note(&self, reason: CloseReason) {
        // A second cause is the consequence of the first.
        self.reason.set(reason).ok();
    }

    /// Ends both directions, so that whoever reads learns of a write that failed, and the other way round.
    pub(super) fn end(&self, reason: CloseReason) {
        self.note(reason);
        self.ended.store(true, Ordering::Release);
        let Some(socket) = self.socket.upgrade() else {
            return;
        };
        // Shutting down both directions wakes whoever waits for the socket: epoll reports a hang-up even with a full window.
        if let Err(error) = SockRef::from(&*socket).shutdown(Shutdown::Both)
            && error.kind() != io::ErrorKind::NotConnected
        {
            let reason = reason.label();
            tracing::debug!(%error, reason, "cannot shut a connection down; its next read or write fails");
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: usize) {
        self.bytes_written
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) {
        self.last_heard
            .store(clock::monotonic_ms(), Ordering::Relaxed);
    }

    pub(super) fn count_frame(&self) {
        self.frames_out.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("reason", &self.reason.get())
            .finish_non_exhaustive()
    }
}
