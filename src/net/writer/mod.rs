//! The one writer of an upgraded connection. The library writes through it, and so will whatever else sends frames.
//!
//! ```text
//! library ── Intake ──┬── straight ─────────┐
//!   (whole frames?    │                     ├── Outflow ── Socket
//!    wanted kinds?)   └── held ── queue ────┘   (deadline, reports to the observer)
//! ```
//!
//! Before the upgrade HTTP goes straight through. After it:
//!
//! - *Boundary.* When the kernel takes half of a frame, the rest of that frame is copied into the queue and reported to the
//!   library as written. So whatever is queued next begins at a frame boundary, whenever the lock is free. (Unless the
//!   library itself has given only a part of a frame; tungstenite gives whole ones.)
//! - *Queue.* A write that finds it not empty waits behind it. [`poll_flush`](FrameWriter::poll_flush) and the next
//!   [`poll_write`](FrameWriter::poll_write) write it out; there is no task for it. The library flushes after everything it
//!   writes, also what it writes from inside a read, and repeats a flush that has to wait. With a queue the connection counts
//!   as blocked: for the write stall, for a session that is dead, and for the reset on drop.
//! - *Ends.* After a Close frame nothing follows: what the library gives is dropped, as the peer would do. An abort (a kick)
//!   drops the queue. What has to end the connection is returned as a [`WriterError`], and the caller ends it when the
//!   lock is free.
//!
//! A second source of frames (the lane) will queue finished, shared frames here while [`Intake::at_boundary`] holds, bounded by
//! the send budget, with fences behind packets of the library that have to pass first; and a task will write the queue out
//! when the library has nothing to flush.
//!
//! Fast path: nothing held, nothing queued, the kernel takes all: one call to the kernel and no allocation.

mod intake;
mod one_sided;
mod outflow;
mod stall;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;

use self::intake::{HeldBytes, Intake};
use self::outflow::Outflow;
use super::lane::{LaneFrame, LaneOffer};
use super::observer::Observer;
use super::send_queue::SendQueue;
use super::socket::Socket;

/// So many queued pieces leave with one call to the kernel.
const SLICES: usize = 16;

/// Why a write failed.
#[derive(Debug)]
pub(super) enum WriterError {
    /// `TimedOut`: the peer took nothing for the whole of the deadline.
    Io(io::Error),
    /// An observer wants the connection closed.
    Close(&'static str),
    /// The connection was ended from elsewhere.
    Aborted,
}

impl From<io::Error> for WriterError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// See the module.
pub(super) struct FrameWriter {
    /// As it was when the lock was last free; read without it.
    blocked: AtomicBool,
    /// Lock order: the hub's lock, then this one, then a session's `SendBudget`, then `SharedHub`'s list of ready
    /// connections. Observers run inside it and take the latter two. Nothing inside it ends a session or a connection,
    /// because that takes it again, from `Guard`.
    state: Mutex<WriterState>,
}

struct WriterState {
    intake: Intake,
    /// Whole frames, but for the first, which the kernel may have taken a part of. At most one as long as the library alone
    /// writes, because it waits for it.
    queue: VecDeque<Bytes>,
    outflow: Outflow,
}

impl FrameWriter {
    /// A write of which the peer takes nothing for the whole of `deadline` fails.
    pub(super) fn new(socket: Arc<dyn Socket>, deadline: Duration) -> Self {
        Self {
            blocked: AtomicBool::new(false),
            state: Mutex::new(WriterState {
                intake: Intake::new(),
                queue: VecDeque::new(),
                outflow: Outflow::new(socket, deadline),
            }),
        }
    }

    /// A `101` response has been given to hyper: frames follow its head.
    pub(super) fn expect_upgrade(&self) {
        self.with(|state| state.outflow.expect_upgrade());
    }

    /// Something waits for the peer to read.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        observer: Option<&dyn Observer>,
    ) -> Poll<Result<usize, WriterError>> {
        self.with(|state| state.poll_write(cx, bufs, observer))
    }

    /// Writes out the queue.
    pub(super) fn poll_flush(
        &self,
        cx: &mut Context<'_>,
        observer: Option<&dyn Observer>,
    ) -> Poll<Result<(), WriterError>> {
        self.with(|state| {
            if state.queue.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(state.outflow.poll_turn(cx))?;
            state.poll_queue(cx, observer)
        })
    }

    /// Ends our direction, behind the queue.
    pub(super) fn poll_shutdown(
        &self,
        cx: &mut Context<'_>,
        observer: Option<&dyn Observer>,
    ) -> Poll<Result<(), WriterError>> {
        let flushed = ready!(self.poll_flush(cx, observer));
        let shut = self.with(|state| state.outflow.shut_down(Shutdown::Write));
        Poll::Ready(flushed.and(shut.map_err(WriterError::from)))
    }

