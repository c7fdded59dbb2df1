//! How clients ask for rooms. What they send is hostile input.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Kind, Room, Which};
use crate::domain::id::Id;
use crate::domain::protocol::Reason;

/// A room that a client asked for. Of the caller's organisation by construction; whether the caller may be in it is
/// [`Policy::may_join`](crate::domain::policy::Policy::may_join)'s to say, also for kinds that do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomRequest {
    pub kind: Kind,
    pub which: Which,
    /// The newest of each key of class `latest` is wanted first.
    pub latest: bool,
}

/// Why a request for rooms makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRooms {
    /// Says what is wrong, without the client's own text.
    #[error("{0}")]
    Malformed(&'static str),
    /// It names another organisation. Told like a room that does not exist.
    #[error("{}", Reason::Forbidden.message())]
    Foreign,
    #[error("{}", Reason::TooManyRooms.message())]
    TooMany,
}

impl BadRooms {
    /// Fixed text for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Malformed(message) => message,
            Self::Foreign | Self::TooMany => self.reason().message(),
        }
    }

    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::BadRequest,
            Self::Foreign => Reason::Forbidden,
            Self::TooMany => Reason::TooManyRooms,
        }
    }
}

const SHAPE: BadRooms = BadRooms::Malformed(
    "give {type, id}, {type, all: true}, {room: \"type:id\"} or {rooms: [...]}",
);
const ID: BadRooms =
    BadRooms::Malformed("an id is 1 to 64 characters of A-Z, a-z, 0-9, _ and -, or an integer");
const KIND: BadRooms = BadRooms::Malformed("a room is named type:id");

/// What a later version serves. A client that asks for history and gets none would believe that there was none.
const OPTIONS: [(&str, BadRooms); 2] = [
    (
        "after",
        BadRooms::Malformed("the option after is not served yet"),
    ),
    (
        "rewind",
        BadRooms::Malformed("the option rewind is not served yet"),
    ),
];
const FLAG: BadRooms = BadRooms::Malformed("the options all and latest are true or false");

impl RoomRequest {
    /// The payload of `subscribe` and `unsubscribe`: `{type, id}`, `{type, all: true}`, `{room}`, `{rooms: [...]}` or a bare
    /// name, at most `max` rooms, each once. `own` is the caller's organisation.
    pub fn parse(payload: &Value, own: &Id, max: usize) -> Result<Vec<Self>, BadRooms> {
        if let Value::Object(object) = payload
            && let Some(rooms) = present(object, "rooms")
        {
            refuse_options(object)?;
            if ["type", "id", "room", "all"]
                .iter()
                .any(|&name| present(object, name).is_some())
            {
                return Err(SHAPE);
            }
            let latest = flag(object, "latest")?;
            let mut rooms = Self::parse_list(rooms, own, max)?;
            for room in &mut rooms {
                room.latest |= latest;
            }
            return Ok(rooms);
        }
        let room = Self::parse_element(payload, own)?;
        if max == 0 {
            return Err(BadRooms::TooMany);
        }
        Ok(vec![room])
    }

    /// A list of names and objects, as in `auth.rooms` of the handshake. It may be empty: a client that holds no room
    /// asks for all that it holds.
    pub fn parse_list(rooms: &Value, own: &Id, max: usize) -> Result<Vec<Self>, BadRooms> {
        let Value::Array(elements) = rooms else {
            return Err(SHAPE);
        };
        if elements.len() > max {
            return Err(BadRooms::TooMany);
        }
        let mut found: Vec<Self> = Vec::with_capacity(elements.len());
        let mut places = HashMap::with_capacity(elements.len());
        for element in elements {
            let room = Self::parse_element(element, own)?;
            let place = *places
                .entry((room.kind.clone(), room.which.clone()))
                .or_insert(found.len());
            match found.get_mut(place) {
                Some(same) => same.latest |= room.latest,
                None => found.push(room),
            }
        }
        Ok(found)
    }

    /// One element of such a list.
    pub fn parse_element(element: &Value, own: &Id) -> Result<Self, BadRooms> {
        match element {
            Value::String(name) => Self::parse_name(name, own),
            Value::Object(object) => {
                refuse_options(object)?;
                let (all, latest) = (flag(object, "all")?, flag(object, "latest")?);
                let member = |name| present(object, name);
                let room = match (member("type"), member("id"), member("room")) {
                    (Some(Value::String(kind)), Some(id), None) if !all => {
                        let kind = Kind::parse(kind).map_err(|_| KIND)?;
                        let which = match id {
                            Value::String(id) => Which::parse(id),
                            id => Id::from_json(id).map(Which::One),
                        };
                        Self::checked(kind, which.map_err(|_| ID)?, own)
                    }
                    (Some(Value::String(kind)), None, None) if all => {
                        let kind = Kind::parse(kind).map_err(|_| KIND)?;
                        Self::checked(kind, Which::All, own)
                    }
                    (None, None, Some(Value::String(name))) if !all => Self::parse_name(name, own),
                    _ => Err(SHAPE),
                };
                Ok(Self { latest, ..room? })
            }
            _ => Err(SHAPE),
        }
    }

    /// `channel:7`, `channel:*`, `org:o1`, `user:u1`, or as rooms are displayed: `channel:7:org:o1`.
    fn parse_name(name: &str, own: &Id) -> Result<Self, BadRooms> {
        let (kind, rest) = name.split_once(':').ok_or(KIND)?;
        let kind = Kind::parse(kind).map_err(|_| KIND)?;
        let (which, organisation) = match rest.split_once(':') {
            None => (rest, None),
            Some((which, rest)) => (which, Some(rest.strip_prefix("org:").ok_or(KIND)?)),
        };
        let which = Which::parse(which).map_err(|_| ID)?;
        if let Some(organisation) = organisation {
            // The organisation's own room is displayed without a second part.
            if kind.as_str() == "org" {
                return Err(KIND);
            }
            if Id::parse(organisation).map_err(|_| ID)? != *own {
                return Err(BadRooms::Foreign);
            }
        }
        Self::checked(kind, which, own)
    }

    /// A room `org` of one organisation inside another must not even be made.
    fn checked(kind: Kind, which: Which, own: &Id) -> Result<Self, BadRooms> {
        let foreign = |which: &Which| !matches!(which, Which::One(id) if id == own);
        if kind.as_str() == "org" && foreign(&which) {
            return Err(BadRooms::Foreign);
        }
        Ok(Self {
            kind,
            which,
            latest: false,
        })
    }

    pub fn into_room(self, own: &Id) -> Room {
        Room {
            organisation: own.clone(),
            kind: self.kind,
            which: self.which,
        }
    }
}

/// `null` is how a client says that it does not use a member.
fn present<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn refuse_options(object: &Map<String, Value>) -> Result<(), BadRooms> {
    let used = OPTIONS
        .iter()
        .find(|(name, _)| present(object, name).is_some());
    used.map_or(Ok(()), |&(_, refusal)| Err(refusal))
}

fn flag(object: &Map<String, Value>, name: &str) -> Result<bool, BadRooms> {
    match present(object, name) {
        None => Ok(false),
        Some(Value::Bool(given)) => Ok(*given),
        Some(_) => Err(FLAG),
    }
}

#[cfg(test)]
mod tests {
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
        let rooms = json!({"rooms": ["channel:7", {"type": "asset", "id": 1}, {"room": "channel:7:org:o1"}]});
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
}
