//! Requests to grant rooms and to withdraw them: written to the topic, and in force once they are read back, on every instance alike.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::grants::{GrantChange, GrantedRoom};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::topics::ControlTopics;
use crate::api::{GrantFailure, RoomGranter};
use crate::session::Sessions;
use crate::telemetry::events;

/// The answer waits so long for this instance to read what it has written.
const READ_BACK: Duration = Duration::from_secs(2);

pub(in crate::app) struct GrantRequests {
    pub(in crate::app) sessions: Arc<Sessions>,
    pub(in crate::app) topics: Arc<ControlTopics>,
}

impl GrantRequests {
    fn check(&self, grant: &[GrantedRoom], withdraw: &[GrantedRoom]) -> Result<(), GrantFailure> {
        // One that is granted already stays so, also if its kind has left the profile.
        let unknown = |granted: &&GrantedRoom| {
            !self.sessions.knows_kind(granted.room()) && !self.sessions.is_granted(granted)
        };
        if let Some(granted) = grant.iter().find(unknown) {
            return Err(GrantFailure::UnknownKind(granted.short_name()));
        }
        if self.sessions.grants_full(grant, withdraw) {
            return Err(GrantFailure::Full);
        }
        Ok(())
    }
}

impl RoomGranter for GrantRequests {
    fn change(
        &self,
        grant: Vec<GrantedRoom>,
        withdraw: Vec<GrantedRoom>,
    ) -> Pin<Box<dyn Future<Output = Result<bool, GrantFailure>> + Send + '_>> {
        Box::pin(async move {
            let topic = self.topics.grants().ok_or(GrantFailure::NoTopic)?;
            // What is granted already decides what may be, so it has to be known.
            if let Some(why) = self.topics.why_unread(topic) {
                return Err(GrantFailure::Starting(why));
            }
            self.check(&grant, &withdraw)?;
            let value = GrantChange::value();
            let granted = grant.iter().map(|one| (one, Some(value.as_str())));
            let withdrawn = withdraw.iter().map(|one| (one, None));
            let writes = granted
                .chain(withdrawn)
                .map(|(one, value)| self.topics.write(topic, &one.to_string(), value));
            let writes: Vec<_> = writes.collect();
            let written: Result<Vec<_>, _> = join_all(writes).await.into_iter().collect();
            let written = written.map_err(|error| {
                let why = error.to_string();
                events::grants_not_written(grant.len(), withdraw.len(), &why);
                GrantFailure::NotWritten(why)
            })?;
            events::rooms_granted(grant.len(), withdraw.len());
            let deadline = Instant::now() + READ_BACK;
            for at in written {
                let left = deadline.saturating_duration_since(Instant::now());
                if !self.topics.applied(topic, at, left).await {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}
