//! Whose web pages may connect. CORS headers bind `fetch` only; a WebSocket from a foreign page must be refused here.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::settings::{CorsOrigins, Listen, Origin};

/// The rule of the settings.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    allowed: CorsOrigins,
    /// Native apps, servers and curl send none.
    none_is_fine: bool,
}

impl Origins {
    pub(super) fn new(listen: &Listen) -> Self {
        Self {
            allowed: listen.cors_origins.clone(),
            none_is_fine: listen.allow_no_origin,
        }
    }

    /// Whether a request with these headers may go on.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::ORIGIN) {
            None => self.none_is_fine,
            Some(origin) => self.allow(origin, headers),
        }
    }

    /// Whether a page of this origin may talk to us: one of the list, or the host that the request came to. The scheme of
    /// the latter is not compared, because a proxy may have ended TLS.
    pub(super) fn allow(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let CorsOrigins::Exact(exact) = &self.allowed else {
            return true;
        };
        let Some(origin) = origin
            .to_str()
            .ok()
            .and_then(|text| Origin::parse(text).ok())
        else {
            return false;
        };
        if exact.contains(&origin) {
            return true;
        }
        let scheme = origin.as_str().split("://").next().unwrap_or_default();
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        host.and_then(|host| Origin::parse(&format!("{scheme}://{host}")).ok())
            .is_some_and(|own| own == origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ws_counts_as_http_and_the_default_port_as_none_and_nothing_else_does() {
        for (origin, host, admitted) in [
            ("wss://h", "h:443", true),
            ("wss://h:443", "h", true),
            ("wss://h", "h", true),
            ("ws://h", "h:80", true),
            ("ws://h:80", "h", true),
            ("https://h", "h:443", true),
            ("https://h:443", "h", true),
            ("http://h", "h:80", true),
            ("WSS://H", "h:443", true),
            ("wss://[::1]", "[::1]:443", true),
            ("ws://[::1]:8001", "[::1]:8001", true),
            ("wss://h:8443", "h:8443", true),
            // Behind a proxy that ends TLS, as ever.
            ("https://h:8001", "h:8001", true),
            ("wss://h", "h:80", false),
            ("ws://h", "h:443", false),
            ("https://h", "h:80", false),
            ("wss://h", "h:8443", false),
            ("wss://h.evil.io", "h:443", false),
            ("wss://evilh", "h:443", false),
            ("wss://user@h", "h:443", false),
            ("wss://h/", "h:443", false),
            ("ftp://h", "h:443", false),
            ("wss://", "h:443", false),
            ("file://", "h", false),
            ("null", "h", false),
        ] {
            assert_eq!(admits(&[], Some(origin), host), admitted, "{origin} {host}");
        }
        // Listed ones, in either form.
        for listed in ["wss://app.example.com:443", "https://app.example.com"] {
            for origin in ["wss://app.example.com", "https://app.example.com:443"] {
                assert!(admits(&[listed], Some(origin), "h"), "{listed} {origin}");
            }
            for origin in [
                "ws://app.example.com",
                "http://app.example.com",
                "wss://app.example.com:8443",
            ] {
                assert!(!admits(&[listed], Some(origin), "h"), "{listed} {origin}");
            }
        }
        assert!(admits(
            &["capacitor://localhost"],
            Some("capacitor://localhost"),
            "h"
        ));
        assert!(!admits(
            &["capacitor://localhost"],
            Some("http://localhost"),
            "h"
        ));
    }

    fn admits(allowed: &[&str], origin: Option<&str>, host: &str) -> bool {
        let allowed = allowed
            .iter()
            .map(|text| Origin::parse(text).unwrap())
            .collect();
        let origins = Origins {
            allowed: CorsOrigins::Exact(allowed),
            none_is_fine: true,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        origins.admit(&headers)
    }

    #[test]
    fn a13_only_exact_origins_and_the_own_host_are_allowed() {
        let app = ["https://app.example.com"];
        for (origin, admitted) in [
            (None, true),
            (Some("https://app.example.com"), true),
            (Some("https://APP.example.com:443"), true),
            (Some("http://push.example.com:8001"), true),
            (Some("https://app.example.com.evil.io"), false),
            (Some("https://evilapp.example.com"), false),
            (Some("https://app.example.com:8443"), false),
            (Some("http://app.example.com"), false),
            (Some("http://push.example.com"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            assert_eq!(
                admits(&app, origin, "push.example.com:8001"),
                admitted,
                "{origin:?}"
            );
        }
    }
}
