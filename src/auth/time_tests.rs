//! From when and until when a token is good.

use serde_json::json;

use super::tests::{NOW, settings, token, verifier};
use super::*;

#[test]
fn the_leeway_counts_both_ways_and_ends_sharply() {
    let token = token(&json!({"exp": NOW, "nbf": NOW, "iat": NOW}));
    let code = |now| {
        verifier()
            .verify_now(&token, now)
            .map_err(|rejected| rejected.code)
    };
    assert_eq!(code(NOW - 11).unwrap_err(), Refusal::TokenInvalid);
    assert!(code(NOW - 10).is_ok());
    assert!(code(NOW + 3).is_ok());
    assert_eq!(code(NOW + 4).unwrap_err(), Refusal::TokenExpired);
    assert_eq!(code(u64::MAX).unwrap_err(), Refusal::TokenExpired);
}

#[test]
fn a52_a_token_is_rejected_from_the_second_at_which_its_connections_are_closed() {
    for leeway in [0, 1, 4, 10, 300] {
        let mut settings = settings(None, None);
        settings.leeway = Duration::from_secs(leeway);
        let verifier = Verifier::open(&settings).unwrap();
        let token = token(&json!({"exp": NOW}));
        let claims = verifier.verify_now(&token, NOW - 1).unwrap();
        let end = verifier.ends(&claims);
        assert_eq!(end, NOW + leeway.min(4), "{leeway}");
        assert!(verifier.verify_now(&token, end - 1).is_ok(), "{leeway}");
        let refused = verifier.verify_now(&token, end).unwrap_err();
        assert_eq!(refused.code, Refusal::TokenExpired, "{leeway}");
    }
}

#[test]
fn a_token_may_not_live_longer_than_the_longest_lifetime() {
    let mut settings = settings(None, None);
    settings.max_lifetime = Some(Duration::from_mins(10));
    let verifier = Verifier::open(&settings).unwrap();
    for (changes, expected) in [
        (json!({"iat": NOW, "exp": NOW + 600}), Ok(())),
        (json!({"iat": NOW - 300, "exp": NOW + 300}), Ok(())),
        (
            json!({"iat": NOW, "exp": NOW + 601}),
            Err(TokenDefect::Lifetime),
        ),
        (
            json!({"iat": NOW - 302, "exp": NOW + 300}),
            Err(TokenDefect::Lifetime),
        ),
        (
            json!({"iat": NOW - 700, "exp": NOW - 11}),
            Err(TokenDefect::Expired),
        ),
        (
            json!({"iat": 1_800_000_000.9, "exp": 1_800_000_600.9}),
            Ok(()),
        ),
        (
            json!({"iat": 1_800_000_000.1, "exp": 1_800_000_600.9}),
            Err(TokenDefect::Lifetime),
        ),
        // It may be years old, and its revocation forgotten.
        (
            json!({"iat": null, "exp": NOW + 1}),
            Err(TokenDefect::NoIssueTime),
        ),
        (json!({"exp": NOW + 1}), Err(TokenDefect::NoIssueTime)),
        (
            json!({"iat": 0, "exp": NOW + 1}),
            Err(TokenDefect::Lifetime),
        ),
        (
            json!({"iat": NOW, "exp": u64::MAX}),
            Err(TokenDefect::Lifetime),
        ),
    ] {
        let outcome = verifier.verify_now(&token(&changes), NOW).map(drop);
        assert_eq!(
            outcome.map_err(|rejected| rejected.why),
            expected,
            "{changes}"
        );
        if let Err(why) = expected
            && why == TokenDefect::Lifetime
        {
            assert_eq!(Rejected::new(why).code, Refusal::TokenInvalid);
        }
    }
    let grant = Grant {
        user: "u1".to_owned(),
        organisation: "o1".to_owned(),
        ..Grant::default()
    };
    assert!(mint(&settings, &grant, NOW, 600).is_ok());
    assert!(matches!(
        mint(&settings, &grant, NOW, 601),
        Err(MintError::Lifetime)
    ));
}
