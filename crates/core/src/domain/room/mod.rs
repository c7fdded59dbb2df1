//! Rooms: which connections receive an event, as a value.

mod named;
mod request;

use std::fmt;
use std::sync::Arc;

use super::id::{Id, InvalidId, InvalidUserId, UserId};
pub use named::InvalidRoomName;
pub use request::{BadRooms, Caller, RoomRequest};

/// What a room is about: `org`, `user`, `channel`, `incident`, `asset`, or a kind that a profile names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(Arc<str>);

impl Kind {
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Id::parse(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The room that every connection of an organisation is in.
    pub fn organisation() -> Self {
        Self(Arc::from("org"))
    }

    /// The room of one person.
    pub fn user() -> Self {
        Self(Arc::from("user"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_organisation(&self) -> bool {
        self.as_str() == "org"
    }

    pub fn is_user(&self) -> bool {
        self.as_str() == "user"
    }

    /// Whether a connection may be in all rooms of this kind at once.
    pub fn has_whole(&self) -> bool {
        !self.is_organisation() && !self.is_user()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A room of one organisation. Built from checked parts only, so no text from a client can name a foreign one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Room {
    pub organisation: Id,
    pub kind: Kind,
    pub which: Which,
}

/// Which rooms of a kind are meant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Which {
    /// For the kind `org` the organisation itself. Not of the kind `user`.
    One(Id),
    /// Of the kind `user`, and of no other.
    User(UserId),
    /// Every room of the kind, those that come to be later included. Written `*`, which is no [`Id`]: neither a record nor
    /// a claim can name it, and a client that does is judged by what it means.
    All,
}

/// The text names no room of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum InvalidRoomId {
    Id(#[from] InvalidId),
    User(#[from] InvalidUserId),
}

impl Which {
    /// How [`Which::All`] is written.
    pub const ALL: &'static str = "*";

    /// Of any kind but `user`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text == Self::ALL {
            Ok(Self::All)
        } else {
            Id::parse(text).map(Self::One)
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(id) => fmt::Display::fmt(id, formatter),
            Self::User(user) => fmt::Display::fmt(user, formatter),
            Self::All => formatter.write_str(Self::ALL),
        }
    }
}

impl Room {
    pub fn organisation(organisation: &Id) -> Self {
        Self {
            organisation: organisation.clone(),
            kind: Kind::organisation(),
            which: Which::One(organisation.clone()),
        }
    }

    pub fn user(organisation: &Id, user: &UserId) -> Self {
        Self {
            organisation: organisation.clone(),
            kind: Kind::user(),
            which: Which::User(user.clone()),
        }
    }

    /// What holds this room among all others of its kind. `None` for the kinds of which each connection has one room.
    pub fn whole(&self) -> Option<Self> {
        self.kind.has_whole().then(|| Self {
            organisation: self.organisation.clone(),
            kind: self.kind.clone(),
            which: Which::All,
        })
    }
}

/// `org:{organisation}` or `{kind}:{id}:org:{organisation}`: for people and logs, never parsed back into authority.
impl fmt::Display for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_organisation() {
            write!(formatter, "org:{}", self.organisation)
        } else {
            write!(
                formatter,
                "{}:{}:org:{}",
                self.kind, self.which, self.organisation
            )
        }
    }
}
