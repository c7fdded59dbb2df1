//! What happens under the writer's lock.

use std::io::IoSlice;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

use super::WriterError;
use super::budget::LaneBudget;
use super::context::WriterContext;
use super::intake::{HeldBytes, Intake};
use super::outflow::{KernelCall, Outflow};
use super::queue::{FrameQueue, TakenPart};
use crate::clock;
use crate::net::lane::{LaneFrame, LaneOffer};
use crate::net::lane_flush::LaneFlush;
use crate::net::observer::Observer;

/// In this order in memory: a fan-out to thousands of connections waits for memory more than for anything else, so what queueing a frame
/// touches lies together, next to the lock.
#[repr(C)]
pub(super) struct WriterState {
    /// Frames of the lane are taken, as of when the lock was free last: see [`Self::update`].
    takes_lane: bool,
    /// The kernel did not take all of what may go: a pump writes until it has, and nothing else writes. Only frames block.
    blocked: bool,
    /// A frame of the lane was queued while nothing was blocked, and the flush that its caller sees to has not come yet.
    flush_due: bool,
    /// The library ends our direction. What is queued goes out, and nothing is added.
    ending: bool,
    budget: LaneBudget,
    pub(super) queue: FrameQueue,
    pub(super) outflow: Outflow,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) intake: Intake,
    /// The library waits until nothing of it is queued, or nothing at all when it is ending.
    library: Option<Waker>,
}

/// What one turn of the pump came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum PumpTurn {
    /// Nothing is left, or the connection has ended. This pump is over.
    Done,
    /// The kernel has taken something, and something is left.
    Progress,
    /// It has taken nothing.
    Nothing,
}

impl WriterState {
    pub(super) fn new(outflow: Outflow) -> Self {
        Self {
            takes_lane: false,
            blocked: false,
            flush_due: false,
            ending: false,
            budget: LaneBudget::default(),
            queue: FrameQueue::default(),
            outflow,
            observer: None,
            intake: Intake::new(),
            library: None,
        }
    }

    /// To be called before the lock is free again, unless frames were queued and nothing else was done.
    pub(super) fn update(&mut self) {
        let http = self.outflow.frames().is_http();
        self.takes_lane =
            self.outflow.is_open() && !http && !self.intake.is_closed() && !self.ending;
    }

    /// A pump is needed, or there is one.
    pub(super) fn is_pumped(&self) -> bool {
        self.blocked
    }

