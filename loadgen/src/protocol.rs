//! Engine.IO v4 and Socket.IO v5 as text frames, read by looking at bytes.
//!
//! A client of this tool handles thousands of events a second beside the server on the same two cores: nothing here
//! allocates or parses JSON. Only the default namespace is spoken.

/// One text frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Open,
    Close,
    Ping,
    Pong,
    Noop,
    /// `40{"sid":…}`: the namespace is connected.
    Connect,
    /// `44{"message":…}`: final, a stock client does not try again. Carries the JSON text.
    ConnectError(&'a str),
    /// `41`: a stock client does not come back after this either.
    Disconnect,
    Event(Event<'a>),
    /// `43n[…]` with the text of the array.
    Ack {
        id: u64,
        args: &'a str,
    },
    /// Anything else: another namespace, binary events, an upgrade, garbage.
    Unknown,
}

/// `42["name",…]` or `42n["name",…]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Set when the server asks for an acknowledgement.
    pub(crate) ack: Option<u64>,
    pub(crate) name: &'a str,
    /// What stands between the name and the closing bracket, without the comma: JSON values separated by commas.
    pub(crate) args: &'a str,
}

impl<'a> Packet<'a> {
    pub(crate) fn parse(frame: &'a str) -> Self {
        let bytes = frame.as_bytes();
        match (bytes.first(), bytes.get(1)) {
            (Some(b'4'), Some(b'2')) => {
                parse_event(&frame[2..]).map_or(Packet::Unknown, Packet::Event)
            }
            (Some(b'4'), Some(b'3')) => {
                let (id, args) = leading_number(&frame[2..]);
                id.filter(|_| args.starts_with('['))
                    .map_or(Packet::Unknown, |id| Packet::Ack { id, args })
            }
            (Some(b'4'), Some(b'0')) if bytes.get(2) == Some(&b'{') => Packet::Connect,
            (Some(b'4'), Some(b'1')) if bytes.len() == 2 => Packet::Disconnect,
            (Some(b'4'), Some(b'4')) if bytes.get(2) == Some(&b'{') => {
                Packet::ConnectError(&frame[2..])
            }
            (Some(b'0'), Some(b'{')) => Packet::Open,
            (Some(b'1'), None) => Packet::Close,
            (Some(b'2'), None) => Packet::Ping,
            (Some(b'3'), _) => Packet::Pong,
            (Some(b'6'), None) => Packet::Noop,
            _ => Packet::Unknown,
        }
    }
}

fn parse_event(text: &str) -> Option<Event<'_>> {
    let (ack, array) = leading_number(text);
    let inner = array.strip_prefix("[\"")?.strip_suffix(']')?;
    let (name, rest) = inner.split_once('"')?;
    let args = if rest.is_empty() {
        rest
    } else {
        rest.strip_prefix(',')?
    };
    Some(Event { ack, name, args })
}

/// The decimal number at the start of `text`, and what follows it. A number too large for `u64` is none.
fn leading_number(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..digits].parse().ok(), &text[digits..])
}

impl<'a> Event<'a> {
    /// The arguments before the cursor, and the cursor: the last argument, if it is a string that starts with `v1.`.
    ///
    /// A cursor is base64url, so its string has no escapes and the last quote before the closing one opens it.
    pub(crate) fn split_cursor(&self) -> (&'a str, Option<&'a str>) {
        let Some(unquoted) = self.args.strip_suffix('"') else {
            return (self.args, None);
        };
        let Some((before, cursor)) = unquoted.rsplit_once('"') else {
            return (self.args, None);
        };
        if !cursor.starts_with("v1.") {
            return (self.args, None);
        }
        if before.is_empty() {
            return ("", Some(cursor));
        }
        before
            .strip_suffix(',')
            .map_or((self.args, None), |payload| (payload, Some(cursor)))
    }
}

/// The text of a string field of a JSON object, found by its name alone: for what this tool only shows or compares,
/// in answers whose shape the contract fixes. Text with escapes comes back as it was written.
pub(crate) fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    value(json, name)?.strip_prefix('"')?.split('"').next()
}

/// The same of a field that holds a whole number.
pub(crate) fn number(json: &str, name: &str) -> Option<u64> {
    let mut digits = value(json, name)?.split(|letter: char| !letter.is_ascii_digit());
    digits.next()?.parse().ok()
}

/// What follows the field's name and its colon.
fn value<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = json;
    loop {
        let at = rest.find(name)?;
        let before = rest[..at].ends_with('"');
        let after = &rest[at + name.len()..];
        if before && let Some(value) = after.strip_prefix('"') {
            return Some(value.trim_start().strip_prefix(':')?.trim_start());
        }
        rest = after;
    }
}

/// Whether an acknowledgement of the contract's shape says that the command took effect.
pub(crate) fn is_success(ack: &str) -> bool {
    field(ack, "status") == Some("success")
}

/// The packet that opens the default namespace, with the rooms and the cursor that the lines of the design put there.
pub(crate) fn connect_packet(token: &str, cursor: &str, rooms: &[String]) -> String {
    let mut packet = format!("40{{\"token\":\"{token}\"");
    if !cursor.is_empty() {
        packet.push_str(",\"cursor\":\"");
        packet.push_str(cursor);
        packet.push('"');
    }
    packet.push_str(",\"rooms\":");
    push_list(&mut packet, rooms);
    packet.push('}');
    packet
}

