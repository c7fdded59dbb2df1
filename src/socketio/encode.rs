//! The one function that makes every outgoing event.
//!
//! A stock client takes the last argument of any packet without an acknowledgement for its resume offset if it is a string.
//! So each event ends with a cursor, or with something that is not a string.

use fleetcast_core::hub::outlet::Item;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::SendError;
use socketioxide::extract::SocketRef;

use crate::clock;
use crate::session::{Failure, Session};

/// Version of what this server says over Socket.IO: S2-11.
pub const PROTOCOL_VERSION: &str = "1.0";

/// Brackets, quotes, commas, the packet type and the namespace around the arguments, in bytes: an upper bound.
const FRAMING: usize = 32;

/// An event with its arguments, ready for the library.
pub(super) struct Outgoing<'a> {
    event: &'a str,
    body: Body<'a>,
    meta: Option<Meta<'a>>,
    cursor: Option<&'a str>,
}

enum Body<'a> {
    /// The record as its producer wrote it.
    Record(&'a RawValue),
    Made(Box<RawValue>),
    /// The cursor is the only argument.
    None,
}

/// Where a record came from: only for clients that asked with `auth.meta`.
#[derive(Serialize)]
struct Meta<'a> {
    id: String,
    timestamp: Option<i64>,
    key: Option<&'a str>,
}

/// `{data, timestamp}`: what all events of ours look like.
#[derive(Serialize)]
struct Envelope<T> {
    data: T,
    timestamp: String,
}

#[derive(Serialize)]
struct Welcome<'a> {
    protocol_version: &'static str,
    connection_id: &'a str,
    user_id: &'a str,
    organization_id: &'a str,
    roles: Vec<&'a str>,
    rooms: Vec<String>,
    resume: &'static str,
    server_time: String,
    window_seconds: u64,
}

impl<'a> Outgoing<'a> {
    pub(super) fn item(item: Item<'a>, session: &Session, meta: bool) -> Self {
        match item {
            Item::Publication {
                publication,
                cursor,
            } => Self {
                event: &publication.event,
                body: Body::Record(&publication.payload),
                meta: meta.then(|| Meta {
                    id: publication.id(),
                    timestamp: publication.timestamp,
                    key: publication.key.as_deref(),
                }),
                cursor: Some(cursor),
            },
            Item::Cursor { cursor } => Self {
                event: "cursor",
                body: Body::None,
                meta: None,
                cursor: Some(cursor),
            },
            Item::Welcome {
                resumed,
                rooms,
                window_seconds,
                cursor,
            } => {
                let welcome = Welcome {
                    protocol_version: PROTOCOL_VERSION,
                    connection_id: &session.connection_id,
                    user_id: session.claims.user.as_str(),
                    organization_id: session.claims.organisation.as_str(),
                    roles: session.claims.roles.iter().map(String::as_str).collect(),
                    rooms: rooms.iter().map(ToString::to_string).collect(),
                    resume: resumed.as_str(),
                    server_time: clock::rfc3339(clock::wall_ms()),
                    window_seconds,
                };
                Self::made("connection_established", welcome, Some(cursor))
            }
            Item::Resync {
                reason,
                rooms,
                cursor,
            } => {
                #[derive(Serialize)]
                struct Resync {
                    reason: &'static str,
                    code: u16,
                    rooms: Vec<String>,
                }
                let rooms = rooms.iter().map(ToString::to_string).collect();
                let resync = Resync {
                    reason: reason.as_str(),
                    code: reason.number(),
                    rooms,
                };
                Self::made("resync_required", resync, Some(cursor))
            }
            Item::Stale {
                stale,
                since,
                cursor,
            } => {
                #[derive(Serialize)]
                struct Stale {
                    stale: bool,
                    since: String,
                }
                let stale = Stale {
                    stale,
                    since: clock::rfc3339(since),
                };
                Self::made("stale", stale, Some(cursor))
            }
        }
    }

    /// A command failed and its sender asked for no acknowledgement.
    pub(super) fn error(failure: Failure, about: &str) -> Self {
        #[derive(Serialize)]
        struct Error<'a> {
            #[serde(flatten)]
            failure: Failure,
            message: &'static str,
            about: &'a str,
        }
        Self::made(
            "error",
            Error {
                failure,
                message: failure.message,
                about,
            },
            None,
        )
    }

    fn made(event: &'a str, data: impl Serialize, cursor: Option<&'a str>) -> Self {
        let envelope = Envelope {
            data,
            timestamp: clock::rfc3339(clock::wall_ms()),
        };
        let body = to_raw_value(&envelope).expect("our own events are plain data");
        Self {
            event,
            body: Body::Made(body),
            meta: None,
            cursor,
        }
    }

    /// Bytes on the wire, within [`FRAMING`].
    pub(super) fn size(&self) -> usize {
        let body = match &self.body {
            Body::Record(body) => body.get().len(),
            Body::Made(body) => body.get().len(),
            Body::None => 0,
        };
        let meta = self
            .meta
            .as_ref()
            .map_or(0, |meta| 64 + meta.id.len() + meta.key.map_or(0, str::len));
        FRAMING + self.event.len() + body + meta + self.cursor.map_or(0, str::len)
    }

    pub(super) fn send(&self, socket: &SocketRef) -> Result<(), SendError> {
        let body = match &self.body {
            Body::Record(body) => *body,
            Body::Made(body) => &**body,
            Body::None => return socket.emit(self.event, &(self.cursor,)),
        };
        match (&self.meta, self.cursor) {
            (Some(meta), cursor) => socket.emit(self.event, &(body, meta, cursor)),
            (None, Some(cursor)) => socket.emit(self.event, &(body, cursor)),
            (None, None) => socket.emit(self.event, &(body,)),
        }
    }
}
