use serde_json::json;

use super::super::json;
use super::*;

fn claims(value: Value) -> Result<Claims, ClaimsError> {
    let Value::Object(map) = value else {
        panic!("test claims are an object");
    };
    Claims::from_json(&map, &ClaimPaths::default(), &rules(None))
}

/// The claims of the dispatch profile.
fn rules(default_organisation: Option<Id>) -> ClaimRules {
    ClaimRules {
        default_organisation,
        listed: ["channels", "assets", "incidents"]
            .map(str::to_owned)
            .into(),
        ..ClaimRules::default()
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
        let claims = claims.as_object().expect("object");
        let claims = Claims::from_json(claims, &ClaimPaths::default(), &rules);
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
        "name": "Ada", "jti": "t-1", "iat": 1_800_000_000.9, "channels": ["7", 8], "assets": ["a1"], "incidents": [],
        "scope": "publish  other", "role": "dispatcher",
    }))
    .expect("good claims");
    assert_eq!(
        (claims.user.as_str(), claims.organisation.as_str()),
        ("u1", "o1")
    );
    assert_eq!(
        claims.roles,
        SortedSet::from_iter(["dispatcher".to_owned()])
    );
    assert_eq!(
        (claims.name.as_deref(), claims.jti.as_deref()),
        (Some("Ada"), Some("t-1"))
    );
    assert_eq!(claims.expires, 1_900_000_000);
    assert_eq!(claims.issued_at, Some(1_800_000_000), "rounded down");
    assert_eq!(claims.issuer, None, "it is not read from the claims");
    let channels: Vec<_> = claims.ids["channels"].iter().map(Id::as_str).collect();
    assert_eq!(channels, ["7", "8"]);
    assert!(claims.ids["incidents"].is_empty());
    assert_eq!(
        claims.scopes,
        SortedSet::from_iter(["publish".to_owned(), "other".to_owned()])
    );
    let [org, user] = claims.caller().own_rooms();
    assert_eq!(
        (org.to_string(), user.to_string()),
        ("org:o1".into(), "user:u1:org:o1".into())
    );
}

