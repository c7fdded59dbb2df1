//! `auth:refresh`: a connection goes on with another token of the same user.
//!
//! The token is verified as at CONNECT. What it says takes effect under the hub's lock, in one step with the judgement of the rooms, as
//! new rules do (see [`Sessions::set_rules`](super::Sessions::set_rules)): whichever of the two comes second judges by both.

use std::sync::Arc;

use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::client_json;
use fleetcast_core::domain::protocol::{CloseReason, Reason, Refusal, RevokeReason};
use futures_util::FutureExt;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Session;
use super::commands::{Answer, AwaitedAnswer, Done, Failure, Reply};
use crate::auth::TokenError;
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::Command;

#[derive(Deserialize)]
struct RefreshPayload {
    token: String,
}

/// Why the connection does not go on with the token.
enum NotRefreshed {
    /// It keeps the one that it has.
    Failed(Failure),
    /// The same, and it was one rejected token too many: the connection is closed.
    TooMany(Failure),
    /// The token is of another user: the connection is closed, because it cannot become that user's.
    AnotherUser,
}

impl From<Failure> for NotRefreshed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Session {
    pub(super) fn refresh(self: &Arc<Self>, payload: Option<&RawValue>) -> Reply {
        let session = self.clone();
        let token = token(payload);
        let mut pending: AwaitedAnswer = Box::pin(async move {
            let refreshed = match token {
                Ok(token) => session.take_token(&token).await,
                Err(failure) => Err(failure.into()),
            };
            session.refreshed(refreshed)
        });
        // With the key at hand it is decided at once.
        match pending.as_mut().now_or_never() {
            Some(answer) => Reply::Now(answer),
            None => Reply::Pending(pending),
        }
    }

    async fn take_token(&self, token: &SecretString) -> Result<Done, NotRefreshed> {
        let token = token.expose_secret();
        let verified = self.shared.verifier.verify(token, clock::wall_ms() / 1000);
        let claims = verified.await.map_err(|denied| self.denied(&denied))?;
        // Nothing is waited for from here on, so these are the claims that the policy in force asks for. Issuers need no comparison:
        // two may speak for one organisation only where the settings say that they name the same users by the same ids.
        if claims.user == self.user && claims.organisation == self.organisation {
            let done = self.hold(claims)?;
            self.token_shown(true);
            Ok(done)
        } else {
            Err(NotRefreshed::AnotherUser)
        }
    }

    /// False: the transport has had enough.
    fn token_shown(&self, accepted: bool) -> bool {
        let transport = self.transport();
        transport.is_none_or(|transport| transport.token_shown(accepted))
    }

    fn denied(&self, denied: &TokenError) -> NotRefreshed {
        let (failure, why) = match denied {
            TokenError::KeyUnavailable => {
                let message = "the key of the token is not known yet, try again";
                let reason = Reason::Internal.into();
                (Failure { reason, message }, message.to_owned())
            }
            TokenError::Rejected(rejected) => (rejected.code.into(), rejected.why.to_string()),
        };
        events::refresh_refused(&self.shared.metrics, failure.reason.as_str(), &why);
        if matches!(denied, TokenError::Rejected(_)) && !self.token_shown(false) {
            return NotRefreshed::TooMany(failure);
        }
        failure.into()
    }

    /// From now on it has these claims, and only the rooms that they allow.
    fn hold(&self, claims: Claims) -> Result<Done, Failure> {
        const TOO_LATE: Failure = Failure {
            reason: super::FailureReason::Token(Refusal::TokenExpired),
            message: "the token of this connection has expired before: it is being closed",
        };
        const REVOKED: Failure = Failure {
            reason: super::FailureReason::Token(Refusal::TokenRevoked),
            message: Refusal::TokenRevoked.message(),
        };
        let key = self.key().ok_or(Reason::Internal)?;
        let expires = claims.expires;
        let closes_at = self.shared.verifier.ends(&claims);
        self.shared.hub.with(|hub, now| {
            // What was revoked while the token was verified is not yet known to it.
            if self.shared.is_revoked(&claims) {
                return Err(REVOKED);
            }
            if !(self.shared.open).renew(key, expires, closes_at, now.wall / 1000) {
                return Err(TOO_LATE);
            }
            self.claims.store(Arc::new(claims));
            hub.token_renewed(key);
            let rules = self.shared.rules.load();
            self.leave_forbidden(hub, key, &rules.policy, RevokeReason::TokenChanged, now);
            Ok(())
        })?;
        let expires_at = clock::rfc3339(expires.saturating_mul(1000));
        Ok(self.done("refreshed", None).expiring_at(expires_at))
    }

    fn refreshed(&self, refreshed: Result<Done, NotRefreshed>) -> Answer {
        let answer = |result| Answer::new(Command::Refresh, result);
        let answer = match refreshed {
            Ok(done) => answer(Ok(done)),
            Err(NotRefreshed::Failed(failure)) => answer(Err(failure)),
            Err(NotRefreshed::TooMany(failure)) => {
                answer(Err(failure)).closing(CloseReason::AuthRate)
            }
            Err(NotRefreshed::AnotherUser) => {
                let message = "the token is of another user: the connection is closed";
                let reason = Reason::Forbidden;
                events::refresh_refused(&self.shared.metrics, reason.as_str(), message);
                let reason = reason.into();
                answer(Err(Failure { reason, message })).closing(CloseReason::IdentityChanged)
            }
        };
        self.count(answer)
    }
}

fn token(payload: Option<&RawValue>) -> Result<SecretString, Failure> {
    const SHAPE: Failure = Failure {
        reason: super::FailureReason::Command(Reason::BadRequest),
        message: "give {token}: the token as text",
    };
    let payload = client_json::parse(payload.ok_or(SHAPE)?.get()).ok_or(SHAPE)?;
    let payload: RefreshPayload = serde_json::from_value(payload).map_err(|_| SHAPE)?;
    Ok(payload.token.into())
}
