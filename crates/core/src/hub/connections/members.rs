//! How connections come, join rooms, leave them, and go.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Connection, ConnectionState, Control, Details, Lag, RevokedRooms, Schedule};
use crate::domain::cursor::Cursor;
use crate::domain::id::Id;
use crate::domain::protocol::{GrantReason, ResyncReason, RevokeReason};
use crate::domain::room::Room;
use crate::hub::outlet::Outlet;
use crate::hub::resume::Resumption;
use crate::hub::{ConnectionKey, Hub, Now};

/// How a connection starts.
#[derive(Debug, Clone)]
pub enum Start {
    Fresh,
    /// From a cursor that [`Hub::inspect`] accepted, and its text.
    Resume(Cursor, Arc<str>),
    Resync(ResyncReason),
}

impl Start {
    pub fn resumption(&self) -> Resumption {
        match self {
            Self::Fresh => Resumption::Fresh,
            Self::Resume(..) => Resumption::Resumed,
            Self::Resync(reason) => Resumption::Resync(*reason),
        }
    }
}

impl<O: Outlet> Hub<O> {
    /// Adds a connection. It holds `rooms` (all of `organisation`, each once) from this moment on; its welcome, and what
    /// it missed, goes out in turns.
    pub fn connect(
        &mut self,
        organisation: &Id,
        rooms: Vec<Room>,
        start: Start,
        outlet: O,
        now: Now,
    ) -> ConnectionKey {
        let organisation = self.organisation(organisation);
        let log = &mut self.organisations[organisation];
        log.connections += 1;
        let head = log.head();
        let from = |next, cursor_vector| Lag {
            cursor_vector,
            ..Lag::from(next)
        };
        let resumption = start.resumption();
        let (lag, last) = match start {
            Start::Resume(cursor, text) => {
                let first = log.first_after(&cursor, &self.positions);
                (from(first, Some(cursor)), text)
            }
            Start::Fresh | Start::Resync(_) => (from(head, None), Arc::from("")),
        };
        self.counts.starts[resumption.index()] += 1;
        let mut controls = VecDeque::from([Control::Welcome(resumption)]);
        if self.contact.stale {
            controls.push_back(Control::Stale);
        }
        let details = Details {
            organisation,
            rooms,
            revoked: RevokedRooms::default(),
            granted: Vec::new(),
            joined: Vec::new(),
            controls,
            last,
            live_from: head,
            started_after: (resumption == Resumption::Fresh).then_some(self.appends),
            snapshots: Vec::new(),
            contact_changes: self.contact.changes,
        };
        let key = self.connections.insert(Connection {
            outlet,
            stamp: 0,
            last_at: now.monotonic,
            state: ConnectionState::lagging(lag),
            epoch: self.resyncs.epoch(),
            schedule: Schedule::Idle,
            details: Box::new(details),
        });
        for room in &mut self.connections[key].details.rooms {
            *room = log.join(room, key);
        }
        self.with_turn(key, now, |turn, connection| match resumption {
            Resumption::Fresh => connection.details.last = turn.shared_cursor(),
            Resumption::Resumed => {}
            Resumption::Resync(reason) => turn.resync(connection, reason),
        });
        self.schedule(key);
        key
    }

    /// Joins a room from the connection's own position on. False if it was held before: then nothing changes.
    pub fn subscribe(&mut self, key: ConnectionKey, room: &Room, now: Now) -> bool {
        self.see_to(key, now);
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        if connection.holds(room) {
            return false;
        }
        let log = &mut self.organisations[connection.details.organisation];
        let overtaken = match &connection.state {
            ConnectionState::Lagging(lag) => lag.next < log.first(),
            ConnectionState::Live => false,
        };
        let room = log.join(room, key);
        if let Some(reason) = connection.details.revoked.joined_again(&room) {
            let controls = &mut connection.details.controls;
            controls.retain(|control| *control != Control::Revoked(reason));
        }
        connection.details.rooms.push(room);
        if overtaken {
            // Whether the room had something between the connection's position and the window is no longer known.
            self.with_turn(key, now, |turn, connection| {
                turn.resync(connection, ResyncReason::Evicted);
            });
            self.schedule(key);
        }
        true
    }

    /// Joins a room as [`subscribe`](Self::subscribe) does, and has its snapshot sent before anything else of the log; if the room
    /// was held before, the snapshot is sent again. Returns how many keys are in it.
    pub fn subscribe_latest(&mut self, key: ConnectionKey, room: &Room, now: Now) -> usize {
        self.subscribe(key, room, now);
        let Some(connection) = self.connections.get_mut(key) else {
            return 0;
        };
        let log = &self.organisations[connection.details.organisation];
        connection.turn_lagging(log, log.head());
        if let ConnectionState::Lagging(lag) = &mut connection.state {
            lag.on_snapshot_request(room);
        }
        connection.request_snapshot(room);
        let keys = log.snapshot.keys_of(room);
        self.schedule(key);
        keys
    }

