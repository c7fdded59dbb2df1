//! The key server: one GET, with every limit that a stranger's answer needs.

use std::time::Duration;

use anyhow::Context;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::files::MAX_DOCUMENT;
use super::jwks::{self, KeyOrigin};
use super::keys::{Allowed, Key};

/// No client waits that long.
const FETCH: Duration = Duration::from_secs(5);

/// How long an answer holds that does not say so itself, and between which bounds it may say it.
const MAX_AGE: Duration = Duration::from_mins(5);
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_hours(1);

pub(super) struct KeyServer {
    client: Client,
    url: Url,
}

/// A good answer.
pub(super) struct FetchedKeys {
    pub(super) keys: Vec<Key>,
    pub(super) good_for: Duration,
}

impl KeyServer {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).context("JWT_JWKS is not a URL")?;
        let mut builder = Client::builder()
            // Keys come from where the operator said, and from nowhere else.
            .redirect(Policy::none())
            .timeout(FETCH)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("fleetcast/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // The settings allow that on loopback only, where no proxy and no certificate has a place.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let client = builder
            .build()
            .context("cannot set up the client for JWT_JWKS")?;
        Ok(Self { client, url })
    }

    /// For people: without the query, which may hold a key of its own.
    pub(super) fn name(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// `bypass_caches`: caches on the way must not answer.
    pub(super) async fn fetch(
        &self,
        allowed: &Allowed,
        bypass_caches: bool,
    ) -> Result<FetchedKeys, String> {
        let mut request = self.client.get(self.url.clone());
        request = request.header(ACCEPT, "application/jwk-set+json, application/json");
        if bypass_caches {
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        let mut response = request.send().await.map_err(|error| plain(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!(
                "it answered {status}, and redirects are not followed"
            ));
        }
        if status != reqwest::StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        let good_for = max_age(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| plain(&error))? {
            if body.len() + chunk.len() > MAX_DOCUMENT {
                return Err(format!("its answer is longer than {MAX_DOCUMENT} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let keys = jwks::parse(&body, allowed, KeyOrigin::Public)
            .map_err(|why| format!("its answer cannot be used: {why}"))?;
        Ok(FetchedKeys { keys, good_for })
    }
}

/// What went wrong, down to the cause, without the URL.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", FETCH.as_secs());
    }
    let mut text = String::from("no answer");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn max_age(headers: &HeaderMap) -> Duration {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut good_for = MAX_AGE;
    for directive in directives {
        if directive == "no-cache" || directive == "no-store" {
            return SHORTEST;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            let seconds = seconds.trim_matches('"').parse().map(Duration::from_secs);
            good_for = seconds.unwrap_or(MAX_AGE);
        }
    }
    good_for.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_is_honoured_within_bounds() {
        for (value, seconds) in [
            (None, 300),
            (Some("public, max-age=600, must-revalidate"), 600),
            (Some("MAX-AGE=60"), 60),
            (Some("max-age=0"), 30),
            (Some("max-age=99999999"), 3600),
            (Some("max-age=soon"), 300),
            (Some("max-age=-1"), 300),
            (Some("no-store"), 30),
            (Some("max-age=600, no-cache"), 30),
            (Some("private"), 300),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(max_age(&headers).as_secs(), seconds, "{value:?}");
        }
    }

    #[test]
    fn the_name_of_a_server_has_no_query() {
        let server = KeyServer::new("http://127.0.0.1:1/keys?api_key=hush").unwrap();
        assert_eq!(server.name(), "http://127.0.0.1:1/keys");
    }
}
