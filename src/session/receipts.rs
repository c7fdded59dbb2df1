//! Receipts: who acknowledged what, and when. Identity is always the session's, never the payload's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleetcast_core::domain::client_json;
use fleetcast_core::domain::protocol::Reason;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Session;
use super::commands::{Failure, FailureReason};
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::AskOutcome;

/// A client may answer so late; then the acknowledgement counts as missing.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// Acknowledgements of one instance that may be outstanding. Beyond that, events go out without asking.
const MAX_ASKED: usize = 50_000;

/// And of one client: about half a MiB is held for them.
const MAX_ASKED_OF_ONE: usize = 1_000;

/// The longest id and event name that a client may acknowledge, in bytes.
const MAX_ID: usize = 256;
const MAX_EVENT: usize = 64;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptKind {
    /// The client sent the command `ack`: a user has seen it.
    Ack,
    /// The client's library acknowledged the event: the device has it.
    Received,
    /// It was asked and has not answered in time, or its connection ended.
    Missing,
}

/// A line of the receipts topic.
#[derive(Debug, Serialize)]
pub struct Receipt<'a> {
    pub kind: ReceiptKind,
    pub event: Option<&'a str>,
    /// Of a record `topic/partition/offset`; of the command whatever the client named.
    pub id: &'a str,
    pub user_id: &'a str,
    pub organization_id: &'a str,
    pub connection_id: &'a str,
    /// RFC 3339.
    pub timestamp: String,
    /// Milliseconds between question and answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// True once the receipt is kept.
pub type Kept = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Where receipts go. Never blocks; a full queue is an answer of false.
pub trait Receipts: Send + Sync {
    /// `key` keeps the receipts of one organisation in order.
    fn keep(&self, key: &str, receipt: Vec<u8>) -> Kept;
}

/// For instances without a topic for receipts: they are counted, not kept.
pub struct CountOnly;

impl Receipts for CountOnly {
    fn keep(&self, _: &str, _: Vec<u8>) -> Kept {
        Box::pin(std::future::ready(true))
    }
}

/// How many acknowledgements are outstanding, of one client or of all.
#[derive(Debug, Default)]
pub struct Outstanding(AtomicUsize);

impl Outstanding {
    /// One more, unless there are so many.
    fn take(&self, most: usize) -> bool {
        let taken = (self.0).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| {
            (asked < most).then_some(asked + 1)
        });
        taken.is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One acknowledgement that a client was asked for.
pub struct Asked {
    session: Arc<Session>,
    event: Arc<str>,
    /// Of the record.
    id: Arc<str>,
    /// When the client was asked, in monotonic milliseconds.
    since_ms: u64,
}

#[derive(Deserialize)]
struct AckPayload {
    id: String,
    #[serde(default)]
    event: Option<String>,
}

impl Session {
    /// The command `ack`: `{id, event?}`.
    pub(super) fn acknowledge(&self, payload: Option<&RawValue>) -> Result<Kept, Failure> {
        const SHAPE: Failure = Failure {
            reason: FailureReason::Command(Reason::BadRequest),
            message: "give {id, event?}: an id of at most 256 bytes, an event name of at most 64",
        };
        let payload = payload.ok_or(SHAPE)?;
        let payload = client_json::parse(payload.get()).ok_or(SHAPE)?;
        let payload: AckPayload = serde_json::from_value(payload).map_err(|_| SHAPE)?;
        let event = payload.event.as_deref();
        let is_text = |id: &str| !id.contains(char::REPLACEMENT_CHARACTER);
        let fits = (1..=MAX_ID).contains(&payload.id.len())
            && is_text(&payload.id)
            && event.is_none_or(|event| (1..=MAX_EVENT).contains(&event.len()));
        if !fits {
            return Err(SHAPE);
        }
        Ok(self.keep(ReceiptKind::Ack, event, &payload.id, None))
    }

    /// Notes that this client is asked to acknowledge a publication. `None`: too many are outstanding already.
    pub fn ask(self: &Arc<Self>, event: &Arc<str>, id: Arc<str>) -> Option<Asked> {
        if !self.may_ask() {
            self.ack_not_asked(event);
            return None;
        }
        events::asked(&self.shared.metrics, event, AskOutcome::Asked, None);
        let since_ms = clock::monotonic_ms();
        Some(Asked {
            session: self.clone(),
            event: event.clone(),
            id,
            since_ms,
        })
    }

    /// Takes a place among the outstanding questions. False: they are too many already.
    pub(super) fn may_ask(&self) -> bool {
        let own = self.outstanding.take(MAX_ASKED_OF_ONE);
        let may = own && self.shared.outstanding.take(MAX_ASKED);
        if own && !may {
            self.outstanding.give_back();
        }
        if may {
            let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
            let more = |unspent: usize| (unspent < MAX_ASKED_OF_ONE).then_some(unspent + 1);
            self.unspent_asks.fetch_update(set, read, more).ok();
        }
        may
    }

    /// So many acknowledgements have come, for whatever. Returns how many of them may be counted as asked for: each question pays for
    /// one.
    pub fn spend_asks(&self, acknowledgements: usize) -> usize {
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        let less = |unspent: usize| Some(unspent.saturating_sub(acknowledgements));
        let unspent = self.unspent_asks.fetch_update(set, read, less);
        unspent.unwrap_or_default().min(acknowledgements)
    }

    pub(super) fn give_ask_back(&self) {
        self.outstanding.give_back();
        self.shared.outstanding.give_back();
    }

    fn keep(
        &self,
        kind: ReceiptKind,
        event: Option<&str>,
        id: &str,
        after_ms: Option<u64>,
    ) -> Kept {
        let receipt = Receipt {
            kind,
            event,
            id,
            user_id: self.user.as_str(),
            organization_id: self.organisation.as_str(),
            connection_id: &self.connection_id,
            timestamp: clock::rfc3339(clock::wall_ms()),
            after_ms,
        };
        let line = serde_json::to_vec(&receipt).expect("a receipt is plain data");
        let receipts = &self.shared.receipts;
        receipts.keep(self.organisation.as_str(), line)
    }
}

impl Asked {
    /// Of an acknowledgement that was counted by [`Session::may_ask`].
    pub(super) fn new(session: Arc<Session>, event: Arc<str>, id: Arc<str>, since_ms: u64) -> Self {
        Self {
            session,
            event,
            id,
            since_ms,
        }
    }

    /// The client answered, or did not.
    pub async fn answered(self, answered: bool) {
        let after_ms = clock::monotonic_ms().saturating_sub(self.since_ms);
        let (kind, outcome) = if answered {
            (ReceiptKind::Received, AskOutcome::Acknowledged)
        } else {
            (ReceiptKind::Missing, AskOutcome::Missing)
        };
        let metrics = &self.session.shared.metrics;
        events::asked(
            metrics,
            &self.event,
            outcome,
            Some(Duration::from_millis(after_ms)),
        );
        // Whether it is kept is counted where it is kept.
        self.session
            .keep(kind, Some(&self.event), &self.id, Some(after_ms))
            .await;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.session.give_ask_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outstanding_acknowledgements_are_bounded_and_an_answer_frees_capacity() {
        let outstanding = Outstanding::default();
        assert_eq!((0..5).filter(|_| outstanding.take(3)).count(), 3);
        outstanding.give_back();
        assert_eq!((0..5).filter(|_| outstanding.take(3)).count(), 1);
    }
}
