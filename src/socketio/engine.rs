//! Engine.IO over HTTP, in front of the library: what begins a session, and what its requests are answered with.
//!
//! Everything temporary is rejected here, with a status and Retry-After, because a stock client tries again after a failed
//! handshake and never after a `connect_error`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fleetcast_core::domain::client_address::ClientAddress;
use fleetcast_core::domain::protocol::Reason;
use http_body_util::BodyExt;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::client_names::ClientNames;
use super::engine_error::{EngineError, in_protocol};
use super::engine_session::EngineSession;
use super::kept_answers::{KeptAnswers, MAX_KEPT};
use super::kept_request;
use super::query::EngineQuery;
use super::subprotocol;
use crate::auth::bearer;
use crate::lifecycle::Lifecycle;
use crate::net::{Guard, GuardedStream};
use crate::problem::Problem;
use crate::session::{AdmissionSlot, Sessions, TransportHandle};
use crate::telemetry::events;
use crate::telemetry::labels::{Component, Label, RejectReason};

/// For a client that was rejected because the server is full, or not ready.
const RETRY_AFTER_SECONDS: u32 = 2;
/// Until memory is free it takes longer.
const RETRY_AFTER_MEMORY_SECONDS: u32 = 10;

/// For a client that has as much as it may have.
pub(super) const LIMIT_RETRY_AFTER_SECONDS: u32 = 10;

/// The library.
pub(super) struct Library {
    /// It answers every request, so it cannot fail.
    pub(super) http: BoxCloneSyncService<Request<Body>, Response, Infallible>,
    pub(super) websocket: BeginWebSocket,
}

/// Begins a session on a stream of frames, with the request that is kept of it. Boxed, because the library's reading task has capacity for
/// the stream in each of its states.
pub(super) type BeginWebSocket = Arc<dyn Fn(Box<GuardedStream>, Request<()>) + Send + Sync>;

pub struct EngineSettings {
    /// Bytes of one polling payload.
    pub max_payload: usize,
    /// Bytes of one packet from a client.
    pub max_packet: usize,
    /// The session of a polling client that does not fetch its events is closed after this time.
    pub slow_client_timeout: Duration,
    /// Of Engine.IO: the time between two pings, and how long the answer may take, together.
    pub heartbeat: Duration,
    pub allow_query_token: bool,
    /// Events to WebSocket clients go by the lane, not through the library.
    pub lane: bool,
}

pub struct Engine {
    pub(super) sessions: Arc<Sessions>,
    library: Library,
    pub(super) settings: EngineSettings,
    pub(super) lifecycle: Lifecycle,
    pub(super) kept: Arc<KeptAnswers>,
    known: Mutex<Known>,
    next_id: AtomicU64,
    client_names: ClientNames,
}

#[derive(Default)]
struct Known {
    all: HashMap<u64, Weak<EngineSession>>,
    /// Sessions that began by polling, by the id that their requests carry.
    by_sid: HashMap<String, Weak<EngineSession>>,
}

/// What a client showed with the HTTP request that began its session, used where there is no `auth.token`.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) bearer: Option<SecretString>,
    pub(super) query: Option<SecretString>,
}

/// Who began a session.
pub(super) struct ClientOfSession {
    pub(super) peer: IpAddr,
    /// What it calls itself.
    pub(super) name: Option<Arc<str>>,
}

