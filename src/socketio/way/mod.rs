//! How much is on its way out of one Engine.IO session, and whether more may follow.
//!
//! The library's queue drops what does not fit and tells nobody when there is room again, so both are kept here. Both
//! namespaces of a session share the bound; how many bytes it is, `pace` says. The words:
//!
//! - *way*: the stretch from the hub to the kernel, or to the answer of a poll: the library's queue and its writer
//! - *noted*: an event or acknowledgement was handed to the library, and its size counts from now on
//! - *settled*: it has left, because the stream below has written its frame, or a poll was answered with it. The library
//!   keeps the order, so the one noted first is settled first
//! - *hungry*: a connection of the hub that was told `Full`, and will be told when there is room again

mod pace;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleetcast_core::hub::ConnectionKey;
use socketioxide::TransportType;
use tokio::sync::Notify;

use self::pace::{Pace, START};
use super::slot::Slot;
use crate::net::Observer;
use crate::session::SharedHub;

/// A WebSocket may have so many packets between the hub and the kernel. The library's own queue (4,096 packets) is larger,
/// so it never drops.
const WEBSOCKET_PACKETS: usize = 1024;

/// python-engineio refuses a payload of more than 16 packets; the library adds a ping and a CONNECT of its own.
const POLLING_PACKETS: usize = 14;

/// A change of transport that takes longer is taken for given up, as the library does.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Engine.IO `message` packets that carry a Socket.IO EVENT or ACK: the ones that are noted.
const NOTED: [&[u8]; 2] = [b"42", b"43"];

#[derive(Debug, Clone, Copy)]
enum Transport {
    Polling,
    /// Between the request for an upgrade and the end of it: nothing new may leave, or it leaves twice or never.
    Upgrading {
        since: Instant,
    },
    WebSocket,
}

struct State {
    transport: Transport,
    /// Sizes of what is on its way, in the order in which it was handed over.
    noted: VecDeque<usize>,
    bytes: usize,
    pace: Pace,
    /// When something was noted with nothing before it, or something left, whichever came last.
    moved: Instant,
    /// Connections of the hub that were told `Full`.
    hungry: Vec<ConnectionKey>,
    /// Somebody hungry was told that there is room, and has not come yet.
    expected: bool,
}

/// The way out of one Engine.IO session.
pub(super) struct Way {
    hub: Arc<SharedHub>,
    /// The most bytes of one polling answer: what does not fit waits in the library and is lost if the transport changes then.
    polling_bytes: usize,
    state: Mutex<State>,
    /// There is room again: for commands that wait to be answered.
    room: Notify,
    slot: Arc<Slot>,
}

impl Way {
    pub(super) fn new(
        hub: Arc<SharedHub>,
        slot: Arc<Slot>,
        websocket: bool,
        max_payload: usize,
    ) -> Self {
        let transport = if websocket {
            Transport::WebSocket
        } else {
            Transport::Polling
        };
        let now = Instant::now();
        Self {
            hub,
            polling_bytes: max_payload / 4 * 3,
            state: Mutex::new(State {
                transport,
                noted: VecDeque::new(),
                bytes: 0,
                pace: Pace::new(now),
                moved: now,
                hungry: Vec::new(),
                expected: false,
            }),
            room: Notify::new(),
            slot,
        }
    }

