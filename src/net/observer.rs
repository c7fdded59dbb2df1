//! The interface by which other parts see what goes over a connection, and stop or change some of it.

/// How many payload bytes of a frame are shown: enough to tell the packets of Engine.IO and Socket.IO apart.
pub const HEAD_BYTES: usize = 16;

/// How many payload bytes of a client's message are shown: enough for the types, the namespace and the id of an acknowledgement.
pub const MESSAGE_HEAD: usize = 24;

/// The largest payload that is held back for [`Observer::inspect`]; a longer one goes out unseen, whatever its kind.
pub const MOST_INSPECTED: usize = 4096;

/// A WebSocket frame by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead<'a> {
    /// 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// The first payload bytes, at most [`HEAD_BYTES`].
    pub head: &'a [u8],
    /// All payload bytes.
    pub payload_len: usize,
}

/// What becomes of a frame that was inspected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameAnswer {
    Pass,
    /// The connection is closed in place of the frame, for this reason. What the library wrote before it has gone out; what is queued
    /// on the lane is dropped.
    Close(&'static str),
    /// This payload goes out in place of the frame's own. Reports are of what goes out.
    Replace(Vec<u8>),
}

/// Notified by the stream. Of what goes out on the task that writes and under the lock of its writer: it never blocks, and
/// never writes to or closes the same connection but by its answer.
pub trait Observer: Send + Sync {
    /// The kernel has taken so many bytes, of HTTP or of frames: the only progress of a transport without frames (SSE, the
    /// body of a poll).
    fn bytes_written(&self, _bytes: usize) {}

    /// The kernel has taken the last byte of a frame of the library. In the order of the wire, each frame once.
    fn frame_written(&self, _frame: FrameHead<'_>) {}

    /// The lane has capacity again, at least half of it, after it was [`Full`](super::LaneOffer::Full).
    fn lane_drained(&self) {}

    /// Whether [`inspect`](Self::inspect) is to see this frame before it goes out. The answer depends on nothing but the
    /// frame: it may be asked for repeatedly, and never for a payload of more than [`MOST_INSPECTED`] bytes, nor for a part
    /// of a fragmented message (the library does not fragment).
    fn wants(&self, _frame: FrameHead<'_>) -> bool {
        false
    }

    /// A whole frame of a wanted kind, before it goes out and once.
    fn inspect(&self, _opcode: u8, _payload: &[u8]) -> FrameAnswer {
        FrameAnswer::Pass
    }

    /// The client has sent the start of a text message: its first payload bytes, at most [`MESSAGE_HEAD`], and fewer only if its
    /// first frame has no more. Called on the task that reads, without a lock, before the library sees the message.
    fn message(&self, _head: &[u8]) {}

    /// The client has sent so many frames of other kinds: pings, pongs, fragments, binary messages. Called as
    /// [`message`](Self::message) is. Both may close the connection; what has come is not given to the library then.
    fn frames(&self, _count: usize) {}

    /// Whether [`rewrite`](Self::rewrite) is to see this message of the client: a whole text, of which the first two bytes
    /// are shown. The answer depends on nothing but them.
    fn reads(&self, _message: FrameHead<'_>) -> bool {
        false
    }

    /// A message of the client of a kind that is read, before the library sees it. `Some`: this text goes on in its place.
    /// Called on the task that reads, without a lock.
    fn rewrite(&self, _text: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// The connection is closed; nothing follows.
    fn closed(&self) {}
}
