//! The life of one Engine.IO session behind its requests: what carries it, which sockets it has, and how it ends.
//!
//! - `rates`: what its client may send
//! - `upgrade`: from polling to a WebSocket

mod rates;
mod upgrade;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use socketioxide::extract::SocketRef;
use tokio_util::task::TaskTracker;

use crate::limits::{CommandRate, PacketRate};
use crate::net::{self, DeliveryWatch, Guard};
use crate::session::{AdmissionSlot, Session, TransportHandle};
use crate::socketio::backlog::Backlog;
use crate::socketio::dismissal;
use crate::socketio::engine::{ClientOfSession, Credentials, Engine, EngineSettings};
use crate::socketio::handshake::AcceptedSocket;
use crate::socketio::last_answer::LastAnswer;
use crate::socketio::polls::LastPost;
use crate::socketio::send_budget::{DeliveryStamps, SendBudget};
use crate::socketio::{POLLING, WEBSOCKET};
use crate::telemetry::events;
use crate::telemetry::labels::{ConnectionLabels, RejectReason};

/// A client that polls again has the answer before; its acknowledgement comes a little later at most.
const ANSWER_ARRIVES: Duration = Duration::from_secs(1);

/// One Engine.IO session: the transport that the sockets of both namespaces share.
pub(in crate::socketio) struct EngineSession {
    /// For what is waited for on behalf of its sockets.
    pub(in crate::socketio) tasks: TaskTracker,
    pub(in crate::socketio) budget: Arc<SendBudget>,
    pub(in crate::socketio) deliveries: DeliveryStamps,
    pub(in crate::socketio) backlog: Backlog,
    /// Of a session that began by polling. Most do not, and it is a third of all this.
    pub(in crate::socketio) polling: Option<Box<PollingPart>>,
    pub(in crate::socketio) credentials: Credentials,
    id: u64,
    /// Where its first request came from.
    peer: IpAddr,
    client_name: Option<Arc<str>>,
    engine: Weak<Engine>,
    closed: OnceLock<CloseReason>,
    ended_by_library: AtomicBool,
    wrong_namespaces: AtomicUsize,
    /// CONNECTs that are being judged, and those that were rejected.
    judged_connects: AtomicUsize,
    failed_connects: AtomicUsize,
    /// CONNECTs of all kinds.
    connects: AtomicUsize,
    packets: Option<PacketRate>,
    /// How fast the commands of each namespace come, whichever socket they are of: from the first command on, for most clients send
    /// none or few.
    commands: Mutex<Vec<(&'static str, CommandRate)>>,
    carrier: Mutex<Carrier>,
    /// Sockets between the middleware and the connect handler, by namespace.
    accepted: Mutex<Vec<(&'static str, AcceptedSocket)>>,
    slot: Arc<AdmissionSlot>,
    /// Events go by the lane of its WebSocket, not through the library.
    uses_lane: bool,
}

/// What a session has that began by polling.
pub(in crate::socketio) struct PollingPart {
    pub(in crate::socketio) answers: Arc<LastAnswer>,
    pub(in crate::socketio) last_post: LastPost,
    sid: OnceLock<String>,
    /// The connection that the last answer to a poll without `t` went out by.
    answered_by: Mutex<Weak<Guard>>,
}

/// What carries the session at present.
struct Carrier {
    /// Of the WebSocket, once there is one. A polling session has no connection of its own.
    guard: Option<Arc<Guard>>,
    /// One of [`POLLING`] and [`WEBSOCKET`].
    transport: &'static str,
    sockets: Vec<ConnectedSocket>,
}

/// A socket of the session.
struct ConnectedSocket {
    namespace: &'static str,
    socket: SocketRef,
    session: Arc<Session>,
}

impl DeliveryWatch for EngineSession {
    fn lost(&self, why: &'static str) {
        self.lose_answer(why);
    }
}

impl TransportHandle for EngineSession {
    fn close(&self, reason: CloseReason) {
        self.close(reason);
    }

    fn dismiss(&self, connection_id: &str) {
        dismissal::dismiss(self, connection_id);
    }

    fn token_shown(&self, accepted: bool) -> bool {
        if accepted {
            self.failed_connects.store(0, Ordering::Relaxed);
            return true;
        }
        let too_many = self.another_failed_connect();
        if let Some(engine) = self.engine.upgrade() {
            let limits = engine.sessions.shared_limits();
            limits.token_rejected(self.slot.client());
            if too_many {
                let why = "too many rejected tokens on one transport";
                events::refused(engine.sessions.metrics(), RejectReason::AuthRate, why);
            }
        }
        !too_many
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.peer)
    }

    fn client_name(&self) -> Option<Arc<str>> {
        self.client_name.clone()
    }
}

impl EngineSession {
    /// `websocket` is the connection of a session that does not begin by polling.
    pub(in crate::socketio) fn new(
        engine: &Arc<Engine>,
        id: u64,
        slot: Arc<AdmissionSlot>,
        credentials: Credentials,
        (client, websocket): (ClientOfSession, Option<Arc<Guard>>),
    ) -> Arc<Self> {
        let hub = engine.sessions.hub().clone();
        let max_payload = engine.settings.max_payload;
        let delivered = DeliveryStamps::new(engine.sessions.metrics().delivery_times.clone());
        let budget = SendBudget::new(
            hub,
            delivered.clone(),
            slot.clone(),
            websocket.is_some(),
            max_payload,
        );
        Arc::new(Self {
            tasks: engine.lifecycle.tasks(),
            budget: Arc::new(budget),
            deliveries: delivered,
            backlog: Backlog::default(),
            polling: websocket
                .is_none()
                .then(|| Box::new(PollingPart::new(engine))),
            credentials,
            id,
            peer: client.peer,
            client_name: client.name,
            engine: Arc::downgrade(engine),
            closed: OnceLock::new(),
            ended_by_library: AtomicBool::new(false),
            wrong_namespaces: AtomicUsize::new(0),
            judged_connects: AtomicUsize::new(0),
            failed_connects: AtomicUsize::new(0),
            connects: AtomicUsize::new(0),
            packets: engine.sessions.packet_rate(),
            commands: Mutex::default(),
            carrier: Mutex::new(Carrier {
                transport: if websocket.is_some() {
                    WEBSOCKET
                } else {
                    POLLING
                },
                guard: websocket,
                sockets: Vec::new(),
            }),
            accepted: Mutex::default(),
            slot,
            uses_lane: engine.settings.lane,
        })
    }

