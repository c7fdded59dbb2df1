//! The broken records, and a few that look broken and are not.

use crate::probe::{CHANNEL, ORGANISATIONS, RawRecord};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Reaches no client and is not counted as good.
    Skipped,
    /// Reaches neither neighbour; it may be a good record of another organisation.
    NoClient,
    /// The contract leaves it open: skipped, or delivered to this neighbour (index in `ORGANISATIONS`) alone.
    MayReach(usize),
    /// A good record, odd as it looks.
    Delivered(usize),
}

impl Expect {
    pub(super) fn text(self) -> String {
        match self {
            Self::Skipped => "skipped".to_owned(),
            Self::NoClient => "no client here".to_owned(),
            Self::MayReach(side) => format!("maybe {}", ORGANISATIONS[side]),
            Self::Delivered(side) => ORGANISATIONS[side].to_owned(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) record: RawRecord,
    pub(super) expect: Expect,
}

use Expect::{Delivered, MayReach, NoClient, Skipped};

const A: &str = ORGANISATIONS[0];
const B: &str = ORGANISATIONS[1];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    bytes(&mut cases);
    shapes(&mut cases);
    organisations(&mut cases);
    events(&mut cases);
    rooms(&mut cases);
    odd_but_good(&mut cases);
    cases
}

fn case(name: &str, record: RawRecord, expect: Expect) -> Case {
    Case {
        name: name.to_owned(),
        record,
        expect,
    }
}

fn with_value(value: impl Into<Vec<u8>>) -> RawRecord {
    RawRecord {
        key: Some(CHANNEL.into()),
        value: Some(value.into()),
        ..RawRecord::default()
    }
}

/// A record from its parts, each as JSON text; an empty part is left out.
fn json(organisation: &str, event: &str, data: &str) -> String {
    let fields = [
        ("event_type", event),
        ("organization_id", organisation),
        ("data", data),
    ];
    let fields: Vec<String> = fields
        .iter()
        .filter(|(_, json)| !json.is_empty())
        .map(|(name, json)| format!("\"{name}\":{json}"))
        .collect();
    format!(
        "{{{},\"timestamp\":\"2026-11-21T12:00:00Z\"}}",
        fields.join(",")
    )
}

const EVENT: &str = "\"transmission_started\"";

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A record for the first neighbour's channel with something more in its data.
fn good_with(more: &str) -> String {
    json(
        &quoted(A),
        EVENT,
        &format!("{{\"channel_id\":\"{CHANNEL}\"{more}}}"),
    )
}

/// Values that are not JSON text.
fn bytes(cases: &mut Vec<Case>) {
    let good = good_with("");
    let broken = |from: &str, to: &[u8]| {
        let (before, after) = good.split_once(from).expect("the template has it");
        [before.as_bytes(), to, after.as_bytes()].concat()
    };
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, value, expect) in [
        ("invalid UTF-8", broken("2026", b"\xff\xfe"), Skipped),
        ("overlong NUL", broken("2026", b"\xc0\x80"), Skipped),
        (
            "UTF-8 of a surrogate",
            broken("2026", b"\xed\xa0\x80"),
            Skipped,
        ),
        ("UTF-16", utf16, Skipped),
        (
            "byte order mark",
            [b"\xef\xbb\xbf", good.as_bytes()].concat(),
            MayReach(0),
        ),
        (
            "truncated JSON",
            good.as_bytes()[..good.len() - 3].to_vec(),
            Skipped,
        ),
        ("raw NUL in a string", broken("2026", b"\0"), Skipped),
        ("raw line feed in a string", broken("2026", b"\n"), Skipped),
        (
            "Avro magic byte",
            [b"\0\0\0\0\x01", good.as_bytes()].concat(),
            Skipped,
        ),
        (
            "gzip",
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x06\0C\xbf\xa6\xa3\x02\0\0\0".to_vec(),
            Skipped,
        ),
        ("empty value", Vec::new(), Skipped),
        ("spaces", b" \t\n".to_vec(), Skipped),
        (
            "trailing garbage",
            [good.as_bytes(), b"}"].concat(),
            Skipped,
        ),
        (
            "two documents",
            [good.as_bytes(), good.as_bytes()].concat(),
            Skipped,
        ),
        ("single quotes", good.replace('"', "'").into(), Skipped),
        ("NaN", good_with(",\"x\":NaN").into(), Skipped),
        ("trailing comma", good_with(",").into(), Skipped),
        ("bad escape", good_with(",\"x\":\"\\x41\"").into(), Skipped),
    ] {
        cases.push(case(name, with_value(value), expect));
    }
    cases.push(case(
        "tombstone",
        RawRecord {
            value: None,
            ..with_value("")
        },
        Skipped,
    ));
    cases.push(case("tombstone without key", RawRecord::default(), Skipped));
}

