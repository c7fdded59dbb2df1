use serde_json::json;

use super::*;
use crate::domain::json;

fn own() -> Id {
    Id::parse("o1").expect("id")
}

/// The rooms as they are displayed, or the reason.
fn ask(payload: &Value) -> Result<Vec<String>, Reason> {
    match RoomRequest::parse(payload, &own(), 3) {
        Ok(rooms) => Ok(rooms
            .into_iter()
            .map(|room| room.into_room(&own()).to_string())
            .collect()),
        Err(bad) => Err(bad.reason()),
    }
}

#[test]
fn s4_09_to_s4_12_every_spelling_of_a_room_gives_the_same_value() {
    for (payload, expected) in [
        (json!({"type": "channel", "id": "7"}), "channel:7:org:o1"),
        (json!({"type": "channel", "id": 7}), "channel:7:org:o1"),
        (json!({"room": "channel:7"}), "channel:7:org:o1"),
        (json!({"room": "channel:7:org:o1"}), "channel:7:org:o1"),
        (json!("channel:7"), "channel:7:org:o1"),
        (
            json!({"room": "incident:i-5", "after": null, "other": 1}),
            "incident:i-5:org:o1",
        ),
        (json!({"type": "asset", "id": "A_1"}), "asset:A_1:org:o1"),
        (json!({"room": "org:o1"}), "org:o1"),
        (json!({"type": "org", "id": "o1"}), "org:o1"),
        (json!({"room": "user:u1"}), "user:u1:org:o1"),
        (json!({"room": "user:u1:org:o1"}), "user:u1:org:o1"),
        (json!({"room": "no_such_kind:1"}), "no_such_kind:1:org:o1"),
        (json!({"type": "asset", "all": true}), "asset:*:org:o1"),
        (json!({"type": "asset", "id": "*"}), "asset:*:org:o1"),
        (json!({"room": "asset:*", "all": false}), "asset:*:org:o1"),
        (json!("asset:*:org:o1"), "asset:*:org:o1"),
        (
            json!({"type": "asset", "id": 7, "all": false, "latest": null}),
            "asset:7:org:o1",
        ),
        // `null` is no member at all.
        (
            json!({"type": "asset", "id": 7, "room": null, "rooms": null}),
            "asset:7:org:o1",
        ),
        (
            json!({"type": null, "id": null, "all": null, "room": "asset:7"}),
            "asset:7:org:o1",
        ),
        (
            json!({"type": null, "id": null, "room": null, "all": null, "rooms": ["asset:7"]}),
            "asset:7:org:o1",
        ),
        (
            json!({"type": "asset", "all": true, "id": null}),
            "asset:*:org:o1",
        ),
    ] {
        assert_eq!(ask(&payload), Ok(vec![expected.to_owned()]), "{payload}");
    }
}

