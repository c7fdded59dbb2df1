//! Access to the internal API. Loopback needs no token, but any web page in a browser on this machine can send requests to it:
//! by a form, by `fetch`, or by a name of its own that resolves to 127.0.0.1. So nothing that a page sends is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};

use super::answers::answer;
use crate::auth::bearer;
use crate::problem::Problem;
use crate::telemetry::labels::RejectReason;
use crate::telemetry::{Metrics, events};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rule of one internal listener.
pub struct Access {
    /// What requests must carry.
    pub token: Option<SecretString>,
    /// The listener cannot be reached from other machines.
    pub on_loopback: bool,
    /// Names in lower case by which it may be called, beside `localhost` and addresses.
    pub names: Vec<String>,
    pub metrics: Metrics,
}

/// Why a request is refused, with a sentence for the one who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AccessRefusal {
    status: StatusCode,
    code: &'static str,
    reason: RejectReason,
    detail: &'static str,
}

const ORIGIN: AccessRefusal = AccessRefusal {
    status: StatusCode::FORBIDDEN,
    code: "origin",
    reason: RejectReason::ApiOrigin,
    detail: "the internal API does not answer web pages: send neither Origin nor a foreign Sec-Fetch-Site",
};

const HOST: AccessRefusal = AccessRefusal {
    status: StatusCode::FORBIDDEN,
    code: "host",
    reason: RejectReason::ApiHost,
    detail: "the internal API answers to IP addresses, localhost and the names in INTERNAL_NAMES: this Host is none of them",
};

const MEDIA_TYPE: AccessRefusal = AccessRefusal {
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    code: "media_type",
    reason: RejectReason::ApiMediaType,
    detail: "the body must be JSON, with Content-Type: application/json",
};

const NO_TOKEN_SET: AccessRefusal = AccessRefusal {
    status: StatusCode::FORBIDDEN,
    code: "no_internal_token",
    reason: RejectReason::ApiToken,
    detail: "the internal API can be reached from other machines here, so it needs INTERNAL_TOKEN to be set",
};

const TOKEN_MISSING: AccessRefusal = AccessRefusal {
    status: StatusCode::UNAUTHORIZED,
    code: "token_missing",
    reason: RejectReason::ApiToken,
    detail: "send Authorization: Bearer with the INTERNAL_TOKEN of this server",
};

const TOKEN_INVALID: AccessRefusal = AccessRefusal {
    code: "token_invalid",
    detail: "this is not the INTERNAL_TOKEN of this server",
    ..TOKEN_MISSING
};

impl Access {
    /// Lets a request through, or answers it.
    pub(super) async fn guard(self: Arc<Self>, request: Request, next: Next) -> Response {
        if let Err(rejection) = self.admit(request.uri(), request.headers()) {
            let path = request.extensions().get::<MatchedPath>();
            return self.reject(rejection, path.map(MatchedPath::as_str));
        }
        answer(&self.metrics, request, next).await
    }

    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), AccessRefusal> {
        if is_from_a_page(headers) {
            return Err(ORIGIN);
        }
        if !self.is_ours(uri, headers) {
            return Err(HOST);
        }
        self.check_token(headers)?;
        if has_other_body(headers) {
            return Err(MEDIA_TYPE);
        }
        Ok(())
    }

    /// Whether the request was meant for this listener, by all that it says of that.
    fn is_ours(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let is_known = |host: &str| {
            let Some(name) = host_name(host) else {
                return false;
            };
            is_address(name)
                || name.eq_ignore_ascii_case("localhost")
                || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
        };
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        host.to_str().is_ok_and(is_known)
            && (uri.authority()).is_none_or(|authority| is_known(authority.as_str()))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), AccessRefusal> {
        let Some(token) = &self.token else {
            return if self.on_loopback {
                Ok(())
            } else {
                Err(NO_TOKEN_SET)
            };
        };
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(TOKEN_MISSING);
        }
        let given = bearer(headers).ok_or(TOKEN_INVALID)?;
        let (given, token) = (given.expose_secret(), token.expose_secret());
        verify_slices_are_equal(given.as_bytes(), token.as_bytes()).map_err(|_| TOKEN_INVALID)
    }

    fn reject(&self, rejection: AccessRefusal, path: Option<&str>) -> Response {
        let AccessRefusal {
            reason,
            detail,
            code,
            ..
        } = rejection;
        events::refused_at(&self.metrics, reason, detail, path, Some(code));
        let mut response =
            Problem::new(rejection.status, rejection.code, rejection.detail).into_response();
        if rejection.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            (response.headers_mut()).insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// Browsers send `Origin` with whatever a page can do harm by, and say of the rest where it comes from. `none` is a person at
/// the address bar.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        || (headers.get_all(SEC_FETCH_SITE).iter())
            .any(|site| !["none", "same-origin"].contains(&site.to_str().unwrap_or_default()))
}

/// Forms can send other types than JSON, and a page that sends JSON has to ask first, with an `Origin`.
pub(super) fn has_other_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || length.is_some_and(|length| length != "0");
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) => has_body,
        (Some(only), None) => !only.to_str().is_ok_and(is_json),
        (Some(_), Some(_)) => true,
    }
}

pub(super) fn media_type() -> Problem {
    Problem::new(MEDIA_TYPE.status, MEDIA_TYPE.code, MEDIA_TYPE.detail)
}

