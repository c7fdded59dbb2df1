//! docs/tokens.md: the settings for each provider, tried with a token of its shape.

use serde_json::{Value, json};

use super::*;
use crate::auth::Verifier;
use crate::auth::test_keys::{Issuer, jwks};

const NOW: u64 = 1_800_000_000;

/// The settings and the token that docs/tokens.md shows for each provider, and what it says comes out.
#[test]
fn the_tokens_of_each_provider_give_what_the_page_says() {
    const PAGE: &str = include_str!("../../../docs/tokens.md");
    let block = |section: &str, kind: &str| {
        let (_, rest) = section.split_once(&format!("```{kind}\n"))?;
        Some(rest.split_once("```")?.0.to_owned())
    };
    let mut seen = Vec::new();
    for section in PAGE.split("\n## ") {
        let (Some(settings), Some(claims)) = (block(section, "toml"), block(section, "json"))
        else {
            continue;
        };
        let title = section.lines().next().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let provider = Issuer::rsa(aws_lc_rs::rsa::KeySize::Rsa2048);
        let path = directory.path().join("keys");
        std::fs::write(&path, jwks(&[provider.jwk(Some("k1"))])).unwrap();
        let settings: String = (settings.lines())
            .map(|line| {
                if line.starts_with("jwks = ") {
                    format!("jwks = {path:?}\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let mut claims: Value = serde_json::from_str(&claims).expect(title);
        claims["iat"] = json!(NOW - 60);
        claims["exp"] = json!(NOW + 600);
        let token = provider.token(Some("k1"), &claims);
        let settings = with_file(&settings, &[("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")]);
        let verifier = Verifier::open(&settings.expect(title).auth).unwrap();
        let found = verifier.verify_now(&token, NOW).expect(title);
        let roles: Vec<_> = found.roles.iter().map(String::as_str).collect();
        let (user, organisation, roles) = (&found.user, &found.organisation, roles.join(" "));
        let says = format!("user `{user}`, organisation `{organisation}`, roles `{roles}`");
        assert!(section.contains(&says), "{title}: {says}");
        assert!(roles.contains("dispatcher"), "{title}");
        // Another customer of the same provider, whose token the same key has signed.
        for (claim, other) in [("iss", "https://issuer.example/other"), ("aud", "other")] {
            let mut stranger = claims.clone();
            stranger[claim] = json!(other);
            let token = provider.token(Some("k1"), &stranger);
            assert!(
                verifier.verify_now(&token, NOW).is_err(),
                "{title}: {claim}"
            );
        }
        seen.push(title);
    }
    assert_eq!(
        seen,
        [
            "Auth0",
            "Keycloak",
            "Microsoft Entra ID",
            "Amazon Cognito",
            "Firebase"
        ]
    );
}
