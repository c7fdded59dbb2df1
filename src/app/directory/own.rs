//! The connections to this instance, of the sessions and the hub.

use std::sync::Arc;

use fleetcast_core::domain::room::Room;

use crate::api::connections::{
    ConnectionHealth, ConnectionItem, ConnectionPlace, ConnectionSlice, ConnectionsWanted,
    FoundConnection,
};
use crate::clock;
use crate::session::{Session, SessionPosition, SessionRange, Sessions, connection_number};

/// So many connections are looked at at a stretch.
pub(super) const SLICE: usize = 64;
/// And so many under one lock: each may hold some hundred rooms, which are compared or cloned if they matter.
const PER_LOCK: usize = 16;

/// What is open here.
pub(in crate::app) struct OwnConnections {
    pub(in crate::app) sessions: Arc<Sessions>,
    /// What this instance is called.
    pub(in crate::app) instance: Arc<str>,
}

impl OwnConnections {
    /// Some of those that follow.
    pub(super) fn following(
        &self,
        wanted: ConnectionsWanted<'_>,
        after: Option<&ConnectionPlace>,
    ) -> ConnectionSlice {
        let after = after.map(|place| SessionPosition {
            organisation: place.organisation.clone(),
            user: place.user.clone(),
            connection: place.number,
        });
        let range = SessionRange {
            organisation: wanted.organisation,
            user: wanted.user,
        };
        let open = self.sessions.open();
        let sessions = open.following(range, after.as_ref(), SLICE);
        let last = sessions.get(SLICE - 1).map(|(last, _)| place(last.clone()));
        let found = self.found(sessions.into_iter().map(|(_, session)| session), wanted);
        ConnectionSlice {
            found: found.into_iter().flatten().collect(),
            last,
            is_partial: false,
            here_only: false,
        }
    }

    /// With its rooms.
    pub(super) fn find(&self, connection_id: &str) -> Option<FoundConnection> {
        self.find_all([connection_id]).pop()?
    }

    /// With their rooms, in the order in which they are asked for. At most some tens.
    pub(super) fn find_all<'a>(
        &self,
        connection_ids: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Option<FoundConnection>> {
        let open = self.sessions.open();
        let ids = connection_ids.into_iter();
        let sessions: Vec<_> = ids.map(|id| open.by_connection_id(id)).collect();
        let wanted = ConnectionsWanted {
            with_rooms: true,
            ..ConnectionsWanted::default()
        };
        let there = sessions.iter().flatten().cloned();
        let mut found = self.found(there, wanted).into_iter();
        let next = |session: &Option<_>| session.as_ref().and_then(|_| found.next().flatten());
        sessions.iter().map(next).collect()
    }

    /// `None`: it has ended meanwhile, or does not hold the room that is wanted.
    fn found(
        &self,
        sessions: impl Iterator<Item = Arc<Session>>,
        wanted: ConnectionsWanted<'_>,
    ) -> Vec<Option<FoundConnection>> {
        let whole = wanted.room.and_then(Room::whole);
        let holds = |rooms: &[Room]| {
            let is_it = |held| Some(held) == wanted.room || Some(held) == whole.as_ref();
            wanted.room.is_none() || rooms.iter().any(is_it)
        };
        let sessions: Vec<_> = sessions.collect();
        let mut in_hub = Vec::with_capacity(sessions.len());
        for some in sessions.chunks(PER_LOCK) {
            self.sessions.hub().with(|hub, _| {
                in_hub.extend(some.iter().map(|session| {
                    let there = session.key().and_then(|key| {
                        let rooms = hub.rooms(key);
                        let named = if wanted.with_rooms { rooms } else { &[] };
                        let lagging = hub.is_lagging(key).unwrap_or(false);
                        holds(rooms).then(|| (named.to_vec(), rooms.len(), lagging))
                    });
                    (session, there)
                }));
            });
        }
        let found = in_hub.into_iter().map(|(session, there)| {
            let (rooms, room_count, lagging) = there?;
            let carried = session.carried_by()?;
            let claims = session.claims();
            let item = ConnectionItem {
                connection_id: session.connection_id().to_owned(),
                user_id: session.user().to_string(),
                organization_id: session.organisation().to_string(),
                roles: claims.roles.iter().map(ToString::to_string).collect(),
                transport: carried.labels.transport.into(),
                namespace: carried.labels.namespace.into(),
                instance: self.instance.to_string(),
                rooms: room_count,
                connected_at: clock::rfc3339(carried.connected_at),
                address: carried.peer.map(|peer| peer.to_canonical().to_string()),
                client: carried.client_name.as_deref().map(str::to_owned),
                state: if lagging {
                    ConnectionHealth::Lagging
                } else {
                    ConnectionHealth::Live
                },
                expires_at: clock::rfc3339(claims.expires.saturating_mul(1000)),
            };
            let place = ConnectionPlace {
                organisation: session.organisation().clone(),
                user: session.user().clone(),
                number: connection_number(session.connection_id())?,
            };
            Some(FoundConnection { place, item, rooms })
        });
        found.collect()
    }
}

fn place(position: SessionPosition) -> ConnectionPlace {
    ConnectionPlace {
        organisation: position.organisation,
        user: position.user,
        number: position.connection,
    }
}
