//! The requests of a polling session: each poll is answered, and each post accepted, once however often it is repeated.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleetcast_core::domain::protocol::CloseReason;

use super::engine::{Engine, LIMIT_RETRY_AFTER_SECONDS, collect};
use super::engine_error::EngineError;
use super::engine_session::EngineSession;
use super::inbound::{self, PayloadDefect};
use super::last_answer::{NextPoll, PendingAnswer, PollAnswer, Waited, Waiter};
use crate::net::Guard;
use crate::problem::Problem;
use crate::telemetry::labels::{Label, RejectReason, RepeatOutcome};

impl Engine {
    /// A GET of a polling session; `mark` is its `t`.
    pub(super) async fn poll(
        self: Arc<Self>,
        session: Arc<EngineSession>,
        request: Request<Body>,
        mark: Option<&str>,
        guard: &Arc<Guard>,
    ) -> Response {
        if mark.is_none() && !session.last_answer_arrived(guard).await {
            return EngineError::Session.into_response();
        }
        let Some(polling) = &session.polling else {
            return EngineError::BadRequest.into_response();
        };
        let waiter = match polling.answers.next(mark) {
            NextPoll::Ask(pending, waiter) => {
                self.ask_library(request, pending);
                waiter
            }
            NextPoll::TakeOver { waiter, waited } => {
                if waited {
                    if !session.packets_came(1) {
                        return too_many();
                    }
                    self.count_repeat(RepeatOutcome::TakenOver);
                }
                waiter
            }
            NextPoll::Repeat(answer) => {
                if !session.packets_came(1) {
                    return too_many();
                }
                self.count_repeat(RepeatOutcome::Repeated);
                return answer.into_response();
            }
            NextPoll::Evicted => return self.evicted(&session),
            NextPoll::Overlap => {
                session.close(CloseReason::Protocol);
                return EngineError::BadRequest.into_response();
            }
            NextPoll::Closed => return self.call(request).await,
        };
        let answer = match self.wait(&session, waiter).await {
            Ok(answer) => answer,
            Err(refusal) => return refusal,
        };
        if mark.is_none() && answer.status == StatusCode::OK {
            session.watch_answer(guard, answer.body.len());
        }
        answer.into_response()
    }

    /// Asks in a task of its own: the request may be dropped at any time, and what the library has handed out is to be kept then.
    fn ask_library(self: &Arc<Self>, request: Request<Body>, pending: PendingAnswer) {
        let engine = self.clone();
        self.lifecycle.tasks().spawn(async move {
            let (parts, body) = collect(engine.call(request).await).await;
            pending.finish(PollAnswer {
                status: parts.status,
                headers: parts.headers,
                body,
            });
        });
    }

    /// An error is what the request gets in place of the answer.
    async fn wait(&self, session: &EngineSession, waiter: Waiter) -> Result<PollAnswer, Response> {
        // From here to the end nothing is awaited: what is handed over leaves with this response.
        let (answer, first) = match waiter.answer().await {
            Waited::Answer { answer, first } => (answer, first),
            Waited::TakenOver => return Err(taken_over()),
            Waited::Evicted => return Err(self.evicted(session)),
            Waited::Closed => return Err(EngineError::Session.into_response()),
        };
        if answer.status != StatusCode::OK {
            return Ok(answer);
        }
        if session.is_closed() {
            return Err(EngineError::Session.into_response());
        }
        // Empty: the library has ended the session while it held the poll.
        if first && (!session.budget.polled(&answer.body) || answer.body.is_empty()) {
            session.close_for_library();
            return Err(EngineError::Session.into_response());
        }
        Ok(answer)
    }

    fn evicted(&self, session: &EngineSession) -> Response {
        self.count_repeat(RepeatOutcome::Evicted);
        session.lose_answer("evicted before it was repeated");
        EngineError::Session.into_response()
    }

