//! Records of other shapes than the dispatch profile's: what a route may say about them, written as a profile would.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::spec::{OrganisationSpec, RouteSpec, TableSpec};
use super::*;

/// A table from the parts of a profile.
fn table(profile: &Value) -> RouteTable {
    fn part<T: serde::de::DeserializeOwned>(profile: &Value, name: &str) -> T {
        T::deserialize(&profile[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    let spec = TableSpec {
        topics: part(profile, "topics"),
        event: part(profile, "event"),
        organisation: part::<OrganisationSpec>(profile, "organisation"),
        routes: part::<Vec<RouteSpec>>(profile, "routes"),
        max_event_bytes: 10_000,
        ..TableSpec::default()
    };
    spec.build()
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[derive(Clone, Copy)]
struct Sample<'a> {
    topic: &'a str,
    key: Option<&'a str>,
    headers: &'a [(&'a str, &'a [u8])],
    value: &'a str,
}

const NOTHING: Sample<'_> = Sample {
    topic: "t",
    key: None,
    headers: &[],
    value: "{}",
};

/// `event of organisation to rooms: payload`, or the outcome. The explanation must say the same.
fn outcome(table: &RouteTable, sample: Sample<'_>) -> String {
    let record = Record {
        topic: sample.topic,
        partition: 0,
        offset: 0,
        timestamp: None,
        key: sample.key.map(str::as_bytes),
        value: Some(sample.value.as_bytes()),
        headers: sample.headers,
    };
    let shown = |outcome: Result<Publication, Skip>| match outcome {
        Err(skip) => skip.outcome().to_owned(),
        Ok(publication) => {
            let Publication {
                event,
                organisation,
                rooms,
                payload,
                latest_of,
                ..
            } = publication;
            let rooms: Vec<String> = rooms
                .iter()
                .inspect(|room| assert_eq!(room.organisation, organisation))
                .map(ToString::to_string)
                .collect();
            let latest = latest_of.map_or(String::new(), |key| format!(" latest {key}"));
            format!(
                "{event} of {organisation} to {}{latest}: {payload}",
                rooms.join(" ")
            )
        }
    };
    let topic = Arc::from(sample.topic);
    let explained = table.explain(&record, &topic);
    let refusals = explained.steps.iter();
    let refusals = refusals.filter(|step| step.verdict == explain::Verdict::Refused);
    assert_eq!(refusals.count(), usize::from(explained.outcome.is_err()));
    let explained = shown(explained.outcome);
    assert_eq!(shown(table.route(&record, &topic)), explained);
    explained
}

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
        let sample = Sample {
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
    let told = |table: &RouteTable, sample: Sample<'_>| {
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
        let sample = Sample {
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
        let sample = Sample {
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
        let sample = Sample {
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
        let sample = Sample {
            topic,
            key,
            headers,
            value,
        };
        assert_eq!(told(&first, sample), expected, "{value} {key:?}");
        assert_eq!(told(&agreeing, sample), agreed, "{value} {key:?}");
    }
}

#[test]
fn clients_get_the_part_that_the_route_names_untouched() {
    let table = table(&json!({
        "topics": ["t"],
        "event": ["payload.type"],
        "organisation": "acme",
        "routes": [
            { "events": ["changed"], "payload": "payload.after", "class": "latest", "latest_of": ["payload.after.id"],
              "rooms": [{ "kind": "unit", "id": ["payload.after.id"], "optional": true }, { "kind": "org" }] },
            { "events": ["odd"], "payload": ["odd.key"], "rooms": [{ "kind": "org" }] },
        ],
    }));
    for (value, expected) in [
        (
            r#"{"payload":{"type":"changed","after": { "id": 7, "x":1e400 } }}"#,
            r#"changed of acme to unit:7:org:acme org:acme latest 7: { "id": 7, "x":1e400 }"#,
        ),
        (
            r#"{"payload":{"type":"changed","after":[1, 2]}}"#,
            "changed of acme to org:acme: [1, 2]",
        ),
        (
            r#"{"payload":{"type":"odd"},"odd.key":{"a" :1}}"#,
            r#"odd of acme to org:acme: {"a" :1}"#,
        ),
        (
            r#"{"payload":{"type":"odd"},"odd":{"key":{}}}"#,
            "no_payload",
        ),
        (r#"{"payload":{"type":"changed"}}"#, "no_payload"),
        (
            r#"{"payload":{"type":"changed","after":null}}"#,
            "no_payload",
        ),
        (r#"{"payload":{"type":"changed","after":7}}"#, "no_payload"),
        // A client would take it for a cursor.
        (
            r#"{"payload":{"type":"changed","after":"v1.AAAA"}}"#,
            "no_payload",
        ),
        (
            r#"{"payload":{"type":"changed","after":{"id":"a b"}}}"#,
            "bad_id",
        ),
        (
            r#"{"payload":{"type":"changed","after":{"id":1,"id":2}}}"#,
            "ambiguous_field",
        ),
        (
            r#"{"payload":{"type":"changed","after":{}},"payload":{}}"#,
            "ambiguous_field",
        ),
    ] {
        assert_eq!(
            outcome(&table, Sample { value, ..NOTHING }),
            expected,
            "{value}"
        );
    }
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
        (&[loud, ("to", b"u1:org:o2")], "bad_id"),
        (&[loud, ("to", b"\xff")], "bad_id"),
    ] {
        assert_eq!(
            outcome(
                &table,
                Sample {
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

#[test]
fn the_key_of_a_record_may_be_what_it_is_the_latest_of() {
    let table = table(&json!({
        "topics": [{ "names": ["t"], "format": "json-schema" }],
        "event": ["type"],
        "organisation": "acme",
        "routes": [{ "events": ["seen"], "class": "latest", "key": { "key": true }, "rooms": [{ "kind": "org" }] }],
    }));
    let value = "\0\0\0\0\x11{\"type\":\"seen\"}";
    let long = "x".repeat(257);
    for (key, expected) in [
        (
            Some("acme:unit 7"),
            "seen of acme to org:acme latest acme:unit 7: {\"type\":\"seen\"}",
        ),
        (None, "seen of acme to org:acme: {\"type\":\"seen\"}"),
        (Some(""), "bad_id"),
        (Some(&long), "bad_id"),
    ] {
        assert_eq!(
            outcome(
                &table,
                Sample {
                    key,
                    value,
                    ..NOTHING
                }
            ),
            expected,
            "{key:?}"
        );
    }
    assert_eq!(
        outcome(
            &table,
            Sample {
                value: "{\"type\":\"seen\"}",
                ..NOTHING
            }
        ),
        "bad_framing"
    );
}

/// JSON of few names, so that they meet, repeat and contradict each other.
fn member(depth: u32) -> BoxedStrategy<String> {
    let scalar = prop::sample::select(vec![
        "\"o1\"",
        "\"o2\"",
        "7",
        "null",
        "\"\"",
        "\"a:b\"",
        "1.5",
        "true",
        "\"told\"",
        "\"\\ud800\"",
        "[]",
        "[{\"id\":1}]",
    ]);
    let scalar = scalar.prop_map(str::to_owned);
    let value = if depth == 0 {
        scalar.boxed()
    } else {
        prop_oneof![2 => scalar, 3 => object(depth - 1)].boxed()
    };
    let name = prop::sample::select(vec![
        "org",
        "meta",
        "id",
        "data",
        "type",
        "a.b",
        "m\\u0065ta",
        "x",
    ]);
    (name, value)
        .prop_map(|(name, value)| format!("\"{name}\": {value}"))
        .boxed()
}

fn object(depth: u32) -> BoxedStrategy<String> {
    let members = prop::collection::vec(member(depth), 0..5);
    members
        .prop_map(|members| format!("{{{}}}", members.join(",")))
        .boxed()
}

fn small_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"o1".to_vec()),
        Just(b"told".to_vec()),
        Just(b"o2:7".to_vec()),
        Just(b"\"o1\"".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    /// Whatever comes: no panic, the explanation says what happens, the organisation is one that the record or the profile names,
    /// every room is of that organisation, and what clients get stands in the record as it is.
    #[test]
    fn any_record_is_routed_as_it_is_explained(
        value in prop_oneof![
            8 => object(3).prop_map(String::into_bytes),
            1 => object(3).prop_map(|json| [b"\0\0\0\0\x01", json.as_bytes()].concat()),
            1 => prop::collection::vec(any::<u8>(), 0..50),
        ],
        topic in prop::sample::select(vec!["t", "framed", "fixed", "fleet.o1", "fleet.x y", "other"]),
        key in prop::option::of(small_bytes()),
        headers in prop::collection::vec(
            (prop::sample::select(vec!["h", "e", "when"]).prop_map(str::to_owned), small_bytes()),
            0..4,
        ),
    ) {
        let table = table(&json!({
            "topics": ["t", "fixed", { "names": ["framed"], "format": "json-schema" }, { "pattern": "fleet\\.(?<region>.*)" }],
            "event": { "headers": ["e"], "fields": ["type", "meta.type"], "topic": "region" },
            "organisation": {
                "headers": ["h"], "fields": ["org", "meta.org.id", ["a.b"]],
                "key": { "separator": ":", "part": 1 }, "default": "none", "agree": true,
            },
            "routes": [
                { "event": "measured", "topics": ["fixed"], "rooms": [{ "kind": "org" }] },
                { "events": ["told", "o1"], "when": { "when": "told" }, "payload": "data", "rooms": [{ "kind": "org" }] },
                { "events": ["told", "o1"], "payload": "meta", "class": "latest", "key": ["meta.id", "id"],
                  "rooms": [{ "kind": "unit", "id": { "fields": ["data.id"], "key": true, "topic": "region" } }] },
            ],
        }));
        let named: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let record = Record {
            topic, partition: 0, offset: 0, timestamp: None,
            key: key.as_deref(), value: Some(&value), headers: &named,
        };
        let topic = Arc::from(topic);
        let explained = table.explain(&record, &topic);
        let refused = explained.steps.iter().filter(|step| step.verdict == explain::Verdict::Refused).count();
        prop_assert_eq!(refused, usize::from(explained.outcome.is_err()));
        let routed = table.route(&record, &topic);
        prop_assert_eq!(format!("{routed:?}"), format!("{:?}", explained.outcome));
        if let Ok(publication) = routed {
            let organisation = publication.organisation.as_str();
            let text = String::from_utf8_lossy(&value).into_owned();
            let spoken = named.iter().any(|(name, said)| *name == "h" && *said == organisation.as_bytes())
                || text.contains(organisation)
                || key.as_deref().is_some_and(|key| String::from_utf8_lossy(key).contains(organisation))
                || organisation == "none";
            prop_assert!(spoken, "{} is named by nobody", organisation);
            prop_assert!(publication.rooms.iter().all(|room| room.organisation == publication.organisation));
            let payload = publication.payload.get();
            prop_assert!(text.contains(payload), "bytes of the record's own");
            let whole = payload.starts_with(['{', '[']);
            prop_assert!(whole, "no text");
        }
    }
}