#[test]
fn spellings_that_are_accepted() {
    let bare = claims(json!({"sub": 7, "org_id": 3, "exp": 1_900_000_000})).expect("good claims");
    assert_eq!((bare.user.as_str(), bare.organisation.as_str()), ("7", "3"));
    assert_eq!((bare.expires, bare.issued_at), (1_900_000_000, None));
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
        (json!({"sub": "secret\u{0}"}), "sub"),
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
        (json!({"exp": -0.5}), "exp"),
        (json!({"exp": -0.0}), "exp"),
        (json!({"exp": 1e300}), "exp"),
        (json!({"exp": 253_402_300_800.0}), "exp"),
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
        let claims = claims.as_object().expect("object");
        Claims::from_json(claims, &ClaimPaths::default(), &rules)
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
fn an_expiry_beyond_all_numbers_is_refused() {
    for exp in ["1e400", "18446744073709551616", "-1e400", "1e18"] {
        let claims = format!(r#"{{"sub":"u1","org_id":"o1","exp":{exp}}}"#);
        let claims = self::claims(json::parse(&claims).expect("test JSON"));
        assert!(
            matches!(claims, Err(ClaimsError::Invalid(claim, _)) if claim == "exp"),
            "{exp}"
        );
    }
}

#[test]
fn an_expiry_with_a_fraction_is_rounded_down() {
    for (exp, expected) in [
        (json!(1_900_000_000.0), 1_900_000_000),
        (json!(1_900_000_000.5), 1_900_000_000),
        (json!(1_900_000_000.999), 1_900_000_000),
        (json!(1.9e9), 1_900_000_000),
        (json!(1.5), 1),
        (json!(LATEST_EXPIRY), LATEST_EXPIRY),
    ] {
        let claims = with(json!({"exp": exp})).expect("good claims");
        assert_eq!(claims.expires, expected, "{exp}");
    }
}

#[test]
fn ids_beyond_64_bits_are_read_as_their_digits() {
    let big = "18446744073709551616";
    for id in [big.to_owned(), format!("\"{big}\"")] {
        let text = format!(
            r#"{{"sub":{id},"organization_id":{id},"org_id":"{big}","exp":1900000000,"channels":[7,{id}]}}"#
        );
        let claims = claims(json::parse(&text).expect("test JSON")).expect("good claims");
        assert_eq!(
            (claims.user.as_str(), claims.organisation.as_str()),
            (big, big)
        );
        let channels: Vec<_> = claims.ids["channels"].iter().map(Id::as_str).collect();
        assert_eq!(channels, [big, "7"]);
    }
    for id in ["18446744073709551616.0", "1e30", "1e400", &"9".repeat(129)] {
        for claim in ["sub", "organization_id", "channels"] {
            let id = if claim == "channels" {
                format!("[{id}]")
            } else {
                id.to_owned()
            };
            let changes = json::parse(&format!(r#"{{"{claim}":{id}}}"#));
            assert!(with(changes.expect("test JSON")).is_err(), "{claim} {id}");
        }
    }
}

#[test]
fn null_claim_counts_as_absent_and_a_required_one_as_missing() {
    let null = |claim: &str| with(json!({ claim: null }));
    for optional in [
        "org_id", "roles", "role", "name", "jti", "scope", "channels", "nbf", "iat", "iss", "aud",
    ] {
        assert!(null(optional).is_ok(), "{optional}");
    }
    for required in ["sub", "organization_id", "exp"] {
        let error = null(required).expect_err(required);
        assert_eq!(error, ClaimsError::Missing(required.to_owned()));
    }
    let other =
        with(json!({"organization_id": null, "org_id": "o2", "roles": null, "role": "viewer"}));
    let other = other.expect("good claims");
    assert_eq!(other.organisation.as_str(), "o2");
    assert!(other.roles.contains("viewer"));
}

#[test]
fn half_a_surrogate_pair_spoils_only_the_claim_that_needs_the_text() {
    let read = |claim: &str| {
        let changes = json::parse(&format!(r"{{{claim}}}")).expect("test JSON");
        with(changes)
    };
    for ignored in [
        r#""nickname":"\ud800""#,
        r#""\udfff":1"#,
        r#""a":{"b":["\ud800"]}"#,
    ] {
        assert!(read(ignored).is_ok(), "{ignored}");
    }
    let named = read(r#""name":"A\ud800""#).expect("it is for people");
    assert_eq!(named.name.as_deref(), Some("A\u{FFFD}"));
    for needed in [
        r#""sub":"\ud800""#,
        r#""organization_id":"o1\ud800""#,
        r#""channels":["\ud800"]"#,
    ] {
        assert!(read(needed).is_err(), "{needed}");
    }
}

/// Of an issuer whose claims lie elsewhere.
fn at(paths: &ClaimPaths, claims: &Value) -> Result<Claims, ClaimsError> {
    let renamed = [("realm-dispatcher".to_owned(), "dispatcher".to_owned())];
    let rules = ClaimRules {
        renamed: renamed.into(),
        ..ClaimRules::default()
    };
    Claims::from_json(claims.as_object().expect("object"), paths, &rules)
}

#[test]
fn claims_are_found_where_the_settings_say_and_roles_are_renamed() {
    let paths = |text: &str| Alternatives::parse(text).expect(text);
    let paths = ClaimPaths {
        user: paths("email"),
        organisation: paths("https://acme.example/org"),
        roles: paths("realm_access.roles,groups"),
        name: paths("profile.name"),
    };
    let claims = at(
        &paths,
        &json!({
            "sub": 7.5, "organization_id": ["x"], "roles": 7, "name": 7,
            "email": "ann@acme.example", "https://acme.example/org": "acme", "exp": 1_900_000_000,
            "realm_access": {"roles": ["realm-dispatcher", "viewer"]}, "profile": {"name": "Ann"},
        }),
    );
    let claims = claims.expect("what is not named is not read");
    assert_eq!(claims.user.as_str(), "ann@acme.example");
    assert_eq!(claims.organisation.as_str(), "acme");
    let roles: Vec<_> = claims.roles.iter().map(String::as_str).collect();
    assert_eq!(
        (roles, claims.name.as_deref()),
        (vec!["dispatcher", "viewer"], Some("Ann"))
    );
    assert_eq!(
        at(&paths, &json!({"sub": "u1", "exp": 1_900_000_000})),
        Err(ClaimsError::Missing("email".to_owned()))
    );
}

#[test]
fn h3_alternatives_that_are_there_must_agree() {
    let both = |changes: Value| with(changes).map(drop);
    for agreed in [
        json!({"roles": ["a", "b"], "role": ["b", "a", "a"]}),
        json!({"roles": "a", "role": ["a"]}),
        json!({"organization_id": "7", "org_id": 7}),
    ] {
        assert_eq!(both(agreed.clone()), Ok(()), "{agreed}");
    }
    for (changes, first, second) in [
        (
            json!({"roles": ["viewer"], "role": "admin"}),
            "roles",
            "role",
        ),
        (json!({"roles": [], "role": "admin"}), "roles", "role"),
        (json!({"org_id": "o2"}), "organization_id", "org_id"),
    ] {
        let conflict = ClaimsError::Conflict(first.to_owned(), second.to_owned());
        assert_eq!(both(changes.clone()), Err(conflict), "{changes}");
    }
}