impl Engine {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        library: Library,
        settings: EngineSettings,
        lifecycle: Lifecycle,
    ) -> Arc<Self> {
        let kept_bytes = sessions.metrics().polling_kept_bytes.clone();
        Arc::new(Self {
            sessions,
            kept: KeptAnswers::new(MAX_KEPT, kept_bytes),
            library,
            settings,
            lifecycle,
            known: Mutex::default(),
            next_id: AtomicU64::new(0),
            client_names: ClientNames::default(),
        })
    }

    /// All transports that are open, also those on which no CONNECT has come.
    pub fn transports(&self) -> Vec<Arc<dyn TransportHandle>> {
        let all = self.open_sessions();
        all.into_iter().map(|session| session as _).collect()
    }

    /// Closes what the library does not, until `stop`: polling that is not fetched, and dead transports.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            for session in self.open_sessions() {
                session.look_after(&self.settings);
            }
        }
    }

    /// Answers a request to one of the Engine.IO paths.
    pub async fn handle(self: Arc<Self>, mut request: Request<Body>) -> Response {
        let subprotocol = subprotocol::answer(request.headers());
        // It may hold a token, and the library keeps what it is given.
        request.headers_mut().remove(header::SEC_WEBSOCKET_PROTOCOL);
        let mut response = self.answer(request).await;
        if let Some(name) = subprotocol
            && response.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            let headers = response.headers_mut();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        response
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response {
        let Some(guard) = request.extensions().get::<Arc<Guard>>().cloned() else {
            events::fault(
                self.sessions.metrics(),
                Component::Http,
                "refusing a request",
                "it came without its connection",
            );
            let (status, code) = (StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal.as_str());
            return Problem::new(status, code, Reason::Internal.message()).into_response();
        };
        let query = EngineQuery::parse(request.uri().query().unwrap_or_default());
        if let Some(refusal) = self.refuse(&request, &query) {
            return refusal;
        }
        match &query.sid {
            None => self.begin(request, &query, guard).await,
            Some(sid) => {
                let session = self.lock().by_sid.get(sid).and_then(Weak::upgrade);
                match session {
                    Some(session) => self.go_on(session, request, &query, guard).await,
                    None => self.unknown(request, &guard).await,
                }
            }
        }
    }

    /// A request of a session that is not there, or is none of polling.
    async fn unknown(&self, request: Request<Body>, guard: &Guard) -> Response {
        let (metrics, reason) = (self.sessions.metrics(), RejectReason::BadSid);
        events::refused(metrics, reason, "there is no session of this id");
        let limits = self.sessions.shared_limits();
        let client = self.client(guard, request.headers());
        if !limits.unknown_session(limits.block(client)) {
            let detail = "too many requests for sessions that are not there";
            return Problem::new(StatusCode::TOO_MANY_REQUESTS, reason.as_str(), detail)
                .retry_after(LIMIT_RETRY_AFTER_SECONDS)
                .into_response();
        }
        self.call(request).await
    }

    /// A request without a session id wants to begin one.
    async fn begin(
        self: Arc<Self>,
        mut request: Request<Body>,
        query: &EngineQuery,
        guard: Arc<Guard>,
    ) -> Response {
        let client = self.client(&guard, request.headers());
        let block = self.sessions.shared_limits().block(client);
        let slot = match self.sessions.admit(block, "at the Engine.IO handshake") {
            Ok(slot) => slot,
            Err(reason) => return unavailable(reason),
        };
        let carrier = query.websocket.then(|| guard.clone());
        let from = ClientOfSession {
            peer: client.address,
            name: self.client_names.of(request.headers()),
        };
        let carried = (from, carrier);
        let session = self.open_session(slot, &mut request, query, carried);
        if query.websocket {
            return self.begin_websocket(request, session, &guard);
        }
        let response = self.call(kept_request::of_polling(session.clone())).await;
        if response.status() != StatusCode::OK {
            return response;
        }
        let (parts, body) = collect(response).await;
        if let Some(sid) = sid_of_open_packet(&body) {
            session.set_sid(&sid);
            self.lock().by_sid.insert(sid, Arc::downgrade(&session));
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Waits for the end of HTTP in a task of its own: that comes after the response.
    fn begin_websocket(
        &self,
        mut request: Request<Body>,
        session: Arc<EngineSession>,
        guard: &Guard,
    ) -> Response {
        let Some(response) = kept_request::switching_protocols(request.headers()) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        guard.set_observer(session.clone());
        let upgrade = hyper::upgrade::on(&mut request);
        let begin = self.library.websocket.clone();
        self.lifecycle.tasks().spawn(async move {
            if let Some(stream) = GuardedStream::upgraded(upgrade).await {
                begin(Box::new(stream), kept_request::of_websocket(session));
            }
        });
        response
    }

    fn open_session(
        self: &Arc<Self>,
        slot: AdmissionSlot,
        request: &mut Request<Body>,
        query: &EngineQuery,
        carried: (ClientOfSession, Option<Arc<Guard>>),
    ) -> Arc<EngineSession> {
        let credentials = self.credentials(request, query);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let session = EngineSession::new(self, id, Arc::new(slot), credentials, carried);
        self.lock().all.insert(id, Arc::downgrade(&session));
        session
    }

    /// Takes the tokens out of the request: what is kept of it, and what the library may log, has none.
    fn credentials(&self, request: &mut Request<Body>, query: &EngineQuery) -> Credentials {
        let bearer = bearer(request.headers());
        request.headers_mut().remove(header::AUTHORIZATION);
        if query.token.is_some() {
            let path = request.uri().path().to_owned();
            let masked = EngineQuery::without_token(request.uri().query().unwrap_or_default());
            *request.uri_mut() = format!("{path}?{masked}")
                .parse()
                .unwrap_or_else(|_| Uri::from_static("/"));
        }
        let query = query
            .token
            .clone()
            .filter(|_| self.settings.allow_query_token);
        Credentials {
            bearer,
            query: query.map(SecretString::from),
        }
    }

    /// A request of a session that began by polling.
    async fn go_on(
        self: Arc<Self>,
        session: Arc<EngineSession>,
        request: Request<Body>,
        query: &EngineQuery,
        guard: Arc<Guard>,
    ) -> Response {
        if session.is_closed() {
            return EngineError::Session.into_response();
        }
        if query.websocket {
            return self.upgrade(session, request, guard).await;
        }
        let mark = query.mark.as_deref();
        if request.method() == Method::POST {
            self.post(session, request, mark).await
        } else {
            self.poll(session, request, mark, &guard).await
        }
    }

    /// The session wants to go on as a WebSocket.
    async fn upgrade(
        self: Arc<Self>,
        session: Arc<EngineSession>,
        mut request: Request<Body>,
        guard: Arc<Guard>,
    ) -> Response {
        if !session.begin_upgrade(&guard) {
            return EngineError::BadRequest.into_response();
        }
        kept_request::strip_upgrade(&mut request);
        let response = self.call(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.lifecycle.spawn("upgrade", session.finish_upgrade());
        } else {
            session.upgrade_refused();
        }
        response
    }

    /// The library ends a session when its client says so: says it in the client's place.
    pub(super) fn end_in_library(self: Arc<Self>, sid: &str) {
        let uri = format!("/?EIO=4&transport=polling&sid={sid}");
        self.lifecycle.clone().spawn("close", async move {
            let close = Request::post(uri).body(Body::from("1"));
            let close = close.expect("a session id is plain text");
            drop(self.call(close).await);
        });
    }

    /// This session is no more.
    pub(super) fn forget(&self, id: u64, sid: Option<&String>) {
        let mut known = self.lock();
        known.all.remove(&id);
        if let Some(sid) = sid {
            known.by_sid.remove(sid);
        }
    }

    pub(super) async fn call(&self, request: Request<Body>) -> Response {
        match self.library.http.clone().oneshot(request).await {
            Ok(response) => in_protocol(response).await,
            Err(never) => match never {},
        }
    }

    /// One that is open.
    pub(super) fn session(&self, id: u64) -> Option<Arc<EngineSession>> {
        self.lock().all.get(&id)?.upgrade()
    }

    /// Where a request comes from.
    fn client(&self, guard: &Guard, headers: &HeaderMap) -> ClientAddress {
        let (peer, named) = (guard.tcp_peer(), guard.named_peer());
        let limits = self.sessions.shared_limits();
        limits.client(peer.ip(), named.map(|named| named.ip()), headers)
    }

    fn open_sessions(&self) -> Vec<Arc<EngineSession>> {
        let known = self.lock();
        known.all.values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rejection that is temporary, so that the client tries again.
fn unavailable(reason: RejectReason) -> Response {
    let (status, detail, seconds) = match reason {
        RejectReason::AuthRate => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many failed attempts from this address: try again later",
            LIMIT_RETRY_AFTER_SECONDS,
        ),
        RejectReason::IpLimit => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many connections from this address: try again later",
            LIMIT_RETRY_AFTER_SECONDS,
        ),
        RejectReason::MemShed => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no new connections at the moment: try again",
            RETRY_AFTER_MEMORY_SECONDS,
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no new connections at the moment: try again",
            RETRY_AFTER_SECONDS,
        ),
    };
    Problem::new(status, reason.as_str(), detail)
        .retry_after(seconds)
        .into_response()
}

pub(super) async fn collect(response: Response) -> (axum::http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    // The library's bodies are in memory: there is nothing to wait for and nothing that fails.
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    (parts, body)
}

/// `0{"sid":"…",…}`
fn sid_of_open_packet(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Open {
        sid: String,
    }
    serde_json::from_slice::<Open>(body.strip_prefix(b"0")?)
        .ok()
        .map(|open| open.sid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_id_is_found_in_an_open_packet_only() {
        let open = r#"0{"sid":"AAAAABCD_-12","upgrades":["websocket"],"pingInterval":25000}"#;
        assert_eq!(
            sid_of_open_packet(open.as_bytes()).as_deref(),
            Some("AAAAABCD_-12")
        );
        for other in [
            "",
            "0",
            "0{}",
            "0{\"sid\":7}",
            "{\"sid\":\"a\"}",
            "40{\"sid\":\"a\"}",
            "1{\"sid\":\"a\"}",
            "0{\"sid\":\"a\"}\u{1e}2",
        ] {
            assert_eq!(sid_of_open_packet(other.as_bytes()), None, "{other}");
        }
        assert_eq!(sid_of_open_packet(b"0{\"sid\":\"\xff\"}"), None);
    }
}
