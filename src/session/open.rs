//! The sessions that are open: for what concerns all of them, such as a policy that has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fleetcast_core::domain::policy::Policy;
use fleetcast_core::domain::protocol::RevokeReason;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::ConnectionKey;

use super::{Session, Sessions};

/// After so many sessions the sockets get the thread.
const SLICE: usize = 64;

/// By the hub's name for their connections. Its lock is taken inside the hub's, never the other way round.
#[derive(Default)]
pub struct Open(Mutex<HashMap<ConnectionKey, Weak<Session>>>);

/// What a change of the policy took away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    pub connections: usize,
    pub rooms: usize,
}

impl Open {
    pub(super) fn add(&self, key: ConnectionKey, session: &Arc<Session>) {
        self.lock().insert(key, Arc::downgrade(session));
    }

    pub(super) fn remove(&self, key: ConnectionKey) {
        self.lock().remove(&key);
    }

    fn all(&self) -> Vec<(ConnectionKey, Arc<Session>)> {
        let open = self.lock();
        let living = open
            .iter()
            .filter_map(|(key, session)| Some((*key, session.upgrade()?)));
        living.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionKey, Weak<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// From now on this policy decides. Connections leave the rooms that it does not allow them, and are told; of all other
    /// rooms they hear on. When this returns, nobody holds a room that it does not allow.
    pub async fn set_policy(&self, policy: Arc<Policy>) -> Revoked {
        self.policy.store(policy);
        // Whoever joins a room judges under the hub's lock. So who joined by the old policy has let go of the lock, and is
        // among these.
        let sessions = self.hub.with(|_, _| self.open.all());
        let mut revoked = Revoked::default();
        for slice in sessions.chunks(SLICE) {
            self.hub.with(|hub, now| {
                let policy = self.policy.load();
                for (key, session) in slice {
                    let forbidden: Vec<Room> = hub
                        .rooms(*key)
                        .iter()
                        .filter(|room| !session.may_hold(&policy, room))
                        .cloned()
                        .collect();
                    let rooms = hub.revoke(*key, &forbidden, RevokeReason::Policy, now);
                    revoked.rooms += rooms;
                    revoked.connections += usize::from(rooms > 0);
                }
            });
            tokio::task::yield_now().await;
        }
        revoked
    }
}
