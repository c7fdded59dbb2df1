//! One issuer: the keys that verify its tokens and no others, and what its tokens must say.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fleetcast_core::domain::claims::{ClaimPaths, ClaimRules, Claims};
use fleetcast_core::domain::id::Id;
use serde_json::{Map, Value};

use super::keyring::{Keyring, RefreshIntervals};
use super::{IssuerSettings, TokenDefect, token};

pub(super) struct TokenIssuer {
    pub(super) keyring: Arc<Keyring>,
    /// What `iss` must be.
    pub(super) name: Option<Arc<str>>,
    audiences: Vec<String>,
    organisations: Option<BTreeSet<Id>>,
    paths: ClaimPaths,
}

impl TokenIssuer {
    pub(super) fn open(settings: &IssuerSettings, pace: RefreshIntervals) -> anyhow::Result<Self> {
        Ok(Self {
            keyring: Arc::new(Keyring::open(&settings.keys, pace)?),
            name: settings.issuer.as_deref().map(Arc::from),
            audiences: settings.audiences.clone(),
            organisations: settings.organisations.clone(),
            paths: settings.paths.clone(),
        })
    }

    /// Everything but signature and times.
    pub(super) fn accept(
        &self,
        claims: &Map<String, Value>,
        rules: &ClaimRules,
    ) -> Result<Claims, TokenDefect> {
        if let Some(issuer) = &self.name {
            token::check_issuer(claims, issuer)?;
        }
        if !self.audiences.is_empty() {
            token::check_audience(claims, &self.audiences)?;
        }
        // Where the settings name no issuer, the token's own word counts, which is signed: another instance that has the name, in the middle
        // of a roll-out, revokes the token by it.
        let said = claims.get("iss").and_then(Value::as_str);
        let issuer = self.name.clone().or_else(|| said.map(Arc::from));
        let mut claims =
            Claims::from_json(claims, &self.paths, rules).map_err(TokenDefect::Claims)?;
        claims.issuer = issuer;
        let may_speak_for = |own: &BTreeSet<Id>| own.contains(&claims.organisation);
        if self.organisations.as_ref().is_none_or(may_speak_for) {
            Ok(claims)
        } else {
            Err(TokenDefect::Organisation)
        }
    }
}

/// Keys are not shown.
impl fmt::Debug for TokenIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenIssuer")
            .field("keys", &self.keyring.keys().0.len())
            .field("name", &self.name)
            .field("audiences", &self.audiences)
            .field("organisations", &self.organisations)
            .field("paths", &self.paths)
            .finish()
    }
}
