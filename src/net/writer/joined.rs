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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> QueueEntry {
        QueueEntry::Lane(LaneFrame::new(text.as_bytes().to_vec(), None))
    }

    /// The same frames, as the queue of another connection has them.
    fn again(burst: &[QueueEntry]) -> Vec<QueueEntry> {
        let entries = burst.iter().map(|entry| match entry {
            QueueEntry::Lane(frame) => QueueEntry::Lane(frame.clone()),
            QueueEntry::Library(bytes) => QueueEntry::Library(bytes.clone()),
        });
        entries.collect()
    }

    #[test]
    fn burst_is_joined_the_second_time_in_a_row_and_stays_joined() {
        let burst = [frame("one"), frame("two"), frame("three")];
        let mut joined = JoinedFrames::default();
        assert_eq!(joined.of(&burst), None);
        for _ in 0..3 {
            assert_eq!(joined.of(&again(&burst)), Some(&b"onetwothree"[..]));
        }
        // Another one in between does not make it forgotten; to be joined itself that one has to come twice in a row.
        let other = [frame("four"), frame("five")];
        for _ in 0..2 {
            assert_eq!(joined.of(&other), None);
            assert_eq!(joined.of(&again(&burst[..2])), None);
            assert_eq!(joined.of(&again(&burst)), Some(&b"onetwothree"[..]));
        }
        assert_eq!(joined.of(&other), None);
        assert_eq!(joined.of(&again(&other)), Some(&b"fourfive"[..]));
    }

    /// By address and length alone it could be the burst before.
    #[test]
    fn only_the_same_frames_are_the_same_burst() {
        let [first, middle, last] = ["one", "two", "three"].map(frame);
        let burst = [first, middle, last];
        let mut joined = JoinedFrames::default();
        assert_eq!(joined.of(&burst), None);
        let mut other = again(&burst);
        other[1] = frame("TWO");
        assert_eq!(joined.of(&other), Some(&b"oneTWOthree"[..]));
        assert_eq!(joined.of(&burst), Some(&b"onetwothree"[..]));
    }

    #[test]
    fn large_burst_and_one_of_the_library_are_not_joined() {
        let large = [frame(&"x".repeat(MOST_BYTES)), frame("y")];
        let library = [
            frame("one"),
            QueueEntry::Library(b"two"[..].into()),
            frame("three"),
        ];
        for burst in [&large[..], &library] {
            let mut joined = JoinedFrames::default();
            for _ in 0..3 {
                assert_eq!(joined.of(&again(burst)), None);
            }
        }
        let mut joined = JoinedFrames::default();
        assert_eq!(joined.of(&large[..1]), None);
        assert!(joined.of(&large[..1]).is_some(), "just small enough");
    }
}
