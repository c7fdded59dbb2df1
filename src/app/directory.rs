//! What the API asks about open connections, of the sessions and the hub.

use std::sync::Arc;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::hub::ConnectionKey;

use crate::api::connections::{
    ConnectionHealth, ConnectionItem, ConnectionPlace, Connections, Ending, FoundConnection,
};
use crate::clock;
use crate::session::{Session, SessionPosition, Sessions};

/// So many connections are looked at under one lock: each may hold some hundred rooms.
const SLICE: usize = 64;

pub(super) struct Directory {
    sessions: Arc<Sessions>,
}

impl Directory {
    pub(super) fn new(sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { sessions })
    }

    /// Without those that have ended meanwhile.
    fn found(&self, sessions: Vec<(SessionPosition, Arc<Session>)>) -> Vec<FoundConnection> {
        let in_hub: Vec<_> = self.sessions.hub().with(|hub, _| {
            let in_hub = |(position, _): &(SessionPosition, _)| {
                let lagging = hub.is_lagging(position.key).unwrap_or(false);
                (hub.rooms(position.key).to_vec(), lagging)
            };
            sessions.iter().map(in_hub).collect()
        });
        let all = sessions.into_iter().zip(in_hub);
        let found = all.filter_map(|((position, session), (rooms, lagging))| {
            let carried = session.carried_by()?;
            let claims = session.claims();
            let item = ConnectionItem {
                connection_id: session.connection_id().to_owned(),
                user_id: position.user.to_string(),
                organization_id: position.organisation.to_string(),
                roles: claims.roles.iter().map(ToString::to_string).collect(),
                transport: carried.labels.transport,
                namespace: carried.labels.namespace,
                rooms: rooms.len(),
                connected_at: clock::rfc3339(carried.connected_at),
                address: carried.peer.map(|peer| peer.to_canonical().to_string()),
                state: if lagging {
                    ConnectionHealth::Lagging
                } else {
                    ConnectionHealth::Live
                },
                expires_at: clock::rfc3339(claims.expires.saturating_mul(1000)),
            };
            let place = ConnectionPlace {
                organisation: position.organisation,
                user: position.user,
                number: position.key.number(),
            };
            Some(FoundConnection { place, item, rooms })
        });
        found.collect()
    }
}

impl Connections for Directory {
    fn following(
        &self,
        organisation: Option<&Id>,
        after: Option<&ConnectionPlace>,
    ) -> Vec<FoundConnection> {
        let mut after = after.map(|place| SessionPosition {
            organisation: place.organisation.clone(),
            user: place.user.clone(),
            key: ConnectionKey::from_number(place.number),
        });
        // If all of a slice have ended meanwhile, there may be more behind.
        loop {
            let open = self.sessions.open();
            let sessions = open.following(organisation, after.as_ref(), SLICE);
            let Some((last, _)) = sessions.last() else {
                return Vec::new();
            };
            after = Some(last.clone());
            let found = self.found(sessions);
            if !found.is_empty() {
                return found;
            }
        }
    }

    fn find(&self, connection_id: &str) -> Option<FoundConnection> {
        let session = self.sessions.open().by_connection_id(connection_id)?;
        let position = SessionPosition {
            organisation: session.organisation().clone(),
            user: session.user().clone(),
            key: session.key()?,
        };
        self.found(vec![(position, session)]).pop()
    }

    fn close(&self, connection_id: &str, ending: Ending) -> bool {
        let Some(session) = self.sessions.open().by_connection_id(connection_id) else {
            return false;
        };
        match ending {
            Ending::MayReturn => session.close(CloseReason::Kicked),
            Ending::MustNotReturn => session.dismiss(),
        }
        true
    }

    fn of_user(&self, organisation: &Id, user: &UserId) -> Vec<String> {
        let sessions = self.sessions.open().of_user(organisation, user).into_iter();
        sessions
            .map(|session| session.connection_id().to_owned())
            .collect()
    }
}