/// `application/json`, perhaps with parameters.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Without the port. `None`: not a host.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(_) => {
            let end = host.find(']')? + 1;
            (&host[..end], &host[end..])
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    (is_port && !name.is_empty()).then_some(name)
}

fn is_address(name: &str) -> bool {
    let bracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address: Option<IpAddr> = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    address.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, on_loopback: bool) -> Access {
        Access {
            token: token.map(SecretString::from),
            on_loopback,
            names: vec!["push.internal".to_owned()],
            metrics: Metrics::new(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn code(access: &Access, pairs: &[(&str, &str)]) -> &'static str {
        let uri = Uri::from_static("/api/connections");
        match access.admit(&uri, &headers(pairs)) {
            Ok(()) => "-",
            Err(rejection) => rejection.code,
        }
    }

    #[test]
    fn h4_only_addresses_localhost_and_configured_names_are_hosts() {
        let access = access(None, true);
        for (host, expected) in [
            ("127.0.0.1:9001", "-"),
            ("127.0.0.1", "-"),
            ("10.1.2.3:80", "-"),
            ("[::1]:9001", "-"),
            ("[::1]", "-"),
            ("localhost:9001", "-"),
            ("LocalHost", "-"),
            ("push.internal:9001", "-"),
            ("PUSH.internal", "-"),
            ("evil.example:9001", "host"),
            ("evil.example", "host"),
            ("localhost.evil.example", "host"),
            ("127.0.0.1.evil.example", "host"),
            ("push.internal.evil.example", "host"),
            ("x.push.internal", "host"),
            ("localhost.", "host"),
            ("127.1", "host"),
            ("2130706433", "host"),
            ("[::1", "host"),
            ("[evil]", "host"),
            ("::1", "host"),
            ("127.0.0.1:9001:evil", "host"),
            ("evil@127.0.0.1", "host"),
            ("localhost:evil", "host"),
            ("", "host"),
            (":9001", "host"),
        ] {
            assert_eq!(code(&access, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(code(&access, &[]), "host", "none at all");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(code(&access, &two), "host");
        let absolute = Uri::from_static("http://evil.example/api/connections");
        let given = headers(&[("host", "localhost")]);
        assert_eq!(access.admit(&absolute, &given), Err(HOST));
    }

    #[test]
    fn h4_whatever_a_page_sends_is_refused() {
        let access = access(None, true);
        for (name, value, expected) in [
            ("origin", "http://evil.example", "origin"),
            ("origin", "http://127.0.0.1:9001", "origin"),
            ("origin", "null", "origin"),
            ("origin", "", "origin"),
            ("sec-fetch-site", "cross-site", "origin"),
            ("sec-fetch-site", "same-site", "origin"),
            ("sec-fetch-site", "whatever", "origin"),
            ("sec-fetch-site", "none", "-"),
            ("sec-fetch-site", "same-origin", "-"),
        ] {
            let sent = [("host", "localhost"), (name, value)];
            assert_eq!(code(&access, &sent), expected, "{name}: {value}");
        }
    }

    #[test]
    fn h4_a_body_is_json_by_its_own_word() {
        let access = access(None, true);
        for (media_type, expected) in [
            (Some("application/json"), "-"),
            (Some("Application/JSON; charset=utf-8"), "-"),
            (Some("application/x-www-form-urlencoded"), "media_type"),
            (Some("multipart/form-data; boundary=x"), "media_type"),
            (Some("text/plain"), "media_type"),
            (Some("text/plain;application/json"), "media_type"),
            (Some("application/jsonp"), "media_type"),
            (Some(""), "media_type"),
            (None, "media_type"),
        ] {
            for framing in [("content-length", "2"), ("transfer-encoding", "chunked")] {
                let mut sent = vec![("host", "localhost"), framing];
                sent.extend(media_type.map(|value| ("content-type", value)));
                assert_eq!(code(&access, &sent), expected, "{media_type:?}");
            }
        }
        let empty = [("host", "localhost"), ("content-length", "0")];
        assert_eq!(code(&access, &empty), "-");
    }

    #[test]
    fn h4_off_loopback_a_token_is_required_and_on_it_one_that_is_set() {
        const TOKEN: &str = "kq3vN8xW0pZr5tYb";
        let good = [
            ("host", "localhost"),
            ("authorization", "bEaReR kq3vN8xW0pZr5tYb"),
        ];
        let none = &good[..1];
        assert_eq!(code(&access(None, true), none), "-");
        assert_eq!(code(&access(None, false), none), "no_internal_token");
        assert_eq!(code(&access(None, false), &good), "no_internal_token");
        for on_loopback in [true, false] {
            let access = access(Some(TOKEN), on_loopback);
            assert_eq!(code(&access, none), "token_missing");
            assert_eq!(code(&access, &good), "-");
            for wrong in [
                "Bearer kq3vN8xW0pZr5tY",
                "Bearer kq3vN8xW0pZr5tYbb",
                "Bearer KQ3VN8XW0PZR5TYB",
                "Bearer ",
                "Bearer",
                "Basic kq3vN8xW0pZr5tYb",
                "kq3vN8xW0pZr5tYb",
            ] {
                let sent = [("host", "localhost"), ("authorization", wrong)];
                assert_eq!(code(&access, &sent), "token_invalid", "{wrong}");
            }
            let twice = [good[0], good[1], good[1]];
            assert_eq!(code(&access, &twice), "token_invalid");
        }
    }
}
