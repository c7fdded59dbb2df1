//! Bursts in one piece.

use super::queue::QueueEntry;
use crate::net::LaneFrame;

/// A longer burst is not joined: its frames are large, and the copy would cost more than it saves.
const MOST_BYTES: usize = 32 * 1024;

/// A burst that one connection after the other is sent: the kernel copies one piece faster than eight.
#[derive(Default)]
pub(in crate::net) struct JoinedFrames {
    frames: Vec<LaneFrame>,
    bytes: Vec<u8>,
    /// The burst that was asked for last: how many frames, and where the bytes of the first and the last lie. It is joined when it is
    /// asked for again, for most are not.
    asked: Option<(usize, usize, usize)>,
}

impl JoinedFrames {
    /// These frames in one piece, if they were asked for before. Of the lane all, and whole.
    pub(super) fn of(&mut self, burst: &[QueueEntry]) -> Option<&[u8]> {
        if self.is(burst) {
            return Some(&self.bytes);
        }
        let (first, last) = (burst.first()?.bytes(), burst.last()?.bytes());
        let asked = (burst.len(), first.as_ptr().addr(), last.as_ptr().addr());
        if self.asked.replace(asked) != Some(asked) {
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
