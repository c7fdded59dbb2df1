//! From a token to claims, or to the reason why it is rejected.
//!
//! The outside gets one of three codes and nothing else; what exactly was wrong goes to the log, without the token and without
//! values of claims. `now` is passed in, so the check is a function of its arguments and of the keys that are known.
//!
//! A client that is rejected never comes back by itself, so a token is rejected only once every source that may have its key was
//! asked and has answered. Until then the answer is `KeyUnavailable`.

mod algorithm;
mod bearer;
mod files;
mod issuer;
mod jwks;
mod keyring;
mod keys;
mod mint;
mod pem;
mod secret;
mod server;
mod sources;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fleetcast_core::domain::claims::{ClaimRules, Claims, ClaimsError};
use fleetcast_core::domain::protocol::Refusal;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

pub use algorithm::algorithm;
pub use bearer::bearer;
pub use keyring::KeyHealth;
pub use mint::{Grant, MintError, mint};
pub use secret::{internal_token, jwt_secret};
pub use sources::{AuthSettings, IssuerSettings, JwksSource, KeySources, check as check_keys};

use crate::lifecycle::Lifecycle;
use crate::telemetry::labels::RejectReason;
use crate::telemetry::{Metrics, events};
use issuer::TokenIssuer;
use keyring::{Outlook, RefreshIntervals};
use token::UnverifiedToken;

/// A longer token is not looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// How far beyond the leeway `iat` may lie ahead of our clock before the issuer is not to be believed at all.
const IAT_AHEAD: Duration = Duration::from_mins(5);

/// A token is good for no longer than this after `exp`, whatever the leeway: a connection is to end soon after its token has
/// expired, and a client that would be closed at once must not be accepted.
const EXPIRY_GRACE: Duration = Duration::from_secs(4);

/// How long a client waits for a key that is being looked up.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Verifies tokens. Cheap to share behind an `Arc`; holds the keys.
#[derive(Debug)]
pub struct Verifier {
    /// At least one, and each by another `iss`: a key verifies only the tokens of its own issuer.
    issuers: Vec<TokenIssuer>,
    /// The first of them is that of the variables.
    has_own: bool,
    leeway: u64,
    /// How long after `exp` a token is still good, in seconds.
    expiry_grace: u64,
    max_lifetime: Option<u64>,
    /// What the profile says about claims.
    rules: ArcSwap<ClaimRules>,
}

/// Why there are no claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// For good: no retry mends the token.
    Rejected(Rejected),
    /// Whether the token is good is not known now, because its key is not at hand: the client must try again.
    KeyUnavailable,
}

/// Why a token was refused: the code for the client, the reason for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub code: Refusal,
    pub why: TokenDefect,
}

/// For the log and for `token inspect`. Names what is wrong, never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenDefect {
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
    #[error("its header says that it is of another type (typ): neither JWT nor at+jwt")]
    Type,
    #[error("its signature does not fit the key")]
    Signature,
    #[error("its key (kid) is not one of ours")]
    UnknownKey,
    #[error("claim {0} is missing")]
    MissingClaim(&'static str),
    #[error("claim {0} is not a number of seconds")]
    NotATime(&'static str),
    #[error("it has expired (exp)")]
    Expired,
    #[error("it is good for longer than JWT_MAX_LIFETIME")]
    Lifetime,
    #[error("it has no iat, which JWT_MAX_LIFETIME needs")]
    NoIssueTime,
    #[error("it is not valid yet (nbf)")]
    NotYet,
    #[error("it was issued in the future (iat): are the clocks right?")]
    IssuedInFuture,
    #[error("it is from another issuer (iss)")]
    Issuer,
    #[error("it is for another audience (aud)")]
    Audience,
    #[error("its issuer may not speak for this organisation")]
    Organisation,
    #[error(transparent)]
    Claims(ClaimsError),
}

impl Rejected {
    fn new(why: TokenDefect) -> Self {
        let code = match why {
            TokenDefect::Missing => Refusal::TokenMissing,
            TokenDefect::Expired => Refusal::TokenExpired,
            _ => Refusal::TokenInvalid,
        };
        Self { code, why }
    }

    /// Counts it and says it in the log, at most once a second for each code.
    pub fn report(&self, metrics: &Metrics) {
        events::refused(
            metrics,
            RejectReason::from(self.code),
            &self.why.to_string(),
        );
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.why)
    }
}

