//! How requests are answered, whatever they ask for: in time, counted, and with the word when to come back.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
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
    let answered = tokio::time::timeout(ANSWER, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let detail = "no answer within 60 s; the request may have taken effect";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail)
            .retry_after(RETRY_AFTER)
            .into_response()
    });
    match response.status() {
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY
        | StatusCode::INSUFFICIENT_STORAGE => {
            let why = "a request to the API could not be done now";
            events::refused(metrics, RejectReason::ApiUnavailable, why);
        }
        // What does not exist (any more) is an answer, not a refusal; tokens were counted where they were looked at.
        StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::UNAUTHORIZED
        | StatusCode::TOO_MANY_REQUESTS => {}
        StatusCode::FORBIDDEN => {
            let why = "a token may not do what it was used for";
            events::refused(metrics, RejectReason::ApiToken, why);
        }
        status if status.is_client_error() => {
            let why = "a request to the API is not as the document says";
            events::refused(metrics, RejectReason::ApiRequest, why);
        }
        _ => {}
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
