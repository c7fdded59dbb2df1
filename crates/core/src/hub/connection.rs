//! A connection as the hub knows it: which rooms it holds, and whether it is pushed to or fed from the log.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::cursor::Cursor;
use crate::domain::protocol::{ResyncReason, RevokeReason};
use crate::domain::room::Room;

use super::OrganisationKey;
use super::outlet::Resumed;

#[derive(Debug)]
pub(super) struct Connection<O> {
    pub(super) outlet: O,
    pub(super) organisation: OrganisationKey,
    pub(super) rooms: Vec<Room>,
    /// Rooms that were taken away, until it is told of them. At most as many as it could hold.
    pub(super) revoked: Vec<Room>,
    pub(super) state: State,
    /// Items that are not publications; they go out before anything of the log. Bounded: see [`Connection::push`].
    pub(super) controls: VecDeque<Control>,
    /// The cursor that was handed out last.
    pub(super) last: Arc<str>,
    /// Monotonic time of that.
    pub(super) last_at: u64,
    /// The append that reached this connection last: several rooms of one publication deliver it once.
    pub(super) stamp: u64,
    pub(super) schedule: Schedule,
}

#[derive(Debug)]
pub(super) enum State {
    /// Each publication is offered as it is appended. Nothing is owed.
    Live,
    Lagging(Lag),
}

/// What a connection that is fed from the log still needs.
#[derive(Debug)]
pub(super) struct Lag {
    /// The next entry of the organisation's log to look at.
    pub(super) next: u64,
    /// The vector that a resumed client came with, until this instance's positions dominate it. What it covers was
    /// delivered by another instance (or before), so it is skipped.
    pub(super) own: Option<Cursor>,
}

/// Whether the connection waits for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    /// Nothing to do until something is appended.
    Idle,
    /// In the queue of turns.
    Queued,
    /// Its outlet was full; [`Hub::ready`](super::Hub::ready) queues it again.
    Blocked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Welcome(Resumed),
    Resync(ResyncReason),
    /// Of `revoked`.
    Revoked(RevokeReason),
    Cursor,
    /// Whether the log can be read is looked up when it goes out: only the latest state counts.
    Stale,
}

impl<O> Connection<O> {
    /// At most one of each kind waits: a second cursor or resync says nothing that the first one will not say.
    pub(super) fn push(&mut self, control: Control) {
        let same =
            |waiting: &Control| std::mem::discriminant(waiting) == std::mem::discriminant(&control);
        if !self.controls.iter().any(same) {
            self.controls.push_back(control);
        }
    }

    /// What waits and stays true after a resync: that the log cannot be read, and rooms that were taken away.
    pub(super) fn other_news(&self) -> (Option<Control>, Option<Control>) {
        let waiting = |wanted: fn(&Control) -> bool| {
            let found = self.controls.iter().find(|control| wanted(control));
            found.copied()
        };
        (
            waiting(|control| matches!(control, Control::Stale)),
            waiting(|control| matches!(control, Control::Revoked(_))),
        )
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    pub(super) fn holds(&self, room: &Room) -> bool {
        self.rooms.contains(room)
    }
}
