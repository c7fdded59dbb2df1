//! CONNECT: from `auth` to a session that the hub feeds.
//!
//! Handlers are registered in the middleware, because the library sends CONNECT before the connect handler runs; the hub
//! takes the connection over in the connect handler, because before CONNECT nothing may be sent.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fleetcast_core::domain::client_json;
use fleetcast_core::domain::protocol::{CloseReason, Reason};
use secrecy::SecretString;
use serde_json::{Map, Value as Json};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::SocketRef;
use socketioxide::handler::{FromConnectParts, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use super::engine_session::EngineSession;
use super::inbound::MAX_NAMESPACE;
use super::inbox::{Inbox, Received};
use super::outlet::SocketOutlet;
use super::road::Road;
use super::{NAMESPACES, ROOT};
use crate::lifecycle::Lifecycle;
use crate::session::{AdmittedSession, ConnectRequest, Sessions};
use crate::telemetry::events;
use crate::telemetry::labels::RejectReason;

/// What it takes to accept a socket.
pub struct Handshake {
    pub sessions: Arc<Sessions>,
    pub lifecycle: Lifecycle,
    /// The largest packet from a client, in bytes.
    pub max_packet: usize,
}

/// The `auth` object of CONNECT as text, if there is one.
pub(super) struct AuthText(Option<String>);

impl FromConnectParts<LocalAdapter> for AuthText {
    type Error = Infallible;

    fn from_connect_parts(_: &Arc<Socket>, auth: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(match auth {
            Some(Value::Str(text, _)) => Some(text.as_str().to_owned()),
            Some(Value::Bytes(_)) | None => None,
        }))
    }
}

/// A socket that was accepted, between the middleware and the connect handler.
pub(super) struct AcceptedSocket {
    admitted: AdmittedSession,
    /// The socket's handlers hold it; it holds the session in which this is kept.
    road: Weak<Road>,
    meta: bool,
}

/// A client over a limit waits so long until its transport is closed, or, if another namespace of it is connected, until it is looked at
/// again. Stock clients take an open transport for a success and try again within a second of its end, as often as it takes.
const LIMIT_PAUSE: Duration = Duration::from_secs(3);

/// What is not known yet is looked at again so often, where another namespace is connected.
const PENDING_PAUSE: Duration = Duration::from_secs(1);

/// And for no longer than this: then the transport is closed after all. The client may have left the namespace meanwhile, which the library
/// does not tell before CONNECT is answered, and its token gets older.
const PENDING_LIMIT: Duration = Duration::from_secs(15);

/// Said with a `connect_error` that no client sees: the transport is closed already.
const CLOSED: &str = "closed";

impl Handshake {
    /// The middleware. An error is the `connect_error`'s message, and final for stock clients.
    pub(super) async fn admit(
        self: Arc<Self>,
        socket: SocketRef,
        AuthText(auth): AuthText,
    ) -> Result<(), &'static str> {
        let Some(engine) = engine_of(&socket) else {
            return Err(Reason::Internal.as_str());
        };
        let namespace = namespace_of(&socket);
        if !engine.connect_came(namespace) {
            return Err(CLOSED);
        }
        let Some(_attempt) = engine.begin_connect() else {
            return Err(self.too_many_failures(&engine));
        };
        let mut auth = auth_fields(auth.as_deref());
        let meta = auth.get("meta").and_then(Json::as_bool).unwrap_or(false);
        let request = connect_request(&mut auth, &engine);
        let mut waiting_since: Option<Instant> = None;
        let admitted = loop {
            let reason = match self.sessions.authenticate(&request).await {
                Ok(admitted) => break admitted,
                Err(reason) => reason,
            };
            let pause = if reason.is_limit() {
                Some(LIMIT_PAUSE)
            } else if reason.is_pending() && engine.has_sockets() {
                let since = *waiting_since.get_or_insert_with(Instant::now);
                (since.elapsed() < PENDING_LIMIT).then_some(PENDING_PAUSE)
            } else if reason == RejectReason::TokenExpired && waiting_since.is_some() {
                // It was good when it came. The client has a fresh one for its next transport, and would not repeat a refused CONNECT.
                engine.close(reason.close_reason());
                return Err(CLOSED);
            } else {
                None
            };
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
                // Those that are connected stay: while there is one, this waits for its turn, since stock clients do not repeat a CONNECT that
                // was refused. The library ignores further CONNECTs to a namespace meanwhile.
                if engine.has_sockets() && !engine.is_closed() {
                    continue;
                }
            } else if reason.refusal().is_some() && engine.another_failed_connect() {
                return Err(self.too_many_failures(&engine));
            }
            return Err(reject(reason, &engine));
        };
        let session = admitted.session().clone();
        let road = Arc::new(Road::new(engine.clone(), session, namespace));
        self.register(&socket, &road);
        let road = Arc::downgrade(&road);
        let accepted = AcceptedSocket {
            admitted,
            road,
            meta,
        };
        engine.accept(namespace, accepted);
        Ok(())
    }

    /// The client goes on with tokens that are rejected. What it has not read yet of the answers is dropped.
    fn too_many_failures(&self, engine: &EngineSession) -> &'static str {
        if !engine.is_closed() {
            let why = "too many rejected tokens on one transport";
            events::refused(self.sessions.metrics(), RejectReason::AuthRate, why);
        }
        engine.close(CloseReason::AuthRate);
        CLOSED
    }

    fn register(&self, socket: &SocketRef, road: &Arc<Road>) {
        let inbox = Inbox::new(road.clone(), self.lifecycle.clone(), self.max_packet);
        socket.on_fallback(move |socket: SocketRef, received: Received| {
            inbox.push(socket, received);
            std::future::ready(())
        });
        let road = road.clone();
        socket.on_disconnect(move |reason: DisconnectReason| {
            // Clears what holds the socket: its own handlers and the hub's outlet.
            drop(road.engine.take_accepted(road.namespace));
            road.engine.remove_socket(road.namespace);
            road.session.end(close_reason(&road.engine, reason));
            std::future::ready(())
        });
    }
}

