//! Whether a request that asks for a WebSocket asks as RFC 6455 (4.2.1) says. The library would take any key.

use axum::body::Body;
use axum::http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::problem::Problem;

/// The only version that there is.
const VERSION: &str = "13";

/// The answer, if it asks for a WebSocket in another way.
pub(super) fn refused(headers: &HeaderMap) -> Option<Response<Body>> {
    if !asks_for_websocket(headers) {
        return None;
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        let mut refusal = refusal("Sec-WebSocket-Version must be 13");
        let version = HeaderValue::from_static(VERSION);
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
        return Some(refusal);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Some(refusal("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    None
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let protocols = headers.get_all(UPGRADE).iter();
    let mut protocols = protocols.filter_map(|value| value.to_str().ok());
    protocols.any(|value| {
        let mut names = value.split(',').map(str::trim);
        names.any(|name| name.eq_ignore_ascii_case("websocket"))
    })
}

/// `None` also where it is there twice.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

fn refusal(detail: &'static str) -> Response<Body> {
    Problem::new(StatusCode::BAD_REQUEST, "bad_upgrade", detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// The status of the refusal, and the version that it names.
    fn status(pairs: &[(&'static str, &str)]) -> Option<(u16, bool)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::try_from(*value).expect("a value"));
        }
        let refusal = refused(&headers)?;
        let names_version = refusal.headers().get(SEC_WEBSOCKET_VERSION).is_some();
        Some((refusal.status().as_u16(), names_version))
    }

    #[test]
    fn a_websocket_is_asked_for_with_a_key_of_16_bytes_and_version_13() {
        let asks = |key: &str, version: &str| {
            status(&[
                ("upgrade", "websocket"),
                ("sec-websocket-key", key),
                ("sec-websocket-version", version),
            ])
        };
        assert_eq!(asks(KEY, "13"), None);
        assert_eq!(asks(&format!(" {KEY} "), " 13"), None);
        let sixteen = STANDARD.encode([0; 16]);
        assert_eq!(asks(&sixteen, "13"), None);
        for key in [
            "",
            "x",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ==x",
            "dGhlIHNhbXBsZSBub25jZ!==",
            &STANDARD.encode([0; 15]),
            &STANDARD.encode([0; 17]),
            &STANDARD.encode([0; 1_000]),
        ] {
            assert_eq!(asks(key, "13"), Some((400, false)), "{key}");
        }
        for version in ["", "12", "8", "013", "13.0", "13, 8", "thirteen"] {
            assert_eq!(asks(KEY, version), Some((400, true)), "{version}");
        }
        let twice = [
            ("upgrade", "h2c, WebSocket"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        assert_eq!(status(&twice), Some((400, false)));
        assert_eq!(status(&twice[..3]), None);
        assert_eq!(status(&twice[..2]), Some((400, true)));
        assert_eq!(status(&twice[1..2]), None, "no WebSocket is asked for");
    }
}
