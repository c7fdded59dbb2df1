//! Rooms that users may join beyond what their tokens say: kept here, and what a change of them does to open connections.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::grants::{GrantedRoom, Grants};
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::protocol::{GrantReason, RevokeReason};
use fleetcast_core::domain::room::Room;

use super::{Session, Sessions};

/// So long a client waits for grants that may be on their way.
const READ: Duration = Duration::from_secs(1);

/// Where grants come from.
pub trait GrantSource: Send + Sync {
    /// Waits until all has been applied that it held when this was called. False if that took longer than `at_most`.
    fn read_to_end(&self, at_most: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// What is granted. Its lock is one of the innermost: it may be taken inside the hub's.
#[derive(Default)]
pub(super) struct GrantedRooms {
    known: Mutex<Grants>,
    /// None where there are no grants.
    source: OnceLock<Arc<dyn GrantSource>>,
}

impl GrantedRooms {
    fn known(&self) -> MutexGuard<'_, Grants> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn permits(&self, user: &UserId, room: &Room) -> bool {
        self.known().permits(user, room)
    }
}

impl Sessions {
    /// Clients that ask for a room which only a grant could permit wait until this one is read. The first call counts.
    pub fn follow_grants(&self, source: Arc<dyn GrantSource>) {
        // A second source would be a second topic, which there is not.
        self.granted.source.get_or_init(|| source);
    }

    pub(super) fn has_grants(&self) -> bool {
        self.granted.source.get().is_some()
    }

    /// Whether all grants are known that there were when this was called.
    pub(super) async fn grants_are_read(&self) -> bool {
        match self.granted.source.get() {
            Some(source) => source.read_to_end(READ).await,
            None => true,
        }
    }

    /// Whether the holder of a token with these claims may join the room, by the policy in force or by a grant.
    pub fn may_join(&self, claims: &Claims, room: &Room) -> bool {
        let granted =
            || room.organisation == claims.organisation && self.granted.permits(&claims.user, room);
        self.rules.load().policy.may_join(claims, room) || granted()
    }

    /// Permits a room to a user, whose open connections are notified. False if it was permitted before.
    pub fn grant(&self, granted: &GrantedRoom) -> bool {
        self.hub.with(|hub, now| {
            if !self.granted.known().grant(granted) {
                return false;
            }
            let rooms = [granted.room().clone()];
            for session in self.open.of_user(granted.organisation(), granted.user()) {
                if let Some(key) = session.key() {
                    hub.grant(key, &rooms, GrantReason::Granted, now);
                }
            }
            true
        })
    }

    /// Withdraws it. Connections that hold the room and may not hold it without the grant leave it and are notified. False if it was
    /// not granted.
    pub fn withdraw(&self, granted: &GrantedRoom) -> bool {
        // In one step: rooms are joined under this lock, too.
        self.hub.with(|hub, now| {
            if !self.granted.known().withdraw(granted) {
                return false;
            }
            let rules = self.rules.load();
            let rooms = [granted.room().clone()];
            for session in self.open.of_user(granted.organisation(), granted.user()) {
                let Some(key) = session.key() else { continue };
                hub.ungrant(key, &rooms);
                if !session.may_hold(&rules.policy, granted.room()) {
                    hub.revoke(key, &rooms, RevokeReason::GrantWithdrawn, now);
                }
            }
            true
        })
    }

    /// Withdraws all, because what granted them is no more.
    pub fn withdraw_all(&self) {
        // Each user's own connections are few, and this is rare.
        let all = self.granted.known().all();
        for granted in &all {
            self.withdraw(granted);
        }
    }

    /// How many rooms are granted to a user.
    pub fn granted_to(&self, organisation: &Id, user: &UserId) -> usize {
        self.granted.known().of_user(organisation, user)
    }

    pub fn is_granted(&self, granted: &GrantedRoom) -> bool {
        self.granted.known().contains(granted)
    }

    /// Rooms of all users, each user's counted.
    pub fn grants(&self) -> usize {
        self.granted.known().len()
    }

    /// Whether the profile in force has rooms of this kind.
    pub fn knows_kind(&self, room: &Room) -> bool {
        let rules = self.rules.load();
        rules.policy.kinds().any(|kind| kind == room.kind.as_str())
    }
}

impl Session {
    /// Whether only a grant could permit one of these, and there may be grants that are not known yet.
    pub(super) fn awaits_grants(&self, rooms: &[Room]) -> bool {
        let rules = self.shared.rules.load();
        self.shared.has_grants()
            && (rooms.iter())
                .any(|room| room.kind.has_whole() && !self.may_hold(&rules.policy, room))
    }
}
