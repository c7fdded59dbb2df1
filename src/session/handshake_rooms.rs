//! The rooms that a client asks for when it connects: which are joined, and why the others are not.

use fleetcast_core::domain::grants::is_grantable;
use fleetcast_core::domain::protocol::Reason;
use fleetcast_core::domain::room::{Room, RoomRequest};
use serde_json::Value as Json;

use super::{Failure, Session};

/// So many rejected rooms are reported one by one; the list ends there.
const MAX_REPORTED: usize = 200;

/// The client's own text comes back to it up to so many characters.
const MAX_TEXT: usize = 200;

/// The rooms of a handshake.
pub(super) struct HandshakeRooms {
    /// The connection's own two, and those that policy allows.
    pub(super) rooms: Vec<Room>,
    /// Rooms whose latest records are wanted, should they be joined and the connection not be resumed.
    pub(super) latest: Vec<Room>,
    /// With the room itself if a grant could permit it.
    pub(super) rejected: Vec<(RejectedRoom, Option<Room>)>,
}

/// A room that is not joined, for an `error` event behind the welcome: see [`Session::error_event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRoom {
    pub failure: Failure,
    /// As the client named it.
    pub about: String,
}

impl RejectedRoom {
    pub(super) fn forbidden(room: &Room) -> Self {
        Self {
            failure: Reason::Forbidden.into(),
            about: room.to_string(),
        }
    }
}

impl HandshakeRooms {
    /// `wanted` is the client's, unchecked: `null` or a list of rooms.
    pub(super) fn of(session: &Session, wanted: Option<&Json>) -> Self {
        let own = session.own_rooms();
        let most = session.max_rooms();
        let mut found = Self {
            rooms: own.to_vec(),
            latest: Vec::new(),
            rejected: Vec::new(),
        };
        let wanted = match wanted {
            None | Some(Json::Null) => &[],
            Some(Json::Array(wanted)) => wanted.as_slice(),
            Some(_) => {
                let message = "it is a list of rooms";
                found.reject(Reason::BadRequest, message, "auth.rooms".into());
                return found;
            }
        };
        for element in wanted {
            if found.rooms.len() >= most || found.rejected.len() >= MAX_REPORTED {
                let message = "too many rooms: neither this one is joined nor those behind it";
                found.reject(Reason::TooManyRooms, message, text(element));
                break;
            }
            match RoomRequest::parse_element(element, session.caller()) {
                Ok(request) => found.ask(session, request, element),
                Err(bad) => found.reject(bad.reason(), bad.message(), text(element)),
            }
        }
        found
    }

    fn ask(&mut self, session: &Session, request: RoomRequest, element: &Json) {
        let latest = request.latest;
        let room = request.into_room(session.organisation());
        if latest && !self.latest.contains(&room) {
            self.latest.push(room.clone());
        }
        if !session.may_hold(&session.shared.rules.load().policy, &room) {
            // Like a room of another organisation, and like one that does not exist.
            let failure = Reason::Forbidden.into();
            let about = text(element);
            let rejected = RejectedRoom { failure, about };
            let room = is_grantable(&room).then_some(room);
            self.rejected.push((rejected, room));
        } else if !self.rooms.contains(&room) {
            self.rooms.push(room);
        }
    }

    /// Whether one was rejected that a grant could permit.
    pub(super) fn awaits_grants(&self) -> bool {
        self.rejected.iter().any(|(_, room)| room.is_some())
    }

    fn reject(&mut self, reason: Reason, message: &'static str, about: String) {
        let reason = reason.into();
        let failure = Failure { reason, message };
        self.rejected.push((RejectedRoom { failure, about }, None));
    }
}

/// How the client named the room: by the short name if there is one, else by what it sent.
fn text(element: &Json) -> String {
    let text = match (element, element.get("room"), element.get("type")) {
        (Json::String(name), ..) | (_, Some(Json::String(name)), None) => name.clone(),
        (_, None, Some(Json::String(kind))) => match (element.get("id"), element.get("all")) {
            (Some(Json::String(id)), _) => format!("{kind}:{id}"),
            (Some(Json::Number(id)), _) => format!("{kind}:{id}"),
            (None, Some(Json::Bool(true))) => format!("{kind}:*"),
            _ => element.to_string(),
        },
        _ => element.to_string(),
    };
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_room_is_reported_by_the_name_that_the_client_used() {
        for (element, expected) in [
            (json!("channel:7"), "channel:7"),
            (json!("nonsense"), "nonsense"),
            (json!({"room": "channel:7:org:o2"}), "channel:7:org:o2"),
            (json!({"type": "channel", "id": "7"}), "channel:7"),
            (
                json!({"type": "channel", "id": 7, "latest": true}),
                "channel:7",
            ),
            (json!({"type": "asset", "all": true}), "asset:*"),
            (json!({"type": "asset"}), r#"{"type":"asset"}"#),
            (json!({"room": 7}), r#"{"room":7}"#),
            (json!(null), "null"),
            (json!([["channel:7"]]), r#"[["channel:7"]]"#),
        ] {
            assert_eq!(text(&element), expected, "{element}");
        }
        let long = format!("channel:{}", "é".repeat(1000));
        assert_eq!(text(&json!(long)).chars().count(), MAX_TEXT);
    }
}
