//! Where a record says whose it is, and what happens if it says so twice.

use serde_json::{Value, json};

use super::*;

#[test]
fn the_organisation_is_in_a_header_a_field_the_key_or_the_topic() {
    let of = |organisation: Value| {
        table(&json!({
            "topics": ["t", { "pattern": "fleet\\.(?<org>[^.]*)" }],
            "event": { "headers": ["e"] },
            "organisation": organisation,
            "routes": [{ "events": ["told"], "rooms": [{ "kind": "org" }] }],
        }))
    };
    let e: (&str, &[u8]) = ("e", b"told");
    let told = |table: &RouteTable, sample: SampleRecord<'_>| {
        let outcome = outcome(table, sample);
        let organisation = outcome
            .strip_prefix("told of ")
            .and_then(|rest| rest.split(' ').next());
        organisation.unwrap_or(&outcome).to_owned()
    };

    let part = of(json!({ "key": { "separator": ":", "part": 2 } }));
    for (key, expected) in [
        (None, "no_organisation"),
        (Some("unit:acme"), "acme"),
        (Some("unit:acme:7"), "acme"),
        (Some("\"unit:acme\""), "acme"),
        (Some("\"unit:\\u0061cme\""), "acme"),
        (Some("unit"), "bad_organisation"),
        (Some("unit:"), "bad_organisation"),
        (Some("unit:a b"), "bad_organisation"),
        (Some(""), "bad_organisation"),
    ] {
        let sample = SampleRecord {
            key,
            headers: &[e],
            ..NOTHING
        };
        assert_eq!(told(&part, sample), expected, "{key:?}");
    }
    let whole = of(json!({ "key": true }));
    for (key, expected) in [
        ("acme", "acme"),
        ("\"acme\"", "acme"),
        ("\"acme", "bad_organisation"),
        ("{\"a\":1}", "bad_organisation"),
    ] {
        let sample = SampleRecord {
            key: Some(key),
            headers: &[e],
            ..NOTHING
        };
        assert_eq!(told(&whole, sample), expected, "{key}");
    }
    let by_topic = of(json!({ "topic": "org" }));
    for (topic, expected) in [
        ("fleet.acme", "acme"),
        ("fleet.", "bad_organisation"),
        ("t", "no_organisation"),
    ] {
        let sample = SampleRecord {
            topic,
            headers: &[e],
            ..NOTHING
        };
        assert_eq!(told(&by_topic, sample), expected, "{topic}");
    }

    // The first that is there decides, and nothing after it mends what it says.
    let all = json!({ "headers": ["h"], "fields": ["org", "meta.org.id"], "key": true, "topic": "org", "default": "none" });
    let first = of(all.clone());
    let mut agreeing = all;
    agreeing["agree"] = true.into();
    let agreeing = of(agreeing);
    let h: (&str, &[u8]) = ("h", b"o1");
    let other: (&str, &[u8]) = ("h", b"o2");
    for (headers, value, key, topic, expected, agreed) in [
        (&[e][..], "{}", None, "t", "none", "none"),
        (
            &[e, h],
            r#"{"org":"o2"}"#,
            None,
            "t",
            "o1",
            "ambiguous_field",
        ),
        (
            &[e, h],
            r#"{"org":"o1"}"#,
            Some("o1"),
            "fleet.o1",
            "o1",
            "o1",
        ),
        (
            &[e, h],
            r#"{"org":"o1"}"#,
            Some("o1"),
            "fleet.o2",
            "o1",
            "ambiguous_field",
        ),
        (
            &[e, h, other],
            "{}",
            None,
            "t",
            "ambiguous_field",
            "ambiguous_field",
        ),
        (
            &[e],
            r#"{"org":"o1","data":{"org":"o2"}}"#,
            None,
            "t",
            "o2",
            "ambiguous_field",
        ),
        (
            &[e],
            r#"{"org":"o1","data":{"org":"o1"}}"#,
            None,
            "t",
            "o1",
            "o1",
        ),
        (
            &[e],
            r#"{"meta":{"org":{"id":3}}}"#,
            Some("3"),
            "t",
            "3",
            "3",
        ),
        (
            &[e],
            r#"{"meta":{"org":{"id":"3"}}}"#,
            Some("4"),
            "t",
            "3",
            "ambiguous_field",
        ),
        (
            &[e],
            r#"{"meta":{"org":{"id":"a b"}}}"#,
            Some("4"),
            "t",
            "bad_organisation",
            "bad_organisation",
        ),
        (
            &[e],
            r#"{"org":"o1"}"#,
            Some("a b"),
            "t",
            "o1",
            "ambiguous_field",
        ),
        (
            &[e],
            "{}",
            Some("a b"),
            "fleet.o1",
            "bad_organisation",
            "bad_organisation",
        ),
        (
            &[e],
            r#"{"meta":{"org":{"id":null}}}"#,
            None,
            "t",
            "none",
            "none",
        ),
    ] {
        let sample = SampleRecord {
            topic,
            key,
            headers,
            value,
        };
        assert_eq!(told(&first, sample), expected, "{value} {key:?}");
        assert_eq!(told(&agreeing, sample), agreed, "{value} {key:?}");
    }
}
