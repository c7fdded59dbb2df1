//! How much may be in flight to one Engine.IO session, and who waits until more may be.
//!
//! The library's queue drops what does not fit and reports no free capacity, so both are kept here. Both namespaces of a
//! session share the budget; how many bytes it is, `net::drain_rate` says. The words:
//!
//! - *in flight*: handed to the library and not yet with the kernel, or in the answer of a poll
//! - *reserve*: a packet's size counts from just before it is handed to the library
//! - *settle*: the packet has left, because the stream below has written its frame, or a poll was answered with it. The
//!   library keeps the order, so the packet reserved first is settled first
//! - *release*: the library did not take it
//! - *waiter*: a connection of the hub that received `Full`; the hub is notified when there is capacity again

mod delivery_stamps;
mod reservation;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleetcast_core::hub::ConnectionKey;
use socketioxide::TransportType;
use tokio::sync::Notify;

pub(super) use self::delivery_stamps::DeliveryStamps;
pub(super) use self::reservation::Reservation;
use super::inbound::packets;
use super::observe::CLOSE;
use crate::clock;
use crate::net::drain_rate::{DrainRate, START};
use crate::net::{FrameHead, RecordStamp};
use crate::session::{AdmissionSlot, SharedHub};

/// A WebSocket may have so many packets between the hub and the kernel. The library's own queue (4,096 packets) is larger,
/// so it never drops.
const WEBSOCKET_PACKETS: usize = 1024;

/// python-engineio refuses a payload of more than 16 packets; the library adds a ping and a CONNECT of its own.
const POLLING_PACKETS: usize = 14;

/// What the library was given leaves within this time, or the session ends: the lane waits for it.
pub(super) const FENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// An upgrade that takes longer has failed: the library's own limit.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Engine.IO `message` packets that carry a Socket.IO DISCONNECT, EVENT or ACK: the ones that count.
const COUNTED: [&[u8]; 3] = [b"41", b"42", b"43"];

#[derive(Debug, Clone, Copy)]
enum TransportPhase {
    Polling,
    /// Between the request for an upgrade and the end of it: nothing new may leave, or it leaves twice or never.
    Upgrading {
        since: Instant,
    },
    WebSocket,
}

struct BudgetState {
    transport: TransportPhase,
    /// The packets in flight, in the order in which they were reserved.
    in_flight: VecDeque<BudgetPacket>,
    /// The sum of their sizes.
    bytes: usize,
    drain_rate: DrainRate,
    /// When a packet was reserved with none in flight, or one left, whichever came last.
    moved: Instant,
    /// Connections of the hub that received `Full`.
    waiters: Vec<ConnectionKey>,
    /// A waiter was notified and has not reserved since.
    waiter_expected: bool,
    /// Packets in flight have to leave before the lane may be used; since when that is waited for.
    fence_since: Option<Instant>,
}

/// What the budget knows of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetPacket {
    /// In bytes.
    pub(super) size: usize,
    /// The record that it carries.
    pub(super) record: Option<RecordStamp>,
}

impl From<usize> for BudgetPacket {
    fn from(size: usize) -> Self {
        Self { size, record: None }
    }
}

/// The send budget of one Engine.IO session.
///
/// Lock order: the hub's lock, then the lock of the stream's writer, then this one, then `SharedHub`'s list of ready
/// connections. A reservation holds no lock.
pub(super) struct SendBudget {
    hub: Arc<SharedHub>,
    /// The most bytes of one polling answer: what does not fit waits in the library and is lost if the transport changes then.
    polling_bytes: usize,
    state: Mutex<BudgetState>,
    /// There is capacity again: for commands that wait to be answered.
    freed: Notify,
    slot: Arc<AdmissionSlot>,
    delivered: DeliveryStamps,
}

impl SendBudget {
    pub(super) fn new(
        hub: Arc<SharedHub>,
        delivered: DeliveryStamps,
        slot: Arc<AdmissionSlot>,
        websocket: bool,
        max_payload: usize,
    ) -> Self {
        let transport = if websocket {
            TransportPhase::WebSocket
        } else {
            TransportPhase::Polling
        };
        let now = Instant::now();
        Self {
            hub,
            polling_bytes: max_payload / 4 * 3,
            state: Mutex::new(BudgetState {
                transport,
                in_flight: VecDeque::new(),
                bytes: 0,
                drain_rate: DrainRate::new(now),
                moved: now,
                waiters: Vec::new(),
                waiter_expected: false,
                fence_since: None,
            }),
            freed: Notify::new(),
            slot,
            delivered,
        }
    }

