//! The pump of a connection: the task that writes while the kernel does not take all.
//!
//! There is none until a write leaves something, and it ends when nothing is left or the connection ends. As long as it runs, nothing
//! else writes: frames of the lane are queued behind what is left, and the library waits until its own is gone. So there is one waiter
//! for the kernel, one deadline, and one place that wakes the library.

use std::future::poll_fn;
use std::sync::Arc;

use super::guard::{ConnectionEnd, Guard};
use super::writer::{PumpTurn, StallClock, WriterError};

impl Guard {
    /// Starts a pump if the last write has left something. To be called after each that may, with no lock held.
    pub(super) fn start_pump(self: &Arc<Self>) {
        if self.writer().needs_pump() {
            let context = self.writer().context();
            let guard = self.clone();
            context.tracker.spawn_on(pump(guard), &context.runtime);
        }
    }

    /// Ends the connection because a write failed that is not the library's. The writer's lock is free again.
    pub(super) fn end_failed(&self, error: &WriterError) {
        match error {
            WriterError::Io(error) => {
                tracing::debug!(%error, peer = %self.peer(), "cannot write");
                self.end(ConnectionEnd::of_write(error));
            }
            WriterError::Close(reason) => self.kick(reason),
            // The one that aborted it has ended it.
            WriterError::Aborted => {}
        }
    }
}

async fn pump(guard: Arc<Guard>) {
    if let Err(error) = pump_until_done(&guard).await {
        guard.end_failed(&error);
    }
}

async fn pump_until_done(guard: &Guard) -> Result<(), WriterError> {
    let mut stall = StallClock::new(guard.writer().context().deadline);
    // Held while waiting: an end of the connection shuts the socket down, and that makes it writable.
    while let Some(socket) = guard.writer().socket_of_pump() {
        let look = tokio::select! {
            biased;
            ready = socket.writable() => {
                ready?;
                false
            }
            () = poll_fn(|cx| stall.poll_look(cx)) => true,
        };
        match guard.writer().pump(look)? {
            PumpTurn::Done => break,
            PumpTurn::Progress => stall.stop(),
            PumpTurn::Nothing if look && stall.look_failed() => {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            }
            PumpTurn::Nothing => {}
        }
    }
    Ok(())
}
