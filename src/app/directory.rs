//! What the API asks about open connections and has closed, of the sessions and the hub.

use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::drain::DrainShare;
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::ConnectionKey;

use super::fleet::{self, Fleet};
use super::log_reader::LogReader;
use crate::api::ShareDrainer;
use crate::api::connections::{
    ConnectionHealth, ConnectionItem, ConnectionPlace, ConnectionSlice, Connections,
    ConnectionsWanted, Ending, FoundConnection, Told,
};
use crate::clock;
use crate::session::{DrainRefusal, Session, SessionPosition, SessionRange, Sessions};

/// So many connections are looked at under one lock: each may hold some hundred rooms, which are compared or cloned if they matter.
const SLICE: usize = 64;

pub(super) struct Directory {
    pub(super) sessions: Arc<Sessions>,
    pub(super) log: Arc<LogReader>,
    pub(super) fleet: Option<Arc<Fleet>>,
}

impl Directory {
    /// Without those that have ended meanwhile, or do not hold the room that is wanted.
    fn found(
        &self,
        sessions: Vec<(SessionPosition, Arc<Session>)>,
        wanted: ConnectionsWanted<'_>,
    ) -> Vec<FoundConnection> {
        let whole = wanted.room.and_then(Room::whole);
        let holds = |rooms: &[Room]| {
            let is_it = |held| Some(held) == wanted.room || Some(held) == whole.as_ref();
            wanted.room.is_none() || rooms.iter().any(is_it)
        };
        let in_hub: Vec<_> = self.sessions.hub().with(|hub, _| {
            let in_hub = |(position, _): &(SessionPosition, _)| {
                let rooms = hub.rooms(position.key);
                let named = if wanted.with_rooms { rooms } else { &[] };
                let lagging = hub.is_lagging(position.key).unwrap_or(false);
                holds(rooms).then(|| (named.to_vec(), rooms.len(), lagging))
            };
            sessions.iter().map(in_hub).collect()
        });
        let all = sessions.into_iter().zip(in_hub);
        let found = all.filter_map(|((position, session), in_hub)| {
            let (rooms, room_count, lagging) = in_hub?;
            let carried = session.carried_by()?;
            let claims = session.claims();
            let item = ConnectionItem {
                connection_id: session.connection_id().to_owned(),
                user_id: position.user.to_string(),
                organization_id: position.organisation.to_string(),
                roles: claims.roles.iter().map(ToString::to_string).collect(),
                transport: carried.labels.transport,
                namespace: carried.labels.namespace,
                rooms: room_count,
                connected_at: clock::rfc3339(carried.connected_at),
                address: carried.peer.map(|peer| peer.to_canonical().to_string()),
                state: if lagging {
                    ConnectionHealth::Lagging
                } else {
                    ConnectionHealth::Live
                },
                expires_at: clock::rfc3339(claims.expires.saturating_mul(1000)),
            };
            let place = place(position);
            Some(FoundConnection { place, item, rooms })
        });
        found.collect()
    }
}

fn place(position: SessionPosition) -> ConnectionPlace {
    ConnectionPlace {
        organisation: position.organisation,
        user: position.user,
        number: position.key.number(),
    }
}

impl Connections for Directory {
    fn following(
        &self,
        wanted: ConnectionsWanted<'_>,
        after: Option<&ConnectionPlace>,
    ) -> ConnectionSlice {
        let after = after.map(|place| SessionPosition {
            organisation: place.organisation.clone(),
            user: place.user.clone(),
            key: ConnectionKey::from_number(place.number),
        });
        let range = SessionRange {
            organisation: wanted.organisation,
            user: wanted.user,
        };
        let open = self.sessions.open();
        let sessions = open.following(range, after.as_ref(), SLICE);
        let last = sessions.get(SLICE - 1).map(|(last, _)| place(last.clone()));
        ConnectionSlice {
            found: self.found(sessions, wanted),
            last,
        }
    }

    fn find(&self, connection_id: &str) -> Option<FoundConnection> {
        let session = self.sessions.open().by_connection_id(connection_id)?;
        let position = SessionPosition {
            organisation: session.organisation().clone(),
            user: session.user().clone(),
            key: session.key()?,
        };
        let wanted = ConnectionsWanted {
            with_rooms: true,
            ..ConnectionsWanted::default()
        };
        self.found(vec![(position, session)], wanted).pop()
    }

    fn close(&self, connection_id: &str, ending: Ending) -> bool {
        let Some(session) = self.sessions.open().by_connection_id(connection_id) else {
            return false;
        };
        fleet::close(&session, ending);
        true
    }

    fn close_elsewhere<'a>(
        &'a self,
        organisation: &'a Id,
        user: &'a UserId,
        ending: Ending,
    ) -> Told<'a> {
        Box::pin(async move {
            match &self.fleet {
                Some(fleet) => fleet.disconnect(organisation, user, ending).await,
                None => false,
            }
        })
    }

    /// As for what is published.
    fn knows_kind(&self, room: &Room) -> bool {
        room.kind.is_organisation()
            || room.kind.is_user()
            || self.sessions.knows_kind(room)
            || self.log.routes().kinds().contains(room.kind.as_str())
    }

    fn of_user(&self, organisation: &Id, user: &UserId) -> Vec<String> {
        let sessions = self.sessions.open().of_user(organisation, user).into_iter();
        sessions
            .map(|session| session.connection_id().to_owned())
            .collect()
    }
}

impl ShareDrainer for Directory {
    fn drain(&self, share: DrainShare, spread: Duration) -> Result<usize, DrainRefusal> {
        self.sessions.drain_share(share, spread)
    }
}