    /// Reserves capacity for a packet that is about to be handed to the library. `None`: there is no capacity, and the
    /// hub is notified of `waiter` when there is. `transport` is what the library says now. With nothing in flight any one
    /// packet fits.
    ///
    /// A packet without a `waiter` is not offered again. It does not go before those that wait: a steady flow of them would
    /// keep the budget above the mark at which waiters are notified.
    pub(super) fn reserve(
        &self,
        packet: impl Into<BudgetPacket>,
        transport: TransportType,
        waiter: Option<ConnectionKey>,
    ) -> Option<Reservation<'_>> {
        let packet = packet.into();
        let mut state = self.lock();
        let now = Instant::now();
        state.follow_library(transport);
        if waiter.is_some() {
            state.waiter_expected = false;
        }
        let in_turn = waiter.is_some() || state.waiters.is_empty();
        if in_turn && self.fits(&state, packet.size, 0, now) {
            state.reserve(packet, now);
            Some(Reservation::new(self, packet.size))
        } else {
            let new = waiter.filter(|key| !state.waiters.contains(key));
            state.waiters.extend(new);
            None
        }
    }

    /// Reserves without a limit: for an answer, after [`has_capacity`](Self::has_capacity).
    pub(super) fn reserve_answer(&self, size: usize, transport: TransportType) -> Reservation<'_> {
        let mut state = self.lock();
        state.follow_library(transport);
        state.reserve(size.into(), Instant::now());
        Reservation::new(self, size)
    }

    /// Whether an answer to a command may be handed over now. Over a WebSocket [`START`] bytes may always be in flight, so
    /// a slow client's events of that size in all leave capacity for an answer.
    ///
    /// None while a fence stands: a steady flow of answers would keep it up.
    pub(super) fn has_capacity(&self, transport: TransportType) -> bool {
        let mut state = self.lock();
        state.follow_library(transport);
        state.fence_since.is_none() && self.fits(&state, 0, START, Instant::now())
    }

    /// Whether nothing that the library was given is on its way, so that the lane may be used. If not, the fence stands until it has
    /// left.
    pub(super) fn lift_fence(&self) -> bool {
        let mut state = self.lock();
        if state.in_flight.is_empty() {
            state.fence_since = None;
            return true;
        }
        state.fence_since.get_or_insert_with(Instant::now);
        false
    }

    /// The fence stands for longer than it may.
    pub(super) fn is_fence_stuck(&self) -> bool {
        let since = self.lock().fence_since;
        since.is_some_and(|since| since.elapsed() > FENCE_TIMEOUT)
    }

    /// Has the hub notified of this connection when there is capacity again, in the library's queue or in the lane.
    pub(super) fn add_waiter(&self, waiter: ConnectionKey) {
        let mut state = self.lock();
        if !state.waiters.contains(&waiter) {
            state.waiters.push(waiter);
        }
    }

    /// It needs no capacity any more.
    pub(super) fn remove_waiter(&self, waiter: ConnectionKey) {
        self.lock().waiters.retain(|other| *other != waiter);
    }

    /// Nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().in_flight.is_empty()
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.lock().waiters.is_empty()
    }

    /// The lane has capacity again.
    pub(super) fn lane_drained(&self) {
        self.wake(self.lock());
    }

    /// `least`: bytes that a WebSocket may have in flight however slow it is.
    fn fits(&self, state: &BudgetState, size: usize, least: usize, now: Instant) -> bool {
        let upgrading = matches!(state.transport, TransportPhase::Upgrading { .. });
        if upgrading || state.in_flight.is_empty() {
            return !upgrading;
        }
        let limit = state.drain_rate.limit(now);
        let (packets, bytes) = match state.transport {
            TransportPhase::WebSocket => (WEBSOCKET_PACKETS, limit.max(least)),
            // A ping waits for the next poll, and that for the end of this answer.
            TransportPhase::Polling | TransportPhase::Upgrading { .. } => {
                (POLLING_PACKETS, limit.max(START).min(self.polling_bytes))
            }
        };
        state.in_flight.len() < packets && state.bytes + size <= bytes
    }

    /// `count` packets have left.
    fn settle(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut state = self.lock();
        let now = Instant::now();
        let before = state.bytes;
        for _ in 0..count {
            let Some(packet) = state.in_flight.pop_front() else {
                break;
            };
            state.bytes -= packet.size;
            if let Some(record) = packet.record {
                self.delivered.observe(record, clock::wall_ms());
            }
        }
        state.moved = now;
        let left = before - state.bytes;
        state.drain_rate.drained(left, now);
        if state.in_flight.is_empty() {
            state.fence_since = None;
            let limited = state.waiter_expected || !state.waiters.is_empty();
            state.drain_rate.idle(limited, now);
        }
        let low = match state.transport {
            // Waking at every frame would hand out one publication at a time.
            TransportPhase::WebSocket => {
                state.in_flight.len() <= WEBSOCKET_PACKETS / 2
                    && state.bytes <= state.drain_rate.limit(now) / 2
            }
            TransportPhase::Polling => true,
            TransportPhase::Upgrading { .. } => false,
        };
        if low {
            self.wake(state);
        }
    }

    /// The library did not take a packet of this size.
    fn release(&self, size: usize) {
        let mut state = self.lock();
        // Nearly always the last one. Packets of equal size are interchangeable, so no packet needs a name.
        if let Some(at) = state.in_flight.iter().rposition(|other| other.size == size) {
            state.in_flight.remove(at);
            state.bytes -= size;
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, BudgetState>) {
        let waiters = std::mem::take(&mut state.waiters);
        state.waiter_expected |= !waiters.is_empty();
        drop(state);
        for key in waiters {
            self.hub.ready(key);
        }
        self.freed.notify_waiters();
    }

    /// Waits until something may have left. The caller asks [`has_capacity`](Self::has_capacity) again.
    pub(super) async fn capacity(&self) {
        // The time-out covers what no frame reports: an upgrade that ended, a session that was closed.
        let waited = tokio::time::timeout(Duration::from_millis(100), self.freed.notified()).await;
        drop(waited);
    }

    /// A request for an upgrade has come: until it is over every offer is full.
    pub(super) fn upgrading(&self) {
        self.lock().transport = TransportPhase::Upgrading {
            since: Instant::now(),
        };
    }

    /// The session uses a WebSocket from now on.
    pub(super) fn upgraded(&self) {
        let mut state = self.lock();
        state.transport = TransportPhase::WebSocket;
        self.wake(state);
    }

    /// How long a polling client has not fetched what waits for it. (The stream below watches each `WebSocket`.)
    pub(super) fn not_fetched_for(&self) -> Duration {
        let state = self.lock();
        match state.transport {
            TransportPhase::Polling if !state.in_flight.is_empty() => state.moved.elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// The upgrade was refused: the session goes on polling.
    pub(super) fn upgrade_failed(&self) {
        let mut state = self.lock();
        state.transport = TransportPhase::Polling;
        self.wake(state);
    }

    /// Whether an upgrade is under way, going by what the library says now. Once it is over, the waiters are notified.
    pub(super) fn still_upgrading(&self, library: TransportType) -> bool {
        let mut state = self.lock();
        state.follow_library(library);
        let upgrading = matches!(state.transport, TransportPhase::Upgrading { .. });
        if !upgrading {
            self.wake(state);
        }
        upgrading
    }

    /// A poll is to be answered with this body. False: it holds an Engine.IO close packet, which must not be sent.
    pub(super) fn polled(&self, body: &[u8]) -> bool {
        self.settle(packets(body).filter(|packet| is_counted(packet)).count());
        packets(body).all(|packet| packet != CLOSE)
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    fn reserve(&mut self, packet: BudgetPacket, now: Instant) {
        if self.in_flight.is_empty() {
            self.moved = now;
            self.drain_rate.busy(now);
        }
        self.bytes += packet.size;
        self.in_flight.push_back(packet);
    }

    fn follow_library(&mut self, library: TransportType) {
        if let TransportPhase::Upgrading { since } = self.transport {
            if library == TransportType::Websocket {
                self.transport = TransportPhase::WebSocket;
            } else if since.elapsed() > UPGRADE_TIMEOUT {
                self.transport = TransportPhase::Polling;
            }
        }
    }
}

fn is_counted(packet: &[u8]) -> bool {
    COUNTED.iter().any(|prefix| packet.starts_with(prefix))
}

/// WebSocket opcode of Engine.IO's text packets.
const TEXT: u8 = 1;

impl SendBudget {
    /// The kernel has taken a frame of the library.
    pub(super) fn frame_written(&self, frame: FrameHead<'_>) {
        if frame.opcode == TEXT && is_counted(frame.head) {
            self.settle(1);
        }
    }

    /// The connection of the WebSocket is closed.
    pub(super) fn closed(&self) {
        // The connection of an upgrade that failed is not the end of a session that still polls.
        if matches!(self.lock().transport, TransportPhase::WebSocket) {
            self.slot.release();
        }
    }
}

#[cfg(test)]
mod tests;
