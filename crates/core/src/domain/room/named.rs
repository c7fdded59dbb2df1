//! Rooms as operators and back-ends name them: `channel:7`, `org:o1`, `user:auth0|5f7c`, within an organisation that is named beside.
//! Unlike a client's request such a name may be that of any user.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{Kind, Room, Which};
use crate::domain::id::{Id, UserId};

/// The text names no room of the organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoomName {
    #[error("a room is named type:id")]
    Shape,
    #[error("an id is 1 to 64 characters of A-Z, a-z, 0-9, _ and -")]
    Id,
    #[error("a user is named by 1 to 128 characters, none of them a control character")]
    User,
    #[error("the room is of another organisation")]
    Foreign,
}

impl Room {
    /// From `kind:id`; `channel:7:org:o1`, as rooms are displayed to clients, is the same as `channel:7`. What follows `user:` is the
    /// user's whole name, whatever it holds.
    pub fn named(organisation: &Id, text: &str) -> Result<Self, InvalidRoomName> {
        let (kind, rest) = text.split_once(':').ok_or(InvalidRoomName::Shape)?;
        let kind = Kind::parse(kind).map_err(|_| InvalidRoomName::Shape)?;
        if kind.is_user() {
            let user = UserId::parse(rest).map_err(|_| InvalidRoomName::User)?;
            return Ok(Self::user(organisation, &user));
        }
        let (which, of) = match rest.split_once(':') {
            None => (rest, organisation.as_str()),
            Some((which, rest)) => {
                let of = rest.strip_prefix("org:").ok_or(InvalidRoomName::Shape)?;
                (which, of)
            }
        };
        let which = Which::parse(which).map_err(|_| InvalidRoomName::Id)?;
        let is_own = which == Which::One(organisation.clone());
        if of != organisation.as_str() || kind.is_organisation() && !is_own {
            return Err(InvalidRoomName::Foreign);
        }
        Ok(Self {
            organisation: organisation.clone(),
            kind,
            which,
        })
    }

    /// `kind:id`: what [`named`](Self::named) reads, if the organisation is named beside it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.kind, self.which)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_never_leaves_its_organisation() {
        let own = Id::parse("o1").unwrap();
        for (text, name) in [
            ("channel:7", "channel:7"),
            ("channel:*", "channel:*"),
            ("channel:7:org:o1", "channel:7"),
            ("org:o1", "org:o1"),
            ("user:auth0|5f7c", "user:auth0|5f7c"),
            ("user:u1:org:o2", "user:u1:org:o2"),
        ] {
            let room = Room::named(&own, text).unwrap();
            assert_eq!((room.name().as_str(), &room.organisation), (name, &own));
            assert_eq!(Room::named(&own, &room.name()), Ok(room));
        }
        for (text, wrong) in [
            ("", InvalidRoomName::Shape),
            ("channel", InvalidRoomName::Shape),
            ("chan nel:7", InvalidRoomName::Shape),
            ("channel:", InvalidRoomName::Id),
            ("channel:7:o1", InvalidRoomName::Shape),
            ("channel:7:org:o2", InvalidRoomName::Foreign),
            ("org:o2", InvalidRoomName::Foreign),
            ("org:*", InvalidRoomName::Foreign),
            ("user:", InvalidRoomName::User),
            ("user:a\n", InvalidRoomName::User),
        ] {
            assert_eq!(Room::named(&own, text), Err(wrong), "{text}");
        }
    }
}
