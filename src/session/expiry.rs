//! When the tokens of open sessions end: the notice before that, and the end.

use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::registry::SLICE;
use crate::clock;

/// So many seconds before its token expires a client receives `auth_expiring`.
const NOTICE: u64 = 60;

/// Of something that is done and will not be due again. No token lasts so long.
const DONE: u64 = u64::MAX;

/// What is due when for the token of one session, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenEnd {
    notice_at: u64,
    closes_at: u64,
}

impl TokenEnd {
    /// Of a token that a connection begins with: it expires at `expires` and is good until `closes_at`.
    pub(super) fn new(expires: u64, closes_at: u64) -> Self {
        Self {
            notice_at: expires.saturating_sub(NOTICE),
            closes_at,
        }
    }

    /// Another token takes its place. Its notice comes when half of its life is left, if that is later than usual: a client that answers
    /// each notice with a token of short life would go on without a pause. Of a token that the client was notified of there is
    /// no second notice. `None`: too late, the session is being closed.
    pub(super) fn renewed(self, expires: u64, closes_at: u64, now: u64) -> Option<Self> {
        if self.closes_at == DONE {
            return None;
        }
        let same = self.closes_at == closes_at;
        let half = now + expires.saturating_sub(now) / 2;
        let notice_at = if same && self.notice_at == DONE {
            DONE
        } else {
            expires.saturating_sub(NOTICE).max(half)
        };
        Some(Self {
            notice_at,
            closes_at,
        })
    }

    pub(super) fn notice_is_due(self, now: u64) -> bool {
        self.notice_at <= now
    }

    /// True once, when the notice is due.
    pub(super) fn take_notice(&mut self, now: u64) -> bool {
        take(&mut self.notice_at, now)
    }

    /// True once, when the token is not good any more: the session is to be closed, and no other token can change that.
    pub(super) fn take_close(&mut self, now: u64) -> bool {
        take(&mut self.closes_at, now)
    }
}

fn take(at: &mut u64, now: u64) -> bool {
    let due = *at <= now;
    if due {
        *at = DONE;
    }
    due
}

impl Sessions {
    /// Notifies clients whose token expires soon, closes sessions whose token has expired, drops revocations that are over, and gives up
    /// acknowledgements that do not come, once a second until `stop`.
    pub async fn watch_expiry(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = clock::wall_ms() / 1000;
            self.close_expired(now).await;
            self.notify_expiring(now).await;
            self.expire_revocations(now).await;
            self.expire_asks(clock::monotonic_ms()).await;
            self.shared_limits.clean();
        }
    }

    pub(super) async fn close_expired(&self, now: u64) {
        for slice in self.open.take_expired(now).chunks(SLICE) {
            for session in slice {
                session.close(CloseReason::TokenExpired);
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn notify_expiring(&self, now: u64) {
        for slice in self.open.expiring(now).chunks(SLICE) {
            self.hub.with(|hub, hub_now| {
                for key in slice {
                    // Looked at again: meanwhile it may have another token, which is taken under this lock.
                    if self.open.take_notice(*key, now) {
                        hub.token_expiring(*key, hub_now);
                    }
                }
            });
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_due_a_minute_before_the_end_and_each_step_is_taken_once() {
        let mut token = TokenEnd::new(1_000, 1_004);
        assert!(!token.take_notice(939) && !token.notice_is_due(939));
        assert!(token.notice_is_due(940) && token.take_notice(940));
        assert!(!token.take_notice(1_000));
        assert!(!token.take_close(1_003));
        assert!(token.take_close(1_004));
        assert!(!token.take_close(1_005));
        assert_eq!(token.renewed(9_000, 9_004, 1_005), None, "too late");
        let short = TokenEnd::new(30, 34);
        assert!(short.notice_is_due(0), "at once");
    }

    #[test]
    fn the_notice_of_a_renewed_token_never_comes_before_half_of_its_life() {
        let token = TokenEnd::new(1_000, 1_004);
        for (expires, notice_at) in [(2_000, 1_940), (1_060, 1_000), (1_008, 974), (939, 940)] {
            let mut renewed = token.renewed(expires, expires + 4, 940).expect("in time");
            assert!(!renewed.take_notice(notice_at - 1), "{expires}");
            assert!(renewed.take_notice(notice_at), "{expires}");
        }
    }

    #[test]
    fn the_same_token_again_is_announced_no_second_time() {
        let mut token = TokenEnd::new(1_000, 1_004);
        let before = token.renewed(1_000, 1_004, 900).expect("in time");
        assert!(before.notice_is_due(950));
        assert!(token.take_notice(950));
        let after = token.renewed(1_000, 1_004, 950).expect("in time");
        assert!(!after.notice_is_due(1_000));
    }
}
