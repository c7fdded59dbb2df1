//! Who a token says the caller is. The signature is checked elsewhere; this decides what the claims mean.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::id::Id;
use super::room::Room;

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
}

/// The end of the year 9999, Unix seconds. A later `exp` is a mistake (milliseconds, most often) that would make a
/// token immortal.
const LATEST_EXPIRY: u64 = 253_402_300_799;
/// Bytes; both are shown to others or kept as keys, so they are bounded here.
const MAX_TEXT: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub user: Id,
    pub organisation: Id,
    /// Roles that no policy knows are kept and grant nothing.
    pub roles: BTreeSet<String>,
    pub name: Option<String>,
    pub jti: Option<String>,
    /// Unix seconds.
    pub expires: u64,
    /// By claim name, of those in [`ClaimRules::listed`].
    pub ids: BTreeMap<String, BTreeSet<Id>>,
    pub scopes: BTreeSet<String>,
}

/// Names the claim, never its value: these go to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("claim {0} is missing")]
    Missing(&'static str),
    #[error("claim {0} is not {1}")]
    Invalid(&'static str, &'static str),
    /// One that the profile names.
    #[error("claim {0} is not a list of identifiers or integers")]
    NotIds(String),
    #[error("claims {0} and {1} differ")]
    Conflict(&'static str, &'static str),
}

const AN_ID: &str = "an identifier (1 to 64 characters of A-Z, a-z, 0-9, _ and -) or an integer";

impl Claims {
    /// A claim that is `null` counts as absent. One that is read but of the wrong type refuses the token, also when it is
    /// optional: its issuer relies on rights that the token does not give.
    pub fn from_json(map: &Map<String, Value>, rules: &ClaimRules) -> Result<Self, ClaimsError> {
        let user = id(map, "sub")?.ok_or(ClaimsError::Missing("sub"))?;
        let organisation = match (id(map, "organization_id")?, id(map, "org_id")?) {
            (Some(long), Some(short)) if long != short => {
                return Err(ClaimsError::Conflict("organization_id", "org_id"));
            }
            (Some(organisation), _) | (None, Some(organisation)) => organisation,
            (None, None) => (rules.default_organisation.clone())
                .ok_or(ClaimsError::Missing("organization_id"))?,
        };
        let expires = expiry(map)?;

        // No role is no mistake: such a user is in the organisation's room and the own one, and may join no other.
        let mut roles = texts(map, "roles", Split::No)?;
        roles.append(&mut texts(map, "role", Split::No)?);

        let mut ids_by_claim = BTreeMap::new();
        for claim in &rules.listed {
            if let Some(ids) = ids(map, claim)? {
                ids_by_claim.insert(claim.clone(), ids);
            }
        }

        Ok(Self {
            user,
            organisation,
            roles,
            name: text(map, "name")?,
            jti: text(map, "jti")?,
            expires,
            ids: ids_by_claim,
            scopes: texts(map, "scope", Split::AtSpaces)?,
        })
    }

    /// The rooms that a connection of this user is in from the start, and never leaves.
    pub fn own_rooms(&self) -> [Room; 2] {
        [
            Room::organisation(&self.organisation),
            Room::user(&self.organisation, &self.user),
        ]
    }
}

fn present<'a>(map: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    map.get(claim).filter(|value| !value.is_null())
}

fn id(map: &Map<String, Value>, claim: &'static str) -> Result<Option<Id>, ClaimsError> {
    present(map, claim)
        .map(|value| Id::from_json(value).map_err(|_| ClaimsError::Invalid(claim, AN_ID)))
        .transpose()
}

fn ids(map: &Map<String, Value>, claim: &str) -> Result<Option<BTreeSet<Id>>, ClaimsError> {
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

fn text(map: &Map<String, Value>, claim: &'static str) -> Result<Option<String>, ClaimsError> {
    match present(map, claim) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=MAX_TEXT).contains(&text.len()) => Ok(Some(text.clone())),
        Some(_) => Err(ClaimsError::Invalid(claim, "a text of 1 to 256 bytes")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    /// A role may have a space in its name.
    No,
    /// OAuth's way to write scopes.
    AtSpaces,
}

fn texts(
    map: &Map<String, Value>,
    claim: &'static str,
    split: Split,
) -> Result<BTreeSet<String>, ClaimsError> {
    let wrong_type = || ClaimsError::Invalid(claim, "a text or a list of texts");
    match present(map, claim) {
        None => Ok(BTreeSet::new()),
        Some(Value::String(text)) if split == Split::AtSpaces => {
            Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Some(Value::String(text)) => Ok(BTreeSet::from([text.clone()])),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong_type))
            .collect(),
        Some(_) => Err(wrong_type()),
    }
}

