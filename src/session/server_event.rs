//! The content of the server's own events: names and bodies, whatever a transport frames them with.

use std::sync::Arc;

use fleetcast_core::domain::publication::Publication;
use fleetcast_core::domain::room::Room;
use fleetcast_core::hub::outlet::ControlItem;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Failure, Session};
use crate::clock;

/// Version of what this server says to clients: S2-11.
pub const PROTOCOL_VERSION: &str = "1.0";

/// An event of the server's own.
pub struct ServerEvent<'a> {
    pub name: &'static str,
    /// In the profile's envelope. `None`: the cursor is all there is.
    pub body: Option<Box<RawValue>>,
    /// True once the client has the event.
    pub cursor: Option<&'a Arc<str>>,
}

#[derive(Serialize)]
struct WelcomeBody<'a> {
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

#[derive(Serialize)]
struct ResyncBody {
    reason: &'static str,
    code: u16,
    rooms: Vec<String>,
}

#[derive(Serialize)]
struct NoticeBody {
    rooms: Vec<String>,
    reason: &'static str,
    code: u16,
}

impl NoticeBody {
    fn new(reason: &'static str, code: u16, rooms: &[Room]) -> Self {
        Self {
            rooms: names(rooms),
            reason,
            code,
        }
    }
}

#[derive(Serialize)]
struct ExpiringBody {
    /// RFC 3339.
    expires_at: String,
}

#[derive(Serialize)]
struct StaleBody {
    stale: bool,
    /// RFC 3339.
    since: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(flatten)]
    failure: Failure,
    message: &'static str,
    about: &'a str,
}

/// Where a record came from: for clients that ask for it when they connect.
#[derive(Serialize)]
struct RecordMeta<'a> {
    id: String,
    timestamp: Option<i64>,
    key: Option<&'a str>,
}

/// The topic, offset, timestamp and key of a record, as JSON.
pub fn record_meta(publication: &Publication) -> Box<RawValue> {
    let meta = RecordMeta {
        id: publication.id(),
        timestamp: publication.timestamp,
        key: publication.key_text(),
    };
    to_raw_value(&meta).expect("texts and a number are plain data")
}

impl Session {
    /// What a control item of the hub says to this client.
    pub fn server_event<'a>(&self, item: ControlItem<'a>) -> ServerEvent<'a> {
        let (name, body, cursor) = match item {
            ControlItem::Cursor { cursor } => ("cursor", None, Some(cursor)),
            ControlItem::Welcome {
                resumption,
                rooms,
                window_seconds,
                cursor,
            } => {
                let body = self.welcome(resumption.as_str(), rooms, window_seconds);
                ("connection_established", Some(body), Some(cursor))
            }
            ControlItem::Resync {
                reason,
                rooms,
                cursor,
            } => {
                let body = ResyncBody {
                    reason: reason.as_str(),
                    code: reason.number(),
                    rooms: names(rooms),
                };
                ("resync_required", Some(self.wrap(body)), Some(cursor))
            }
            ControlItem::Granted {
                reason,
                rooms,
                cursor,
            } => {
                let body = NoticeBody::new(reason.as_str(), reason.number(), rooms);
                ("room_granted", Some(self.wrap(body)), Some(cursor))
            }
            ControlItem::Revoked {
                reason,
                rooms,
                cursor,
            } => {
                let body = NoticeBody::new(reason.as_str(), reason.number(), rooms);
                ("room_revoked", Some(self.wrap(body)), Some(cursor))
            }
            ControlItem::Stale {
                stale,
                since,
                cursor,
            } => {
                let since = clock::rfc3339(since);
                let body = StaleBody { stale, since };
                ("stale", Some(self.wrap(body)), Some(cursor))
            }
            ControlItem::TokenExpiring => {
                let expires_ms = self.claims().expires.saturating_mul(1000);
                let expires_at = clock::rfc3339(expires_ms);
                let body = ExpiringBody { expires_at };
                ("auth_expiring", Some(self.wrap(body)), None)
            }
        };
        ServerEvent { name, body, cursor }
    }

    /// A command failed and its sender asked for no acknowledgement, or a room of the handshake was not joined.
    pub fn error_event(&self, failure: Failure, about: &str) -> ServerEvent<'static> {
        let body = ErrorBody {
            failure,
            message: failure.message,
            about,
        };
        ServerEvent {
            name: "error",
            body: Some(self.wrap(body)),
            cursor: None,
        }
    }

    fn welcome(&self, resume: &'static str, rooms: &[Room], window_seconds: u64) -> Box<RawValue> {
        let claims = self.claims();
        self.wrap(WelcomeBody {
            protocol_version: PROTOCOL_VERSION,
            connection_id: self.connection_id(),
            user_id: self.user().as_str(),
            organization_id: self.organisation().as_str(),
            roles: claims.roles.iter().map(String::as_str).collect(),
            rooms: names(rooms),
            resume,
            server_time: clock::rfc3339(clock::wall_ms()),
            window_seconds,
        })
    }

    fn wrap(&self, data: impl Serialize) -> Box<RawValue> {
        let timestamp = clock::rfc3339(clock::wall_ms());
        let envelope = self.shared.rules.load().envelope;
        to_raw_value(&envelope.wrap(data, timestamp)).expect("our own events are plain data")
    }
}

fn names(rooms: &[Room]) -> Vec<String> {
    rooms.iter().map(ToString::to_string).collect()
}
