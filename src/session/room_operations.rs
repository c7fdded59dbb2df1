//! Rooms that a back-end has connections join or leave: each joins what it may, as if its client had asked.

use fleetcast_core::domain::policy::Policy;
use fleetcast_core::domain::protocol::RevokeReason;
use fleetcast_core::domain::room::Room;
use fleetcast_core::domain::room_operation::{RoomChanges, RoomOperation};
use fleetcast_core::hub::{ConnectionKey, Hub, Now};

use super::{AnyOutlet, Session, Sessions};

/// So many connections are seen to under one lock: of each up to 128 rooms are looked for among some hundred.
const SLICE: usize = 8;

impl Sessions {
    /// Carries the operation out on all open connections of its user, and gives how many they are and what has changed. Those that come
    /// later are not concerned.
    pub async fn operate(&self, operation: &RoomOperation) -> (usize, RoomChanges) {
        let sessions = (self.open).of_user(operation.organisation(), operation.user());
        let mut all = RoomChanges::default();
        for slice in sessions.chunks(SLICE) {
            self.hub.with(|hub, now| {
                let rules = self.rules.load();
                for session in slice {
                    let Some(key) = session.key() else { continue };
                    let changes = session.operate(hub, key, &rules.policy, operation, now);
                    all.joined += changes.joined;
                    all.left += changes.left;
                    all.refused += changes.refused;
                }
            });
            tokio::task::yield_now().await;
        }
        (sessions.len(), all)
    }
}

impl Session {
    /// Leaves, then joins what it may and has space for; the client is notified of both in its feed. To be called under the hub's lock,
    /// with the policy that was read there.
    fn operate(
        &self,
        hub: &mut Hub<AnyOutlet>,
        key: ConnectionKey,
        policy: &Policy,
        operation: &RoomOperation,
        now: Now,
    ) -> RoomChanges {
        let left = hub.revoke(key, operation.leave(), RevokeReason::TakenOut, now);
        let held = hub.rooms(key);
        let new = (operation.join().iter()).filter(|room| !held.contains(room));
        let new: Vec<&Room> = new.collect();
        let most = self.max_rooms();
        // A client that does not read is not notified of what it lost, and that is kept for it.
        let free = if hub.revoked_rooms(key) > most {
            0
        } else {
            most.saturating_sub(held.len())
        };
        let permitted = new.iter().filter(|room| self.may_hold(policy, room));
        let permitted: Vec<Room> = permitted.take(free).map(|room| (*room).clone()).collect();
        RoomChanges {
            joined: hub.join(key, &permitted, now),
            left,
            refused: new.len() - permitted.len(),
        }
    }
}