    /// Keeps what the connect handler of this namespace needs, in place of one that was not called.
    pub(in crate::socketio) fn accept(&self, namespace: &'static str, socket: AcceptedSocket) {
        // What was wrong with earlier tokens is forgiven: over months each client shows some that have just expired.
        self.failed_connects.store(0, Ordering::Relaxed);
        drop(self.take_accepted(namespace));
        self.accepted().push((namespace, socket));
    }

    /// Takes it out again.
    pub(in crate::socketio) fn take_accepted(&self, namespace: &str) -> Option<AcceptedSocket> {
        let mut accepted = self.accepted();
        let at = accepted.iter().position(|(name, _)| *name == namespace)?;
        let (_, socket) = accepted.swap_remove(at);
        if accepted.is_empty() {
            *accepted = Vec::new();
        }
        Some(socket)
    }

    fn accepted(&self) -> MutexGuard<'_, Vec<(&'static str, AcceptedSocket)>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that the library has given it, of a session that began by polling.
    pub(in crate::socketio) fn set_sid(&self, sid: &str) {
        if let Some(polling) = &self.polling {
            polling.sid.get_or_init(|| sid.to_owned());
        }
    }

    fn sid(&self) -> Option<&String> {
        self.polling.as_ref()?.sid.get()
    }

    /// No request gets an answer any more. True: one was kept that no request has had.
    fn close_answers(&self) -> bool {
        self.polling
            .as_ref()
            .is_some_and(|polling| polling.answers.close())
    }

