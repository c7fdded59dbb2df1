//! Socket.IO: from HTTP requests on the Engine.IO paths to sessions that the hub feeds.
//!
//! - `engine`, `query`, `subprotocol`, `inbound`, `event_name`: Engine.IO requests and packets in front of the library
//! - `client_names`: what clients call themselves
//! - `kept_request`: what the library keeps of a request
//! - `polls`, `last_answer`, `kept_answers`: requests of polling sessions, and answers that may have to be repeated
//! - `engine_session`, `dismissal`: the life of an Engine.IO session, and its end for a client that is not to come back
//! - `handshake`: CONNECT; `session` decides
//! - `inbox`, `backlog`: commands in order, bounded
//! - `outlet`, `road`, `rejected_rooms`, `encode`, `send_budget`: events out, by the lane or through the library, bounded
//! - `observe`: what is learned from the stream below, and changed of it
//!
//! Nothing of socketioxide leaves this module.

mod backlog;
mod bad_requests;
mod client_names;
mod dismissal;
mod encode;
mod engine;
mod engine_error;
mod engine_session;
mod event_name;
mod handshake;
mod inbound;
mod inbox;
mod kept_answers;
mod kept_request;
mod last_answer;
mod observe;
mod outlet;
mod polls;
mod query;
mod rejected_rooms;
mod road;
mod send_budget;
mod subprotocol;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Ready;
use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler;
use socketioxide::{ParserConfig, SocketIo};
use tower::util::BoxCloneSyncService;

use tower::{Service, ServiceExt};

use crate::net::GuardedStream;
use crate::session::receipts::ASK_TIMEOUT;
use crate::telemetry::labels::ConnectionLabels;
use engine::Library;
pub use engine::{Engine, EngineSettings};
pub use handshake::Handshake;

/// Where clients find Engine.IO: `io(url)` and `io(url, {path: "/ws/socket.io"})`.
pub const PATHS: [&str; 4] = [
    "/socket.io",
    "/socket.io/",
    "/ws/socket.io",
    "/ws/socket.io/",
];

const ROOT: &str = "/";

/// Namespaces; both share one space of rooms.
const NAMESPACES: [&str; 2] = [ROOT, "/ws"];

/// Labels of transports.
const POLLING: &str = "polling";
const WEBSOCKET: &str = "websocket";

/// What connections are counted under.
pub const LABELS: [ConnectionLabels; 4] = {
    const fn labels(transport: &'static str, namespace: &'static str) -> ConnectionLabels {
        ConnectionLabels {
            transport,
            namespace,
        }
    }
    let [root, ws] = NAMESPACES;
    [
        labels(POLLING, root),
        labels(POLLING, ws),
        labels(WEBSOCKET, root),
        labels(WEBSOCKET, ws),
    ]
};

/// For a burst between the hub and the writer's task: more than a send budget allows.
const LIBRARY_QUEUE: usize = 4096;

/// Bytes that the library reads at once, and has allocated for each WebSocket; it grows for a larger frame. The stream below reads more
/// from the kernel, so a small one costs no system calls.
const READ_BUFFER: usize = 128;

/// No command carries attachments. A few are accepted, so that a client that sends one gets an answer.
const ATTACHMENTS: usize = 4;
const ATTACHMENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// A transport on which no CONNECT succeeds is closed after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub struct SocketIoSettings {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub engine: EngineSettings,
}

/// Builds the server; requests go to [`Engine::handle`].
pub fn build(handshake: Handshake, settings: SocketIoSettings) -> Arc<Engine> {
    handshake.sessions.metrics().declare_connections(&LABELS);
    let max_packet = handshake.max_packet;
    let parser = ParserConfig::common()
        .max_incoming_binaries(ATTACHMENTS)
        .max_incoming_binary_buf_size(max_packet)
        .packet_completion_timeout(ATTACHMENTS_TIMEOUT);
    let (library, io) = SocketIo::builder()
        .req_path("/")
        .ping_interval(settings.ping_interval)
        .ping_timeout(settings.ping_timeout)
        .max_payload(settings.engine.max_payload as u64)
        .max_buffer_size(LIBRARY_QUEUE)
        .ws_max_message_size(max_packet)
        .ws_max_frame_size(max_packet)
        .ws_read_buffer_size(READ_BUFFER)
        .connect_timeout(CONNECT_TIMEOUT)
        .ack_timeout(ASK_TIMEOUT)
        .with_parser(parser)
        .build_svc();
    let handshake = Arc::new(handshake);
    for namespace in NAMESPACES {
        let connected = |socket: SocketRef| {
            handshake::connected(&socket);
            std::future::ready(())
        };
        let handshake = handshake.clone();
        let admit = move |socket: SocketRef, auth| handshake.clone().admit(socket, auth);
        io.ns(namespace, connected.with(admit));
    }
    // Any other name. Left to itself the library answers with the whole name, past the bound of the send budget.
    let elsewhere = async |io: SocketIo, socket: SocketRef| {
        io.delete_ns(socket.ns());
        Err::<(), _>(handshake::refuse_namespace(&socket))
    };
    io.dyn_ns("/{*name}", (async || ()).with(elsewhere))
        .expect("there is no other dynamic namespace");
    Engine::new(
        handshake.sessions.clone(),
        boxed(library),
        settings.engine,
        handshake.lifecycle.clone(),
    )
}

/// Hides the library's types.
fn boxed<S, B, E>(library: S) -> Library
where
    S: hyper::service::Service<(Box<GuardedStream>, Request<()>), Future = Ready<Result<(), E>>>,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Display,
{
    let streams = library.clone();
    Library {
        http: BoxCloneSyncService::new(library.map_response(|response| response.map(Body::new))),
        websocket: Arc::new(move |stream, request| {
            let begun = hyper::service::Service::call(&streams, (stream, request));
            if let Err(error) = begun.into_inner() {
                tracing::debug!(%error, "the library does not take a WebSocket");
            }
        }),
    }
}
