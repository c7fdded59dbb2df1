//! Requests that no client of Engine.IO sends. They are refused and counted before anything is kept for them.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::engine::Engine;
use super::engine_error::EngineError;
use super::query::{EngineQuery, QueryDefect};
use crate::problem::Problem;
use crate::telemetry::events;
use crate::telemetry::labels::{Label, RejectReason};

impl Engine {
    /// The answer to a request that cannot begin a session, and cannot be of one.
    pub(super) fn refuse(&self, request: &Request<Body>, query: &EngineQuery) -> Option<Response> {
        let (reason, why, response) = refusal(request.method(), query)?;
        events::refused(self.sessions.metrics(), reason, why);
        Some(response)
    }
}

fn refusal(method: &Method, query: &EngineQuery) -> Option<(RejectReason, &'static str, Response)> {
    if ![Method::GET, Method::POST].contains(method) {
        let reason = RejectReason::BadMethod;
        return Some((reason, "a method of no use here", method_not_allowed()));
    }
    let (reason, why, error) = match query.defect {
        Some(QueryDefect::Transport) => (
            RejectReason::BadTransport,
            "no transport, or one that does not exist",
            EngineError::Transport,
        ),
        Some(QueryDefect::Version) => (
            RejectReason::Version,
            "not version 4 of Engine.IO",
            EngineError::Version,
        ),
        Some(QueryDefect::Session) => (
            RejectReason::BadSid,
            "more than one session id",
            EngineError::Session,
        ),
        None if method == Method::POST && query.sid.is_none() => (
            RejectReason::BadMethod,
            "a session does not begin with a POST",
            EngineError::Method,
        ),
        None => return None,
    };
    Some((reason, why, error.into_response()))
}

fn method_not_allowed() -> Response {
    let detail = "this path answers to GET and POST";
    let code = RejectReason::BadMethod.as_str();
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, code, detail).into_response();
    let allowed = HeaderValue::from_static("GET, POST");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
