//! Rooms of the handshake that were not joined, reported one by one.

use std::sync::Arc;

use fleetcast_core::domain::protocol::CloseReason;
use socketioxide::extract::SocketRef;

use super::encode::Outgoing;
use super::engine_session::EngineSession;
use crate::session::{RejectedRoom, Session};

/// Sends an `error` event for each of them, as the send budget allows. To be called when the welcome is on its way: nothing
/// comes before it.
pub(super) fn report(
    rejected: Vec<RejectedRoom>,
    session: &Arc<Session>,
    socket: &SocketRef,
    engine: &Arc<EngineSession>,
) {
    if rejected.is_empty() {
        return;
    }
    let (session, socket, engine) = (session.clone(), socket.clone(), engine.clone());
    let tasks = engine.tasks.clone();
    tasks.spawn(async move {
        let budget = &engine.budget;
        for RejectedRoom { failure, about } in rejected {
            while !budget.has_capacity(socket.transport_type()) {
                if engine.is_closed() || !socket.connected() {
                    return;
                }
                budget.capacity().await;
            }
            let outgoing = Outgoing::server(session.error_event(failure, &about));
            let reservation = budget.reserve_answer(outgoing.size(), socket.transport_type());
            if reservation.send(|| outgoing.send(&socket)).is_err() {
                engine.close(CloseReason::TooSlow);
                return;
            }
        }
    });
}
