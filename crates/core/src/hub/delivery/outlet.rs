//! The outlet: the hub's only view of a transport.

use std::sync::Arc;

use crate::domain::protocol::{GrantReason, ResyncReason, RevokeReason};
use crate::domain::publication::{Ephemeral, Publication};
use crate::domain::room::Room;

use crate::hub::resume::Resumption;
pub use crate::hub::window::entry::Entry;

/// One item of a connection's feed. Each carries the cursor that is true once the client has it, but for ephemeral events and
/// [`TokenExpiring`](ControlItem::TokenExpiring).
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A record of the log, live or replayed.
    Publication(Delivery<'a>),
    /// The newest record of a key, for a subscription that asked for the state. The window may have evicted it. The cursor is the
    /// connection's own.
    Snapshot {
        publication: &'a Arc<Publication>,
        cursor: &'a Arc<str>,
    },
    /// An event without a position in any log. It is offered once: `Full` drops it. It moves no cursor, and its last argument on
    /// the wire is null.
    Ephemeral(&'a Arc<Ephemeral>),
    Control(ControlItem<'a>),
}

/// An entry of the window, and which cursor a connection gets with it.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    pub entry: &'a Arc<Entry>,
    pub cursor: DeliveryCursor<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum DeliveryCursor<'a> {
    /// The entry's own, whose bytes all live connections share.
    Shared,
    /// Encoded for this connection alone: it merges the cursor that it resumed with, or the entry is sent before its turn.
    Own(&'a Arc<str>),
}

impl<'a> Delivery<'a> {
    pub fn publication(&self) -> &'a Arc<Publication> {
        self.entry.publication()
    }

    /// The cursor that is true for the connection once the client has the publication.
    pub fn cursor(&self) -> &'a Arc<str> {
        match self.cursor {
            DeliveryCursor::Shared => self.entry.cursor(),
            DeliveryCursor::Own(cursor) => cursor,
        }
    }
}

/// What the server says on its own account.
#[derive(Debug, Clone, Copy)]
pub enum ControlItem<'a> {
    /// The first item of every connection.
    Welcome {
        resumption: Resumption,
        rooms: &'a [Room],
        window_seconds: u64,
        cursor: &'a Arc<str>,
    },
    /// Something was missed: the client must load its state again.
    Resync {
        reason: ResyncReason,
        rooms: &'a [Room],
        cursor: &'a Arc<str>,
    },
    /// The connection has left these rooms, and not because it asked for that.
    Revoked {
        reason: RevokeReason,
        rooms: &'a [Room],
        cursor: &'a Arc<str>,
    },
    /// The connection may join these rooms, which its token does not allow; or it has joined them, and not because it asked for that.
    Granted {
        reason: GrantReason,
        rooms: &'a [Room],
        cursor: &'a Arc<str>,
    },
    /// The token that the connection holds expires soon: when, its session knows.
    TokenExpiring,
    /// Nothing but a newer cursor.
    Cursor { cursor: &'a Arc<str> },
    /// The log cannot be read at present, or can be again; `since` is wall time in milliseconds.
    Stale {
        stale: bool,
        since: u64,
        cursor: &'a Arc<str>,
    },
}

/// What became of an offered item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// On its way, or the connection is closing anyway and the client will resume.
    Taken,
    /// No capacity. The hub offers it again after [`Hub::ready`](crate::hub::Hub::ready).
    Full,
}

/// A bounded queue towards one client that never blocks. An empty one takes any one item.
pub trait Outlet {
    /// What all outlets of one fan-out share: an event encoded once for each wire format. It lives as long as the fan-out.
    type Shared: Default;

    fn offer(&mut self, item: Item<'_>) -> Offered;

    /// This outlet will soon be offered something: to have its memory at hand by then. A fan-out looks ahead for some members at once.
    fn look_ahead(&self) {}

    /// As [`offer`](Self::offer), of an entry that all live members of its rooms are offered, each with the entry's own cursor.
    fn offer_shared(&mut self, entry: &Arc<Entry>, _shared: &mut Self::Shared) -> Offered {
        self.offer(Item::Publication(Delivery {
            entry,
            cursor: DeliveryCursor::Shared,
        }))
    }

    /// As [`offer`](Self::offer), of an ephemeral event that all members of its rooms are offered.
    fn offer_ephemeral(
        &mut self,
        ephemeral: &Arc<Ephemeral>,
        _shared: &mut Self::Shared,
    ) -> Offered {
        self.offer(Item::Ephemeral(ephemeral))
    }
}

impl<T: Outlet + ?Sized> Outlet for Box<T> {
    type Shared = T::Shared;

    fn offer(&mut self, item: Item<'_>) -> Offered {
        (**self).offer(item)
    }

    fn look_ahead(&self) {
        (**self).look_ahead();
    }

    fn offer_shared(&mut self, entry: &Arc<Entry>, shared: &mut Self::Shared) -> Offered {
        (**self).offer_shared(entry, shared)
    }

    fn offer_ephemeral(
        &mut self,
        ephemeral: &Arc<Ephemeral>,
        shared: &mut Self::Shared,
    ) -> Offered {
        (**self).offer_ephemeral(ephemeral, shared)
    }
}
