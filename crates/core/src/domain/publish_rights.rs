//! Which roles may publish which events with a token of their own. Data from the profile; without it no token may publish anything.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claims;
use super::published::{BadMessage, event_name};
use super::room::Room;

/// The scope that a token needs.
pub const SCOPE: &str = "publish";

/// Role -> the events that it may publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishRights(BTreeMap<String, BTreeSet<String>>);

/// Why a token may not publish something, for its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MayNotPublish {
    #[error("the token has no scope publish")]
    Scope,
    #[error("the profile allows no token to publish: it has no section publish")]
    Nothing,
    #[error("the profile does not allow a role of this token to publish this event")]
    Event,
    #[error("the token may not join one of these rooms, so it may not publish to it")]
    Room,
}

impl PublishRights {
    /// Fails with the role and what is wrong with it, for each mistake.
    pub fn build(
        roles: BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Self, Vec<(String, BadMessage, String)>> {
        let mut problems = Vec::new();
        for (role, events) in &roles {
            for event in events {
                if let Err(wrong) = event_name(event) {
                    problems.push((role.clone(), wrong, event.clone()));
                }
            }
        }
        if problems.is_empty() {
            Ok(Self(roles))
        } else {
            Err(problems)
        }
    }

    /// Whether the holder of this token may publish the event to these rooms: those of its own organisation of which
    /// `may_join` says that it may join them.
    pub fn check(
        &self,
        claims: &Claims,
        event: &str,
        rooms: &[Room],
        may_join: impl Fn(&Room) -> bool,
    ) -> Result<(), MayNotPublish> {
        if !claims.scopes.iter().any(|scope| scope == SCOPE) {
            return Err(MayNotPublish::Scope);
        }
        if self.0.is_empty() {
            return Err(MayNotPublish::Nothing);
        }
        let allows = |role: &String| {
            self.0
                .get(role)
                .is_some_and(|events| events.contains(event))
        };
        if !claims.roles.iter().any(allows) {
            return Err(MayNotPublish::Event);
        }
        let own = |room: &Room| room.organisation == claims.organisation;
        if !rooms.iter().all(|room| own(room) && may_join(room)) {
            return Err(MayNotPublish::Room);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::claims::{ClaimPaths, ClaimRules};
    use crate::domain::id::Id;
    use crate::domain::policy::{KindPolicy, Policy};

    fn claims(roles: &[&str], scope: &str) -> Claims {
        let value = json!({"sub": "u1", "org_id": "o1", "exp": 9, "roles": roles, "scope": scope, "channels": [7]});
        let rules = ClaimRules {
            listed: ["channels".to_owned()].into(),
            ..ClaimRules::default()
        };
        Claims::from_json(value.as_object().unwrap(), &ClaimPaths::default(), &rules).unwrap()
    }

    fn policy() -> Policy {
        let listed = [("field_unit".to_owned(), "channels".to_owned())].into();
        let channel = KindPolicy {
            any: ["dispatcher".to_owned()].into(),
            listed,
        };
        Policy::build([("channel".to_owned(), channel)].into()).unwrap()
    }

    fn rights(pairs: &[(&str, &str)]) -> PublishRights {
        let mut roles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (role, event) in pairs {
            let events = roles.entry((*role).to_owned()).or_default();
            events.insert((*event).to_owned());
        }
        PublishRights::build(roles).unwrap()
    }

    #[test]
    fn h5_a_token_publishes_allowed_events_to_rooms_that_it_may_join() {
        let rights = rights(&[("field_unit", "note"), ("dispatcher", "shift")]);
        let own = Id::parse("o1").unwrap();
        let check = |roles: &[&str], scope: &str, event: &str, room: &str| {
            let room = Room::named(&own, room).unwrap();
            let (claims, policy) = (claims(roles, scope), policy());
            rights.check(&claims, event, &[room], |room| {
                policy.may_join(&claims, room)
            })
        };
        for (roles, scope, event, room, expected) in [
            (&["field_unit"][..], "publish", "note", "channel:7", Ok(())),
            (&["field_unit"], "openid publish", "note", "org:o1", Ok(())),
            (&["field_unit"], "publish", "note", "user:u1", Ok(())),
            (
                &["field_unit"],
                "",
                "note",
                "channel:7",
                Err(MayNotPublish::Scope),
            ),
            (
                &["field_unit"],
                "publisher",
                "note",
                "channel:7",
                Err(MayNotPublish::Scope),
            ),
            (
                &["field_unit"],
                "publish",
                "task_assigned",
                "user:u1",
                Err(MayNotPublish::Event),
            ),
            (
                &["field_unit"],
                "publish",
                "shift",
                "channel:7",
                Err(MayNotPublish::Event),
            ),
            (&[], "publish", "note", "org:o1", Err(MayNotPublish::Event)),
            (
                &["field_unit"],
                "publish",
                "note",
                "channel:8",
                Err(MayNotPublish::Room),
            ),
            (
                &["field_unit"],
                "publish",
                "note",
                "user:u2",
                Err(MayNotPublish::Room),
            ),
            (
                &["field_unit", "dispatcher"],
                "publish",
                "shift",
                "channel:8",
                Ok(()),
            ),
        ] {
            assert_eq!(
                check(roles, scope, event, room),
                expected,
                "{roles:?} {event} {room}"
            );
        }
        let foreign = Room::named(&Id::parse("o2").unwrap(), "channel:7").unwrap();
        let claims = claims(&["dispatcher"], "publish");
        let refused = rights.check(&claims, "shift", std::slice::from_ref(&foreign), |_| true);
        assert_eq!(refused, Err(MayNotPublish::Room));
        let none = PublishRights::default().check(&claims, "shift", &[foreign], |_| true);
        assert_eq!(none, Err(MayNotPublish::Nothing));
    }

    #[test]
    fn h16_rights_name_events_that_may_be_published() {
        let roles = [(
            "a".to_owned(),
            ["cursor", "good", "b c"].map(str::to_owned).into(),
        )];
        assert_eq!(PublishRights::build(roles.into()).unwrap_err().len(), 2);
    }
}
