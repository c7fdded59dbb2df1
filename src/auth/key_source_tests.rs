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
        ("\u{FEFF}\r\n", "is empty"),
        (
            "fleetcast-tests-only-3kYbqzT0pW9sVn5x\u{A0}\n",
            "secret 1: character 38 of 38 is a no-break space (U+00A0)",
        ),
        ("f\0l\0e\0e\0t\0", "looks like UTF-16"),
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

#[test]
fn a_byte_order_mark_and_line_ends_of_another_system_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let issuer = Issuer::ed();
    let opened = |content: &str, sources: KeySources| {
        std::fs::write(&path, content).unwrap();
        assert_eq!(check_keys(&sources), [], "{content:?}");
        Verifier::open(&settings(sources)).unwrap()
    };
    let pem = KeySources {
        public_key_files: vec![path.clone()],
        ..KeySources::default()
    };
    let set = KeySources {
        jwks: Some(JwksSource::File(path.clone())),
        ..KeySources::default()
    };
    let windows = format!("\u{FEFF}{}", issuer.public_pem.replace('\n', "\r\n"));
    let marked = format!("\u{FEFF}{}\r\n", jwks(&[issuer.jwk(Some("1"))]));
    for (content, sources) in [(windows, pem), (marked, set)] {
        let verifier = opened(&content, sources);
        let token = issuer.token(None, &claims());
        assert!(verifier.verify_now(&token, NOW).is_ok());
    }
    let (first, second) = (
        "fleetcast-tests-only-3kYbqzT0pW9sVn5x",
        "fleetcast-tests-only-another-5xQ0m2Lr",
    );
    let secrets = KeySources {
        secret_file: Some(path.clone()),
        ..KeySources::default()
    };
    // Two files that were joined.
    let verifier = opened(
        &format!("\u{FEFF}{first}\r\n\u{FEFF}{second} \r\n"),
        secrets,
    );
    for secret in [first, second] {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let header = jsonwebtoken::Header::new(Algorithm::HS256);
        let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
        assert!(verifier.verify_now(&token, NOW).is_ok());
    }
}

#[test]
fn ed25519_is_another_name_of_eddsa_and_goes_with_no_other_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let (ed, ec) = (Issuer::ed(), Issuer::ec());
    let verifier = |keys: &[Value], algorithms: Option<Vec<Algorithm>>| {
        std::fs::write(&path, jwks(keys)).unwrap();
        let sources = KeySources {
            jwks: Some(JwksSource::File(path.clone())),
            algorithms,
            ..KeySources::default()
        };
        Verifier::open(&settings(sources)).unwrap()
    };
    let jwk = |alg: Option<&str>| {
        let mut jwk = ed.jwk(Some("1"));
        match alg {
            Some(alg) => jwk["alg"] = alg.into(),
            None => drop(jwk.as_object_mut().unwrap().remove("alg")),
        }
        jwk
    };
    let tokens = ["EdDSA", "Ed25519"].map(|alg| ed.token_named(alg, Some("1"), &claims()));
    for alg in [None, Some("EdDSA"), Some("Ed25519")] {
        for algorithms in [None, Some(vec![Algorithm::EdDSA])] {
            let verifier = verifier(&[jwk(alg), ec.jwk(Some("2"))], algorithms);
            for token in &tokens {
                assert!(verifier.verify_now(token, NOW).is_ok(), "{alg:?}");
            }
        }
    }
    let verifier = verifier(&[jwk(None), ec.jwk(Some("2"))], None);
    let why = |token: &str| verifier.verify_now(token, NOW).unwrap_err().why;
    // The name of the algorithm does not make a key one of that kind, nor another algorithm fit this key.
    for (alg, kid) in [
        ("Ed25519", "2"),
        ("ES256", "1"),
        ("HS256", "1"),
        ("Ed448", "1"),
        ("ed25519", "1"),
    ] {
        let token = ed.token_named(alg, Some(kid), &claims());
        assert_eq!(why(&token), TokenDefect::Algorithm, "{alg}");
    }
    let forged = Issuer::ed().token_named("Ed25519", Some("1"), &claims());
    assert_eq!(why(&forged), TokenDefect::Signature);
}