    /// Ends the session so that stock clients reconnect: the transport is closed, without a close packet. A polling
    /// session's requests are answered with 400 from now on.
    pub(in crate::socketio) fn close(&self, reason: CloseReason) {
        if self.closed.set(reason).is_err() {
            return;
        }
        self.close_answers();
        let guard = self.carrier().guard.clone();
        if let Some(guard) = guard {
            guard.kick(reason.as_str());
        }
        if let (Some(sid), Some(engine)) = (self.sid(), self.engine.upgrade()) {
            engine.end_in_library(sid);
        }
    }

    /// It, kept alive, and its engine. `None`: it has ended.
    pub(in crate::socketio) fn with_engine(&self) -> Option<(Arc<Self>, Arc<Engine>)> {
        let engine = self.engine.upgrade()?;
        Some((engine.session(self.id)?, engine))
    }

    /// Ends the session, because an answer to one of its polls did not arrive and cannot be repeated: the client reconnects with its
    /// cursor.
    pub(in crate::socketio) fn lose_answer(&self, why: &'static str) {
        if self.is_closed() {
            return;
        }
        if let Some(engine) = self.engine.upgrade() {
            events::answer_lost(engine.sessions.metrics(), why);
        }
        self.close(CloseReason::AnswerLost);
    }

    /// An answer to a poll without `t` is about to go out by this connection. Nothing tells a repeat of that poll, so TCP is asked
    /// whether it arrived.
    pub(in crate::socketio) fn watch_answer(
        self: &Arc<Self>,
        guard: &Arc<Guard>,
        body_bytes: usize,
    ) {
        let session: Weak<Self> = Arc::downgrade(self);
        guard.watch_delivery(body_bytes, session);
        if let Some(polling) = &self.polling {
            *polling.answered_by() = Arc::downgrade(guard);
        }
    }

    /// Waits until it is known whether the last of these answers has arrived, if it went out by another connection than `guard`. False:
    /// it has not, and the session has ended.
    pub(in crate::socketio) async fn last_answer_arrived(&self, guard: &Arc<Guard>) -> bool {
        let polling = self.polling.as_ref();
        let last = polling.and_then(|polling| polling.answered_by().upgrade());
        if let Some(last) = last.filter(|last| !Arc::ptr_eq(last, guard))
            && !last.delivery_settled(ANSWER_ARRIVES).await
        {
            self.lose_answer("another poll came before it was acknowledged");
        }
        !self.is_closed()
    }

    /// The lane of its WebSocket, if events may go by it: the transport has changed for good, and the client's messages are followed, so
    /// that its acknowledgements are seen.
    pub(in crate::socketio) fn lane(&self) -> Option<Arc<Guard>> {
        let carrier = self.carrier();
        let guard = carrier.guard.as_ref();
        guard
            .filter(|guard| {
                self.uses_lane && carrier.transport == WEBSOCKET && guard.reads_messages()
            })
            .cloned()
    }

    /// Nothing that was said is on its way, as far as this process can tell.
    pub(in crate::socketio) fn has_left(&self) -> bool {
        let guard = self.carrier().guard.clone();
        self.budget.is_idle() && !guard.is_some_and(|guard| guard.write_blocked())
    }

    /// The client has acknowledged, in this namespace, the event that asked under this number. False: none has.
    pub(in crate::socketio) fn acknowledged(&self, namespace: &str, number: u32) -> bool {
        let session = {
            let carrier = self.carrier();
            let mut sockets = carrier.sockets.iter();
            let socket = sockets.find(|socket| socket.namespace == namespace);
            socket.map(|socket| socket.session.clone())
        };
        session.is_some_and(|session| session.ack_received(number))
    }

    /// What it counts against.
    pub(in crate::socketio) fn slot(&self) -> &Arc<AdmissionSlot> {
        &self.slot
    }

