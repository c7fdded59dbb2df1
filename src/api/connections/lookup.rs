//! What the API asks of the rest of the process about open connections, and in which words it is answered.

use std::borrow::Cow;
use std::pin::Pin;

use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::room::Room;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::page::{bad_place, read_place, write_place};
use crate::problem::Problem;

/// What the API asks of the open connections, of this instance and of the others. Each call looks at a bounded number of them; the
/// handlers let other tasks have the thread between two calls.
pub trait Connections: Send + Sync {
    /// Some of the connections that follow, in the order of organisation, user and connection.
    fn following<'a>(
        &'a self,
        wanted: ConnectionsWanted<'a>,
        after: Option<&'a ConnectionPlace>,
    ) -> Lookup<'a, ConnectionSlice>;

    /// With its rooms.
    fn find<'a>(
        &'a self,
        connection_id: &'a str,
    ) -> Lookup<'a, Result<Option<FoundConnection>, Unreached>>;

    /// False: there is no such connection.
    fn close<'a>(
        &'a self,
        connection_id: &'a str,
        ending: Ending,
    ) -> Lookup<'a, Result<bool, Unreached>>;

    /// Whether the profile has rooms of this kind.
    fn knows_kind(&self, room: &Room) -> bool;

    /// Closes all connections of a user.
    fn disconnect<'a>(
        &'a self,
        organisation: &'a Id,
        user: &'a UserId,
        ending: Ending,
    ) -> Lookup<'a, UserDisconnected>;
}

/// What may have to ask Redis: within some seconds.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// It is not among the connections of this instance, and others could not be asked or notified; why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached(pub String);

/// What became of the connections of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserDisconnected {
    pub connections: usize,
    /// Other instances, if there are any, were notified.
    pub everywhere: bool,
}

/// Which connections are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionsWanted<'a> {
    pub organisation: Option<&'a Id>,
    /// With an organisation only its connections are looked at; without, the caller chooses.
    pub user: Option<&'a UserId>,
    /// Those that hold it, or all rooms of its kind.
    pub room: Option<&'a Room>,
    /// They are counted all the same. A connection may hold hundreds.
    pub with_rooms: bool,
    /// Other instances are not asked: they could not be just now.
    pub here_only: bool,
}

/// What one look has found.
#[derive(Debug, Clone, Default)]
pub struct ConnectionSlice {
    pub found: Vec<FoundConnection>,
    /// Where the next one goes on. `None`: this was the last.
    pub last: Option<ConnectionPlace>,
    /// Other instances have connections, perhaps, that are not among these.
    pub is_partial: bool,
    /// They could not be asked.
    pub here_only: bool,
}

/// What a connection that is closed is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    MayReturn,
    /// As far as its transport can say so.
    MustNotReturn,
}

impl Ending {
    pub(in crate::api) fn of(reconnect: Option<bool>) -> Self {
        if reconnect.unwrap_or(true) {
            Self::MayReturn
        } else {
            Self::MustNotReturn
        }
    }
}

/// A place in the order of connections, which is the same on all instances. It stays good when its connection has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionPlace {
    pub organisation: Id,
    pub user: UserId,
    /// That of its connection id.
    pub number: u64,
}

/// As it is written.
type WrittenPlace = (String, String, u64);

impl ConnectionPlace {
    pub(in crate::api) fn written(&self) -> String {
        let (organisation, user) = (self.organisation.as_str(), self.user.as_str());
        write_place(&(organisation, user, self.number))
    }

    pub(in crate::api) fn read(text: &str) -> Result<Self, Problem> {
        let (organisation, user, number): WrittenPlace = read_place(text)?;
        Ok(Self {
            organisation: Id::parse(&organisation).map_err(|_| bad_place())?,
            user: UserId::parse(&user).map_err(|_| bad_place())?,
            number,
        })
    }
}

/// A connection, and where it stands.
#[derive(Debug, Clone)]
pub struct FoundConnection {
    pub place: ConnectionPlace,
    pub item: ConnectionItem,
    /// Empty unless they are asked for.
    pub rooms: Vec<Room>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ConnectionItem {
    /// Public: the client has it from `connection_established`. Not the Socket.IO id.
    pub connection_id: String,
    pub user_id: String,
    pub organization_id: String,
    pub roles: Vec<String>,
    /// `websocket` or `polling`.
    pub transport: Cow<'static, str>,
    pub namespace: Cow<'static, str>,
    /// To which it is connected, by the name that connection events have, too.
    pub instance: String,
    /// How many rooms it holds, its own two included.
    pub rooms: usize,
    /// RFC 3339.
    pub connected_at: String,
    /// Where it comes from: the other end of the TCP connection, or the client that a trusted proxy names.
    pub address: Option<String>,
    /// What the client calls itself: the `User-Agent` of its first request, at most 160 visible characters.
    pub client: Option<String>,
    pub state: ConnectionHealth,
    /// When its token expires, RFC 3339.
    pub expires_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionHealth {
    /// It is sent each event as it comes.
    Live,
    /// It is fed from the window: it is slow, or is being resumed.
    Lagging,
}
