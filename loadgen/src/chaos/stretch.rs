//! One room of a client: the stretches of time in which it held the room, and which of its records came.

use serde::Serialize;

use crate::bitmap::Bitmap;

/// How a stretch of time in which a client holds a room came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum End {
    /// It is the end of the run: everything must have arrived.
    Run,
    /// It received `resync_required`, has left the room, or is not coming back: what arrived must be without holes.
    Open,
}

/// A stretch between subscription or resync, and the next.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Span {
    /// What is sent after that moment must arrive; what was sent before may. `None`: the subscription was not acknowledged.
    pub(crate) since_ns: Option<u64>,
    pub(crate) end: End,
    /// By lane: the first and the last order received.
    pub(crate) received: Vec<Option<(u32, u32)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Held {
    No,
    /// Asked for and not acknowledged: its events may come already.
    Joining,
    Yes,
    /// Being left: its events may still come.
    Leaving,
}

/// One room, whenever it was held.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RoomHistory {
    pub(crate) room: u16,
    pub(super) held: Held,
    /// Its own room, or one that it asks for at each connection until that is acknowledged.
    pub(crate) wanted: bool,
    /// By lane, by sequence.
    #[serde(skip)]
    pub(crate) seen: Vec<Bitmap>,
    pub(crate) spans: Vec<Span>,
}

impl Span {
    pub(super) fn since(since_ns: Option<u64>) -> Self {
        Self {
            since_ns,
            end: End::Run,
            received: Vec::new(),
        }
    }
}

impl RoomHistory {
    pub(super) fn new(room: u16, held: Held, wanted: bool) -> Self {
        Self {
            room,
            held,
            wanted,
            seen: Vec::new(),
            spans: Vec::new(),
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(span) = self.spans.last_mut() {
            span.end = End::Open;
        }
    }

    /// Whether the record is new; nothing when its number is absurd.
    pub(super) fn insert(&mut self, lane: usize, sequence: u32) -> Option<bool> {
        /// More than any run has.
        const HIGHEST: u32 = 1 << 26;
        if lane >= 4_096 || sequence >= HIGHEST {
            return None;
        }
        if self.seen.len() <= lane {
            self.seen.resize_with(lane + 1, Bitmap::default);
        }
        self.seen[lane].grow_to(sequence);
        self.seen[lane].insert(sequence)
    }

    pub(super) fn note(&mut self, lane: usize, order: u32) {
        // Before the acknowledgement of its subscription there is no stretch yet.
        if self.spans.last().is_none_or(|span| span.end == End::Open) {
            self.spans.push(Span::since(None));
        }
        let Some(span) = self.spans.last_mut() else {
            return;
        };
        if span.received.len() <= lane {
            span.received.resize(lane + 1, None);
        }
        let place = &mut span.received[lane];
        *place = Some(place.map_or((order, order), |(first, last)| {
            (first.min(order), last.max(order))
        }));
    }
}
