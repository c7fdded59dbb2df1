//! Where the bytes that go out stand between WebSocket frames.
//!
//! The library writes HTTP, then one `101` head, then unmasked frames; the stream does not know which is which. This parser
//! follows the bytes that the kernel has taken, so a frame is reported once its last byte is with the kernel, however the
//! writes were cut.

use super::frame_start::{MAX_HEADER, OPCODE, payload_length};
use super::observer::{FrameHead, HEAD_BYTES};

/// The start of the status line that ends HTTP on this connection. Its first byte comes nowhere else in it, so a mismatch
/// never has to look back further than one byte.
const STATUS_LINE: &[u8] = b"HTTP/1.1 101 ";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

#[derive(Debug, Clone, Copy)]
enum FramePosition {
    /// HTTP responses; nothing is looked at.
    Http,
    /// A `101` is on its way; so many bytes of its status line have passed.
    StatusLine(usize),
    /// Inside the `101` head; so many bytes of its end have passed.
    Head(usize),
    /// So many bytes of a frame header have passed. Zero of them: between two frames.
    Header(usize),
    /// So many payload bytes are still to come.
    Payload(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Frames {
    at: FramePosition,
    header: [u8; MAX_HEADER],
    head: [u8; HEAD_BYTES],
    head_len: usize,
    payload_len: u64,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            at: FramePosition::Http,
            header: [0; MAX_HEADER],
            head: [0; HEAD_BYTES],
            head_len: 0,
            payload_len: 0,
        }
    }

    /// Nothing but HTTP so far and no `101` announced: bytes need not be shown to [`advance`](Self::advance).
    pub(super) fn is_http(&self) -> bool {
        matches!(self.at, FramePosition::Http)
    }

    /// The head of the `101` has passed: only frames follow.
    pub(super) fn is_past_head(&self) -> bool {
        matches!(
            self.at,
            FramePosition::Header(_) | FramePosition::Payload(_)
        )
    }

    /// A `101` response has been handed to hyper. Answers to pipelined requests may still stand before it in hyper's buffer,
    /// which is why its status line is searched for. Such an answer that quotes the status line would deceive the search,
    /// and spoil the counts of the very connection that asked for it, nothing else.
    pub(super) fn expect_upgrade(&mut self) {
        if self.is_http() {
            self.at = FramePosition::StatusLine(0);
        }
    }

    /// Follows bytes that the kernel has taken and reports each frame that they complete.
    pub(super) fn advance(&mut self, mut bytes: &[u8], report: &mut impl FnMut(FrameHead<'_>)) {
        while !bytes.is_empty() {
            let (used, frame) = self.next(bytes);
            bytes = &bytes[used..];
            if let Some(frame) = frame {
                report(frame);
            }
        }
    }

    /// How many of these bytes, which are about to be written, still belong to HTTP or to the `101` head.
    pub(super) fn head_len(&self, bytes: &[u8]) -> usize {
        match self.at {
            FramePosition::Http => bytes.len(),
            FramePosition::StatusLine(_) | FramePosition::Head(_) => {
                let (used, _) = self.clone().next(bytes);
                used
            }
            FramePosition::Header(_) | FramePosition::Payload(_) => 0,
        }
    }

    /// Follows bytes up to the end of the next frame, or all of them. Returns how many, at least one if there are any.
    fn next(&mut self, bytes: &[u8]) -> (usize, Option<FrameHead<'_>>) {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match self.at {
                FramePosition::Http => return (bytes.len(), None),
                FramePosition::StatusLine(matched) => {
                    used += 1;
                    self.at = match follow(STATUS_LINE, matched, byte) {
                        Some(matched) => FramePosition::StatusLine(matched),
                        None => FramePosition::Head(0),
                    };
                }
                FramePosition::Head(matched) => {
                    used += 1;
                    if let Some(matched) = follow(END_OF_HEAD, matched, byte) {
                        self.at = FramePosition::Head(matched);
                    } else {
                        self.at = FramePosition::Header(0);
                        return (used, None);
                    }
                }
                FramePosition::Header(seen) => {
                    used += 1;
                    self.header[seen] = byte;
                    self.at = FramePosition::Header(seen + 1);
                    if let Some(length) = payload_length(&self.header[..=seen]) {
                        self.payload_len = length;
                        self.head_len = 0;
                        self.at = FramePosition::Payload(length);
                        if length == 0 {
                            return (used, Some(self.complete()));
                        }
                    }
                }
                FramePosition::Payload(left) => {
                    let rest = &bytes[used..];
                    let here =
                        usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    let payload = &rest[..here];
                    used += here;
                    let keep = payload.len().min(HEAD_BYTES - self.head_len);
                    self.head[self.head_len..self.head_len + keep]
                        .copy_from_slice(&payload[..keep]);
                    self.head_len += keep;
                    let left = left - here as u64;
                    self.at = FramePosition::Payload(left);
                    if left == 0 {
                        return (used, Some(self.complete()));
                    }
                }
            }
        }
        (used, None)
    }

    fn complete(&mut self) -> FrameHead<'_> {
        self.at = FramePosition::Header(0);
        FrameHead {
            opcode: self.header[0] & OPCODE,
            head: &self.head[..self.head_len],
            payload_len: usize::try_from(self.payload_len).unwrap_or(usize::MAX),
        }
    }
}

