//! Who may connect: from a token to claims.
//!
//! The outside gets one of three codes and nothing else; what exactly was wrong goes to the log, without the token and without
//! values of claims. `now` is passed in, so the check is a function of its arguments.

mod mint;
mod token;

use std::fmt;
use std::time::Duration;

use fleetcast_core::domain::claims::{Claims, ClaimsError};
use fleetcast_core::domain::protocol::Refusal;
use secrecy::ExposeSecret;

pub use mint::{Grant, MintError, mint, sign};

use crate::settings::AuthSettings;
use crate::telemetry::labels::Refused;
use crate::telemetry::{Metrics, events};
use token::Key;

/// A longer token is not looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// How far beyond the leeway `iat` may lie ahead of our clock before the issuer is not to be believed at all.
const IAT_AHEAD: Duration = Duration::from_mins(5);

/// Verifies tokens. Cheap to share behind an `Arc`; holds the keys.
pub struct Verifier {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: u64,
}

/// Why a token was refused: the code for the client, the reason for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    pub code: Refusal,
    pub why: Why,
}

/// For the log and for `token inspect`. Names what is wrong, never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("no token was given")]
    Missing,
    #[error("the token is longer than 16 KiB")]
    TooLong,
    #[error("it is not a token: three parts in base64url, the first two JSON objects")]
    Malformed,
    #[error("its algorithm is not one that this server accepts")]
    Algorithm,
    #[error("its header asks for an extension (crit)")]
    Critical,
    #[error("its signature does not fit the key")]
    Signature,
    #[error("claim {0} is missing")]
    MissingClaim(&'static str),
    #[error("claim {0} is not a whole number of seconds")]
    NotATime(&'static str),
    #[error("it has expired (exp)")]
    Expired,
    #[error("it is not valid yet (nbf)")]
    NotYet,
    #[error("it was issued in the future (iat): are the clocks right?")]
    IssuedInFuture,
    #[error("it is from another issuer (iss)")]
    Issuer,
    #[error("it is for another audience (aud)")]
    Audience,
    #[error(transparent)]
    Claims(ClaimsError),
}

impl Rejected {
    fn new(why: Why) -> Self {
        let code = match why {
            Why::Missing => Refusal::TokenMissing,
            Why::Expired => Refusal::TokenExpired,
            _ => Refusal::TokenInvalid,
        };
        Self { code, why }
    }

    /// Counts it and says it in the log, at most once a second for each code.
    pub fn report(&self, metrics: &Metrics) {
        events::refused(metrics, Refused::from(self.code), &self.why.to_string());
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.why)
    }
}

impl std::error::Error for Rejected {}

impl Verifier {
    pub fn new(settings: &AuthSettings) -> Self {
        Self {
            keys: vec![Key::hs256(settings.secret.expose_secret().as_bytes())],
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway: settings.leeway.as_secs(),
        }
    }

    /// The claims of a token that is good at `now_unix` (seconds).
    pub fn verify(&self, token: &str, now_unix: u64) -> Result<Claims, Rejected> {
        self.check(token, now_unix).map_err(Rejected::new)
    }

    /// As `verify`, when a client may have sent none. An empty text is none.
    pub fn verify_given(&self, token: Option<&str>, now_unix: u64) -> Result<Claims, Rejected> {
        self.verify(token.unwrap_or_default(), now_unix)
    }

    fn check(&self, token: &str, now: u64) -> Result<Claims, Why> {
        if token.is_empty() {
            return Err(Why::Missing);
        }
        if token.len() > MAX_TOKEN {
            return Err(Why::TooLong);
        }
        let claims = token::open(token, &self.keys)?;
        token::check_times(&claims, now, self.leeway, IAT_AHEAD.as_secs())?;
        if let Some(issuer) = &self.issuer {
            token::check_issuer(&claims, issuer)?;
        }
        if let Some(audience) = &self.audience {
            token::check_audience(&claims, audience)?;
        }
        Claims::from_json(&claims).map_err(Why::Claims)
    }
}

/// Keys are not for anybody's eyes.
impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Verifier")
            .field("keys", &self.keys.len())
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("leeway", &self.leeway)
            .finish()
    }
}

#[cfg(test)]
mod tests;
