//! WebSocket frames on their way in: a message may be put into another form before the library reads it.
//!
//! Only whole text messages of a kind that the observer asks for are held back; everything else passes as it comes,
//! fragments of messages too.

use tokio::io::ReadBuf;

use super::frame_start::{OPCODE, frame_of, payload_length};
use super::observer::{FrameHead, MESSAGE_HEAD, Observer};

/// FIN and text, without a bit of an extension.
const WHOLE_TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
const MASK_BYTES: usize = 4;
/// A text whose further fragments follow.
const FIRST_OF_TEXT: u8 = 0x01;
/// So many payload bytes decide whether a message is held back.
const KIND: usize = 2;

/// Where frames cannot be told apart, so many bytes count as one.
const OPAQUE_FRAME: usize = 64;

/// The largest message that is held back; a larger one passes.
const MOST_HELD: u64 = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct InboundFrames {
    /// The frame that is being collected, as it came.
    held: Vec<u8>,
    /// So many bytes of a frame that passes are still to come.
    passing: u64,
    /// Where a frame begins is not known.
    is_opaque: bool,
    /// What goes on, of which so many bytes have gone.
    ready: Vec<u8>,
    taken: usize,
}

/// Idle connections are many, so neither buffer keeps its memory when it is empty.
impl InboundFrames {
    /// For bytes of which it is not known where a frame begins: all pass.
    pub(super) fn opaque() -> Self {
        Self {
            passing: u64::MAX,
            is_opaque: true,
            ..Self::default()
        }
    }

    /// Takes bytes of the peer.
    pub(super) fn feed(&mut self, mut bytes: &[u8], observer: Option<&dyn Observer>) {
        if self.is_opaque
            && let Some(observer) = observer
        {
            observer.frames(bytes.len().div_ceil(OPAQUE_FRAME));
        }
        while !bytes.is_empty() {
            if self.passing > 0 {
                let here = usize::try_from(self.passing)
                    .map_or(bytes.len(), |passing| passing.min(bytes.len()));
                self.ready.extend_from_slice(&bytes[..here]);
                self.passing -= here as u64;
                bytes = &bytes[here..];
                continue;
            }
            let wanted = self.wanted(observer).min(bytes.len());
            self.held.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.wanted(observer) == 0 {
                self.decide(observer);
            }
        }
    }

    /// Gives to the library what may go on, as much of it as fits. Returns how much that was.
    pub(super) fn take_ready(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let left = &self.ready[self.taken..];
        let taken = buf.remaining().min(left.len());
        buf.put_slice(&left[..taken]);
        self.taken += taken;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
        taken
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The peer has ended: what it left unfinished goes on as it came.
    pub(super) fn end(&mut self) {
        self.release_held();
    }

    /// How many more bytes the frame at hand needs before something can be said about it; 0: none.
    fn wanted(&self, observer: Option<&dyn Observer>) -> usize {
        let Some(frame) = ClientFrame::parse(&self.held) else {
            return ClientFrame::header_needed(&self.held) - self.held.len();
        };
        let head = usize::try_from(frame.payload_len);
        let least = frame.header_len + head.map_or(MESSAGE_HEAD, |len| len.min(MESSAGE_HEAD));
        let needed = if self.held.len() >= least && frame.is_read_by(observer, &self.held) {
            frame.header_len + usize::try_from(frame.payload_len).unwrap_or(0)
        } else {
            least
        };
        needed.saturating_sub(self.held.len())
    }

    fn decide(&mut self, observer: Option<&dyn Observer>) {
        let Some(frame) = ClientFrame::parse(&self.held) else {
            return;
        };
        if let Some(observer) = observer {
            if frame.mask.is_some() && matches!(frame.first, WHOLE_TEXT | FIRST_OF_TEXT) {
                observer.message(&frame.payload(&self.held, MESSAGE_HEAD));
            } else {
                observer.frames(1);
            }
        }
        let rewritten = observer
            .filter(|_| frame.is_read_by(observer, &self.held))
            .and_then(|observer| observer.rewrite(&frame.payload(&self.held, usize::MAX)));
        if let Some(payload) = rewritten {
            write_frame(&mut self.ready, &payload);
            self.held = Vec::new();
            return;
        }
        let total = (frame.header_len as u64).saturating_add(frame.payload_len);
        self.passing = total - self.held.len() as u64;
        self.release_held();
    }

    fn release_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        if self.ready.is_empty() {
            self.ready = held;
        } else {
            self.ready.extend_from_slice(&held);
        }
    }
}

