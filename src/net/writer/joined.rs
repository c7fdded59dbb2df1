//! Bursts in one piece.

use super::queue::QueueEntry;
use crate::net::LaneFrame;

/// A longer burst is not joined: its frames are large, and the copy would cost more than it saves.
const MOST_BYTES: usize = 32 * 1024;

/// A burst that several connections in a row are sent, copied into one buffer: the kernel takes one piece faster than eight.
#[derive(Default)]
pub(in crate::net) struct JoinedFrames {
    frames: Vec<LaneFrame>,
    bytes: Vec<u8>,
    /// The last burst that was not joined: how many frames it had, and the addresses of its first and its last. Most bursts do not come
    /// twice in a row, so only one that does is joined.
    last: Option<(usize, usize, usize)>,
}

impl JoinedFrames {
    /// This burst in one piece, from the second time in a row on. `None`: it goes out frame by frame. None of it may be the library's, and
    /// no byte may have gone out before.
    pub(super) fn of(&mut self, burst: &[QueueEntry]) -> Option<&[u8]> {
        if self.is(burst) {
            return Some(&self.bytes);
        }
        let (first, last) = (burst.first()?.bytes(), burst.last()?.bytes());
        let this = (burst.len(), first.as_ptr().addr(), last.as_ptr().addr());
        if self.last.replace(this) != Some(this) {
            return None;
        }
        self.join(burst)
    }

    fn is(&self, burst: &[QueueEntry]) -> bool {
        let same = |(entry, frame): (&QueueEntry, &LaneFrame)| match entry {
            QueueEntry::Lane(queued) => queued.is_same(frame),
            QueueEntry::Library(_) => false,
        };
        burst.len() == self.frames.len() && burst.iter().zip(&self.frames).all(same)
    }

    fn join(&mut self, burst: &[QueueEntry]) -> Option<&[u8]> {
        self.frames.clear();
        self.bytes.clear();
        let len: usize = burst.iter().map(|entry| entry.bytes().len()).sum();
        if len > MOST_BYTES {
            return None;
        }
        self.bytes.reserve(len);
        for entry in burst {
            let QueueEntry::Lane(frame) = entry else {
                self.frames.clear();
                return None;
            };
            self.bytes.extend_from_slice(frame.bytes());
            self.frames.push(frame.clone());
        }
        Some(&self.bytes)
    }
}
