//! Making tokens: for the command line, the demo and tests. Production tokens come from the issuer.

use std::collections::BTreeMap;

use fleetcast_core::domain::claims::{ClaimRules, Claims, ClaimsError};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::AuthSettings;
use super::files::{self, KeyFormat};
use super::keys::{Allowed, Key};

/// What the bearer of a token may be and do.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    pub user: String,
    pub organisation: String,
    pub roles: Vec<String>,
    pub name: Option<String>,
    /// By claim that the profile names: ids that a scoped role may join.
    pub ids: BTreeMap<String, Vec<String>>,
    pub scopes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The verifier would refuse it.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error(
        "there is no secret to sign with (JWT_SECRET or JWT_SECRET_FILE): only the issuer can make tokens"
    )]
    NoSecret,
    #[error("JWT_SECRET_FILE: {0}")]
    SecretFile(String),
    #[error("JWT_ALGORITHMS allows nothing that the secret can sign with")]
    Algorithm,
    #[error("it would be good for longer than JWT_MAX_LIFETIME")]
    Lifetime,
    #[error("the token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A token that a `Verifier` of the same settings accepts from `now_unix` on, for `lifetime` seconds.
pub fn mint(
    settings: &AuthSettings,
    grant: &Grant,
    now_unix: u64,
    lifetime: u64,
) -> Result<String, MintError> {
    let longest = settings.max_lifetime.map(|longest| longest.as_secs());
    if longest.is_some_and(|longest| lifetime > longest) {
        return Err(MintError::Lifetime);
    }
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iat", json!(now_unix));
    set("exp", json!(now_unix.saturating_add(lifetime)));
    for (claim, ids) in &grant.ids {
        set(claim, json!(ids));
    }
    if !grant.scopes.is_empty() {
        set("scope", json!(grant.scopes.join(" ")));
    }
    if let Some(issuer) = &settings.own.issuer {
        set("iss", json!(issuer));
    }
    if let Some(audience) = settings.own.audiences.first() {
        set("aud", json!(audience));
    }
    let paths = &settings.own.paths;
    paths.user.put(&mut claims, json!(grant.user));
    paths
        .organisation
        .put(&mut claims, json!(grant.organisation));
    paths.roles.put(&mut claims, json!(grant.roles));
    if let Some(name) = &grant.name {
        paths.name.put(&mut claims, json!(name));
    }
    let rules = ClaimRules {
        listed: grant.ids.keys().cloned().collect(),
        ..ClaimRules::default()
    };
    sign(&claims, &rules, settings)
}

/// Signs claims as they are, if a verifier with these rules would accept them.
fn sign(
    claims: &Map<String, Value>,
    rules: &ClaimRules,
    settings: &AuthSettings,
) -> Result<String, MintError> {
    Claims::from_json(claims, &settings.own.paths, rules)?;
    let secret = secret(settings)?;
    let bytes = secret.expose_secret().as_bytes();
    let allowed = Allowed(settings.own.keys.algorithms.clone());
    let algorithm = Key::secret(None, bytes, None, &allowed)
        .and_then(|key| key.first_algorithm())
        .ok_or(MintError::Algorithm)?;
    let key = EncodingKey::from_secret(bytes);
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).map_err(MintError::Sign)
}

/// The first one: the others are being retired.
fn secret(settings: &AuthSettings) -> Result<SecretString, MintError> {
    if let Some(secret) = settings.own.keys.secrets.first() {
        return Ok(secret.clone());
    }
    let files = settings.own.keys.files();
    let file = files
        .iter()
        .find(|file| file.format == KeyFormat::Secrets)
        .ok_or(MintError::NoSecret)?;
    let content = file.read().map_err(MintError::SecretFile)?;
    let secrets = files::secrets(&content).map_err(MintError::SecretFile)?;
    let first = secrets.first().ok_or(MintError::NoSecret)?;
    Ok(SecretString::from(*first))
}
