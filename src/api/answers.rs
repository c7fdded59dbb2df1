//! How requests are answered, whatever they ask for: in time, counted, and with the word when to come back.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::{Problem, ProblemCode};
use crate::telemetry::labels::RejectReason;
use crate::telemetry::{Metrics, events};

/// An answer that takes longer is given up.
const ANSWER: Duration = Duration::from_mins(1);

/// When a client may try again what could not be done now, in seconds.
pub(super) const RETRY_AFTER: u32 = 2;

/// The same for a client that has reached a limit.
pub(super) const LIMIT_RETRY_AFTER: u32 = 10;

/// Has a request answered in time, and counts what the API could not make sense of or could not do.
pub(super) async fn answer(metrics: &Metrics, request: Request<Body>, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let answered = tokio::time::timeout(ANSWER, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let detail = "no answer within 60 s; the request may have taken effect";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail)
            .retry_after(RETRY_AFTER)
            .into_response()
    });
    if let Some((reason, why)) = refusal(response.status()) {
        let path = path.as_ref().map(MatchedPath::as_str);
        let code = response.extensions().get::<ProblemCode>();
        events::refused_at(metrics, reason, why, path, code.map(|code| code.0));
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// What an answer of this status counts as, and what the log says of it.
fn refusal(status: StatusCode) -> Option<(RejectReason, &'static str)> {
    match status {
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY
        | StatusCode::INSUFFICIENT_STORAGE => Some((
            RejectReason::ApiUnavailable,
            "a request to the API could not be done now",
        )),
        // What does not exist (any more) is an answer, not a refusal; tokens were counted where they were looked at.
        StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::UNAUTHORIZED
        | StatusCode::TOO_MANY_REQUESTS => None,
        StatusCode::FORBIDDEN => Some((
            RejectReason::ApiToken,
            "a token may not do what it was used for",
        )),
        status if status.is_client_error() => Some((
            RejectReason::ApiRequest,
            "a request to the API is not as the document says",
        )),
        _ => None,
    }
}