/// The start of a client's frame.
struct ClientFrame {
    first: u8,
    payload_len: u64,
    /// With the mask.
    header_len: usize,
    mask: Option<[u8; MASK_BYTES]>,
}

impl ClientFrame {
    /// `None`: the header is not whole.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let header_len = Self::header_needed(bytes);
        let header = bytes.get(..header_len)?;
        let (length_end, mask) = if header[1] & MASKED == 0 {
            (header_len, None)
        } else {
            let end = header_len - MASK_BYTES;
            (end, header[end..].try_into().ok())
        };
        Some(Self {
            first: header[0],
            payload_len: payload_length(&header[..length_end])?,
            header_len,
            mask,
        })
    }

    /// Of the header, as far as its first bytes say.
    fn header_needed(bytes: &[u8]) -> usize {
        let Some(second) = bytes.get(1) else { return 2 };
        let length = match second & !MASKED {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        length + usize::from(second & MASKED != 0) * MASK_BYTES
    }

    /// Whether the observer reads this message. Its header and head are whole.
    fn is_read_by(&self, observer: Option<&dyn Observer>, frame: &[u8]) -> bool {
        let Some(observer) = observer else {
            return false;
        };
        if self.first != WHOLE_TEXT || self.mask.is_none() || self.payload_len > MOST_HELD {
            return false;
        }
        observer.reads(FrameHead {
            opcode: self.first & OPCODE,
            head: &self.payload(frame, KIND),
            payload_len: usize::try_from(self.payload_len).unwrap_or(usize::MAX),
        })
    }

    /// Unmasked, as much of it as these bytes hold and at most so many.
    fn payload(&self, frame: &[u8], most: usize) -> Vec<u8> {
        let mask = self.mask.unwrap_or_default();
        let bytes = frame[self.header_len..].iter();
        bytes
            .take(most)
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect()
    }
}

