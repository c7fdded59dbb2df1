//! What the API asks about open connections and has closed: of this instance from its sessions, of the others from Redis.
//!
//! - `own`: what is open here
//! - `records`: the same as Redis has it

mod own;
mod records;

use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::drain::DrainShare;
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::room::Room;
use fleetcast_core::domain::room_operation::RoomOperation;

use super::closing::{close, close_user};
use super::fleet::Fleet;
use super::log_reader::LogReader;
use crate::api::connections::{
    ConnectionPlace, ConnectionSlice, Connections, ConnectionsWanted, Ending, FoundConnection,
    Lookup, Unreached, UserDisconnected,
};
use crate::api::{OperatedRooms, RoomOperator, ShareDrainer, UnknownRoomKind};
use crate::bus::{RedisFault, Registry, RegistryRange, RemotePart, SortedPart, merged};
use crate::session::{DrainRefusal, Sessions};

pub(super) use own::OwnConnections;

/// So many connections of other instances are looked at, or some more, together with the own ones.
const OTHERS: usize = 128;

pub(super) struct Directory {
    pub(super) own: Arc<OwnConnections>,
    pub(super) log: Arc<LogReader>,
    /// `None`: there are no others, as far as this instance knows.
    pub(super) fleet: Option<Arc<Fleet>>,
}

impl Directory {
    fn sessions(&self) -> &Arc<Sessions> {
        &self.own.sessions
    }

    /// Those of other instances, within `wanted`, and whether that is all of them.
    async fn others(
        registry: &Registry,
        wanted: ConnectionsWanted<'_>,
        after: Option<&ConnectionPlace>,
    ) -> Result<(SortedPart<ConnectionPlace, FoundConnection>, bool), RedisFault> {
        let range = RegistryRange {
            organisation: wanted.organisation,
            user: wanted.user,
        };
        let after = after.map(records::written_place);
        let RemotePart { part, is_whole } =
            registry.following(range, after.as_ref(), OTHERS).await?;
        let items = part.items.into_iter().filter_map(|(at, remote)| {
            let found = records::found(&at, remote, wanted)?;
            Some((found.place.clone(), found))
        });
        let up_to = part.up_to.as_ref().map(records::read_place);
        let part = SortedPart {
            items: items.collect(),
            up_to: up_to.clone().flatten(),
        };
        // A place that is none of ours cannot be gone on from.
        Ok((part, is_whole && up_to != Some(None)))
    }
}

impl Connections for Directory {
    fn following<'a>(
        &'a self,
        wanted: ConnectionsWanted<'a>,
        after: Option<&'a ConnectionPlace>,
    ) -> Lookup<'a, ConnectionSlice> {
        Box::pin(async move {
            let others = match &self.fleet {
                Some(fleet) if !wanted.here_only => Self::others(fleet.registry(), wanted, after)
                    .await
                    .map(Some),
                _ => Ok(None),
            };
            let own = self.own.following(wanted, after);
            match others {
                Ok(None) => own,
                Err(_) => ConnectionSlice {
                    is_partial: true,
                    here_only: true,
                    ..own
                },
                Ok(Some((others, is_whole))) => {
                    let placed = own
                        .found
                        .into_iter()
                        .map(|found| (found.place.clone(), found));
                    let own = SortedPart {
                        items: placed.collect(),
                        up_to: own.last,
                    };
                    let all = merged([own, others]);
                    ConnectionSlice {
                        found: all.items.into_iter().map(|(_, found)| found).collect(),
                        last: all.up_to,
                        is_partial: !is_whole,
                        here_only: false,
                    }
                }
            }
        })
    }

    fn find<'a>(
        &'a self,
        connection_id: &'a str,
    ) -> Lookup<'a, Result<Option<FoundConnection>, Unreached>> {
        Box::pin(async move {
            let own = self.own.find(connection_id);
            let (None, Some(fleet)) = (&own, &self.fleet) else {
                return Ok(own);
            };
            let found = fleet.registry().find(connection_id).await;
            let found = found.map_err(|fault| Unreached(fault.to_string()))?;
            let wanted = ConnectionsWanted {
                with_rooms: true,
                ..ConnectionsWanted::default()
            };
            Ok(found.and_then(|(at, remote)| records::found(&at, remote, wanted)))
        })
    }

    fn close<'a>(
        &'a self,
        connection_id: &'a str,
        ending: Ending,
    ) -> Lookup<'a, Result<bool, Unreached>> {
        Box::pin(async move {
            let own = self.sessions().open().by_connection_id(connection_id);
            match (own, &self.fleet) {
                (Some(own), _) => close(&own, ending),
                (None, None) => return Ok(false),
                (None, Some(fleet)) => {
                    let told = fleet.kick(connection_id, ending).await;
                    return told.map_err(Unreached);
                }
            }
            Ok(true)
        })
    }

    /// As for what is published.
    fn knows_kind(&self, room: &Room) -> bool {
        room.kind.is_organisation()
            || room.kind.is_user()
            || self.sessions().knows_kind(room)
            || self.log.routes().kinds().contains(room.kind.as_str())
    }

    fn disconnect<'a>(
        &'a self,
        organisation: &'a Id,
        user: &'a UserId,
        ending: Ending,
    ) -> Lookup<'a, UserDisconnected> {
        Box::pin(async move {
            let own = close_user(self.sessions(), organisation, user, ending).await;
            let others = match &self.fleet {
                Some(fleet) => fleet.disconnect(organisation, user, ending).await,
                None => None,
            };
            UserDisconnected {
                connections: own + others.unwrap_or(0),
                everywhere: others.is_some(),
            }
        })
    }
}

impl RoomOperator for Directory {
    fn operate(
        &self,
        operation: RoomOperation,
    ) -> Lookup<'_, Result<OperatedRooms, UnknownRoomKind>> {
        Box::pin(async move {
            let mut rooms = operation.join().iter().chain(operation.leave());
            if let Some(unknown) = rooms.find(|room| !self.knows_kind(room)) {
                return Err(UnknownRoomKind(unknown.name()));
            }
            let (here, changes) = self.sessions().operate(&operation).await;
            let others = match &self.fleet {
                Some(fleet) => fleet.operate(operation).await,
                None => None,
            };
            Ok(OperatedRooms {
                connections: here + others.unwrap_or(0),
                changes,
                everywhere: others.is_some(),
            })
        })
    }
}

impl ShareDrainer for Directory {
    fn drain(&self, share: DrainShare, spread: Duration) -> Result<usize, DrainRefusal> {
        self.sessions().drain_share(share, spread)
    }
}
