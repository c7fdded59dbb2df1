//! The 500 bytes of an event, with the numbers that a client reads at fixed places: it parses no JSON.

/// Bytes of an event's payload.
pub(crate) const EVENT_BYTES: usize = 500;

const BEFORE_NUMBER: &[u8] = b"{\"data\":{\"num\":\"";
const BEFORE_SEQUENCE: &[u8] = b"\",\"seq\":\"";
const BEFORE_SENT: &[u8] = b"\",\"sent\":\"";
const BEFORE_CHANNEL: &[u8] = b"\",\"channel_id\":\"";
const BEFORE_NOTE: &[u8] = b"\",\"note\":\"";
/// Decimal digits of each number.
const DIGITS: usize = 20;

/// The organisation of all records and tokens.
pub(crate) const ORGANISATION: &str = "bench";

/// What an event is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// To the members of a channel.
    Transmission,
    /// To everyone of the organisation, who are asked to acknowledge it.
    Alert,
}

impl EventKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transmission => "transmission_started",
            Self::Alert => "alert_created",
        }
    }

    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Transmission => "transmission",
            Self::Alert => "alert",
        }
    }
}

/// What an event says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts all events of a server's life.
    pub(crate) number: u64,
    /// Counts those of the room from 0.
    pub(crate) sequence: u64,
    /// When it was handed to the publisher, in nanoseconds since the epoch.
    pub(crate) sent_ns: u64,
}

/// A channel's id.
pub(crate) fn channel(room: usize) -> String {
    format!("c{room:05}")
}

/// Writes the payload over what `out` holds.
pub(crate) fn write_event(out: &mut Vec<u8>, kind: EventKind, room: usize, stamp: Stamp) {
    out.clear();
    let number = |value: u64| format!("{value:0DIGITS$}");
    out.extend_from_slice(BEFORE_NUMBER);
    out.extend_from_slice(number(stamp.number).as_bytes());
    out.extend_from_slice(BEFORE_SEQUENCE);
    out.extend_from_slice(number(stamp.sequence).as_bytes());
    out.extend_from_slice(BEFORE_SENT);
    out.extend_from_slice(number(stamp.sent_ns).as_bytes());
    out.extend_from_slice(BEFORE_CHANNEL);
    out.extend_from_slice(channel(room).as_bytes());
    out.extend_from_slice(BEFORE_NOTE);
    let end = format!(
        "\"}},\"event_type\":\"{}\",\"organization_id\":\"{ORGANISATION}\"}}",
        kind.name()
    );
    out.resize(EVENT_BYTES - end.len(), b'x');
    out.extend_from_slice(end.as_bytes());
}

/// The packet's own acknowledgement id, if it asks for one, and the stamp. `None`: not an event of this tool.
pub(crate) fn read_event(packet: &[u8]) -> Option<(Option<u64>, Stamp)> {
    let head = packet.get(..64)?;
    let begin = head.iter().position(|byte| *byte == b'{')?;
    let mut rest = &packet[begin..];
    let mut number = |literal: &[u8]| -> Option<u64> {
        let digits = rest.strip_prefix(literal)?.get(..DIGITS)?;
        rest = &rest[literal.len() + DIGITS..];
        digits_of(digits)
    };
    let stamp = Stamp {
        number: number(BEFORE_NUMBER)?,
        sequence: number(BEFORE_SEQUENCE)?,
        sent_ns: number(BEFORE_SENT)?,
    };
    let after = packet.strip_prefix(b"42")?;
    let count = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let ack = if count == 0 {
        None
    } else {
        digits_of(&after[..count])
    };
    Some((ack, stamp))
}

fn digits_of(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| value.wrapping_mul(10).wrapping_add(u64::from(digit)))
    })
}

/// The cursor at the end of an event's packet.
pub(crate) fn cursor_of(packet: &[u8]) -> Option<&[u8]> {
    let unquoted = packet.strip_suffix(b"\"]")?;
    let begin = unquoted.iter().rposition(|byte| *byte == b'"')?;
    let cursor = &unquoted[begin + 1..];
    cursor.starts_with(b"v1.").then_some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        number: 12,
        sequence: 3,
        sent_ns: 1_795_262_400_000_000_001,
    };

    #[test]
    fn an_event_is_500_bytes_of_json_and_its_numbers_are_read_back() {
        for (kind, head, ack) in [
            (EventKind::Transmission, "42", None),
            (EventKind::Alert, "4217", Some(17)),
        ] {
            let mut text = Vec::new();
            write_event(&mut text, kind, 7, STAMP);
            assert_eq!(text.len(), EVENT_BYTES);
            let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(json["event_type"], kind.name());
            assert_eq!(json["data"]["channel_id"], "c00007");
            let mut packet = format!("{head}[\"{}\",", kind.name()).into_bytes();
            packet.extend_from_slice(&text);
            packet.extend_from_slice(b",\"v1.Ab-_\"]");
            assert_eq!(read_event(&packet), Some((ack, STAMP)));
            assert_eq!(cursor_of(&packet), Some(&b"v1.Ab-_"[..]));
        }
    }

    #[test]
    fn other_packets_are_no_events_of_this_tool() {
        for packet in [
            "2",
            "42[\"cursor\",\"v1.q\"]",
            "42[\"connection_established\",{\"data\":{\"protocol_version\":\"1.0\",\"connection_id\":\"c-1\"}}]",
        ] {
            assert_eq!(read_event(packet.as_bytes()), None);
        }
        assert_eq!(cursor_of(b"42[\"cursor\",\"v1.q\"]"), Some(&b"v1.q"[..]));
        assert_eq!(cursor_of(b"42[\"a\",\"plain\"]"), None);
    }
}
