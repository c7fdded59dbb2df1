use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::claims::{ClaimPaths, ClaimRules};
use crate::domain::control_record::BadControlRecord;

fn claims(user: &str, organisation: &str, more: &serde_json::Value) -> Claims {
    let mut value = json!({"sub": user, "org_id": organisation, "exp": 9_999});
    for (name, claim) in more.as_object().expect("an object") {
        value[name] = claim.clone();
    }
    let issuer = value.get("iss").and_then(|iss| iss.as_str()).map(Arc::from);
    let map = value.as_object().expect("an object");
    let paths = ClaimPaths::default();
    let claims = Claims::from_json(map, &paths, &ClaimRules::default()).expect("claims");
    Claims { issuer, ..claims }
}

fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

fn user(organisation: &str, user: &str) -> RevocationTarget {
    let user = UserId::parse(user).expect("a user");
    RevocationTarget::User(id(organisation), user)
}

fn token(issuer: Option<&str>, jti: &str) -> RevocationTarget {
    RevocationTarget::token(issuer, jti).expect("a token")
}

fn revoked_by(
    target: &RevocationTarget,
    revocation: Revocation,
    claims: &Claims,
    now: u64,
) -> bool {
    let mut all = Revocations::default();
    all.add(target.clone(), revocation);
    all.judge(claims, now)
}

const FOR_GOOD: Revocation = Revocation {
    issued_until: 100,
    until: None,
};

#[test]
fn h6_a_revocation_concerns_its_target_and_no_other() {
    let first = claims("u1", "o1", &json!({"jti": "t1", "iss": "a", "iat": 100}));
    for (target, expected) in [
        (RevocationTarget::Organisation(id("o1")), true),
        (RevocationTarget::Organisation(id("o2")), false),
        (user("o1", "u1"), true),
        (user("o1", "u2"), false),
        (user("o2", "u1"), false),
        (token(None, "t1"), true),
        (token(None, "t2"), false),
        (token(Some("a"), "t1"), true),
    ] {
        assert_eq!(
            revoked_by(&target, FOR_GOOD, &first, 100),
            expected,
            "{target}"
        );
        assert_eq!(target.names(&first), expected, "{target}");
    }
}

#[test]
fn h1_a_token_id_of_one_issuer_is_not_that_of_another() {
    let of_b = claims("u1", "o1", &json!({"jti": "t1", "iss": "b"}));
    assert!(!revoked_by(&token(Some("a"), "t1"), FOR_GOOD, &of_b, 100));
    let of_nobody = claims("u1", "o1", &json!({"jti": "t1"}));
    assert!(!revoked_by(
        &token(Some("a"), "t1"),
        FOR_GOOD,
        &of_nobody,
        100
    ));
    assert!(revoked_by(&token(None, "t1"), FOR_GOOD, &of_b, 100));
}

#[test]
fn h6_tokens_up_to_the_second_of_the_request_are_concerned_and_those_without_iat() {
    let revocation = Revocation::requested(99_001, Some(200));
    assert_eq!(revocation.issued_until, 100, "rounded up");
    assert_eq!(Revocation::requested(100_000, None).issued_until, 100);
    for (iat, now, expected) in [
        (json!(0), 100, true),
        (json!(100), 100, true),
        (json!(100.9), 100, true),
        (json!(101), 102, false),
        (json!(null), 100, true),
        (json!(null), 199, true),
        (json!(null), 200, false),
        (json!(100), 200, false),
    ] {
        let claims = claims("u1", "o1", &json!({"iat": iat}));
        let revoked = revoked_by(&user("o1", "u1"), revocation, &claims, now);
        assert_eq!(revoked, expected, "iat {iat}, now {now}");
    }
}

/// Its issuer's clock may be ahead, and tokens from there are accepted.
#[test]
fn h6_one_token_is_revoked_whenever_it_says_that_it_was_issued() {
    let ahead = claims("u1", "o1", &json!({"jti": "t1", "iss": "a", "iat": 400}));
    for target in [token(None, "t1"), token(Some("a"), "t1")] {
        assert!(revoked_by(&target, FOR_GOOD, &ahead, 100), "{target}");
    }
    assert!(!revoked_by(&user("o1", "u1"), FOR_GOOD, &ahead, 100));
}

