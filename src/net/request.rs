//! What is done to each request before the router sees it, and to the response.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, FORWARDED, TRANSFER_ENCODING, VIA};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use hyper::body::{Body as _, Incoming};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::guard::{ConnectionEnd, Guard};
use super::table::ConnectionTable;
use super::timed_body::{BodyLimits, TimedBody};
use super::websocket_request;
use crate::problem::Problem;

/// Seconds; clients that meet a full server should not all retry at once; stock ones add their own jitter.
const RETRY_AFTER_SECONDS: u32 = 5;
const RETRY_AFTER_PEER_SECONDS: u32 = 10;

/// The way from hyper to the router, one per connection.
#[derive(Clone)]
pub(super) struct Entrance {
    pub(super) router: Router,
    pub(super) guard: Arc<Guard>,
    pub(super) body: BodyLimits,
    pub(super) keep_alive: KeepAlive,
    /// The connection is over a cap.
    pub(super) only: Option<ReservedAnswers>,
}

/// What a connection over a cap gets, once.
#[derive(Clone, Copy)]
pub(super) struct ReservedAnswers {
    /// These are answered as ever.
    pub(super) paths: &'static [&'static str],
    /// Anything else.
    pub(super) refusal: fn() -> Response<Body>,
}

/// Whether a connection is kept behind an answer.
#[derive(Clone)]
pub(super) struct KeepAlive {
    pub(super) table: Arc<ConnectionTable>,
    /// With more connections than this none is kept: idle ones would shut others out.
    pub(super) most: usize,
    /// Announced to the client. Zero: none is kept.
    pub(super) timeout: Duration,
    pub(super) drain: CancellationToken,
}

impl KeepAlive {
    fn applies(&self) -> bool {
        !self.timeout.is_zero() && !self.drain.is_cancelled() && self.table.len() <= self.most
    }

    /// For how long the client may take it for granted.
    fn announce(&self, headers: &mut HeaderMap) {
        let seconds = self.timeout.as_secs();
        if let Ok(value) = HeaderValue::try_from(format!("timeout={seconds}")) {
            headers.insert(KEEP_ALIVE, value);
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

impl Entrance {
    pub(super) async fn call(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        self.guard.request_began();
        let guard = self.guard.clone();
        let response = self.answer(request).await;
        guard.request_answered();
        response
    }

    async fn answer(mut self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let close = self.only.is_some() || is_chunked(&request);
        let may_keep = wants_keep_alive(&request);
        let may_reset = close || !may_keep || is_forwarded(&request);
        self.guard.next_request(may_reset);
        let mut response = match self.only {
            Some(only) if !only.paths.contains(&request.uri().path()) => (only.refusal)(),
            _ => match websocket_request::refused(request.headers()) {
                None => {
                    let request = self.own(request);
                    self.router.call(request).await?
                }
                Some(refusal) => {
                    self.guard.note(ConnectionEnd::BadUpgrade);
                    refusal
                }
            },
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.guard.set_upgraded();
        } else if close || is_error(response.status()) || !self.keep_alive.applies() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        } else if may_keep && !response.headers().contains_key(CONNECTION) {
            self.keep_alive.announce(response.headers_mut());
        }
        Ok(response)
    }

    /// Puts in what the parts behind need to know of the connection. What is kept of the request for longer than it takes must be
    /// copied: headers and target are slices of hyper's read buffer of 16 KB.
    fn own(&self, request: Request<Incoming>) -> Request<Body> {
        let (mut parts, body) = request.into_parts();
        let peer = self.guard.peer();
        parts.extensions.insert(self.guard.clone());
        parts.extensions.insert(peer);
        parts.extensions.insert(ConnectInfo(peer));
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(TimedBody::new(body, self.guard.clone(), self.body))
        };
        Request::from_parts(parts, body)
    }
}

/// hyper reads a request with both Content-Length and Transfer-Encoding by the latter and hides the former, so a proxy in
/// front may have seen another end of it. RFC 9112 (6.1) asks to close the connection after such a request; since it cannot
/// be told from an honest chunked one here, both are closed. Clients of ours do not send chunked bodies.
fn is_chunked(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11 && request.headers().contains_key(TRANSFER_ENCODING)
}

/// Behind a refusal no connection is kept: the client may be gone (its session ended because it vanished), or unwelcome.
fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// HTTP/1.1 keeps a connection unless asked not to, HTTP/1.0 only if asked to.
fn wants_keep_alive(request: &Request<Incoming>) -> bool {
    let options = request.headers().get_all(CONNECTION).iter();
    let mut options = options.filter_map(|value| value.to_str().ok());
    let wanted = match request.version() {
        Version::HTTP_11 => "close",
        _ => "keep-alive",
    };
    let is_named = options.any(|value| {
        let mut names = value.split(',').map(str::trim);
        names.any(|name| name.eq_ignore_ascii_case(wanted))
    });
    is_named != (request.version() == Version::HTTP_11)
}

/// A proxy has named its client.
fn is_forwarded(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    headers.contains_key(FORWARDED)
        || headers.contains_key(VIA)
        || headers.contains_key("x-forwarded-for")
}

/// The peer has as many connections as it may have.
pub(super) fn too_many() -> Response<Body> {
    let (status, detail) = (
        StatusCode::TOO_MANY_REQUESTS,
        "too many connections from this address: try again later",
    );
    Problem::new(status, "ip_limit", detail)
        .retry_after(RETRY_AFTER_PEER_SECONDS)
        .into_response()
}

pub(super) fn full() -> Response<Body> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "max_connections", "too many connections")
        .retry_after(RETRY_AFTER_SECONDS)
        .into_response()
}
