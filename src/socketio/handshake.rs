//! CONNECT: from `auth` to a session that the hub feeds.
//!
//! Handlers are registered in the middleware, because the library sends CONNECT before the connect handler runs; the hub
//! takes the connection over in the connect handler, because before CONNECT nothing may be sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::protocol::{CloseReason, Reason, ResyncReason};
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::resume::Inspection;
use fleetcast_core::hub::{ConnectionKey, Start};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value as Json};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::SocketRef;
use socketioxide::handler::{FromConnectParts, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use super::asked::{Asked, Refused};
use super::engine::Admission;
use super::engine_session::EngineSession;
use super::inbound::MAX_NAMESPACE;
use super::inbox::{Inbox, Received};
use super::outlet::SocketOutlet;
use crate::auth::{Denied, Verifier};
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::session::{Session, Sessions};
use crate::telemetry::events;
use crate::telemetry::labels::{self, Label, Namespace, ResumeOutcome};

/// A look-up on the way in takes no longer: the client waits. Topics are listed once a second at most, however many ask.
const LOOK_UP: Duration = Duration::from_secs(2);

/// For the answer of a broker about the end of a log, and between two questions: nobody waits for it.
const END_LOOK_UP: Duration = Duration::from_secs(5);

/// What a session wants to know of the log that it is resumed from.
pub trait LogSource: Send + Sync {
    /// Has the brokers asked anew for partitions and their ends. False if that took longer than `at_most`.
    fn refreshed(&self, at_most: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// The end of the partition's log (the first offset that does not exist), if the brokers were asked for it at `since_ms`
    /// (monotonic milliseconds) or later. While it has no leader nobody can say, whatever else was refreshed.
    fn end(&self, partition: u32, since_ms: u64) -> Option<i64>;
}

/// What it takes to let somebody in.
pub struct Handshake {
    pub sessions: Arc<Sessions>,
    pub verifier: Arc<Verifier>,
    pub log: Arc<dyn LogSource>,
    pub admission: Admission,
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

/// A person who may come in, between the middleware and the connect handler.
struct Admitted {
    session: Arc<Session>,
    engine: Arc<EngineSession>,
    namespace: Namespace,
    asked: Asked,
    cursor: Option<String>,
    meta: bool,
}

/// Said with a `connect_error` that nobody sees: the transport is closed already.
const CLOSED: &str = "closed";

impl Handshake {
    /// The middleware. An error is the `connect_error`'s message, and final for stock clients.
    pub(super) async fn admit(
        self: Arc<Self>,
        socket: SocketRef,
        AuthText(auth): AuthText,
    ) -> Result<(), &'static str> {
        let metrics = &self.sessions.metrics;
        let Some(engine) = socket
            .req_parts()
            .extensions
            .get::<Arc<EngineSession>>()
            .cloned()
        else {
            return Err(Reason::Internal.as_str());
        };
        #[cfg(feature = "failpoints")]
        super::failpoints::remember(Arc::as_ptr(&engine).addr(), &socket);
        // Temporary: the client must try again, so it gets no answer but a closed transport.
        if let Err(reason) = (self.admission)() {
            events::refused(metrics, reason, "at CONNECT");
            let reason = match reason {
                labels::Refused::Draining => CloseReason::Draining,
                _ => CloseReason::Internal,
            };
            engine.close(reason);
            return Err(CLOSED);
        }
        let mut auth = match auth.as_deref().map(serde_json::from_str::<Json>) {
            Some(Ok(Json::Object(auth))) => auth,
            _ => Map::new(),
        };
        let claims = match self.claims(&mut auth, &engine).await {
            Ok(claims) => claims,
            Err(Denied::Unsettled) => {
                let why = "the key of the token is not known yet";
                events::refused(metrics, labels::Refused::KeysPending, why);
                engine.close(CloseReason::Internal);
                return Err(CLOSED);
            }
            Err(Denied::Rejected(rejected)) => {
                rejected.report(metrics);
                return Err(rejected.code.as_str());
            }
        };
        let session = Arc::new(Session::new(self.sessions.clone(), claims));
        let asked = Asked::of(&session, auth.get("rooms"));
        let cursor = cursor(auth.get("cursor"));
        if let Some(cursor) = &cursor {
            self.learn_partitions(&session.claims, cursor).await;
        }
        let namespace = Namespace::parse(socket.ns()).unwrap_or(Namespace::Root);
        self.register(&socket, &session, &engine, namespace);
        socket.extensions.insert(Arc::new(Admitted {
            session,
            engine,
            namespace,
            asked,
            cursor,
            meta: auth.get("meta").and_then(Json::as_bool).unwrap_or(false),
        }));
        Ok(())
    }

    /// `auth.token`, else the header, else the query: the first that is there counts, also if it is wrong.
    async fn claims(
        &self,
        auth: &mut Map<String, Json>,
        engine: &EngineSession,
    ) -> Result<Claims, Denied> {
        let given = match auth.remove("token") {
            Some(Json::String(token)) => Some(SecretString::from(token)),
            Some(Json::Null) | None => None,
            // Whatever it is, it is no token; as text it is refused as one.
            Some(other) => Some(SecretString::from(other.to_string())),
        };
        let credentials = &engine.credentials;
        let token = given
            .as_ref()
            .or(credentials.bearer.as_ref())
            .or(credentials.query.as_ref());
        let token = token.map(ExposeSecret::expose_secret);
        self.verifier
            .verify_given(token, clock::wall_ms() / 1000)
            .await
    }

    /// A cursor may name partitions that another instance found first.
    async fn learn_partitions(&self, claims: &Claims, cursor: &str) {
        let unknown = self
            .sessions
            .hub
            .with(|hub, now| hub.inspect(&claims.organisation, cursor, now) == Inspection::Unknown);
        if unknown {
            self.log.refreshed(LOOK_UP).await;
        }
    }

    fn register(
        self: &Arc<Self>,
        socket: &SocketRef,
        session: &Arc<Session>,
        engine: &Arc<EngineSession>,
        namespace: Namespace,
    ) {
        let inbox = Inbox::new(
            engine.clone(),
            session.clone(),
            self.lifecycle.clone(),
            self.max_packet,
        );
        socket.on_fallback(move |socket: SocketRef, received: Received| {
            inbox.push(socket, received);
            std::future::ready(())
        });
        let (session, engine) = (session.clone(), engine.clone());
        socket.on_disconnect(move |socket: SocketRef, reason: DisconnectReason| {
            // Clears what holds the socket: its own handlers and the hub's outlet.
            drop(socket.extensions.remove::<Arc<Admitted>>());
            closed(&session, &engine, namespace, reason);
            std::future::ready(())
        });
    }

    /// The connect handler: CONNECT is on its way, so the hub may speak.
    pub(super) fn connected(self: &Arc<Self>, socket: &SocketRef) {
        let Some(admitted) = socket.extensions.remove::<Arc<Admitted>>() else {
            return;
        };
        let Admitted {
            session,
            engine,
            namespace,
            asked,
            cursor,
            meta,
        } = &*admitted;
        let until = self.verifier.ends(&session.claims);
        let transport = engine.add_socket(*namespace, socket.clone(), until);
        events::connected(
            &self.sessions.metrics,
            transport,
            *namespace,
            &session.connection_id,
        );
        let mut outlet = SocketOutlet {
            socket: socket.clone(),
            engine: engine.clone(),
            session: session.clone(),
            meta: *meta,
            refused: asked.refused.clone(),
        };
        let organisation = &session.claims.organisation;
        let (key, ahead) = self.sessions.hub.with(|hub, now| {
            // Between the middleware and this moment the policy may have changed.
            let policy = self.sessions.policy.load();
            let (rooms, lost): (Vec<_>, Vec<_>) =
                (asked.rooms.iter().cloned()).partition(|room| session.may_hold(&policy, room));
            outlet.refused.extend(lost.iter().map(Refused::forbidden));
            // Judged here and not before: between a judgement and this moment the window may have moved.
            let start = match cursor {
                None => Start::Fresh,
                Some(text) => match hub.inspect(organisation, text, now) {
                    Inspection::Resume(cursor) => Start::Resume(cursor, text.as_str().into()),
                    Inspection::Resync(reason) => Start::Resync(reason),
                    // The metadata is fresh by now, so what is still unknown is gone.
                    Inspection::Unknown => Start::Resync(ResyncReason::TopicRecreated),
                },
            };
            let (outcome, ahead) = match &start {
                Start::Fresh => (None, Vec::new()),
                Start::Resume(cursor, _) => (Some(ResumeOutcome::Resumed), hub.ahead(cursor)),
                Start::Resync(ResyncReason::CursorInvalid | ResyncReason::CursorForeign) => {
                    (Some(ResumeOutcome::BadCursor), Vec::new())
                }
                Start::Resync(_) => (Some(ResumeOutcome::Resync), Vec::new()),
            };
            // Who is resumed has them already, or gets what it has missed of them.
            let stands_anew = !matches!(start, Start::Resume(..));
            let newest = (asked.newest.iter()).filter(|room| stands_anew && rooms.contains(room));
            let newest: Vec<Room> = newest.cloned().collect();
            let key = hub.connect(organisation, rooms, start, Box::new(outlet), now);
            session.bind(key);
            for room in &newest {
                hub.subscribe_latest(key, room, now);
            }
            if !newest.is_empty() {
                hub.cursor(key, now);
            }
            if let Some(outcome) = outcome {
                events::resume(&self.sessions.metrics, &session.connection_id, outcome);
            }
            (key, ahead)
        });
        if !ahead.is_empty() {
            let check = self.clone().check_ends(key, ahead);
            self.lifecycle.spawn("end-of-log", check);
        }
    }

    /// Somebody has seen more of these partitions than this instance. Normally this instance will read it soon; but if
    /// their logs end before that, what was seen was another log of the same name. Asked until the brokers have said, or it
    /// does not matter any more.
    async fn check_ends(self: Arc<Self>, connection: ConnectionKey, mut partitions: Vec<u32>) {
        let stopping = self.lifecycle.stopping();
        // What was said before it came says nothing about what it has seen.
        let came_ms = clock::monotonic_ms();
        loop {
            let refreshed = self.log.refreshed(END_LOOK_UP).await;
            self.sessions.hub.with(|hub, now| {
                partitions.retain(|partition| {
                    let end = self.log.end(*partition, came_ms).filter(|_| refreshed);
                    if let Some(end) = end {
                        hub.end_of_log(connection, *partition, end, now);
                    }
                    end.is_none() && hub.is_ahead(connection, *partition)
                });
            });
            if partitions.is_empty() {
                return;
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(END_LOOK_UP) => {}
            }
        }
    }
}

/// A CONNECT to a namespace that does not exist. Who does it again and again, or with a name that nobody would type, is
/// cut off.
pub(super) fn refuse_namespace(socket: &SocketRef) -> &'static str {
    if let Some(engine) = socket.req_parts().extensions.get::<Arc<EngineSession>>()
        && (socket.ns().len() > MAX_NAMESPACE || engine.another_wrong_namespace())
    {
        engine.close(CloseReason::Protocol);
    }
    "Invalid namespace"
}

/// Anything but a string is a cursor that cannot be read: the client believes that it resumes, so it must be told.
fn cursor(given: Option<&Json>) -> Option<String> {
    match given {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(_) => Some(String::new()),
    }
}

fn closed(
    session: &Session,
    engine: &EngineSession,
    namespace: Namespace,
    reason: DisconnectReason,
) {
    session.end();
    let transport = engine.remove_socket(namespace);
    let reason = engine.end_reason().unwrap_or(match reason {
        DisconnectReason::ClientNSDisconnect => CloseReason::ClientLeft,
        DisconnectReason::HeartbeatTimeout => CloseReason::Heartbeat,
        DisconnectReason::PacketParsingError | DisconnectReason::MultipleHttpPollingError => {
            CloseReason::Protocol
        }
        DisconnectReason::ServerNSDisconnect | DisconnectReason::ClosingServer => {
            CloseReason::Internal
        }
        DisconnectReason::TransportClose => CloseReason::ClientLeft,
        DisconnectReason::TransportError => CloseReason::TransportError,
    });
    let id = &session.connection_id;
    events::disconnected(&session.shared.metrics, transport, namespace, id, reason);
}
