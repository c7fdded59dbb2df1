//! `[[jwt.issuers]]`, and where claims are.

use super::*;

/// A good key set.
fn keys() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    std::fs::write(&path, key).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

/// What is wrong with a file of these issuers; `KEYS` in it is a good key set.
fn problems_of(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let (_directory, keys) = keys();
    let mut all = vec![("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")];
    all.extend_from_slice(environment);
    let text = text.replace("KEYS", &format!("{keys:?}"));
    with_file(&text, &all).map(drop).err().unwrap_or_default()
}

fn entry(name: &str, more: &str) -> String {
    format!("[[jwt.issuers]]\nissuer = \"{name}\"\njwks = KEYS\n{more}\n")
}

#[test]
fn issuers_of_the_file_are_read_and_need_no_secret() {
    let (_directory, keys) = keys();
    let text = entry(
        "a",
        "organizations = [\"o1\"]\nclaim_roles = 'realm_access.roles'",
    ) + &entry("b", "organizations = \"o2, o3\"\naudience = [\"x\", \"y\"]");
    let text = text.replace("KEYS", &format!("{keys:?}"));
    let settings = with_file(
        &text,
        &[
            ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
            ("JWT_CLAIM_USER", "email"),
        ],
    );
    let auth = settings.unwrap().auth;
    let [a, b] = auth.others.as_slice() else {
        panic!("two issuers");
    };
    assert!(auth.own.keys.is_empty());
    assert_eq!(
        (a.issuer.as_deref(), b.audiences.as_slice()),
        (Some("a"), &["x".to_owned(), "y".to_owned()][..])
    );
    let organisations: Vec<_> = b
        .organisations
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(organisations, ["o2", "o3"]);
    let path = |alternatives: &fleetcast_core::domain::claims::Alternatives| {
        let paths = alternatives.iter().map(ToString::to_string);
        paths.collect::<Vec<_>>().join(",")
    };
    assert_eq!(path(&a.paths.roles), "realm_access.roles");
    assert_eq!(
        (path(&b.paths.roles), path(&b.paths.user)),
        ("roles,role".to_owned(), "email".to_owned())
    );
}

#[test]
fn every_mistake_of_an_issuer_is_reported_with_its_line() {
    let only = "organizations = [\"o1\"]";
    for (text, problem) in [
        (
            "[[jwt.issuers]]\nissuer = \"a\"".to_owned(),
            "f.toml:1: jwt.issuers needs jwks",
        ),
        (
            "[[jwt.issuers]]\njwks = KEYS".to_owned(),
            "f.toml:1: jwt.issuers needs issuer",
        ),
        (
            "[[jwt.issuers]]\nissuer = \"a\"\njwks = \"https://a.example/keys\"".to_owned(),
            "f.toml:1: jwt.issuers needs an audience",
        ),
        (
            "[[jwt.issuers]]\nissuer = \"a\"\njwks = \"http://a.example/keys\"".to_owned(),
            "f.toml:3: cannot use jwt.issuers.jwks=\"http://a.example/keys\": must be https",
        ),
        (
            "[[jwt.issuers]]\nissuer = \"a\"\njwks = \"/nowhere\"".to_owned(),
            "f.toml:3: cannot use jwt.issuers.jwks=\"/nowhere\": /nowhere: it cannot be read",
        ),
        (
            entry("a", "audiance = \"x\""),
            "f.toml:4: unknown setting jwt.issuers.audiance: did you mean audience?",
        ),
        (
            entry("a", "audience = 7"),
            "f.toml:4: cannot use jwt.issuers.audience: expected text in quotes",
        ),
        (
            entry("a", "claim_user = \"a..b\""),
            "f.toml:4: cannot use jwt.issuers.claim_user=\"a..b\": a name is empty",
        ),
        (
            entry("a", "organizations = [\"a:b\"]"),
            "f.toml:4: cannot use jwt.issuers.organizations=\"a:b\": \"a:b\": an identifier is",
        ),
        (
            "[jwt]\nissuers = 7".to_owned(),
            "f.toml:2: cannot use jwt.issuers: expected a list of tables",
        ),
        (
            "[jwt]\nissuers = [7]".to_owned(),
            "f.toml:2: cannot use jwt.issuers: expected a list of tables",
        ),
        (
            entry("a", only) + &entry("a", "organizations = [\"o2\"]"),
            "f.toml:5: issuer \"a\" is described twice",
        ),
        (
            entry("a", only) + &entry("b", only),
            "f.toml:5: b and a may both speak for the same organisation",
        ),
        (
            entry("a", only) + &entry("b", ""),
            "f.toml:5: b and a may both speak for the same organisation",
        ),
    ] {
        let found = problems_of(&text, &[]);
        assert!(
            found.iter().any(|found| found.starts_with(problem)),
            "{problem}: {found:#?}"
        );
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
    }
    let twice = entry("a", only) + &entry("b", only);
    assert_eq!(
        problems_of(&twice, &[("JWT_SHARED_USERS", "true")]),
        [""; 0]
    );
    // The secret of the variables is one more issuer.
    let beside = problems_of(&entry("a", only), &[("JWT_SECRET", SECRET)]);
    assert!(
        beside[0].contains("JWT_ISSUER is required beside it"),
        "{beside:?}"
    );
    let named = [
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "us"),
        ("JWT_SHARED_USERS", "true"),
    ];
    assert_eq!(problems_of(&entry("a", only), &named), [""; 0]);
}

#[test]
fn claims_may_stand_in_quotes_and_bad_places_stop_the_start() {
    let settings = good(&[(
        "JWT_CLAIM_ROLES",
        "\"acme.roles\", https://acme.example/roles",
    )]);
    let roles: Vec<_> = (settings.auth.own.paths.roles.iter())
        .map(ToString::to_string)
        .collect();
    assert_eq!(roles, ["\"acme.roles\"", "https://acme.example/roles"]);
    assert!(settings.auth.own.paths.name.iter().count() == 1);
    assert_eq!(good(&[("JWT_CLAIM_ROLES", "\"acme.roles\"")]).notices, []);
    for wrong in [".", "a..b", ",", "\"a", "a,b,c,d,e,f,g,h,i"] {
        let told = problem(&[("JWT_CLAIM_USER", wrong)]);
        assert!(told.starts_with("cannot use JWT_CLAIM_USER="), "{told}");
    }
}

#[test]
fn h3_claims_that_users_write_are_warned_of() {
    for (name, claim) in [
        ("JWT_CLAIM_ORGANIZATION", "user_metadata.org"),
        ("JWT_CLAIM_ROLES", "custom:roles"),
        ("JWT_CLAIM_USER", "sub,preferred_username"),
    ] {
        let told = notices(&good(&[(name, claim)]));
        assert!(told[0].contains("may be what its user wrote"), "{told:?}");
    }
    assert_eq!(notices(&good(&[("JWT_CLAIM_NAME", "nickname")])), [""; 0]);
}
