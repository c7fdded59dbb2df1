//! `@socket.io/redis-emitter`.

use rmp::encode;
use serde_json::{Value, json};

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// As MessagePack, with the shortest form of each number.
pub(super) fn msgpack(value: &Value) -> Vec<u8> {
    fn append(out: &mut Vec<u8>, value: &Value) {
        let length = |count| u32::try_from(count).expect("a short one");
        match value {
            Value::Null => encode::write_nil(out).expect("memory"),
            Value::Bool(value) => encode::write_bool(out, *value).expect("memory"),
            Value::Number(number) => {
                if let Some(number) = number.as_u64() {
                    encode::write_uint(out, number).expect("memory");
                } else if let Some(number) = number.as_i64() {
                    encode::write_sint(out, number).expect("memory");
                } else {
                    let number = number.as_f64().expect("a float");
                    encode::write_f64(out, number).expect("memory");
                }
            }
            Value::String(text) => encode::write_str(out, text).expect("memory"),
            Value::Array(all) => {
                encode::write_array_len(out, length(all.len())).expect("memory");
                for one in all {
                    append(out, one);
                }
            }
            Value::Object(all) => {
                encode::write_map_len(out, length(all.len())).expect("memory");
                for (name, one) in all {
                    encode::write_str(out, name).expect("memory");
                    append(out, one);
                }
            }
        }
    }
    let mut out = Vec::new();
    append(&mut out, value);
    out
}

/// A message with this as its `data` and its options.
pub(super) fn message(data: &Value, options: &Value) -> Vec<u8> {
    msgpack(&json!(["emitter", {"type": 2, "data": data, "nsp": "/"}, options]))
}

fn of_rooms(rooms: &Value) -> Result<Ephemeral, Refused> {
    let message = message(
        &json!(["a"]),
        &json!({"rooms": rooms, "flags": {}, "except": []}),
    );
    decode(&emitter("node:o1"), &message)
}

fn of_data(data: &Value) -> Result<Ephemeral, Refused> {
    let options = json!({"rooms": [], "flags": {}, "except": []});
    decode(&emitter("node:o1"), &message(data, &options))
}

#[test]
fn events_of_the_real_emitter_are_read() {
    for (channel, hex, expected) in [
        // emit("alert", { a: 1 })
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a5616c65727481a16101a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490",
            event("alert", &["org:o1"], &[r#"{"a":1}"#]),
        ),
        // to("channel:7").volatile.emit("alert", { a: [1.5, -2, "é", null, true] }, [70000, 5e9, -5e9])
        (
            "socket.io#/#channel:7#",
            "93a7656d697474657283a47479706502a46461746193a5616c65727481a16195cb3ff8000000000000fea2c3a9c0c393ce00011170cf000000012a05f200d3fffffffed5fa0e00a36e7370a12f83a5726f6f6d7391a96368616e6e656c3a37a5666c61677381a8766f6c6174696c65c3a665786365707490",
            event(
                "alert",
                &["channel:7"],
                &[
                    r#"{"a":[1.5,-2,"é",null,true]}"#,
                    "[70000,5000000000,-5000000000]",
                ],
            ),
        ),
        // to(["channel:7", "user:u1"]).emit("alert")
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746191a5616c657274a36e7370a12f83a5726f6f6d7392a96368616e6e656c3a37a7757365723a7531a5666c61677380a665786365707490",
            event("alert", &["channel:7", "user:u1"], &[]),
        ),
        // Dates of 2026, 1969, 9999 and 1970.
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a16184a166d7ffee2e1f006b0dd494a165c70cff0754d4c0ffffffffff2795e4a167c70cff3b8b87c00000003afff4417fa17ad6ff00000000a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490",
            event(
                "a",
                &["org:o1"],
                &[
                    r#"{"f":"2026-11-30T19:55:00.999Z","e":"1969-07-20T20:17:40.123Z","g":"9999-12-31T23:59:59.999Z","z":"1970-01-01T00:00:00.000Z"}"#,
                ],
            ),
        ),
    ] {
        let decoded = decode_of(&emitter("node:o1"), channel, &bytes(hex));
        assert_eq!(shown(decoded), Ok(expected));
    }
}

