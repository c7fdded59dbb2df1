//! Where keys come from: every kind of key, from PEM files and key sets, and files that cannot be used.

use std::path::Path;

use aws_lc_rs::rsa::KeySize;
use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use super::rotation_tests::{NOW, claims, settings};
use super::test_keys::{Issuer, jwks};
use super::*;

#[tokio::test]
async fn every_kind_of_key_verifies_its_tokens_from_pem_and_from_jwks() {
    let directory = tempfile::tempdir().unwrap();
    let issuers = [
        Issuer::rsa(KeySize::Rsa2048),
        Issuer::ec(),
        Issuer::ec384(),
        Issuer::ed(),
    ];
    let pem = directory.path().join("keys.pem");
    let all: String = issuers.iter().map(|one| one.public_pem.as_str()).collect();
    std::fs::write(&pem, all).unwrap();
    let set = directory.path().join("keys.json");
    let named = |(issuer, kid): (&Issuer, usize)| issuer.jwk(Some(&kid.to_string()));
    let keys: Vec<Value> = issuers.iter().zip(0..).map(named).collect();
    std::fs::write(&set, jwks(&keys)).unwrap();
    let from_pem = KeySources {
        public_key_files: vec![pem],
        ..KeySources::default()
    };
    let from_jwks = KeySources {
        jwks: Some(JwksSource::File(set)),
        ..KeySources::default()
    };
    for sources in [from_pem, from_jwks] {
        assert_eq!(check_keys(&sources), []);
        let verifier = Verifier::open(&settings(sources.clone())).unwrap();
        for (issuer, kid) in issuers.iter().zip(0..) {
            for kid in [None, Some(kid.to_string())] {
                let token = issuer.token(kid.as_deref(), &claims());
                assert!(verifier.verify_now(&token, NOW).is_ok(), "{kid:?}");
                let mut forged = token.clone();
                forged.replace_range(token.len() - 8..token.len() - 4, "AAAA");
                let why = verifier.verify_now(&forged, NOW).unwrap_err().why;
                assert_eq!(why, TokenDefect::Signature);
            }
        }
        for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
            let token = issuers[0].token_with(algorithm, None, &claims());
            assert!(verifier.verify_now(&token, NOW).is_ok(), "{algorithm:?}");
        }
        // The public key as if it were a secret: the oldest trick.
        let key = jsonwebtoken::EncodingKey::from_secret(issuers[0].public_pem.as_bytes());
        let header = jsonwebtoken::Header::new(Algorithm::HS256);
        let confused = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
        let why = verifier.verify_now(&confused, NOW).unwrap_err().why;
        assert_eq!(why, TokenDefect::Algorithm);

        let narrowed = KeySources {
            algorithms: Some(vec![Algorithm::RS512, Algorithm::EdDSA]),
            ..sources
        };
        if narrowed.jwks.is_some() {
            let verifier = Verifier::open(&settings(narrowed)).unwrap();
            let token = issuers[0].token(None, &claims());
            let why = verifier.verify_now(&token, NOW).unwrap_err().why;
            assert_eq!(why, TokenDefect::Algorithm);
            let token = issuers[0].token_with(Algorithm::RS512, None, &claims());
            assert!(verifier.verify_now(&token, NOW).is_ok());
        } else {
            let problems = check_keys(&narrowed);
            assert!(
                problems[0].1.contains("block 2: it fits no accepted"),
                "{problems:?}"
            );
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::ec();
    let path = directory.path().join("key");
    let pem = |path: &Path| KeySources {
        public_key_files: vec![path.to_owned()],
        ..KeySources::default()
    };
    let problem = |sources: &KeySources| {
        let problems = check_keys(sources);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(Verifier::open(&settings(sources.clone())).is_err());
        problems[0].1.clone()
    };
    assert!(problem(&pem(&path)).contains("cannot be read"));
    assert!(problem(&pem(directory.path())).contains("cannot be read"));
    for (content, why) in [
        (String::new(), "has no `-----BEGIN"),
        ("x".repeat(files::MAX_DOCUMENT + 1), "longer than"),
        (issuer.private_pem.clone(), "block 1: it is a private key"),
        (
            format!("{}{}", issuer.public_pem, issuer.private_pem),
            "block 2: it is a private key",
        ),
        (
            issuer.public_pem.replace("PUBLIC KEY", "DH PARAMETERS"),
            "neither a public key",
        ),
        (
            issuer.public_pem.replace("MFkw", "AAAA"),
            "cannot be read as",
        ),
        (issuer.public_pem[..60].to_owned(), "cannot be read as"),
    ] {
        std::fs::write(&path, &content).unwrap();
        let problem = problem(&pem(&path));
        assert!(problem.contains(why), "{problem}");
    }
    let secrets = KeySources {
        secret_file: Some(path.clone()),
        ..KeySources::default()
    };
    for (content, why) in [
        ("\n\n", "is empty"),
        (
            "fleetcast-tests-only-3kYbqzT0pW9sVn5x\nshort-hush\n",
            "secret 2: it has 10 bytes",
        ),
    ] {
        std::fs::write(&path, content).unwrap();
        let problem = problem(&secrets);
        assert!(
            problem.contains(why) && !problem.contains("hush"),
            "{problem}"
        );
    }
    let sources = KeySources {
        secrets: vec![SecretString::from("fleetcast-tests-only-3kYbqzT0pW9sVn5x")],
        algorithms: Some(vec![Algorithm::RS256]),
        ..KeySources::default()
    };
    assert_eq!(check_keys(&sources)[0].0, "JWT_ALGORITHMS");
}
