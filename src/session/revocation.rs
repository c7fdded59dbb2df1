//! Revoked tokens: judged where a token is shown and where its connection is bound, and ended where they are open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::domain::revocation::{LogNumber, Revocation, RevocationTarget, Revocations};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::registry::{SLICE, SessionRange};
use super::{Session, Sessions};
use crate::clock;

/// So many targets are looked for one by one. With more, all open sessions are judged.
const MAX_WAITING: usize = 64;

/// So many that are over are dropped at a time.
const ENDS_PER_SLICE: usize = 1024;

/// What is revoked. Its locks are the innermost: they may be taken inside the hub's.
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
    /// See [`Verifier::longest_life`](crate::auth::Verifier::longest_life).
    pub(super) fn new(longest_life: Option<u64>) -> Self {
        Self {
            known: Mutex::new(Revocations::of_tokens_that_live(longest_life)),
            waiting: Mutex::default(),
            woken: Notify::new(),
        }
    }

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

    /// What is known of a target.
    pub fn revocation(&self, target: &RevocationTarget) -> Option<Revocation> {
        self.revoked.known().get(target)
    }

    /// Where what is known of the target was read last; 0: nowhere.
    pub fn revocation_log(&self, target: &RevocationTarget) -> LogNumber {
        self.revoked.known().log_of(target)
    }

    /// What is known of the target, if anything, has been read in this log.
    pub fn revocation_read_in(&self, target: &RevocationTarget, log: LogNumber) {
        self.revoked.known().read_in(target, log);
    }

    /// Whom revocations are known of that none of these logs holds.
    pub fn revoked_in_none_of(&self, logs: &[LogNumber]) -> Vec<RevocationTarget> {
        self.revoked.known().in_none_of(logs).cloned().collect()
    }

    /// Some of those that are known, and where each was read last: those that follow `after`.
    pub fn revocations_following(
        &self,
        after: Option<&RevocationTarget>,
        most: usize,
    ) -> Vec<(RevocationTarget, LogNumber)> {
        let known = self.revoked.known();
        let some = known.following(after).take(most);
        some.map(|(target, log)| (target.clone(), log)).collect()
    }

    /// Whether a request for one more target must be refused.
    pub fn revocations_full(&self, target: &RevocationTarget) -> bool {
        self.revoked.known().is_full(target)
    }

    /// Whether no token can be left that it concerns, for so long by now.
    pub fn has_ended(&self, revocation: Revocation, ago: Duration) -> bool {
        let then = (clock::wall_ms() / 1000).saturating_sub(ago.as_secs());
        self.revoked.known().has_ended(revocation, then)
    }

    /// How many targets are known.
    pub fn revocations(&self) -> usize {
        self.revoked.known().len()
    }

    pub(super) async fn expire_revocations(&self, now: u64) {
        while self.revoked.known().expire(now, ENDS_PER_SLICE) {
            tokio::task::yield_now().await;
        }
    }

    /// Closes the open sessions that the target names and whose token is revoked. Gives how many.
    pub async fn end_revoked(&self, target: &RevocationTarget) -> usize {
        self.settle_bindings();
        match target {
            RevocationTarget::User(organisation, user) => {
                self.close_revoked(&self.open.of_user(organisation, user))
                    .await
            }
            RevocationTarget::Organisation(organisation) => {
                self.close_all_revoked(Some(organisation), None).await
            }
            RevocationTarget::Token { .. } => self.close_all_revoked(None, Some(target)).await,
        }
    }

    /// Ends sessions in the background, until `stop`.
    pub async fn watch_revocations(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let woken = stop.run_until_cancelled(self.revoked.woken.notified());
            if woken.await.is_none() {
                return;
            }
            let WaitingWalk { targets, all } = std::mem::take(&mut *self.revoked.waiting());
            // Whose session a token is is known by going over all of them, and one walk finds the sessions of every target.
            let is_token =
                |target: &RevocationTarget| matches!(target, RevocationTarget::Token { .. });
            if all || targets.iter().any(is_token) {
                self.settle_bindings();
                self.close_all_revoked(None, None).await;
                continue;
            }
            for target in &targets {
                self.end_revoked(target).await;
            }
        }
    }

    /// A session is bound under the hub's lock, after its token was judged for the last time there. So once that lock was free, each
    /// session that was judged before is among those that are open.
    fn settle_bindings(&self) {
        self.hub.with(|_, _| ());
    }

    /// Of one organisation, or of all; those that one token names, or every one.
    async fn close_all_revoked(
        &self,
        organisation: Option<&Id>,
        token: Option<&RevocationTarget>,
    ) -> usize {
        let (mut closed, mut after) = (0, None);
        loop {
            let range = SessionRange {
                organisation,
                user: None,
            };
            let slice = self.open.following(range, after.as_ref(), SLICE);
            let Some((last, _)) = slice.last() else {
                return closed;
            };
            after = Some(last.clone());
            let sessions = slice.into_iter().map(|(_, session)| session);
            let named =
                sessions.filter(|session| token.is_none_or(|token| token.names(&session.claims())));
            closed += self.close_revoked(&named.collect::<Vec<_>>()).await;
            tokio::task::yield_now().await;
        }
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
