use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetcast_core::domain::id::Id;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";
const OTHER_SECRET: &str = "fleetcast-tests-only-another-5xQ0m2Lr";
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn settings(issuer: Option<&str>, audience: Option<&str>) -> AuthSettings {
    AuthSettings {
        own: IssuerSettings {
            keys: KeySources {
                secrets: vec![SecretString::from(SECRET)],
                ..KeySources::default()
            },
            issuer: issuer.map(str::to_owned),
            audiences: audience.map(str::to_owned).into_iter().collect(),
            ..IssuerSettings::default()
        },
        others: Vec::new(),
        shared_users: false,
        leeway: Duration::from_secs(10),
        max_lifetime: None,
        allow_query_token: true,
    }
}

pub(super) fn verifier() -> Verifier {
    let verifier = Verifier::open(&settings(None, None)).unwrap();
    verifier.set_claim_rules(ClaimRules {
        listed: ["channels".to_owned()].into(),
        ..ClaimRules::default()
    });
    verifier
}

/// Good claims with `changes` over them; `null` removes a claim.
fn claims(changes: &Value) -> Value {
    let mut claims =
        json!({"sub": "u1", "organization_id": "o1", "roles": ["dispatcher"], "exp": NOW + 600});
    let (Value::Object(map), Value::Object(changes)) = (&mut claims, changes) else {
        panic!("claims are an object");
    };
    for (name, value) in changes {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

pub(super) fn token(changes: &Value) -> String {
    sign(Algorithm::HS256, SECRET, &claims(changes))
}

/// Signed as it stands, also what no JSON library would write.
pub(super) fn raw(header: &str, payload: &str) -> String {
    let (header, payload) = (
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload),
    );
    let message = format!("{header}.{payload}");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

pub(super) const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn refused(token: &str) -> Rejected {
    verifier()
        .verify_now(token, NOW)
        .expect_err("it should be refused")
}

#[test]
fn a_good_token_gives_its_claims() {
    let token = token(
        &json!({"name": "Ada", "channels": [7, "8"], "nbf": NOW, "iat": NOW, "aud": "another service"}),
    );
    let claims = verifier().verify_now(&token, NOW).unwrap();
    assert_eq!(
        (claims.user.as_str(), claims.organisation.as_str()),
        ("u1", "o1")
    );
    assert!(claims.roles.contains("dispatcher"));
    assert_eq!((claims.expires, claims.issued_at), (NOW + 600, Some(NOW)));
    assert_eq!(claims.issuer, None, "neither the settings nor it name one");
    assert_eq!(claims.ids["channels"].len(), 2);
}

/// An instance whose settings name the issuer revokes its token ids by that name.
#[test]
fn h6_where_the_settings_name_no_issuer_the_tokens_own_word_counts() {
    for (iss, expected) in [
        (json!("https://a.test"), Some("https://a.test")),
        (json!(null), None),
        (json!(7), None),
    ] {
        let token = token(&json!({ "iss": iss }));
        let claims = verifier().verify_now(&token, NOW).unwrap();
        assert_eq!(claims.issuer.as_deref(), expected, "{iss}");
    }
}

#[test]
fn wrong_claims_are_refused_each_for_its_reason() {
    for (changes, why) in [
        (json!({"exp": null}), TokenDefect::MissingClaim("exp")),
        (json!({"exp": "1900000000"}), TokenDefect::NotATime("exp")),
        (json!({"exp": -1}), TokenDefect::NotATime("exp")),
        (json!({"exp": -0.5}), TokenDefect::NotATime("exp")),
        (json!({"exp": 0.5}), TokenDefect::Expired),
        (json!({"iat": -1.5}), TokenDefect::NotATime("iat")),
        (json!({"iat": 1e300}), TokenDefect::IssuedInFuture),
        (json!({"nbf": 1e18}), TokenDefect::NotYet),
        (json!({"nbf": -1}), TokenDefect::NotATime("nbf")),
        (json!({"exp": true}), TokenDefect::NotATime("exp")),
        (json!({"exp": [NOW + 600]}), TokenDefect::NotATime("exp")),
        (json!({"exp": NOW - 10}), TokenDefect::Expired),
        (json!({"exp": 0}), TokenDefect::Expired),
        (json!({"nbf": NOW + 11}), TokenDefect::NotYet),
        (
            json!({"nbf": (NOW - 1).to_string()}),
            TokenDefect::NotATime("nbf"),
        ),
        (
            json!({"iat": 4_070_908_800_u64}),
            TokenDefect::IssuedInFuture,
        ),
        (json!({"iat": "now"}), TokenDefect::NotATime("iat")),
        (
            json!({"sub": null}),
            TokenDefect::Claims(ClaimsError::Missing("sub".to_owned())),
        ),
        (
            json!({"organization_id": null}),
            TokenDefect::Claims(ClaimsError::Missing("organization_id".to_owned())),
        ),
    ] {
        assert_eq!(refused(&token(&changes)).why, why, "{changes}");
    }
    for organisation in [
        json!(["o1"]),
        json!({}),
        json!(""),
        json!("a:org:b"),
        json!("ö"),
        json!("a\u{0}"),
        json!(1.5),
    ] {
        let refused = refused(&token(&json!({"organization_id": organisation})));
        assert!(
            matches!(refused.why, TokenDefect::Claims(_)),
            "{organisation}"
        );
        assert_eq!(refused.code, Refusal::TokenInvalid);
    }
}

#[test]
fn only_the_pinned_algorithm_and_the_right_key_are_accepted() {
    let good = claims(&json!({}));
    let payload = URL_SAFE_NO_PAD.encode(good.to_string());
    let unsigned = |header: &str| format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header));
    for (token, why) in [
        (
            sign(Algorithm::HS256, OTHER_SECRET, &good),
            TokenDefect::Signature,
        ),
        (
            sign(Algorithm::HS384, SECRET, &good),
            TokenDefect::Algorithm,
        ),
        (
            sign(Algorithm::HS512, SECRET, &good),
            TokenDefect::Algorithm,
        ),
        (unsigned(r#"{"alg":"none"}"#), TokenDefect::Algorithm),
        (unsigned(r#"{"alg":"None"}"#), TokenDefect::Algorithm),
        (unsigned(r#"{"alg":"RS256"}"#), TokenDefect::Algorithm),
        (unsigned(r#"{"alg":["HS256"]}"#), TokenDefect::Algorithm),
        (unsigned("{}"), TokenDefect::Algorithm),
        (unsigned(HS256), TokenDefect::Signature),
        (
            raw(r#"{"alg":"hs256"}"#, &good.to_string()),
            TokenDefect::Algorithm,
        ),
        (
            raw(
                r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
                &good.to_string(),
            ),
            TokenDefect::Critical,
        ),
    ] {
        assert_eq!(refused(&token).why, why, "{token}");
    }
    let accepted = raw(
        r#"{"alg":"HS256","typ":"JWT","kid":"1"}"#,
        &good.to_string(),
    );
    assert!(verifier().verify_now(&accepted, NOW).is_ok());
}

#[test]
fn malformed_tokens_get_one_answer() {
    let good = token(&json!({}));
    let mut garbage: Vec<String> = [
        "x",
        ".",
        "..",
        "...",
        "a.b.c",
        "null",
        "{}",
        "Bearer x",
        "\u{0}",
        "é.é.é",
        "....",
        " ",
        "eyJ.eyJ.eyJ",
    ]
    .map(str::to_owned)
    .to_vec();
    garbage.extend((1..good.len()).map(|end| good[..end].to_owned()));
    garbage.push(format!("{good}.x"));
    garbage.push(format!("{good}="));
    garbage.push(format!(" {good}"));
    garbage.push(good.to_uppercase());
    garbage.push("x".repeat(MAX_TOKEN));
    garbage.push("x".repeat(1 << 20));
    garbage.push(format!("{good}{}", "A".repeat(1 << 20)));
    for payload in [
        "",
        "null",
        "[]",
        "7",
        "\"text\"",
        "{",
        "{\"exp\":1e400}",
        "{\"exp\":NaN}",
        "{\"exp\":1900000000,\"exp\":1900000001}",
    ] {
        garbage.push(raw(HS256, payload));
    }
    garbage.push(raw(HS256, &"[".repeat(9_000)));
    garbage.push(raw(
        &format!("{{\"alg\":\"HS256\",\"x\":{}", "[".repeat(5_000)),
        "{}",
    ));
    for token in garbage {
        let refused = refused(&token);
        assert_eq!(refused.code, Refusal::TokenInvalid, "{token:.60}");
    }
    assert_eq!(refused("").code, Refusal::TokenMissing);
}

#[test]
fn several_secrets_hold_at_once_and_the_first_signs() {
    let mut both = settings(None, None);
    both.own.keys.secrets.push(SecretString::from(OTHER_SECRET));
    let verifier = Verifier::open(&both).unwrap();
    let good = claims(&json!({}));
    for secret in [SECRET, OTHER_SECRET] {
        let token = sign(Algorithm::HS256, secret, &good);
        assert!(verifier.verify_now(&token, NOW).is_ok());
    }
    let grant = Grant {
        user: "u1".to_owned(),
        organisation: "o1".to_owned(),
        ..Grant::default()
    };
    let minted = mint(&both, &grant, NOW, 60).unwrap();
    assert!(self::verifier().verify_now(&minted, NOW).is_ok());
}

#[test]
fn a46_issuer_and_audience_are_required_once_they_are_configured() {
    let verifier = Verifier::open(&settings(Some("issuer"), Some("fleetcast"))).unwrap();
    let check = |changes: Value| {
        verifier
            .verify_now(&token(&changes), NOW)
            .map(drop)
            .map_err(|rejected| rejected.why)
    };
    assert_eq!(check(json!({"iss": "issuer", "aud": "fleetcast"})), Ok(()));
    assert_eq!(
        check(json!({"iss": "issuer", "aud": ["other", "fleetcast"]})),
        Ok(())
    );
    assert_eq!(
        check(json!({"iss": "issuer", "aud": ["fleetcast"]})),
        Ok(())
    );
    for (changes, why) in [
        (
            json!({"iss": "issuer", "aud": ["other", "another"]}),
            TokenDefect::Audience,
        ),
        (
            json!({"iss": "issuer", "aud": [["fleetcast"]]}),
            TokenDefect::Audience,
        ),
        (
            json!({"iss": "issuer", "aud": "other fleetcast"}),
            TokenDefect::Audience,
        ),
        (
            json!({"aud": "fleetcast"}),
            TokenDefect::MissingClaim("iss"),
        ),
        (json!({"iss": "issuer"}), TokenDefect::MissingClaim("aud")),
        (
            json!({"iss": "other", "aud": "fleetcast"}),
            TokenDefect::Issuer,
        ),
        (
            json!({"iss": ["issuer"], "aud": "fleetcast"}),
            TokenDefect::Issuer,
        ),
        (
            json!({"iss": "issuer", "aud": "other"}),
            TokenDefect::Audience,
        ),
        (json!({"iss": "issuer", "aud": []}), TokenDefect::Audience),
        (
            json!({"iss": "issuer", "aud": ["fleetcast", 7]}),
            TokenDefect::Audience,
        ),
        (
            json!({"iss": "issuer", "aud": {"fleetcast": true}}),
            TokenDefect::Audience,
        ),
        (
            json!({"iss": "Issuer", "aud": "fleetcast"}),
            TokenDefect::Issuer,
        ),
    ] {
        assert_eq!(check(changes.clone()), Err(why), "{changes}");
    }
}

#[test]
fn no_reason_quotes_the_token_or_a_claim() {
    let token = token(&json!({"sub": "hush hush", "organization_id": "a:org:hush"}));
    let rejected = refused(&token);
    let text = format!("{rejected} {rejected:?} {:?}", verifier());
    assert!(
        !text.contains("hush") && !text.contains(&token) && !text.contains(SECRET),
        "{text}"
    );
}

#[test]
fn minted_tokens_are_accepted_and_tokens_that_would_be_rejected_are_not_minted() {
    let settings = settings(Some("issuer"), Some("fleetcast"));
    let mut grant = Grant {
        user: "u1".to_owned(),
        organisation: "o1".to_owned(),
        roles: vec!["field_unit".to_owned()],
        name: Some("Unit 7".to_owned()),
        ids: BTreeMap::from([("channels".to_owned(), vec!["1".to_owned(), "2".to_owned()])]),
        scopes: vec!["publish".to_owned()],
    };
    let token = mint(&settings, &grant, NOW, 3600).unwrap();
    let verifier = Verifier::open(&settings).unwrap();
    verifier.set_claim_rules(ClaimRules {
        listed: grant.ids.keys().cloned().collect(),
        ..ClaimRules::default()
    });
    let claims = verifier.verify_now(&token, NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.expires), ("u1", NOW + 3600));
    assert!(claims.scopes.contains("publish") && claims.ids["channels"].len() == 2);
    grant.organisation = "a:org:b".to_owned();
    assert!(matches!(
        mint(&settings, &grant, NOW, 3600),
        Err(MintError::Claims(_))
    ));
}

#[test]
fn a_refusal_is_counted_by_its_code() {
    let metrics = Metrics::new();
    refused("x").report(&metrics);
    refused("y").report(&metrics);
    assert!(
        metrics
            .render()
            .contains(r#"fleetcast_refused_total{reason="token_invalid"} 2"#)
    );
}

#[test]
fn claim_rules_apply_from_the_moment_they_are_set() {
    let verifier = verifier();
    let token = token(&json!({"organization_id": null, "channels": "7", "projects": ["p1"]}));
    assert!(verifier.verify_now(&token, NOW).is_err());
    verifier.set_claim_rules(ClaimRules {
        default_organisation: Id::parse("acme").ok(),
        listed: ["projects".to_owned()].into(),
        ..ClaimRules::default()
    });
    let claims = verifier.verify_now(&token, NOW).unwrap();
    assert_eq!(claims.organisation.as_str(), "acme");
    assert_eq!(claims.ids.keys().collect::<Vec<_>>(), ["projects"]);
}
