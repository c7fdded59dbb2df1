//! `POST /api/users/{id}/rooms`: rooms that the open connections of a user join or leave.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleetcast_core::domain::room_operation::{MAX_OPERATED_ROOMS, RoomChanges, RoomOperation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Endpoints;
use super::at_most::AtMost;
use super::connections::Lookup;
use super::endpoints::ProblemDocument;
use super::extract::{JsonBody, PathOf, WrittenId, bad_request};
use crate::problem::Problem;

/// The profile has no rooms of this kind; the room by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRoomKind(pub String);

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatedRooms {
    /// Of the user, on all instances as far as is known.
    pub connections: usize,
    /// On this instance.
    pub changes: RoomChanges,
    /// Other instances, if there are any, were notified.
    pub everywhere: bool,
}

/// Makes connections join and leave rooms, of this instance and of the others.
pub trait RoomOperator: Send + Sync {
    /// Nothing is changed unless all kinds are known.
    fn operate(
        &self,
        operation: RoomOperation,
    ) -> Lookup<'_, Result<OperatedRooms, UnknownRoomKind>>;
}

pub fn user_rooms(operator: Arc<dyn RoomOperator>) -> Endpoints {
    Endpoints::new()
        .with(__path_operate, operate)
        .with_state(operator)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserRooms {
    organization_id: WrittenId,
    /// Rooms of the organisation, such as `channel:7`, at most 64. Neither `org` nor `user`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    join: AtMost<String, MAX_OPERATED_ROOMS>,
    /// Likewise.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    leave: AtMost<String, MAX_OPERATED_ROOMS>,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserRoomsChanged {
    /// Open connections of the user, as far as is known: of other instances those that Redis lists.
    connections: usize,
    /// Rooms that connections of the instance that was asked have joined: one that two connections have joined counts twice.
    joined: usize,
    /// Rooms that they have left, likewise.
    left: usize,
    /// Rooms that they have not joined, because they may not, or hold as many as a connection may.
    refused: usize,
    /// `fleet`: all other instances were notified. `instance`: there is no Redis, or it is away.
    scope: &'static str,
}

/// Join and leave rooms
///
/// All open connections of the user, on the instance that was asked and by Redis on all others: what Socket.IO servers call
/// `socketsJoin` and `socketsLeave`. Each joins what its token or a grant allows; clients are notified by `room_granted` (`joined`)
/// and `room_revoked` (`taken_out`). Connections that come later are not concerned.
#[utoipa::path(post, path = "/api/users/{id}/rooms", params(("id" = String, Path, description = "the user, percent-encoded")), request_body = UserRooms, responses(
    (status = 200, body = UserRoomsChanged),
    (status = 400, description = "`bad_request`: nothing was changed", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn operate(
    State(operator): State<Arc<dyn RoomOperator>>,
    PathOf(user): PathOf<WrittenId>,
    JsonBody(asked): JsonBody<UserRooms>,
) -> Result<Json<UserRoomsChanged>, Problem> {
    let (organisation, user) = (asked.organization_id.organisation()?, user.user_in_path()?);
    let (AtMost(join), AtMost(leave)) = (&asked.join, &asked.leave);
    let operation = RoomOperation::new(organisation, user, join, leave);
    let operation = operation.map_err(|why| bad_request(&why))?;
    let done = operator.operate(operation).await;
    let OperatedRooms {
        connections,
        changes,
        everywhere,
    } = done.map_err(|UnknownRoomKind(room)| {
        bad_request(&format_args!(
            "{room}: the profile has no rooms of this kind"
        ))
    })?;
    Ok(Json(UserRoomsChanged {
        connections,
        joined: changes.joined,
        left: changes.left,
        refused: changes.refused,
        scope: if everywhere { "fleet" } else { "instance" },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::hostile::{long_list, takes_little_memory};

    #[test]
    fn a_hostile_body_takes_little_memory() {
        for name in ["organization_id", "join", "leave", "a"] {
            for element in [r#"{"":0}"#, r#""""#] {
                let body = long_list(&format!(r#"{{"{name}":"#), element, "}");
                takes_little_memory::<UserRooms>(&body);
            }
        }
    }
}