/// JSON that is no record, too deep or too large.
fn shapes(cases: &mut Vec<Case>) {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    let sized = |bytes: usize| good_with(&format!(",\"x\":\"{}\"", "x".repeat(bytes)));
    for (name, value, expect) in [
        ("JSON number", "42".to_owned(), Skipped),
        (
            "JSON string",
            "\"transmission_started\"".to_owned(),
            Skipped,
        ),
        ("JSON null", "null".to_owned(), Skipped),
        ("array of a record", format!("[{}]", good_with("")), Skipped),
        ("empty object", "{}".to_owned(), Skipped),
        (
            "arrays 10,000 deep",
            good_with(&format!(",\"x\":{}", nested("[", "]", 10_000))),
            Skipped,
        ),
        (
            "objects 10,000 deep",
            good_with(&format!(",\"x\":{}", nested("{\"x\":", "}", 10_000))),
            Skipped,
        ),
        ("10,000 brackets unclosed", "[".repeat(10_000), Skipped),
        ("300 kB", sized(300_000), Skipped),
        ("1 MB", sized(1_040_000), Skipped),
        (
            "data is a string",
            json(&quoted(A), EVENT, "\"channel_id\""),
            Skipped,
        ),
        (
            "data is an array",
            json(&quoted(A), EVENT, "[{\"channel_id\":\"poison\"}]"),
            Skipped,
        ),
        ("data is null", json(&quoted(A), EVENT, "null"), Skipped),
    ] {
        cases.push(case(name, with_value(value), expect));
    }
}

fn organisations(cases: &mut Vec<Case>) {
    let long = quoted(&"x".repeat(65));
    for (name, organisation, expect) in [
        ("organisation missing", "", Skipped),
        ("organisation null", "null", Skipped),
        ("organisation empty", "\"\"", Skipped),
        ("organisation an integer", "5", NoClient),
        ("organisation a float", "1.5", Skipped),
        ("organisation 1e400", "1e400", Skipped),
        ("organisation true", "true", Skipped),
        ("organisation an array", "[\"lgp0\"]", Skipped),
        ("organisation an object", "{\"id\":\"lgp0\"}", Skipped),
        ("organisation a:org:b", "\"a:org:b\"", Skipped),
        ("organisation lgp0:org:lgp1", "\"lgp0:org:lgp1\"", Skipped),
        ("organisation with a space", "\"lgp0 \"", Skipped),
        ("organisation with NUL", "\"lgp0\\u0000\"", Skipped),
        ("organisation a lone surrogate", "\"\\ud800\"", Skipped),
        ("organisation in Cyrillic", "\"lg\u{440}0\"", Skipped),
        ("organisation a star", "\"*\"", Skipped),
        ("organisation of 65 letters", long.as_str(), Skipped),
        ("organisation in capitals", "\"LGP0\"", NoClient),
        (
            "organisation written with escapes",
            "\"\\u006cgp0\"",
            MayReach(0),
        ),
    ] {
        let value = json(
            organisation,
            EVENT,
            &format!("{{\"channel_id\":\"{CHANNEL}\"}}"),
        );
        cases.push(case(name, with_value(value), expect));
    }
    let twice = good_with("").replacen('{', &format!("{{\"organization_id\":\"{B}\","), 1);
    cases.push(case(
        "two organisation keys that differ",
        with_value(twice),
        Skipped,
    ));
    let within = good_with(&format!(",\"organization_id\":\"{B}\""));
    cases.push(case(
        "organisations in data and top differ",
        with_value(within),
        MayReach(1),
    ));
    let header = |values: &[&[u8]]| RawRecord {
        headers: values
            .iter()
            .map(|value| ("organization_id", value.to_vec()))
            .collect(),
        ..with_value(good_with(""))
    };
    // The header comes first, so the body's organisation must not get it.
    cases.push(case(
        "header and body differ",
        header(&[B.as_bytes()]),
        MayReach(1),
    ));
    cases.push(case("header a:org:b", header(&[b"a:org:b"]), Skipped));
    cases.push(case("header not UTF-8", header(&[b"\xff"]), Skipped));
    cases.push(case("header empty", header(&[b""]), MayReach(0)));
    cases.push(case(
        "two headers that differ",
        header(&[A.as_bytes(), B.as_bytes()]),
        MayReach(0),
    ));
}

