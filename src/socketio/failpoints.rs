//! The seeded bug that needs a socket: see `fleetcast_core::failpoints`. No release has this file.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fleetcast_core::failpoints::{Bug, is};
use socketioxide::extract::SocketRef;

static SOCKETS: Mutex<Option<HashMap<usize, SocketRef>>> = Mutex::new(None);

/// A socket of the session at this address in memory.
pub(super) fn remember(session: usize, socket: &SocketRef) {
    if is(Bug::Goodbye) {
        let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
        sockets
            .get_or_insert_default()
            .insert(session, socket.clone());
    }
}

/// True if the session was closed the wrong way.
pub(super) fn says_goodbye(session: usize) -> bool {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = sockets
        .as_mut()
        .and_then(|sockets| sockets.remove(&session));
    socket.is_some_and(|socket| socket.disconnect().is_ok())
}
