//! Engine.IO 4 and Socket.IO 5 in text frames, as far as a client of the default namespace needs them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// One frame of the server.
#[derive(Debug)]
pub(super) enum Packet {
    Open(OpenPacket),
    Ping,
    Connected,
    /// Final: a stock client would not try again either.
    Refused(String),
    /// The server wants this client not to reconnect.
    Disconnect,
    Event(ReceivedEvent),
    Ack {
        id: u64,
        arguments: Vec<Box<RawValue>>,
    },
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenPacket {
    /// Milliseconds.
    pub(super) ping_interval: u64,
    pub(super) ping_timeout: u64,
}

#[derive(Debug)]
pub(super) struct ReceivedEvent {
    /// Set when the server asks for an acknowledgement.
    pub(super) ack: Option<u64>,
    pub(super) name: String,
    pub(super) arguments: Vec<Box<RawValue>>,
}

/// Where a record came from.
#[derive(Debug, Deserialize)]
pub(super) struct EventMeta {
    pub(super) id: String,
    pub(super) timestamp: Option<i64>,
}

impl Packet {
    pub(super) fn parse(frame: &str) -> Self {
        Self::read(frame).unwrap_or(Self::Other)
    }

    fn read(frame: &str) -> Option<Self> {
        let rest = |from| frame.get(from..);
        Some(match (frame.as_bytes().first()?, frame.as_bytes().get(1)) {
            (b'0', _) => Self::Open(serde_json::from_str(rest(1)?).ok()?),
            (b'2', None) => Self::Ping,
            (b'4', Some(b'0')) => Self::Connected,
            (b'4', Some(b'1')) => Self::Disconnect,
            (b'4', Some(b'2')) => {
                let (ack, array) = number(rest(2)?);
                let mut arguments: Vec<Box<RawValue>> = serde_json::from_str(array).ok()?;
                if arguments.is_empty() {
                    return None;
                }
                let name = serde_json::from_str(arguments.remove(0).get()).ok()?;
                Self::Event(ReceivedEvent {
                    ack,
                    name,
                    arguments,
                })
            }
            (b'4', Some(b'3')) => {
                let (id, array) = number(rest(2)?);
                Self::Ack {
                    id: id?,
                    arguments: serde_json::from_str(array).ok()?,
                }
            }
            (b'4', Some(b'4')) => {
                let error: Value = serde_json::from_str(rest(2)?).ok()?;
                let message = error["message"].as_str().unwrap_or("no reason given");
                Self::Refused(message.to_owned())
            }
            _ => return None,
        })
    }
}

fn number(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    (number.parse().ok(), rest)
}

impl ReceivedEvent {
    /// The string that begins with `v1.`: the last argument of those that have one.
    pub(super) fn cursor(&self) -> Option<String> {
        let mut strings = self.arguments.iter().rev();
        strings.find_map(|argument| {
            let text: String = serde_json::from_str(argument.get()).ok()?;
            text.starts_with("v1.").then_some(text)
        })
    }

    /// The record, or what the server says.
    pub(super) fn payload(&self) -> Option<&RawValue> {
        let first = self.arguments.first()?;
        (!first.get().starts_with("\"v1.")).then_some(first)
    }

    pub(super) fn meta(&self) -> Option<EventMeta> {
        serde_json::from_str(self.arguments.get(1)?.get()).ok()
    }
}

/// `40{…}`. Rooms are for a connection that goes on from a cursor; `latest` is for when it cannot.
pub(super) fn connect(token: &str, cursor: Option<&str>, rooms: &[String], latest: bool) -> String {
    let mut auth = json!({"token": token, "meta": true});
    if let Some(cursor) = cursor {
        auth["cursor"] = cursor.into();
        auth["rooms"] = if latest {
            rooms.iter().map(|room| asked(room, true)).collect()
        } else {
            rooms.into()
        };
    }
    format!("40{auth}")
}

/// `42n["subscribe",{"room":…}]`.
pub(super) fn command(id: u64, name: &str, room: Option<&str>, latest: bool) -> String {
    let payload = match room {
        Some(room) => json!([name, asked(room, latest)]),
        None => json!([name, {}]),
    };
    format!("42{id}{payload}")
}

fn asked(room: &str, latest: bool) -> Value {
    if latest {
        json!({"room": room, "latest": true})
    } else {
        json!({"room": room})
    }
}

pub(super) fn acknowledgement(id: u64) -> String {
    format!("43{id}[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(frame: &str) -> ReceivedEvent {
        match Packet::parse(frame) {
            Packet::Event(event) => event,
            other => panic!("{frame}: {other:?}"),
        }
    }

    #[test]
    fn an_event_has_its_record_its_metadata_and_its_cursor() {
        let all = event(
            r#"427["alert_created",{"a":"v1.no"},{"id":"alert/0/4","timestamp":5,"key":null},"v1.x"]"#,
        );
        assert_eq!((all.ack, all.name.as_str()), (Some(7), "alert_created"));
        assert_eq!(all.payload().map(RawValue::get), Some(r#"{"a":"v1.no"}"#));
        let meta = all.meta().unwrap();
        assert_eq!((meta.id.as_str(), meta.timestamp), ("alert/0/4", Some(5)));
        assert_eq!(all.cursor().as_deref(), Some("v1.x"));

        let bare = event(r#"42["cursor","v1.y"]"#);
        assert!(bare.payload().is_none() && bare.meta().is_none());
        assert_eq!(bare.cursor().as_deref(), Some("v1.y"));
    }

    #[test]
    fn invalid_packets_are_ignored() {
        for frame in [
            "",
            "4",
            "42",
            "42[]",
            "42[7]",
            "43[1]",
            "0{}",
            "é",
            "44",
            "6",
            "42/ws,[\"a\"]",
        ] {
            assert!(matches!(Packet::parse(frame), Packet::Other), "{frame}");
        }
        assert!(matches!(Packet::parse("2"), Packet::Ping));
        assert!(matches!(
            Packet::parse("435[{}]"),
            Packet::Ack { id: 5, .. }
        ));
        let refused = Packet::parse(r#"44{"message":"token_expired"}"#);
        assert!(matches!(refused, Packet::Refused(why) if why == "token_expired"));
    }

    #[test]
    fn names_of_rooms_are_written_as_json() {
        assert_eq!(
            command(3, "subscribe", Some("channel:\"7"), false),
            r#"423["subscribe",{"room":"channel:\"7"}]"#
        );
        assert_eq!(
            command(3, "subscribe", Some("asset:*"), true),
            r#"423["subscribe",{"latest":true,"room":"asset:*"}]"#
        );
        assert_eq!(
            connect("t", None, &[], true),
            r#"40{"meta":true,"token":"t"}"#
        );
        let rooms = ["channel:7".to_owned()];
        let again = connect("t", Some("v1.c"), &rooms, true);
        assert!(again.contains(r#""rooms":[{"latest":true,"room":"channel:7"}]"#));
        let resumed = connect("t", Some("v1.c"), &rooms, false);
        assert!(
            resumed.contains(r#""cursor":"v1.c""#) && resumed.contains(r#""rooms":["channel:7"]"#)
        );
    }
}
