//! How long a connection may take for its next request head: hyper has one deadline for a head and for the time before it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::guard::Guard;

/// Asked by the stream whenever it waits for bytes, as long as it carries HTTP.
pub(super) struct HeadDeadline {
    timer: Pin<Box<Sleep>>,
    waits_for: NextHead,
    /// Requests that had come when `waits_for` was decided.
    requests: u64,
    head_timeout: Duration,
    /// Between two requests.
    idle_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextHead {
    /// A request is being answered.
    Nothing,
    /// The first byte of another request.
    Start,
    /// The rest of a head, or the first one of the connection.
    End,
}

impl HeadDeadline {
    pub(super) fn new(head_timeout: Duration, idle_timeout: Duration) -> Self {
        Self {
            timer: Box::pin(sleep(head_timeout)),
            waits_for: NextHead::End,
            requests: 0,
            head_timeout,
            idle_timeout,
        }
    }

    /// Bytes have come.
    pub(super) fn received(&mut self, guard: &Guard) {
        self.follow(guard);
        if self.waits_for == NextHead::Start {
            self.wait_for(NextHead::End, self.head_timeout);
        }
    }

    /// Nothing has come. Ready: for too long.
    pub(super) fn poll(&mut self, guard: &Guard, cx: &mut Context<'_>) -> Poll<()> {
        self.follow(guard);
        while self.waits_for != NextHead::Nothing {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The answer before is still on its way to a client that reads slowly: another deadline ends that.
            if !guard.write_blocked() {
                return Poll::Ready(());
            }
            self.wait_for(self.waits_for, self.idle_timeout);
        }
        Poll::Pending
    }

    /// What has become of requests since the last call.
    fn follow(&mut self, guard: &Guard) {
        let requests = guard.requests();
        if requests != self.requests {
            self.requests = requests;
            self.waits_for = NextHead::Nothing;
        }
        if self.waits_for == NextHead::Nothing && guard.is_idle() {
            self.wait_for(NextHead::Start, self.idle_timeout);
        }
    }

    fn wait_for(&mut self, what: NextHead, at_most: Duration) {
        self.waits_for = what;
        self.timer.as_mut().reset(Instant::now() + at_most);
    }
}
