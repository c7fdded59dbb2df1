//! Connections: which rooms each holds, and whether it is offered what is appended or fed from the window.
//!
//! [`members`] is how they come, join, leave and go; [`resume`] judges the cursors that they come with; [`visits`] brings them what
//! concerns all of them, and [`resyncs`] sees to it that a resync for all comes before anything else. `revoked`: rooms that it lost.

mod members;
pub mod resume;
pub(in crate::hub) mod resyncs;
mod revoked;
pub(in crate::hub) mod visits;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::cursor::Cursor;
use crate::domain::protocol::{GrantReason, ResyncReason, RevokeReason};
use crate::domain::room::Room;

use crate::hub::OrganisationKey;
use crate::hub::delivery::conflate::SentEarly;
use crate::hub::window::OrganisationLog;
use resume::Resumption;
use revoked::RevokedRooms;

pub use members::Start;

/// What a fan-out looks at, for each member of a room: it lies in one place, and all else elsewhere.
#[derive(Debug)]
pub(in crate::hub) struct Connection<O> {
    pub(in crate::hub) outlet: O,
    /// The fan-out that reached this connection last: several rooms of one event deliver it once.
    pub(in crate::hub) stamp: u64,
    /// Monotonic time at which an item with a cursor was sent last.
    pub(in crate::hub) last_at: u64,
    pub(in crate::hub) state: ConnectionState,
    /// Of [`Resyncs`](resyncs::Resyncs): up to which it was seen to.
    pub(in crate::hub) epoch: u32,
    pub(in crate::hub) schedule: Schedule,
    pub(in crate::hub) details: Box<Details>,
}

/// The part of a connection that is not looked at for each event.
#[derive(Debug)]
pub(in crate::hub) struct Details {
    pub(in crate::hub) organisation: OrganisationKey,
    pub(in crate::hub) rooms: Vec<Room>,
    /// Until the client is notified.
    pub(in crate::hub) revoked: RevokedRooms,
    /// Rooms that were granted, likewise; none that was revoked since.
    pub(in crate::hub) granted: Vec<Room>,
    /// Rooms that the connection has joined by [`Hub::join`](super::Hub::join), likewise; all of them held.
    pub(in crate::hub) joined: Vec<Room>,
    /// Items that are not publications; they go out before anything of the log. Bounded: see [`Connection::push`].
    pub(in crate::hub) controls: VecDeque<Control>,
    /// The cursor that was sent last before the connection turned live. Kept up to date while it lags; see
    /// [`Connection::turn_lagging`].
    pub(in crate::hub) last: Arc<str>,
    /// The organisation's head when the connection turned live.
    pub(in crate::hub) live_from: u64,
    /// The last append before this connection started fresh, or was resynced. `None`: it was resumed.
    pub(in crate::hub) started_after: Option<u64>,
    /// Rooms whose snapshot is not sent completely; see [`Turn::send_snapshots`](super::delivery::turn::Turn::send_snapshots). Each
    /// room once, all of them held. While there are any the connection lags.
    pub(in crate::hub) snapshots: Vec<PendingSnapshot>,
    /// Of [`LogContact`](super::LogContact), when it was notified last.
    pub(in crate::hub) contact_changes: u32,
}

#[derive(Debug)]
pub(in crate::hub) enum ConnectionState {
    /// Each publication is offered as it is appended. Nothing of the window is pending.
    Live,
    Lagging(Box<Lag>),
}

impl ConnectionState {
    pub(in crate::hub) fn lagging(lag: Lag) -> Self {
        Self::Lagging(Box::new(lag))
    }
}

/// What a connection that is fed from the log still needs.
#[derive(Debug)]
pub(in crate::hub) struct Lag {
    /// The next entry of the organisation's log to look at.
    pub(in crate::hub) next: u64,
    /// The cursor vector that a client resumed with, until this instance's positions dominate it. What it covers was delivered by
    /// another instance (or before), so it is skipped.
    pub(in crate::hub) cursor_vector: Option<Cursor>,
    /// Rooms whose snapshot was asked for while there was a cursor vector: of the other rooms the client has what the vector
    /// covers, but of these it has nothing, so records of class `latest` are sent whether covered or not.
    pub(in crate::hub) uncovered: Vec<Room>,
    /// Records that were sent in the place of older ones of their key.
    pub(in crate::hub) sent_early: SentEarly,
}

impl Lag {
    /// Everything from here on is to be sent.
    pub(in crate::hub) fn from(next: u64) -> Self {
        Self {
            next,
            cursor_vector: None,
            uncovered: Vec::new(),
            sent_early: SentEarly::default(),
        }
    }