impl std::error::Error for Rejected {}

impl Verifier {
    /// Reads the key files. A key server is asked from `keep` on.
    pub fn open(settings: &AuthSettings) -> anyhow::Result<Self> {
        Self::at_pace(settings, RefreshIntervals::default())
    }

    fn at_pace(settings: &AuthSettings, pace: RefreshIntervals) -> anyhow::Result<Self> {
        let issuers = settings.issuers();
        Ok(Self {
            issuers: issuers
                .map(|issuer| TokenIssuer::open(issuer, pace))
                .collect::<anyhow::Result<_>>()?,
            has_own: !settings.own.keys.is_empty(),
            leeway: settings.leeway.as_secs(),
            expiry_grace: settings.leeway.min(EXPIRY_GRACE).as_secs(),
            max_lifetime: settings.max_lifetime.map(|longest| longest.as_secs()),
            rules: ArcSwap::default(),
        })
    }

    /// How many seconds after any moment the last token that was issued up to then is refused, where `JWT_MAX_LIFETIME` limits that.
    /// Issuers' clocks may be ahead.
    pub fn longest_life(&self) -> Option<u64> {
        let clocks = 2 * self.leeway + IAT_AHEAD.as_secs();
        Some(self.max_lifetime?.saturating_add(clocks))
    }

    /// Keeps the keys current until the process stops.
    pub fn keep(&self, metrics: &Metrics, lifecycle: &Lifecycle) {
        for TokenIssuer { keyring, .. } in &self.issuers {
            let files = (keyring.clone()).keep_files(metrics.clone(), lifecycle.stopping());
            lifecycle.spawn("key files", files);
            let server = (keyring.clone()).keep_server(metrics.clone(), lifecycle.stopping());
            lifecycle.spawn("key server", server);
        }
    }

    /// Has all sources read again, soon. What cannot be used leaves the old keys in place and is logged.
    pub fn reload(&self) {
        for issuer in &self.issuers {
            issuer.keyring.reload();
        }
    }

    /// Takes these in place of the settings' own secrets that it was opened with.
    pub fn set_secrets(&self, secrets: &[SecretString]) {
        if let Some(own) = self.issuers.first().filter(|_| self.has_own) {
            own.keyring.set_secrets(secrets);
        }
    }

    /// Reads claims by these rules from now on.
    pub fn set_claim_rules(&self, rules: ClaimRules) {
        self.rules.store(Arc::new(rules));
    }

    /// Of all issuers. Known as soon as those of one are: an issuer whose key server is away keeps only its own clients out, who try again.
    pub fn keys(&self) -> KeyHealth {
        let mut all = KeyHealth {
            known: false,
            problem: None,
        };
        for issuer in &self.issuers {
            let KeyHealth { known, problem } = issuer.keyring.health();
            all.known |= known;
            let problem = problem.map(|problem| match &issuer.name {
                Some(name) if self.issuers.len() > 1 => format!("{name}: {problem}"),
                _ => problem,
            });
            all.problem = match (all.problem, problem) {
                (Some(first), Some(more)) => Some(format!("{first}; {more}")),
                (one, other) => one.or(other),
            };
        }
        all
    }

    /// Asks the key server of this token's issuer, if it has one, and waits for its answer: for the command line, which has no `keep`.
    pub async fn ask_key_server(&self, token: &str) -> anyhow::Result<()> {
        match self.issuer(token) {
            Ok(issuer) => issuer.keyring.ask_now(&Metrics::new()).await,
            // It is refused whatever the keys are.
            Err(_) => Ok(()),
        }
    }

