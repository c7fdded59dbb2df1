//! The token itself: signature, header, registered claims.
//!
//! `jsonwebtoken` checks the signature only. It reads the clock by itself, takes floats and texts for times, and checks `iss` and
//! `aud` only where they are present; our rules are stricter and stand here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Why;

/// A key and the one algorithm that it may be used with: a token does not choose.
pub(super) struct Key {
    /// As the header names it.
    name: &'static str,
    verifying: DecodingKey,
    validation: Validation,
}

impl Key {
    pub(super) fn hs256(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Self {
            name: "HS256",
            verifying: DecodingKey::from_secret(secret),
            validation,
        }
    }
}

/// The claims of a token that one of the keys has signed.
pub(super) fn open(token: &str, keys: &[Key]) -> Result<Map<String, Value>, Why> {
    let header = header(token)?;
    // RFC 7515, 4.1.11: who does not understand an extension must refuse it. We understand none.
    if header.contains_key("crit") {
        return Err(Why::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or("");
    let mut outcome = Err(Why::Algorithm);
    for key in keys.iter().filter(|key| key.name == algorithm) {
        match jsonwebtoken::decode::<Map<String, Value>>(token, &key.verifying, &key.validation) {
            Ok(data) => return Ok(data.claims),
            Err(error) => outcome = Err(why(&error)),
        }
    }
    outcome
}

/// The header of what looks like a token. Reading it before the signature decides nothing but which key to try.
fn header(token: &str) -> Result<Map<String, Value>, Why> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Why::Malformed);
    };
    let bytes = URL_SAFE_NO_PAD.decode(header).map_err(|_| Why::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Why::Malformed)
}

fn why(error: &jsonwebtoken::errors::Error) -> Why {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => Why::Signature,
        ErrorKind::InvalidAlgorithm => Why::Algorithm,
        _ => Why::Malformed,
    }
}

/// `exp` is required; `nbf` and `iat` are checked if they are there. All in Unix seconds.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    now: u64,
    leeway: u64,
    iat_ahead: u64,
) -> Result<(), Why> {
    let expires = time(claims, "exp")?.ok_or(Why::MissingClaim("exp"))?;
    let not_before = time(claims, "nbf")?;
    let issued = time(claims, "iat")?;
    if expires.saturating_add(leeway) <= now {
        return Err(Why::Expired);
    }
    if not_before.is_some_and(|time| time > now.saturating_add(leeway)) {
        return Err(Why::NotYet);
    }
    let latest_issue = now.saturating_add(leeway).saturating_add(iat_ahead);
    if issued.is_some_and(|time| time > latest_issue) {
        return Err(Why::IssuedInFuture);
    }
    Ok(())
}

/// A whole number: a text or a fraction where a time belongs is how tokens have been made that never expire.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Why> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(Why::NotATime(name)),
    }
}

pub(super) fn check_issuer(claims: &Map<String, Value>, issuer: &str) -> Result<(), Why> {
    match claims.get("iss") {
        None => Err(Why::MissingClaim("iss")),
        Some(Value::String(text)) if text == issuer => Ok(()),
        Some(_) => Err(Why::Issuer),
    }
}

/// One audience or a list of them (RFC 7519, 4.1.3), of which we must be one.
pub(super) fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), Why> {
    let named = match claims.get("aud") {
        None => return Err(Why::MissingClaim("aud")),
        Some(Value::String(text)) => text == audience,
        Some(Value::Array(list)) => {
            list.iter().all(Value::is_string) && list.iter().any(|one| one == audience)
        }
        Some(_) => false,
    };
    if named { Ok(()) } else { Err(Why::Audience) }
}
