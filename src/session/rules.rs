//! What the profile says about sessions, and how a reload changes it.

use std::sync::Arc;

use fleetcast_core::domain::envelope::EventEnvelope;
use fleetcast_core::domain::policy::Policy;
use fleetcast_core::domain::protocol::RevokeReason;
use fleetcast_core::domain::publish_rights::PublishRights;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::{ConnectionKey, Hub, Now};

use super::registry::SLICE;
use super::{AnyOutlet, Session, Sessions};

/// What the profile says about sessions.
#[derive(Debug, Clone)]
pub struct SessionRules {
    pub policy: Arc<Policy>,
    pub envelope: EventEnvelope,
    /// What tokens may publish over HTTP.
    pub publish: Arc<PublishRights>,
}

/// What a change of the policy took away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    pub connections: usize,
    pub rooms: usize,
}

impl Sessions {
    /// Those that hold now.
    pub fn rules(&self) -> Arc<SessionRules> {
        self.rules.load_full()
    }

    /// From now on these rules decide. Connections leave the rooms that the policy does not allow them, and are notified; of all
    /// other rooms they continue to receive events. When this returns, no connection holds a room that is not allowed.
    pub async fn set_rules(&self, rules: SessionRules) -> Revoked {
        self.rules.store(Arc::new(rules));
        // A room is joined under the hub's lock, by the policy that is read there. A session that joined by the old policy has
        // released the lock, and is among these.
        let sessions = self.hub.with(|_, _| self.open.keyed());
        let mut revoked = Revoked::default();
        for slice in sessions.chunks(SLICE) {
            self.hub.with(|hub, now| {
                let rules = self.rules.load();
                for (key, session) in slice {
                    let policy = &rules.policy;
                    let rooms =
                        session.leave_forbidden(hub, *key, policy, RevokeReason::Policy, now);
                    revoked.rooms += rooms;
                    revoked.connections += usize::from(rooms > 0);
                }
            });
            tokio::task::yield_now().await;
        }
        revoked
    }
}

impl Session {
    /// Leaves the rooms that it may not hold any more; the client is notified in its feed. To be called under the hub's lock, with the
    /// policy that was read there. Returns how many rooms.
    pub(super) fn leave_forbidden(
        &self,
        hub: &mut Hub<AnyOutlet>,
        key: ConnectionKey,
        policy: &Policy,
        reason: RevokeReason,
        now: Now,
    ) -> usize {
        let held = hub.rooms(key).iter();
        let forbidden = held.filter(|room| !self.may_hold(policy, room));
        let forbidden: Vec<Room> = forbidden.cloned().collect();
        hub.revoke(key, &forbidden, reason, now)
    }
}
