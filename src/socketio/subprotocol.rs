//! The WebSocket subprotocol of a client: we need none, but browsers and others fail a connection when none of those that they
//! offered is answered.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longer ones are not echoed. Bytes.
const LONGEST: usize = 128;

/// The first that is offered and is no token. A token must not come back in a header, where proxies log it.
pub(super) fn answer(headers: &HeaderMap) -> Option<HeaderValue> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offers = offers.filter_map(|value| value.to_str().ok());
    let mut names = offers.flat_map(|value| value.split(',')).map(str::trim);
    let name = names.find(|name| is_name(name) && !holds_token(name))?;
    HeaderValue::from_str(name).ok()
}

/// A token of HTTP (RFC 9110, 5.6.2), which a subprotocol has to be.
fn is_name(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_tchar)
}

/// `bearer.<token>`, or a JWT as it is: three parts, the first of which is a JSON object in base64. There may be white space in it.
fn holds_token(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut parts = name.split('.');
    let header = parts
        .next()
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let is_object = header.is_some_and(|header| header.trim_ascii().starts_with(b"{"));
    lower.starts_with("bearer.") || is_object && parts.count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl";

    fn answered(offers: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            let offer = HeaderValue::from_bytes(offer.as_bytes()).unwrap();
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, offer);
        }
        answer(&headers).map(|name| name.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_first_name_that_is_no_token_is_answered() {
        let bearer = format!("bearer.{JWT}");
        let both = format!("{bearer}, notify , other");
        for (offers, expected) in [
            (&[][..], None),
            (&["notify"], Some("notify")),
            (&["notify, notify"], Some("notify")),
            (&["a,b", "c"], Some("a")),
            (&[" , ,\tnotify\t,"], Some("notify")),
            (&[&both], Some("notify")),
            (&[JWT, "v1.notify.example"], Some("v1.notify.example")),
            (&[&bearer], None),
            (&[JWT], None),
            // `{ "alg":"HS256"}` and its like with line ends.
            (&["eyAiYWxnIjoiSFMyNTYifQ.eyJzdWIiOiJ1MSJ9.c2ln"], None),
            (&["ewogImFsZyI6IkhTMjU2In0.eyJzdWIiOiJ1MSJ9.c2ln"], None),
            (&["IHsiYWxnIjoiSFMyNTYifQ.eyJzdWIiOiJ1MSJ9.c2ln"], None),
            (&["Bearer.opaque", "BEARER."], None),
            (
                &["no name", "a/b", "n\u{e9}", "\"q\"", "graphql-ws"],
                Some("graphql-ws"),
            ),
            (&["", ","], None),
            (&["bearer"], Some("bearer")),
            (&["eyJ"], Some("eyJ")),
        ] {
            assert_eq!(answered(offers).as_deref(), expected, "{offers:?}");
        }
        assert_eq!(answered(&[&"x".repeat(LONGEST + 1)]), None);
    }
}
