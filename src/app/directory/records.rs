//! Connections as other instances read them in Redis, and those of others as this one reads them.

use fleetcast_core::domain::room::Room;

use super::own::OwnConnections;
use crate::api::connections::{
    ConnectionHealth, ConnectionItem, ConnectionPlace, ConnectionsWanted, FoundConnection,
};
use crate::bus::{
    NAMED_ROOMS, OpenConnections, RegistryPlace, RegistryRecord, RemoteConnection, SortedPart,
};
use crate::session::{connection_id, connection_number};

impl OpenConnections for OwnConnections {
    fn following(
        &self,
        after: Option<&RegistryPlace>,
    ) -> SortedPart<RegistryPlace, RegistryRecord> {
        let wanted = ConnectionsWanted {
            with_rooms: true,
            ..ConnectionsWanted::default()
        };
        let after = after.and_then(read_place);
        let slice = OwnConnections::following(self, wanted, after.as_ref());
        let items = slice.found.into_iter();
        SortedPart {
            items: items
                .map(|found| (written_place(&found.place), record(found)))
                .collect(),
            up_to: slice.last.as_ref().map(written_place),
        }
    }

    fn records(&self, places: &[RegistryPlace]) -> Vec<Option<RegistryRecord>> {
        let found = self.find_all(places.iter().map(|place| &*place.connection));
        found.into_iter().map(|found| found.map(record)).collect()
    }

    fn count(&self) -> usize {
        self.sessions.open().len()
    }
}

pub(super) fn written_place(place: &ConnectionPlace) -> RegistryPlace {
    RegistryPlace {
        organisation: place.organisation.clone(),
        user: place.user.clone(),
        connection: connection_id(place.number).into(),
    }
}

/// `None`: its connection has no id of ours.
pub(super) fn read_place(place: &RegistryPlace) -> Option<ConnectionPlace> {
    Some(ConnectionPlace {
        organisation: place.organisation.clone(),
        user: place.user.clone(),
        number: connection_number(&place.connection)?,
    })
}

fn record(found: FoundConnection) -> RegistryRecord {
    let FoundConnection { item, rooms, .. } = found;
    RegistryRecord {
        instance: item.instance,
        organisation: item.organization_id,
        user: item.user_id,
        roles: item.roles,
        transport: item.transport.into_owned(),
        namespace: item.namespace.into_owned(),
        rooms: item.rooms,
        room_names: rooms.iter().take(NAMED_ROOMS).map(Room::name).collect(),
        connected_at: item.connected_at,
        address: item.address,
        client: item.client,
        lagging: item.state == ConnectionHealth::Lagging,
        expires_at: item.expires_at,
    }
}

/// `None`: it does not hold the room that is wanted, or is none of ours.
pub(super) fn found(
    at: &RegistryPlace,
    remote: RemoteConnection,
    wanted: ConnectionsWanted<'_>,
) -> Option<FoundConnection> {
    let record = remote.record;
    if let Some(room) = wanted.room {
        let (name, whole) = (room.name(), room.whole().map(|whole| whole.name()));
        let is_it = |held: &String| *held == name || Some(held) == whole.as_ref();
        if !record.room_names.iter().any(is_it) {
            return None;
        }
    }
    let place = read_place(at)?;
    let rooms = if wanted.with_rooms {
        let rooms = record.room_names.iter();
        let rooms = rooms.filter_map(|name| Room::named(&place.organisation, name).ok());
        rooms.collect()
    } else {
        Vec::new()
    };
    let item = ConnectionItem {
        connection_id: at.connection.to_string(),
        user_id: record.user,
        organization_id: record.organisation,
        roles: record.roles,
        transport: record.transport.into(),
        namespace: record.namespace.into(),
        instance: record.instance,
        rooms: record.rooms,
        connected_at: record.connected_at,
        address: record.address,
        client: record.client,
        state: if record.lagging {
            ConnectionHealth::Lagging
        } else {
            ConnectionHealth::Live
        },
        expires_at: record.expires_at,
    };
    Some(FoundConnection { place, item, rooms })
}