/// A client's frame with this text. Its mask is zero: it protects proxies on the way here, and this text is here.
fn write_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let mut frame = frame_of(WHOLE_TEXT & OPCODE, payload);
    let header_len = frame.len() - payload.len();
    frame[1] |= MASKED;
    out.extend_from_slice(&frame[..header_len]);
    out.extend_from_slice(&[0; MASK_BYTES]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads texts that begin with `42` and replaces those that hold an `x`.
    struct Rewriter;

    impl Observer for Rewriter {
        fn reads(&self, frame: FrameHead<'_>) -> bool {
            frame.head == b"42"
        }

        fn rewrite(&self, text: &[u8]) -> Option<Vec<u8>> {
            text.contains(&b'x').then(|| [text, b"!"].concat())
        }
    }

    fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = frame_of(first & OPCODE, payload);
        let header_len = frame.len() - payload.len();
        frame[0] = first;
        frame[1] |= MASKED;
        frame.truncate(header_len);
        frame.extend_from_slice(&mask);
        let payload = payload.iter().zip(mask.iter().cycle());
        frame.extend(payload.map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn drain(frames: &mut InboundFrames, out: &mut Vec<u8>) {
        while frames.has_ready() {
            let mut bytes = [0; 300];
            let mut buf = ReadBuf::new(&mut bytes);
            assert!(frames.take_ready(&mut buf) > 0);
            out.extend_from_slice(buf.filled());
        }
    }

    fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut frames = InboundFrames::default();
        let mut out = Vec::new();
        for piece in pieces {
            frames.feed(piece, Some(&Rewriter));
            drain(&mut frames, &mut out);
        }
        frames.end();
        drain(&mut frames, &mut out);
        out
    }

    #[test]
    fn a_message_that_is_rewritten_goes_on_as_one_frame() {
        let frame = masked(0x81, b"42x", [9, 8, 7, 6]);
        assert_eq!(run(frame.chunks(1)), masked(0x81, b"42x!", [0; 4]));
        let long = [b"42x".to_vec(), vec![b'a'; 60_000]].concat();
        let frame = masked(0x81, &long, [9, 8, 7, 6]);
        let expected = masked(0x81, &[&long, b"!".as_slice()].concat(), [0; 4]);
        assert_eq!(run(frame.chunks(999)), expected);
    }

    #[test]
    fn nothing_is_allocated_between_messages() {
        let large = [b"42".to_vec(), vec![b'a'; 60_000]].concat();
        let rewritten = [b"42x".to_vec(), vec![b'a'; 60_000]].concat();
        for payload in [&large, &rewritten] {
            let mut frames = InboundFrames::default();
            frames.feed(&masked(0x81, payload, [1; 4]), Some(&Rewriter));
            drain(&mut frames, &mut Vec::new());
            assert_eq!((frames.held.capacity(), frames.ready.capacity()), (0, 0));
        }
    }

    #[test]
    fn opaque_bytes_pass_and_are_not_read() {
        let mut frames = InboundFrames::opaque();
        let (frame, mut out) = (masked(0x81, b"42x", [1; 4]), Vec::new());
        frames.feed(&frame, Some(&Rewriter));
        drain(&mut frames, &mut out);
        assert_eq!(out, frame);
    }

    #[test]
    fn everything_else_passes_as_it_came() {
        let large = [b"42x".to_vec(), vec![b'a'; 70_000]].concat();
        for frame in [
            masked(0x81, b"42", [1; 4]),
            masked(0x81, b"", [1; 4]),
            masked(0x81, b"4", [1; 4]),
            masked(0x81, b"3x", [1; 4]),
            masked(0x82, b"42x", [1; 4]),
            masked(0x01, b"42x", [1; 4]),
            masked(0x80, b"42x", [1; 4]),
            masked(0xc1, b"42x", [1; 4]),
            masked(0x88, b"", [1; 4]),
            masked(0x81, &large, [1; 4]),
            // Not masked: the library closes.
            b"\x81\x0342x".to_vec(),
            // Longer than all memory.
            [&[0x81, 0xff][..], &[0xff; 8], &[0; 20]].concat(),
        ] {
            assert!(run(frame.chunks(7)) == frame, "{:?}", &frame[..2]);
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_wherever_their_bytes_are_cut(
            frames in prop::collection::vec(
                (0_u8..=255, prop::collection::vec(any::<u8>(), 0..300), any::<bool>()),
                0..8,
            ),
            cut in 1_usize..500,
        ) {
            let mut given = Vec::new();
            let mut expected = Vec::new();
            for (first, payload, command) in frames {
                let (first, payload) = if command {
                    (0x81, [b"42".as_slice(), &payload].concat())
                } else {
                    (first, payload)
                };
                given.extend(masked(first, &payload, [7, 7, 1, 0]));
                if first == 0x81 && payload.starts_with(b"42") && payload.contains(&b'x') {
                    expected.extend(masked(0x81, &[&payload, b"!".as_slice()].concat(), [0; 4]));
                } else {
                    expected.extend(masked(first, &payload, [7, 7, 1, 0]));
                }
            }
            prop_assert_eq!(run(given.chunks(cut)), expected);
        }

        #[test]
        fn any_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            run(bytes.chunks(11));
        }
    }
}