fn events(cases: &mut Vec<Case>) {
    let data = format!("{{\"channel_id\":\"{CHANNEL}\"}}");
    let long = quoted(&"e".repeat(60_000));
    for (name, event) in [
        ("event missing", ""),
        ("event null", "null"),
        ("event a number", "7"),
        ("event an array", "[\"transmission_started\"]"),
        ("event empty", "\"\""),
        ("event unknown", "\"no_such_event\""),
        ("event of 60 kB", long.as_str()),
        ("event with NUL", "\"transmission_started\\u0000\""),
    ] {
        cases.push(case(
            name,
            with_value(json(&quoted(A), event, &data)),
            Skipped,
        ));
    }
    for reserved in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "error",
        "newListener",
        "removeListener",
        "cursor",
        "connection_established",
        "resync_required",
        "auth_expiring",
        "__proto__",
    ] {
        let value = json(&quoted(A), &quoted(reserved), &data);
        cases.push(case(
            &format!("event {reserved}"),
            with_value(value),
            Skipped,
        ));
    }
    let header = |value: &[u8]| RawRecord {
        headers: vec![("event_type", value.to_vec())],
        ..with_value(good_with(""))
    };
    cases.push(case(
        "header event disconnect",
        header(b"disconnect"),
        Skipped,
    ));
    cases.push(case(
        "header event unknown",
        header(b"no_such_event"),
        Skipped,
    ));
    cases.push(case("header event not UTF-8", header(b"\xff\xfe"), Skipped));
    let twice = good_with("").replacen('{', "{\"event_type\":\"transmission_completed\",", 1);
    cases.push(case(
        "two event keys that differ",
        with_value(twice),
        MayReach(0),
    ));
}

fn rooms(cases: &mut Vec<Case>) {
    let long = quoted(&"7".repeat(65));
    for (name, channel, expect) in [
        ("channel null", "null", Skipped),
        ("channel empty", "\"\"", Skipped),
        ("channel a float", "1.5", Skipped),
        ("channel 1e400", "1e400", Skipped),
        (
            "channel a huge integer",
            "99999999999999999999999999",
            NoClient,
        ),
        ("channel an array", "[\"poison\"]", Skipped),
        ("channel an object", "{\"id\":\"poison\"}", Skipped),
        ("channel true", "true", Skipped),
        (
            "channel of another organisation",
            "\"poison:org:lgp1\"",
            Skipped,
        ),
        ("channel with a path", "\"../poison\"", Skipped),
        ("channel with NUL", "\"poison\\u0000\"", Skipped),
        ("channel a star", "\"*\"", Skipped),
        ("channel a lone surrogate", "\"\\udc00\"", Skipped),
        ("channel of 65 letters", long.as_str(), Skipped),
        ("channel without members", "\"elsewhere\"", NoClient),
    ] {
        let value = json(&quoted(A), EVENT, &format!("{{\"channel_id\":{channel}}}"));
        cases.push(case(name, with_value(value), expect));
    }
    // Without a room it must not fall back to the organisation's.
    cases.push(case(
        "channel missing",
        with_value(json(&quoted(A), EVENT, "{\"x\":1}")),
        Skipped,
    ));
    let twice = good_with(",\"channel_id\":\"elsewhere\"");
    cases.push(case(
        "two channel keys that differ",
        with_value(twice),
        MayReach(0),
    ));
}

/// What JSON allows, what keys do not matter for, and clocks that are wrong.
fn odd_but_good(cases: &mut Vec<Case>) {
    let good = || with_value(good_with(""));
    cases.push(case(
        "no key",
        RawRecord {
            key: None,
            ..good()
        },
        Delivered(0),
    ));
    cases.push(case(
        "key of another organisation",
        RawRecord {
            key: Some(B.into()),
            ..good()
        },
        Delivered(0),
    ));
    cases.push(case(
        "key not UTF-8",
        RawRecord {
            key: Some(b"\xff".to_vec()),
            ..good()
        },
        Delivered(0),
    ));
    // Ten years ahead and the year 2001, in milliseconds.
    cases.push(case(
        "time ahead",
        RawRecord {
            timestamp: Some(2_110_000_000_000),
            ..good()
        },
        Delivered(0),
    ));
    cases.push(case(
        "time long ago",
        RawRecord {
            timestamp: Some(1_000_000_000_000),
            ..good()
        },
        Delivered(0),
    ));
    for (name, more, expect) in [
        ("minus zero", ",\"x\":-0", Delivered(0)),
        (
            "integer beyond 64 bits",
            ",\"x\":99999999999999999999999999",
            Delivered(0),
        ),
        (
            "all of Unicode's edges",
            ",\"x\":\"\u{feff}\u{10ffff}\u{202e}\"",
            Delivered(0),
        ),
        ("1e400 in the data", ",\"x\":1e400", MayReach(0)),
        (
            "lone surrogate in the data",
            ",\"x\":\"\\ud800\"",
            MayReach(0),
        ),
        ("two other keys alike", ",\"x\":1,\"x\":2", MayReach(0)),
        (
            "markup in the data",
            ",\"x\":\"</script><script>alert(1)</script>\"",
            Delivered(0),
        ),
    ] {
        cases.push(case(name, with_value(good_with(more)), expect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_template_is_a_good_record_and_names_are_unique() {
        assert!(serde_json::from_str::<serde_json::Value>(&good_with("")).is_ok());
        let cases = cases();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
    }
}
