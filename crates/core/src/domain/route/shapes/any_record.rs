//! Arbitrary records: valid, broken and absurd.

use proptest::prelude::*;
use serde_json::json;

use super::*;

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
        let refused = explained.steps.iter().filter(|step| step.verdict == StepVerdict::Refused).count();
        prop_assert_eq!(refused, usize::from(explained.outcome.is_err()));
        let routed = table.route(&record, &topic);
        prop_assert_eq!(format!("{routed:?}"), format!("{:?}", explained.outcome));
        if let Ok(publication) = routed {
            let organisation = publication.organisation.as_str();
            let text = String::from_utf8_lossy(&value).into_owned();
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(organisation);
            let spoken = named.iter().any(|(name, bytes)| *name == "h" && said(bytes))
                || text.contains(organisation)
                || key.as_deref().is_some_and(|key| String::from_utf8_lossy(key).contains(organisation))
                || organisation == "none";
            prop_assert!(spoken, "{} is not in the record", organisation);
            prop_assert!(publication.rooms.iter().all(|room| room.organisation == publication.organisation));
            let payload = publication.payload.get();
            prop_assert!(text.contains(payload), "bytes of the record's own");
            let whole = payload.starts_with(['{', '[']);
            prop_assert!(whole, "no text");
        }
    }
}
