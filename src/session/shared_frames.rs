//! An event encoded once for all connections that are offered it in one fan-out.

use std::sync::Arc;

use crate::net::LaneFrame;

/// How an event is framed. Only the transports know what a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFormat(u8);

/// So many formats there are, of all transports together.
const FORMATS: usize = 4;

impl WireFormat {
    /// `number`: below 4, and another one for each format.
    pub const fn new(number: u8) -> Self {
        assert!((number as usize) < FORMATS, "there are four formats");
        Self(number)
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// By format: the frame, once a connection has needed it.
#[derive(Default)]
pub struct SharedFrames {
    frames: [Option<LaneFrame>; FORMATS],
    /// The same frames with a question.
    asking: [Option<LaneFrame>; FORMATS],
    question: Option<Question>,
}

/// The client is to acknowledge the event.
#[derive(Debug, Clone)]
pub struct Question {
    /// From [`Sessions::ask_number`](super::Sessions::ask_number).
    pub number: u32,
    /// Of the record: topic, partition, offset.
    pub id: Arc<str>,
}

impl SharedFrames {
    /// The frame of this format, encoded by the first that asks.
    pub fn get(&mut self, format: WireFormat, encode: impl FnOnce() -> LaneFrame) -> &LaneFrame {
        self.frames[format.index()].get_or_insert_with(encode)
    }

    /// The frame of this format, if it was encoded before.
    pub fn encoded(&self, format: WireFormat) -> Option<&LaneFrame> {
        self.frames[format.index()].as_ref()
    }

    /// The question of this fan-out, the same for all its connections.
    pub fn question(&mut self, make: impl FnOnce() -> Question) -> Question {
        self.question.get_or_insert_with(make).clone()
    }

    /// As [`get`](Self::get), of the frame with the question.
    pub fn get_asking(
        &mut self,
        format: WireFormat,
        encode: impl FnOnce() -> LaneFrame,
    ) -> &LaneFrame {
        self.asking[format.index()].get_or_insert_with(encode)
    }
}
