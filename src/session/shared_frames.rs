//! An event encoded once for all connections that are offered it in one fan-out.

use crate::net::LaneFrame;

/// How an event may be framed. Each transport fills in its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFormat {
    /// Socket.IO, namespace `/`.
    Root,
    /// Socket.IO, namespace `/ws`.
    Ws,
    /// The same for clients that want to know where records came from.
    RootMeta,
    WsMeta,
}

const FORMATS: usize = 4;

/// By format: the frame, once a connection has needed it.
#[derive(Default)]
pub struct SharedFrames {
    frames: [Option<LaneFrame>; FORMATS],
}

impl SharedFrames {
    /// The frame of this format, encoded by the first that asks.
    pub fn get(&mut self, format: WireFormat, encode: impl FnOnce() -> LaneFrame) -> &LaneFrame {
        self.frames[format as usize].get_or_insert_with(encode)
    }
}
