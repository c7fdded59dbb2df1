//! Which rooms have members.
#![expect(
    unused_qualifications,
    reason = "the macro names types of parameters by their paths"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleetcast_core::domain::id::Id;
use fleetcast_core::domain::room::Room;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Endpoints;
use super::connections::{ConnectionPlace, Connections, ConnectionsWanted};
use super::endpoints::ProblemDocument;
use super::extract::{Query, WrittenId};
use super::page::{bad_place, limit, read_place, write_place};
use crate::problem::Problem;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RoomQuery {
    #[param(value_type = Option<String>)]
    organization_id: Option<WrittenId>,
    /// What the page before gave as `after`.
    after: Option<String>,
    /// 1 to 1000; 100 if it is not given.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RoomItem {
    organization_id: String,
    /// `channel:7`; `channel:*` is held by connections that are in every room of the kind.
    room: String,
    /// Connections that hold it. Those that hold all rooms of its kind are counted in `channel:*` only.
    members: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct RoomPage {
    rooms: Vec<RoomItem>,
    /// `false`: only the members of the instance that was asked, because Redis is away. Absent: they are those of all instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// Gives the next page. Absent: this was the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Rooms and their members.
pub fn endpoints(connections: Arc<dyn Connections>) -> Endpoints {
    Endpoints::new()
        .with(__path_list_rooms, list_rooms)
        .with_state(connections)
}

/// Rooms that have members
///
/// On all instances that share a Redis, with the number of connections in each, in a stable order. What other instances have is up to
/// 5 s old, and of a connection there the first 256 rooms count.
#[utoipa::path(get, path = "/api/rooms", params(RoomQuery), responses(
    (status = 200, body = RoomPage),
    (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn list_rooms(
    State(connections): State<Arc<dyn Connections>>,
    Query(query): Query<RoomQuery>,
) -> Result<Json<RoomPage>, Problem> {
    let organisation = query.organization_id.as_ref();
    let organisation = organisation.map(WrittenId::organisation).transpose()?;
    let mut first = FirstRooms {
        after: query.after.as_deref().map(read_room).transpose()?,
        limit: limit(query.limit.as_deref())?,
        members: BTreeMap::new(),
    };
    let mut wanted = ConnectionsWanted {
        organisation: organisation.as_ref(),
        with_rooms: true,
        ..ConnectionsWanted::default()
    };
    let (mut place, mut is_partial) = (None, false);
    loop {
        let slice = connections.following(wanted, place.as_ref()).await;
        is_partial |= slice.is_partial;
        if slice.here_only && !wanted.here_only {
            // Once more from the beginning: what was counted so far has some of the others.
            wanted.here_only = true;
            first.members.clear();
            place = None;
            continue;
        }
        for room in slice.found.iter().flat_map(|found| &found.rooms) {
            first.count(room);
        }
        place = slice.last;
        // Connections are in the order of organisations, as rooms are.
        let is_whole = |place: &ConnectionPlace| first.is_whole_before(&place.organisation);
        if place.as_ref().is_none_or(is_whole) {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(Json(first.page(is_partial.then_some(false))))
}

/// The rooms of one page with their members, counted in one pass over all connections and never more than a page of them: a room that
/// has to go because of smaller ones never comes back, so whatever is left was counted from its first member on.
struct FirstRooms {
    after: Option<Room>,
    limit: usize,
    members: BTreeMap<Room, usize>,
}

impl FirstRooms {
    fn count(&mut self, room: &Room) {
        if self.after.as_ref().is_some_and(|after| room <= after) {
            return;
        }
        if let Some(members) = self.members.get_mut(room) {
            *members += 1;
            return;
        }
        if self.members.len() == self.limit {
            let is_among = (self.members.last_key_value()).is_some_and(|(last, _)| room < last);
            if !is_among {
                return;
            }
            self.members.pop_last();
        }
        self.members.insert(room.clone(), 1);
    }

    /// No connection of this organisation, or of one behind it, changes the page.
    fn is_whole_before(&self, organisation: &Id) -> bool {
        let last = self.members.last_key_value();
        self.members.len() == self.limit
            && last.is_some_and(|(room, _)| room.organisation < *organisation)
    }

    fn page(self, complete: Option<bool>) -> RoomPage {
        let last = self.members.last_key_value().map(|(room, _)| room);
        let after = last.filter(|_| self.members.len() == self.limit);
        let after = after.map(|room| write_place(&(room.organisation.as_str(), room.name())));
        let rooms = self.members.iter().map(|(room, members)| RoomItem {
            organization_id: room.organisation.to_string(),
            room: room.name(),
            members: *members,
        });
        RoomPage {
            rooms: rooms.collect(),
            complete,
            after,
        }
    }
}

fn read_room(text: &str) -> Result<Room, Problem> {
    let (organisation, name): (String, String) = read_place(text)?;
    let organisation = Id::parse(&organisation).map_err(|_| bad_place())?;
    Room::named(&organisation, &name).map_err(|_| bad_place())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the members come, pages of any size together have every room once, with all of its members.
    #[test]
    fn pages_have_every_room_once_with_all_members() {
        let own = |number: usize| Id::parse(&format!("o{}", number % 2)).unwrap();
        let room =
            |number: usize| Room::named(&own(number), &format!("channel:{}", number % 7)).unwrap();
        let held: Vec<Room> = (0..200).map(|number| room(number * 5)).collect();
        let mut all = BTreeMap::new();
        for room in &held {
            *all.entry(room.clone()).or_insert(0) += 1;
        }
        for limit in 1..20 {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let mut first = FirstRooms {
                    after: after.take(),
                    limit,
                    members: BTreeMap::new(),
                };
                for room in &held {
                    first.count(room);
                }
                let page = first.page(None);
                seen.extend(page.rooms.into_iter().map(|item| {
                    let organisation = Id::parse(&item.organization_id).unwrap();
                    (
                        Room::named(&organisation, &item.room).unwrap(),
                        item.members,
                    )
                }));
                let Some(next) = page.after else { break };
                after = Some(read_room(&next).unwrap());
            }
            assert_eq!(seen, all.clone().into_iter().collect::<Vec<_>>(), "{limit}");
        }
    }
}
