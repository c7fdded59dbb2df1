//! Hostile values, and where fields are found.

use super::super::id::InvalidId;
use super::*;

const MAX_BYTES: usize = 64 * 1024;

fn fields() -> (Fields, Field, Field) {
    let mut fields = Fields::default();
    let event = fields.named("event_type", false).expect("room");
    let asset = fields.named("asset_id", true).expect("room");
    (fields, event, asset)
}

fn json<'a>(value: &'a [u8], fields: &Fields) -> Result<Decoded<'a>, Skip> {
    decode(value, fields, Format::Json, MAX_BYTES)
}

fn skip(value: &[u8]) -> Option<Skip> {
    json(value, &fields().0).err()
}

#[test]
fn a81_values_that_are_not_json_objects_are_rejected_with_their_own_outcome() {
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES));
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let open = b"[".repeat(60_000);
    let (deepest, too_deep, far_too_deep) = (deep(127), deep(128), deep(10_000));
    let cases: &[(&[u8], Option<Skip>)] = &[
        (b"{}", None),
        (b" \r\n\t{ \"a\" : 1e400 } \n", None),
        (b"", Some(Skip::Empty)),
        (b"  ", Some(Skip::NotJson)),
        (b"\xff\xfe{}", Some(Skip::NotUtf8)),
        (b"{\"a\":\"\xc3\"}", Some(Skip::NotUtf8)),
        (b"\xef\xbb\xbf{}", Some(Skip::NotJson)),
        (b"{\"a\":1", Some(Skip::NotJson)),
        (b"{\"a\":1}}", Some(Skip::NotJson)),
        (b"{\"a\":1}{}", Some(Skip::NotJson)),
        (b"{'a':1}", Some(Skip::NotJson)),
        (b"{\"a\":NaN}", Some(Skip::NotJson)),
        (b"{\"a\":01}", Some(Skip::NotJson)),
        (b"{\"a\":1,}", Some(Skip::NotJson)),
        (b"nonsense", Some(Skip::NotJson)),
        (b"7", Some(Skip::NotObject)),
        (b"\"x\"", Some(Skip::NotObject)),
        (b"null", Some(Skip::NotObject)),
        (b"[{}]", Some(Skip::NotObject)),
        (b"[1", Some(Skip::NotJson)),
        // 0x1e separates packets of a polling payload: JSON allows it nowhere unescaped.
        (b"{\"a\":\"\x1e\"}", Some(Skip::NotJson)),
        (b"{\x1e}", Some(Skip::NotJson)),
        (large.as_bytes(), Some(Skip::TooLarge)),
        (deepest.as_bytes(), None),
        (too_deep.as_bytes(), Some(Skip::TooDeep)),
        (far_too_deep.as_bytes(), Some(Skip::TooDeep)),
        (&open, Some(Skip::TooDeep)),
    ];
    for (value, expected) in cases {
        let shown = String::from_utf8_lossy(value.get(..40).unwrap_or(value));
        assert_eq!(skip(value), *expected, "{shown}");
    }
}

