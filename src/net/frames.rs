//! Where the bytes that go out stand between WebSocket frames.
//!
//! The library writes HTTP, then one `101` head, then unmasked frames; nobody tells the stream which is which. This parser
//! follows the bytes that the kernel has taken, so a frame is reported once its last byte is on its way, however the writes
//! were cut. [`Frames::at_boundary`] is what a second writer (the lane) will need: only there may it put frames of its own.

/// How many payload bytes of a frame are kept for the report: enough to tell the packets of Engine.IO and Socket.IO apart.
pub const HEAD_BYTES: usize = 16;

/// The start of the status line that ends HTTP on this connection. Its first byte comes nowhere else in it, so a mismatch
/// never has to look back further than one byte.
const STATUS_LINE: &[u8] = b"HTTP/1.1 101 ";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Two bytes and the longest form of the length.
const MAX_HEADER: usize = 10;

/// One frame, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub(super) opcode: u8,
    /// The first payload bytes, at most [`HEAD_BYTES`].
    pub(super) head: &'a [u8],
    /// All payload bytes.
    pub(super) payload_len: usize,
}

#[derive(Debug, Clone, Copy)]
enum At {
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
    at: At,
    header: [u8; MAX_HEADER],
    head: [u8; HEAD_BYTES],
    head_len: usize,
    payload_len: u64,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            at: At::Http,
            header: [0; MAX_HEADER],
            head: [0; HEAD_BYTES],
            head_len: 0,
            payload_len: 0,
        }
    }

    /// Nothing but HTTP so far and no `101` announced: bytes need not be shown to [`advance`](Self::advance).
    pub(super) fn is_http(&self) -> bool {
        matches!(self.at, At::Http)
    }

    /// A `101` response has been handed to hyper. Answers to pipelined requests may still stand before it in hyper's buffer,
    /// which is why its status line is searched for. Such an answer that quotes the status line would deceive the search,
    /// and spoil the counts of the very connection that asked for it, nothing else.
    pub(super) fn expect_upgrade(&mut self) {
        if self.is_http() {
            self.at = At::StatusLine(0);
        }
    }

    /// Between two frames: the only place where another writer may put frames of its own.
    pub(super) fn at_boundary(&self) -> bool {
        matches!(self.at, At::Header(0))
    }

    /// Follows bytes that the kernel has taken and reports each frame that they complete.
    pub(super) fn advance(&mut self, mut bytes: &[u8], report: &mut impl FnMut(Frame<'_>)) {
        while !bytes.is_empty() {
            let (used, frame) = self.next(bytes);
            bytes = &bytes[used..];
            if let Some(frame) = frame {
                report(frame);
            }
        }
    }

    /// Looks ahead at bytes that are about to be written: where the first frame begins that must not go out, and what
    /// `forbid` says of it. A frame of which a part is out already is let through.
    pub(super) fn find_forbidden<T>(
        &self,
        bytes: &[u8],
        mut forbid: impl FnMut(Frame<'_>) -> Option<T>,
    ) -> Option<(usize, T)> {
        let mut ahead = self.clone();
        let mut start = ahead.at_boundary().then_some(0);
        let mut at = 0;
        while at < bytes.len() {
            let (used, frame) = ahead.next(&bytes[at..]);
            at += used;
            if let Some(frame) = frame {
                if let (Some(start), Some(why)) = (start, forbid(frame)) {
                    return Some((start, why));
                }
                start = Some(at);
            } else if start.is_none() && ahead.at_boundary() {
                start = Some(at);
            }
        }
        None
    }

    /// Follows bytes up to the end of the next frame, or all of them. Returns how many, at least one if there are any.
    fn next(&mut self, bytes: &[u8]) -> (usize, Option<Frame<'_>>) {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match self.at {
                At::Http => return (bytes.len(), None),
                At::StatusLine(matched) => {
                    used += 1;
                    self.at = match follow(STATUS_LINE, matched, byte) {
                        Some(matched) => At::StatusLine(matched),
                        None => At::Head(0),
                    };
                }
                At::Head(matched) => {
                    used += 1;
                    if let Some(matched) = follow(END_OF_HEAD, matched, byte) {
                        self.at = At::Head(matched);
                    } else {
                        self.at = At::Header(0);
                        return (used, None);
                    }
                }
                At::Header(seen) => {
                    used += 1;
                    self.header[seen] = byte;
                    self.at = At::Header(seen + 1);
                    if let Some(length) = payload_length(&self.header[..=seen]) {
                        self.payload_len = length;
                        self.head_len = 0;
                        self.at = At::Payload(length);
                        if length == 0 {
                            return (used, Some(self.complete()));
                        }
                    }
                }
                At::Payload(left) => {
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
                    self.at = At::Payload(left);
                    if left == 0 {
                        return (used, Some(self.complete()));
                    }
                }
            }
        }
        (used, None)
    }

    fn complete(&mut self) -> Frame<'_> {
        self.at = At::Header(0);
        Frame {
            opcode: self.header[0] & 0x0f,
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

/// The payload length, once the header is whole. The mask bit is not looked at: a server never sets it.
fn payload_length(header: &[u8]) -> Option<u64> {
    match header {
        [_, short] if short & 0x7f < 126 => Some(u64::from(short & 0x7f)),
        [_, form, high, low] if form & 0x7f == 126 => {
            Some(u64::from(u16::from_be_bytes([*high, *low])))
        }
        [_, _, long @ ..] => long.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    type Seen = (u8, Vec<u8>, usize);

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            short @ ..126 => bytes.push(u8::try_from(short).unwrap()),
            middle @ ..65536 => {
                bytes.push(126);
                bytes.extend_from_slice(&u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    fn expected(frames: &[(u8, Vec<u8>)]) -> Vec<Seen> {
        frames
            .iter()
            .map(|(opcode, payload)| {
                let head = payload[..payload.len().min(HEAD_BYTES)].to_vec();
                (*opcode, head, payload.len())
            })
            .collect()
    }

    #[test]
    fn a_forbidden_frame_is_found_where_it_begins() {
        let close = |frame: Frame<'_>| (frame.head == b"1").then_some(());
        let written = [frame(1, b"42[]"), frame(1, b"1"), frame(8, b"")].concat();
        let (_, mut parser) = run([UPGRADE]);
        assert_eq!(parser.find_forbidden(&written, close), Some((6, ())));
        assert_eq!(parser.find_forbidden(&written[..6], close), None);
        // Half of it is out: too late.
        parser.advance(&written[..8], &mut |_| {});
        assert_eq!(parser.find_forbidden(&written[8..], close), None);
        let (_, parser) = run([&UPGRADE[..20]]);
        let rest = [&UPGRADE[20..], &written].concat();
        assert_eq!(
            parser.find_forbidden(&rest, close),
            Some((UPGRADE.len() - 20 + 6, ()))
        );
    }

    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Frames) {
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
        assert!(!parser.at_boundary());
    }

    #[test]
    fn the_end_of_an_earlier_answer_is_passed_over() {
        let mut bytes = b"h body HHTTP/1.HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.extend_from_slice(UPGRADE);
        bytes.extend_from_slice(&frame(1, b"40"));
        let (seen, parser) = run(bytes.chunks(1));
        assert_eq!(seen, [(1, b"40".to_vec(), 2)]);
        assert!(parser.at_boundary());
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
        assert!(seen.is_empty() && !parser.at_boundary());
        let (seen, parser) = run([cut, last]);
        assert!(seen.len() == 1 && parser.at_boundary());
    }

    #[test]
    fn a_length_beyond_all_memory_is_only_a_number() {
        let huge = [UPGRADE, &[0x82, 127], &[0xff; 8], &[7; 100]].concat();
        let (seen, parser) = run([&huge[..]]);
        assert!(seen.is_empty() && !parser.at_boundary());
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
            prop_assert!(parser.at_boundary());
        }

        #[test]
        fn any_bytes_at_all_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let all = [UPGRADE, &bytes].concat();
            let (seen, _) = run(all.chunks(7));
            prop_assert!(seen.len() <= bytes.len() / 2);
        }
    }
}