#[test]
fn what_the_real_emitter_can_ask_for_besides_is_refused() {
    for (channel, hex, expected) in [
        // except("channel:8").emit("alert", {})
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a5616c65727480a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707491a96368616e6e656c3a38",
            Refused::Excluded,
        ),
        // emit("alert", { b: Buffer.from("x") })
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a5616c65727481a162c40178a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490",
            Refused::Binary,
        ),
        // emit("alert", { b: NaN })
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a5616c65727481a162cb7ff8000000000000a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490",
            Refused::BadArgument,
        ),
        // emit("alert", undefined)
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a5616c657274c0a36e7370a12f83a5726f6f6d7390a5666c61677380a665786365707490",
            Refused::BadArgument,
        ),
        // of("/admin").emit("alert", {})
        (
            "socket.io#/admin#",
            "93a7656d697474657283a47479706502a46461746192a5616c65727480a36e7370a62f61646d696e83a5726f6f6d7390a5666c61677380a665786365707490",
            Refused::OtherNamespace,
        ),
        // The same on a channel that is not its own.
        (
            "socket.io#/#",
            "93a7656d697474657283a47479706502a46461746192a5616c65727480a36e7370a62f61646d696e83a5726f6f6d7390a5666c61677380a665786365707490",
            Refused::OtherNamespace,
        ),
    ] {
        let decoded = decode_of(&emitter("node:o1"), channel, &bytes(hex));
        assert_eq!(shown(decoded), Err(expected), "{hex}");
    }
}

#[test]
fn h2_requests_to_join_leave_disconnect_and_between_servers_are_refused() {
    let event = message(&json!(["a"]), &json!({"rooms": [], "except": []}));
    for request in [
        &br#"{"type":2,"opts":{"rooms":[],"except":[]},"rooms":["channel:8"]}"#[..],
        br#"{"type":3,"opts":{"rooms":["channel:7"],"except":[]},"rooms":["channel:8"]}"#,
        br#"{"type":4,"opts":{"rooms":[],"except":[]},"close":true}"#,
        br#"{"uid":"emitter","type":6,"data":["x",1]}"#,
        b"",
        &event,
    ] {
        let refused = decode_of(&emitter("node:o1"), "socket.io-request#/#", request);
        assert_eq!(shown(refused), Err(Refused::NotAllowed));
    }
}

#[test]
fn other_packets_than_events_are_refused() {
    let options = json!({"rooms": [], "except": []});
    let of = |packet: Value| {
        shown(decode(
            &emitter("node:o1"),
            &msgpack(&json!(["u", packet, options])),
        ))
        .map(drop)
    };
    assert_eq!(of(json!({"type": 2, "data": ["a"]})), Ok(()));
    for (packet, expected) in [
        (json!({"type": 0, "data": ["a"]}), Refused::NotAllowed),
        (json!({"type": 1, "data": ["a"]}), Refused::NotAllowed),
        (
            json!({"type": 2, "data": ["a"], "id": 0}),
            Refused::NotAllowed,
        ),
        (
            json!({"type": 3, "data": ["a"], "id": 0}),
            Refused::NotAllowed,
        ),
        (json!({"type": 4, "data": ["a"]}), Refused::NotAllowed),
        (json!({"type": 5, "data": ["a"]}), Refused::Binary),
        (json!({"type": 2, "data": []}), Refused::Malformed),
        (json!({"type": 2, "data": {}}), Refused::Malformed),
        (json!({"type": "2", "data": ["a"]}), Refused::Malformed),
        (json!({"type": 2}), Refused::Malformed),
        (json!({"data": ["a"]}), Refused::Malformed),
        (json!(null), Refused::Malformed),
    ] {
        assert_eq!(of(packet.clone()), Err(expected), "{packet}");
    }
}

