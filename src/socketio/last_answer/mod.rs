//! The last answer of a polling session, kept because it may be lost on the way: the HTTP layers of clients and proxies repeat a
//! GET by themselves when its connection breaks, and the client behind them never learns of it.
//!
//! The library's answer lands here, whichever request waits for it at that moment. Which request gets it:
//!
//! | a poll comes | while the library holds one | after the answer |
//! |---|---|---|
//! | with the `t` of the last poll | takes over: the request before it gets an error | gets the same answer again, or an error if that was evicted |
//! | with another `t`, or none | gets an error and ends the session, unless the request before it is gone | the answer has arrived: it is released |
//!
//! An answer for which no request waited any more goes to the next poll, whatever its `t`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use metrics::Gauge;
use tokio::sync::Notify;

use super::kept_answers::KeptAnswers;

/// What the library answered a poll with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PollAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl IntoResponse for PollAnswer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The last answer of one session.
pub(super) struct LastAnswer {
    kept: Arc<KeptAnswers>,
    polls_held: Gauge,
    state: Mutex<PollState>,
    /// The stage has changed, or another request waits.
    changed: Notify,
}

struct PollState {
    stage: PollStage,
    /// The `t` of the last poll.
    mark: Option<String>,
    /// The number of the last request.
    asker: u64,
    /// That request waits for its answer.
    waits: bool,
}

enum PollStage {
    /// The library holds no poll, and no answer is kept.
    Idle,
    /// The library holds a poll.
    Held,
    /// `key`: in the list of kept answers.
    Kept {
        answer: PollAnswer,
        key: u64,
        handed_over: bool,
    },
    Evicted,
    Closed,
}

/// What becomes of a poll.
pub(super) enum NextPoll {
    /// The library is to be asked, and its answer given to the first; the second waits for it.
    Ask(PendingAnswer, Waiter),
    /// The library has been asked already. `waited`: on behalf of a request that still waits.
    TakeOver {
        waiter: Waiter,
        waited: bool,
    },
    /// The last answer, again.
    Repeat(PollAnswer),
    /// It was evicted: what the client has missed is not known any more.
    Evicted,
    /// Another poll is held, and it is not the same one.
    Overlap,
    Closed,
}

/// What a request that waited gets.
pub(super) enum Waited {
    /// `first`: no request had it before.
    Answer {
        answer: PollAnswer,
        first: bool,
    },
    /// A repeat of this request waits in its place.
    TakenOver,
    Evicted,
    Closed,
}

impl LastAnswer {
    /// `polls_held` counts the requests that wait, of all sessions.
    pub(super) fn new(kept: Arc<KeptAnswers>, polls_held: Gauge) -> Arc<Self> {
        Arc::new(Self {
            kept,
            polls_held,
            state: Mutex::new(PollState {
                stage: PollStage::Idle,
                mark: None,
                asker: 0,
                waits: false,
            }),
            changed: Notify::new(),
        })
    }

    /// A poll has come, with this `t`.
    pub(super) fn next(self: &Arc<Self>, mark: Option<&str>) -> NextPoll {
        let mut state = self.lock();
        let repeated = mark.is_some() && mark == state.mark.as_deref();
        match &state.stage {
            PollStage::Closed => NextPoll::Closed,
            PollStage::Held
            | PollStage::Kept {
                handed_over: false, ..
            } => {
                let waited = state.waits;
                if waited && !repeated {
                    return NextPoll::Overlap;
                }
                let waiter = self.wait(&mut state, mark);
                NextPoll::TakeOver { waiter, waited }
            }
            PollStage::Kept { answer, .. } if repeated => NextPoll::Repeat(answer.clone()),
            PollStage::Evicted if repeated || state.mark.is_none() => NextPoll::Evicted,
            PollStage::Kept { .. } | PollStage::Evicted | PollStage::Idle => {
                self.enter(&mut state, PollStage::Held);
                let waiter = self.wait(&mut state, mark);
                NextPoll::Ask(PendingAnswer(Some(self.clone())), waiter)
            }
        }
    }

