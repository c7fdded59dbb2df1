//! Rooms: who may hear what, as a value.

use std::fmt;
use std::sync::Arc;

use super::id::{Id, InvalidId};

/// What a room is about: `org`, `user`, `channel`, `incident`, `asset`, or a kind that a profile names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(Arc<str>);

impl Kind {
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Id::parse(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The room that everybody of an organisation is in.
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
    /// For the kind `org` the organisation itself.
    pub id: Id,
}

impl Room {
    pub fn organisation(organisation: &Id) -> Self {
        Self {
            organisation: organisation.clone(),
            kind: Kind::organisation(),
            id: organisation.clone(),
        }
    }

    pub fn user(organisation: &Id, user: &Id) -> Self {
        Self {
            organisation: organisation.clone(),
            kind: Kind::user(),
            id: user.clone(),
        }
    }
}

/// `org:{organisation}` or `{kind}:{id}:org:{organisation}`: for people and logs, never parsed back into authority.
impl fmt::Display for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.as_str() == "org" {
            write!(formatter, "org:{}", self.organisation)
        } else {
            write!(
                formatter,
                "{}:{}:org:{}",
                self.kind, self.id, self.organisation
            )
        }
    }
}
