//! Whose keys verify a token.

use fleetcast_core::domain::id::Id;
use serde_json::json;

use super::test_keys::{Issuer, jwks};
use super::tests::NOW;
use super::*;

/// Two customers, each with an issuer of its own.
struct TwoIssuers {
    verifier: Verifier,
    acme: Issuer,
    bolt: Issuer,
    _directory: tempfile::TempDir,
}

fn two() -> TwoIssuers {
    let directory = tempfile::tempdir().unwrap();
    let (acme, bolt) = (Issuer::ec(), Issuer::ec());
    let settings = |name: &str, issuer: &Issuer, organisations: &[&str]| {
        let path = directory.path().join(name);
        std::fs::write(&path, jwks(&[issuer.jwk(Some(name))])).unwrap();
        IssuerSettings {
            issuer: Some(format!("https://{name}.example/")),
            audiences: vec!["fleetcast".to_owned(), format!("{name}-app")],
            keys: KeySources {
                jwks: Some(JwksSource::File(path)),
                ..KeySources::default()
            },
            organisations: organisations.iter().map(|id| Id::parse(id).ok()).collect(),
            ..IssuerSettings::default()
        }
    };
    let others = vec![
        settings("acme", &acme, &["acme"]),
        settings("bolt", &bolt, &["bolt", "bolt-test"]),
    ];
    let settings = AuthSettings {
        own: IssuerSettings::default(),
        others,
        ..tests::settings(None, None)
    };
    TwoIssuers {
        verifier: Verifier::open(&settings).unwrap(),
        acme,
        bolt,
        _directory: directory,
    }
}

fn claims(issuer: &str, organisation: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": format!("https://{issuer}.example/"), "aud": "fleetcast", "sub": "7",
        "organization_id": organisation, "exp": NOW + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn h1_a_key_verifies_only_tokens_of_its_own_issuer() {
    let two = two();
    let verify = |token: &str| two.verifier.verify_now(token, NOW);
    let same = json!({});
    for (issuer, kid, claims) in [
        (&two.acme, Some("acme"), claims("acme", "acme", &same)),
        (
            &two.acme,
            None,
            claims("acme", "acme", &json!({"aud": ["other", "acme-app"]})),
        ),
        (&two.bolt, Some("bolt"), claims("bolt", "bolt-test", &same)),
    ] {
        let token = issuer.token(kid, &claims);
        let verified = verify(&token).unwrap_or_else(|why| panic!("{claims}: {why}"));
        assert_eq!(verified.issuer.as_deref(), claims["iss"].as_str());
    }
    let foreign =
        |why: &TokenDefect| matches!(why, TokenDefect::Signature | TokenDefect::UnknownKey);
    for (kid, claims) in [
        // The key of one, the name of the other.
        (Some("acme"), claims("bolt", "bolt", &same)),
        (Some("bolt"), claims("bolt", "bolt", &same)),
        (None, claims("bolt", "bolt", &same)),
    ] {
        let refused = verify(&two.acme.token(kid, &claims)).expect_err("a foreign key");
        assert!(foreign(&refused.why), "{claims}: {refused}");
    }
    for (claims, why) in [
        (claims("acme", "bolt", &same), TokenDefect::Organisation),
        (
            claims("acme", "acme", &json!({"aud": "bolt-app"})),
            TokenDefect::Audience,
        ),
        (
            claims("acme", "acme", &json!({"aud": ["stranger"]})),
            TokenDefect::Audience,
        ),
        (
            claims("acme", "acme", &json!({"aud": null})),
            TokenDefect::MissingClaim("aud"),
        ),
        (claims("evil", "acme", &same), TokenDefect::Issuer),
        (
            claims("acme", "acme", &json!({"iss": ["https://acme.example/"]})),
            TokenDefect::Issuer,
        ),
        (
            claims("acme", "acme", &json!({"iss": null})),
            TokenDefect::MissingClaim("iss"),
        ),
        (
            claims("acme", "acme", &json!({"iss": "https://acme.example"})),
            TokenDefect::Issuer,
        ),
    ] {
        let refused = verify(&two.acme.token(Some("acme"), &claims)).expect_err("not theirs");
        assert_eq!(refused.why, why, "{claims}");
    }
}

#[test]
fn access_tokens_by_rfc_9068_are_accepted() {
    let two = two();
    let token = |typ: &str| {
        let mut header = jsonwebtoken::Header::new(two.acme.algorithm);
        header.typ = Some(typ.to_owned());
        two.acme
            .token_by(&header, &claims("acme", "acme", &json!({})))
    };
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT", "JWT"] {
        assert!(two.verifier.verify_now(&token(typ), NOW).is_ok(), "{typ}");
    }
    for typ in ["logout+jwt", "dpop+jwt", "jwt+at", "", "application/"] {
        let refused = two.verifier.verify_now(&token(typ), NOW).expect_err(typ);
        assert_eq!(refused.why, TokenDefect::Type, "{typ}");
    }
}

#[tokio::test]
async fn h1_a_token_waits_for_keys_of_its_own_issuer_only() {
    let two = two();
    let claims = claims("acme", "acme", &json!({}));
    // The other one has signed: with the name of the key of this one, with that of its own, and with none.
    for kid in [Some("acme"), Some("bolt"), None] {
        let stranger = two.bolt.token(kid, &claims);
        let refused = two.verifier.verify(&stranger, NOW).await;
        assert!(refused.is_err(), "{kid:?}: {refused:?}");
    }
    let own = two.acme.token(None, &claims);
    assert!(two.verifier.verify(&own, NOW).await.is_ok());
}

#[test]
fn an_issuer_whose_key_server_is_away_keeps_only_its_own_clients_out() {
    let away = IssuerSettings {
        issuer: Some("https://away.example/".to_owned()),
        keys: KeySources {
            jwks: Some(JwksSource::Url("http://127.0.0.1:1/keys".to_owned())),
            ..KeySources::default()
        },
        ..IssuerSettings::default()
    };
    let known = |own: IssuerSettings| {
        let others = vec![away.clone()];
        let settings = AuthSettings {
            own,
            others,
            ..tests::settings(None, None)
        };
        Verifier::open(&settings).unwrap().keys().known
    };
    assert!(!known(IssuerSettings::default()), "there is no other");
    assert!(known(tests::settings(Some("us"), None).own));
}