    /// A POST of a polling session. One that is repeated was accepted before: its messages are not acted upon twice.
    pub(super) async fn post(
        self: Arc<Self>,
        session: Arc<EngineSession>,
        request: Request<Body>,
        mark: Option<&str>,
    ) -> Response {
        let under_way = match &session.polling {
            Some(polling) => polling.last_post.begin(mark),
            None => return EngineError::BadRequest.into_response(),
        };
        // Two at once: which one came first cannot be known, and the library would mix their packets. No stock client does it.
        let Some(nth) = under_way else {
            session.close(CloseReason::Protocol);
            return EngineError::BadRequest.into_response();
        };
        // Also when the request is dropped, because its connection has ended.
        let _under_way = PostUnderWay {
            session: session.clone(),
            nth,
        };
        let (most, packet) = (self.settings.max_payload, self.settings.max_packet);
        let payload = match inbound::read(request, most, packet).await {
            Ok(payload) => payload,
            Err(PayloadDefect::Flood) => {
                session.close_for_rate();
                return too_many();
            }
            Err(defect) => {
                if defect == PayloadDefect::Abuse {
                    session.close(CloseReason::Protocol);
                }
                return EngineError::BadRequest.into_response();
            }
        };
        // Another one has come meanwhile.
        if session.is_closed() {
            return EngineError::Session.into_response();
        }
        if !session.payload_came(payload.packets, payload.acknowledgements) {
            return too_many();
        }
        let request = payload.request;
        let (Some(mark), Some(polling)) = (mark, &session.polling) else {
            return self.call(request).await;
        };
        let (parts, body) = request.into_parts();
        // In memory, and what has got legible names may be a few bytes longer than a payload may be: the library says so.
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let body = body.unwrap_or_default();
        let digest = digest(mark, &body);
        if polling.last_post.is(digest) {
            self.count_repeat(RepeatOutcome::Accepted);
            return "ok".into_response();
        }
        let response = self
            .call(Request::from_parts(parts, Body::from(body)))
            .await;
        if response.status() == StatusCode::OK {
            polling.last_post.set(digest);
        }
        response
    }

    fn count_repeat(&self, outcome: RepeatOutcome) {
        self.sessions.metrics().polls_repeated.increment(outcome);
    }
}

/// For a client that sends more than it may.
fn too_many() -> Response {
    let status = StatusCode::TOO_MANY_REQUESTS;
    Problem::new(
        status,
        RejectReason::MessageRate.as_str(),
        "too many messages",
    )
    .retry_after(LIMIT_RETRY_AFTER_SECONDS)
    .into_response()
}

/// For a request that is still there although it was repeated: its connection has broken somewhere.
fn taken_over() -> Response {
    let mut response = EngineError::BadRequest.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// The last post of a session that was accepted, and the one that is under way.
#[derive(Default)]
pub(super) struct LastPost(Mutex<PostState>);

#[derive(Default)]
struct PostState {
    /// A digest.
    accepted: Option<u64>,
    /// Its number, and a digest of its `t`.
    under_way: Option<(u32, Option<u64>)>,
    begun: u32,
}

impl LastPost {
    fn is(&self, digest: u64) -> bool {
        self.lock().accepted == Some(digest)
    }

    fn set(&self, digest: u64) {
        self.lock().accepted = Some(digest);
    }

    /// A post begins, and gets a number. `None`: another one is under way. (One with the same `t` is the same again: the connection
    /// of the first has broken somewhere.)
    fn begin(&self, mark: Option<&str>) -> Option<u32> {
        let mark = mark.map(|mark| digest(mark, &Bytes::new()));
        let mut state = self.lock();
        let may_begin = match state.under_way {
            Some((_, before)) => before.is_some() && before == mark,
            None => true,
        };
        if !may_begin {
            return None;
        }
        state.begun = state.begun.wrapping_add(1);
        let nth = state.begun;
        state.under_way = Some((nth, mark));
        Some(nth)
    }

    fn end(&self, nth: u32) {
        self.lock().under_way.take_if(|(of, _)| *of == nth);
    }

    fn lock(&self) -> MutexGuard<'_, PostState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A post from its head to its answer.
struct PostUnderWay {
    session: Arc<EngineSession>,
    nth: u32,
}

impl Drop for PostUnderWay {
    fn drop(&mut self) {
        if let Some(polling) = &self.session.polling {
            polling.last_post.end(self.nth);
        }
    }
}

/// A client that makes two of its own posts collide drops a message of its own.
fn digest(mark: &str, body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    mark.hash(&mut hasher);
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a29_posts_of_a_session_come_one_after_the_other() {
        let posts = LastPost::default();
        let first = posts.begin(None).expect("the first");
        assert_eq!((posts.begin(None), posts.begin(Some("a"))), (None, None));
        posts.end(first);
        let first = posts.begin(Some("a")).expect("none is under way");
        assert_eq!((posts.begin(None), posts.begin(Some("b"))), (None, None));
        let again = posts.begin(Some("a")).expect("the same again");
        // The one before it is given up, and does not end it.
        posts.end(first);
        assert_eq!(posts.begin(Some("b")), None);
        posts.end(again);
        assert!(posts.begin(Some("b")).is_some());
    }
}