/// RFC 7519 allows fractions of a second. They are not needed here, and what is no integer is more often a mistake.
fn expiry(map: &Map<String, Value>) -> Result<u64, ClaimsError> {
    let value = present(map, "exp").ok_or(ClaimsError::Missing("exp"))?;
    value
        .as_u64()
        .filter(|seconds| (1..=LATEST_EXPIRY).contains(seconds))
        .ok_or(ClaimsError::Invalid(
            "exp",
            "an integer of Unix seconds before the year 10000",
        ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Result<Claims, ClaimsError> {
        let Value::Object(map) = value else {
            panic!("test claims are an object");
        };
        Claims::from_json(&map, &rules(None))
    }

    /// The claims of the dispatch profile.
    fn rules(default_organisation: Option<Id>) -> ClaimRules {
        ClaimRules {
            default_organisation,
            listed: ["channels", "assets", "incidents"]
                .map(str::to_owned)
                .into(),
        }
    }

    /// Good claims with `changes` put over them.
    fn with(changes: Value) -> Result<Claims, ClaimsError> {
        let mut value = json!({"sub": "u1", "organization_id": "o1", "roles": ["dispatcher"], "exp": 1_900_000_000});
        let (Value::Object(map), Value::Object(changes)) = (&mut value, changes) else {
            panic!("test claims are an object");
        };
        map.extend(changes);
        claims(value)
    }

    #[test]
    fn a_token_without_an_organisation_is_of_the_one_that_is_served_and_no_other_is() {
        let of = |claims: Value| {
            let rules = rules(Some(Id::parse("acme").expect("an id")));
            let claims = Claims::from_json(claims.as_object().expect("object"), &rules);
            claims.map(|claims| claims.organisation.to_string())
        };
        let (sub, exp) = ("u1", 1_900_000_000);
        let without = json!({"sub": sub, "exp": exp});
        assert_eq!(of(without).as_deref(), Ok("acme"));
        for named in ["organization_id", "org_id"] {
            let other = json!({"sub": sub, "exp": exp, named: "o1"});
            assert_eq!(of(other).as_deref(), Ok("o1"));
            let broken = json!({"sub": sub, "exp": exp, named: "a:org:b"});
            assert!(of(broken).is_err());
        }
    }

    #[test]
    fn s4_02_all_claims_of_the_contract_are_read() {
        let claims = with(json!({
            "name": "Ada", "jti": "t-1", "channels": ["7", 8], "assets": ["a1"], "incidents": [],
            "scope": "publish  other", "role": "viewer",
        }))
        .expect("good claims");
        assert_eq!(
            (claims.user.as_str(), claims.organisation.as_str()),
            ("u1", "o1")
        );
        assert_eq!(
            claims.roles,
            BTreeSet::from(["dispatcher".to_owned(), "viewer".to_owned()])
        );
        assert_eq!(
            (claims.name.as_deref(), claims.jti.as_deref()),
            (Some("Ada"), Some("t-1"))
        );
        assert_eq!(claims.expires, 1_900_000_000);
        let channels: Vec<_> = claims.ids["channels"].iter().map(Id::as_str).collect();
        assert_eq!(channels, ["7", "8"]);
        assert!(claims.ids["incidents"].is_empty());
        assert_eq!(
            claims.scopes,
            BTreeSet::from(["publish".to_owned(), "other".to_owned()])
        );
        let [org, user] = claims.own_rooms();
        assert_eq!(
            (org.to_string(), user.to_string()),
            ("org:o1".into(), "user:u1:org:o1".into())
        );
    }

    #[test]
    fn spellings_that_are_accepted() {
        let bare =
            claims(json!({"sub": 7, "org_id": 3, "exp": 1_900_000_000})).expect("good claims");
        assert_eq!((bare.user.as_str(), bare.organisation.as_str()), ("7", "3"));
        assert_eq!(bare.expires, 1_900_000_000);
        assert!(bare.roles.is_empty() && bare.ids.is_empty() && bare.scopes.is_empty());
        assert!(
            with(json!({"org_id": "o1"})).is_ok(),
            "both names, same organisation"
        );
        assert!(with(json!({"org_id": null, "roles": null, "name": null})).is_ok());
        assert_eq!(
            with(json!({"roles": "shift lead"}))
                .expect("one role")
                .roles
                .len(),
            1
        );
        assert!(
            with(json!({"scope": ["publish"]}))
                .expect("list")
                .scopes
                .contains("publish")
        );
    }

    #[test]
    fn a45_a46_wrong_claims_are_refused_and_the_error_names_the_claim_only() {
        for (changes, claim) in [
            (json!({"sub": null}), "sub"),
            (json!({"sub": ""}), "sub"),
            (json!({"sub": "secret:7"}), "sub"),
            (json!({"sub": 7.5}), "sub"),
            (json!({"organization_id": null}), "organization_id"),
            (json!({"organization_id": ["o1"]}), "organization_id"),
            (json!({"organization_id": {"id": "o1"}}), "organization_id"),
            (
                json!({"organization_id": "a:org:secret"}),
                "organization_id",
            ),
            (json!({"organization_id": "o1\u{0}"}), "organization_id"),
            (json!({"organization_id": "secrét"}), "organization_id"),
            (json!({"org_id": "secret"}), "org_id"),
            (json!({"exp": null}), "exp"),
            (json!({"exp": "1900000000"}), "exp"),
            (json!({"exp": -1}), "exp"),
            (json!({"exp": 0}), "exp"),
            (json!({"exp": 0.5}), "exp"),
            (json!({"exp": 1_900_000_000.0}), "exp"),
            (json!({"exp": 1_900_000_000.9}), "exp"),
            (json!({"exp": 1e300}), "exp"),
            (json!({"exp": 1_900_000_000_000_u64}), "exp"),
            (json!({"exp": [1_900_000_000]}), "exp"),
            (json!({"roles": 7}), "roles"),
            (json!({"roles": ["admin", 7]}), "roles"),
            (json!({"role": {"admin": true}}), "role"),
            (json!({"name": 7}), "name"),
            (json!({"name": "secret".repeat(60)}), "name"),
            (json!({"jti": 7}), "jti"),
            (json!({"channels": "7"}), "channels"),
            (json!({"channels": ["secret:7"]}), "channels"),
            (json!({"assets": [1.5]}), "assets"),
            (json!({"incidents": [null]}), "incidents"),
            (json!({"scope": 7}), "scope"),
        ] {
            let message = with(changes.clone())
                .expect_err(&changes.to_string())
                .to_string();
            assert!(message.contains(claim), "{message}");
            assert!(!message.contains("secr"), "{message}");
        }
    }

    #[test]
    fn only_the_claims_of_the_profile_are_read_as_ids() {
        let rules = ClaimRules {
            listed: ["https://acme.example/projects".to_owned()].into(),
            ..ClaimRules::default()
        };
        let read = |projects: Value| {
            let claims = json!({
                "sub": "u1", "org_id": "o1", "exp": 1_900_000_000, "channels": "7",
                "https://acme.example/projects": projects,
            });
            Claims::from_json(claims.as_object().expect("object"), &rules)
        };
        let claims = read(json!(["p1", 2])).expect("channels is not read");
        let projects: Vec<_> = claims.ids["https://acme.example/projects"]
            .iter()
            .map(Id::as_str)
            .collect();
        assert_eq!((claims.ids.len(), projects), (1, vec!["2", "p1"]));
        let error = read(json!("p1")).expect_err("no list").to_string();
        assert!(error.contains("https://acme.example/projects"), "{error}");
    }

    #[test]
    fn an_expiry_beyond_all_numbers_is_not_even_json() {
        assert!(serde_json::from_str::<Value>(r#"{"exp":1e400}"#).is_err());
    }
}
