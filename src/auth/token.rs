//! The token itself: signature, header, registered claims.
//!
//! `jsonwebtoken` checks the signature only. For the rest it reads the clock by itself, takes texts for times, and checks `iss`
//! and `aud` only where they are present; our rules are stricter and stand here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetcast_core::domain::claims::NumericDate;
use fleetcast_core::domain::client_json;
use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use serde_json::{Map, Value};

use super::TokenDefect;
use super::algorithm::algorithm;
use super::keys::{Key, KeySet, Selection};

/// Why there are no claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnverifiedToken {
    Refused(TokenDefect),
    /// No key that is known has signed it; one that is not known may have. If there is none, it is refused with this reason.
    NoKey(TokenDefect, Algorithm),
}

impl UnverifiedToken {
    /// The reason, if no other key turns up.
    pub(super) fn why(self) -> TokenDefect {
        match self {
            Self::Refused(why) | Self::NoKey(why, _) => why,
        }
    }
}

impl From<TokenDefect> for UnverifiedToken {
    fn from(why: TokenDefect) -> Self {
        Self::Refused(why)
    }
}

/// The claims of a token that one of the keys has signed.
pub(super) fn open(token: &str, keys: &KeySet) -> Result<Map<String, Value>, UnverifiedToken> {
    let parts = Parts::of(token)?;
    let header = object(parts.header)?;
    // RFC 7515, 4.1.11: who does not understand an extension must refuse it. We understand none.
    if header.contains_key("crit") {
        return Err(TokenDefect::Critical.into());
    }
    if !is_access_token(&header) {
        return Err(TokenDefect::Type.into());
    }
    let algorithm: Algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(algorithm)
        .ok_or(TokenDefect::Algorithm)?;
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(TokenDefect::Malformed.into()),
    };
    let (candidates, otherwise) = match keys.select(algorithm, kid) {
        Selection::WrongAlgorithm => return Err(TokenDefect::Algorithm.into()),
        Selection::Named(keys) => (keys, TokenDefect::Signature.into()),
        Selection::Unnamed(tried) => {
            let why = if !keys.can(algorithm) {
                TokenDefect::Algorithm
            } else if tried.is_empty() {
                TokenDefect::UnknownKey
            } else {
                TokenDefect::Signature
            };
            (tried, UnverifiedToken::NoKey(why, algorithm))
        }
    };
    for key in candidates {
        if parts.is_signed_with(key, algorithm)? {
            return Ok(object(parts.payload)?);
        }
    }
    Err(otherwise)
}

/// RFC 7519 (5.1) and RFC 9068 (2.1). An issuer signs other things with the same keys, such as logout tokens.
fn is_access_token(header: &Map<String, Value>) -> bool {
    match header.get("typ") {
        None | Some(Value::Null) => true,
        Some(Value::String(typ)) => {
            let typ = typ.to_ascii_lowercase();
            let typ = typ.strip_prefix("application/").unwrap_or(&typ);
            matches!(typ, "jwt" | "at+jwt")
        }
        Some(_) => false,
    }
}

/// What the token says, without a look at its signature: good for rejecting it early, and for nothing else.
pub(super) fn unsigned(token: &str) -> Result<Map<String, Value>, TokenDefect> {
    object(Parts::of(token)?.payload)
}

struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// What is signed: header and payload.
    message: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, TokenDefect> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenDefect::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenDefect::Malformed)?;
        if payload.contains('.') {
            return Err(TokenDefect::Malformed);
        }
        Ok(Self {
            header,
            payload,
            signature,
            message,
        })
    }

    fn is_signed_with(&self, key: &Key, algorithm: Algorithm) -> Result<bool, TokenDefect> {
        let message = self.message.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, message, &key.verifying, algorithm) {
            Ok(good) => Ok(good),
            Err(error) => match error.kind() {
                ErrorKind::Base64(_) => Err(TokenDefect::Malformed),
                _ => Ok(false),
            },
        }
    }
}

fn object(part: &str) -> Result<Map<String, Value>, TokenDefect> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenDefect::Malformed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| TokenDefect::Malformed)?;
    match client_json::parse(text) {
        Some(Value::Object(object)) => Ok(object),
        Some(_) | None => Err(TokenDefect::Malformed),
    }
}

/// `exp` is required; `nbf` and `iat` are checked if they are there. All in Unix seconds.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    now: u64,
    leeway: u64,
    expiry_grace: u64,
    iat_ahead: u64,
) -> Result<(), TokenDefect> {
    let expires = time(claims, "exp")?.ok_or(TokenDefect::MissingClaim("exp"))?;
    let not_before = time(claims, "nbf")?;
    let issued = time(claims, "iat")?;
    // A connection ends on a whole second, so the token must end with it, not in the middle of the next one.
    if expires.floor().saturating_add(expiry_grace) <= now {
        return Err(TokenDefect::Expired);
    }
    if not_before.is_some_and(|time| time.ceil() > now.saturating_add(leeway)) {
        return Err(TokenDefect::NotYet);
    }
    let latest_issue = now.saturating_add(leeway).saturating_add(iat_ahead);
    if issued.is_some_and(|time| time.ceil() > latest_issue) {
        return Err(TokenDefect::IssuedInFuture);
    }
    Ok(())
}

/// Not longer than `longest` from issue to expiry, in seconds. A token that does not say when it was issued may be stored until it has no
/// longer left than that, so it has no bound, and a revocation that is kept for as long would miss it.
pub(super) fn check_lifetime(claims: &Map<String, Value>, longest: u64) -> Result<(), TokenDefect> {
    let expires = time(claims, "exp")?.ok_or(TokenDefect::MissingClaim("exp"))?;
    let issued = time(claims, "iat")?.ok_or(TokenDefect::NoIssueTime)?;
    if expires.millis_since(issued) > longest.saturating_mul(1000) {
        return Err(TokenDefect::Lifetime);
    }
    Ok(())
}

/// A text where a time belongs is how tokens have been made that never expire.
fn time(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<NumericDate>, TokenDefect> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => NumericDate::from_json(value)
            .map(Some)
            .ok_or(TokenDefect::NotATime(name)),
    }
}

/// Who says to have issued a token, without a look at its signature: good for choosing the keys.
pub(super) fn issuer(token: &str) -> Result<String, TokenDefect> {
    match unsigned(token)?.remove("iss") {
        None | Some(Value::Null) => Err(TokenDefect::MissingClaim("iss")),
        Some(Value::String(issuer)) => Ok(issuer),
        Some(_) => Err(TokenDefect::Issuer),
    }
}

pub(super) fn check_issuer(claims: &Map<String, Value>, issuer: &str) -> Result<(), TokenDefect> {
    match claims.get("iss") {
        None | Some(Value::Null) => Err(TokenDefect::MissingClaim("iss")),
        Some(Value::String(text)) if text == issuer => Ok(()),
        Some(_) => Err(TokenDefect::Issuer),
    }
}

/// One audience or a list of them (RFC 7519, 4.1.3), of which one must be ours.
pub(super) fn check_audience(
    claims: &Map<String, Value>,
    ours: &[String],
) -> Result<(), TokenDefect> {
    let is_ours = |one: &Value| ours.iter().any(|our| one == our.as_str());
    let named = match claims.get("aud") {
        None | Some(Value::Null) => return Err(TokenDefect::MissingClaim("aud")),
        Some(text @ Value::String(_)) => is_ours(text),
        Some(Value::Array(list)) => list.iter().all(Value::is_string) && list.iter().any(is_ours),
        Some(_) => false,
    };
    if named {
        Ok(())
    } else {
        Err(TokenDefect::Audience)
    }
}