#[test]
fn h6_a_later_narrower_revocation_does_not_undo_a_wider_one() {
    let (early, late) = (Some(150), Some(300));
    for (one, other, expected) in [
        ((100, None), (120, late), (120, None)),
        ((100, late), (120, early), (120, late)),
        ((120, early), (100, late), (120, late)),
        ((120, None), (100, None), (120, None)),
    ] {
        let revocation = |(issued_until, until)| Revocation {
            issued_until,
            until,
        };
        let mut all = Revocations::default();
        all.add(user("o1", "u1"), revocation(one));
        let merged = all.add(user("o1", "u1"), revocation(other));
        assert_eq!(merged, revocation(expected));
        assert_eq!(all.len(), 1);
    }
}

#[test]
fn those_that_are_over_are_dropped_and_no_others() {
    let mut all = Revocations::default();
    for (name, until) in [("u1", Some(10)), ("u2", Some(20)), ("u3", None)] {
        let revocation = Revocation {
            issued_until: 5,
            until,
        };
        all.add(user("o1", name), revocation);
    }
    for (now, left) in [(9, 3), (10, 2), (15, 2), (20, 1), (u64::MAX, 1)] {
        assert!(!all.expire(now, 2));
        assert_eq!(all.len(), left, "at {now}");
    }
    assert!(all.remove(&user("o1", "u3")));
    assert!(!all.remove(&user("o1", "u3")));
    assert!(all.is_empty());
}

/// Of many that end at once some are dropped at a time, and one that was prolonged meanwhile stays.
#[test]
fn ends_follow_what_is_added_and_removed() {
    let mut all = Revocations::default();
    let until = |until| Revocation {
        issued_until: 5,
        until,
    };
    for name in ["u1", "u2", "u3", "u4"] {
        all.add(user("o1", name), until(Some(10)));
    }
    all.add(user("o1", "u1"), until(Some(20)));
    all.add(user("o1", "u2"), until(None));
    all.remove(&user("o1", "u3"));
    assert!(all.expire(10, 1), "there may be more");
    assert!(!all.expire(10, 1));
    assert_eq!(all.len(), 2);
    assert!(!all.expire(20, 10));
    assert_eq!(all.get(&user("o1", "u2")), Some(until(None)));
    assert!(all.ends.is_empty());
}

/// The limit of one instance is not that of all, nor that of tomorrow, so records do not have it.
#[test]
fn h6_how_long_tokens_live_decides_when_one_is_dropped_and_not_what_is_known() {
    let known = |life| {
        let mut all = Revocations::of_tokens_that_live(life);
        let merged = all.add(user("o1", "u1"), FOR_GOOD);
        assert_eq!(merged.to_json(), FOR_GOOD.to_json());
        all
    };
    for (life, now, left) in [
        (None, u64::MAX, 1),
        (Some(50), 149, 1),
        (Some(50), 150, 0),
        (Some(500), 150, 1),
    ] {
        let mut all = known(life);
        all.expire(now, 10);
        assert_eq!(all.len(), left, "{life:?} at {now}");
    }
}