    /// Joins rooms as [`subscribe`](Self::subscribe) does, and notifies the connection in its feed, before anything of these rooms: a client
    /// that does not know of a room would not ask for it when it resumes. Returns how many it did not hold.
    pub fn join(&mut self, key: ConnectionKey, rooms: &[Room], now: Now) -> usize {
        let mut count = 0;
        for room in rooms {
            if self.subscribe(key, room, now) {
                count += 1;
                self.connections[key].details.joined.push(room.clone());
            }
        }
        if count > 0 {
            self.control(key, Control::Joined, now);
        }
        count
    }

    /// Leaves a room. False if it was not held.
    pub fn unsubscribe(&mut self, key: ConnectionKey, room: &Room) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(at) = connection
            .details
            .rooms
            .iter()
            .position(|held| held == room)
        else {
            return false;
        };
        connection.details.rooms.remove(at);
        connection
            .details
            .snapshots
            .retain(|pending| pending.room != *room);
        connection.details.joined.retain(|joined| joined != room);
        if connection.details.joined.is_empty() {
            let controls = &mut connection.details.controls;
            controls.retain(|control| *control != Control::Joined);
        }
        self.organisations[connection.details.organisation].leave(room, key);
        true
    }

    /// Removes a connection from rooms, and notifies it in its feed. Nothing more of these rooms is sent, not even what was pending;
    /// of its other rooms everything is. Returns how many of the rooms it held.
    pub fn revoke(
        &mut self,
        key: ConnectionKey,
        rooms: &[Room],
        reason: RevokeReason,
        now: Now,
    ) -> usize {
        let mut count = 0;
        for room in rooms {
            if !self.unsubscribe(key, room) {
                continue;
            }
            count += 1;
            let revoked = &mut self.connections[key].details.revoked;
            revoked.add(reason, room.clone());
        }
        if count > 0 {
            self.control(key, Control::Revoked(reason), now);
        }
        count
    }

    /// Notifies the connection, in its feed, that it may join rooms. It holds none of them by that.
    pub fn grant(&mut self, key: ConnectionKey, rooms: &[Room], reason: GrantReason, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let details = &mut connection.details;
        for room in rooms {
            if !details.granted.contains(room) {
                details.granted.push(room.clone());
            }
        }
        // Behind the notice of what was revoked: of a room that is in both, the grant is the newer one.
        let is_granted = |control: &Control| matches!(control, Control::Granted(_));
        details.controls.retain(|control| !is_granted(control));
        if !details.granted.is_empty() {
            self.control(key, Control::Granted(reason), now);
        }
    }

    /// Grants were withdrawn: a notice of such rooms that has not gone out is taken back.
    pub fn ungrant(&mut self, key: ConnectionKey, is_withdrawn: impl Fn(&Room) -> bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let details = &mut connection.details;
        details.granted.retain(|room| !is_withdrawn(room));
        if details.granted.is_empty() {
            let is_granted = |control: &Control| matches!(control, Control::Granted(_));
            details.controls.retain(|control| !is_granted(control));
        }
    }

    /// Notifies the connection, in its feed, that its token expires soon.
    pub fn token_expiring(&mut self, key: ConnectionKey, now: Now) {
        self.control(key, Control::TokenExpiring, now);
    }

    /// Another token has taken its place: a notice of the one before that has not gone out is withdrawn.
    pub fn token_renewed(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            let controls = &mut connection.details.controls;
            controls.retain(|control| *control != Control::TokenExpiring);
        }
    }

    /// The rooms that the connection holds, in the order in which it joined them.
    pub fn rooms(&self, key: ConnectionKey) -> &[Room] {
        self.connections
            .get(key)
            .map_or(&[], |connection| &connection.details.rooms)
    }

    /// How many rooms the connection has lost without having been notified of it.
    pub fn revoked_rooms(&self, key: ConnectionKey) -> usize {
        let connection = self.connections.get(key);
        connection.map_or(0, |connection| connection.details.revoked.len())
    }

    /// Whether the connection is fed from the window, because it could not keep up or is being resumed. `None`: there is no such
    /// connection.
    pub fn is_lagging(&self, key: ConnectionKey) -> Option<bool> {
        let connection = self.connections.get(key)?;
        Some(!connection.is_live())
    }

    /// The connection has ended.
    pub fn close(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.remove(key) else {
            return;
        };
        let log = &mut self.organisations[connection.details.organisation];
        log.connections -= 1;
        for room in &connection.details.rooms {
            log.leave(room, key);
        }
    }
}
