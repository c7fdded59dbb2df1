//! Tokens as issuers write them: fractions, `null`, text that cannot be read, numbers beyond 64 bits.

use super::tests::{HS256, NOW, raw, settings, verifier};
use super::*;

#[test]
fn a45_times_may_have_fractions() {
    // As text, so that the fraction is what an issuer writes.
    let check = |times: &str, now: u64| {
        let claims = format!(r#"{{"sub":"u1","org_id":"o1",{times}}}"#);
        let verified = verifier().verify_now(&raw(HS256, &claims), now);
        verified
            .map(|claims| claims.expires)
            .map_err(|rejected| rejected.why)
    };
    let later = NOW + 600;
    for (times, now, expected) in [
        (format!(r#""exp":{later}.5"#), NOW, Ok(later)),
        (format!(r#""exp":{later}.999999"#), NOW, Ok(later)),
        (
            format!(r#""exp":{later}.0,"nbf":{NOW}.0,"iat":{NOW}.25"#),
            NOW,
            Ok(later),
        ),
        (r#""exp":1.9e9"#.to_owned(), NOW, Ok(1_900_000_000)),
        // The grace of 4 s counts from the whole second: a connection is closed then.
        (format!(r#""exp":{NOW}.9"#), NOW + 3, Ok(NOW)),
        (
            format!(r#""exp":{NOW}.9"#),
            NOW + 4,
            Err(TokenDefect::Expired),
        ),
        // The leeway of 10 s; a fraction more is too early.
        (
            format!(r#""exp":{later},"nbf":{}.0"#, NOW + 10),
            NOW,
            Ok(later),
        ),
        (
            format!(r#""exp":{later},"nbf":{}.5"#, NOW + 10),
            NOW,
            Err(TokenDefect::NotYet),
        ),
        (
            format!(r#""exp":{later},"iat":{}.0"#, NOW + 310),
            NOW,
            Ok(later),
        ),
        (
            format!(r#""exp":{later},"iat":{}.5"#, NOW + 310),
            NOW,
            Err(TokenDefect::IssuedInFuture),
        ),
        (
            r#""exp":1e400"#.to_owned(),
            NOW,
            Err(TokenDefect::NotATime("exp")),
        ),
        (
            r#""exp":18446744073709551616"#.to_owned(),
            NOW,
            Err(TokenDefect::NotATime("exp")),
        ),
        (
            format!(r#""exp":{later},"nbf":1e400"#),
            NOW,
            Err(TokenDefect::NotATime("nbf")),
        ),
        (
            format!(r#""exp":{later},"nbf":-1e400"#),
            NOW,
            Err(TokenDefect::NotATime("nbf")),
        ),
        (
            format!(r#""exp":"{later}.5""#),
            NOW,
            Err(TokenDefect::NotATime("exp")),
        ),
    ] {
        assert_eq!(check(&times, now), expected, "{times}");
    }
    // Too far ahead: milliseconds, most often.
    for times in [r#""exp":1e18"#, r#""exp":1.8e12"#, r#""exp":1800000600000"#] {
        assert!(
            matches!(check(times, NOW), Err(TokenDefect::Claims(_))),
            "{times}"
        );
    }
}

#[test]
fn null_in_a_token_is_as_if_it_were_not_there() {
    let times = format!(r#""exp":{}"#, NOW + 600);
    let ids = r#""sub":"u1","organization_id":"o1""#;
    let check = |header: &str, claims: &str, issuer: Option<&str>| {
        let verifier = Verifier::open(&settings(issuer, issuer)).unwrap();
        let claims = verifier.verify_now(&raw(header, claims), NOW);
        claims.map(drop).map_err(|rejected| rejected.why)
    };
    for optional in [
        "nbf", "iat", "iss", "aud", "jti", "name", "roles", "role", "scope", "channels", "org_id",
        "other",
    ] {
        let claims = format!(r#"{{{ids},{times},"{optional}":null}}"#);
        assert_eq!(check(HS256, &claims, None), Ok(()), "{optional}");
    }
    let good = format!("{{{ids},{times}}}");
    for header in [
        r#"{"alg":"HS256","typ":null,"kid":null}"#,
        r#"{"alg":"HS256","cty":null,"jku":null,"x5t":null}"#,
    ] {
        assert_eq!(check(header, &good, None), Ok(()), "{header}");
    }
    assert_eq!(
        check(r#"{"alg":null}"#, &good, None),
        Err(TokenDefect::Algorithm)
    );
    // An extension that is not understood is refused, whatever it says.
    let critical = r#"{"alg":"HS256","crit":null}"#;
    assert_eq!(check(critical, &good, None), Err(TokenDefect::Critical));
    for (claims, missing) in [
        (format!(r#"{{{ids},"exp":null}}"#), "exp"),
        (format!(r#"{{{ids},{times},"iss":null,"aud":"x"}}"#), "iss"),
        (format!(r#"{{{ids},{times},"iss":"x","aud":null}}"#), "aud"),
    ] {
        let why = TokenDefect::MissingClaim(missing);
        assert_eq!(check(HS256, &claims, Some("x")), Err(why), "{claims}");
    }
    for (claims, missing) in [
        (
            format!(r#"{{"sub":null,"organization_id":"o1",{times}}}"#),
            "sub",
        ),
        (
            format!(r#"{{"sub":"u1","organization_id":null,{times}}}"#),
            "organization_id",
        ),
    ] {
        let why = TokenDefect::Claims(ClaimsError::Missing(missing.to_owned()));
        assert_eq!(check(HS256, &claims, None), Err(why), "{claims}");
    }
}

#[test]
fn claims_that_are_not_read_do_not_invalidate_a_token() {
    let claims = format!(r#""sub":"u1","organization_id":"o1","exp":{}"#, NOW + 600);
    let deep = format!(r#""deep":{}{}"#, "[".repeat(500), "]".repeat(500));
    for besides in [
        &*deep,
        r#""nickname":"\ud800""#,
        r#""name":"\udc00""#,
        r#""\ud800":{"a":["\ud83d"]}"#,
        r#""huge":1e400"#,
        r#""huge":[18446744073709551616,-1e999]"#,
    ] {
        let token = raw(HS256, &format!("{{{claims},{besides}}}"));
        let verified = verifier().verify_now(&token, NOW);
        assert!(verified.is_ok(), "{besides}: {verified:?}");
    }
    let header = r#"{"alg":"HS256","note":"\ud800","huge":1e400}"#;
    let verified = verifier().verify_now(&raw(header, &format!("{{{claims}}}")), NOW);
    assert!(verified.is_ok(), "{verified:?}");
}

#[test]
fn ids_beyond_64_bits_are_the_same_as_numbers_and_as_text() {
    let big = "18446744073709551616";
    let of = |id: &str| {
        let claims = format!(
            r#"{{"sub":{id},"organization_id":{id},"channels":[{id}],"exp":{}}}"#,
            NOW + 600
        );
        let claims = verifier().verify_now(&raw(HS256, &claims), NOW).unwrap();
        assert_eq!(claims.ids["channels"].len(), 1);
        (claims.user, claims.organisation, claims.ids)
    };
    let number = of(big);
    assert_eq!(number, of(&format!("\"{big}\"")));
    assert_eq!(number.0.as_str(), big);
}