/// The connect handler: CONNECT is on its way, so the hub may send.
pub(super) fn connected(socket: &SocketRef) {
    let namespace = namespace_of(socket);
    let Some(engine) = engine_of(socket) else {
        return;
    };
    let Some(AcceptedSocket {
        admitted,
        road,
        meta,
    }) = engine.take_accepted(namespace)
    else {
        return;
    };
    let Some(road) = road.upgrade() else {
        return;
    };
    let labels = engine.add_socket(namespace, socket.clone(), road.session.clone());
    admitted.connect(engine, labels, |rejected| {
        Box::new(SocketOutlet::new(socket.clone(), road, meta, rejected))
    });
}

fn namespace_of(socket: &SocketRef) -> &'static str {
    let namespace = NAMESPACES.into_iter().find(|name| *name == socket.ns());
    namespace.unwrap_or(ROOT)
}

fn engine_of(socket: &SocketRef) -> Option<Arc<EngineSession>> {
    let extensions = &socket.req_parts().extensions;
    extensions.get::<Arc<EngineSession>>().cloned()
}

/// What is no object has no fields. Text that is not even JSON may hold a token: it is rejected as an invalid one, because
/// `token_missing` would send its author looking in the wrong place.
fn auth_fields(text: Option<&str>) -> Map<String, Json> {
    let Some(text) = text else {
        return Map::new();
    };
    match client_json::parse(text) {
        Some(Json::Object(auth)) => auth,
        Some(_) => Map::new(),
        None => Map::from_iter([("token".to_owned(), Json::String(text.to_owned()))]),
    }
}

/// `auth.token`, else the header, else the query: the first that is there counts, also if it is wrong.
fn connect_request(auth: &mut Map<String, Json>, engine: &EngineSession) -> ConnectRequest {
    let given = match auth.remove("token") {
        Some(Json::String(token)) => Some(SecretString::from(token)),
        Some(Json::Null) | None => None,
        // Not a token; as text it is rejected as an invalid one.
        Some(other) => Some(SecretString::from(other.to_string())),
    };
    let credentials = &engine.credentials;
    let token = given
        .or_else(|| credentials.bearer.clone())
        .or_else(|| credentials.query.clone());
    ConnectRequest {
        token,
        cursor: cursor(auth.get("cursor")),
        rooms: auth.remove("rooms"),
        slot: Some(engine.slot().clone()),
    }
}

/// The message of the `connect_error`. What is temporary gets no answer but a closed transport, so that the client tries again.
fn reject(reason: RejectReason, engine: &EngineSession) -> &'static str {
    if let Some(refusal) = reason.refusal() {
        return refusal.as_str();
    }
    engine.close(reason.close_reason());
    CLOSED
}

/// A CONNECT to a namespace that does not exist. A client that repeats it, or sends a name that is too long to be a mistake, is
/// closed.
pub(super) fn refuse_namespace(socket: &SocketRef) -> &'static str {
    if let Some(engine) = engine_of(socket)
        && (socket.ns().len() > MAX_NAMESPACE || engine.another_wrong_namespace())
    {
        engine.close(CloseReason::Protocol);
    }
    "Invalid namespace"
}

/// Anything but a string is a cursor that cannot be read: the client believes that it resumes, so it must receive a resync.
fn cursor(given: Option<&Json>) -> Option<String> {
    match given {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(_) => Some(String::new()),
    }
}

/// Our own reason, or what the library says.
fn close_reason(engine: &EngineSession, library: DisconnectReason) -> CloseReason {
    engine.end_reason().unwrap_or(match library {
        DisconnectReason::ClientNSDisconnect | DisconnectReason::TransportClose => {
            CloseReason::ClientLeft
        }
        DisconnectReason::HeartbeatTimeout => CloseReason::Heartbeat,
        DisconnectReason::PacketParsingError | DisconnectReason::MultipleHttpPollingError => {
            CloseReason::Protocol
        }
        DisconnectReason::ServerNSDisconnect | DisconnectReason::ClosingServer => {
            CloseReason::Internal
        }
        DisconnectReason::TransportError => CloseReason::TransportError,
    })
}
