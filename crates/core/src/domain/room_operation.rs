//! Rooms that a back-end has the open connections of a user join or leave.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;

use super::id::{Id, UserId};
use super::room::{InvalidRoomName, Room};

/// So many rooms are joined at once, and as many left.
pub const MAX_OPERATED_ROOMS: usize = 64;

/// What the connections of one user are to join and to leave. Each room is named once, is of the user's organisation, and is none of the
/// kinds `org` and `user`: every connection is in its own two of these, and stays in them. Whether a connection may join is not said by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomOperation {
    organisation: Id,
    user: UserId,
    join: Vec<Room>,
    leave: Vec<Room>,
}

/// What an operation has changed, each room counted once for each connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RoomChanges {
    pub joined: usize,
    pub left: usize,
    /// Not joined: the connection may not, or holds as many as it may.
    pub refused: usize,
}

/// Why there is no such operation. With the room as it was written, where it is about one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoomOperation {
    #[error("join and leave name no room")]
    Empty,
    #[error("{0} names more than {MAX_OPERATED_ROOMS} rooms")]
    TooMany(&'static str),
    #[error("{0}: {1}")]
    Name(String, InvalidRoomName),
    #[error(
        "{0}: every connection is in its organisation's room and its user's, and in no other of these kinds"
    )]
    Own(String),
    #[error("{0} is named twice")]
    Twice(String),
}

impl RoomOperation {
    /// Rooms are written `channel:7`.
    ///
    /// # Errors
    ///
    /// One that is none, may not be joined or left by others, or is named twice; none, or too many.
    pub fn new(
        organisation: Id,
        user: UserId,
        join: &[impl AsRef<str>],
        leave: &[impl AsRef<str>],
    ) -> Result<Self, InvalidRoomOperation> {
        for (list, length) in [("join", join.len()), ("leave", leave.len())] {
            if length > MAX_OPERATED_ROOMS {
                return Err(InvalidRoomOperation::TooMany(list));
            }
        }
        let mut seen = BTreeSet::new();
        let mut read = |name: &str| {
            let room = Room::named(&organisation, name)
                .map_err(|why| InvalidRoomOperation::Name(name.to_owned(), why))?;
            if !room.kind.has_whole() {
                return Err(InvalidRoomOperation::Own(name.to_owned()));
            }
            if !seen.insert(room.clone()) {
                return Err(InvalidRoomOperation::Twice(name.to_owned()));
            }
            Ok(room)
        };
        let join = join.iter().map(|name| read(name.as_ref()));
        let join: Vec<_> = join.collect::<Result<_, _>>()?;
        let leave = leave.iter().map(|name| read(name.as_ref()));
        let leave: Vec<_> = leave.collect::<Result<_, _>>()?;
        if join.is_empty() && leave.is_empty() {
            return Err(InvalidRoomOperation::Empty);
        }
        Ok(Self {
            organisation,
            user,
            join,
            leave,
        })
    }

    pub fn organisation(&self) -> &Id {
        &self.organisation
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// None of them is among those to leave.
    pub fn join(&self) -> &[Room] {
        &self.join
    }

    pub fn leave(&self) -> &[Room] {
        &self.leave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(join: &[&str], leave: &[&str]) -> Result<RoomOperation, InvalidRoomOperation> {
        let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
        RoomOperation::new(organisation, user, join, leave)
    }

    #[test]
    fn an_operation_names_each_room_once_and_rooms_that_can_be_joined_and_left() {
        let read = operation(&["channel:7", "asset:*"], &["incident:5:org:o1"]).unwrap();
        let names = |rooms: &[Room]| rooms.iter().map(Room::name).collect::<Vec<_>>();
        assert_eq!(names(read.join()), ["channel:7", "asset:*"]);
        assert_eq!(names(read.leave()), ["incident:5"]);
        for own in ["org:o1", "user:u1", "user:u2", "user:u1:org:o1"] {
            let wrong = Err(InvalidRoomOperation::Own(own.to_owned()));
            assert_eq!(operation(&[], &[own]), wrong);
            assert_eq!(operation(&[own], &[]), wrong);
        }
        let twice = Err(InvalidRoomOperation::Twice("channel:7:org:o1".to_owned()));
        assert_eq!(operation(&["channel:7", "channel:7:org:o1"], &[]), twice);
        assert_eq!(operation(&["channel:7"], &["channel:7:org:o1"]), twice);
        for foreign in ["channel:7:org:o2", "org:o2"] {
            let wrong = InvalidRoomName::Foreign;
            let wrong = Err(InvalidRoomOperation::Name(foreign.to_owned(), wrong));
            assert_eq!(operation(&["channel:7"], &[foreign]), wrong);
        }
        assert_eq!(operation(&[], &[]), Err(InvalidRoomOperation::Empty));
    }

    #[test]
    fn each_list_has_its_own_limit() {
        let names = |kind: &str, count| -> Vec<String> {
            (0..count).map(|nth| format!("{kind}:{nth}")).collect()
        };
        let of = |join: usize, leave: usize| {
            let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
            let (join, leave) = (names("channel", join), names("asset", leave));
            RoomOperation::new(organisation, user, &join, &leave).map(drop)
        };
        assert_eq!(of(64, 64), Ok(()));
        assert_eq!(of(65, 0), Err(InvalidRoomOperation::TooMany("join")));
        assert_eq!(of(1, 65), Err(InvalidRoomOperation::TooMany("leave")));
    }
}
