//! By which road the packets of one socket leave: through the library, or by the lane below it.
//!
//! What carries a cursor, and every answer that such an event must not overtake, goes one road at a time:
//!
//! - a polling session's packets go through the library;
//! - the welcome goes through the library, because it must follow CONNECT, which the library sends;
//! - a WebSocket's packets go by the lane once nothing that the library was given is on its way. Until then a *fence* stands between
//!   the roads: offers are full, and commands wait. The stream lifts it when the last of those packets has left; one that
//!   stands for [`FENCE_TIMEOUT`](super::send_budget::FENCE_TIMEOUT) ends the session;
//! - there is no way back.
//!
//! Each namespace has its own road. Pings, CONNECT and what else the library says of itself never wait for a fence.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::extract::{AckSender, SocketRef};

use super::encode::{Outgoing, answer_frame};
use super::engine_session::EngineSession;
use crate::net::{Guard, LaneFrame, LaneOffer};
use crate::session::Session;

/// The way out of one socket.
pub(super) struct Road {
    pub(super) engine: Arc<EngineSession>,
    pub(super) session: Arc<Session>,
    /// Of the socket: what its packets name.
    pub(super) namespace: &'static str,
    /// Set once its packets go by the lane.
    lane: OnceLock<Arc<Guard>>,
    /// An event has met a fence, so the welcome is out and the lane waits to be used.
    fenced: AtomicBool,
}

/// Where the next packet goes.
pub(super) enum Way<'a> {
    Lane(&'a Arc<Guard>),
    Library,
    /// Nowhere yet: a fence stands.
    Fence,
}

/// What became of a packet that was offered to the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneOutcome {
    Taken,
    Full,
    /// The connection has ended.
    Closed,
}

impl Road {
    pub(super) fn new(
        engine: Arc<EngineSession>,
        session: Arc<Session>,
        namespace: &'static str,
    ) -> Self {
        Self {
            engine,
            session,
            namespace,
            lane: OnceLock::new(),
            fenced: AtomicBool::new(false),
        }
    }

    /// The lane, if packets go by it.
    pub(super) fn lane(&self) -> Option<&Arc<Guard>> {
        self.lane.get()
    }

    /// Where an event goes now. The welcome is behind it.
    pub(super) fn way(&self) -> Way<'_> {
        if let Some(lane) = self.lane.get() {
            return Way::Lane(lane);
        }
        let Some(lane) = self.engine.lane() else {
            return Way::Library;
        };
        if self.engine.budget.lift_fence() {
            Way::Lane(self.lane.get_or_init(|| lane))
        } else {
            self.fenced.store(true, Ordering::Relaxed);
            Way::Fence
        }
    }

    /// Where an answer goes. Once an event has met a fence, the first that finds it lifted uses the lane: if answers went on by the
    /// library until the event comes again, a client that sends command after command would keep the fence up.
    fn lane_for_answer(&self) -> Option<&Arc<Guard>> {
        if self.lane.get().is_none() && self.fenced.load(Ordering::Relaxed) {
            self.way();
        }
        self.lane.get()
    }

    /// Whether an answer to a command may be handed over now.
    pub(super) fn has_capacity(&self, socket: &SocketRef) -> bool {
        match self.lane_for_answer() {
            Some(lane) => lane.lane_has_capacity(),
            None => self.engine.budget.has_capacity(socket.transport_type()),
        }
    }

    /// Offers a frame that is not an answer. After `Full` the hub is notified of capacity, and offers it again.
    pub(super) fn offer(&self, lane: &Arc<Guard>, frame: &LaneFrame) -> LaneOutcome {
        let mut offered = lane.offer_frame(frame);
        if offered == LaneOffer::Full
            && let Some(waiter) = self.session.key()
        {
            self.engine.budget.add_waiter(waiter);
            // It may have drained before the waiter was there to be notified.
            offered = lane.offer_frame(frame);
            if offered != LaneOffer::Full {
                self.engine.budget.remove_waiter(waiter);
            }
        }
        self.outcome(lane, offered)
    }

    /// Offers a frame that is not offered again. It does not go before the items that wait for capacity.
    pub(super) fn offer_once(&self, lane: &Arc<Guard>, frame: &LaneFrame) -> LaneOutcome {
        if self.engine.budget.has_waiters() {
            return LaneOutcome::Full;
        }
        self.outcome(lane, lane.offer_frame(frame))
    }

    /// Sends an answer to a command. False: the connection has ended.
    pub(super) fn answer(
        &self,
        socket: &SocketRef,
        ack: AckSender,
        ack_id: i64,
        body: &RawValue,
    ) -> bool {
        if let Some(lane) = self.lane_for_answer() {
            let frame = answer_frame(self.namespace, ack_id, body);
            return self.push(lane, &LaneFrame::new(frame, None));
        }
        let size = body.get().len();
        let budget = &self.engine.budget;
        let reservation = budget.reserve_answer(size, socket.transport_type());
        reservation.send(|| ack.send(body)).is_ok()
    }

    /// Sends an event of the server's own that belongs to a command or to the handshake. False: the connection has ended.
    pub(super) fn say(&self, socket: &SocketRef, event: &Outgoing<'_>) -> bool {
        if let Some(lane) = self.lane_for_answer() {
            let frame = event.frame(self.namespace);
            return self.push(lane, &LaneFrame::new(frame, None));
        }
        self.say_through_library(socket, event).is_ok()
    }

    pub(super) fn say_through_library(
        &self,
        socket: &SocketRef,
        event: &Outgoing<'_>,
    ) -> Result<(), SendError> {
        let budget = &self.engine.budget;
        let reservation = budget.reserve_answer(event.size(), socket.transport_type());
        reservation.send(|| event.send(socket))
    }

    /// Writes out what was said, now.
    pub(super) fn flush(&self) {
        if self.lane.get().is_some() {
            self.session.hub().flush_now();
        }
    }

    fn push(&self, lane: &Arc<Guard>, frame: &LaneFrame) -> bool {
        let offered = lane.push_frame(frame);
        self.outcome(lane, offered) == LaneOutcome::Taken
    }

    fn outcome(&self, lane: &Arc<Guard>, offered: LaneOffer) -> LaneOutcome {
        match offered {
            LaneOffer::Queued => LaneOutcome::Taken,
            LaneOffer::FirstQueued => {
                self.session.hub().dirty(lane.clone());
                LaneOutcome::Taken
            }
            LaneOffer::Full => LaneOutcome::Full,
            LaneOffer::Closed => LaneOutcome::Closed,
        }
    }
}