    /// The request with this `t` is the one that gets the answer.
    fn wait(self: &Arc<Self>, state: &mut PollState, mark: Option<&str>) -> Waiter {
        state.mark = mark.map(str::to_owned);
        state.asker += 1;
        state.waits = true;
        self.changed.notify_waiters();
        self.polls_held.increment(1.0);
        Waiter {
            answers: self.clone(),
            asker: state.asker,
        }
    }

    /// The library has answered.
    fn finish(self: &Arc<Self>, mut answer: PollAnswer) {
        // The library's buffer may be much larger.
        answer.body = Bytes::copy_from_slice(&answer.body);
        let mut state = self.lock();
        if !matches!(state.stage, PollStage::Held) {
            return;
        }
        let (key, evicted) = self.kept.add(self, answer.body.len());
        let handed_over = false;
        self.enter(
            &mut state,
            PollStage::Kept {
                answer,
                key,
                handed_over,
            },
        );
        self.changed.notify_waiters();
        // The lock of another session is taken by evicting its answer.
        drop(state);
        for (key, answers) in evicted {
            answers.evict(key);
        }
    }

    fn evict(&self, evicted: u64) {
        let mut state = self.lock();
        if let PollStage::Kept {
            key, handed_over, ..
        } = state.stage
            && key == evicted
        {
            if !handed_over {
                // Whichever poll comes next misses it.
                state.mark = None;
            }
            state.stage = PollStage::Evicted;
            self.changed.notify_waiters();
        }
    }

    /// The session goes on as a WebSocket, or ends: nothing is repeated any more. True: a message had not been handed over.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        let unfetched = match &state.stage {
            PollStage::Kept {
                answer,
                handed_over: false,
                ..
            } => super::inbound::packets(&answer.body).any(|packet| packet.starts_with(b"4")),
            _ => false,
        };
        self.enter(&mut state, PollStage::Closed);
        self.changed.notify_waiters();
        unfetched
    }

    /// Leaves the stage for the next one.
    fn enter(&self, state: &mut PollState, next: PollStage) {
        if let PollStage::Kept { key, .. } = state.stage {
            self.kept.release(key);
        }
        state.stage = next;
    }

    fn lock(&self) -> MutexGuard<'_, PollState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LastAnswer {
    fn drop(&mut self) {
        let mut state = self.lock();
        self.enter(&mut state, PollStage::Closed);
    }
}

/// The answer of a poll that the library holds. Dropped without one, it leaves the session closed.
pub(super) struct PendingAnswer(Option<Arc<LastAnswer>>);

impl PendingAnswer {
    pub(super) fn finish(mut self, answer: PollAnswer) {
        if let Some(answers) = self.0.take() {
            answers.finish(answer);
        }
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if let Some(answers) = self.0.take() {
            answers.close();
        }
    }
}

/// A request that waits. Dropped (hyper does that when its connection ends) it waits no more, and the answer stays.
pub(super) struct Waiter {
    answers: Arc<LastAnswer>,
    asker: u64,
}

impl Waiter {
    pub(super) async fn answer(self) -> Waited {
        loop {
            // Before the look, so that no change is missed.
            let changed = self.answers.changed.notified();
            if let Some(waited) = self.take() {
                return waited;
            }
            changed.await;
        }
    }

    fn take(&self) -> Option<Waited> {
        let mut state = self.answers.lock();
        if state.asker != self.asker {
            return Some(Waited::TakenOver);
        }
        let (answer, first) = match &mut state.stage {
            PollStage::Held => return None,
            PollStage::Evicted => return Some(Waited::Evicted),
            PollStage::Idle | PollStage::Closed => return Some(Waited::Closed),
            PollStage::Kept {
                answer,
                handed_over,
                ..
            } => (answer.clone(), !std::mem::replace(handed_over, true)),
        };
        // Nothing tells a repeat of a poll without `t`; and what is no answer to a poll is not repeated.
        if state.mark.is_none() || answer.status != StatusCode::OK {
            self.answers.enter(&mut state, PollStage::Idle);
        }
        Some(Waited::Answer { answer, first })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.answers.polls_held.decrement(1.0);
        let mut state = self.answers.lock();
        if state.asker == self.asker {
            state.waits = false;
        }
    }
}

#[cfg(test)]
mod tests;
