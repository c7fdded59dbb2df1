//! Bytes, no Socket.IO: how TCP connections come in, what is known of each, and how they end.
//!
//! - `accept`: the loop; caps, back-off, hyper per connection
//! - `peers`: how many connections one peer may have
//! - `preamble`: what a proxy says of its client before the first request
//! - `request`: what is done to each request before the router sees it
//! - `stream`: the stream below hyper and the library
//! - `writer`: the one writer of a connection, with its queue and its deadline
//! - `lane`, `lane_flush`: finished frames from elsewhere, through the same writer; one flush of many connections
//! - `pump`: the task that writes while the kernel does not take all
//! - `drain_rate`: how much may be in flight to a client, by what it has taken lately
//! - `observer`: is notified of frames, and may stop or change some
//! - `frames`, `frame_start`: WebSocket frames in what goes out
//! - `head_deadline`, `inbound_frames`: how long a request head may take, and WebSocket frames in what comes in
//! - `socket`: what bytes are read from and written to; the place of TLS and PROXY protocol
//! - `guard`: the handle that closes a connection, in the extensions of its requests
//! - `table`: all open connections, for the drain and for metrics
//! - `delivery`, `send_queue`: whether a response has reached its peer, as far as TCP shows
//! - `descriptors`: how many connections the process can hold at all
//!
//! ```text
//! accept ── ConnectionTable ── Guard ◄── request extensions, sessions, drain (kick)
//!    └─ hyper ── GuardedStream ──┴─ FrameWriter ──► Socket
//!               lane ────────┘             └──► Observer (send budget: what has left, close packets)
//! ```
//!
//! `axum::serve` would not do: it sets no deadline for request heads, no limits, and gives no handle to a connection.

mod accept;
mod delivery;
mod descriptors;
pub mod drain_rate;
mod frame_start;
mod frames;
mod guard;
mod head_deadline;
mod inbound_frames;
mod lane;
mod lane_flush;
#[cfg(test)]
mod memory;
mod observer;
mod peers;
mod preamble;
mod pump;
mod request;
mod send_queue;
mod socket;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod timed_body;
mod websocket_request;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::client_address::TrustedProxies;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub use accept::{Stopping, serve};
pub use delivery::DeliveryWatch;
pub use descriptors::raise_descriptor_limit;
pub use frame_start::append_text_frame;
pub use guard::{ConnectionEnd, Guard};
pub use lane::{LaneFrame, LaneOffer, RecordObserver, RecordStamp};
pub use lane_flush::LaneFlush;
pub use observer::{FrameAnswer, FrameHead, HEAD_BYTES, MESSAGE_HEAD, MOST_INSPECTED, Observer};
pub use peers::{PeerAdmission, PeerLimit, PeerSlot};
pub use stream::GuardedStream;
pub use table::{ConnectionTable, NetStats};
pub use timed_body::BodyLimits;

/// Connections that the kernel keeps for us while the loop is busy: a whole fleet reconnects at once after a deploy.
const BACKLOG: u32 = 4096;

/// Less would wake a fast connection more often; more is time that a ping loses on the way to a slow one.
const UNSENT: u32 = 16 * 1024;

/// Left to itself Linux lets it grow to megabytes, which each client that stops would hold. About so much may leave in a round
/// trip: over one of 200 ms that is 320 KB/s.
const SEND_BUFFER: usize = 64 * 1024;