#[test]
fn an_id_beyond_64_bits_names_one_room_as_a_number_and_as_text() {
    let big = "18446744073709551616";
    for payload in [
        format!(r#"{{"type":"channel","id":{big}}}"#),
        format!(r#"{{"type":"channel","id":"{big}"}}"#),
        format!(r#"{{"rooms":[{{"type":"channel","id":{big}}}]}}"#),
        format!(r#""channel:{big}""#),
    ] {
        let read = json::parse(&payload).expect("test JSON");
        let room = format!("channel:{big}:org:o1");
        assert_eq!(ask(&read), Ok(vec![room]), "{payload}");
    }
    for id in ["1e400", "18446744073709551616.0", &"9".repeat(65)] {
        let read = json::parse(&format!(r#"{{"type":"channel","id":{id}}}"#));
        let asked = ask(&read.expect("test JSON"));
        assert_eq!(asked, Err(Reason::BadRequest), "{id}");
    }
}

#[test]
fn lists_are_bounded_and_each_room_counts_once() {
    let rooms =
        json!({"rooms": ["channel:7", {"type": "asset", "id": 1}, {"room": "channel:7:org:o1"}]});
    assert_eq!(
        ask(&rooms),
        Ok(vec!["channel:7:org:o1".into(), "asset:1:org:o1".into()])
    );
    assert_eq!(ask(&json!({"rooms": []})), Ok(vec![]));
    let four = json!({"rooms": ["a:1", "a:2", "a:3", "a:4"]});
    assert_eq!(ask(&four), Err(Reason::TooManyRooms));
    assert_eq!(
        RoomRequest::parse(&json!("channel:7"), &own(), 0),
        Err(BadRooms::TooMany)
    );
    // One bad element refuses all: a half-done subscribe is hard to tell from a whole one.
    assert_eq!(
        ask(&json!({"rooms": ["channel:7", "channel:7:org:o2"]})),
        Err(Reason::Forbidden)
    );
}

#[test]
fn a66_a69_malformed_and_foreign_rooms_are_distinguished() {
    let long = "x".repeat(65);
    let deep = (0..100).fold(json!("channel:7"), |inner, _| json!([inner]));
    for payload in [
        json!(null),
        json!(7),
        json!(true),
        json!([]),
        json!(["channel:7"]),
        json!({}),
        json!(""),
        json!(":"),
        json!("channel"),
        json!("channel:"),
        json!(":7"),
        json!("channel:a b"),
        json!("chan nel:7"),
        json!("channel:7:"),
        json!("channel:7:org"),
        json!("channel:7:org:"),
        json!("channel:7:org:o1:x"),
        json!("channel:7:team:o1"),
        json!("channel:7:org:o1:org:o1"),
        json!("org:o1:org:o1"),
        json!("channel:../etc"),
        json!("channel:\u{0}"),
        json!("channel:é"),
        json!(format!("channel:{long}")),
        json!({"type": "channel"}),
        json!({"id": "7"}),
        json!({"type": 7, "id": "7"}),
        json!({"type": "channel", "id": 7.5}),
        json!({"type": "channel", "id": 1e300}),
        json!({"type": "channel", "id": null}),
        json!({"type": "channel", "id": true}),
        json!({"type": "channel", "id": ["7"]}),
        json!({"type": "channel", "id": {"$ne": 1}}),
        json!({"type": "channel", "id": "7:org:o1"}),
        json!({"type": "channel", "id": "7", "room": "channel:8"}),
        json!({"room": 7}),
        json!({"room": ["channel:7"]}),
        json!({"rooms": "channel:7"}),
        json!({"rooms": {"0": "channel:7"}}),
        json!({"rooms": [["channel:7"]]}),
        json!({"rooms": [null]}),
        json!({"rooms": [{"rooms": ["channel:7"]}]}),
        json!({"rooms": ["channel:7"], "room": "channel:7"}),
        json!({"room": deep}),
        json!({"type": "asset", "all": true, "id": "7"}),
        json!({"type": null, "id": null, "room": null, "rooms": null}),
        json!({"room": null, "id": "7"}),
        json!({"type": "asset", "all": "true"}),
        json!({"type": "asset", "all": 1}),
        json!({"type": "asset", "all": false}),
        json!({"room": "asset:7", "all": true}),
        json!({"rooms": ["asset:7"], "all": true}),
        json!({"room": "asset:7", "latest": 1}),
        json!({"rooms": ["asset:7"], "latest": "yes"}),
        json!({"all": true}),
        json!("*"),
        json!("*:*"),
        json!("asset:**"),
        json!("asset:*:org:*"),
    ] {
        assert_eq!(ask(&payload), Err(Reason::BadRequest), "{payload}");
    }
    for payload in [
        json!("channel:7:org:o2"),
        json!({"room": "channel:7:org:O1"}),
        json!({"room": "user:u1:org:o2"}),
        json!("org:o2"),
        json!({"type": "org", "id": "o2"}),
        json!({"rooms": ["org:o2"]}),
        json!("asset:*:org:o2"),
        json!("org:*"),
        json!({"type": "org", "all": true}),
    ] {
        assert_eq!(ask(&payload), Err(Reason::Forbidden), "{payload}");
    }
}

#[test]
fn options_that_are_not_served_yet_are_refused_and_named() {
    for option in ["after", "rewind"] {
        for payload in [
            json!({"room": "channel:7", option: 30}),
            json!({"rooms": ["channel:7"], option: false}),
            json!({"rooms": [{"room": "channel:7", option: "v1.x"}]}),
        ] {
            let refusal = RoomRequest::parse(&payload, &own(), 3).expect_err("an option");
            assert_eq!(refusal.reason(), Reason::BadRequest);
            assert_eq!(
                refusal.to_string(),
                format!("the option {option} is not served yet")
            );
        }
    }
}

#[test]
fn the_newest_of_each_key_is_asked_for_all_rooms_or_for_one() {
    for (payload, expected) in [
        (json!("asset:7"), vec![false]),
        (json!({"room": "asset:7", "latest": true}), vec![true]),
        (
            json!({"type": "asset", "all": true, "latest": true}),
            vec![true],
        ),
        (
            json!({"rooms": ["asset:7", "asset:8"], "latest": true}),
            vec![true, true],
        ),
        (
            json!({"rooms": ["asset:7", {"room": "asset:8", "latest": true}, {"type": "asset", "id": 7}]}),
            vec![false, true],
        ),
        (
            json!({"rooms": ["asset:7", {"room": "asset:7:org:o1", "latest": true}]}),
            vec![true],
        ),
    ] {
        let rooms = RoomRequest::parse(&payload, &own(), 3).expect("rooms");
        let latest: Vec<bool> = rooms.iter().map(|room| room.latest).collect();
        assert_eq!(latest, expected, "{payload}");
    }
}
