//! Rooms of the handshake that were not joined, reported one by one.

use std::sync::Arc;

use fleetcast_core::domain::protocol::CloseReason;
use socketioxide::extract::SocketRef;

use super::encode::Outgoing;
use super::road::Road;
use crate::session::RejectedRoom;

/// Sends an `error` event for each of them, as the send budget allows. To be called when the welcome is on its way: nothing
/// comes before it.
pub(super) fn report(rejected: Vec<RejectedRoom>, road: &Arc<Road>, socket: &SocketRef) {
    if rejected.is_empty() {
        return;
    }
    let (road, socket) = (road.clone(), socket.clone());
    let tasks = road.engine.tasks.clone();
    tasks.spawn(async move {
        let engine = &road.engine;
        for RejectedRoom { failure, about } in rejected {
            while !road.has_capacity(&socket) {
                if engine.is_closed() || !socket.connected() {
                    return;
                }
                // What waits to be written takes capacity, too.
                road.flush();
                engine.budget.capacity().await;
            }
            let outgoing = Outgoing::server(road.session.error_event(failure, &about));
            if !road.say(&socket, &outgoing) {
                engine.close(CloseReason::TooSlow);
                return;
            }
        }
        road.flush();
    });
}
