//! Rooms that a connection has lost and was not notified of.

use crate::domain::protocol::RevokeReason;
use crate::domain::room::Room;

/// By reason, each reason once and with at least one room. Each room once, none of them held: code that lets a client join rooms
/// counts these too, or a client that does not read would have more and more of them kept.
#[derive(Debug, Default)]
pub(in crate::hub) struct RevokedRooms(Vec<(RevokeReason, Vec<Room>)>);

impl RevokedRooms {
    /// The room, which was held until now, is revoked.
    pub(in crate::hub) fn add(&mut self, reason: RevokeReason, room: Room) {
        match self.0.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, rooms)) => rooms.push(room),
            None => self.0.push((reason, vec![room])),
        }
    }

    /// The room is held again, so there is nothing to be said of it. Returns the reason that has no room any more by this.
    pub(in crate::hub) fn joined_again(&mut self, room: &Room) -> Option<RevokeReason> {
        let with_room = |(_, rooms): &(RevokeReason, Vec<Room>)| rooms.contains(room);
        let at = self.0.iter().position(with_room)?;
        let (reason, rooms) = &mut self.0[at];
        rooms.retain(|other| other != room);
        let (reason, is_empty) = (*reason, rooms.is_empty());
        if is_empty {
            self.0.remove(at);
        }
        is_empty.then_some(reason)
    }

    pub(in crate::hub) fn of(&self, reason: RevokeReason) -> &[Room] {
        let found = self.0.iter().find(|(other, _)| *other == reason);
        found.map_or(&[], |(_, rooms)| rooms)
    }

    pub(in crate::hub) fn notified(&mut self, reason: RevokeReason) {
        self.0.retain(|(other, _)| *other != reason);
    }

    pub(in crate::hub) fn len(&self) -> usize {
        self.0.iter().map(|(_, rooms)| rooms.len()).sum()
    }
}