    pub(super) fn offer_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.push_frame(frame)
    }

    pub(super) fn push_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.with(|state| {
            if !state.outflow.is_open() || state.intake.is_closed() {
                return LaneOffer::Closed;
            }
            let first = state.queue.is_empty();
            state.queue.push_back(frame.bytes().clone());
            if first {
                LaneOffer::FirstQueued
            } else {
                LaneOffer::Queued
            }
        })
    }

    pub(super) fn lane_has_capacity(&self) -> bool {
        self.with(|state| state.queue.len() < SLICES)
    }

    pub(super) fn flush_lane(&self, observer: Option<&dyn Observer>) -> Result<(), WriterError> {
        self.with(|state| state.send_queue(observer))
    }

    /// Bytes that the kernel has taken.
    pub(super) fn written(&self) -> u64 {
        self.with(|state| state.outflow.written())
    }

    /// What of them has not reached the peer.
    pub(super) fn send_queue(&self) -> SendQueue {
        self.with(|state| state.outflow.send_queue())
    }

    /// Bytes came from the peer. True: it sends on and on and takes too little of what it is sent.
    pub(super) fn received(&self, bytes: usize) -> bool {
        self.is_blocked() && self.with(|state| state.outflow.received(bytes))
    }

    /// Ends both directions at once and drops what is queued: every read and write fails from now on, and the tasks that
    /// wait for one are woken.
    pub(super) fn abort(&self) -> io::Result<()> {
        self.with(|state| {
            state.queue = VecDeque::new();
            state.intake.forget_held();
            state.outflow.abort()
        })
    }

    /// The stream is dropped: no descriptor is held here from now on. A peer that does not read would keep the kernel busy
    /// with our unsent bytes, so its connection is reset.
    pub(super) fn detach(&self) {
        let socket = self.with(|state| {
            state.queue = VecDeque::new();
            state.intake.forget_held();
            state.outflow.take_socket()
        });
        if let Some(socket) = socket
            && self.is_blocked()
            && let Err(error) = socket.reset_on_close()
        {
            tracing::debug!(%error, "cannot reset a connection; the kernel gives up on it later");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut WriterState) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut state);
        // What an abort interrupts stays blocked: the reset on drop goes by it.
        if state.outflow.is_open() {
            let blocked = state.outflow.waits() || !state.queue.is_empty();
            self.blocked.store(blocked, Ordering::Relaxed);
        }
        done
    }
}

impl WriterState {
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        observer: Option<&dyn Observer>,
    ) -> Poll<Result<usize, WriterError>> {
        if !self.outflow.is_open() {
            return Poll::Ready(Err(WriterError::Aborted));
        }
        ready!(self.outflow.poll_turn(cx))?;
        if self.outflow.frames().is_http() {
            return self.outflow.poll_send(cx, bufs, observer);
        }
        // One buffer at a time: the library gives no more.
        let Some(buf) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        // The head of the 101, and what of HTTP stands before it.
        let head = self.outflow.frames().head_len(buf);
        if head > 0 {
            let head = [IoSlice::new(&buf[..head])];
            return self.outflow.poll_send(cx, &head, observer);
        }
        let straight = loop {
            ready!(self.poll_queue(cx, observer))?;
            if self.intake.is_closed() {
                return Poll::Ready(Ok(buf.len()));
            }
            let straight = self.intake.straight(buf, observer);
            if straight > 0 {
                break straight;
            }
            // What was held may be released without a byte of `buf`, when the observer has changed. To say that nothing was
            // written would be the end of the connection.
            let used = self.hold(buf, observer)?;
            if used > 0 {
                return Poll::Ready(Ok(used));
            }
        };
        let run = &buf[..straight];
        let taken = ready!(self.outflow.poll_send(cx, &[IoSlice::new(run)], observer))?;
        if taken == 0 {
            return Poll::Ready(Ok(0));
        }
        // Half a frame: keep the rest of it.
        let passed = self.intake.pass(run, taken);
        if taken < passed {
            self.queue
                .push_back(Bytes::copy_from_slice(&run[taken..passed]));
        }
        Poll::Ready(Ok(passed))
    }

    /// Deals with a frame that may be of a wanted kind. It is rare, so it may cost a copy.
    fn hold(&mut self, buf: &[u8], observer: Option<&dyn Observer>) -> Result<usize, WriterError> {
        let (used, held) = self.intake.hold(buf, observer);
        match held {
            HeldBytes::Incomplete => {}
            HeldBytes::Released(bytes) => {
                self.queue.push_back(bytes.into());
                self.send_queue(observer)?;
            }
            HeldBytes::Close(reason) => return Err(WriterError::Close(reason)),
        }
        Ok(used)
    }

    /// Writes out the queue, or waits.
    fn poll_queue(
        &mut self,
        cx: &mut Context<'_>,
        observer: Option<&dyn Observer>,
    ) -> Poll<Result<(), WriterError>> {
        while !self.queue.is_empty() {
            let (slices, count) = slices(&self.queue);
            let sent = self.outflow.poll_send(cx, &slices[..count], observer);
            self.drop_sent(ready!(sent)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes out of the queue what goes now.
    fn send_queue(&mut self, observer: Option<&dyn Observer>) -> Result<(), WriterError> {
        let (slices, count) = slices(&self.queue);
        let sent = self.outflow.try_send(&slices[..count], observer)?;
        self.drop_sent(sent);
        Ok(())
    }

    fn drop_sent(&mut self, mut sent: usize) {
        while let Some(front) = self.queue.front_mut() {
            if sent < front.len() {
                drop(front.split_to(sent));
                return;
            }
            sent -= front.len();
            self.queue.pop_front();
        }
    }
}

/// The first pieces of the queue, for one call to the kernel.
fn slices(queue: &VecDeque<Bytes>) -> ([IoSlice<'_>; SLICES], usize) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(queue) {
        *slice = IoSlice::new(piece);
        count += 1;
    }
    (slices, count)
}
