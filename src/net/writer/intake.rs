//! From the library into the writer: where the library stands in its own frames, and which of them are held back.

use super::super::frame_start::{FIN, FrameStart, frame_of};
use super::super::observer::{FrameAnswer, MOST_INSPECTED, Observer};

pub(super) struct Intake {
    /// Bytes still to come of a frame that the library has given a part of, and of which no byte is held back.
    left: u64,
    /// That frame ends the stream.
    left_closes: bool,
    /// The start of a frame, held back: none of it is with the kernel or in the queue. Either too short to tell its kind, or
    /// of a wanted kind and incomplete.
    held: Vec<u8>,
    closed: bool,
}

/// What is to be done with a frame by as much of it as there is.
enum FrameInterest {
    /// Too little of it is there.
    Unknown,
    Wanted,
    Other,
}

/// What became of the bytes that were held back.
pub(super) enum HeldBytes {
    Incomplete,
    /// These go out: a whole frame, or the start of one whose rest goes straight.
    Released(Vec<u8>),
    /// The connection ends here.
    Close(&'static str),
}

impl Intake {
    pub(super) fn new() -> Self {
        Self {
            left: 0,
            left_closes: false,
            held: Vec::new(),
            closed: false,
        }
    }

    /// The library has given no part of a frame but what is held back: other frames may go out now.
    pub(super) fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// A Close frame was given; nothing may follow.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn forget_held(&mut self) {
        self.held = Vec::new();
    }

    /// How many bytes at the start of `buf` may go out as they are: up to a frame that has to be held back, or to the end of
    /// a Close frame.
    pub(super) fn straight(&self, buf: &[u8], observer: Option<&dyn Observer>) -> usize {
        if !self.held.is_empty() {
            return 0;
        }
        let mut at = clamped(self.left, buf.len());
        if at as u64 == self.left && self.left_closes {
            return at;
        }
        while at < buf.len() {
            let rest = &buf[at..];
            let Some(start) = FrameStart::parse(rest) else {
                break;
            };
            if !matches!(kind(&start, observer), FrameInterest::Other) {
                break;
            }
            at += clamped(start.total(), rest.len());
            if start.is_close() {
                break;
            }
        }
        at
    }

    /// Follows the straight bytes `run`, of which the kernel has `taken` at least one. Returns how many of them are dealt
    /// with if the writer keeps what is missing of the frame that the kernel stands in: up to the end of that frame.
    pub(super) fn pass(&mut self, run: &[u8], taken: usize) -> usize {
        let mut at = self.advance(run.len());
        while at < taken {
            let rest = &run[at..];
            let start = FrameStart::parse(rest).expect("a straight frame has a whole header");
            self.left = start.total();
            self.left_closes = start.is_close();
            at += self.advance(rest.len());
        }
        at
    }

    /// Holds back the start of `buf`, at least one byte: up to where it is known what becomes of the frame.
    pub(super) fn hold(
        &mut self,
        buf: &[u8],
        observer: Option<&dyn Observer>,
    ) -> (usize, HeldBytes) {
        debug_assert!(self.at_boundary(), "a frame is held back from its start");
        let mut used = 0;
        loop {
            // The next question about the frame can be answered with so many bytes of it.
            let needed = match FrameStart::parse(&self.held) {
                None => FrameStart::header_needed(&self.held),
                Some(start) => match kind(&start, observer) {
                    FrameInterest::Unknown => start.with_head(),
                    FrameInterest::Wanted => clamped(start.total(), usize::MAX),
                    FrameInterest::Other => return (used, self.release()),
                },
            };
            let more = needed.saturating_sub(self.held.len());
            if more == 0 {
                return (used, self.inspect(observer));
            }
            let here = more.min(buf.len() - used);
            if here == 0 {
                return (used, HeldBytes::Incomplete);
            }
            self.held.extend_from_slice(&buf[used..used + here]);
            used += here;
        }
    }

    /// Nothing is to be decided about the frame any more: the rest of it, if there is any, goes straight.
    fn release(&mut self) -> HeldBytes {
        let held = std::mem::take(&mut self.held);
        if let Some(start) = FrameStart::parse(&held) {
            self.left = start.total();
            self.left_closes = start.is_close();
            self.advance(held.len());
        }
        HeldBytes::Released(held)
    }

    /// The frame is whole.
    fn inspect(&mut self, observer: Option<&dyn Observer>) -> HeldBytes {
        let held = std::mem::take(&mut self.held);
        let (Some(start), Some(observer)) = (FrameStart::parse(&held), observer) else {
            return HeldBytes::Released(held);
        };
        match observer.inspect(start.opcode(), start.payload(&held)) {
            FrameAnswer::Pass => HeldBytes::Released(held),
            FrameAnswer::Close(reason) => HeldBytes::Close(reason),
            FrameAnswer::Replace(payload) => {
                HeldBytes::Released(frame_of(start.opcode(), &payload))
            }
        }
    }

    /// So many bytes more of the frame that goes straight; returns how many of `available` are its.
    fn advance(&mut self, available: usize) -> usize {
        let here = clamped(self.left, available);
        self.left -= here as u64;
        if self.left == 0 {
            self.closed |= std::mem::take(&mut self.left_closes);
        }
        here
    }
}

fn kind(start: &FrameStart<'_>, observer: Option<&dyn Observer>) -> FrameInterest {
    let Some(observer) = observer else {
        return FrameInterest::Other;
    };
    let whole_message = start.first() & FIN != 0 && start.opcode() != 0;
    if !whole_message || start.payload_len() > MOST_INSPECTED as u64 || start.is_close() {
        FrameInterest::Other
    } else if !start.head_is_whole() {
        FrameInterest::Unknown
    } else if observer.wants(start.head()) {
        FrameInterest::Wanted
    } else {
        FrameInterest::Other
    }
}

fn clamped(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}
