//! How clients ask for rooms. What they send is hostile input.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Kind, Room, Which};
use crate::domain::id::{Id, UserId};
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

/// Who asks. Requests mean rooms of this organisation only, and of users this one only.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub organisation: &'a Id,
    pub user: &'a UserId,
}

impl Caller<'_> {
    /// The rooms that a connection of this user is in from the start, and never leaves.
    pub fn own_rooms(&self) -> [Room; 2] {
        [
            Room::organisation(self.organisation),
            Room::user(self.organisation, self.user),
        ]
    }
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
const USER: BadRooms = BadRooms::Malformed(
    "a user is named by 1 to 128 characters, none of them a control character, or an integer",
);
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
    /// name, at most `max` rooms, each once.
    pub fn parse(payload: &Value, caller: Caller<'_>, max: usize) -> Result<Vec<Self>, BadRooms> {
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
            let mut rooms = Self::parse_list(rooms, caller, max)?;
            for room in &mut rooms {
                room.latest |= latest;
            }
            return Ok(rooms);
        }
        let room = Self::parse_element(payload, caller)?;
        if max == 0 {
            return Err(BadRooms::TooMany);
        }
        Ok(vec![room])
    }

    /// A list of names and objects, as in `auth.rooms` of the handshake. It may be empty: a client that holds no room
    /// asks for all that it holds.
    pub fn parse_list(
        rooms: &Value,
        caller: Caller<'_>,
        max: usize,
    ) -> Result<Vec<Self>, BadRooms> {
        let Value::Array(elements) = rooms else {
            return Err(SHAPE);
        };
        if elements.len() > max {
            return Err(BadRooms::TooMany);
        }
        let mut found: Vec<Self> = Vec::with_capacity(elements.len());
        let mut places = HashMap::with_capacity(elements.len());
        for element in elements {
            let room = Self::parse_element(element, caller)?;
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
    pub fn parse_element(element: &Value, caller: Caller<'_>) -> Result<Self, BadRooms> {
        match element {
            Value::String(name) => Self::parse_name(name, caller),
            Value::Object(object) => {
                refuse_options(object)?;
                let (all, latest) = (flag(object, "all")?, flag(object, "latest")?);
                let member = |name| present(object, name);
                let room = match (member("type"), member("id"), member("room")) {
                    (Some(Value::String(kind)), Some(id), None) if !all => {
                        let kind = Kind::parse(kind).map_err(|_| KIND)?;
                        if kind.is_user() {
                            let user = UserId::from_json(id).map_err(|_| USER)?;
                            Self::of_user(kind, &user, caller)
                        } else {
                            let which = match id {
                                Value::String(id) => Which::parse(id),
                                id => Id::from_json(id).map(Which::One),
                            };
                            Self::checked(kind, which.map_err(|_| ID)?, caller)
                        }
                    }
                    (Some(Value::String(kind)), None, None) if all => {
                        let kind = Kind::parse(kind).map_err(|_| KIND)?;
                        Self::checked(kind, Which::All, caller)
                    }
                    (None, None, Some(Value::String(name))) if !all => {
                        Self::parse_name(name, caller)
                    }
                    _ => Err(SHAPE),
                };
                Ok(Self { latest, ..room? })
            }
            _ => Err(SHAPE),
        }
    }

    /// `channel:7`, `channel:*`, `org:o1`, `user:u1`, or as rooms are displayed: `channel:7:org:o1`.
    fn parse_name(name: &str, caller: Caller<'_>) -> Result<Self, BadRooms> {
        let (kind, rest) = name.split_once(':').ok_or(KIND)?;
        let kind = Kind::parse(kind).map_err(|_| KIND)?;
        if kind.is_user() {
            // A user's name may hold colons, so it is compared and not taken apart.
            let own = Room::user(caller.organisation, caller.user);
            let is_own = rest == caller.user.as_str() || name == own.to_string();
            return match UserId::parse(rest) {
                _ if is_own => Ok(Self::new(kind, own.which)),
                Ok(_) => Err(BadRooms::Foreign),
                Err(_) => Err(USER),
            };
        }
        let (which, organisation) = match rest.split_once(':') {
            None => (rest, None),
            Some((which, rest)) => (which, Some(rest.strip_prefix("org:").ok_or(KIND)?)),
        };
        let which = Which::parse(which).map_err(|_| ID)?;
        if let Some(organisation) = organisation {
            // The organisation's own room is displayed without a second part.
            if kind.is_organisation() {
                return Err(KIND);
            }
            if Id::parse(organisation).map_err(|_| ID)? != *caller.organisation {
                return Err(BadRooms::Foreign);
            }
        }
        Self::checked(kind, which, caller)
    }

    /// A room `org` of one organisation inside another must not even be made, nor one of all users.
    fn checked(kind: Kind, which: Which, caller: Caller<'_>) -> Result<Self, BadRooms> {
        let own = |which: &Which| matches!(which, Which::One(id) if id == caller.organisation);
        if kind.is_user() || kind.is_organisation() && !own(&which) {
            return Err(BadRooms::Foreign);
        }
        Ok(Self::new(kind, which))
    }

    fn of_user(kind: Kind, user: &UserId, caller: Caller<'_>) -> Result<Self, BadRooms> {
        if user == caller.user {
            Ok(Self::new(kind, Which::User(user.clone())))
        } else {
            Err(BadRooms::Foreign)
        }
    }

    fn new(kind: Kind, which: Which) -> Self {
        Self {
            kind,
            which,
            latest: false,
        }
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
mod tests;
