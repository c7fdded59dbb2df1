//! Who is connected and what it may do, on any transport.

mod commands;
mod open;
pub mod receipts;
mod shared_hub;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::policy::Policy;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::ConnectionKey;

pub use commands::{Answer, Failure, Reply};
pub use open::{Open, Revoked};
pub use shared_hub::{AnyOutlet, OnDelivered, SharedHub};

use crate::telemetry::metrics::Metrics;
use receipts::{Outstanding, Receipts};

/// What all sessions share.
pub struct Sessions {
    pub hub: Arc<SharedHub>,
    /// Judged by under the hub's lock, so that a new one is a line in time: see [`Sessions::set_policy`].
    pub policy: ArcSwap<Policy>,
    pub open: Open,
    /// Rooms that one connection may hold beside its own two.
    pub max_rooms: usize,
    pub metrics: Metrics,
    pub receipts: Arc<dyn Receipts>,
    pub outstanding: Outstanding,
}

/// One connection of one person.
pub struct Session {
    pub shared: Arc<Sessions>,
    /// Public: for logs, the API and the client itself. Not the Socket.IO id, which is a secret.
    pub connection_id: String,
    pub claims: Claims,
    /// The hub's name for it, once it is connected.
    key: OnceLock<ConnectionKey>,
    /// Acknowledgements that it was asked for and has not given.
    outstanding: Outstanding,
}

impl Session {
    pub fn new(shared: Arc<Sessions>, claims: Claims) -> Self {
        let connection_id = format!("c-{:016x}", rand::random::<u64>());
        Self {
            shared,
            connection_id,
            claims,
            key: OnceLock::new(),
            outstanding: Outstanding::default(),
        }
    }

    pub fn key(&self) -> Option<ConnectionKey> {
        self.key.get().copied()
    }

    /// Binds the session to its connection of the hub; only the first time counts. Called under the hub's lock, together with
    /// the judgement of its rooms.
    pub fn bind(self: &Arc<Self>, key: ConnectionKey) {
        let key = *self.key.get_or_init(|| key);
        self.shared.open.add(key, self);
    }

    /// Its connection is over.
    pub fn end(&self) {
        if let Some(key) = self.key() {
            self.shared.open.remove(key);
            self.shared.hub.with(|hub, _| hub.close(key));
        }
    }

    pub fn may_hold(&self, policy: &Policy, room: &Room) -> bool {
        policy.may_join(&self.claims, room)
    }

    /// The organisation's room and the person's own: held for as long as the connection lives.
    pub fn own_rooms(&self) -> [Room; 2] {
        self.claims.own_rooms()
    }
}
