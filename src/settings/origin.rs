//! Where a browser's page comes from.

use std::fmt;

use url::Url;

use super::values::Wrong;

/// A browser's origin, as it stands in the `Origin` header: scheme, host, and the port if it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Normalised as browsers do: lower case, no port that goes without saying. `ws` and `wss` are what some native clients say
    /// for `http` and `https`. Anything more than an origin is refused.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |why: &str| format!("{text} {why}");
        let (_, authority) = text
            .split_once("://")
            .ok_or_else(|| wrong("lacks a scheme such as https://"))?;
        if authority.contains(['/', '?', '#', '@', '*']) {
            return Err(wrong(
                "is more than scheme, host and port (patterns are not origins)",
            ));
        }
        // A URL may leave the port out behind its colon, and white space in it is skipped; in an origin both are mistakes.
        let is_exact = !text.ends_with(':') && !text.contains([' ', '\t', '\n', '\r', '\\']);
        let url = Url::parse(text).ok().filter(|_| is_exact);
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        match &url {
            Some(url) if !host.is_empty() => {
                let port = url.port().map_or(String::new(), |port| format!(":{port}"));
                let host = host.to_ascii_lowercase();
                let scheme = match url.scheme() {
                    "ws" => "http",
                    "wss" => "https",
                    other => other,
                };
                Ok(Self(format!("{scheme}://{host}{port}")))
            }
            _ => Err(wrong("has no valid scheme, host and port")),
        }
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
    use crate::settings::CorsOrigins;
    use crate::settings::addresses::cors_origins as origins;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("ionic://localhost", "ionic://localhost"),
            ("http://my_host:8001", "http://my_host:8001"),
            ("wss://app.example.com", "https://app.example.com"),
            ("WSS://app.example.com:443", "https://app.example.com"),
            ("ws://[::1]:80", "http://[::1]"),
            ("ws://h:443", "http://h:443"),
            ("wss://h:80", "https://h:80"),
            ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), Ok(origin));
        }
        for wrong in [
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "wss://app.example.com/",
            "file://",
            "https://*.example.com",
            "https://user@example.com",
            "https://example.com:x",
            "https://example.com:",
            "https://example.com:70000",
            "https://exam\tple.com",
            "https://example.com\\",
            "https://",
            "https://exam ple.com",
            "://example.com",
            "null",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
        let two = ["http://a", "http://b"].map(|text| Origin::parse(text).unwrap());
        let exact = Ok(CorsOrigins::Exact(two.to_vec()));
        assert_eq!(origins("http://b, http://a,,http://a"), exact);
        assert!(origins("http://a,*").is_err());
        let both = origins("https://a.example/,http://b,c.example").unwrap_err();
        assert!(both.contains("https://a.example/ is more") && both.contains("; c.example lacks"));
    }
}
