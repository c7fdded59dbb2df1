//! A socket as the hub sees it: bounded, never blocking.

use std::sync::Arc;

use fleetcast_core::hub::outlet::{Item, Offered, Outlet};
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError};

use super::encode::Outgoing;
use super::engine::EngineSession;
use crate::session::Session;
use crate::telemetry::events;
use crate::telemetry::labels::{Component, Undelivered};

pub(super) struct SocketOutlet {
    pub(super) socket: SocketRef,
    pub(super) engine: Arc<EngineSession>,
    pub(super) session: Arc<Session>,
    /// The client wants to know where records came from.
    pub(super) meta: bool,
}

impl Outlet for SocketOutlet {
    fn offer(&mut self, item: Item<'_>) -> Offered {
        let outgoing = Outgoing::item(item, &self.session, self.meta);
        let way = &self.engine.way;
        if !way.take(
            outgoing.size(),
            self.socket.transport_type(),
            self.session.key(),
        ) {
            return Offered::Full;
        }
        match outgoing.send(&self.socket) {
            Ok(()) => {}
            // It is closing: whoever comes back comes with a cursor from before this item.
            Err(SendError::Socket(SocketError::Closed)) => {
                way.take_back();
                events::undelivered(&self.session.shared.metrics, Undelivered::Closed, 1);
            }
            // Cannot be, as long as the way is narrower than the library's queue. A hole would be silent, so close.
            Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                way.take_back();
                let metrics = &self.session.shared.metrics;
                events::undelivered(metrics, Undelivered::Closed, 1);
                events::fault(
                    metrics,
                    Component::SocketIo,
                    "the library's queue is full",
                    "closing",
                );
                self.engine.close("server");
            }
            Err(SendError::Serialize(error)) => {
                way.take_back();
                let metrics = &self.session.shared.metrics;
                events::undelivered(metrics, Undelivered::Encoding, 1);
                events::fault(
                    metrics,
                    Component::SocketIo,
                    "cannot encode an event",
                    &error,
                );
            }
        }
        Offered::Taken
    }
}