    pub(in crate::socketio) fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// The library has ended it, and says why to the sockets' disconnect handlers.
    pub(in crate::socketio) fn close_for_library(&self) {
        self.ended_by_library.store(true, Ordering::Relaxed);
        self.close(CloseReason::TransportError);
    }

    /// Why it ended, as far as that is not the library's to say: our reason, or a peer that took nothing any more.
    pub(in crate::socketio) fn end_reason(&self) -> Option<CloseReason> {
        if self.ended_by_library.load(Ordering::Relaxed) {
            return None;
        }
        self.closed.get().copied().or_else(|| {
            match self.carrier().guard.as_ref()?.close_reason()? {
                net::ConnectionEnd::WriteStall => Some(CloseReason::WriteStall),
                net::ConnectionEnd::OneSided => Some(CloseReason::MessageRate),
                _ => None,
            }
        })
    }

    /// A socket is connected; the labels that it is counted under.
    pub(in crate::socketio) fn add_socket(
        &self,
        namespace: &'static str,
        socket: SocketRef,
        session: Arc<Session>,
    ) -> ConnectionLabels {
        let mut carrier = self.carrier();
        // Most have one, and a `Vec` would begin with four.
        carrier.sockets.reserve_exact(1);
        carrier.sockets.push(ConnectedSocket {
            namespace,
            socket,
            session,
        });
        carrier.labels(namespace)
    }

    pub(in crate::socketio) fn has_sockets(&self) -> bool {
        !self.carrier().sockets.is_empty()
    }

    /// The socket of this connection.
    pub(in crate::socketio) fn socket_of(&self, connection_id: &str) -> Option<SocketRef> {
        let carrier = self.carrier();
        let mut sockets = carrier.sockets.iter();
        let found = sockets.find(|it| it.session.connection_id() == connection_id);
        found.map(|it| it.socket.clone())
    }

    pub(in crate::socketio) fn remove_socket(&self, namespace: &str) {
        let mut carrier = self.carrier();
        carrier.sockets.retain(|it| it.namespace != namespace);
    }

    /// Once a second: ends a session that has stopped to fetch its events, or is dead.
    pub(in crate::socketio) fn look_after(&self, settings: &EngineSettings) {
        if self.budget.not_fetched_for() > settings.slow_client_timeout {
            self.close(CloseReason::TooSlow);
        } else if self.budget.is_fence_stuck() {
            self.close(CloseReason::WriteStall);
        } else if self.is_dead(settings.heartbeat) {
            self.close(CloseReason::Heartbeat);
        }
    }

    /// Given up by the library because no pong came, and still open: the library waits for its writer before it reports that, and
    /// the writer waits for the peer. Meanwhile the library reads nothing, which is how to know.
    fn is_dead(&self, heartbeat: Duration) -> bool {
        /// The library comes first, and a busy thread is no reason.
        const MARGIN: Duration = Duration::from_secs(1);
        let guard = self.carrier().guard.clone();
        guard.is_some_and(|guard| {
            guard.write_blocked() && guard.not_heard_for() > heartbeat.saturating_add(MARGIN)
        })
    }

    fn carrier(&self) -> MutexGuard<'_, Carrier> {
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PollingPart {
    fn new(engine: &Engine) -> Self {
        let polls_held = engine.sessions.metrics().polls_held.clone();
        Self {
            answers: LastAnswer::new(engine.kept.clone(), polls_held),
            last_post: LastPost::default(),
            sid: OnceLock::new(),
            answered_by: Mutex::default(),
        }
    }

    fn answered_by(&self) -> MutexGuard<'_, Weak<Guard>> {
        self.answered_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carrier {
    fn labels(&self, namespace: &'static str) -> ConnectionLabels {
        ConnectionLabels {
            transport: self.transport,
            namespace,
        }
    }
}

impl Drop for EngineSession {
    fn drop(&mut self) {
        self.slot.release();
        if let Some(engine) = self.engine.upgrade() {
            engine.forget(self.id, self.sid());
        }
    }
}
