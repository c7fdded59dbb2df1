//! Bytes that no emitter wrote.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::node::{message, msgpack};
use super::*;

fn of_node(payload: &[u8]) -> Result<Ephemeral, Refused> {
    decode(&emitter("node:o1"), payload)
}

/// `[uid, {type: 2, data: ["a", …` up to the argument, which is missing like all that follows.
fn before_argument() -> Vec<u8> {
    let whole = message(&json!(["a", 7]), &json!({}));
    let at = whole
        .iter()
        .position(|byte| *byte == 7)
        .expect("the argument");
    whole[..at].to_vec()
}

/// The most that decoding it takes, in bytes.
fn most_allocated(emitter: &Emitter, payload: &[u8]) -> u64 {
    let measured = allocation_counter::measure(|| drop(decode(emitter, payload)));
    measured.bytes_max
}

#[test]
fn h2_lengths_without_content_are_malformed_and_allocate_nothing() {
    for bomb in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdc\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xde\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xda\xff\xffx",
        b"\xd9\xff",
        b"\xbf",
        b"\x9f",
        b"\x8f",
        b"\xc9\xff\xff\xff\xff\xff",
        b"\xc8\xff\xff\xff",
        b"\xc7\x0c\xff",
        b"\xd7\xff",
        b"\xcb\0",
        b"\xc1",
        b"",
    ] {
        for payload in [bomb.to_vec(), [&before_argument(), bomb].concat()] {
            assert_eq!(
                shown(of_node(&payload)),
                Err(Refused::Malformed),
                "{bomb:x?}"
            );
            assert!(
                most_allocated(&emitter("node:o1"), &payload) < 1_000,
                "{bomb:x?}"
            );
        }
    }
    let bytes = [&before_argument(), &b"\xc6\xff\xff\xff\xff"[..]].concat();
    assert_eq!(shown(of_node(&bytes)), Err(Refused::Binary));
}

#[test]
fn h2_nested_bombs_end_at_the_depth_that_is_allowed() {
    for (open, count) in [
        (&b"\x91"[..], 60_000),
        (b"\x81\xa0", 30_000),
        (b"\xdd\xff\xff\xff\xff", 12_000),
    ] {
        let bomb = open.repeat(count);
        assert_eq!(shown(of_node(&bomb)), Err(Refused::TooDeep));
        assert!(most_allocated(&emitter("node:o1"), &bomb) < 4_000);
    }
}

