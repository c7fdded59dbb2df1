//! The request that the library keeps for as long as a session lives, without what nothing reads: a browser sends 1 to 4 KB, and
//! each value pins hyper's read buffer of 16 KB.
//!
//! A session that begins as a WebSocket gets our own stream, and the `101` is answered here. The library's way would keep the request
//! twice more in its reading task, and what hyper puts around the stream.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::engine_session::EngineSession;

/// What the library reads of a request that begins a session.
const POLLING_TARGET: &str = "/?EIO=4&transport=polling";
const WEBSOCKET_TARGET: &str = "/?EIO=4&transport=websocket";

/// The request that begins a polling session.
pub(super) fn of_polling(session: Arc<EngineSession>) -> Request<Body> {
    bare(POLLING_TARGET, session).map(|()| Body::empty())
}

/// The request that begins a session as a WebSocket.
pub(super) fn of_websocket(session: Arc<EngineSession>) -> Request<()> {
    bare(WEBSOCKET_TARGET, session)
}

fn bare(target: &'static str, session: Arc<EngineSession>) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static(target);
    request.extensions_mut().insert(session);
    request
}

/// Reduces a request that upgrades a polling session. The library keeps it in its reading task.
pub(super) fn strip_upgrade(request: &mut Request<Body>) {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    request.extensions_mut().clear();
    if let Some(upgrade) = upgrade {
        request.extensions_mut().insert(upgrade);
    }
    let mut headers = HeaderMap::new();
    if let Some(key) = copied_key(request.headers()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    *request.headers_mut() = headers;
    // A target that does not survive the round trip pins the buffer; nothing else is wrong with it.
    if let Ok(target) = Uri::try_from(request.uri().to_string()) {
        *request.uri_mut() = target;
    }
}

fn copied_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_bytes(key.as_bytes()).ok()
}

/// The answer to a request that asks for a WebSocket. `None`: it has no key.
pub(super) fn switching_protocols(headers: &HeaderMap) -> Option<Response> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    let accept = derive_accept_key(key.as_bytes());
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accept).ok()?),
    ];
    Some((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::http::header::COOKIE;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn upgrade_keeps_its_key_and_shares_nothing_with_the_request() {
        let buffer = Bytes::from_static(KEY.as_bytes());
        let mut request = Request::get("/socket.io/?EIO=4&transport=websocket&sid=abc")
            .header(COOKIE, "large")
            .extension(7_u8)
            .body(Body::empty())
            .unwrap();
        let key = HeaderValue::from_maybe_shared(buffer.clone()).unwrap();
        request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
        strip_upgrade(&mut request);
        assert_eq!(request.headers().len(), 1);
        let key = request.headers()[SEC_WEBSOCKET_KEY].as_bytes();
        assert_eq!(key, KEY.as_bytes());
        assert!(!buffer.as_ptr_range().contains(&key.as_ptr()));
        assert!(request.extensions().is_empty());
        assert_eq!(
            request.uri().query(),
            Some("EIO=4&transport=websocket&sid=abc")
        );
    }

    #[test]
    fn answer_accepts_the_key_as_rfc_6455_says() {
        let mut headers = HeaderMap::new();
        assert!(switching_protocols(&headers).is_none());
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(KEY));
        let response = switching_protocols(&headers).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let accept = &response.headers()[SEC_WEBSOCKET_ACCEPT];
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
