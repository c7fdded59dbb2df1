//! Rooms that users may join beyond what their tokens say: kept here, and what a change of them does to open connections.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::grants::{GrantedRoom, Grants, RepeatedGrants, is_grantable};
use fleetcast_core::domain::policy::Policy;
use fleetcast_core::domain::protocol::{GrantReason, RevokeReason};
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::{Hub, Now};

use super::registry::SLICE;
use super::{AnyOutlet, Session, Sessions};

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

    /// Whether the holder of a token with these claims may join the room: by this policy, or by a grant.
    fn permit(&self, policy: &Policy, claims: &Claims, room: &Room) -> bool {
        let granted =
            || room.organisation == claims.organisation && self.known().permits(&claims.user, room);
        policy.may_join(claims, room) || granted()
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
        self.granted.permit(&self.rules.load().policy, claims, room)
    }

    /// Permits a room to a user, because this partition of the topic says so. Open connections whose tokens do not permit it are notified;
    /// later ones when they connect. False if it was permitted before, or is not yet: see [`repeat_grants`](Self::repeat_grants).
    pub fn grant(&self, granted: &GrantedRoom, partition: i32) -> bool {
        self.hub.with(|hub, now| {
            let is_new = self.granted.known().grant(granted, partition);
            if is_new {
                self.notify_granted(hub, granted, now);
            }
            is_new
        })
    }

    fn notify_granted(&self, hub: &mut Hub<AnyOutlet>, granted: &GrantedRoom, now: Now) {
        let rules = self.rules.load();
        let rooms = [granted.room().clone()];
        for session in self.open.of_user(granted.organisation(), granted.user()) {
            if rules.policy.may_join(&session.claims(), granted.room()) {
                continue;
            }
            if let Some(key) = session.key() {
                hub.grant(key, &rooms, GrantReason::Granted, now);
            }
        }
    }

    /// Withdraws it. Connections that hold the room and may not hold it without the grant leave it and are notified. False if it was
    /// not granted.
    pub fn withdraw(&self, granted: &GrantedRoom, partition: i32) -> bool {
        // In one step: rooms are joined under this lock, too.
        self.hub.with(|hub, now| {
            if !self.granted.known().withdraw(granted, partition) {
                return false;
            }
            let rules = self.rules.load();
            let rooms = [granted.room().clone()];
            for session in self.open.of_user(granted.organisation(), granted.user()) {
                let Some(key) = session.key() else { continue };
                hub.ungrant(key, |room| rooms.contains(room));
                if !session.may_hold(&rules.policy, granted.room()) {
                    hub.revoke(key, &rooms, RevokeReason::GrantWithdrawn, now);
                }
            }
            true
        })
    }

    /// A partition's log was lost. What it has granted holds, and what it says from here on does not, until it
    /// [has said everything](Self::grants_repeated).
    pub fn repeat_grants(&self, partition: i32) {
        self.granted.known().repeat(partition);
    }

    /// A partition whose log was lost has said all that there is in its place. From now on no room is joined by what it has not said once
    /// more; connections that hold some leave them in the background. Gives how many users have lost rooms, and how many rooms are new.
    pub fn grants_repeated(self: &Arc<Self>, partition: i32) -> (usize, usize) {
        let changed = self.granted.known().repeated(partition);
        let numbers = (changed.withdrawn.len(), changed.granted.len());
        if numbers != (0, 0) {
            let walk = self.clone().apply_repeated(changed);
            self.lifecycle.spawn("grants read again", walk);
        }
        numbers
    }

    async fn apply_repeated(self: Arc<Self>, changed: RepeatedGrants) {
        // Rooms are joined under the hub's lock, so behind it the walk sees every connection that was judged by what held before.
        self.hub.with(|_, _| ());
        for slice in changed.withdrawn.chunks(SLICE) {
            self.hub.with(|hub, now| {
                let rules = self.rules.load();
                let policy = &rules.policy;
                for (organisation, user) in slice {
                    for session in self.open.of_user(organisation, user) {
                        let Some(key) = session.key() else { continue };
                        // What was granted again since then stays.
                        hub.ungrant(key, |room| !session.may_hold(policy, room));
                        let reason = RevokeReason::GrantWithdrawn;
                        session.leave_forbidden(hub, key, policy, reason, now);
                    }
                }
            });
            tokio::task::yield_now().await;
        }
        for slice in changed.granted.chunks(SLICE) {
            self.hub.with(|hub, now| {
                for granted in slice {
                    if self.is_granted(granted) {
                        self.notify_granted(hub, granted, now);
                    }
                }
            });
            tokio::task::yield_now().await;
        }
    }

    /// Whether such a request, of one user, would leave too many granted.
    pub fn grants_full(&self, grant: &[GrantedRoom], withdraw: &[GrantedRoom]) -> bool {
        self.granted.known().would_be_too_many(grant, withdraw)
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
    pub(super) fn may_hold(&self, policy: &Policy, room: &Room) -> bool {
        self.shared
            .granted
            .permit(policy, &self.claims.load(), room)
    }

    /// Whether only a grant could permit one of these, and there may be grants that are not known yet.
    pub(super) fn awaits_grants(&self, rooms: &[Room]) -> bool {
        let rules = self.shared.rules.load();
        self.shared.has_grants()
            && (rooms.iter()).any(|room| is_grantable(room) && !self.may_hold(&rules.policy, room))
    }

    /// The rooms that it may join by a grant alone, without those that it holds.
    pub(super) fn offered_rooms(&self, policy: &Policy, held: &[Room]) -> Vec<Room> {
        let claims = self.claims();
        let known = self.shared.granted.known();
        let granted = known.of_user(&self.organisation, &self.user);
        granted
            .filter(|room| !held.contains(room) && !policy.may_join(&claims, room))
            .cloned()
            .collect()
    }
}
