//! Where a browser's page comes from.

use std::fmt;

use super::values::{Wrong, port};

/// A browser's origin, as it stands in the `Origin` header: scheme, host, and the port if it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Normalised as browsers do: lower case, no port that goes without saying. Anything more than an origin is refused.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |why: &str| format!("{text} {why}");
        let (scheme, authority) = text
            .split_once("://")
            .ok_or_else(|| wrong("lacks a scheme such as https://"))?;
        let scheme = scheme.to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(plain) {
            return Err(wrong("has no valid scheme"));
        }
        if authority.contains(['/', '?', '#', '@', '*']) {
            return Err(wrong(
                "is more than scheme, host and port (patterns are not origins)",
            ));
        }
        let authority: axum::http::uri::Authority = authority
            .parse()
            .map_err(|_| wrong("has no valid host and port"))?;
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let own_port = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let rest = &authority.as_str()[authority.host().len()..];
        let port = match rest.strip_prefix(':') {
            None => None,
            Some(text) => Some(port(text).map_err(|_| wrong("has no valid port"))?),
        };
        Ok(Self(match port {
            Some(port) if Some(port) != own_port => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        }))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::values::origins;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), Ok(origin));
        }
        for wrong in [
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://*.example.com",
            "https://user@example.com",
            "https://example.com:x",
            "https://example.com:",
            "https://example.com:70000",
            "https://exam ple.com",
            "://example.com",
            "null",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            origins("http://b, http://a,,http://a").map(|list| list.len()),
            Ok(2)
        );
        assert!(origins("http://a,*").is_err());
        let both = origins("https://a.example/,http://b,c.example").unwrap_err();
        assert!(both.contains("https://a.example/ is more") && both.contains("; c.example lacks"));
    }
}
