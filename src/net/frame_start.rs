//! A WebSocket frame of a server, as far as a writer of frames needs to know it: header and first payload bytes.

use super::observer::{FrameHead, HEAD_BYTES};

/// Two bytes and the longest form of the length.
pub(super) const MAX_HEADER: usize = 10;

/// Set in the first byte of the last frame of a message.
pub(super) const FIN: u8 = 0x80;
pub(super) const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 8;
const TEXT: u8 = 1;

/// The start of a frame, once its header is whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameStart<'a> {
    first: u8,
    header_len: usize,
    payload_len: u64,
    /// The first payload bytes, as many as there are of [`HEAD_BYTES`].
    head: &'a [u8],
}

impl<'a> FrameStart<'a> {
    /// `None`: more bytes are needed, see [`header_needed`](Self::header_needed).
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header_len = Self::header_needed(bytes);
        let payload_len = payload_length(bytes.get(..header_len)?)?;
        let head = clamped_len(payload_len, HEAD_BYTES);
        let payload = &bytes[header_len..];
        Some(Self {
            first: bytes[0],
            header_len,
            payload_len,
            head: &payload[..head.min(payload.len())],
        })
    }

    /// The length of the header that begins like this; as far as can be told yet.
    pub(super) fn header_needed(bytes: &[u8]) -> usize {
        match bytes.get(1).map(|second| second & 0x7f) {
            Some(126) => 4,
            Some(127) => MAX_HEADER,
            Some(_) | None => 2,
        }
    }

    pub(super) fn first(&self) -> u8 {
        self.first
    }

    pub(super) fn opcode(&self) -> u8 {
        self.first & OPCODE
    }

    /// Ends the stream: a control frame is never fragmented, and no extension has set a bit of ours.
    pub(super) fn is_close(&self) -> bool {
        self.first == FIN | CLOSE
    }

    pub(super) fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Of the frame, its header included.
    pub(super) fn total(&self) -> u64 {
        self.payload_len.saturating_add(self.header_len as u64)
    }

    /// Header and head.
    pub(super) fn with_head(&self) -> usize {
        self.header_len + clamped_len(self.payload_len, HEAD_BYTES)
    }

    pub(super) fn head_is_whole(&self) -> bool {
        self.header_len + self.head.len() == self.with_head()
    }

    pub(super) fn head(&self) -> FrameHead<'a> {
        FrameHead {
            opcode: self.opcode(),
            head: self.head,
            payload_len: clamped_len(self.payload_len, usize::MAX),
        }
    }

    /// Of the frame that these bytes hold.
    pub(super) fn payload<'b>(&self, frame: &'b [u8]) -> &'b [u8] {
        &frame[self.header_len..]
    }
}

/// A whole, unmasked frame.
pub(super) fn frame_of(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAX_HEADER + payload.len());
    let (header, header_len) = header_of(opcode, payload.len());
    bytes.extend_from_slice(&header[..header_len]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Appends an unmasked text frame, whose payload `write` appends.
pub fn append_text_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; MAX_HEADER]);
    write(out);
    let payload_start = start + MAX_HEADER;
    let (header, header_len) = header_of(TEXT, out.len() - payload_start);
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
    out.copy_within(payload_start.., start + header_len);
    out.truncate(out.len() - (MAX_HEADER - header_len));
}

/// The header of a whole, unmasked message, and how many bytes of it count.
fn header_of(opcode: u8, payload_len: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = FIN | opcode;
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(short @ ..126), _) => {
            header[1] = short;
            (header, 2)
        }
        (_, Ok(middle)) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&middle.to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
            (header, MAX_HEADER)
        }
    }
}

fn clamped_len(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}

/// The payload length, once the header is whole. The mask bit is not looked at: a server never sets it.
pub(super) fn payload_length(header: &[u8]) -> Option<u64> {
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
    use super::frame_of as frame;
    use super::*;

    #[test]
    fn a_text_frame_is_appended_behind_what_is_there() {
        for payload_len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; payload_len];
            let mut out = frame(1, b"before");
            append_text_frame(&mut out, |out| out.extend_from_slice(&payload));
            assert_eq!(out, [frame(1, b"before"), frame(1, &payload)].concat());
        }
    }

    #[test]
    fn start_of_a_frame_says_what_it_is_once_its_header_is_whole() {
        for (payload_len, header_len) in [
            (0, 2),
            (1, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
        ] {
            let bytes = frame(1, &vec![b'x'; payload_len]);
            assert_eq!(bytes.len(), header_len + payload_len);
            for cut in 0..bytes.len().min(40) {
                let start = FrameStart::parse(&bytes[..cut]);
                assert_eq!(start.is_some(), cut >= header_len, "{payload_len} {cut}");
                let Some(start) = start else { continue };
                assert_eq!(start.total(), bytes.len() as u64);
                let whole = cut - header_len >= payload_len.min(HEAD_BYTES);
                assert_eq!(start.head_is_whole(), whole, "{payload_len} {cut}");
                assert_eq!(start.head().payload_len, payload_len);
            }
        }
        assert!(FrameStart::parse(&frame(CLOSE, b"")).unwrap().is_close());
        assert!(!FrameStart::parse(&frame(1, b"")).unwrap().is_close());
        // Not of ours.
        assert!(!FrameStart::parse(b"\x08\x00").unwrap().is_close());
    }
}
