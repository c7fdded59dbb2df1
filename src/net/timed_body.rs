//! A request body that must keep coming, so that a trickle cannot hold a handler.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::guard::{ConnectionEnd, Guard};

/// How long a body may take, from the first time that it has to be waited for.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// All of it.
    pub whole: Duration,
    /// In each of these spans at least `least` bytes must come.
    pub span: Duration,
    pub least: usize,
}

impl Default for BodyLimits {
    /// 30 s, and 1 KiB a second over 10 s.
    fn default() -> Self {
        Self {
            whole: Duration::from_secs(30),
            span: Duration::from_secs(10),
            least: 10 * 1024,
        }
    }
}

pub(super) struct TimedBody {
    body: Incoming,
    guard: Arc<Guard>,
    limits: BodyLimits,
    /// None until the body has to be waited for.
    wait: Option<Wait>,
}

struct Wait {
    ends: Instant,
    /// Bytes that have come in this span.
    received: usize,
    /// Until the span or all the time is over.
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("request body did not come in time")]
    Timeout,
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl TimedBody {
    pub(super) fn new(body: Incoming, guard: Arc<Guard>, limits: BodyLimits) -> Self {
        Self {
            body,
            guard,
            limits,
            wait: None,
        }
    }
}

impl Wait {
    fn new(limits: BodyLimits) -> Self {
        let now = Instant::now();
        let ends = now + limits.whole;
        Self {
            ends,
            received: 0,
            timer: Box::pin(sleep_until(ends.min(now + limits.span))),
        }
    }

    /// Ready when it has taken too long.
    fn poll_end(&mut self, limits: BodyLimits, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.ends || self.received < limits.least {
                return Poll::Ready(());
            }
            self.received = 0;
            let next = self.ends.min(now + limits.span);
            self.timer.as_mut().reset(next);
        }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let (Some(wait), Some(Ok(frame))) = (&mut self.wait, &frame) {
                wait.received += frame.data_ref().map_or(0, Bytes::len);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http)));
        }
        let limits = self.limits;
        let wait = self.wait.get_or_insert_with(|| Wait::new(limits));
        ready!(wait.poll_end(limits, cx));
        self.guard.note(ConnectionEnd::BodyTimeout);
        Poll::Ready(Some(Err(BodyError::Timeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
