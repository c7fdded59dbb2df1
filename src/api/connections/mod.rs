//! The open connections, and how one is ended: the requests. What is asked of the rest of the process is in `lookup`.
#![expect(
    unused_qualifications,
    reason = "the macro names types of parameters by their paths"
)]

mod lookup;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::room::Room;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Endpoints;
use super::answers::RETRY_AFTER;
use super::endpoints::ProblemDocument;
use super::extract::{JsonBody, PathOf, Query, WrittenId, bad_request};
use super::page::limit;
use crate::problem::Problem;

pub use lookup::{
    ConnectionHealth, ConnectionItem, ConnectionPlace, ConnectionSlice, Connections,
    ConnectionsWanted, Ending, FoundConnection, Lookup, Unreached, UserDisconnected,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConnectionQuery {
    #[param(value_type = Option<String>)]
    organization_id: Option<WrittenId>,
    #[param(value_type = Option<String>)]
    user_id: Option<WrittenId>,
    /// `channel:7`. Needs `organization_id`. A connection that holds all rooms of the kind counts.
    room: Option<String>,
    /// `websocket` or `polling`.
    transport: Option<String>,
    /// An IP address.
    address: Option<String>,
    /// What the page before gave as `after`.
    after: Option<String>,
    /// 1 to 1000; 100 if it is not given.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
}

/// What a connection must be like.
#[derive(Debug, Default)]
struct ConnectionFilter {
    organisation: Option<Id>,
    user: Option<UserId>,
    room: Option<Room>,
    transport: Option<String>,
    address: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ConnectionPage {
    connections: Vec<ConnectionItem>,
    /// `false`: only those of the instance that was asked, because Redis is away. Absent: they are those of all instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// Gives the next page. Absent: this was the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ConnectionDetails {
    #[serde(flatten)]
    connection: ConnectionItem,
    /// `channel:7`, in the order in which it joined them.
    room_names: Vec<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CloseQuery {
    /// `false` asks the client not to come back. By default it may.
    reconnect: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DisconnectUser {
    organization_id: WrittenId,
    /// `false` asks the clients not to come back. By default they may.
    reconnect: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Disconnected {
    /// How many connections were closed.
    disconnected: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct DisconnectedUser {
    /// How many connections were closed, as far as is known: of other instances those that Redis lists.
    disconnected: usize,
    /// `fleet`: all other instances were told. `instance`: there is no Redis, or it is away.
    scope: &'static str,
}

/// Connections and the disconnection of users.
pub fn endpoints(connections: Arc<dyn Connections>) -> Endpoints {
    Endpoints::new()
        .with(__path_list_connections, list_connections)
        .with(__path_get_connection, get_connection)
        .with(__path_close_connection, close_connection)
        .with(__path_disconnect_user, disconnect_user)
        .with_state(connections)
}

/// Open connections
///
/// Of all instances that share a Redis, in a stable order: any of them gives the next page. A connection that comes or goes between
/// two pages may be on one, both or none; all others are on exactly one. What is said of connections of other instances is up to 5 s old.
#[utoipa::path(get, path = "/api/connections", params(ConnectionQuery), responses(
    (status = 200, body = ConnectionPage),
    (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn list_connections(
    State(connections): State<Arc<dyn Connections>>,
    Query(query): Query<ConnectionQuery>,
) -> Result<Json<ConnectionPage>, Problem> {
    let limit = limit(query.limit.as_deref())?;
    let mut place = (query.after.as_deref())
        .map(ConnectionPlace::read)
        .transpose()?;
    let filter = ConnectionFilter::of(&query)?;
    if (filter.room.as_ref()).is_some_and(|room| !connections.knows_kind(room)) {
        return Err(bad_request("room: the profile has no rooms of this kind"));
    }
    let (mut items, mut is_partial) = (Vec::new(), false);
    let mut wanted = filter.wanted();
    loop {
        let slice = connections.following(wanted, place.as_ref()).await;
        wanted.here_only |= slice.here_only;
        is_partial |= slice.is_partial;
        let complete = is_partial.then_some(false);
        for found in (slice.found.into_iter()).filter(|found| filter.matches(found)) {
            items.push(found.item);
            if items.len() == limit {
                let after = Some(found.place.written());
                return Ok(Json(ConnectionPage {
                    connections: items,
                    complete,
                    after,
                }));
            }
        }
        place = slice.last;
        if place.is_none() {
            return Ok(Json(ConnectionPage {
                connections: items,
                complete,
                after: None,
            }));
        }
        tokio::task::yield_now().await;
    }
}

/// One connection, with its rooms
#[utoipa::path(get, path = "/api/connections/{id}", params(("id" = String, Path, description = "its connection_id")), responses(
    (status = 200, body = ConnectionDetails),
    (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn get_connection(
    State(connections): State<Arc<dyn Connections>>,
    PathOf(id): PathOf<String>,
) -> Result<Json<ConnectionDetails>, Problem> {
    let found = connections.find(&id).await.map_err(unreached)?;
    let found = found.ok_or_else(unknown_connection)?;
    Ok(Json(ConnectionDetails {
        connection: found.item,
        room_names: found.rooms.iter().map(Room::name).collect(),
    }))
}

/// Close a connection
///
/// On whatever instance it is. Its transport is closed, and the client may come back; with `reconnect=false` it is sent a Socket.IO DISCONNECT first, after which
/// stock clients stay away.
#[utoipa::path(delete, path = "/api/connections/{id}", params(("id" = String, Path, description = "its connection_id"), CloseQuery), responses(
    (status = 200, body = Disconnected),
    (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn close_connection(
    State(connections): State<Arc<dyn Connections>>,
    PathOf(id): PathOf<String>,
    Query(query): Query<CloseQuery>,
) -> Result<Json<Disconnected>, Problem> {
    let closed = connections.close(&id, Ending::of(query.reconnect)).await;
    if !closed.map_err(unreached)? {
        return Err(unknown_connection());
    }
    Ok(Json(Disconnected { disconnected: 1 }))
}

/// Close all connections of a user
///
/// Of this instance, and by Redis of all others.
#[utoipa::path(post, path = "/api/users/{id}/disconnect", params(("id" = String, Path, description = "the user, percent-encoded")), request_body = DisconnectUser, responses(
    (status = 200, body = DisconnectedUser),
    (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn disconnect_user(
    State(connections): State<Arc<dyn Connections>>,
    PathOf(user): PathOf<WrittenId>,
    JsonBody(asked): JsonBody<DisconnectUser>,
) -> Result<Json<DisconnectedUser>, Problem> {
    let (organisation, user) = (asked.organization_id.organisation()?, user.user_in_path()?);
    let ending = Ending::of(asked.reconnect);
    let closed = connections.disconnect(&organisation, &user, ending).await;
    Ok(Json(DisconnectedUser {
        disconnected: closed.connections,
        scope: if closed.everywhere {
            "fleet"
        } else {
            "instance"
        },
    }))
}

impl ConnectionFilter {
    fn of(query: &ConnectionQuery) -> Result<Self, Problem> {
        let organisation = query.organization_id.as_ref();
        let organisation = organisation.map(WrittenId::organisation).transpose()?;
        let room = match (&query.room, &organisation) {
            (None, _) => None,
            (Some(name), Some(organisation)) => {
                let room = Room::named(organisation, name);
                Some(room.map_err(|why| bad_request(&format_args!("room: {why}")))?)
            }
            (Some(_), None) => return Err(bad_request("room needs organization_id beside it")),
        };
        let transports = ["websocket", "polling"];
        let transport = query.transport.clone();
        if transport
            .as_deref()
            .is_some_and(|name| !transports.contains(&name))
        {
            return Err(bad_request("transport is websocket or polling"));
        }
        let address = query.address.as_deref().map(str::parse::<IpAddr>);
        let address = address
            .transpose()
            .map_err(|_| bad_request("address is an IP address"))?;
        Ok(Self {
            organisation,
            user: query.user_id.as_ref().map(WrittenId::user).transpose()?,
            room,
            transport,
            address: address.map(|address| address.to_canonical().to_string()),
        })
    }

    fn wanted(&self) -> ConnectionsWanted<'_> {
        ConnectionsWanted {
            organisation: self.organisation.as_ref(),
            user: self.user.as_ref(),
            room: self.room.as_ref(),
            with_rooms: false,
            here_only: false,
        }
    }

    /// Organisation and room are seen to where connections are looked up.
    fn matches(&self, found: &FoundConnection) -> bool {
        let item = &found.item;
        (self.user.as_ref()).is_none_or(|user| *user == found.place.user)
            && self
                .transport
                .as_deref()
                .is_none_or(|name| name == item.transport)
            && (self.address.as_ref()).is_none_or(|address| Some(address) == item.address.as_ref())
    }
}

fn unknown_connection() -> Problem {
    let detail = "there is no such connection";
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

fn unreached(Unreached(why): Unreached) -> Problem {
    let detail = format!(
        "it is not connected to this instance, and another one that may have it was not reached: {why}"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unreached", detail).retry_after(RETRY_AFTER)
}
