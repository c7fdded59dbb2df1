//! HTTP for operators and probes. Everything is asked through [`Probes`], and through what each resource of the API wants: this
//! module knows none of the parts.
//!
//! - `connections`, `publish`, `rooms`: the resources, one file each: add another with its own `endpoints`, and mount it in `app/start.rs`
//! - `access`: what the internal API refuses to answer
//! - `answers`: how all requests are answered
//! - `drain`: a share of the connections is closed
//! - `endpoints`: handlers with their OpenAPI document
//! - `extract`, `page`: bodies, queries, paths and pages, or a problem
//! - `grants`, `revocations`: rooms beyond the token, and tokens that are good no more
//! - `stats`: `/stats` and its views
//! - `user_rooms`: rooms that connections join or leave

mod access;
mod answers;
mod at_most;
pub mod connections;
mod drain;
mod endpoints;
pub mod extract;
mod grants;
mod json_object;
mod page;
pub mod publish;
mod revocations;
pub mod rooms;
mod stats;
#[cfg(test)]
mod tests;
mod text_or_integer;
mod user_rooms;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

use crate::problem::Problem;
pub use access::Access;
pub use drain::{ShareDrainer, drain};
pub use endpoints::Endpoints;
pub use grants::{GrantFailure, RoomGranter, grants};
pub use revocations::{RevocationDone, RevocationFailure, TokenRevoker, revocations};
pub use stats::Stats;
pub use user_rooms::{OperatedRooms, RoomOperator, UnknownRoomKind, user_rooms};

/// Bytes of a request's body.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Where the answers come from.
#[derive(Clone)]
pub struct Probes {
    pub ready: Arc<dyn Fn() -> ReadyReport + Send + Sync>,
    pub stats: Stats,
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadyStatus {
    Ready,
    /// Serving, but a part is unhealthy.
    Degraded,
    Starting,
    Draining,
}

impl ReadyStatus {
    pub const ALL: [Self; 4] = [Self::Ready, Self::Degraded, Self::Starting, Self::Draining];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Starting => "starting",
            Self::Draining => "draining",
        }
    }

    fn code(self) -> StatusCode {
        match self {
            Self::Ready | Self::Degraded => StatusCode::OK,
            Self::Starting | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What `/ready` says of one part.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentHealth {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ComponentHealth {
    pub fn healthy(remark: Option<String>) -> Self {
        Self {
            status: "ok",
            reason: remark,
        }
    }

    pub fn unhealthy(reason: String) -> Self {
        Self {
            status: "failing",
            reason: Some(reason),
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.status == "ok"
    }
}

#[derive(Debug, Clone)]
pub struct ReadyReport {
    pub status: ReadyStatus,
    pub components: Vec<(&'static str, ComponentHealth)>,
}

impl ReadyReport {
    /// What is wrong with the first unhealthy part.
    pub fn why(&self) -> Option<&str> {
        let unhealthy = self
            .components
            .iter()
            .find(|(_, component)| !component.is_healthy())?;
        unhealthy.1.reason.as_deref()
    }
}

impl IntoResponse for ReadyReport {
    fn into_response(self) -> Response {
        let components: BTreeMap<_, _> = self.components.into_iter().collect();
        let body = json!({ "status": self.status, "components": components });
        (self.status.code(), Json(body)).into_response()
    }
}

/// `/health`, `/ready`, `/stats` and its views: on both listeners.
pub fn probes(probes: &Probes) -> Router {
    let ready = probes.ready.clone();
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/ready", get(move || async move { ready() }))
        .merge(stats::routes(&probes.stats))
        .method_not_allowed_fallback(method_not_allowed)
}

/// The internal listener.
pub fn internal(answers: &Probes, access: Access, endpoints: Endpoints) -> Router {
    let metrics = answers.metrics.clone();
    probes(answers)
        .route(
            "/metrics",
            get(move || async move { prometheus(metrics()) }),
        )
        .merge(api(access, endpoints))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

/// The API behind its guard.
fn api(access: Access, endpoints: Endpoints) -> Router {
    let access = Arc::new(access);
    let guard = move |request: Request, next: Next| access.clone().guard(request, next);
    endpoints
        .finish()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
}

fn prometheus(text: String) -> Response {
    const FORMAT: HeaderValue =
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, FORMAT)], text).into_response()
}

pub async fn not_found() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here").into_response()
}

pub async fn method_not_allowed() -> Response {
    let detail = "this path answers to other methods";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "bad_method", detail).into_response()
}
