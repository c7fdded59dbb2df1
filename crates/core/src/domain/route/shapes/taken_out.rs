//! What a route takes out of the record: what clients get, and what it is the latest of.

use serde_json::json;

use super::*;

#[test]
fn the_payload_of_a_route_is_delivered_unchanged() {
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
            outcome(&table, SampleRecord { value, ..NOTHING }),
            expected,
            "{value}"
        );
    }
}

#[test]
fn the_record_key_can_be_the_key_of_class_latest() {
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
        (
            Some("\"7\""),
            "seen of acme to org:acme latest 7: {\"type\":\"seen\"}",
        ),
        (Some("\"\""), "bad_id"),
        (Some(""), "bad_id"),
        (Some(&long), "bad_id"),
    ] {
        assert_eq!(
            outcome(
                &table,
                SampleRecord {
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
            SampleRecord {
                value: "{\"type\":\"seen\"}",
                ..NOTHING
            }
        ),
        "bad_framing"
    );
}

#[test]
fn keys_that_are_no_text_are_distinguished_by_their_bytes() {
    let table = table(&json!({
        "topics": ["t"],
        "event": ["type"],
        "organisation": "acme",
        "routes": [{ "events": ["seen"], "class": "latest", "key": { "key": true }, "rooms": [{ "kind": "org" }] }],
    }));
    let latest_of = |key: &[u8]| {
        let record = Record {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp: None,
            key: Some(key),
            value: Some(b"{\"type\":\"seen\"}"),
            headers: &[],
        };
        let publication = table.route(&record, &Arc::from("t"))?;
        assert_eq!(publication.key.as_deref(), Some(key));
        Ok(publication.latest_of.expect("class latest").to_string())
    };
    let keys: [&[u8]; 11] = [
        b"7",
        &7_i32.to_be_bytes(),
        &7_i64.to_be_bytes(),
        &200_i64.to_be_bytes(),
        &(-1_i64).to_be_bytes(),
        b"\xff",
        b"\xfe",
        "\u{FFFD}".as_bytes(),
        // How another is kept, with and without the byte in front.
        b"/w",
        b"\0/w",
        b"\0\0\0\0\x01\"7\"",
    ];
    let found: BTreeSet<String> = keys
        .iter()
        .map(|key| latest_of(key).expect("routed"))
        .collect();
    assert_eq!(found.len(), keys.len(), "{found:?}");
    assert_eq!(latest_of(b"7").as_deref(), Ok("7"));
    assert_eq!(latest_of(b"\"7\"").as_deref(), Ok("7"));
    assert!(latest_of(&[0xff; 256]).is_ok());
    assert_eq!(latest_of(&[0xff; 257]), Err(Skip::BadId));
}
