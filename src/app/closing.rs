//! How connections of this instance end on request: of the API here, or of another instance.

use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::protocol::CloseReason;

use crate::api::connections::Ending;
use crate::session::{Session, Sessions};

/// After so many, other tasks get the thread.
const SLICE: usize = 64;

/// Ends one connection.
pub(super) fn close(session: &Arc<Session>, ending: Ending) {
    match ending {
        Ending::MayReturn => session.close(CloseReason::Kicked),
        Ending::MustNotReturn => session.dismiss(),
    }
}

/// Ends all connections of a user. Gives how many.
pub(super) async fn close_user(
    sessions: &Sessions,
    organisation: &Id,
    user: &UserId,
    ending: Ending,
) -> usize {
    let open = sessions.open().of_user(organisation, user);
    for slice in open.chunks(SLICE) {
        for session in slice {
            close(session, ending);
        }
        tokio::task::yield_now().await;
    }
    open.len()
}
