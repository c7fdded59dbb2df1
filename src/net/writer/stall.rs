//! The deadline of a write of which the peer takes nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// While a write waits, the kernel is asked so many times within the deadline whether it takes something after all. A peer
/// that took its last bytes just after the write had begun to wait would otherwise have nearly twice the time.
const LOOKS: u32 = 5;

/// Runs only while a write waits, so a connection that keeps up has no timer.
pub(in crate::net) struct StallClock {
    /// How long a write may wait without a byte taken.
    deadline: Duration,
    next_look: Option<Pin<Box<Sleep>>>,
    /// Looks in a row at which nothing was taken.
    failed: u32,
}

impl StallClock {
    pub(in crate::net) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            next_look: None,
            failed: 0,
        }
    }

    /// A write waits.
    pub(in crate::net) fn is_running(&self) -> bool {
        self.next_look.is_some()
    }

    /// Starts it if need be. Ready: it is time to ask the kernel.
    pub(in crate::net) fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = self.deadline / LOOKS;
        let look = self.next_look.get_or_insert_with(|| Box::pin(sleep(pause)));
        look.as_mut().poll(cx)
    }

    /// The kernel took nothing at a look. True: that was the last one, the deadline has passed.
    pub(in crate::net) fn look_failed(&mut self) -> bool {
        self.failed += 1;
        let passed = self.failed >= LOOKS;
        if !passed {
            self.next_look = None;
        }
        passed
    }

    /// Bytes were taken.
    pub(in crate::net) fn stop(&mut self) {
        self.next_look = None;
        self.failed = 0;
    }
}