/// How many bytes of `pattern` stand matched after `byte`; `None`: all of them.
fn follow(pattern: &[u8], matched: usize, byte: u8) -> Option<usize> {
    let matched = if byte == pattern[matched] {
        matched + 1
    } else {
        usize::from(byte == pattern[0])
    };
    (matched < pattern.len()).then_some(matched)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame_start::frame_of as frame;
    use super::*;

    const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    type SeenPart = (u8, Vec<u8>, usize);

    fn expected(frames: &[(u8, Vec<u8>)]) -> Vec<SeenPart> {
        frames
            .iter()
            .map(|(opcode, payload)| {
                let head = payload[..payload.len().min(HEAD_BYTES)].to_vec();
                (*opcode, head, payload.len())
            })
            .collect()
    }

    #[test]
    fn head_of_the_upgrade_ends_where_the_first_frame_begins() {
        let (_, parser) = run([&UPGRADE[..20]]);
        let rest = [&UPGRADE[20..], &frame(1, b"0")].concat();
        assert_eq!(parser.head_len(&rest), UPGRADE.len() - 20);
        assert_eq!(parser.head_len(&rest[..7]), 7);
        let (_, parser) = run([UPGRADE]);
        assert_eq!(parser.head_len(b"x"), 0);
        assert_eq!(Frames::new().head_len(b"x"), 1);
    }

    fn at_boundary(parser: &Frames) -> bool {
        matches!(parser.at, FramePosition::Header(0))
    }

    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<SeenPart>, Frames) {
        let mut parser = Frames::new();
        parser.expect_upgrade();
        let mut seen = Vec::new();
        for piece in pieces {
            parser.advance(piece, &mut |frame| {
                seen.push((frame.opcode, frame.head.to_vec(), frame.payload_len));
            });
        }
        (seen, parser)
    }

    #[test]
    fn before_an_upgrade_nothing_is_a_frame() {
        let mut parser = Frames::new();
        parser.advance(&frame(1, b"0"), &mut |_| panic!("HTTP holds no frame"));
        assert!(parser.is_http());
        assert!(!at_boundary(&parser));
    }

    #[test]
    fn the_end_of_an_earlier_answer_is_passed_over() {
        let mut bytes = b"h body HHTTP/1.HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.extend_from_slice(UPGRADE);
        bytes.extend_from_slice(&frame(1, b"40"));
        let (seen, parser) = run(bytes.chunks(1));
        assert_eq!(seen, [(1, b"40".to_vec(), 2)]);
        assert!(at_boundary(&parser));
    }

    #[test]
    fn the_end_of_the_head_is_found_after_a_lone_carriage_return() {
        let mut bytes = b"HTTP/1.1 101 x\r\na: b\r\r\n\r\r\n\r\n".to_vec();
        bytes.extend_from_slice(&frame(9, b""));
        assert_eq!(run(bytes.chunks(3)).0, [(9, Vec::new(), 0)]);
    }

    #[test]
    fn a_frame_is_reported_with_its_last_byte_and_not_before() {
        let whole = [UPGRADE, &frame(1, b"42[\"a\"]")].concat();
        let (cut, last) = whole.split_at(whole.len() - 1);
        let (seen, parser) = run([cut]);
        assert!(seen.is_empty() && !at_boundary(&parser));
        let (seen, parser) = run([cut, last]);
        assert!(seen.len() == 1 && at_boundary(&parser));
    }

    #[test]
    fn a_length_beyond_all_memory_is_only_a_number() {
        let huge = [UPGRADE, &[0x82, 127], &[0xff; 8], &[7; 100]].concat();
        let (seen, parser) = run([&huge[..]]);
        assert!(seen.is_empty() && !at_boundary(&parser));
    }

    proptest! {
        #[test]
        fn any_cut_of_any_frames_reports_the_same_frames(
            frames in prop::collection::vec(
                (0_u8..16, prop_oneof![
                    8 => prop::collection::vec(any::<u8>(), 0..140),
                    1 => (65_530_usize..65_545).prop_map(|len| vec![b'x'; len]),
                    1 => (120_usize..2_000).prop_map(|len| vec![b'y'; len]),
                ]),
                0..12,
            ),
            cuts in prop::collection::vec(1_usize..400, 1..40),
        ) {
            let mut bytes = UPGRADE.to_vec();
            for (opcode, payload) in &frames {
                bytes.extend_from_slice(&frame(*opcode, payload));
            }
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let (seen, parser) = run(pieces);
            prop_assert_eq!(seen, expected(&frames));
            prop_assert!(at_boundary(&parser));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let all = [UPGRADE, &bytes].concat();
            let (seen, _) = run(all.chunks(7));
            prop_assert!(seen.len() <= bytes.len() / 2);
        }
    }
}
