//! Errors of Engine.IO, as its protocol writes them: 400, with a number. (The library writes the number as text.)

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::engine::collect;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineError {
    Transport = 0,
    Session = 1,
    Method = 2,
    BadRequest = 3,
    Version = 5,
}

impl EngineError {
    const ALL: [Self; 5] = [
        Self::Transport,
        Self::Session,
        Self::Method,
        Self::BadRequest,
        Self::Version,
    ];

    fn message(self) -> &'static str {
        match self {
            Self::Transport => "Transport unknown",
            Self::Session => "Session ID unknown",
            Self::Method => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Version => "Unsupported protocol version",
        }
    }

    /// The error in a body of the library.
    fn from_library(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct LibraryError {
            code: String,
        }
        let error: LibraryError = serde_json::from_slice(body).ok()?;
        let number: u8 = error.code.parse().ok()?;
        Self::ALL.into_iter().find(|own| *own as u8 == number)
    }
}

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        let body = json!({ "code": self as u8, "message": self.message() }).to_string();
        let json = HeaderValue::from_static("application/json");
        (
            StatusCode::BAD_REQUEST,
            [(header::CONTENT_TYPE, json)],
            body,
        )
            .into_response()
    }
}

/// What the library answers, with its errors as the protocol writes them.
pub(super) async fn in_protocol(response: Response) -> Response {
    if response.status() != StatusCode::BAD_REQUEST {
        return response;
    }
    let (parts, body) = collect(response).await;
    match EngineError::from_library(&body) {
        Some(error) => error.into_response(),
        None => Response::from_parts(parts, Body::from(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(body: &'static str) -> String {
        let response = in_protocol((StatusCode::BAD_REQUEST, body).into_response()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        String::from_utf8(collect(response).await.1.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a32_a33_a_code_of_the_library_becomes_a_number_and_other_bodies_stay() {
        let text = r#"{"code":"5","message":"Unsupported protocol version"}"#;
        let number = r#"{"code":5,"message":"Unsupported protocol version"}"#;
        assert_eq!(answered(text).await, number);
        for other in ["", "not JSON", number, r#"{"code":"9","message":"new"}"#] {
            assert_eq!(answered(other).await, other);
        }
    }
}
