//! Which route a record takes: its topic, its event and its headers decide.

use serde_json::json;

use super::*;

#[test]
fn a_route_is_for_its_topics_and_may_name_the_event_for_them() {
    let table = table(&json!({
        "topics": ["named", ["fixed", "fixeds"], { "pattern": "fleet\\.(?<region>[a-z]+)" }],
        "event": ["type"],
        "organisation": "acme",
        "routes": [
            { "event": "measured", "topics": ["fixed"], "rooms": [{ "kind": "org" }] },
            { "events": ["moved"], "topics": ["named"], "rooms": [{ "kind": "a", "id": { "default": "1" } }] },
            { "events": ["moved"], "topics": [{ "pattern": "fleet.*" }],
              "rooms": [{ "kind": "b", "id": { "topic": "region" } }] },
            { "events": ["told"], "rooms": [{ "kind": "org" }] },
        ],
    }));
    for (topic, value, expected) in [
        ("fixed", "{}", "measured of acme to org:acme: {}"),
        (
            "fixeds",
            r#"{"type":"connect"}"#,
            r#"measured of acme to org:acme: {"type":"connect"}"#,
        ),
        (
            "named",
            r#"{"type":"moved"}"#,
            r#"moved of acme to a:1:org:acme: {"type":"moved"}"#,
        ),
        (
            "fleet.north",
            r#"{"type":"moved"}"#,
            r#"moved of acme to b:north:org:acme: {"type":"moved"}"#,
        ),
        (
            "fleet.north",
            r#"{"type":"told"}"#,
            r#"told of acme to org:acme: {"type":"told"}"#,
        ),
        ("fleet.north", r#"{"type":"measured"}"#, "unknown_event"),
        ("named", "{}", "no_event"),
        ("named", r#"{"type":"connect"}"#, "reserved_event"),
        ("fleet.retry", r#"{"type":"told"}"#, "unknown_topic"),
        ("fleet.7", r#"{"type":"told"}"#, "unknown_topic"),
        ("fixed", "[]", "not_object"),
    ] {
        let sample = SampleRecord {
            topic,
            value,
            ..NOTHING
        };
        // Twice: what a pattern matched is remembered.
        assert_eq!(outcome(&table, sample), expected, "{topic} {value}");
        assert_eq!(outcome(&table, sample), expected, "{topic} {value}");
    }
    let events: Vec<_> = table.events().collect();
    assert_eq!(events, ["measured", "moved", "told"]);
    assert_eq!(table.default_organisation().map(Id::as_str), Some("acme"));
}

#[test]
fn a_route_may_ask_for_a_header() {
    let table = table(&json!({
        "topics": ["t"],
        "event": ["type"],
        "organisation": "acme",
        "routes": [
            { "events": ["told"], "when": { "content-type": "application/cloudevents+json" }, "payload": "data",
              "rooms": [{ "kind": "org" }] },
            { "events": ["told"], "when": { "kind": "loud" }, "rooms": [{ "kind": "user", "id": { "headers": ["to"] } }] },
            { "events": ["told"], "rooms": [{ "kind": "log", "id": { "default": "all" } }] },
        ],
    }));
    let value = r#"{"type":"told","data":{"a":1}}"#;
    let ce = "told of acme to org:acme: {\"a\":1}".to_owned();
    let rest = format!("told of acme to log:all:org:acme: {value}");
    let loud: (&str, &[u8]) = ("kind", b"loud");
    for (headers, expected) in [
        (
            &[("content-type", &b"application/cloudevents+json"[..])][..],
            &*ce,
        ),
        (
            &[(
                "content-type",
                b" Application/CloudEvents+JSON ; charset=utf-8",
            )],
            &ce,
        ),
        (&[("content-type", b"application/cloudevents+json2")], &rest),
        (&[("Content-Type", b"application/cloudevents+json")], &rest),
        (
            &[
                ("content-type", b"application/cloudevents+json"),
                ("content-type", b"text/plain"),
            ],
            &rest,
        ),
        (&[], &rest),
        (&[loud], "no_room"),
        (
            &[loud, ("to", b"u1")],
            &format!("told of acme to user:u1:org:acme: {value}"),
        ),
        (&[loud, ("to", b"u1"), ("to", b"u2")], "ambiguous_field"),
        (
            &[loud, ("to", b"u1:org:o2")],
            &format!("told of acme to user:u1:org:o2:org:acme: {value}"),
        ),
        (&[loud, ("to", b"u1\x07")], "bad_id"),
        (&[loud, ("to", b"\xff")], "bad_id"),
    ] {
        assert_eq!(
            outcome(
                &table,
                SampleRecord {
                    headers,
                    value,
                    ..NOTHING
                }
            ),
            expected,
            "{headers:?}"
        );
    }
}