#[test]
fn a_message_takes_memory_in_proportion_to_its_bytes() {
    let node = emitter("node:o1");
    let python = emitter("python:o1");
    let most = MAX_EVENT_BYTES + MESSAGE_ENVELOPE;
    for element in [&b"\x01"[..], b"\xc0", b"\xa0", b"\x90", b"\xa1\x01"] {
        let count = (most - 100) / element.len();
        let mut list = [b"\xdd", &u32::try_from(count).unwrap().to_be_bytes()[..]].concat();
        list.extend(element.repeat(count));
        for payload in [list.clone(), [&before_argument(), &list[..]].concat()] {
            assert!(
                most_allocated(&node, &payload) < 32 * most as u64,
                "{element:x?}"
            );
        }
    }
    for element in ["1", "{}", "\"\"", "null", "[]"] {
        let list = vec![element; (most - 200) / (element.len() + 1)].join(",");
        for member in ["data", "room", "skip_sid", "method", "other"] {
            let payload =
                format!(r#"{{"method":"emit","event":"a","binary":false,"{member}":[{list}]}}"#);
            let taken = most_allocated(&python, payload.as_bytes());
            assert!(taken < 32 * most as u64, "{member} {element}: {taken}");
        }
    }
    // Numbers take a byte each there, and two here.
    assert_eq!(msgpack::to_json(b"\x92\x01\x01", 5).as_deref(), Ok("[1,1]"));
    let limited = msgpack::to_json(b"\x92\x01\x01", 4);
    assert_eq!(limited, Err(Refused::TooLarge));
    let larger = vec![b'x'; most + 1];
    for emitter in [&node, &python] {
        assert_eq!(shown(decode(emitter, &larger)), Err(Refused::TooLarge));
        assert_eq!(most_allocated(emitter, &larger), 0);
    }
}

#[test]
fn what_json_has_not_is_refused() {
    for (value, expected) in [
        (&b"\xca\x7f\x80\0\0"[..], Refused::BadArgument),
        (b"\xcb\xff\xf0\0\0\0\0\0\0", Refused::BadArgument),
        (b"\x81\x01\x02", Refused::BadArgument),
        (b"\x81\xc0\x02", Refused::BadArgument),
        (b"\x91\xa1\xff", Refused::BadArgument),
        (b"\x81\xa1\xff\x01", Refused::BadArgument),
        // Half a surrogate pair, as JavaScript writes it.
        (b"\x91\xa3\xed\xa0\x80", Refused::BadArgument),
        // Other extensions, and points in time of no calendar.
        (b"\x91\xd4\x00\x00", Refused::BadArgument),
        (b"\x91\xd7\x00\0\0\0\0\0\0\0\0", Refused::BadArgument),
        (b"\x91\xd5\xff\0\0", Refused::BadArgument),
        (b"\x91\xc7\x00\xff", Refused::BadArgument),
        (
            b"\x91\xd7\xff\xff\xff\xff\xfc\0\0\0\0",
            Refused::BadArgument,
        ),
        (
            b"\x91\xc7\x0c\xff\0\0\0\0\0\0\0\x3a\xff\xf4\x41\x80",
            Refused::BadArgument,
        ),
        (
            b"\x91\xc7\x0c\xff\0\0\0\0\x80\0\0\0\0\0\0\0",
            Refused::BadArgument,
        ),
        (b"\x81\xa1a\xc4\x01x", Refused::Binary),
        (b"\x92\xa1a\xc1", Refused::Malformed),
    ] {
        let payload = [&before_argument(), value].concat();
        assert_eq!(shown(of_node(&payload)), Err(expected), "{value:x?}");
    }
    let mut good = message(
        &json!(["a", {"a": f64::MAX, "b": u64::MAX, "c": i64::MIN}]),
        &json!({}),
    );
    let arguments = shown(of_node(&good)).map(|(_, _, arguments)| arguments);
    let expected = format!(
        r#"{{"a":{:e},"b":{},"c":{}}}"#,
        f64::MAX,
        u64::MAX,
        i64::MIN
    );
    assert_eq!(arguments, Ok(vec![expected.replace('e', "e+")]));
    good.push(0xc0);
    assert_eq!(
        shown(of_node(&good)),
        Err(Refused::Malformed),
        "something follows"
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Of few digits: `serde_json` reads others with a rounding of its own.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|all| Value::from(all.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&emitter("node:o1"), &payload).is_err());
        prop_assert!(decode(&emitter("python:o1"), &payload).is_err());
    }

    #[test]
    fn a_good_message_with_other_bytes_in_it_never_panics(
        value in json_value(),
        at in any::<prop::sample::Index>(),
        other in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut payload = message(&json!(["a", [value]]), &json!({"rooms": ["channel:7"]}));
        let at = at.index(payload.len());
        let end = payload.len().min(at + other.len());
        payload.splice(at..end, other);
        if let Ok(event) = of_node(&payload) {
            prop_assert!(event.size() <= MAX_EVENT_BYTES && !event.rooms.is_empty());
        }
        payload.truncate(at);
        prop_assert!(of_node(&payload).is_err());
    }

    #[test]
    fn values_mean_the_same_in_messagepack_and_json(value in json_value()) {
        let text = msgpack::to_json(&msgpack(&value), usize::MAX).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn json_like_text_never_panics(text in "[\\[\\]{}\":,\\\\ a-z0-9.eu_-]{0,200}", member in "[a-z_]{0,8}") {
        let message = format!(r#"{{"method":"emit","event":"a","data":[{{}}],"binary":false,"{member}":{text}}}"#);
        if let Ok(event) = decode(&emitter("python:o1"), message.as_bytes()) {
            prop_assert_eq!(event.organisation.as_str(), "o1");
        }
    }
}