    /// The snapshot of the room is asked for: it is sent whatever was sent early.
    pub(in crate::hub) fn on_snapshot_request(&mut self, room: &Room) {
        self.sent_early = SentEarly::default();
        if self.cursor_vector.is_some() && !self.uncovered.contains(room) {
            self.uncovered.push(room.clone());
        }
    }
}

/// The snapshot of a room is being sent, in the order in which its records were appended.
#[derive(Debug)]
pub(in crate::hub) struct PendingSnapshot {
    pub(in crate::hub) room: Room,
    /// The next sequence number to look at.
    pub(in crate::hub) next: u64,
}

/// Whether the connection waits for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Schedule {
    /// Nothing to do until something is appended.
    Idle,
    /// In the queue of turns.
    Queued,
    /// Its outlet was full; [`Hub::ready`](super::Hub::ready) queues it again.
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Control {
    Welcome(Resumption),
    Resync(ResyncReason),
    /// The rooms are in [`Details::revoked`].
    Revoked(RevokeReason),
    /// The rooms are in [`Details::granted`].
    Granted(GrantReason),
    /// The rooms are in [`Details::joined`].
    Joined,
    /// See [`Hub::token_expiring`](super::Hub::token_expiring).
    TokenExpiring,
    Cursor,
    /// Whether the log can be read is looked up when the item is sent: only the latest state counts.
    Stale,
}

impl<O> Connection<O> {
    /// At most one of each kind is pending, and of revocations one for each reason: a second cursor or resync says nothing that the
    /// first one will not say.
    pub(in crate::hub) fn push(&mut self, control: Control) {
        let same = |waiting: &Control| match (waiting, &control) {
            (Control::Revoked(reason), Control::Revoked(other)) => reason == other,
            _ => std::mem::discriminant(waiting) == std::mem::discriminant(&control),
        };
        if !self.details.controls.iter().any(same) {
            self.details.controls.push_back(control);
        }
    }

    /// Starts to send the snapshot of a room, or starts over.
    pub(in crate::hub) fn request_snapshot(&mut self, room: &Room) {
        self.details
            .snapshots
            .retain(|pending| pending.room != *room);
        self.details.snapshots.push(PendingSnapshot {
            room: room.clone(),
            next: 0,
        });
    }

    /// A snapshot was asked for and is not complete: some of it was not sent, or not even read here. The `cursor` item that was
    /// asked for behind it says that it is, so that waits.
    pub(in crate::hub) fn has_incomplete_snapshot(&self) -> bool {
        let unread = match &self.state {
            ConnectionState::Lagging(lag) => !lag.uncovered.is_empty(),
            ConnectionState::Live => false,
        };
        unread || !self.details.snapshots.is_empty()
    }

    /// What is pending and stays true after a resync: rooms that were revoked, granted or joined, a token that
    /// expires, and that the log cannot be read.
    pub(in crate::hub) fn kept_on_resync(&self) -> Vec<Control> {
        let stays = |control: &&Control| match control {
            Control::Revoked(_)
            | Control::Granted(_)
            | Control::Joined
            | Control::TokenExpiring
            | Control::Stale => true,
            Control::Welcome(_) | Control::Resync(_) | Control::Cursor => false,
        };
        self.details
            .controls
            .iter()
            .filter(stays)
            .copied()
            .collect()
    }

    /// Whether this fan-out has not reached the connection by another room. True once for each fan-out.
    pub(in crate::hub) fn is_first_of(&mut self, fan_out: u64) -> bool {
        std::mem::replace(&mut self.stamp, fan_out) != fan_out
    }

    /// Its welcome has gone out.
    pub(in crate::hub) fn is_welcomed(&self) -> bool {
        !(self.details.controls.iter()).any(|control| matches!(control, Control::Welcome(_)))
    }

    /// From this entry on, the newest or the next one, it is fed from the window. If it lags already it stays where it is.
    ///
    /// While it was live its cursor was not written down for each event. It has been sent all that was appended before the entry, so
    /// the cursor of the one before that is true for it. If that was appended while it was live, it is at least as new as all that
    /// was sent to it since, and newer than what was sent before. If not, nothing was sent since the connection turned live, and what
    /// was sent last by then may be newer: a `cursor` item covers what was read after the last append. So no cursor goes back, and
    /// none is older than the last event that the connection received: it is resumed for as long as it would be from that.
    pub(in crate::hub) fn turn_lagging(&mut self, log: &OrganisationLog, next: u64) {
        if !self.is_live() {
            return;
        }
        if next > self.details.live_from {
            self.details.last = log.cursor_before(next);
        }
        self.state = ConnectionState::lagging(Lag::from(next));
    }

    pub(in crate::hub) fn is_live(&self) -> bool {
        matches!(self.state, ConnectionState::Live)
    }

    pub(in crate::hub) fn holds(&self, room: &Room) -> bool {
        self.details.rooms.contains(room)
    }
}
