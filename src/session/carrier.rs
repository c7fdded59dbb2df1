//! What carries a session: its transport, and what the session is counted as meanwhile.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use fleetcast_core::domain::protocol::CloseReason;

use super::Session;
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::ConnectionLabels;

/// A transport as its sessions see it.
pub trait TransportHandle: Send + Sync {
    /// Closes the transport, in the way that makes its clients reconnect. Only the first call counts. The transport then calls
    /// [`Session::end`] for each of its sessions.
    fn close(&self, reason: CloseReason);

    /// Has one of its sessions leave for good: its client is asked not to come back, as far as the transport can say that, and the
    /// transport is closed once nothing else goes over it. The session has ended already.
    fn dismiss(&self, _connection_id: &str) {
        self.close(CloseReason::Dismissed);
    }

    /// One of its sessions has shown another token, which was accepted or rejected. False: too many were rejected, and it is to be closed.
    fn token_shown(&self, _accepted: bool) -> bool {
        true
    }

    /// Where the client is, as far as the transport knows.
    fn peer(&self) -> Option<IpAddr> {
        None
    }

    /// What the client calls itself, in a few visible characters.
    fn client_name(&self) -> Option<Arc<str>> {
        None
    }
}

/// What carries a session, and what that is counted as.
pub(super) struct SessionCarrier {
    transport: Arc<dyn TransportHandle>,
    pub(super) labels: ConnectionLabels,
    /// In milliseconds since the Unix epoch.
    connected_at: u64,
}

/// How a session is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedBy {
    pub labels: ConnectionLabels,
    /// In milliseconds since the Unix epoch.
    pub connected_at: u64,
    pub peer: Option<IpAddr>,
    pub client_name: Option<Arc<str>>,
}

impl Session {
    /// It is carried by this transport, and counted.
    pub(super) fn begin(&self, transport: Arc<dyn TransportHandle>, labels: ConnectionLabels) {
        *self.carrier() = Some(SessionCarrier {
            transport,
            labels,
            connected_at: clock::wall_ms(),
        });
        events::connected(&self.shared.metrics, labels, &self.connection_id);
        if let Some(reports) = &self.shared.connections {
            reports.connected(self, labels.transport);
        }
    }

    /// Has its transport closed. Nothing more is said to the client.
    pub fn close(&self, reason: CloseReason) {
        if let Some(transport) = self.transport() {
            transport.close(reason);
        }
    }

    /// Ends it for good: unlike after [`close`](Self::close) its client is asked not to come back.
    pub fn dismiss(self: &Arc<Self>) {
        if let Some(transport) = self.transport() {
            // First, so that no event follows.
            self.end(CloseReason::Dismissed);
            transport.dismiss(&self.connection_id);
        }
    }

    /// `None`: it has ended.
    pub fn carried_by(&self) -> Option<CarriedBy> {
        let (transport, labels, connected_at) = {
            let carrier = self.carrier();
            let carrier = carrier.as_ref()?;
            (
                carrier.transport.clone(),
                carrier.labels,
                carrier.connected_at,
            )
        };
        Some(CarriedBy {
            labels,
            connected_at,
            peer: transport.peer(),
            client_name: transport.client_name(),
        })
    }

    /// What carries it. Cloned out of the lock, because a transport may end its sessions from within.
    pub(super) fn transport(&self) -> Option<Arc<dyn TransportHandle>> {
        let carrier = self.carrier();
        carrier.as_ref().map(|carrier| carrier.transport.clone())
    }

    /// Its transport goes on by other means: an upgrade.
    pub fn relabel(&self, labels: ConnectionLabels) {
        if let Some(carrier) = self.carrier().as_mut() {
            let before = std::mem::replace(&mut carrier.labels, labels);
            events::upgraded(&self.shared.metrics, before, labels);
        }
        self.register();
    }

    pub(super) fn carrier(&self) -> MutexGuard<'_, Option<SessionCarrier>> {
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
