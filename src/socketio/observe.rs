//! What an Engine.IO session learns from the stream below the library, and changes of what goes over it.

use super::engine_session::EngineSession;
use super::event_name::{legible, may_be_illegible};
use crate::net::{FrameAnswer, FrameHead, Observer};

/// WebSocket opcode of Engine.IO's text packets.
const TEXT: u8 = 1;

/// Engine.IO `close`: the library sends it when it ends a session, for example after a missed pong.
pub(super) const CLOSE: &[u8] = b"1";

/// The reason that the stream is closed with in place of the library's close packet.
const LIBRARY_CLOSES: &str = "library";

impl Observer for EngineSession {
    fn frame_written(&self, frame: FrameHead<'_>) {
        self.budget.frame_written(frame);
    }

    fn lane_drained(&self) {
        self.budget.lane_drained();
    }

    fn wants(&self, frame: FrameHead<'_>) -> bool {
        is_close(frame)
    }

    /// A client that receives the close packet never comes back (python-socketio) or not for long (Java); one whose
    /// transport is closed is back within a second.
    fn inspect(&self, _opcode: u8, payload: &[u8]) -> FrameAnswer {
        instead_of_close(payload)
    }

    fn message(&self, head: &[u8]) {
        let was_asked_for = acknowledgement(head)
            .is_some_and(|(namespace, number)| self.acknowledged(namespace, number));
        if !was_asked_for {
            self.packets_came(1);
        }
    }

    fn frames(&self, count: usize) {
        self.packets_came(count);
    }

    fn reads(&self, message: FrameHead<'_>) -> bool {
        may_be_illegible(message.head)
    }

    fn rewrite(&self, text: &[u8]) -> Option<Vec<u8>> {
        legible(text)
    }

    fn closed(&self) {
        self.budget.closed();
    }
}

fn is_close(frame: FrameHead<'_>) -> bool {
    frame.opcode == TEXT && frame.head == CLOSE
}

fn instead_of_close(payload: &[u8]) -> FrameAnswer {
    if payload == CLOSE {
        FrameAnswer::Close(LIBRARY_CLOSES)
    } else {
        FrameAnswer::Pass
    }
}

/// The namespace and the number of a Socket.IO ACK (`43/ws,7[…`) or `BINARY_ACK` (`461-/ws,7[…`), by the start of its packet. `None`: it is
/// neither, or its number does not fit into 32 bits. Whether the number is one of ours is known to the session (`session/asks.rs`).
fn acknowledgement(head: &[u8]) -> Option<(&str, u32)> {
    let head = match head {
        [b'4', b'3', rest @ ..] => rest,
        [b'4', b'6', rest @ ..] => {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest[count..].strip_prefix(b"-")?
        }
        _ => return None,
    };
    let (namespace, rest) = if head.starts_with(b"/") {
        let comma = head.iter().position(|byte| *byte == b',')?;
        (
            std::str::from_utf8(&head[..comma]).ok()?,
            &head[comma + 1..],
        )
    } else {
        (super::ROOT, head)
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // What follows shows that the number is whole.
    if rest.get(digits) != Some(&b'[') {
        return None;
    }
    let number = std::str::from_utf8(&rest[..digits]).ok()?;
    Some((namespace, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::MESSAGE_HEAD;

    #[test]
    fn close_packet_is_forbidden_and_nothing_else() {
        let frame = |opcode, head| FrameHead {
            opcode,
            head,
            payload_len: head.len(),
        };
        assert!(is_close(frame(TEXT, b"1")));
        let answer = instead_of_close(b"1");
        assert_eq!(answer, FrameAnswer::Close(LIBRARY_CLOSES));
        assert_eq!(instead_of_close(b"2"), FrameAnswer::Pass);
        for (opcode, head) in [
            (TEXT, b"2".as_slice()),
            (TEXT, b"1x"),
            (8, b"1"),
            (TEXT, b""),
        ] {
            assert!(!is_close(frame(opcode, head)), "{head:?}");
        }
    }

    #[test]
    fn namespace_and_number_of_an_acknowledgement_are_read_from_its_head() {
        for (packet, expected) in [
            ("431000000007[]", Some(("/", 1_000_000_007))),
            ("43/ws,2147483646[{\"a\":1}]", Some(("/ws", 2_147_483_646))),
            (
                "461-/ws,1000000000[{\"_placeholder\"",
                Some(("/ws", 1_000_000_000)),
            ),
            ("460-12[]", Some(("/", 12))),
            ("43/,5[]", Some(("/", 5))),
            ("42/ws,12[\"rooms\"]", None),
            ("4312", None),
            ("43[]", None),
            ("43/ws", None),
            ("43/ws,[]", None),
            ("4399999999999999[]", None),
            ("43-1[]", None),
            ("46x-1[]", None),
            ("43\u{e9}", None),
            ("", None),
            ("4", None),
        ] {
            assert_eq!(acknowledgement(packet.as_bytes()), expected, "{packet}");
        }
        let longest = "4610-/ws,2147483646[";
        assert!(longest.len() <= MESSAGE_HEAD, "it is shown whole");
    }
}
