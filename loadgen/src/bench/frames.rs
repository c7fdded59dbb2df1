//! WebSocket frames as both sides of a measurement need them: whole ones out of a stream of bytes, at the price of a few
//! compares each, because the load must cost less than the server.

/// A text frame that is complete.
pub(crate) const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
/// The length follows in two bytes, or in eight.
const LENGTH_IN_TWO: u8 = 0x7e;
const LENGTH_IN_EIGHT: u8 = 0x7f;

/// Calls `each` with the payload of every whole text frame and returns how many bytes that were. A masked payload is
/// unmasked in place. `None`: a Close frame, or one that no server of ours sends (fragments, binary).
pub(crate) fn take_frames(bytes: &mut [u8], mut each: impl FnMut(&[u8])) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = Header::read(&bytes[at..]) {
        let begin = at + header.length;
        let Some(payload) = bytes.get_mut(begin..begin + header.payload) else {
            break;
        };
        if let Some(key) = header.key {
            for (index, byte) in payload.iter_mut().enumerate() {
                *byte ^= key[index % 4];
            }
        }
        match header.kind {
            TEXT => each(payload),
            // Pings and pongs of the WebSocket: the servers that are measured use those of Engine.IO.
            0x89 | 0x8a => {}
            _ => return None,
        }
        at = begin + header.payload;
    }
    Some(at)
}

struct Header {
    kind: u8,
    length: usize,
    payload: usize,
    key: Option<[u8; 4]>,
}

impl Header {
    /// `None`: not all of it is there.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, second) = (*bytes.first()?, *bytes.get(1)?);
        let (mut length, payload) = match second & !MASKED {
            LENGTH_IN_TWO => (
                4,
                usize::from(u16::from_be_bytes([
                    bytes.get(2).copied()?,
                    bytes.get(3).copied()?,
                ])),
            ),
            LENGTH_IN_EIGHT => {
                let digits: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
                (10, usize::try_from(u64::from_be_bytes(digits)).ok()?)
            }
            short => (2, usize::from(short)),
        };
        let mut key = None;
        if second & MASKED != 0 {
            key = Some(bytes.get(length..length + 4)?.try_into().ok()?);
            length += 4;
        }
        Some(Self {
            kind,
            length,
            payload,
            key,
        })
    }
}

/// Appends a text frame, as a server sends it.
pub(crate) fn push_server_frame(out: &mut Vec<u8>, text: &[u8]) {
    out.push(TEXT);
    push_length(out, text.len(), 0);
    out.extend_from_slice(text);
}

/// Appends a text frame, as a client sends it. Its mask is four zeros, which a server cannot tell from any other.
pub(crate) fn push_client_frame(out: &mut Vec<u8>, text: &[u8]) {
    out.push(TEXT);
    push_length(out, text.len(), MASKED);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// `mask`: the bit that says that the payload is masked, or 0.
fn push_length(out: &mut Vec<u8>, length: usize, mask: u8) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(mask | short),
        (_, Ok(medium)) => {
            out.push(mask | LENGTH_IN_TWO);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(mask | LENGTH_IN_EIGHT);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// The request that opens a WebSocket for Engine.IO. `headers`: further lines, each with its end.
pub(crate) fn upgrade_request(port: u16, headers: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Where the head of an HTTP message ends, if all of it is there.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_come_back_from_any_split() {
        let texts: Vec<Vec<u8>> = [0, 1, 125, 126, 500, 65_535, 65_536]
            .map(|length| vec![b'x'; length])
            .into();
        for push in [push_server_frame, push_client_frame] {
            let mut stream = Vec::new();
            for text in &texts {
                push(&mut stream, text);
            }
            for step in [1, 7, 4096, stream.len()] {
                let (mut waiting, mut found) = (Vec::new(), Vec::new());
                for piece in stream.chunks(step) {
                    waiting.extend_from_slice(piece);
                    // A large frame byte by byte would be parsed again for each of them.
                    if step == 1 && waiting.len() > 600 && waiting.len() % 1000 != 0 {
                        continue;
                    }
                    let taken = take_frames(&mut waiting, |text| found.push(text.to_vec()));
                    waiting.drain(..taken.expect("no Close frame"));
                }
                let taken = take_frames(&mut waiting, |text| found.push(text.to_vec()));
                assert_eq!(taken, Some(waiting.len()));
                assert_eq!(found, texts, "in steps of {step}");
            }
        }
    }

    #[test]
    fn a_masked_payload_is_unmasked_and_a_close_frame_is_the_end() {
        let mut bytes = vec![TEXT, MASKED | 2, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2];
        let mut found = Vec::new();
        assert_eq!(
            take_frames(&mut bytes, |text| found.extend_from_slice(text)),
            Some(8)
        );
        assert_eq!(found, b"ab");
        assert_eq!(take_frames(&mut [0x88, 0], |_| {}), None);
    }
}
