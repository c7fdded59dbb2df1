//! The end of a connection whose client is not to come back: a Socket.IO DISCONNECT, after which stock clients stay away.

use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use socketioxide::extract::SocketRef;

use super::engine_session::EngineSession;

/// A client that was sent a DISCONNECT closes the transport itself. One that has not, so long after it has left, is closed.
const DISCONNECT_ARRIVES: Duration = Duration::from_secs(2);

/// Whether it has left is looked at so often.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes of a DISCONNECT without the name of its namespace.
const HEAD: usize = "41,".len();

/// Sends a DISCONNECT to the socket of this connection, and closes the transport when that has had its time, unless another socket uses
/// it. A client that has not taken it within the time that a slow one has is closed without it, and may come back.
pub(super) fn dismiss(session: &EngineSession, connection_id: &str) {
    let socket = session.socket_of(connection_id);
    let Some((session, engine)) = session.with_engine() else {
        return session.close(CloseReason::Dismissed);
    };
    let stopping = engine.lifecycle.stopping();
    let limit = engine.settings.slow_client_timeout;
    engine.lifecycle.spawn("dismiss", async move {
        let leaves = tokio::time::timeout(limit, disconnect(&session, socket));
        if let Some(Ok(())) = stopping.run_until_cancelled(leaves).await {
            let arrives = tokio::time::sleep(DISCONNECT_ARRIVES);
            stopping.run_until_cancelled(arrives).await;
            // The library's disconnect handler has taken it off the list.
            if session.has_sockets() {
                return;
            }
        }
        session.close(CloseReason::Dismissed);
    });
}

/// Ends when the DISCONNECT has left, and all before it: a client may read slowly, or poll late. During an upgrade nothing may leave.
async fn disconnect(session: &EngineSession, socket: Option<SocketRef>) {
    if let Some(socket) = socket {
        while !session.is_closed() && socket.connected() {
            let transport = socket.transport_type();
            if !session.budget.has_capacity(transport) {
                session.budget.capacity().await;
                continue;
            }
            let size = HEAD + socket.ns().len();
            let reservation = session.budget.reserve_answer(size, transport);
            if reservation.send(|| socket.clone().disconnect()).is_ok() {
                break;
            }
            // The library's queue is full, though it is longer than the budget.
            tokio::time::sleep(LOOK).await;
        }
    }
    while !session.is_closed() && !session.has_left() {
        tokio::time::sleep(LOOK).await;
    }
}