/// What a listener allows.
#[derive(Debug, Clone)]
pub struct NetSettings {
    /// For a complete request head, from the accept, and on a kept connection from its first byte.
    pub header_timeout: Duration,
    /// How long a connection is kept between two requests, announced to clients; whole seconds, and zero: not at all.
    pub keep_alive: Duration,
    /// For a request body.
    pub body: BodyLimits,
    /// A write of which the peer takes no byte for so long ends the connection.
    pub slow_client_timeout: Duration,
    /// `TCP_USER_TIMEOUT`: ends peers that have vanished while all of ours waits in the kernel. Well above
    /// `slow_client_timeout`, because the kernel counts from the first loss or closed window of a bad spell, and cuts a
    /// peer that reads slowly in the midst of its progress (seen 230 ms after the last bytes with a limit of 1 s).
    pub user_timeout: Duration,
    /// Bytes that the kernel keeps for a connection, sent and not acknowledged or not sent yet; Linux doubles the number for
    /// its own use.
    pub send_buffer: usize,
    /// `TCP_NOTSENT_LOWAT`: bytes that the kernel takes ahead of what it may send. A ping waits behind them, and behind
    /// the whole send buffer if there is no such limit.
    pub unsent: u32,
    /// Open TCP connections; over it only [`reserve_paths`](Self::reserve_paths) are answered.
    pub max_connections: usize,
    /// Connections on top of `max_connections`. When they are taken, too, the oldest of them is closed.
    pub reserve: usize,
    /// Connections that one peer may have. `None`: no limit. Beyond it only [`reserve_paths`](Self::reserve_paths) are answered,
    /// anything else gets 429.
    pub peers: Option<Arc<dyn PeerLimit>>,
    /// Connections of these proxies begin with a PROXY preamble; those of all others never do.
    pub preambles_from: TrustedProxies,
    /// What is answered over `max_connections`; anything else gets 503 with Retry-After.
    pub reserve_paths: &'static [&'static str],
}

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
pub struct NetTimeouts {
    pub slow_client_timeout: Duration,
    pub keep_alive: Duration,
}

impl NetSettings {
    /// For the public listener. `sessions` are counted elsewhere; a polling one has two connections at times, and there are
    /// those without a session, so the cap here is generous. But it leaves a quarter of the file `descriptors` to the rest
    /// of the process: running out of them would take Kafka and the probes down with the clients.
    pub fn public(sessions: usize, timeouts: NetTimeouts, descriptors: usize) -> Self {
        let reserve = (descriptors / 8).clamp(8, 64);
        let wanted = sessions.saturating_mul(2).saturating_add(1000);
        let possible = (descriptors - descriptors / 4)
            .saturating_sub(reserve)
            .max(1);
        if possible < wanted {
            tracing::warn!(
                wanted,
                possible,
                descriptors,
                "the limit of open files caps connections; raise it (ulimit -n)"
            );
        }
        Self {
            max_connections: wanted.min(possible),
            reserve,
            reserve_paths: &["/health", "/ready"],
            ..Self::common(timeouts)
        }
    }

    /// For the internal listener: few connections, out of the quarter that the public one leaves.
    pub fn internal(timeouts: NetTimeouts, descriptors: usize) -> Self {
        Self {
            max_connections: (descriptors / 16).clamp(8, 256),
            reserve: 8,
            reserve_paths: &["/health", "/ready", "/metrics"],
            ..Self::common(timeouts)
        }
    }

    /// What all listeners have, without a cap.
    fn common(timeouts: NetTimeouts) -> Self {
        let slow_client_timeout = timeouts.slow_client_timeout;
        Self {
            header_timeout: Duration::from_secs(5),
            keep_alive: timeouts.keep_alive,
            body: BodyLimits::default(),
            slow_client_timeout,
            user_timeout: slow_client_timeout.saturating_mul(2),
            send_buffer: SEND_BUFFER,
            unsent: UNSENT,
            max_connections: usize::MAX,
            reserve: 0,
            peers: None,
            preambles_from: TrustedProxies::default(),
            reserve_paths: &[],
        }
    }

    /// Makes an accepted socket ours.
    fn apply(&self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let options = SockRef::from(socket);
        options.set_send_buffer_size(self.send_buffer)?;
        options.set_tcp_notsent_lowat(self.unsent)?;
        options.set_tcp_user_timeout(Some(self.user_timeout))
    }
}

/// Opens a listener; port 0 picks a free one.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