    /// Something waits for the peer to read.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked || self.outflow.waits()
    }

    /// The library's waker, if it waits for nothing any more.
    pub(super) fn library_to_wake(&mut self) -> Option<Waker> {
        self.library
            .take_if(|_| !library_waits(&self.outflow, &self.queue, self.ending))
    }

    /// Waits until nothing of the library is queued, or nothing at all when it is ending. A pump writes the rest and wakes the library.
    fn poll_library(&mut self, cx: &Context<'_>) -> Poll<()> {
        if library_waits(&self.outflow, &self.queue, self.ending) {
            self.library = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        context: &WriterContext,
    ) -> Poll<Result<usize, WriterError>> {
        if !self.outflow.is_open() {
            return Poll::Ready(Err(WriterError::Aborted));
        }
        ready!(self.outflow.poll_turn(cx))?;
        let observer = self.observer.as_deref();
        if self.outflow.frames().is_http() {
            return self.outflow.poll_send(cx, bufs, observer);
        }
        // One buffer at a time: the library gives no more.
        let Some(buf) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        // The head of the 101, and what of HTTP stands before it.
        let head = self.outflow.frames().head_len(buf);
        let written = if head > 0 {
            let head = [IoSlice::new(&buf[..head])];
            ready!(self.outflow.poll_send(cx, &head, observer))?
        } else {
            ready!(self.poll_frames(cx, buf, context))?
        };
        // Frames of the lane may have waited for this.
        self.send_ready(context)?;
        Poll::Ready(Ok(written))
    }

    fn poll_frames(
        &mut self,
        cx: &Context<'_>,
        buf: &[u8],
        context: &WriterContext,
    ) -> Poll<Result<usize, WriterError>> {
        let straight = loop {
            ready!(self.poll_library(cx));
            if self.intake.is_closed() {
                return Poll::Ready(Ok(buf.len()));
            }
            self.send_ready(context)?;
            let straight = self.intake.straight(buf, self.observer.as_deref());
            if straight > 0 {
                break straight;
            }
            // What was held may be released without a byte of `buf`, when the observer has changed. To say that nothing was
            // written would be the end of the connection.
            let used = self.hold(buf, context)?;
            if used > 0 {
                return Poll::Ready(Ok(used));
            }
        };
        Poll::Ready(self.send_straight(&buf[..straight]))
    }

    /// Writes what the library gives, unless it has to wait. What the kernel does not take of a frame is queued, the first one whole if
    /// need be: the library's turn comes behind what is queued by now, and not when the lane is idle.
    fn send_straight(&mut self, run: &[u8]) -> Result<usize, WriterError> {
        let observer = self.observer.as_deref();
        let taken = if self.blocked {
            0
        } else {
            let call = KernelCall::WhenReady;
            self.outflow
                .try_send(&[IoSlice::new(run)], call, observer)?
        };
        self.outflow.follow(&run[..taken], observer);
        let continues = !self.intake.at_boundary();
        let passed = self.intake.pass(run, taken.max(1));
        if taken < passed {
            self.queue
                .push_library(run[taken..passed].into(), continues || taken > 0);
            self.left_behind(taken);
        }
        if self.intake.is_closed() {
            self.drop_behind(self.queue.library_end());
        }
        Ok(passed)
    }

    /// Deals with a frame that may be of a wanted kind. It is rare, so it may cost a copy.
    fn hold(&mut self, buf: &[u8], context: &WriterContext) -> Result<usize, WriterError> {
        let (used, held) = self.intake.hold(buf, self.observer.as_deref());
        match held {
            HeldBytes::Incomplete => {}
            HeldBytes::Released(bytes) => {
                self.queue.push_library(bytes.into(), false);
                self.send_ready(context)?;
            }
            HeldBytes::Close(reason) => return Err(WriterError::Close(reason)),
        }
        Ok(used)
    }

    /// Ends our direction, behind the queue.
    pub(super) fn poll_shutdown(
        &mut self,
        cx: &Context<'_>,
        context: &WriterContext,
    ) -> Poll<Result<(), WriterError>> {
        let mut sent = Ok(());
        if !self.ending {
            self.ending = true;
            self.drop_behind(self.may_go());
            if self.outflow.is_open() {
                sent = self.send_ready(context);
            }
        }
        ready!(self.poll_library(cx));
        let shut = self.outflow.shut_down(Shutdown::Write);
        Poll::Ready(sent.and(shut.map_err(WriterError::from)))
    }

    pub(super) fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll_library(cx)
    }

    pub(super) fn offer_frame(&mut self, frame: &LaneFrame) -> LaneOffer {
        if !self.takes_lane {
            return LaneOffer::Closed;
        }
        if !self
            .budget
            .fits(&self.queue, frame.bytes().len(), self.blocked)
        {
            self.budget.want_wake();
            return LaneOffer::Full;
        }
        self.queue_frame(frame)
    }

    pub(super) fn push_frame(&mut self, frame: &LaneFrame) -> LaneOffer {
        if !self.takes_lane {
            return LaneOffer::Closed;
        }
        self.queue_frame(frame)
    }

    fn queue_frame(&mut self, frame: &LaneFrame) -> LaneOffer {
        self.budget.offered();
        self.queue.push_lane(frame);
        if self.blocked || std::mem::replace(&mut self.flush_due, true) {
            LaneOffer::Queued
        } else {
            LaneOffer::FirstQueued
        }
    }

    pub(super) fn lane_has_capacity(&mut self) -> bool {
        let fits = self.budget.has_capacity(&self.queue);
        if !fits {
            self.budget.want_wake();
        }
        fits
    }

    pub(super) fn flush_lane(
        &mut self,
        context: &WriterContext,
        flush: &mut LaneFlush,
    ) -> Result<(), WriterError> {
        self.flush_due = false;
        if !self.outflow.is_open() {
            return Ok(());
        }
        self.send_queue(context, flush)
    }

    /// How many pieces at the front of the queue may be written now. While the library stands inside a frame of its own, nothing that
    /// was queued behind the part that it has given.
    fn may_go(&self) -> usize {
        if !self.outflow.frames().is_past_head() {
            0
        } else if self.intake.at_boundary() {
            self.queue.len()
        } else {
            self.queue.library_end()
        }
    }

    /// Writes out what may go, unless the pump does, at the library's turn.
    fn send_ready(&mut self, context: &WriterContext) -> Result<(), WriterError> {
        if self.blocked || self.may_go() == 0 {
            return Ok(());
        }
        self.send_queue(context, &mut LaneFlush::new(clock::wall_ms()))
    }

    /// Writes out what may go, unless the pump does.
    fn send_queue(
        &mut self,
        context: &WriterContext,
        flush: &mut LaneFlush,
    ) -> Result<(), WriterError> {
        while !self.blocked && self.may_go() > 0 {
            // Nothing was left by the last write, so the kernel will take more: what is remembered of its readiness need not be asked.
            let (taken, given) = self.send_front(KernelCall::Always, context, flush)?;
            if taken < given {
                self.left_behind(taken);
            }
            self.notify_of_capacity();
        }
        Ok(())
    }

    /// What the pump does when the kernel may take something.
    pub(super) fn pump(
        &mut self,
        call: KernelCall,
        context: &WriterContext,
    ) -> Result<PumpTurn, WriterError> {
        if !self.outflow.is_open() {
            return Ok(PumpTurn::Done);
        }
        let mut flush = LaneFlush::new(clock::wall_ms());
        let mut turn = PumpTurn::Nothing;
        while self.may_go() > 0 {
            let (taken, given) = self.send_front(call, context, &mut flush)?;
            self.budget.drained(taken);
            self.notify_of_capacity();
            if taken > 0 {
                turn = PumpTurn::Progress;
            }
            if taken < given {
                return Ok(turn);
            }
        }
        self.blocked = false;
        self.budget.unblocked();
        Ok(PumpTurn::Done)
    }

    /// One call to the kernel. Returns how many bytes it has taken, and of how many.
    fn send_front(
        &mut self,
        call: KernelCall,
        context: &WriterContext,
        flush: &mut LaneFlush,
    ) -> Result<(usize, usize), WriterError> {
        let count = self.may_go();
        let (outflow, observer) = (&mut self.outflow, self.observer.as_deref());
        let (taken, given) = self.queue.send(count, flush.joined(), |bufs| {
            outflow.try_send(bufs, call, observer)
        })?;
        let mut of_lane = false;
        self.queue.taken(taken, |part| match part {
            TakenPart::Library(bytes) => outflow.follow(bytes, observer),
            TakenPart::Lane => of_lane = true,
            TakenPart::LaneRecord(record) => {
                of_lane = true;
                flush.record_written(record, &context.records);
            }
        });
        if of_lane {
            context.lane_writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok((taken, given))
    }

    /// A write has taken so many bytes, and not all that may go.
    fn left_behind(&mut self, taken: usize) {
        if !self.blocked {
            self.blocked = true;
            self.budget.blocked();
            self.budget.drained(taken);
        }
    }

    fn drop_behind(&mut self, count: usize) {
        self.queue.truncate(count);
        self.notify_of_capacity();
    }

    fn notify_of_capacity(&mut self) {
        if self.budget.wakes(&self.queue, self.blocked)
            && let Some(observer) = &self.observer
        {
            observer.lane_drained();
        }
    }

    /// As if the peer had taken so many bytes in the last seconds, and had been busy for long.
    #[cfg(test)]
    pub(super) fn set_speed(&mut self, bytes: usize) {
        self.budget.set_speed(bytes);
    }

    /// Drops what waits.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.intake.forget_held();
    }
}

fn library_waits(outflow: &Outflow, queue: &FrameQueue, ending: bool) -> bool {
    let waits_for = if ending {
        queue.len()
    } else {
        queue.library_end()
    };
    outflow.is_open() && waits_for > 0
}
