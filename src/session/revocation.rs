//! Revoked tokens: judged where a token is shown and where its connection is bound, and ended where they are open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::domain::revocation::{Revocation, RevocationTarget, Revocations};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::registry::SLICE;
use super::{Session, Sessions};
use crate::clock;

/// So many targets are looked for one by one. With more, all open sessions are judged.
const MAX_WAITING: usize = 64;

/// What is revoked. Its locks are the innermost: they may be taken inside the hub's.
#[derive(Default)]
pub(super) struct RevokedTokens {
    known: Mutex<Revocations>,
    waiting: Mutex<WaitingWalk>,
    woken: Notify,
}

/// Whose sessions are to be gone over.
#[derive(Default)]
struct WaitingWalk {
    targets: Vec<RevocationTarget>,
    /// There were too many to name.
    all: bool,
}

impl RevokedTokens {
    fn known(&self) -> MutexGuard<'_, Revocations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingWalk> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Whether a token with these claims is revoked now. To be asked wherever one is accepted, and under the hub's lock where what it
    /// permits takes effect: a revocation that has gone over the open sessions by then has not seen that one.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        let now = clock::wall_ms() / 1000;
        self.revoked.known().judge(claims, now)
    }

    /// From now on such tokens are refused. Sessions that are open are ended by [`end_revoked`](Self::end_revoked), or, if the answer
    /// says that something has changed, in the background. Gives what is known of the target now.
    pub fn revoke(&self, target: &RevocationTarget, revocation: Revocation) -> Revocation {
        let mut known = self.revoked.known();
        let before = known.get(target);
        let merged = known.add(target.clone(), revocation);
        drop(known);
        if before != Some(merged) {
            let mut waiting = self.revoked.waiting();
            if waiting.targets.len() < MAX_WAITING {
                waiting.targets.push(target.clone());
            } else {
                waiting.all = true;
            }
            drop(waiting);
            self.revoked.woken.notify_one();
        }
        merged
    }

    /// Such tokens are accepted again: an operator has deleted the revocation. False if there was none.
    pub fn restore(&self, target: &RevocationTarget) -> bool {
        self.revoked.known().remove(target)
    }

    /// Whether a request for one more target must be refused.
    pub fn revocations_full(&self, target: &RevocationTarget) -> bool {
        self.revoked.known().is_full(target)
    }

    /// How many targets are known.
    pub fn revocations(&self) -> usize {
        self.revoked.known().len()
    }

    pub(super) fn expire_revocations(&self, now: u64) {
        self.revoked.known().expire(now);
    }

    /// Closes the open sessions that the target names and whose token is revoked. Gives how many.
    pub async fn end_revoked(&self, target: &RevocationTarget) -> usize {
        let sessions = self.open_sessions_of(target);
        self.close_revoked(&sessions).await
    }

    /// Ends sessions in the background, until `stop`.
    pub async fn watch_revocations(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let woken = stop.run_until_cancelled(self.revoked.woken.notified());
            if woken.await.is_none() {
                return;
            }
            let WaitingWalk { targets, all } = std::mem::take(&mut *self.revoked.waiting());
            if all {
                let sessions = self.hub.with(|_, _| self.open.keyed());
                let sessions: Vec<_> = sessions.into_iter().map(|(_, session)| session).collect();
                self.close_revoked(&sessions).await;
                continue;
            }
            for target in &targets {
                self.end_revoked(target).await;
            }
        }
    }

    /// Under the hub's lock: a session is bound in there, after its token was judged for the last time.
    fn open_sessions_of(&self, target: &RevocationTarget) -> Vec<Arc<Session>> {
        self.hub.with(|_, _| match target {
            RevocationTarget::Organisation(organisation) => self.open.of_organisation(organisation),
            RevocationTarget::User(organisation, user) => self.open.of_user(organisation, user),
            RevocationTarget::Token { .. } => {
                let sessions = self.open.keyed().into_iter().map(|(_, session)| session);
                let named = sessions.filter(|session| target.names(&session.claims()));
                named.collect()
            }
        })
    }

    async fn close_revoked(&self, sessions: &[Arc<Session>]) -> usize {
        let mut closed = 0;
        for slice in sessions.chunks(SLICE) {
            for session in slice {
                if self.is_revoked(&session.claims()) {
                    session.close(CloseReason::TokenRevoked);
                    closed += 1;
                }
            }
            tokio::task::yield_now().await;
        }
        closed
    }
}
