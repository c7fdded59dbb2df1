//! Requests to revoke tokens: on this instance at once, and by the topic, by Redis or by both on all.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::revocation::{Revocation, RevocationTarget};

use super::topics::ControlTopics;
use crate::api::{RevocationDone, RevocationFailure, TokenRevoker};
use crate::app::fleet::Fleet;
use crate::auth::AuthSettings;
use crate::clock;
use crate::session::Sessions;
use crate::telemetry::events;

pub(in crate::app) struct RevocationRequests {
    sessions: Arc<Sessions>,
    topics: Arc<ControlTopics>,
    fleet: Option<Arc<Fleet>>,
    /// The names of the issuers.
    issuers: Vec<String>,
    only_one: bool,
    /// A token id alone names one token.
    one_name_space: bool,
    /// How far ahead the issuers' clocks may be.
    leeway: Duration,
}

impl RevocationRequests {
    pub(in crate::app) fn new(
        sessions: &Arc<Sessions>,
        topics: &Arc<ControlTopics>,
        fleet: Option<Arc<Fleet>>,
        auth: &AuthSettings,
    ) -> Self {
        let issuers = auth.issuers().filter_map(|one| one.issuer.clone());
        let only_one = auth.issuers().count() == 1;
        Self {
            sessions: sessions.clone(),
            topics: topics.clone(),
            fleet,
            issuers: issuers.collect(),
            only_one,
            one_name_space: auth.shared_users || only_one,
            leeway: auth.leeway,
        }
    }

    /// A token id is one of its issuer: others that are added later may use it, too.
    fn of_issuer(&self, target: RevocationTarget) -> RevocationTarget {
        match (target, self.issuers.as_slice()) {
            (RevocationTarget::Token { issuer: None, jti }, [only]) if self.only_one => {
                RevocationTarget::Token {
                    issuer: Some(only.as_str().into()),
                    jti,
                }
            }
            (target, _) => target,
        }
    }

    fn check(&self, target: &RevocationTarget) -> Result<(), RevocationFailure> {
        // What is written replaces the record before it, so that one has to be known.
        if self.topics.revocations().is_some() && !self.topics.is_read() {
            return Err(RevocationFailure::Starting);
        }
        match target {
            RevocationTarget::Token { issuer: None, .. } if !self.one_name_space => {
                Err(RevocationFailure::IssuerNeeded)
            }
            RevocationTarget::Token {
                issuer: Some(issuer),
                ..
            } if !self.issuers.iter().any(|known| **known == **issuer) => {
                Err(RevocationFailure::UnknownIssuer)
            }
            target if self.sessions.revocations_full(target) => Err(RevocationFailure::Full),
            _ => Ok(()),
        }
    }
}

impl TokenRevoker for RevocationRequests {
    fn revoke(
        &self,
        target: RevocationTarget,
        until: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = Result<RevocationDone, RevocationFailure>> + Send + '_>> {
        Box::pin(async move {
            let target = self.of_issuer(target);
            self.check(&target)?;
            let leeway_ms = u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX);
            let issued_until_ms = clock::wall_ms().saturating_add(leeway_ms);
            // What is written is all that is known: the record replaces the one before it.
            let requested = Revocation::requested(issued_until_ms, until);
            let merged = self.sessions.revoke(&target, requested);
            let topic = self.topics.revocations();
            let written = topic.map(|topic| {
                let (key, value) = (target.to_string(), merged.to_json());
                self.topics.write(topic, &key, Some(&value))
            });
            let told = async {
                let fleet = self.fleet.as_ref()?;
                Some(fleet.tell_revocation(&target, merged).await)
            };
            let (connections, told) = tokio::join!(self.sessions.end_revoked(&target), told);
            // What a topic holds need not be told: that is only sooner.
            let outcome = match (written, told) {
                (Some(written), _) => Some(written.await.map(drop).map_err(|why| why.to_string())),
                (None, told) => told.map(|told| told.map_err(|why| format!("Redis: {why}"))),
            };
            let everywhere = matches!(outcome, Some(Ok(())));
            events::tokens_revoked(connections, everywhere);
            if let Some(Err(why)) = outcome {
                return Err(RevocationFailure::NotWritten(why));
            }
            Ok(RevocationDone {
                target,
                until: merged.until,
                everywhere,
                connections,
            })
        })
    }
}