    /// The claims of a token that is good at `now_unix` (seconds). If its key is not known, this looks for it, and waits at
    /// most a second.
    pub async fn verify(&self, token: &str, now_unix: u64) -> Result<Claims, TokenError> {
        let reject = |why| TokenError::Rejected(Rejected::new(why));
        let issuer = self.issuer(token).map_err(reject)?;
        let mut unverified = match self.check(issuer, token, now_unix) {
            Ok(claims) => return Ok(claims),
            Err(unverified) => unverified,
        };
        let UnverifiedToken::NoKey(_, algorithm) = unverified else {
            return Err(reject(unverified.why()));
        };
        // What no key can mend needs no look-up: old tokens outlive their keys.
        token::unsigned(token)
            .and_then(|claims| self.accept(issuer, &claims, now_unix))
            .map_err(reject)?;
        let mut progress = issuer.keyring.subscribe();
        let first = issuer.keyring.ask(token, algorithm);
        let deadline = Instant::now() + LOOK_UP;
        loop {
            // In this order: what the progress counts is in the keys.
            let now = *progress.borrow_and_update();
            match self.check(issuer, token, now_unix) {
                Ok(claims) => return Ok(claims),
                Err(error) => unverified = error,
            }
            let UnverifiedToken::NoKey(why, algorithm) = unverified else {
                return Err(reject(unverified.why()));
            };
            match issuer.keyring.outlook(algorithm, first, now) {
                Outlook::Settled => return Err(reject(why)),
                Outlook::Later => return Err(TokenError::KeyUnavailable),
                Outlook::Wait => {}
            }
            match timeout_at(deadline, progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(TokenError::KeyUnavailable),
            }
        }
    }

    /// As `verify`, when a client may have sent none. An empty text is none.
    pub async fn verify_given(
        &self,
        token: Option<&str>,
        now_unix: u64,
    ) -> Result<Claims, TokenError> {
        self.verify(token.unwrap_or_default(), now_unix).await
    }

    /// Decides with the keys that are known, and looks for none.
    pub fn verify_now(&self, token: &str, now_unix: u64) -> Result<Claims, Rejected> {
        let issuer = self.issuer(token).map_err(Rejected::new)?;
        self.check(issuer, token, now_unix)
            .map_err(|unverified| Rejected::new(unverified.why()))
    }

    /// From this second on (since the Unix epoch) the token is rejected, and sessions that it began are closed.
    pub fn ends(&self, claims: &Claims) -> u64 {
        claims.expires.saturating_add(self.expiry_grace)
    }

    /// Whose keys a token is verified with. Where there are several, `iss` says it before any signature is checked.
    fn issuer(&self, token: &str) -> Result<&TokenIssuer, TokenDefect> {
        if token.is_empty() {
            return Err(TokenDefect::Missing);
        }
        if token.len() > MAX_TOKEN {
            return Err(TokenDefect::TooLong);
        }
        if let [only] = self.issuers.as_slice() {
            return Ok(only);
        }
        let named = token::issuer(token)?;
        let is_named = |issuer: &&TokenIssuer| issuer.name.as_deref() == Some(&named);
        (self.issuers.iter().find(is_named)).ok_or(TokenDefect::Issuer)
    }

    fn check(
        &self,
        issuer: &TokenIssuer,
        token: &str,
        now: u64,
    ) -> Result<Claims, UnverifiedToken> {
        let claims = token::open(token, &issuer.keyring.keys())?;
        Ok(self.accept(issuer, &claims, now)?)
    }

    /// Everything but the signature.
    fn accept(
        &self,
        issuer: &TokenIssuer,
        claims: &Map<String, Value>,
        now: u64,
    ) -> Result<Claims, TokenDefect> {
        let iat_ahead = IAT_AHEAD.as_secs();
        token::check_times(claims, now, self.leeway, self.expiry_grace, iat_ahead)?;
        if let Some(longest) = self.max_lifetime {
            token::check_lifetime(claims, longest)?;
        }
        issuer.accept(claims, &self.rules.load())
    }
}

#[cfg(test)]
pub(crate) mod test_keys;

#[cfg(test)]
mod issuer_tests;
#[cfg(test)]
mod key_source_tests;
#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod token_text_tests;

#[cfg(test)]
mod tests;
