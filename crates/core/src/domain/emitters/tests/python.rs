//! python-socketio.

use super::*;

fn of(message: &str) -> Result<(String, Vec<String>, Vec<String>), Refused> {
    shown(decode(&emitter("python:o1"), message.as_bytes()))
}

/// As 5.18.1 writes it, with these members instead of the usual ones.
fn with(member: &str) -> String {
    let (name, _) = member.split_once(':').expect("a member");
    let usual = [
        r#""method": "emit""#,
        r#""event": "alert""#,
        r#""data": [{"a": 1}]"#,
        r#""binary": false"#,
        r#""namespace": "/""#,
        r#""room": null"#,
        r#""skip_sid": null"#,
        r#""callback": null"#,
        r#""host_id": "d3b0""#,
    ];
    let mut members: Vec<_> = usual
        .iter()
        .filter(|usual| !usual.starts_with(name))
        .collect();
    members.push(&member);
    let members: Vec<&str> = members.into_iter().copied().collect();
    format!("{{{}}}", members.join(", "))
}

#[test]
fn events_of_the_real_emitter_are_read() {
    for (message, expected) in [
        // emit('alert', {'a': 1})
        (
            r#"{"method": "emit", "event": "alert", "data": [{"a": 1}], "binary": false, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &[r#"{"a": 1}"#]),
        ),
        // emit('alert', {'a': 'é'}, room='channel:7')
        (
            r#"{"method": "emit", "event": "alert", "data": [{"a": "\u00e9"}], "binary": false, "namespace": "/", "room": "channel:7", "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["channel:7"], &[r#"{"a": "\u00e9"}"#]),
        ),
        // emit('alert', ({'a': 1}, [2]), to=['channel:7', 'user:u1'])
        (
            r#"{"method": "emit", "event": "alert", "data": [{"a": 1}, [2]], "binary": false, "namespace": "/", "room": ["channel:7", "user:u1"], "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["channel:7", "user:u1"], &[r#"{"a": 1}"#, "[2]"]),
        ),
        // emit('alert', [1, 2])
        (
            r#"{"method": "emit", "event": "alert", "data": [[1, 2]], "binary": false, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &["[1, 2]"]),
        ),
        // emit('alert', None)
        (
            r#"{"method": "emit", "event": "alert", "data": [null], "binary": false, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &[]),
        ),
        // 5.14.0: emit('alert', {'a': 1}), emit('alert', [1]), emit('alert', None)
        (
            r#"{"method": "emit", "event": "alert", "data": {"a": 1}, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &[r#"{"a": 1}"#]),
        ),
        (
            r#"{"method": "emit", "event": "alert", "data": [1], "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &["[1]"]),
        ),
        (
            r#"{"method": "emit", "event": "alert", "data": null, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &[]),
        ),
        // 5.14.2: emit('alert', {'a': 1})
        (
            r#"{"method": "emit", "event": "alert", "data": {"a": 1}, "binary": false, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "h"}"#,
            event("alert", &["org:o1"], &[r#"{"a": 1}"#]),
        ),
    ] {
        assert_eq!(of(message), Ok(expected), "{message}");
    }
}

#[test]
fn a_pickle_is_recognised_and_not_read() {
    // emit('alert', {'a': 1}) of 5.13.0; protocols 2 to 5.
    for version in [2, 3, 4, 5] {
        let pickle = [
            b"\x80",
            &[version][..],
            b"\x95s\0\0\0\0\0\0\0}\x94(\x8c\x06method\x94\x8c\x04emit",
        ]
        .concat();
        let refused = decode(&emitter("python:o1"), &pickle);
        assert_eq!(shown(refused), Err(Refused::Pickle));
    }
    let refused = decode(&emitter("python:o1"), b"\x80\x09");
    assert_eq!(shown(refused), Err(Refused::Malformed));
}

#[test]
fn h2_joins_leaves_disconnects_and_callbacks_are_refused() {
    for request in [
        r#"{"method": "enter_room", "sid": "s", "room": "channel:8", "namespace": "/", "host_id": "h"}"#,
        r#"{"method": "leave_room", "sid": "s", "room": "channel:8", "namespace": "/", "host_id": "h"}"#,
        r#"{"method": "close_room", "room": "channel:8", "namespace": "/", "host_id": "h"}"#,
        r#"{"method": "disconnect", "sid": "s", "namespace": "/", "host_id": "h"}"#,
        r#"{"method": "callback", "host_id": "h", "sid": "s", "namespace": "/", "id": 1, "args": []}"#,
        &with(r#""callback": ["channel:7", "/", 1]"#),
    ] {
        assert_eq!(of(request), Err(Refused::NotAllowed), "{request}");
    }
}

#[test]
fn each_member_that_does_not_fit_has_its_outcome() {
    assert!(of(&with(r#""namespace": null"#)).is_ok());
    assert!(of(&with(r#""skip_sid": []"#)).is_ok());
    for (member, expected) in [
        (r#""namespace": "/admin""#, Refused::OtherNamespace),
        (r#""namespace": """#, Refused::OtherNamespace),
        (r#""skip_sid": "abc""#, Refused::Excluded),
        (r#""skip_sid": ["abc"]"#, Refused::Excluded),
        // emit('alert', {'b': b'x'}), but for its data.
        (r#""binary": true"#, Refused::Binary),
        (r#""room": "channel""#, Refused::BadRoom),
        (r#""room": """#, Refused::BadRoom),
        (r#""room": []"#, Refused::BadRoom),
        (r#""room": 7"#, Refused::BadRoom),
        (r#""room": {"channel": 7}"#, Refused::BadRoom),
        (r#""room": [["channel:7"]]"#, Refused::BadRoom),
        (r#""event": "connect""#, Refused::BadEvent),
        (r#""event": "\ud800""#, Refused::BadEvent),
        (r#""event": 7"#, Refused::BadEvent),
        (r#""data": "v1.AAAA""#, Refused::BadArgument),
        (r#""data": ["v1.AAAA"]"#, Refused::BadArgument),
        (r#""data": [{}, null]"#, Refused::BadArgument),
        (r#""data": [{"a": NaN}]"#, Refused::Malformed),
        (r#""method": "emits""#, Refused::Malformed),
        (r#""method": 7"#, Refused::Malformed),
        (
            r#""room": "channel:7", "room": "channel:8""#,
            Refused::Malformed,
        ),
        (r#""except_room": "channel:7""#, Refused::Malformed),
    ] {
        assert_eq!(of(&with(member)).map(drop), Err(expected), "{member}");
    }
    for message in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"method":"emit"}"#,
        "{\"method\":\"emit\"",
        "\u{feff}{}",
    ] {
        assert_eq!(of(message), Err(Refused::Malformed), "{message}");
    }
}

#[test]
fn sizes_and_depths_are_limited() {
    let data = |text: String| of(&with(&format!("\"data\": [{text}]"))).map(drop);
    let filled = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(data(filled(1_000)), Ok(()));
    assert_eq!(data(filled(1_001)), Err(Refused::TooLarge));
    assert_eq!(
        data(filled(MESSAGE_ENVELOPE + 1_000)),
        Err(Refused::TooLarge)
    );
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(data(nested(128)), Ok(()));
    assert_eq!(data(nested(129)), Err(Refused::TooDeep));
    let unclosed = with(&format!("\"host_id\": {}", "[".repeat(60_000)));
    assert_eq!(
        of(&unclosed),
        Err(Refused::Malformed),
        "it does not recurse"
    );
}
