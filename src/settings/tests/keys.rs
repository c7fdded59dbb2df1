//! Where keys come from, and that no secret is shown.

use super::super::values;
use super::{SECRET, good, load_only, problem};

#[test]
fn keys_come_from_any_source_and_files_are_checked_at_once() {
    let without_secret = |pairs: &[(&str, &str)]| {
        let mut all = vec![("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")];
        all.extend_from_slice(pairs);
        load_only(&all)
    };
    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().join("secrets");
    std::fs::write(
        &secrets,
        format!("{SECRET}\nanother-secret-of-enough-bytes-4kQ9\n"),
    )
    .unwrap();
    let secrets = secrets.to_str().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let by_url = |url| {
        let of_issuer = [
            ("JWT_ISSUER", "https://issuer.example"),
            ("JWT_AUDIENCE", "us"),
        ];
        [&[("JWT_JWKS", url)], &of_issuer[..]].concat()
    };
    for good in [
        vec![("JWT_SECRET_FILE", secrets)],
        by_url("https://issuer.example/keys"),
        by_url("http://127.0.0.1:1/keys"),
        by_url("http://localhost/keys"),
        by_url("http://[::1]:80/keys"),
    ] {
        assert_eq!(without_secret(&good).map(drop), Ok(()), "{good:?}");
    }
    // Others have tokens of the same keys.
    for missing in ["JWT_ISSUER", "JWT_AUDIENCE"] {
        let mut all = by_url("https://issuer.example/keys");
        all.retain(|(name, _)| *name != missing);
        let problems = without_secret(&all).map(drop).unwrap_err();
        assert!(
            problems[0].starts_with(&format!("{missing} is required")),
            "{problems:?}"
        );
    }
    for (bad, why) in [
        (
            vec![("JWT_JWKS", "http://issuer.example/keys")],
            ": must be https",
        ),
        (
            vec![("JWT_JWKS", "http://127.0.0.1.evil.example/keys")],
            ": must be https",
        ),
        (
            vec![("JWT_JWKS", "https://me:hush@issuer.example/keys")],
            "not supported",
        ),
        (
            vec![("JWT_JWKS", "ftp://issuer.example/keys")],
            "begin with https://",
        ),
        (vec![("JWT_JWKS", "/nowhere/keys.json")], "cannot be read"),
        (vec![("JWT_JWKS", empty)], "not a JWKS"),
        (vec![("JWT_PUBLIC_KEY_FILE", empty)], "not a PEM file"),
        (vec![("JWT_SECRET_FILE", empty)], "is empty"),
        (vec![("JWT_SECRET_PREVIOUS", "short")], "it has 5 bytes"),
        (
            vec![("JWT_SECRET_FILE", secrets), ("JWT_ALGORITHMS", "RS256")],
            "JWT_ALGORITHMS",
        ),
        (
            vec![("JWT_SECRET_FILE", secrets), ("JWT_ALGORITHMS", "none")],
            "expected HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Ed25519; found none",
        ),
        (
            vec![("JWT_SECRET_FILE", secrets), ("JWT_MAX_LIFETIME", "ever")],
            "expected seconds, or 500ms, 30s, 5m, 1h",
        ),
    ] {
        let problems = without_secret(&bad).map(drop).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(why), "{problems:?}");
    }
    let settings = good(&[("JWT_SECRET_PREVIOUS", "another-secret-of-enough-bytes-4kQ9")]);
    assert_eq!(settings.auth.own.keys.secrets.len(), 2);
}

#[test]
fn no_url_is_quoted_with_its_password() {
    for url in ["redis//me:hush@host", "redis://me:hush@", "me:hush@host"] {
        let problem = problem(&[("REDIS_URL", url)]);
        assert!(
            problem.starts_with("cannot use REDIS_URL=") && !problem.contains("hush"),
            "{problem}"
        );
    }
    let problem = problem(&[("JWT_JWKS", "https://me:hush@issuer.example/keys")]);
    assert!(!problem.contains("hush"), "{problem}");
}

#[test]
fn no_problem_and_no_debug_output_quotes_a_secret() {
    let weak = "changeme-hush-changeme-hush-changeme";
    let message = problem(&[("JWT_SECRET", weak)]);
    assert!(
        message.contains("placeholder") && !message.contains("hush"),
        "{message}"
    );
    let settings = good(&[("KAFKA_PROPERTIES_SSL_KEY_PASSWORD", "hush-hush")]);
    let debug = format!("{settings:?}");
    assert!(!debug.contains("hush") && !debug.contains(SECRET));
    assert!(problem(&[("JWT_SECRET", &format!("{SECRET}\u{FFFD}"))]).contains("not text"));
}

#[test]
fn a_secret_with_an_invisible_character_stops_the_start() {
    for name in ["JWT_SECRET", "JWT_SECRET_PREVIOUS"] {
        for (text, words) in [
            (format!("\u{FEFF}{SECRET}"), "is a byte order mark (U+FEFF)"),
            (
                format!("{SECRET}\u{200B}"),
                "is a zero-width space (U+200B)",
            ),
            (format!("{SECRET}\n"), "is a line end (U+000A)"),
            (format!("\u{A0}{SECRET}"), "is a no-break space (U+00A0)"),
        ] {
            let message = problem(&[(name, &text)]);
            assert!(
                message.starts_with(&format!("cannot use {name}: character ")),
                "{message}"
            );
            assert!(
                message.contains(words) && !message.contains(SECRET),
                "{message}"
            );
        }
    }
}

#[test]
fn ed25519_may_be_written_for_eddsa() {
    for text in ["EdDSA", "Ed25519", "ed25519"] {
        let settings = values::algorithms(text);
        assert_eq!(settings, Ok(vec![jsonwebtoken::Algorithm::EdDSA]), "{text}");
    }
    let wrong = values::algorithms("Ed448").expect_err("another curve");
    assert!(
        wrong.contains("Ed25519") && wrong.ends_with("found Ed448"),
        "{wrong}"
    );
}
