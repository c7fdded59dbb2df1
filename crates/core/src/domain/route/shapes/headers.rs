//! Headers as serializers write them.

use serde_json::json;

use super::*;

fn by_headers() -> RouteTable {
    table(&json!({
        "topics": ["t"],
        "event": { "headers": ["ce_type"], "fields": ["type"] },
        "organisation": { "headers": ["org"], "fields": ["org"] },
        "routes": [
            { "events": ["moved"], "when": { "content-type": "application/json" },
              "rooms": [{ "kind": "org" }] },
            { "events": ["moved"], "class": "latest", "key": { "headers": ["unit"] },
              "rooms": [{ "kind": "unit", "id": { "headers": ["unit"], "default": "none" } }] },
        ],
    }))
}

fn routed(headers: &[(&str, &[u8])]) -> String {
    let value = r#"{"type":"moved","org":"o9"}"#;
    let shown = outcome(
        &by_headers(),
        SampleRecord {
            headers,
            value,
            ..NOTHING
        },
    );
    shown.replace(&format!(": {value}"), "")
}

#[test]
fn header_in_json_quotes_is_read_without_them() {
    for (headers, expected) in [
        (
            &[("org", &b"\"o1\""[..])][..],
            "moved of o1 to unit:none:org:o1",
        ),
        (&[("org", b" \"o1\" ")], "moved of o1 to unit:none:org:o1"),
        (
            &[("org", br#""\u006f1""#)],
            "moved of o1 to unit:none:org:o1",
        ),
        (&[("org", b"7")], "moved of 7 to unit:none:org:7"),
        (&[("org", b"\"7\"")], "moved of 7 to unit:none:org:7"),
        (
            &[("org", b"18446744073709551616")],
            "moved of 18446744073709551616 to unit:none:org:18446744073709551616",
        ),
        (
            &[("ce_type", b"\"moved\"")],
            "moved of o9 to unit:none:org:o9",
        ),
        (&[("ce_type", b"\"unit.Moved\"")], "unknown_event"),
        (
            &[("ce_type", b"\"Moved\"")],
            "moved of o9 to unit:none:org:o9",
        ),
        (
            &[("unit", b"\"u7\"")],
            "moved of o9 to unit:u7:org:o9 latest u7",
        ),
        (
            &[("content-type", b"\"application/json\"")],
            "moved of o9 to org:o9",
        ),
        (
            &[("content-type", b"\"application/json;charset=utf-8\"")],
            "moved of o9 to org:o9",
        ),
        // One value, written in two ways.
        (
            &[("org", b"\"o1\""), ("org", b"o1")],
            "moved of o1 to unit:none:org:o1",
        ),
        (&[("org", b"\"o1\""), ("org", b"o2")], "ambiguous_field"),
        // What is between the quotes goes by the rule for ids all the same.
        (&[("org", b"\"\"")], "bad_organisation"),
        (&[("org", b"\"o1:org:o2\"")], "bad_organisation"),
        (&[("org", br#""o\"1""#)], "bad_organisation"),
        (&[("org", br#""caf\u00e9""#)], "bad_organisation"),
        (&[("org", br#""\ud800""#)], "bad_organisation"),
        (&[("org", br#""\"o1\"""#)], "bad_organisation"),
        (&[("org", b"\"o1")], "bad_organisation"),
        (&[("org", b"'o1'")], "bad_organisation"),
        (&[("org", b" o1")], "bad_organisation"),
        (&[("org", b"\xef\xbb\xbfo1")], "bad_organisation"),
        (&[("org", b"\xff\xfeo\x001\0")], "bad_organisation"),
        (&[("org", b"o\x001\0")], "bad_organisation"),
        (&[("unit", b"7.0")], "bad_id"),
        (&[("unit", b"[\"u7\"]")], "bad_id"),
        (&[("ce_type", b"\"connect\"")], "reserved_event"),
    ] {
        assert_eq!(routed(headers), expected, "{headers:?}");
    }
}

#[test]
fn a_header_that_is_null_is_as_if_it_were_not_there_and_an_empty_one_is_bad() {
    for (headers, expected) in [
        (
            &[("org", &b"null"[..])][..],
            "moved of o9 to unit:none:org:o9",
        ),
        (
            &[("org", b"null"), ("org", b"o1")],
            "moved of o1 to unit:none:org:o1",
        ),
        (
            &[("org", b"\"null\"")],
            "moved of null to unit:none:org:null",
        ),
        (&[("ce_type", b"null")], "moved of o9 to unit:none:org:o9"),
        (
            &[("ce_type", b"moved"), ("ce_type", b"null")],
            "moved of o9 to unit:none:org:o9",
        ),
        (&[("unit", b"null")], "moved of o9 to unit:none:org:o9"),
        (
            &[("content-type", b"null")],
            "moved of o9 to unit:none:org:o9",
        ),
        (
            &[
                ("content-type", b"null"),
                ("content-type", b"application/json"),
            ],
            "moved of o9 to org:o9",
        ),
        (&[("org", b"")], "bad_organisation"),
        (&[("unit", b"")], "bad_id"),
        (&[("ce_type", b"")], "unknown_event"),
        (&[("org", b""), ("org", b"o1")], "ambiguous_field"),
        // Names are compared as Kafka does: byte for byte.
        (
            &[("Org", b"o1"), ("CE_TYPE", b"x")],
            "moved of o9 to unit:none:org:o9",
        ),
    ] {
        assert_eq!(routed(headers), expected, "{headers:?}");
    }
}
