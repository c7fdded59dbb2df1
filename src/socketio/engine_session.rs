//! The life of one Engine.IO session behind its requests: what carries it, which sockets it has, and how it ends.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use socketioxide::TransportType;
use socketioxide::extract::SocketRef;
use tokio_util::task::TaskTracker;

use super::backlog::Backlog;
use super::dismissal;
use super::engine::{Credentials, Engine, EngineSettings};
use super::handshake::AcceptedSocket;
use super::last_answer::LastAnswer;
use super::polls::LastPost;
use super::send_budget::{DeliveryStamps, SendBudget};
use super::{NAMESPACES, POLLING, WEBSOCKET};
use crate::limits::{CommandAdmission, CommandRate, PacketRate};
use crate::net::{self, DeliveryWatch, Guard};
use crate::session::{AdmissionSlot, Session, TransportHandle};
use crate::telemetry::events;
use crate::telemetry::labels::{ConnectionLabels, RejectReason};

/// Checked so often while a transport changes: the library does not report when it is done.
const UPGRADE_LOOK: Duration = Duration::from_millis(20);

/// The same for an upgrade that takes longer than it should.
const LATE_UPGRADE_LOOK: Duration = Duration::from_millis(500);

/// A client that polls again has the answer before; its acknowledgement comes a little later at most.
const ANSWER_ARRIVES: Duration = Duration::from_secs(1);

/// With so many rejected tokens a transport is closed.
const MOST_FAILED_CONNECTS: usize = 3;

