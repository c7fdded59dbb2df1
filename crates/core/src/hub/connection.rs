//! A connection as the hub knows it: which rooms it holds, and whether it is pushed to or fed from the log.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::cursor::Cursor;
use crate::domain::protocol::{ResyncReason, RevokeReason};
use crate::domain::room::Room;

use super::OrganisationKey;
use super::conflate::Ahead;
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
    /// Of what was appended up to this one it was given nothing: it came without a past then, or was told to resync. `None`: it was
    /// resumed.
    pub(super) began: Option<u64>,
    /// Rooms of which the newest records are still owed; see [`Turn::recall`](super::replay::Turn::recall). Each room once,
    /// all of them held. While there are any the connection lags.
    pub(super) recalls: Vec<Recall>,
    /// The fan-out that reached this connection last: several rooms of one event deliver it once.
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
    /// Rooms whose newest records were asked for while `own` was there: the client has what it covers of the others, but of
    /// these it has nothing, so records of class `latest` go out whether covered or not.
    pub(super) uncovered: Vec<Room>,
    /// What was given before its turn.
    pub(super) ahead: Ahead,
}

impl Lag {
    /// Everything from here on is owed.
    pub(super) fn from(next: u64) -> Self {
        Self {
            next,
            own: None,
            uncovered: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    /// The newest of the room is asked for, whatever was given before its turn.
    pub(super) fn asked_newest(&mut self, room: &Room) {
        self.ahead = Ahead::default();
        if self.own.is_some() && !self.uncovered.contains(room) {
            self.uncovered.push(room.clone());
        }
    }
}

/// The newest records of a room are owed, in the order in which they were appended.
#[derive(Debug)]
pub(super) struct Recall {
    pub(super) room: Room,
    /// The next sequence number to look at.
    pub(super) next: u64,
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

    /// Begins with the newest records of a room, anew if it was at them.
    pub(super) fn recall(&mut self, room: &Room) {
        self.recalls.retain(|recall| recall.room != *room);
        self.recalls.push(Recall {
            room: room.clone(),
            next: 0,
        });
    }

    /// How things stand was asked, and the answer is not complete: some of it was not handed out, or not even read here.
    /// The `cursor` item that was asked for behind it says that it is, so it waits.
    pub(super) fn is_owed_newest(&self) -> bool {
        let unread = match &self.state {
            State::Lagging(lag) => !lag.uncovered.is_empty(),
            State::Live => false,
        };
        unread || !self.recalls.is_empty()
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

    /// Whether this fan-out has not reached the connection by another room. True once for each.
    pub(super) fn is_first_of(&mut self, fan_out: u64) -> bool {
        std::mem::replace(&mut self.stamp, fan_out) != fan_out
    }

    /// Its welcome has gone out.
    pub(super) fn is_welcomed(&self) -> bool {
        !(self.controls.iter()).any(|control| matches!(control, Control::Welcome(_)))
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    pub(super) fn holds(&self, room: &Room) -> bool {
        self.rooms.contains(room)
    }
}
