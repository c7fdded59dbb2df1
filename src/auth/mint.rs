//! Making tokens: for the command line, the demo and tests. Production tokens come from the issuer.

use std::collections::BTreeMap;

use fleetcast_core::domain::claims::{Claims, ClaimsError};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::settings::AuthSettings;

/// What the bearer of a token may be and do.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    pub user: String,
    pub organisation: String,
    pub roles: Vec<String>,
    pub name: Option<String>,
    /// By claim (`channels`, `assets`, `incidents`): ids that a scoped role may join.
    pub ids: BTreeMap<String, Vec<String>>,
    pub scopes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The verifier would refuse it.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error("the token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A token that `Verifier::new` of the same settings accepts from `now_unix` on, for `lifetime` seconds.
pub fn mint(
    settings: &AuthSettings,
    grant: &Grant,
    now_unix: u64,
    lifetime: u64,
) -> Result<String, MintError> {
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("sub", json!(grant.user));
    set("organization_id", json!(grant.organisation));
    set("roles", json!(grant.roles));
    set("iat", json!(now_unix));
    set("exp", json!(now_unix.saturating_add(lifetime)));
    if let Some(name) = &grant.name {
        set("name", json!(name));
    }
    for (claim, ids) in &grant.ids {
        set(claim, json!(ids));
    }
    if !grant.scopes.is_empty() {
        set("scope", json!(grant.scopes.join(" ")));
    }
    if let Some(issuer) = &settings.issuer {
        set("iss", json!(issuer));
    }
    if let Some(audience) = &settings.audience {
        set("aud", json!(audience));
    }
    sign(&claims, settings)
}

/// Signs claims as they are, if the verifier would take them.
pub fn sign(claims: &Map<String, Value>, settings: &AuthSettings) -> Result<String, MintError> {
    Claims::from_json(claims)?;
    let key = EncodingKey::from_secret(settings.secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(MintError::Sign)
}