    /// Notes a packet of `size` bytes that is about to be handed to the library. False: there is no room, and `hungry`
    /// will be told when there is. `transport` is what the library says now. An empty way takes any one packet.
    pub(super) fn take(
        &self,
        size: usize,
        transport: TransportType,
        hungry: Option<ConnectionKey>,
    ) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        state.settle_transport(transport);
        if hungry.is_some() {
            state.expected = false;
        }
        if self.fits(&state, size, 0, now) {
            state.note(size, now);
            true
        } else {
            let news = hungry.filter(|key| !state.hungry.contains(key));
            state.hungry.extend(news);
            false
        }
    }

    /// Whether an answer to a command may be handed over now. Over a WebSocket [`START`] bytes may always be on their way, so
    /// a slow client's events of that size in all leave room for an answer.
    pub(super) fn has_room(&self, transport: TransportType) -> bool {
        let mut state = self.lock();
        state.settle_transport(transport);
        self.fits(&state, 0, START, Instant::now())
    }

    /// Notes a packet without asking: an answer, after [`has_room`](Self::has_room).
    pub(super) fn note(&self, size: usize, transport: TransportType) {
        let mut state = self.lock();
        state.settle_transport(transport);
        state.note(size, Instant::now());
    }

    /// `least`: bytes that a WebSocket may have on its way however slow it is.
    fn fits(&self, state: &State, size: usize, least: usize, now: Instant) -> bool {
        let upgrading = matches!(state.transport, Transport::Upgrading { .. });
        if upgrading || state.noted.is_empty() {
            return !upgrading;
        }
        let allowed = state.pace.allows(now);
        let (packets, bytes) = match state.transport {
            Transport::WebSocket => (WEBSOCKET_PACKETS, allowed.max(least)),
            // A ping waits for the next poll, and that for the end of this answer.
            Transport::Polling | Transport::Upgrading { .. } => {
                (POLLING_PACKETS, allowed.max(START).min(self.polling_bytes))
            }
        };
        state.noted.len() < packets && state.bytes + size <= bytes
    }

    /// The packet noted last was not taken by the library.
    pub(super) fn take_back(&self) {
        let mut state = self.lock();
        if let Some(size) = state.noted.pop_back() {
            state.bytes -= size;
        }
    }

    /// `count` noted packets have left.
    fn settle(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut state = self.lock();
        let now = Instant::now();
        let before = state.bytes;
        for _ in 0..count {
            let Some(size) = state.noted.pop_front() else {
                break;
            };
            state.bytes -= size;
        }
        state.moved = now;
        let left = before - state.bytes;
        state.pace.leaves(left, now);
        if state.noted.is_empty() {
            let kept_short = state.expected || !state.hungry.is_empty();
            state.pace.ends(kept_short, now);
        }
        let low = match state.transport {
            // Waking at every frame would hand out one publication at a time.
            Transport::WebSocket => {
                state.noted.len() <= WEBSOCKET_PACKETS / 2
                    && state.bytes <= state.pace.allows(now) / 2
            }
            Transport::Polling => true,
            Transport::Upgrading { .. } => false,
        };
        if low {
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let hungry = std::mem::take(&mut state.hungry);
        state.expected |= !hungry.is_empty();
        drop(state);
        for key in hungry {
            self.hub.ready(key);
        }
        self.room.notify_waiters();
    }

    /// Waits until something may have left. The caller asks [`take`](Self::take) again.
    pub(super) async fn room(&self) {
        // The time-out covers what no frame tells: an upgrade that ended, a session that was closed.
        let waited = tokio::time::timeout(Duration::from_millis(100), self.room.notified()).await;
        drop(waited);
    }

    /// A request for an upgrade has come: until it is over every offer is full.
    pub(super) fn upgrading(&self) {
        self.lock().transport = Transport::Upgrading {
            since: Instant::now(),
        };
    }

    /// The session is a WebSocket's from now on.
    pub(super) fn upgraded(&self) {
        let mut state = self.lock();
        state.transport = Transport::WebSocket;
        self.wake(state);
    }

    /// How long a polling client has let what waits for it wait. (The stream below looks after each `WebSocket`.)
    pub(super) fn not_fetched_for(&self) -> Duration {
        let state = self.lock();
        match state.transport {
            Transport::Polling if !state.noted.is_empty() => state.moved.elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// The upgrade was refused: the session goes on polling.
    pub(super) fn upgrade_failed(&self) {
        let mut state = self.lock();
        state.transport = Transport::Polling;
        self.wake(state);
    }

    /// Whether an upgrade is under way, going by what the library says now. Once it is over, whoever was hungry is told.
    pub(super) fn still_upgrading(&self, library: TransportType) -> bool {
        let mut state = self.lock();
        state.settle_transport(library);
        let upgrading = matches!(state.transport, Transport::Upgrading { .. });
        if !upgrading {
            self.wake(state);
        }
        upgrading
    }

    /// A poll is to be answered with this body. False: it says goodbye, which must not be said.
    pub(super) fn polled(&self, body: &[u8]) -> bool {
        /// Between the packets of a polling payload (Engine.IO protocol 4).
        const SEPARATOR: u8 = 0x1e;
        let packets = || body.split(|byte| *byte == SEPARATOR);
        self.settle(packets().filter(|packet| is_noted(packet)).count());
        packets().all(|packet| packet != CLOSE)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, size: usize, now: Instant) {
        if self.noted.is_empty() {
            self.moved = now;
            self.pace.begins(now);
        }
        self.noted.push_back(size);
        self.bytes += size;
    }

    fn settle_transport(&mut self, library: TransportType) {
        if let Transport::Upgrading { since } = self.transport {
            if library == TransportType::Websocket {
                self.transport = Transport::WebSocket;
            } else if since.elapsed() > UPGRADE_TIMEOUT {
                self.transport = Transport::Polling;
            }
        }
    }
}

fn is_noted(packet: &[u8]) -> bool {
    NOTED.iter().any(|prefix| packet.starts_with(prefix))
}

/// WebSocket opcode of Engine.IO's text packets.
const TEXT: u8 = 1;

/// Engine.IO `close`: the library sends it when it ends a session, for example for want of a pong.
const CLOSE: &[u8] = b"1";

/// The reason that the stream is given when the library wanted to say goodbye.
const LIBRARY_CLOSES: &str = "library";

impl Observer for Way {
    /// A client that is told goodbye never comes back (python-socketio) or not for long (Java); one whose transport is
    /// closed is back within a second.
    fn forbids(&self, opcode: u8, head: &[u8], _payload_len: usize) -> Option<&'static str> {
        (opcode == TEXT && head == CLOSE).then_some(LIBRARY_CLOSES)
    }

    fn frame_written(&self, opcode: u8, head: &[u8], _payload_len: usize) {
        if opcode == TEXT && is_noted(head) {
            self.settle(1);
        }
    }

    fn closed(&self) {
        self.slot.release();
    }
}

#[cfg(test)]
mod tests;
