//! Which roles may join which rooms. Data from the profile; the organisation never comes from it: every room that is asked for
//! is one of the caller's own organisation by construction.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::claims::{Claims, FIXED_CLAIMS};
use super::room::{Kind, Room, Which};

/// What a profile says about one kind of room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindPolicy {
    /// Roles that may join every room of this kind.
    #[serde(default)]
    pub any: BTreeSet<String>,
    /// Role -> claim that must list the id.
    #[serde(default)]
    pub listed: BTreeMap<String, String>,
}

/// The longest name of a claim, in bytes: names may be URLs.
const MAX_CLAIM: usize = 256;

#[derive(Debug, Clone, Default)]
pub struct Policy {
    kinds: BTreeMap<String, KindPolicy>,
}

impl Policy {
    /// Fails with the kind and what is wrong with it, for each mistake.
    pub fn build(kinds: BTreeMap<String, KindPolicy>) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        for (kind, policy) in &kinds {
            let mut complain = |message: String| problems.push((kind.clone(), message));
            if matches!(kind.as_str(), "org" | "user") {
                complain(
                    "every connection is in its own org and user room: no policy can change that"
                        .to_owned(),
                );
            } else if Kind::parse(kind).is_err() {
                complain(format!("{kind:?} cannot be a kind of room"));
            }
            if policy.any.is_empty() && policy.listed.is_empty() {
                complain("no role may join: name one in any or listed".to_owned());
            }
            for (role, claim) in &policy.listed {
                if FIXED_CLAIMS.contains(&claim.as_str()) {
                    complain(format!(
                        "role {role} needs claim {claim:?}, which has another meaning: it lists no ids"
                    ));
                } else if !is_claim(claim) {
                    complain(format!(
                        "role {role} needs claim {claim:?}: a claim's name is 1 to {MAX_CLAIM} printable ASCII characters without spaces"
                    ));
                }
                if policy.any.contains(role) {
                    complain(format!("role {role} stands in any and in listed"));
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { kinds })
        } else {
            Err(problems)
        }
    }

    /// Of several roles the widest right counts. An unknown kind is answered like a forbidden one. A whole kind is for roles
    /// that may join every room of it, those that do not exist yet included: a list of ids is not enough.
    pub fn may_join(&self, claims: &Claims, room: &Room) -> bool {
        room.organisation == claims.organisation
            && match room.kind.as_str() {
                "org" => room.which == Which::One(claims.organisation.clone()),
                "user" => room.which == Which::User(claims.user.clone()),
                kind => self
                    .kinds
                    .get(kind)
                    .is_some_and(|policy| policy.allows(claims, &room.which)),
            }
    }

    /// The claims that list the ids of rooms: [`ClaimRules::listed`](super::claims::ClaimRules::listed).
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let listed = self.kinds.values().flat_map(|kind| kind.listed.values());
        listed.map(String::as_str)
    }

    /// The roles that may join anything.
    pub fn roles(&self) -> BTreeSet<&str> {
        let kinds = self.kinds.values();
        let roles = kinds.flat_map(|kind| kind.any.iter().chain(kind.listed.keys()));
        roles.map(String::as_str).collect()
    }

    /// The kinds that clients may ask for, without `org` and `user`, which are joined without asking.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }
}

fn is_claim(name: &str) -> bool {
    (1..=MAX_CLAIM).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl KindPolicy {
    fn allows(&self, claims: &Claims, which: &Which) -> bool {
        let listed = |role: &String| {
            let Which::One(id) = which else { return false };
            let ids = self
                .listed
                .get(role)
                .and_then(|claim| claims.ids.get(claim));
            ids.is_some_and(|ids| ids.contains(id))
        };
        claims
            .roles
            .iter()
            .any(|role| self.any.contains(role) || listed(role))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::claims::{ClaimPaths, ClaimRules};
    use crate::domain::id::{Id, UserId};

    fn kind(any: &[&str], listed: &[(&str, &str)]) -> KindPolicy {
        KindPolicy {
            any: any.iter().map(|&role| role.to_owned()).collect(),
            listed: listed
                .iter()
                .map(|&(role, claim)| (role.to_owned(), claim.to_owned()))
                .collect(),
        }
    }

    fn policy() -> Policy {
        Policy::build(BTreeMap::from([
            (
                "channel".to_owned(),
                kind(&["admin"], &[("field_unit", "channels")]),
            ),
            (
                "incident".to_owned(),
                kind(&["admin", "viewer"], &[("field_unit", "incidents")]),
            ),
        ]))
        .expect("a good policy")
    }

    #[test]
    fn s4_06_roles_decide_and_several_roles_give_the_union() {
        let policy = policy();
        for (roles, asked, id, allowed) in [
            (json!(["admin"]), "channel", "9", true),
            (json!(["admin"]), "asset", "9", false),
            (json!(["field_unit"]), "channel", "7", true),
            (json!(["field_unit"]), "channel", "9", false),
            (json!(["field_unit"]), "incident", "7", false),
            (json!(["viewer"]), "incident", "9", true),
            (json!(["viewer"]), "channel", "7", false),
            (json!(["viewer", "field_unit"]), "channel", "7", true),
            (json!(["viewer", "field_unit"]), "incident", "9", true),
            (json!(["stranger"]), "channel", "7", false),
            (json!([]), "channel", "7", false),
            (json!([]), "org", "o1", true),
            (json!(["admin"]), "org", "o2", false),
            (json!([]), "user", "u1", true),
            (json!(["admin"]), "user", "u2", false),
            (json!(["admin"]), "channel", "*", true),
            (json!(["field_unit"]), "channel", "*", false),
            (json!(["field_unit", "viewer"]), "channel", "*", false),
            (json!(["field_unit", "viewer"]), "incident", "*", true),
            (json!(["admin"]), "asset", "*", false),
            (json!(["admin"]), "org", "*", false),
            (json!(["admin"]), "user", "*", false),
        ] {
            let value =
                json!({"sub": "u1", "org_id": "o1", "exp": 9, "roles": roles, "channels": [7]});
            let rules = ClaimRules {
                listed: policy.claims().map(str::to_owned).collect(),
                ..ClaimRules::default()
            };
            let map = value.as_object().expect("object");
            let claims = Claims::from_json(map, &ClaimPaths::default(), &rules).expect("claims");
            let mut room = Room {
                organisation: claims.organisation.clone(),
                kind: Kind::parse(asked).expect("kind"),
                which: match (asked, id) {
                    ("user", user) => Which::User(UserId::parse(user).expect("user")),
                    (_, id) => Which::parse(id).expect("id"),
                },
            };
            assert_eq!(
                policy.may_join(&claims, &room),
                allowed,
                "{roles} {asked} {id}"
            );
            room.organisation = Id::parse("o2").expect("id");
            assert!(!policy.may_join(&claims, &room), "another organisation's");
        }
        assert_eq!(policy.kinds().collect::<Vec<_>>(), ["channel", "incident"]);
    }

    #[test]
    fn every_mistake_of_a_policy_is_reported() {
        let problems = Policy::build(BTreeMap::from([
            ("org".to_owned(), kind(&["admin"], &[])),
            ("a:b".to_owned(), kind(&["admin"], &[])),
            ("channel".to_owned(), kind(&[], &[])),
            (
                "asset".to_owned(),
                kind(&["admin"], &[("admin", "assets"), ("field_unit", "exp")]),
            ),
            ("task".to_owned(), kind(&[], &[("field_unit", "the tasks")])),
        ]))
        .expect_err("bad");
        let kinds: Vec<_> = problems.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["a:b", "asset", "asset", "channel", "org", "task"]);
    }
}
