//! What holds for every connection, whatever its transport: who it is, what it may do, how it is resumed and how it ends.
//!
//! - `admission`, `connect`, `handshake_rooms`, `log_source`: connecting
//! - `carrier`: the transport below a session
//! - `connection_id`: what each is called
//! - `registry`, `rules`, `revocation`, `grants`: the sessions that are open, and what concerns several of them
//! - `commands`, `receipts`, `refresh`: what clients ask for
//! - `room_operations`: what back-ends ask for them
//! - `expiry`: when tokens end
//! - `drain`: connections that are closed over some time
//! - `connection_reports`: who connects and disconnects, for back-ends
//! - `asks`: events that ask clients for an acknowledgement, by a number of ours
//! - `server_event`: what the server says by itself
//! - `shared_hub`, `shared_frames`: the hub in the running process, and what the connections of one fan-out share
//!
//! A transport frames, sends, and closes itself when its [`TransportHandle`] says so; `tests/memory.rs` is a small one.

mod admission;
mod asks;
mod carrier;
mod commands;
mod connect;
mod connection_id;
mod connection_reports;
mod drain;
mod expiry;
mod grants;
mod handshake_rooms;
mod log_source;
pub mod receipts;
mod refresh;
mod registry;
mod revocation;
mod room_operations;
mod rules;
mod server_event;
mod shared_frames;
mod shared_hub;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::domain::room::{Caller, Room};
use fleetcast_core::hub::ConnectionKey;
use tokio::sync::Semaphore;

pub use admission::{AdmissionSlot, ReadinessCheck};
pub use carrier::{CarriedBy, TransportHandle};
pub use commands::{Answer, AwaitedAnswer, Failure, FailureReason, Reply};
pub use connect::{AdmittedSession, ConnectRequest};
pub use connection_id::{connection_id, connection_number};
pub use connection_reports::{ConnectionReports, ConnectionSink};
pub use drain::DrainRefusal;
pub use fleetcast_core::hub::resume::Resumption;
pub use grants::GrantSource;
pub use handshake_rooms::RejectedRoom;
pub use log_source::LogSource;
pub use registry::{
    OpenSessions, OrganisationWatch, SessionPosition, SessionRange, SessionRegister,
};
pub use rules::{Revoked, SessionRules};
pub use server_event::{PROTOCOL_VERSION, ServerEvent, record_meta};
pub use shared_frames::{Question, SharedFrames, WireFormat};
pub use shared_hub::{AnyOutlet, OutletLane, SharedHub, TransportOutlet};

use crate::auth::Verifier;
use crate::lifecycle::Lifecycle;
use crate::limits::{CommandRate, IdentitySlot, Limits, PacketRate};
use crate::telemetry::events;
use crate::telemetry::metrics::Metrics;
use asks::{AskingSessions, OpenAsks};
use carrier::SessionCarrier;
use expiry::TokenEnd;
use grants::GrantedRooms;
use receipts::{Outstanding, Receipts};
use revocation::RevokedTokens;

/// What all sessions share.
pub struct Sessions {
    hub: Arc<SharedHub>,
    verifier: Arc<Verifier>,
    log: Arc<dyn LogSource>,
    readiness: ReadinessCheck,
    capacity: ReadinessCheck,
    /// Read under the hub's lock where a room is joined, so that new rules take effect at one moment: see
    /// [`Sessions::set_rules`].
    rules: ArcSwap<SessionRules>,
    limits: SessionLimits,
    shared_limits: Arc<Limits>,
    /// Transports that hold an [`AdmissionSlot`].
    admitted: Arc<AtomicUsize>,
    open: OpenSessions,
    revoked: RevokedTokens,
    granted: GrantedRooms,
    receipts: Arc<dyn Receipts>,
    connections: Option<Arc<ConnectionReports>>,
    outstanding: Outstanding,
    asking: AskingSessions,
    next_ask: AtomicU32,
    /// One drain of a share runs at a time.
    share_drain: Arc<Semaphore>,
    /// Not set where no other instance asks.
    register: OnceLock<Arc<dyn SessionRegister>>,
    metrics: Metrics,
    lifecycle: Lifecycle,
}

/// What [`Sessions`] are made of.
pub struct SessionParts {
    pub hub: Arc<SharedHub>,
    pub verifier: Arc<Verifier>,
    pub log: Arc<dyn LogSource>,
    pub readiness: ReadinessCheck,
    /// Whether one more transport can be carried. Not asked at CONNECT, which is also how a client that is connected enters another
    /// namespace.
    pub capacity: ReadinessCheck,
    pub rules: SessionRules,
    pub limits: SessionLimits,
    pub shared_limits: Arc<Limits>,
    pub receipts: Arc<dyn Receipts>,
    /// `None`: connects and disconnects are not reported.
    pub connections: Option<Arc<ConnectionReports>>,
    /// `None`: which organisations have sessions here is not followed.
    pub organisations: Option<Arc<dyn OrganisationWatch>>,
    pub metrics: Metrics,
    pub lifecycle: Lifecycle,
}

#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Transports that may be admitted at a time, of all kinds together; `usize::MAX`: no limit.
    pub max_connections: usize,
    /// Rooms that one connection may hold beside its own two.
    pub max_rooms: usize,
}

