//! From polling to a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use socketioxide::TransportType;

use super::EngineSession;
use crate::net::Guard;
use crate::socketio::WEBSOCKET;

/// Checked so often while a transport changes: the library does not report when it is done.
const UPGRADE_LOOK: Duration = Duration::from_millis(20);

/// The same for an upgrade that takes longer than it should.
const LATE_UPGRADE_LOOK: Duration = Duration::from_millis(500);

impl EngineSession {
    /// It wants to go on over this connection, as a WebSocket. False: it has one, or is about to, and the library would let
    /// the two race.
    pub(in crate::socketio) fn begin_upgrade(self: &Arc<Self>, guard: &Arc<Guard>) -> bool {
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
    pub(in crate::socketio) fn upgrade_refused(&self) {
        self.budget.upgrade_failed();
        let refused = self.carrier().guard.take();
        if let Some(guard) = refused {
            // What goes over that connection from now on is not of this session.
            guard.clear_observer();
        }
    }

    /// Waits for the end of an upgrade, which the library does not report. As long as the connection is open, the library may
    /// still take it up, however late: its answer may have waited for the client to read.
    pub(in crate::socketio) async fn finish_upgrade(self: Arc<Self>) {
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
}
