use serde_json::json;

use super::*;
use crate::domain::json;

fn own() -> Id {
    Id::parse("o1").expect("id")
}

fn parse(payload: &Value, user: &str, max: usize) -> Result<Vec<RoomRequest>, BadRooms> {
    let user = UserId::parse(user).expect("a user");
    let caller = Caller {
        organisation: &own(),
        user: &user,
    };
    RoomRequest::parse(payload, caller, max)
}

/// The rooms as they are displayed, or the reason.
fn ask(payload: &Value) -> Result<Vec<String>, Reason> {
    ask_as("u1", payload)
}

fn ask_as(user: &str, payload: &Value) -> Result<Vec<String>, Reason> {
    match parse(payload, user, 3) {
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
fn the_own_room_of_a_user_is_recognised_by_its_whole_name() {
    for user in [
        "auth0|5f7c",
        "ann@acme.example",
        "u1:org:o2",
        "*",
        "7",
        "user:u2",
    ] {
        let own = format!("user:{user}:org:o1");
        for payload in [
            json!(format!("user:{user}")),
            json!({ "room": own }),
            json!({"type": "user", "id": user}),
        ] {
            assert_eq!(ask_as(user, &payload), Ok(vec![own.clone()]), "{payload}");
        }
        for payload in [
            json!(format!("user:{user}:org:o2")),
            json!(format!("user:{user}x")),
            json!("user:u2"),
            json!("user:u1"),
            json!("user:**"),
            json!({"type": "user", "all": true}),
            json!({"type": "user", "id": "u2"}),
        ] {
            assert_eq!(ask_as(user, &payload), Err(Reason::Forbidden), "{payload}");
        }
    }
    assert_eq!(
        ask_as("7", &json!({"type": "user", "id": 7})),
        Ok(vec!["user:7:org:o1".to_owned()])
    );
    for payload in [
        json!("user:"),
        json!("user:a\u{0}"),
        json!(format!("user:{}", "x".repeat(513))),
        json!({"type": "user", "id": ""}),
        json!({"type": "user", "id": 7.5}),
        json!({"type": "user", "id": ["u1"]}),
    ] {
        assert_eq!(ask(&payload), Err(Reason::BadRequest), "{payload}");
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
    assert_eq!(parse(&json!("channel:7"), "u1", 0), Err(BadRooms::TooMany));
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
            let refusal = parse(&payload, "u1", 3).expect_err("an option");
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
        let rooms = parse(&payload, "u1", 3).expect("rooms");
        let latest: Vec<bool> = rooms.iter().map(|room| room.latest).collect();
        assert_eq!(latest, expected, "{payload}");
    }
}