/// A `subscribe` that asks for acknowledgement `id`: one room by `room`, several by `rooms`.
pub(crate) fn subscribe_packet(id: u64, rooms: &[String]) -> String {
    if let [room] = rooms {
        return format!("42{id}[\"subscribe\",{{\"room\":\"{room}\"}}]");
    }
    let mut packet = format!("42{id}[\"subscribe\",{{\"rooms\":");
    push_list(&mut packet, rooms);
    packet.push_str("}]");
    packet
}

pub(crate) fn unsubscribe_packet(id: u64, room: &str) -> String {
    format!("42{id}[\"unsubscribe\",{{\"room\":\"{room}\"}}]")
}

/// An `auth:refresh` with another token of the same user.
pub(crate) fn refresh_packet(id: u64, token: &str) -> String {
    format!("42{id}[\"auth:refresh\",{{\"token\":\"{token}\"}}]")
}

/// Room names of this tool need no escaping.
fn push_list(packet: &mut String, rooms: &[String]) {
    packet.push('[');
    for (index, room) in rooms.iter().enumerate() {
        if index > 0 {
            packet.push(',');
        }
        packet.push('"');
        packet.push_str(room);
        packet.push('"');
    }
    packet.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(frame: &str) -> Event<'_> {
        match Packet::parse(frame) {
            Packet::Event(event) => event,
            other => panic!("{frame} was read as {other:?}"),
        }
    }

    #[test]
    fn every_packet_type_is_distinguished() {
        let cases = [
            ("0{\"sid\":\"a\"}", Packet::Open),
            ("1", Packet::Close),
            ("2", Packet::Ping),
            ("3probe", Packet::Pong),
            ("6", Packet::Noop),
            ("40{\"sid\":\"a\"}", Packet::Connect),
            ("41", Packet::Disconnect),
            (
                "44{\"message\":\"token_expired\"}",
                Packet::ConnectError("{\"message\":\"token_expired\"}"),
            ),
            (
                "4312[{\"a\":1}]",
                Packet::Ack {
                    id: 12,
                    args: "[{\"a\":1}]",
                },
            ),
            ("43[]", Packet::Unknown),
            ("42/ws,[\"a\"]", Packet::Unknown),
            (
                "451-[\"a\",{\"_placeholder\":true,\"num\":0}]",
                Packet::Unknown,
            ),
            ("42[\"open", Packet::Unknown),
            ("", Packet::Unknown),
            ("4", Packet::Unknown),
        ];
        for (frame, packet) in cases {
            assert_eq!(Packet::parse(frame), packet, "{frame}");
        }
    }

    #[test]
    fn an_event_gives_name_payload_and_cursor() {
        let event = event("42[\"incident_created\",{\"a\":[1,\"]\"]},\"v1.Abc-_\"]");
        assert_eq!((event.ack, event.name), (None, "incident_created"));
        assert_eq!(
            event.split_cursor(),
            ("{\"a\":[1,\"]\"]}", Some("v1.Abc-_"))
        );
    }

    #[test]
    fn an_event_that_asks_for_an_acknowledgement_gives_its_number() {
        assert_eq!(event("427[\"alert_created\",{},\"v1.x\"]").ack, Some(7));
    }

    #[test]
    fn only_a_last_string_argument_is_a_cursor() {
        for (frame, payload, cursor) in [
            ("42[\"a\"]", "", None),
            ("42[\"cursor\",\"v1.q\"]", "", Some("v1.q")),
            ("42[\"a\",\"plain\"]", "\"plain\"", None),
            ("42[\"a\",\"v1.x\",null]", "\"v1.x\",null", None),
            ("42[\"a\",{\"b\":\"v1.x\"}]", "{\"b\":\"v1.x\"}", None),
        ] {
            assert_eq!(event(frame).split_cursor(), (payload, cursor), "{frame}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_quoted_name() {
        let json = "{\"x_reason\":\"no\",\"code\" : 1,\"reason\" : \"forbidden\"}";
        assert_eq!(field(json, "reason"), Some("forbidden"));
        assert_eq!(field(json, "code"), None);
        assert_eq!(number(json, "code"), Some(1));
        assert_eq!(number(json, "reason"), None);
        assert!(is_success("[{\"status\":\"success\",\"success\":true}]"));
        assert!(!is_success(
            "[{\"status\":\"error\",\"message\":\"no success\"}]"
        ));
    }

    #[test]
    fn the_connect_packet_names_a_cursor_only_when_there_is_one() {
        assert_eq!(
            connect_packet("t", "", &[]),
            "40{\"token\":\"t\",\"rooms\":[]}"
        );
        let rooms = ["channel:1".to_owned(), "channel:2".to_owned()];
        assert_eq!(
            connect_packet("t", "v1.c", &rooms),
            "40{\"token\":\"t\",\"cursor\":\"v1.c\",\"rooms\":[\"channel:1\",\"channel:2\"]}"
        );
        assert_eq!(
            subscribe_packet(0, &rooms[..1]),
            "420[\"subscribe\",{\"room\":\"channel:1\"}]"
        );
        assert_eq!(
            subscribe_packet(12, &rooms),
            "4212[\"subscribe\",{\"rooms\":[\"channel:1\",\"channel:2\"]}]"
        );
    }
}