impl Sessions {
    pub fn new(parts: SessionParts) -> Arc<Self> {
        Arc::new(Self {
            hub: parts.hub,
            revoked: RevokedTokens::new(parts.verifier.longest_life()),
            verifier: parts.verifier,
            log: parts.log,
            readiness: parts.readiness,
            capacity: parts.capacity,
            rules: ArcSwap::from_pointee(parts.rules),
            limits: parts.limits,
            shared_limits: parts.shared_limits,
            admitted: Arc::default(),
            open: OpenSessions::new(parts.organisations),
            granted: GrantedRooms::default(),
            receipts: parts.receipts,
            connections: parts.connections,
            outstanding: Outstanding::default(),
            asking: AskingSessions::default(),
            next_ask: AtomicU32::new(0),
            share_drain: Arc::new(Semaphore::new(1)),
            register: OnceLock::new(),
            metrics: parts.metrics,
            lifecycle: parts.lifecycle,
        })
    }

    pub fn hub(&self) -> &Arc<SharedHub> {
        &self.hub
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// For the packets of one transport; `None`: they are not limited.
    pub fn packet_rate(&self) -> Option<PacketRate> {
        self.shared_limits.packet_rate(self.limits.max_rooms)
    }

    /// For the commands of one socket; `None`: they are not limited.
    pub fn command_rate(&self) -> Option<CommandRate> {
        self.shared_limits.command_rate(self.limits.max_rooms)
    }

    pub fn shared_limits(&self) -> &Limits {
        &self.shared_limits
    }

    pub fn open(&self) -> &OpenSessions {
        &self.open
    }
}

/// One connection of one user.
pub struct Session {
    shared: Arc<Sessions>,
    connection_id: Arc<str>,
    /// That of the id.
    number: u64,
    /// Whose connection it is, for as long as it lives.
    organisation: Id,
    user: UserId,
    /// What its token says. Another token of the same user may take its place; that is done under the hub's lock, where rooms are judged.
    claims: ArcSwap<Claims>,
    /// The hub's name for it, once it is connected.
    key: OnceLock<ConnectionKey>,
    /// While it is connected.
    carrier: Mutex<Option<SessionCarrier>>,
    /// One of the connections that its user may have.
    slot: Mutex<Option<Arc<IdentitySlot>>>,
    /// How many acknowledgements it was asked for and has not given.
    outstanding: Outstanding,
    /// Questions of which the acknowledgement has not been counted as free.
    unspent_asks: AtomicUsize,
    /// Those of them that were asked for by a number of ours.
    asks: OpenAsks,
}

impl Session {
    fn new(shared: Arc<Sessions>, claims: Claims, slot: Option<Arc<IdentitySlot>>) -> Self {
        let number = rand::random();
        Self {
            shared,
            connection_id: connection_id(number).into(),
            number,
            organisation: claims.organisation.clone(),
            user: claims.user.clone(),
            claims: ArcSwap::from_pointee(claims),
            key: OnceLock::new(),
            carrier: Mutex::new(None),
            slot: Mutex::new(slot),
            outstanding: Outstanding::default(),
            unspent_asks: AtomicUsize::new(0),
            asks: OpenAsks::default(),
        }
    }

    /// Public: for logs, the API and the client itself. Not the Socket.IO id, which is a secret.
    pub fn connection_id(&self) -> &str {
        &self.connection_id
    }

    pub fn organisation(&self) -> &Id {
        &self.organisation
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Who asks, when it asks for rooms.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            organisation: &self.organisation,
            user: &self.user,
        }
    }

    /// What its token says at present: a snapshot.
    pub fn claims(&self) -> Arc<Claims> {
        self.claims.load_full()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub fn hub(&self) -> &Arc<SharedHub> {
        &self.shared.hub
    }

    /// A number for a question, see [`Sessions::ask_number`].
    pub fn ask_number(&self) -> u32 {
        self.shared.ask_number()
    }

    pub fn key(&self) -> Option<ConnectionKey> {
        self.key.get().copied()
    }

    /// Binds the session to its connection of the hub. Called under the hub's lock, together with the judgement of its rooms.
    fn bind(self: &Arc<Self>, key: ConnectionKey, token: TokenEnd) {
        let key = *self.key.get_or_init(|| key);
        self.shared.open.add(key, self, token);
        self.register();
    }

    /// Its connection has ended. Only the first call counts.
    pub fn end(self: &Arc<Self>, reason: CloseReason) {
        if let Some(key) = self.key() {
            self.shared.open.remove(key, self);
            self.register();
            self.shared.hub.with(|hub, _| hub.close(key));
        }
        let slot = (self.slot.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(slot);
        // Nothing more is asked.
        self.end_asks();
        let carrier = self.carrier().take();
        if let Some(carrier) = carrier {
            let metrics = &self.shared.metrics;
            events::disconnected(metrics, carrier.labels, &self.connection_id, reason);
            if let Some(reports) = &self.shared.connections {
                reports.disconnected(self, reason);
            }
        }
    }

    /// Its outlet, which was full, has capacity again.
    pub fn ready(&self) {
        if let Some(key) = self.key() {
            self.shared.hub.ready(key);
        }
    }

    /// Sends a `cursor` event behind what was sent so far.
    pub fn send_cursor(&self) {
        if let Some(key) = self.key() {
            self.shared.hub.with(|hub, now| hub.cursor(key, now));
        }
    }

    /// The organisation's room and the user's own: held for as long as the connection lives.
    pub fn own_rooms(&self) -> [Room; 2] {
        self.caller().own_rooms()
    }

    /// How many rooms it may hold, its own two included.
    fn max_rooms(&self) -> usize {
        let own = self.own_rooms().len();
        self.shared.limits.max_rooms.saturating_add(own)
    }
}