/// One Engine.IO session: the transport that the sockets of both namespaces share.
pub(super) struct EngineSession {
    /// For what is waited for on behalf of its sockets.
    pub(super) tasks: TaskTracker,
    pub(super) budget: Arc<SendBudget>,
    pub(super) deliveries: DeliveryStamps,
    pub(super) backlog: Backlog,
    /// Of a session that began by polling. Most do not, and it is a third of all this.
    pub(super) polling: Option<Box<PollingPart>>,
    pub(super) credentials: Credentials,
    id: u64,
    /// Where its first request came from.
    peer: IpAddr,
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

/// A CONNECT that is being judged.
pub(super) struct ConnectAttempt(Arc<EngineSession>);

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        self.0.judged_connects.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a session has that began by polling.
pub(super) struct PollingPart {
    pub(super) answers: Arc<LastAnswer>,
    pub(super) last_post: LastPost,
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
}

impl EngineSession {
    /// `websocket` is the connection of a session that does not begin by polling.
    pub(super) fn new(
        engine: &Arc<Engine>,
        id: u64,
        slot: Arc<AdmissionSlot>,
        credentials: Credentials,
        (peer, websocket): (IpAddr, Option<Arc<Guard>>),
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
            peer,
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
    pub(super) fn accept(&self, namespace: &'static str, socket: AcceptedSocket) {
        // What was wrong with earlier tokens is forgiven: over months each client shows some that have just expired.
        self.failed_connects.store(0, Ordering::Relaxed);
        drop(self.take_accepted(namespace));
        self.accepted().push((namespace, socket));
    }

    /// Takes it out again.
    pub(super) fn take_accepted(&self, namespace: &str) -> Option<AcceptedSocket> {
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
    pub(super) fn set_sid(&self, sid: &str) {
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
    pub(super) fn close(&self, reason: CloseReason) {
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
    pub(super) fn with_engine(&self) -> Option<(Arc<Self>, Arc<Engine>)> {
        let engine = self.engine.upgrade()?;
        Some((engine.session(self.id)?, engine))
    }

    /// Ends the session, because an answer to one of its polls did not arrive and cannot be repeated: the client reconnects with its
    /// cursor.
    pub(super) fn lose_answer(&self, why: &'static str) {
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
    pub(super) fn watch_answer(self: &Arc<Self>, guard: &Arc<Guard>, body_bytes: usize) {
        let session: Weak<Self> = Arc::downgrade(self);
        guard.watch_delivery(body_bytes, session);
        if let Some(polling) = &self.polling {
            *polling.answered_by() = Arc::downgrade(guard);
        }
    }

    /// Waits until it is known whether the last of these answers has arrived, if it went out by another connection than `guard`. False:
    /// it has not, and the session has ended.
    pub(super) async fn last_answer_arrived(&self, guard: &Arc<Guard>) -> bool {
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
    pub(super) fn lane(&self) -> Option<Arc<Guard>> {
        let carrier = self.carrier();
        let guard = carrier.guard.as_ref();
        guard
            .filter(|guard| {
                self.uses_lane && carrier.transport == WEBSOCKET && guard.reads_messages()
            })
            .cloned()
    }

    /// Nothing that was said is on its way, as far as this process can tell.
    pub(super) fn has_left(&self) -> bool {
        let guard = self.carrier().guard.clone();
        self.budget.is_idle() && !guard.is_some_and(|guard| guard.write_blocked())
    }

    /// The client has acknowledged, in this namespace, the event that asked under this number. False: none has.
    pub(super) fn acknowledged(&self, namespace: &str, number: u32) -> bool {
        let session = {
            let carrier = self.carrier();
            let mut sockets = carrier.sockets.iter();
            let socket = sockets.find(|socket| socket.namespace == namespace);
            socket.map(|socket| socket.session.clone())
        };
        session.is_some_and(|session| session.ack_received(number))
    }

    /// So many packets have come. False: they are too many, and it is closed.
    pub(super) fn packets_came(&self, count: usize) -> bool {
        let fits = (self.packets.as_ref()).is_none_or(|packets| packets.admit(count));
        if !fits {
            self.close_for_rate();
        }
        fits
    }

    /// The same for the packets of one payload, of which so many are acknowledgements: those that were asked for are free.
    pub(super) fn payload_came(&self, packets: usize, acknowledgements: usize) -> bool {
        let mut unasked = acknowledgements;
        for socket in &self.carrier().sockets {
            unasked -= socket.session.spend_asks(unasked);
        }
        self.packets_came(packets - acknowledgements + unasked)
    }

    /// One more command of a namespace; `joins`: it asks for a room.
    pub(super) fn command_came(&self, namespace: &'static str, joins: bool) -> CommandAdmission {
        let mut rates = (self.commands.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rate)) = rates.iter().find(|(name, _)| *name == namespace) {
            return rate.admit(joins);
        }
        let engine = self.engine.upgrade();
        let Some(rate) = engine.and_then(|engine| engine.sessions.command_rate()) else {
            return CommandAdmission::Admitted;
        };
        let admission = rate.admit(joins);
        // Most clients use one namespace.
        rates.reserve_exact(1);
        rates.push((namespace, rate));
        admission
    }

    /// One more CONNECT to a namespace; all but the first few count as commands of it. False: they are too many, and it is closed.
    pub(super) fn connect_came(&self, namespace: &'static str) -> bool {
        let earlier = self.connects.fetch_add(1, Ordering::Relaxed);
        let fits = earlier < NAMESPACES.len()
            || self.command_came(namespace, false) == CommandAdmission::Admitted;
        if !fits {
            self.close_for_rate();
        }
        fits
    }

    /// It sends too much, or too fast.
    pub(super) fn close_for_rate(&self) {
        if !self.is_closed()
            && let Some(engine) = self.engine.upgrade()
        {
            let metrics = engine.sessions.metrics();
            events::refused(metrics, RejectReason::MessageRate, "too many messages");
        }
        self.close(CloseReason::MessageRate);
    }

    /// Counts a CONNECT to a namespace that does not exist. True: that is one too many.
    pub(super) fn another_wrong_namespace(&self) -> bool {
        const MOST: usize = 3;
        self.wrong_namespaces.fetch_add(1, Ordering::Relaxed) >= MOST
    }

    /// A CONNECT is to be judged. `None`: so many were rejected, or are being judged, that no more is looked at.
    pub(super) fn begin_connect(self: &Arc<Self>) -> Option<ConnectAttempt> {
        let attempt = ConnectAttempt(self.clone());
        let others = self.judged_connects.fetch_add(1, Ordering::Relaxed);
        let failed = self.failed_connects.load(Ordering::Relaxed);
        let may_go_on = others.max(failed) < MOST_FAILED_CONNECTS && !self.is_closed();
        may_go_on.then_some(attempt)
    }

    /// A CONNECT was rejected. True: that is one too many.
    pub(super) fn another_failed_connect(&self) -> bool {
        self.failed_connects.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_FAILED_CONNECTS
    }

    /// What it counts against.
    pub(super) fn slot(&self) -> &Arc<AdmissionSlot> {
        &self.slot
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// The library has ended it, and says why to the sockets' disconnect handlers.
    pub(super) fn close_for_library(&self) {
        self.ended_by_library.store(true, Ordering::Relaxed);
        self.close(CloseReason::TransportError);
    }

    /// Why it ended, as far as that is not the library's to say: our reason, or a peer that took nothing any more.
    pub(super) fn end_reason(&self) -> Option<CloseReason> {
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
    pub(super) fn add_socket(
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

    pub(super) fn has_sockets(&self) -> bool {
        !self.carrier().sockets.is_empty()
    }

    /// The socket of this connection.
    pub(super) fn socket_of(&self, connection_id: &str) -> Option<SocketRef> {
        let carrier = self.carrier();
        let mut sockets = carrier.sockets.iter();
        let found = sockets.find(|it| it.session.connection_id() == connection_id);
        found.map(|it| it.socket.clone())
    }

    pub(super) fn remove_socket(&self, namespace: &str) {
        let mut carrier = self.carrier();
        carrier.sockets.retain(|it| it.namespace != namespace);
    }

    /// It wants to go on over this connection, as a WebSocket. False: it has one, or is about to, and the library would let
    /// the two race.
    pub(super) fn begin_upgrade(self: &Arc<Self>, guard: &Arc<Guard>) -> bool {
        {
            let mut carrier = self.carrier();
            if carrier.guard.is_some() {
                return false;
            }
            carrier.guard = Some(guard.clone());
        }
        self.budget.upgrading();
        guard.set_observer(self.clone());
        true
    }

    /// The library does not want it: polling goes on.
    pub(super) fn upgrade_refused(&self) {
        self.budget.upgrade_failed();
        let refused = self.carrier().guard.take();
        if let Some(guard) = refused {
            // What goes over that connection from now on is not of this session.
            guard.clear_observer();
        }
    }

    /// Waits for the end of an upgrade, which the library does not report. As long as the connection is open, the library may
    /// still take it up, however late: its answer may have waited for the client to read.
    pub(super) async fn finish_upgrade(self: Arc<Self>) {
        let mut pause = UPGRADE_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            if self.is_closed() {
                return;
            }
            let library = self
                .carrier()
                .sockets
                .first()
                .map(|connected| connected.socket.transport_type());
            let assumed = library.unwrap_or(TransportType::Polling);
            if self.budget.still_upgrading(assumed) {
                continue;
            }
            let mut carrier = self.carrier();
            if library == Some(TransportType::Websocket) {
                if self.close_answers() {
                    drop(carrier);
                    self.lose_answer("not fetched before the upgrade");
                    return;
                }
                carrier.transport = WEBSOCKET;
                self.budget.upgraded();
                for connected in &carrier.sockets {
                    connected
                        .session
                        .relabel(carrier.labels(connected.namespace));
                }
                return;
            }
            let open = carrier
                .guard
                .as_ref()
                .is_some_and(|guard| guard.close_reason().is_none());
            if !open {
                carrier.guard = None;
                return;
            }
            pause = LATE_UPGRADE_LOOK;
        }
    }

    /// Once a second: ends a session that has stopped to fetch its events, or is dead.
    pub(super) fn look_after(&self, settings: &EngineSettings) {
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
