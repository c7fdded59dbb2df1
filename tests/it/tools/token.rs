//! `fleetcast token`: tokens made and explained.

use std::process::Output;

use super::{code, err, out};
use crate::harness::SECRET;

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    super::run(arguments, variables, "")
}

#[test]
fn a_minted_token_is_explained_and_a_foreign_one_refused() {
    let secret = [("JWT_SECRET", SECRET), ("JWT_ISSUER", "tests")];
    let minted = run(
        &[
            "token",
            "mint",
            "--sub",
            "u1",
            "--org",
            "o1",
            "--role",
            "field_unit",
            "--role",
            "viewer",
            "--channels",
            "1,2",
            "--name",
            "Unit 7",
            "--expires-in",
            "1h",
        ],
        &secret,
    );
    assert_eq!(code(&minted), 0, "{}", err(&minted));
    let token = out(&minted);
    let token = token.trim_end();

    let good = run(&["token", "inspect", token], &secret);
    let text = out(&good);
    assert_eq!(code(&good), 0, "{text}");
    for expected in [
        "accepted: user u1 of organisation o1, field_unit, viewer",
        "channels: [\"1\",\"2\"]",
        "iss: \"tests\"",
        " min)",
    ] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }

    let foreign = run(
        &["token", "inspect", token],
        &[("JWT_SECRET", "fleetcast-tests-only-another-5xQ0m2Lr")],
    );
    assert_eq!(code(&foreign), 1);
    assert!(out(&foreign).contains("rejected: token_invalid: its signature does not fit the key"));

    let piped = super::run(&["token", "inspect"], &secret, &format!("Bearer {token}\n"));
    assert_eq!(code(&piped), 0, "from standard input, with the scheme");
}

#[test]
fn tokens_are_minted_and_inspected_by_the_claims_of_the_profile() {
    let secret = ("JWT_SECRET", SECRET);
    let dispatch = out(&run(&["profile", "show", "dispatch"], &[]));
    let profile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&profile, dispatch.replace("\"channels\"", "\"projects\"")).unwrap();
    let path = profile.path().to_str().unwrap();
    let mint = |ids: &str| {
        let subject = ["token", "mint", "--sub", "u1", "--org", "o1", "--ids", ids];
        run(&subject, &[secret])
    };
    let minted = mint("projects=7,8");
    assert_eq!(code(&minted), 0, "{}", err(&minted));
    let token = out(&minted);
    let variables = [secret, ("FLEETCAST_PROFILE", path)];
    let inspected = run(&["token", "inspect", token.trim_end()], &variables);
    assert_eq!(code(&inspected), 0, "{}", out(&inspected));
    assert!(out(&inspected).contains("projects: [\"7\",\"8\"]"));

    // A profile that serves one organisation asks no token for it: nor does the tool.
    let serves_one = dispatch.replace("[organisation]", "[organisation]\ndefault = \"acme\"");
    std::fs::write(&profile, serves_one).unwrap();
    let bare = crate::harness::token(serde_json::json!({ "sub": "u1" }));
    let inspected = run(&["token", "inspect", &bare], &variables);
    let expected = "accepted: user u1 of organisation acme";
    assert!(out(&inspected).contains(expected), "{}", out(&inspected));

    assert_eq!(code(&mint("exp=1")), 2, "a claim with another meaning");
    let variables = [secret, ("FLEETCAST_PROFILE", "/no/such/profile.toml")];
    let inspected = run(&["token", "inspect", token.trim_end()], &variables);
    assert_eq!(code(&inspected), 78, "{}", out(&inspected));
}

/// A user id may hold characters that turn the text behind them round, or that are invisible.
#[test]
fn a_token_is_explained_without_characters_that_format() {
    let subject = "ann\u{202e}gro\u{200b}";
    let token = crate::harness::token(serde_json::json!({ "sub": subject, "org_id": "o1" }));
    let inspected = run(&["token", "inspect", &token], &[("JWT_SECRET", SECRET)]);
    let text = out(&inspected);
    assert_eq!(code(&inspected), 0, "{text}");
    let accepted = r"accepted: user ann\u{202e}gro\u{200b} of organisation o1";
    assert!(text.contains(accepted), "{text}");
    assert!(!text.contains(['\u{202e}', '\u{200b}']), "{text:?}");
}

#[test]
fn token_that_no_server_would_accept_is_not_minted() {
    let secret = [("JWT_SECRET", SECRET)];
    let output = run(
        &["token", "mint", "--sub", "u1", "--org", "a:org:b"],
        &secret,
    );
    assert_eq!((code(&output), out(&output).as_str()), (1, ""));
    assert!(err(&output).contains("organization_id"), "{}", err(&output));
    let output = run(&["token", "mint", "--sub", "u1", "--org", "o1"], &[]);
    assert_eq!(code(&output), 78);
    assert!(err(&output).contains("JWT_SECRET is required") && !err(&output).contains("KAFKA"));
}
