//! The one writer of an upgraded connection: of the library's frames, and of those of the lane.
//!
//! ```text
//! library ── Intake ──┬── straight ──────────┐
//!   (whole frames?    │                      ├── Outflow ── Socket
//!    wanted kinds?)   └── held ──┐           │  (reports to the observer)
//! lane ── LaneBudget ────────── FrameQueue ──┘
//!             (JoinedFrames: a burst for several connections in one piece)
//! ```
//!
//! Before the upgrade HTTP goes straight through. After it:
//!
//! - *Boundary.* When the kernel takes half of a frame, the rest of that frame is copied into the queue and reported to the
//!   library as written. So whatever is queued next begins at a frame boundary, whenever the lock is free. (Unless the library
//!   itself has given only a part of a frame. Frames of the lane wait for the rest of it then; tungstenite gives whole ones.)
//! - *Lane.* A finished frame is queued, if it fits into the [`LaneBudget`](budget::LaneBudget), and written by the next flush. What is
//!   queued and not flushed does not count as blocked.
//! - *Blocked.* A write has left something. From then on until nothing is left the connection has a pump, a task that writes when the
//!   kernel takes more, and nothing else writes. A connection that is blocked counts for the write stall, for a session that is dead,
//!   and for the reset on drop.
//! - *Library.* A write of it that finds the queue blocked is queued in its turn, one frame, and reported as written. The library's next
//!   write and its flush wait until that has left; the pump wakes them. So a ping is late by what was queued before it, and never waits
//!   for a lane that is never idle.
//! - *Ends.* After a Close frame nothing follows: what the library gives is dropped, as the peer would do, and so is the lane. An abort
//!   (a kick) drops the queue. What has to end the connection is returned as a [`WriterError`], and the caller ends it when the lock is
//!   free.
//!
//! Fast path: nothing held, nothing left, the kernel takes all: one call to the kernel, no allocation, and for the lane no clock.

mod budget;
mod context;
mod intake;
mod joined;
mod one_sided;
mod outflow;
mod queue;
mod stall;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

pub(super) use self::context::WriterContext;
pub(super) use self::joined::JoinedFrames;
use self::outflow::{KernelCall, Outflow};
pub(super) use self::stall::StallClock;
pub(super) use self::state::PumpTurn;
use self::state::WriterState;
use super::lane::{LaneFrame, LaneOffer};
use super::lane_flush::LaneFlush;
use super::observer::Observer;
use super::send_queue::SendQueue;
use super::socket::Socket;

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

/// See the module. In this order in memory: see [`WriterState`].
#[repr(C)]
pub(super) struct FrameWriter {
    context: Arc<WriterContext>,
    /// As it was when the lock was last free; read without it.
    blocked: AtomicBool,
    /// A write has left something, and no pump was started for it.
    needs_pump: AtomicBool,
    /// Lock order: the hub's lock, then this one, then a session's `SendBudget`, then `SharedHub`'s list of ready
    /// connections. Observers run inside it and take the latter two. Nothing inside it ends a session or a connection,
    /// because that takes it again, from `Guard`.
    state: Mutex<WriterState>,
}

impl FrameWriter {
    pub(super) fn new(socket: Arc<dyn Socket>, context: Arc<WriterContext>) -> Self {
        let outflow = Outflow::new(socket, context.deadline);
        Self {
            context,
            blocked: AtomicBool::new(false),
            needs_pump: AtomicBool::new(false),
            state: Mutex::new(WriterState::new(outflow)),
        }
    }

    pub(super) fn context(&self) -> &WriterContext {
        &self.context
    }

    /// A `101` response has been given to hyper: frames follow its head.
    pub(super) fn expect_upgrade(&self) {
        self.with(|state| state.outflow.expect_upgrade());
    }

    /// Something waits for the peer to read.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Asks which observer is to be notified from now on, under the lock.
    pub(super) fn observe(&self, observer: impl FnOnce() -> Option<Arc<dyn Observer>>) {
        let before = self.with(|state| std::mem::replace(&mut state.observer, observer()));
        // It may be the last that holds it, and what hangs on it.
        drop(before);
    }

    pub(super) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.with(|state| state.observer.clone())
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, WriterError>> {
        self.with(|state| state.poll_write(cx, bufs, &self.context))
    }

    /// Waits until nothing is left of what the library has written.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|state| state.poll_flush(cx))
    }

    /// Ends our direction, behind the queue.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<Result<(), WriterError>> {
        self.with(|state| state.poll_shutdown(cx, &self.context))
    }

    /// Reads a word next to what [`offer_frame`](Self::offer_frame) and [`flush_lane`](Self::flush_lane) work on, so that the memory is
    /// there when they come to it. The value means nothing; it is returned so that the read is not optimised away.
    pub(super) fn look_ahead(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn offer_frame(&self, frame: &LaneFrame) -> LaneOffer {
        // Only queues, so nothing of what `with` looks after changes.
        self.lock().offer_frame(frame)
    }

    pub(super) fn push_frame(&self, frame: &LaneFrame) -> LaneOffer {
        self.lock().push_frame(frame)
    }

    pub(super) fn lane_has_capacity(&self) -> bool {
        self.with(WriterState::lane_has_capacity)
    }

    pub(super) fn flush_lane(&self, flush: &mut LaneFlush) -> Result<(), WriterError> {
        self.with(|state| state.flush_lane(&self.context, flush))
    }

    /// True, once: a pump is to be started.
    pub(super) fn needs_pump(&self) -> bool {
        self.needs_pump.load(Ordering::Acquire) && self.needs_pump.swap(false, Ordering::AcqRel)
    }

    /// What the pump waits for. `None`: it is over.
    pub(super) fn socket_of_pump(&self) -> Option<Arc<dyn Socket>> {
        self.with(|state| state.outflow.open_socket().filter(|_| state.is_pumped()))
    }

    /// The pump's turn. `look`: the kernel has not called the socket writable.
    pub(super) fn pump(&self, look: bool) -> Result<PumpTurn, WriterError> {
        let call = if look {
            KernelCall::Always
        } else {
            KernelCall::WhenReady
        };
        self.with(|state| state.pump(call, &self.context))
    }

    /// Bytes that the kernel has taken.
    pub(super) fn written(&self) -> u64 {
        self.with(|state| state.outflow.written())
    }

    /// What the kernel has taken and the peer has not.
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
            state.clear();
            state.outflow.abort()
        })
    }

    /// The stream is dropped: no descriptor is held here from now on. A peer that does not read would keep the kernel busy
    /// with our unsent bytes, so its connection is reset.
    pub(super) fn detach(&self) {
        let socket = self.with(|state| {
            state.clear();
            state.outflow.take_socket()
        });
        let Some(socket) = socket.filter(|_| self.is_blocked()) else {
            return;
        };
        // Shut down, it wakes the pump, which holds the socket while it waits.
        let reset = socket.reset_on_close();
        let shut = socket.shut_down(Shutdown::Both);
        if let Err(error) = reset.and(shut) {
            tracing::debug!(%error, "cannot reset a connection; the kernel gives up on it later");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut WriterState) -> T) -> T {
        let mut state = self.lock();
        let pumped = state.is_pumped();
        let done = act(&mut state);
        state.update();
        if state.is_pumped() && !pumped {
            self.needs_pump.store(true, Ordering::Release);
        }
        // What an abort interrupts stays blocked: the reset on drop goes by it.
        if state.outflow.is_open() {
            self.blocked.store(state.is_blocked(), Ordering::Relaxed);
        }
        let library = state.library_to_wake();
        drop(state);
        if let Some(waker) = library {
            waker.wake();
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
