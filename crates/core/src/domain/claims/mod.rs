//! Who a token says the caller is. The signature is checked elsewhere; this decides what the claims mean.

mod numeric_date;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::id::{Id, UserId};
use super::room::Caller;
use super::sorted::{NamedValues, SortedSet};
pub use numeric_date::NumericDate;
pub use path::{Alternatives, ClaimPath, ClaimPaths, InvalidPath};

/// Claims with a meaning of their own, which no policy may use as a list of ids.
pub const FIXED_CLAIMS: [&str; 13] = [
    "sub",
    "organization_id",
    "org_id",
    "exp",
    "nbf",
    "iat",
    "iss",
    "aud",
    "jti",
    "roles",
    "role",
    "name",
    "scope",
];

/// What the profile says about claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// Of tokens that name none, where the profile serves a single organisation.
    pub default_organisation: Option<Id>,
    /// Claims that list the ids which a scoped role may join; see [`Policy::claims`](super::policy::Policy::claims).
    pub listed: BTreeSet<String>,
    /// Roles that issuers call otherwise: their name -> the profile's.
    pub renamed: BTreeMap<String, String>,
}

/// The end of the year 9999, Unix seconds. A later `exp` is a mistake (milliseconds, most often) that would make a
/// token immortal.
const LATEST_EXPIRY: u64 = 253_402_300_799;
/// Bytes; both are shown to others or kept as keys, so they are bounded here.
const MAX_TEXT: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub user: UserId,
    pub organisation: Id,
    /// Roles that no policy knows are kept and grant nothing.
    pub roles: SortedSet<String>,
    pub name: Option<String>,
    pub jti: Option<String>,
    /// By whose keys the token was verified, if the settings name its issuer; otherwise what it says itself.
    pub issuer: Option<Arc<str>>,
    /// When the token was issued, in Unix seconds, rounded down; not every token says it.
    pub issued_at: Option<u64>,
    /// Unix seconds.
    pub expires: u64,
    /// By claim name, of those in [`ClaimRules::listed`].
    pub ids: NamedValues<SortedSet<Id>>,
    pub scopes: SortedSet<String>,
}

/// Names the claim, never its value: these go to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("claim {0} is missing")]
    Missing(String),
    #[error("claim {0} is not {1}")]
    Invalid(String, &'static str),
    /// One that the profile names.
    #[error("claim {0} is not a list of identifiers or integers")]
    NotIds(String),
    #[error("claims {0} and {1} differ")]
    Conflict(String, String),
}

const A_USER: &str = "a text of 1 to 128 characters without control characters, or an integer";
const AN_ID: &str = "an identifier (1 to 64 characters of A-Z, a-z, 0-9, _ and -) or an integer";

impl Claims {
    /// Whose claims they are is for the caller to add: [`issuer`](Self::issuer) is `None`.
    ///
    /// A claim that is `null` counts as absent. One that is read but of the wrong type refuses the token, also when it is
    /// optional: its issuer relies on rights that the token does not give.
    pub fn from_json(
        map: &Map<String, Value>,
        paths: &ClaimPaths,
        rules: &ClaimRules,
    ) -> Result<Self, ClaimsError> {
        let user = paths.user.read(map, |path, value| {
            UserId::from_json(value).map_err(|_| invalid(path, A_USER))
        })?;
        let user = user.ok_or_else(|| ClaimsError::Missing(paths.user.first()))?;
        let organisation = paths.organisation.read(map, |path, value| {
            Id::from_json(value).map_err(|_| invalid(path, AN_ID))
        })?;
        let organisation = organisation
            .or_else(|| rules.default_organisation.clone())
            .ok_or_else(|| ClaimsError::Missing(paths.organisation.first()))?;
        let expires = expiry(map)?;

        // No role is no mistake: such a user is in the organisation's room and the own one, and may join no other.
        let roles = paths.roles.read(map, |path, value| {
            let roles = texts(path, value, Split::No)?.into_iter();
            let own = |role: String| rules.renamed.get(&role).cloned().unwrap_or(role);
            Ok(roles.map(own).collect::<SortedSet<String>>())
        })?;

        let mut ids_by_claim = Vec::new();
        for claim in &rules.listed {
            if let Some(ids) = ids(map, claim)? {
                ids_by_claim.push((claim.clone(), ids));
            }
        }

        Ok(Self {
            user,
            organisation,
            roles: roles.unwrap_or_default(),
            name: paths.name.read(map, text)?,
            jti: (present(map, "jti").map(|value| text(&"jti", value))).transpose()?,
            issuer: None,
            issued_at: issued_at(map)?,
            expires,
            ids: ids_by_claim.into_iter().collect(),
            scopes: match present(map, "scope") {
                None => SortedSet::default(),
                Some(value) => texts(&"scope", value, Split::AtSpaces)?
                    .into_iter()
                    .collect(),
            },
        })
    }

    /// Who asks for rooms.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            organisation: &self.organisation,
            user: &self.user,
        }
    }
}

fn present<'a>(map: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    map.get(claim).filter(|value| !value.is_null())
}

fn invalid(claim: &impl ToString, expected: &'static str) -> ClaimsError {
    ClaimsError::Invalid(claim.to_string(), expected)
}

fn ids(map: &Map<String, Value>, claim: &str) -> Result<Option<SortedSet<Id>>, ClaimsError> {
    let Some(value) = present(map, claim) else {
        return Ok(None);
    };
    let ids = value.as_array().and_then(|values| {
        let ids = values.iter().map(|value| Id::from_json(value).ok());
        ids.collect::<Option<_>>()
    });
    ids.map(Some)
        .ok_or_else(|| ClaimsError::NotIds(claim.to_owned()))
}

fn text(claim: &impl ToString, value: &Value) -> Result<String, ClaimsError> {
    match value {
        Value::String(text) if (1..=MAX_TEXT).contains(&text.len()) => Ok(text.clone()),
        _ => Err(invalid(claim, "a text of 1 to 256 bytes")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    /// A role may have a space in its name.
    No,
    /// OAuth's way to write scopes.
    AtSpaces,
}

fn texts(claim: &impl ToString, value: &Value, split: Split) -> Result<Vec<String>, ClaimsError> {
    let wrong_type = || invalid(claim, "a text or a list of texts");
    match value {
        Value::String(text) if split == Split::AtSpaces => {
            Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong_type))
            .collect(),
        _ => Err(wrong_type()),
    }
}

/// In whole seconds, rounded down: nothing may last longer than the token.
fn expiry(map: &Map<String, Value>) -> Result<u64, ClaimsError> {
    let value = present(map, "exp").ok_or_else(|| ClaimsError::Missing("exp".to_owned()))?;
    NumericDate::from_json(value)
        .map(NumericDate::floor)
        .filter(|seconds| (1..=LATEST_EXPIRY).contains(seconds))
        .ok_or_else(|| invalid(&"exp", "a number of Unix seconds before the year 10000"))
}

fn issued_at(map: &Map<String, Value>) -> Result<Option<u64>, ClaimsError> {
    let Some(value) = present(map, "iat") else {
        return Ok(None);
    };
    let issued = NumericDate::from_json(value).map(NumericDate::floor);
    let issued = issued.ok_or_else(|| invalid(&"iat", "a number of Unix seconds"))?;
    Ok(Some(issued))
}

#[cfg(test)]
mod tests;
