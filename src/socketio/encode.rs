//! The one function that makes every outgoing event.
//!
//! A stock client takes the last argument of any packet without an acknowledgement for its resume offset if it is a string.
//! So each event ends with a cursor, or with something that is not a string.

use fleetcast_core::hub::outlet::Item;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::SendError;
use socketioxide::ack::AckStream;
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
        let body = self.body().map_or(0, |body| body.get().len());
        let meta = self
            .meta
            .as_ref()
            .map_or(0, |meta| 64 + meta.id.len() + meta.key.map_or(0, str::len));
        FRAMING + self.event.len() + body + meta + self.cursor.map_or(0, str::len)
    }

    pub(super) fn send(&self, socket: &SocketRef) -> Result<(), SendError> {
        match (self.body(), &self.meta, self.cursor) {
            (None, _, cursor) => socket.emit(self.event, &(cursor,)),
            (Some(body), Some(meta), cursor) => socket.emit(self.event, &(body, meta, cursor)),
            (Some(body), None, Some(cursor)) => socket.emit(self.event, &(body, cursor)),
            (Some(body), None, None) => socket.emit(self.event, &(body,)),
        }
    }

    /// As `send`, and asks for an acknowledgement: stock clients see it as a callback behind the last argument, and do not
    /// take that argument for their resume offset. So a `cursor` event must follow at once.
    pub(super) fn send_asking(
        &self,
        socket: &SocketRef,
    ) -> Result<AckStream<IgnoredAny>, SendError> {
        match (self.body(), &self.meta) {
            (None, _) => socket.emit_with_ack(self.event, &(self.cursor,)),
            (Some(body), Some(meta)) => {
                socket.emit_with_ack(self.event, &(body, meta, self.cursor))
            }
            (Some(body), None) => socket.emit_with_ack(self.event, &(body, self.cursor)),
        }
    }

    fn body(&self) -> Option<&RawValue> {
        match &self.body {
            Body::Record(body) => Some(body),
            Body::Made(body) => Some(body),
            Body::None => None,
        }
    }
}
