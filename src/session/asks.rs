//! Questions: events that ask for an acknowledgement by a number of ours. Which are open, and until when.
//!
//! The lane of Socket.IO numbers its questions itself, because the library does not see them: an answer is looked up here by its number.
//! One fan-out has one number, so that all its connections share one frame.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fleetcast_core::hub::ConnectionKey;
use futures_util::FutureExt;

use super::receipts::{ASK_TIMEOUT, Asked};
use super::registry::SLICE;
use super::{Session, Sessions};
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::AskOutcome;

/// Beyond what socketioxide counts up to itself: its numbers and ours share a namespace.
const FIRST_NUMBER: u32 = 1_000_000_000;
/// Clients in Java and others read a number as a signed integer of 32 bits.
const LAST_NUMBER: u32 = i32::MAX as u32;

/// After so many questions that are given up other tasks get the thread.
const GIVEN_UP_PER_SLICE: usize = 256;

/// What one client has been asked and has not answered, by number. Bounded by what [`Session::may_ask`] allows.
#[derive(Default)]
pub(super) struct OpenAsks(Mutex<HashMap<u32, OpenAsk>>);

struct OpenAsk {
    event: Arc<str>,
    /// Of the record.
    id: Arc<str>,
    /// When the client was asked, in monotonic milliseconds.
    since_ms: u64,
}

/// The sessions that have been asked something, to be looked through once a second; at most one for each connection.
#[derive(Default)]
pub(super) struct AskingSessions(Mutex<HashMap<ConnectionKey, Weak<Session>>>);

impl OpenAsks {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, OpenAsk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AskingSessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionKey, Weak<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Expects an acknowledgement under this number. To be called before the question is on its way: the answer may be fast. False: too
    /// many are outstanding already, so the event goes out without asking.
    pub fn expect_ack(&self, number: u32, event: &Arc<str>, id: &Arc<str>) -> bool {
        if !self.may_ask() {
            return false;
        }
        let ask = OpenAsk {
            event: event.clone(),
            id: id.clone(),
            since_ms: clock::monotonic_ms(),
        };
        if self.asks.lock().insert(number, ask).is_some() {
            // Numbers repeat after hundreds of millions of fan-outs: the question that had this one has long timed out.
            self.give_ask_back();
        }
        true
    }

    /// The question is on its way.
    pub fn ack_asked(self: &Arc<Self>, event: &str) {
        events::asked(&self.shared.metrics, event, AskOutcome::Asked, None);
        if let Some(key) = self.key() {
            let mut asking = self.shared.asking.lock();
            asking.entry(key).or_insert_with(|| Arc::downgrade(self));
        }
    }

    /// The event is on its way without a question, because too many were outstanding.
    pub fn ack_not_asked(&self, event: &str) {
        events::asked(&self.shared.metrics, event, AskOutcome::NotAsked, None);
    }

    /// The question was not sent after all.
    pub fn cancel_ack(&self, number: u32) {
        if self.asks.lock().remove(&number).is_some() {
            self.give_ask_back();
        }
    }

    /// The client has answered the question of this number. False: it is not open, or was never asked, and nothing changes.
    pub fn ack_received(self: &Arc<Self>, number: u32) -> bool {
        let answered = self.asks.lock().remove(&number);
        let was_open = answered.is_some();
        if let Some(ask) = answered {
            self.conclude(ask, true);
        }
        was_open
    }

    /// The connection has ended: what is open stays unanswered.
    pub(super) fn end_asks(self: &Arc<Self>) {
        let open = std::mem::take(&mut *self.asks.lock());
        for ask in open.into_values() {
            self.conclude(ask, false);
        }
    }

    /// Gives up to `most` questions up whose time is over. Returns how many.
    fn expire_asks(self: &Arc<Self>, now_ms: u64, most: usize) -> usize {
        let timeout = u64::try_from(ASK_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let is_over = |ask: &OpenAsk| now_ms.saturating_sub(ask.since_ms) >= timeout;
        let expired: Vec<_> = {
            let mut asks = self.asks.lock();
            let expired = asks.extract_if(|_, ask| is_over(ask));
            expired.take(most).map(|(_, ask)| ask).collect()
        };
        let count = expired.len();
        for ask in expired {
            self.conclude(ask, false);
        }
        count
    }

    fn conclude(self: &Arc<Self>, ask: OpenAsk, answered: bool) {
        let asked = Asked::new(self.clone(), ask.event, ask.id, ask.since_ms);
        let mut answer = Box::pin(asked.answered(answered));
        // Without a topic for receipts nothing is waited for.
        if answer.as_mut().now_or_never().is_none() {
            self.shared.lifecycle.tasks().spawn(answer);
        }
    }
}

impl Sessions {
    /// A number for the questions of one fan-out: within what every client reads as an integer (32 bits with sign), and beyond what
    /// the library of a transport counts up to itself.
    pub fn ask_number(&self) -> u32 {
        let count = self.next_ask.fetch_add(1, Ordering::Relaxed);
        FIRST_NUMBER + count % (LAST_NUMBER - FIRST_NUMBER)
    }

    /// Counts questions as unanswered whose time is over. Once a second.
    pub(super) async fn expire_asks(&self, now_ms: u64) {
        let asking: Vec<_> = {
            let asking = self.asking.lock();
            asking.iter().map(|(key, of)| (*key, of.clone())).collect()
        };
        let mut left = GIVEN_UP_PER_SLICE;
        for slice in asking.chunks(SLICE) {
            for (key, session) in slice {
                let session = session.upgrade();
                if let Some(session) = &session {
                    left -= session.expire_asks(now_ms, left);
                    while left == 0 {
                        tokio::task::yield_now().await;
                        left = GIVEN_UP_PER_SLICE - session.expire_asks(now_ms, GIVEN_UP_PER_SLICE);
                    }
                }
                let mut asking = self.asking.lock();
                // Looked at under the lock: a new question is noted there after it was opened.
                if session.is_none_or(|it| it.asks.lock().is_empty()) {
                    asking.remove(key);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
