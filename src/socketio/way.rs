//! How much is on its way out of one Engine.IO session, and whether more may follow.
//!
//! The library's queue drops what does not fit and tells nobody when there is room again, so both are kept here. Events and
//! acknowledgements that are handed to the library are noted with their size; they are settled in the same order when the
//! stream below has written their frames, or a poll was answered with them. Both namespaces of a session share the bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleetcast_core::hub::ConnectionKey;
use socketioxide::TransportType;
use tokio::sync::Notify;

use super::slot::Slot;
use crate::net::Observer;
use crate::session::SharedHub;

/// A WebSocket may have so much between the hub and the kernel. The library's own queue (4,096 packets) is larger, so it
/// never drops.
const WEBSOCKET_PACKETS: usize = 1024;
const WEBSOCKET_BYTES: usize = 1024 * 1024;

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
    /// When something was noted with nothing before it, or something left, whichever came last.
    moved: Instant,
    /// Connections of the hub that were told `Full`.
    hungry: Vec<ConnectionKey>,
}

/// The way out of one Engine.IO session.
pub(super) struct Way {
    hub: Arc<SharedHub>,
    /// Bytes of one polling answer: what does not fit waits in the library and is lost if the transport changes then.
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
        Self {
            hub,
            polling_bytes: max_payload / 4 * 3,
            state: Mutex::new(State {
                transport,
                noted: VecDeque::new(),
                bytes: 0,
                moved: Instant::now(),
                hungry: Vec::new(),
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
        state.settle_transport(transport);
        if self.fits(&state, size) {
            state.note(size);
            true
        } else {
            let news = hungry.filter(|key| !state.hungry.contains(key));
            state.hungry.extend(news);
            false
        }
    }

    /// Whether an answer to a command may be handed over now.
    pub(super) fn has_room(&self, transport: TransportType) -> bool {
        let mut state = self.lock();
        state.settle_transport(transport);
        self.fits(&state, 0)
    }

    /// Notes a packet without asking: an answer, after [`has_room`](Self::has_room).
    pub(super) fn note(&self, size: usize, transport: TransportType) {
        let mut state = self.lock();
        state.settle_transport(transport);
        state.note(size);
    }

    fn fits(&self, state: &State, size: usize) -> bool {
        let (packets, bytes) = match state.transport {
            Transport::WebSocket => (WEBSOCKET_PACKETS, WEBSOCKET_BYTES),
            Transport::Polling => (POLLING_PACKETS, self.polling_bytes),
            Transport::Upgrading { .. } => return false,
        };
        state.noted.is_empty() || (state.noted.len() < packets && state.bytes + size <= bytes)
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
        for _ in 0..count {
            let Some(size) = state.noted.pop_front() else {
                break;
            };
            state.bytes -= size;
        }
        state.moved = Instant::now();
        let low = match state.transport {
            // Waking at every frame would hand out one publication at a time.
            Transport::WebSocket => {
                state.noted.len() <= WEBSOCKET_PACKETS / 2 && state.bytes <= WEBSOCKET_BYTES / 2
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
    fn note(&mut self, size: usize) {
        if self.noted.is_empty() {
            self.moved = Instant::now();
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

    fn progress(&self) {}

    fn closed(&self) {
        self.slot.release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use fleetcast_core::hub::Settings;
    use socketioxide::TransportType::{Polling, Websocket};

    use super::*;

    const MAX_PAYLOAD: usize = 1_000;

    fn way(websocket: bool) -> Way {
        let settings = Settings {
            window_ms: 60_000,
            window_bytes: 1_000_000,
            latest_bytes: 1_000_000,
        };
        let slot = Slot::counted(Arc::new(AtomicUsize::new(1)));
        Way::new(SharedHub::new(settings), slot, websocket, MAX_PAYLOAD)
    }

    /// How many packets of this size fit.
    fn fill(way: &Way, size: usize, transport: TransportType) -> usize {
        (0..10_000)
            .take_while(|_| way.take(size, transport, None))
            .count()
    }

    fn on_its_way(way: &Way) -> (usize, usize) {
        let state = way.lock();
        (state.noted.len(), state.bytes)
    }

    #[test]
    fn packets_and_bytes_are_bounded_and_an_empty_way_takes_any_one() {
        for (transport, size, expected) in [
            (Polling, 1, POLLING_PACKETS),
            (Polling, 100, 7),
            (Polling, 750, 1),
            (Polling, 5_000, 1),
            (Websocket, 1, WEBSOCKET_PACKETS),
            (Websocket, 1024, 1024),
            (Websocket, 2048, 512),
            (Websocket, 2 * 1024 * 1024, 1),
        ] {
            let way = way(transport == Websocket);
            assert!(way.has_room(transport));
            let what = format!("{transport:?} of {size} bytes");
            assert_eq!(fill(&way, size, transport), expected, "{what}");
            assert_eq!(on_its_way(&way), (expected, expected * size), "{what}");
            way.settle(1);
            assert!(way.take(size, transport, None), "{what}: room for one");
            assert!(!way.take(size, transport, None), "{what}");
        }
    }

    #[test]
    fn what_has_left_is_settled_in_the_order_in_which_it_was_noted() {
        let way = way(true);
        for size in [1, 20, 300] {
            assert!(way.take(size, Websocket, None));
        }
        way.note(4_000, Websocket);
        for expected in [(3, 4_320), (2, 4_300), (1, 4_000), (0, 0), (0, 0)] {
            way.frame_written(TEXT, b"42[\"a\"]", 7);
            assert_eq!(on_its_way(&way), expected);
        }
    }

    #[test]
    fn what_the_library_did_not_take_is_taken_back() {
        let way = way(true);
        way.note(1, Websocket);
        way.note(20, Websocket);
        way.take_back();
        assert_eq!(on_its_way(&way), (1, 1));
        way.take_back();
        way.take_back();
        assert_eq!(on_its_way(&way), (0, 0));
    }

    #[test]
    fn only_events_and_acknowledgements_count() {
        let way = way(true);
        let frames: [(u8, &[u8], usize); 9] = [
            (TEXT, b"2", 0),
            (TEXT, b"3probe", 0),
            (TEXT, b"6", 0),
            (TEXT, b"40{\"sid\":", 0),
            (TEXT, b"44{\"message", 0),
            (2, b"42[\"binary", 0),
            (TEXT, b"", 0),
            (TEXT, b"42/ws,[\"a", 1),
            (TEXT, b"4317[{}]", 1),
        ];
        for (opcode, head, expected) in frames {
            way.note(1, Websocket);
            let before = on_its_way(&way).0;
            way.frame_written(opcode, head, head.len());
            assert_eq!(before - on_its_way(&way).0, expected, "{head:?}");
        }
    }

    #[test]
    fn a_poll_settles_what_its_body_holds() {
        for (body, expected, stays) in [
            ("", 0, true),
            ("2", 0, true),
            ("42[\"a\"]", 1, true),
            (
                "42[\"a\"]\u{1e}2\u{1e}431[]\u{1e}40{}\u{1e}42/ws,[\"b\"]",
                3,
                true,
            ),
            // A separator cannot stand in JSON, which escapes it; a payload that speaks of packets is one packet.
            ("42[\"a\",\"\\u001e42[]\"]", 1, true),
            ("42[\"a\"]\u{1e}1", 1, false),
            ("1", 0, false),
        ] {
            let way = way(false);
            for _ in 0..5 {
                way.note(10, Polling);
            }
            assert_eq!(way.polled(body.as_bytes()), stays, "{body:?}");
            assert_eq!(on_its_way(&way).0, 5 - expected, "{body:?}");
        }
    }

    #[test]
    fn goodbye_is_forbidden_and_nothing_else() {
        let way = way(true);
        assert_eq!(way.forbids(TEXT, b"1", 1), Some(LIBRARY_CLOSES));
        for (opcode, head) in [
            (TEXT, b"2".as_slice()),
            (TEXT, b"1x"),
            (8, b"1"),
            (TEXT, b""),
        ] {
            assert_eq!(way.forbids(opcode, head, head.len()), None);
        }
    }

    #[test]
    fn nothing_leaves_while_the_transport_changes() {
        // What the library says, how long it has taken, and how much fits then.
        let late = UPGRADE_TIMEOUT + Duration::from_secs(1);
        for (library, taken, still, expected) in [
            (Polling, Duration::ZERO, true, 0),
            (Websocket, Duration::ZERO, false, WEBSOCKET_PACKETS),
            (Polling, late, false, POLLING_PACKETS),
        ] {
            let way = way(false);
            way.upgrading();
            let since = Instant::now().checked_sub(taken).expect("up for longer");
            way.lock().transport = Transport::Upgrading { since };
            assert_eq!(way.still_upgrading(library), still, "{library:?}");
            assert_eq!(way.has_room(library), expected > 0, "{library:?}");
            assert_eq!(fill(&way, 1, library), expected, "{library:?}");
        }
        let way = way(false);
        way.upgrading();
        assert!(!way.take(1, Polling, None), "not even into an empty way");
        way.upgrade_failed();
        assert_eq!(fill(&way, 1, Polling), POLLING_PACKETS);
    }

    #[test]
    fn whoever_is_hungry_is_told_once_when_half_of_it_has_left() {
        let way = way(true);
        let key = Some(ConnectionKey::default());
        let hungry = || way.lock().hungry.len();
        assert_eq!(fill(&way, 1, Websocket), WEBSOCKET_PACKETS);
        for _ in 0..3 {
            assert!(!way.take(1, Websocket, key));
        }
        assert_eq!(hungry(), 1);
        way.settle(WEBSOCKET_PACKETS / 2 - 1);
        assert_eq!(hungry(), 1, "not yet");
        way.settle(1);
        assert_eq!(hungry(), 0);
        assert!(way.take(1, Websocket, key));
        assert_eq!(hungry(), 0, "it got what it wanted");
    }

    #[test]
    fn a_poll_wakes_the_hungry_and_so_does_the_end_of_an_upgrade() {
        let key = Some(ConnectionKey::default());
        for end in [
            (|way: &Way| assert!(way.polled(b"42[]"))) as fn(&Way),
            |way| way.upgrade_failed(),
            |way| assert!(!way.still_upgrading(Websocket)),
        ] {
            let way = way(false);
            fill(&way, 1, Polling);
            assert!(!way.take(1, Polling, key));
            end(&way);
            assert!(way.lock().hungry.is_empty());
        }
        let way = way(false);
        fill(&way, 1, Polling);
        way.upgrading();
        assert!(!way.take(1, Polling, key));
        way.polled(b"42[]");
        assert_eq!(way.lock().hungry.len(), 1, "it could not go out yet");
    }

    #[test]
    fn only_a_polling_client_with_something_waiting_is_late() {
        let long = Duration::from_mins(1);
        for (websocket, noted, late) in [(false, 1, true), (false, 0, false), (true, 1, false)] {
            let way = way(websocket);
            for _ in 0..noted {
                way.note(1, Polling);
            }
            way.lock().moved = Instant::now().checked_sub(long).expect("up for longer");
            assert_eq!(way.not_fetched_for() >= long, late, "{websocket} {noted}");
        }
        let way = way(false);
        way.note(1, Polling);
        way.lock().moved = Instant::now().checked_sub(long).expect("up for longer");
        way.note(1, Polling);
        assert!(way.not_fetched_for() >= long, "a second one is no fetch");
        way.polled(b"42[]");
        assert!(way.not_fetched_for() < long, "it fetches");
    }

    #[tokio::test]
    async fn a_command_that_waits_for_room_is_woken_or_looks_again() {
        let way = way(false);
        let waited = Instant::now();
        way.room().await;
        assert!(waited.elapsed() >= Duration::from_millis(90));
        fill(&way, 1, Polling);
        let waited = Instant::now();
        let woken = async {
            tokio::task::yield_now().await;
            way.polled(b"42[]");
        };
        tokio::join!(way.room(), woken);
        assert!(waited.elapsed() < Duration::from_millis(90));
    }
}