#[test]
fn options_that_are_not_known_are_refused_for_they_may_say_who_receives_nothing() {
    let of = |options: Value| {
        shown(decode(
            &emitter("node:o1"),
            &message(&json!(["a"]), &options),
        ))
        .map(drop)
    };
    for options in [
        json!({}),
        json!({"rooms": [], "except": null, "flags": {"local": true}}),
    ] {
        assert_eq!(of(options.clone()), Ok(()), "{options}");
    }
    for (options, expected) in [
        (json!({"rooms": [], "except": [[]]}), Refused::Excluded),
        (json!({"rooms": [], "except": "x"}), Refused::Malformed),
        (json!({"rooms": [], "skip": []}), Refused::Malformed),
        (json!({"rooms": "channel:7"}), Refused::Malformed),
        (json!(null), Refused::Malformed),
    ] {
        assert_eq!(of(options.clone()), Err(expected), "{options}");
    }
    for message in [
        json!([]),
        json!(["u", {"type": 2, "data": ["a"]}]),
        json!({}),
    ] {
        let refused = decode(&emitter("node:o1"), &msgpack(&message));
        assert_eq!(shown(refused), Err(Refused::Malformed), "{message}");
    }
}

#[test]
fn rooms_are_those_of_the_organisation_and_of_known_kinds() {
    let names = |rooms: Value| shown(of_rooms(&rooms)).map(|(_, rooms, _)| rooms);
    assert_eq!(names(json!([])), Ok(vec!["org:o1".to_owned()]));
    for good in ["channel:7", "org:o1", "user:auth0|5f7c"] {
        assert_eq!(names(json!([good])), Ok(vec![good.to_owned()]));
    }
    let twice = names(json!(["channel:7", "channel:7:org:o1"]));
    assert_eq!(twice, Ok(vec!["channel:7".to_owned()]));
    let hundred: Vec<_> = (0..100).map(|id| format!("channel:{id}")).collect();
    assert_eq!(names(json!(hundred)).map(|names| names.len()), Ok(100));
    let more: Vec<_> = (0..101).map(|id| format!("channel:{id}")).collect();
    for bad in [
        json!(more),
        json!(["Zh7x_9kPzQ0SAAAB"]),
        json!(["asset:7"]),
        json!(["channel:*"]),
        json!(["channel:7:org:o2"]),
        json!(["org:o2"]),
        json!(["channel:7", ""]),
        json!([7]),
        json!([["channel:7"]]),
        json!([null]),
    ] {
        assert_eq!(names(bad.clone()), Err(Refused::BadRoom), "{bad}");
    }
}

#[test]
fn h16_names_are_narrow_and_arguments_are_objects_or_lists() {
    for bad in [
        json!([""]),
        json!(["a b"]),
        json!(["cursor"]),
        json!(["connect_error"]),
        json!(["x".repeat(65)]),
        json!([7]),
        json!([["a"]]),
    ] {
        assert_eq!(shown(of_data(&bad)), Err(Refused::BadEvent), "{bad}");
    }
    for bad in [
        json!(["a", "v1.AAAA"]),
        json!(["a", {}, "v1.AAAA"]),
        json!(["a", 7]),
        json!(["a", null]),
        json!(["a", true]),
    ] {
        assert_eq!(shown(of_data(&bad)), Err(Refused::BadArgument), "{bad}");
    }
    let several = |count: usize| {
        let mut data = vec![json!({}); count + 1];
        data[0] = json!("a");
        shown(of_data(&json!(data))).map(|(_, _, arguments)| arguments.len())
    };
    assert_eq!(several(16), Ok(16));
    assert_eq!(several(17), Err(Refused::BadArgument));
}

#[test]
fn arguments_together_are_limited_and_so_is_their_depth() {
    let filled = |bytes: usize| json!({ "a": "x".repeat(bytes - 8) });
    let of = |data: Value| shown(of_data(&data)).map(drop);
    assert_eq!(of(json!(["a", filled(1_000)])), Ok(()));
    assert_eq!(of(json!(["a", filled(1_001)])), Err(Refused::TooLarge));
    assert_eq!(of(json!(["a", filled(500), filled(499)])), Ok(()));
    let larger = of(json!(["a", filled(500), filled(500)]));
    assert_eq!(
        larger,
        Err(Refused::TooLarge),
        "a comma stands between them"
    );
    // Small as MessagePack, large as JSON.
    let escaped = of(json!(["a", { "a": "\u{1}".repeat(200) }]));
    assert_eq!(escaped, Err(Refused::TooLarge));
    let nested = |depth| (1..depth).fold(json!([]), |inner, _| json!([inner]));
    assert_eq!(of(json!(["a", nested(128)])), Ok(()));
    assert_eq!(of(json!(["a", nested(129)])), Err(Refused::TooDeep));
}