#[test]
fn records_are_read_whole_or_not_at_all() {
    let target = user("o1", "auth0|a/b");
    assert_eq!(target.to_string(), "user/o1/auth0%7Ca%2Fb");
    let value = FOR_GOOD.to_json();
    assert_eq!(value, r#"{"v":1,"issued_until":100,"until":null}"#);
    let parsed = RevocationChange::parse(target.to_string().as_bytes(), Some(value.as_bytes()));
    assert_eq!(parsed.map(|change| change.revocation), Ok(Some(FOR_GOOD)));
    let gone = RevocationChange::parse(b"organization/o1", None).expect("a tombstone");
    assert_eq!(gone.revocation, None);
    let good = value.as_bytes();
    for (key, value, expected) in [
        (&b"user/o1"[..], good, BadControlRecord::Key),
        (b"user/o1/a/b", good, BadControlRecord::Key),
        (b"user/o1/", good, BadControlRecord::Key),
        (b"user/o 1/u1", good, BadControlRecord::Key),
        (b"user/o1/a|b", good, BadControlRecord::Key),
        (b"organization/o1/x", good, BadControlRecord::Key),
        (b"token//", good, BadControlRecord::Key),
        (b"", good, BadControlRecord::Key),
        (b"\xff", good, BadControlRecord::Key),
        (b"user/o1/u1", b"", BadControlRecord::Value),
        (b"user/o1/u1", b"[]", BadControlRecord::Value),
        (
            b"user/o1/u1",
            br#"{"issued_until":1,"until":null}"#,
            BadControlRecord::Value,
        ),
        (
            b"user/o1/u1",
            br#"{"v":1,"until":null}"#,
            BadControlRecord::Value,
        ),
        (
            b"user/o1/u1",
            br#"{"v":1,"issued_until":-1}"#,
            BadControlRecord::Value,
        ),
        (
            b"user/o1/u1",
            br#"{"v":1,"issued_until":1,"until":253402300800}"#,
            BadControlRecord::Value,
        ),
        (
            b"user/o1/u1",
            br#"{"v":1,"issued_until":253402300800,"until":null}"#,
            BadControlRecord::Value,
        ),
        (
            b"user/o1/u1",
            br#"{"v":1,"issued_until":1,"only":"phones"}"#,
            BadControlRecord::Value,
        ),
        (
            b"user/o1/u1",
            br#"{"v":2,"issued_until":1,"until":null}"#,
            BadControlRecord::Version,
        ),
        (
            b"user/o1/u1",
            br#"{"v":"1","issued_until":1}"#,
            BadControlRecord::Version,
        ),
    ] {
        let parsed = RevocationChange::parse(key, Some(value));
        assert_eq!(
            parsed,
            Err(expected),
            "{} {}",
            key.escape_ascii(),
            value.escape_ascii()
        );
    }
}

fn targets() -> impl Strategy<Value = RevocationTarget> {
    let id = || "[a-z0-9_-]{1,6}".prop_map(|text| id(&text));
    prop_oneof![
        id().prop_map(RevocationTarget::Organisation),
        (id(), "[ -~é/%|]{1,12}").prop_map(|(organisation, name)| {
            RevocationTarget::User(organisation, UserId::parse(&name).expect("printable"))
        }),
        (proptest::option::of("[ -~é/%]{1,8}"), "[ -~é/%]{1,8}")
            .prop_map(|(issuer, jti)| token(issuer.as_deref(), &jti)),
    ]
}

fn revocations() -> impl Strategy<Value = Revocation> {
    (0_u64..8, proptest::option::of(0_u64..8)).prop_map(|(issued_until, until)| Revocation {
        issued_until,
        until,
    })
}

proptest! {
    #[test]
    fn a_key_names_one_target(target in targets()) {
        prop_assert_eq!(RevocationTarget::parse(&target.to_string()), Some(target));
    }

    /// Instances read the same records, their own requests earlier, and agree.
    #[test]
    fn h6_the_order_of_revocations_does_not_matter_and_none_is_lost(
        all in prop::collection::vec(revocations(), 1..6),
        iat in proptest::option::of(0_u64..9),
        now in 0_u64..9,
    ) {
        let claims = claims("u1", "o1", &json!({"iat": iat}));
        let target = user("o1", "u1");
        let sum = |order: &mut dyn Iterator<Item = &Revocation>| {
            let mut sum = Revocations::default();
            for one in order {
                sum.add(target.clone(), *one);
            }
            sum
        };
        let (there, back) = (sum(&mut all.iter()), sum(&mut all.iter().rev()));
        prop_assert_eq!(there.get(&target), back.get(&target));
        let any = all.iter().any(|one| revoked_by(&target, *one, &claims, now));
        prop_assert!(!any || there.judge(&claims, now));
    }

    #[test]
    fn expiry_changes_no_judgement(
        all in prop::collection::vec(revocations(), 0..6),
        iat in proptest::option::of(0_u64..9),
        now in 0_u64..9,
    ) {
        let claims = claims("u1", "o1", &json!({"iat": iat, "jti": "t"}));
        let targets = [user("o1", "u1"), token(None, "t"), RevocationTarget::Organisation(id("o1"))];
        let mut set = Revocations::default();
        for (one, target) in all.iter().zip(targets.iter().cycle()) {
            set.add(target.clone(), *one);
        }
        let before = set.judge(&claims, now);
        set.expire(now, usize::MAX);
        prop_assert_eq!(set.judge(&claims, now), before);
    }
}
