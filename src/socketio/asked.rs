//! `auth.rooms`: what is joined at CONNECT, and how the client hears of what is not.

use std::sync::Arc;

use fleetcast_core::domain::protocol::{CloseReason, Reason};
use fleetcast_core::domain::room::{BadRooms, Room, RoomRequest};
use serde_json::Value as Json;
use socketioxide::extract::SocketRef;

use super::encode::Outgoing;
use super::engine_session::EngineSession;
use crate::session::{Failure, Session};

/// So many refusals are told one by one. Who asks for more that cannot be has mistaken something else.
const MOST_TOLD: usize = 200;

/// The client's own text comes back to it up to so many characters.
const MOST_TEXT: usize = 200;

/// The rooms of a handshake.
pub(super) struct Asked {
    /// The own two, and those that policy allows.
    pub(super) rooms: Vec<Room>,
    /// Those of them whose newest records are wanted, should the connection not be resumed.
    pub(super) newest: Vec<Room>,
    pub(super) refused: Vec<Refused>,
}

/// A room that is not joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) failure: Failure,
    /// As the client named it.
    pub(super) about: String,
}

impl Refused {
    pub(super) fn forbidden(room: &Room) -> Self {
        Self {
            failure: Reason::Forbidden.into(),
            about: room.to_string(),
        }
    }
}

impl Asked {
    pub(super) fn of(session: &Session, wanted: Option<&Json>) -> Self {
        let own = session.own_rooms();
        let most = session.shared.max_rooms.saturating_add(own.len());
        let mut asked = Self {
            rooms: own.to_vec(),
            newest: Vec::new(),
            refused: Vec::new(),
        };
        let wanted = match wanted {
            None | Some(Json::Null) => &[],
            Some(Json::Array(wanted)) => wanted.as_slice(),
            Some(_) => {
                asked.refuse(
                    Reason::BadRequest,
                    "it is a list of rooms",
                    "auth.rooms".into(),
                );
                return asked;
            }
        };
        for element in wanted {
            if asked.rooms.len() >= most || asked.refused.len() >= MOST_TOLD {
                let message = "too many rooms: neither this one is joined nor those behind it";
                asked.refuse(Reason::TooManyRooms, message, text(element));
                break;
            }
            match room(session, element) {
                Ok((room, latest)) => {
                    if latest && !asked.newest.contains(&room) {
                        asked.newest.push(room.clone());
                    }
                    if !asked.rooms.contains(&room) {
                        asked.rooms.push(room);
                    }
                }
                Err(bad) => asked.refuse(bad.reason(), bad.message(), text(element)),
            }
        }
        asked
    }

    fn refuse(&mut self, reason: Reason, message: &'static str, about: String) {
        let failure = Failure { reason, message };
        self.refused.push(Refused { failure, about });
    }
}

/// An element of the list, and whether its newest records are wanted.
fn room(session: &Session, element: &Json) -> Result<(Room, bool), BadRooms> {
    let own = &session.claims.organisation;
    let asked = RoomRequest::parse_element(element, own)?;
    let latest = asked.latest;
    let room = asked.into_room(own);
    if session.may_hold(&session.shared.policy.load(), &room) {
        Ok((room, latest))
    } else {
        // Like a room of another organisation, and like one that does not exist.
        Err(BadRooms::Foreign)
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
    text.chars().take(MOST_TEXT).collect()
}

/// Tells each of them by an `error` event, as the send budget allows. To be called when the welcome is on its way, for
/// nothing comes before it.
pub(super) fn tell(refused: Vec<Refused>, socket: &SocketRef, engine: &Arc<EngineSession>) {
    if refused.is_empty() {
        return;
    }
    let (socket, session) = (socket.clone(), engine.clone());
    engine.tasks.spawn(async move {
        let budget = &session.budget;
        for Refused { failure, about } in refused {
            while !budget.has_capacity(socket.transport_type()) {
                if session.is_closed() || !socket.connected() {
                    return;
                }
                budget.capacity().await;
            }
            let outgoing = Outgoing::error(failure, &about);
            let reservation = budget.reserve_answer(outgoing.size(), socket.transport_type());
            if reservation.send(|| outgoing.send(&socket)).is_err() {
                session.close(CloseReason::TooSlow);
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_room_is_called_what_the_client_called_it() {
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
        assert_eq!(text(&json!(long)).chars().count(), MOST_TEXT);
    }
}
