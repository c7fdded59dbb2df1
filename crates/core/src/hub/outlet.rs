//! The hub's only view of a connection's way out.

use std::sync::Arc;

use crate::domain::protocol::{ResyncReason, RevokeReason};
use crate::domain::publication::Publication;
use crate::domain::room::Room;

/// How a connection began, as its welcome says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "the words of the contract: fresh, resumed, resync"
)]
pub enum Resumed {
    Fresh,
    Resumed,
    Resync,
}

impl Resumed {
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Resumed, Self::Resync];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Resumed => "resumed",
            Self::Resync => "resync",
        }
    }
}

/// One item of a connection's feed. Each carries the cursor that is true once the client has it.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// The first item of every connection.
    Welcome {
        resumed: Resumed,
        rooms: &'a [Room],
        window_seconds: u64,
        cursor: &'a Arc<str>,
    },
    /// Something was missed: the client must load its state anew.
    Resync {
        reason: ResyncReason,
        rooms: &'a [Room],
        cursor: &'a Arc<str>,
    },
    /// Rooms that the connection holds no longer, and not because it asked for that.
    Revoked {
        reason: RevokeReason,
        rooms: &'a [Room],
        cursor: &'a Arc<str>,
    },
    /// Nothing but a newer cursor.
    Cursor { cursor: &'a Arc<str> },
    /// The log cannot be read at present, or can be again; `since` is wall time in milliseconds.
    Stale {
        stale: bool,
        since: u64,
        cursor: &'a Arc<str>,
    },
    Publication {
        publication: &'a Arc<Publication>,
        cursor: &'a Arc<str>,
    },
    /// The newest record of a key, for who asked how things stand: state, no news. The cursor is the connection's own.
    Newest {
        publication: &'a Arc<Publication>,
        cursor: &'a Arc<str>,
    },
}

/// What became of an offered item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// On its way, or the connection is closing anyway and the client will resume.
    Taken,
    /// No room. The hub offers it again after [`Hub::ready`](super::Hub::ready).
    Full,
}

/// A bounded way out that never blocks. An empty one takes any one item.
pub trait Outlet {
    fn offer(&mut self, item: Item<'_>) -> Offered;
}

impl<T: Outlet + ?Sized> Outlet for Box<T> {
    fn offer(&mut self, item: Item<'_>) -> Offered {
        (**self).offer(item)
    }
}