#[test]
fn brackets_in_strings_are_not_depth() {
    let text = format!("{{\"a\":\"\\\"{}\",\"b\":\"\\\\\"}}", "[{".repeat(500));
    assert_eq!(skip(text.as_bytes()), None);
    let wide = format!("{{\"a\":[{}[]]}}", "[],".repeat(500));
    assert_eq!(skip(wide.as_bytes()), None);
    let after_escape = format!(
        "{{\"a\":\"\\\\\",\"b\":{}{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    assert_eq!(skip(after_escape.as_bytes()), Some(Skip::TooDeep));
}

#[test]
fn a_routing_field_twice_in_one_object_is_ambiguous() {
    for (json, ambiguous) in [
        (r#"{"asset_id":1,"asset_id":1}"#, true),
        (r#"{"asset_id":1,"asset_\u0069d":2}"#, true),
        (r#"{"data":{"asset_id":1,"asset_id":2}}"#, true),
        (r#"{"data":{},"data":{}}"#, true),
        (r#"{"data":null,"data":{}}"#, true),
        (r#"{"asset_id":null,"asset_id":2}"#, true),
        (r#"{"asset_id":1,"data":{"asset_id":2}}"#, false),
        (
            r#"{"other":1,"other":2,"data":{"other":1,"other":2}}"#,
            false,
        ),
        (r#"{"data":{"event_type":1,"event_type":2}}"#, false),
        (r#"{"data":{"data":1,"data":2}}"#, false),
    ] {
        let expected = ambiguous.then_some(Skip::AmbiguousField);
        assert_eq!(skip(json.as_bytes()), expected, "{json}");
    }
}

#[test]
fn routing_fields_come_from_the_body_then_from_the_top() {
    let (fields, event, asset) = fields();
    for (text, expected) in [
        (r#"{"asset_id":"t","data":{"asset_id":"b"}}"#, Some("\"b\"")),
        (r#"{"data":{"asset_id":"b"},"asset_id":"t"}"#, Some("\"b\"")),
        (
            r#"{"asset_id":"t","data":{"asset_id":null}}"#,
            Some("\"t\""),
        ),
        (
            r#"{"asset_id":"t","data":[{"asset_id":"b"}]}"#,
            Some("\"t\""),
        ),
        (r#"{"asset_id":"t","data":"b"}"#, Some("\"t\"")),
        (r#"{"asset_id":"t","data":-1.5}"#, Some("\"t\"")),
        (r#"{"asset_id":"t","data":true}"#, Some("\"t\"")),
        (
            r#"{"asset_id":null,"data":{"nested":{"asset_id":"b"}}}"#,
            None,
        ),
    ] {
        let decoded = json(text.as_bytes(), &fields).expect(text);
        assert_eq!(
            decoded.get(&asset).map(|(_, value)| value.get()),
            expected,
            "{text}"
        );
    }
    let text = br#"{"data":{"event_type":"b"}}"#;
    let decoded = json(text, &fields).expect("json");
    assert!(
        decoded.get(&event).is_none(),
        "an event's name is never read from the body"
    );
}

#[test]
fn a_path_is_followed_from_the_top_and_nowhere_else() {
    let strings = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
    let mut fields = Fields::default();
    let org = fields.path(&strings(&["meta", "org", "id"])).expect("room");
    let dotted = fields.path(&strings(&["meta.org"])).expect("room");
    let inner = fields.path(&strings(&["meta", "org"])).expect("room");
    let empty = fields.path(&[]);
    assert!(empty.is_none());
    for (text, expected) in [
        (
            r#"{"meta":{"org":{"id":7}}}"#,
            [Some("7"), None, Some(r#"{"id":7}"#)],
        ),
        (
            r#"{"m\u0065ta":{"org":{"id":"a"}},"x":1}"#,
            [Some("\"a\""), None, Some(r#"{"id":"a"}"#)],
        ),
        (
            r#"{"meta.org":7,"meta":{"org":8}}"#,
            [None, Some("7"), Some("8")],
        ),
        (r#"{"data":{"meta":{"org":{"id":7}}}}"#, [None; 3]),
        (r#"{"meta":[{"org":{"id":7}}]}"#, [None; 3]),
        (
            r#"{"meta":{"org":[{"id":7}]}}"#,
            [None, None, Some(r#"[{"id":7}]"#)],
        ),
        (r#"{"meta":null,"meta.org":null}"#, [None; 3]),
        (
            r#"{"meta":{"x":{"org":{"id":7}},"org":{"x":{"id":7}}}}"#,
            [None, None, Some(r#"{"x":{"id":7}}"#)],
        ),
        (r#"{"org":{"id":7},"id":7}"#, [None; 3]),
    ] {
        let decoded = json(text.as_bytes(), &fields).expect(text);
        let found =
            [&org, &dotted, &inner].map(|field| decoded.get(field).map(|(_, value)| value.get()));
        assert_eq!(found, expected, "{text}");
    }
    // Twice anywhere on the way there are two readings.
    for text in [
        r#"{"meta":{"org":{"id":1,"id":1}}}"#,
        r#"{"meta":{"org":{"id":1},"org":{}}}"#,
        r#"{"meta":{"org":{"id":1}},"meta":{}}"#,
        r#"{"meta":{"org":{"id":1}},"m\u0065ta":null}"#,
        r#"{"meta.org":1,"meta.org":2}"#,
    ] {
        assert_eq!(
            json(text.as_bytes(), &fields).err(),
            Some(Skip::AmbiguousField),
            "{text}"
        );
    }
    let elsewhere = r#"{"x":{"meta":1,"meta":2},"meta":{"x":1,"x":2,"org":{"y":1,"y":1}}}"#;
    assert!(json(elsewhere.as_bytes(), &fields).is_ok());
    // What is broken inside a part that is kept is broken.
    for text in [
        r#"{"meta":{"org":{"id":}}}"#,
        r#"{"meta":{"org":{"\ud80":1}}}"#,
        r#"{"meta":{"org":{"\ud800":}}}"#,
    ] {
        assert_eq!(
            json(text.as_bytes(), &fields).err(),
            Some(Skip::NotJson),
            "{text}"
        );
    }
}

/// `JSON.parse` takes all of these, and so do clients: only what a route asks for must make sense.
#[test]
fn text_that_no_route_asks_for_need_not_make_sense() {
    let mut fields = Fields::default();
    let name = fields.named("name", true).expect("room");
    let path = ["meta", "org", "id"].map(str::to_owned);
    let path = fields.path(&path).expect("room");
    let kept = fields.named("meta", false).expect("room");
    for (text, expected) in [
        (r#"{"x":"\ud800","name":"n"}"#, [Some(r#""n""#), None]),
        (r#"{"\ud800":1,"name":"n"}"#, [Some(r#""n""#), None]),
        (
            r#"{"\udfff\ud800":{"\ud800":1e400},"name":"n"}"#,
            [Some(r#""n""#), None],
        ),
        (r#"{"data":"\ud800","name":"n"}"#, [Some(r#""n""#), None]),
        (r#"{"data":1e400,"name":"n"}"#, [Some(r#""n""#), None]),
        (
            r#"{"data":{"\ud800":1,"name":"\ud83d"}}"#,
            [Some(r#""\ud83d""#), None],
        ),
        (
            r#"{"meta":{"\ud800":0,"org":{"\udc00":1,"id":18446744073709551616}}}"#,
            [None, Some("18446744073709551616")],
        ),
        (r#"{"meta":{"org":"\ud800"},"name":7}"#, [Some("7"), None]),
        (r#"{"meta":{"org":1e999},"name":7}"#, [Some("7"), None]),
        // Still by its bytes: a whole pair is a letter, wherever it stands.
        (
            r#"{"\ud83d\ude00":1,"\ud800":2,"name":"\ud83d\ude00"}"#,
            [Some(r#""\ud83d\ude00""#), None],
        ),
    ] {
        let decoded = json(text.as_bytes(), &fields).expect(text);
        let found = [&name, &path].map(|field| decoded.get(field).map(|(_, value)| value.get()));
        assert_eq!(found, expected, "{text}");
        assert_eq!(decoded.json, text, "what clients get is not mended");
        if let Some((_, meta)) = decoded.get(&kept) {
            assert!(text.contains(meta.get()), "{text}");
        }
    }
    for (text, expected) in [
        (r#"{"\ud800":1,"name":1,"name":2}"#, Skip::AmbiguousField),
        (
            r#"{"\ud800":1,"data":{"name":1,"n\u0061me":2}}"#,
            Skip::AmbiguousField,
        ),
        (r#"{"\ud800":1"#, Skip::NotJson),
        (r#"{"\ud800":1,}"#, Skip::NotJson),
        ("{\"\\ud800\":1,\"a\nb\":2}", Skip::NotJson),
        ("{\"\\ud800\":1,\"data\":{\"a\x1e\":2}}", Skip::NotJson),
        (r#"{"data":1e}"#, Skip::NotJson),
        (r#"{"data":"\ud80"}"#, Skip::NotJson),
        (r"{\ud800:1}", Skip::NotJson),
    ] {
        assert_eq!(
            json(text.as_bytes(), &fields).err(),
            Some(expected),
            "{text}"
        );
    }
}

#[test]
fn a_payload_keeps_its_bytes_when_fields_inside_it_are_read() {
    let mut fields = Fields::default();
    let data = fields.path(&["data".to_owned()]).expect("room");
    let id = fields.named("id", true).expect("room");
    let text = r#"{ "data" : {"id" : 5 , "x":1e400, "\u0041":"\ud83d\ude00"} }"#;
    let decoded = json(text.as_bytes(), &fields).expect("json");
    let get = |field| decoded.get(field).map(|(_, value)| value.get());
    assert_eq!(
        get(&data),
        Some(r#"{"id" : 5 , "x":1e400, "\u0041":"\ud83d\ude00"}"#)
    );
    assert_eq!(get(&id), Some("5"));
}

#[test]
fn fields_are_read_behind_a_schema_registry_frame() {
    let (fields, _, asset) = fields();
    let framed = |value: &[u8]| {
        let decoded = decode(value, &fields, Format::JsonSchema, 20)?;
        let asset = decoded.get(&asset).map(|(_, value)| value.get().to_owned());
        Ok((decoded.json.to_owned(), decoded.schema, asset))
    };
    assert_eq!(
        framed(b"\0\0\0\0\x07{\"asset_id\":5}"),
        Ok(("{\"asset_id\":5}".to_owned(), Some(7), Some("5".to_owned())))
    );
    for (value, skip) in [
        (&b""[..], Skip::Empty),
        (b"{\"asset_id\":5}", Skip::BadFraming),
        (b"\0\0\0\0\x07", Skip::BadFraming),
        (b"\0\0\0\0\x07\xff", Skip::NotUtf8),
        (b"\0\0\0\0\x07\x02{}", Skip::NotJson),
        (b"\0\0\0\0\x07[]", Skip::NotObject),
        (b"\0\0\0\0\x07{\"asset_id\":123456789}", Skip::TooLarge),
    ] {
        assert_eq!(framed(value), Err(skip), "{value:?}");
    }
    assert_eq!(skip(b"\0\0\0\0\x07{}"), Some(Skip::NotJson));
}

#[test]
fn ids_are_strings_that_fit_or_integers() {
    let id_of = |json: &str| id(serde_json::from_str::<&RawValue>(json).expect(json));
    for (json, expected) in [
        (r#""c7""#, "c7"),
        (r#""\u0063\u0037""#, "c7"),
        ("7", "7"),
        ("-7", "-7"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "18446744073709551616"),
        (&"9".repeat(64), &"9".repeat(64)),
    ] {
        assert_eq!(
            id_of(json).map(|id| id.to_string()).as_deref(),
            Ok(expected),
            "{json}"
        );
    }
    for json in [
        r#""""#,
        r#""a:org:b""#,
        r#""a b""#,
        r#""\ud800""#,
        r#""é""#,
        r#""a\u0000""#,
        "-0",
        "7.0",
        "1e3",
        "18446744073709551616.0",
        &"9".repeat(65),
        "true",
        "false",
        "[7]",
        r#"{"id":7}"#,
        r#"["a"]"#,
    ] {
        assert_eq!(id_of(json), Err(InvalidId), "{json}");
    }
}

#[test]
fn a_table_cannot_ask_for_more_places_than_there_are() {
    let mut fields = Fields::default();
    for number in 0..MAX_PLACES {
        assert!(fields.named(&format!("field{number}"), false).is_some());
    }
    assert!(fields.named("one_more", false).is_none());
    assert!(fields.named("field0", true).is_none());
    assert!(
        fields
            .path(&["field0".to_owned(), "inside".to_owned()])
            .is_none()
    );
    assert!(fields.named("field0", false).is_some());
    // The last place of all is kept and found twice like any other.
    let last = format!("field{}", MAX_PLACES - 1);
    let text = format!("{{\"{last}\":1}}");
    let field = fields.named(&last, false).expect("known");
    let decoded = json(text.as_bytes(), &fields).expect("json");
    assert_eq!(decoded.get(&field).map(|(_, value)| value.get()), Some("1"));
    let twice = format!("{{\"{last}\":1,\"{last}\":1}}");
    assert_eq!(
        json(twice.as_bytes(), &fields).err(),
        Some(Skip::AmbiguousField)
    );
}
