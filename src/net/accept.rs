//! The accept loop. It continues after every error, does not spin, and keeps capacity for probes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::NetSettings;
use super::guard::{ConnectionEnd, Guard};
use super::head_deadline::HeadDeadline;
use super::peers::PeerAdmission;
use super::preamble;
use super::request::{self, Entrance, KeepAlive, ReservedAnswers};
use super::socket::layered;
use super::stream::GuardedStream;
use super::table::ConnectionTable;
use super::writer::{FrameWriter, WriterContext};
use crate::telemetry::events;
use crate::telemetry::throttle::Throttle;

/// hyper's buffer, and with it the limit of a request head.
const MAX_HEAD: usize = 16 * 1024;
/// An idle connection is kept so much longer than announced: the client, or the proxy in front, is the one that closes it, and
/// no request meets a connection that closes.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
/// Over the cap a connection has little time.
const RESERVE_HEADER_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST_BACK_OFF: Duration = Duration::from_millis(500);

/// The two steps of the end.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Connections are not kept behind their answers any more.
    pub drain: CancellationToken,
    /// The listener closes.
    pub accepting: CancellationToken,
}

/// Serves `router` on `listener` until the end of accepting, then closes the listener. Connections live on, on `tracker`,
/// until their peers or the caller's drain (`table.snapshot()`, [`Guard::kick`]) end them; to answer newcomers with 503
/// during the drain, let the router do it and end accepting after the drain.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: NetSettings,
    table: Arc<ConnectionTable>,
    tracker: TaskTracker,
    stop: Stopping,
) {
    let mut acceptor = Acceptor {
        writers: table.writers(settings.slow_client_timeout, tracker.clone()),
        http: http(settings.header_timeout, settings.keep_alive),
        reserve_http: http(settings.header_timeout, Duration::ZERO),
        drain: stop.drain,
        reserve: VecDeque::new(),
        router,
        settings,
        table,
        tracker,
    };
    let mut back_off = FIRST_BACK_OFF;
    let log = Throttle::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.accepting.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                back_off = FIRST_BACK_OFF;
                if let Err(error) = acceptor.admit(socket, peer) {
                    tracing::debug!(%error, %peer, "a connection was gone before it was served");
                }
            }
            Err(error) if concerns_one_connection(&error) => acceptor.table.count_accept_error(),
            Err(error) => {
                // No descriptor or no memory, mostly: the connection stays in the backlog, and asking again at once would
                // only burn the processor.
                acceptor.table.count_accept_error();
                events::accept_failed(&log, &error);
                acceptor.close_oldest_reserve();
                tokio::select! {
                    () = stop.accepting.cancelled() => return,
                    () = sleep(back_off) => {}
                }
                back_off = (back_off * 2).min(LONGEST_BACK_OFF);
            }
        }
    }
}

struct Acceptor {
    http: http1::Builder,
    reserve_http: http1::Builder,
    drain: CancellationToken,
    /// Connections over the cap, oldest first; some of them may have ended.
    reserve: VecDeque<Arc<Guard>>,
    router: Router,
    settings: NetSettings,
    table: Arc<ConnectionTable>,
    tracker: TaskTracker,
    writers: Arc<WriterContext>,
}

impl Acceptor {
    fn admit(&mut self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        self.settings.apply(&socket)?;
        let full = self.table.len() >= self.settings.max_connections;
        let admission = (self.settings.peers.as_ref())
            .map_or(PeerAdmission::Exempt, |peers| peers.admit(peer.ip()));
        let too_many = matches!(admission, PeerAdmission::Refused);
        let slot = match admission {
            PeerAdmission::Counted(slot) => Some(slot),
            PeerAdmission::Exempt | PeerAdmission::Refused => None,
        };
        let socket = layered(socket);
        let writer = FrameWriter::new(socket.clone(), self.writers.clone());
        let guard = self.table.insert(peer, writer, slot);
        let mut head_timeout = self.settings.header_timeout;
        if full || too_many {
            head_timeout = head_timeout.min(RESERVE_HEADER_TIMEOUT);
        }
        let preamble = (self.settings.preambles_from.contains(peer.ip())).then(|| socket.clone());
        let idle_timeout = self.settings.keep_alive + KEEP_ALIVE_MARGIN;
        let deadline = HeadDeadline::new(head_timeout, idle_timeout);
        let stream = GuardedStream::new(socket, guard.clone(), self.table.clone(), deadline);
        if too_many && !full {
            self.table.count_refused_peer();
        }
        if full {
            self.table.count_refused();
            self.reserve.retain(|guard| guard.close_reason().is_none());
            if self.reserve.len() >= self.settings.reserve {
                self.close_oldest_reserve();
            }
            self.reserve.push_back(guard.clone());
        }
        let entrance = Entrance {
            router: self.router.clone(),
            guard: guard.clone(),
            body: self.settings.body,
            keep_alive: KeepAlive {
                table: self.table.clone(),
                most: self.settings.max_connections / 4 * 3,
                timeout: self.settings.keep_alive,
                drain: self.drain.clone(),
            },
            only: (full || too_many).then_some(ReservedAnswers {
                paths: self.settings.reserve_paths,
                refusal: if full {
                    request::full
                } else {
                    request::too_many
                },
            }),
        };
        let http = if full || too_many {
            &self.reserve_http
        } else {
            &self.http
        };
        let service = service_fn(move |request| entrance.clone().call(request));
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        self.tracker.spawn(async move {
            if let Some(socket) = preamble
                && !preamble::read(&*socket, &guard, head_timeout).await
            {
                guard.end(ConnectionEnd::ProxyPreamble);
                return;
            }
            // Kept until the reason is noted: dropping it closes the socket and counts the reason.
            let mut connection = std::pin::pin!(connection);
            if let Err(error) = connection.as_mut().await {
                guard.note(reason_of(&error));
                tracing::debug!(%error, peer = %guard.peer(), "connection ended");
            }
        });
        Ok(())
    }

    /// Closes the oldest connection over the cap. A probe is answered within milliseconds, so a connection that stays longer is
    /// none.
    fn close_oldest_reserve(&mut self) {
        while let Some(oldest) = self.reserve.pop_front() {
            if oldest.close_reason().is_none() {
                oldest.kick("connection_limit");
                return;
            }
        }
    }
}

/// hyper's deadline is for a head and the time before it, so the stream has one of its own ([`HeadDeadline`]). This one ends what
/// the stream does not see: the start of a head that came together with the request before.
fn http(header_timeout: Duration, keep_alive: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper's own limit of 100 headers stays: any other number costs an allocation for each request.
    http.timer(TokioTimer::new())
        .keep_alive(!keep_alive.is_zero())
        .header_read_timeout(header_timeout.max(keep_alive) + 2 * KEEP_ALIVE_MARGIN)
        .max_buf_size(MAX_HEAD);
    http
}

fn reason_of(error: &hyper::Error) -> ConnectionEnd {
    if error.is_timeout() {
        ConnectionEnd::HeaderTimeout
    } else if error.is_parse_too_large() {
        ConnectionEnd::HeaderLimit
    } else if error.is_parse() {
        ConnectionEnd::BadHttp
    } else if error.is_incomplete_message() || error.is_canceled() {
        ConnectionEnd::Peer
    } else {
        ConnectionEnd::Server
    }
}

/// Linux hands out errors of the network on `accept`, too (accept(2)); the next connection may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
    )
}
