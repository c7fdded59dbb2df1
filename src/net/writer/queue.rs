//! What waits to be written: frames of the lane, and what the kernel did not take of the library's.

use std::io::IoSlice;

use smallvec::SmallVec;

use super::super::lane::{LaneFrame, RecordStamp};
use super::joined::JoinedFrames;

/// So many entries leave with one call to the kernel.
pub(super) const SLICES: usize = 64;

/// Up to so many leave without a large table of slices.
const FEW_SLICES: usize = 8;

/// So many lie in the connection's own memory: one that keeps up needs no other.
const AT_HAND: usize = 2;

/// An empty queue keeps memory for so many entries, so that bursts do not allocate each time.
const KEPT: usize = 16;

#[derive(Default)]
pub(super) struct FrameQueue {
    /// Each has at least one byte.
    entries: SmallVec<[QueueEntry; AT_HAND]>,
    /// Queued bytes that the kernel has not taken.
    bytes: usize,
    /// Bytes of the first entry that the kernel has taken.
    taken: usize,
    /// Frames of the lane, the one that the kernel has taken a part of included.
    frames: u32,
    /// Index behind the library's last entry. 0: it has none. What lies before this index goes out before the library may go on.
    library_end: u32,
}

pub(super) enum QueueEntry {
    /// One frame, or a part of one: the rest that the kernel did not take, or the start, if the library has given no more of it.
    Library(Box<[u8]>),
    Lane(LaneFrame),
}

/// What the kernel has taken of one entry.
pub(super) enum TakenPart<'a> {
    Library(&'a [u8]),
    Lane,
    /// With the last byte of this record's frame.
    LaneRecord(RecordStamp),
}

impl FrameQueue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn frames(&self) -> usize {
        self.frames as usize
    }

    pub(super) fn library_end(&self) -> usize {
        self.library_end as usize
    }

    pub(super) fn push_lane(&mut self, frame: &LaneFrame) {
        if frame.bytes().is_empty() {
            return;
        }
        self.bytes += frame.bytes().len();
        self.frames += 1;
        self.entries.push(QueueEntry::Lane(frame.clone()));
    }

    /// `continues`: bytes of a frame of which others have gone out before, so nothing may go out before these.
    pub(super) fn push_library(&mut self, bytes: Box<[u8]>, continues: bool) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        let at = if continues { 0 } else { self.entries.len() };
        self.entries.insert(at, QueueEntry::Library(bytes));
        self.library_end = u32::try_from(at).map_or(u32::MAX, |at| at + 1);
    }

    /// Hands the first `count` entries, as far as they fit into one call, to the kernel: `send` returns how many bytes it has
    /// taken. Returns that, and how many there were.
    pub(super) fn send<E>(
        &self,
        count: usize,
        joined: &mut JoinedFrames,
        send: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<(usize, usize), E> {
        let whole = count > 1 && self.library_end == 0 && self.taken == 0;
        if let Some(burst) = self.entries.get(..count.min(SLICES)).filter(|_| whole)
            && let Some(bytes) = joined.of(burst)
        {
            return Ok((send(&[IoSlice::new(bytes)])?, bytes.len()));
        }
        match count {
            // A fan-out to connections that keep up: no table of slices for one.
            1 => self.send_slices::<1, E>(count, send),
            2..=FEW_SLICES => self.send_slices::<FEW_SLICES, E>(count, send),
            _ => self.send_slices::<SLICES, E>(count, send),
        }
    }

    fn send_slices<const MOST: usize, E>(
        &self,
        count: usize,
        send: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<(usize, usize), E> {
        let mut slices = [IoSlice::new(&[]); MOST];
        let (mut used, mut given, mut taken) = (0, 0, self.taken);
        for (slice, entry) in slices.iter_mut().zip(self.entries.iter().take(count)) {
            let bytes = &entry.bytes()[taken..];
            *slice = IoSlice::new(bytes);
            used += 1;
            given += bytes.len();
            taken = 0;
        }
        Ok((send(&slices[..used])?, given))
    }

    /// The kernel has taken so many bytes.
    pub(super) fn taken(&mut self, mut taken: usize, mut report: impl FnMut(TakenPart<'_>)) {
        let mut gone = 0;
        while taken > 0
            && let Some(front) = self.entries.get(gone)
        {
            let rest = &front.bytes()[self.taken..];
            let here = taken.min(rest.len());
            let whole = here == rest.len();
            report(match front {
                QueueEntry::Library(_) => TakenPart::Library(&rest[..here]),
                QueueEntry::Lane(frame) => match frame.record() {
                    Some(record) if whole => TakenPart::LaneRecord(record),
                    _ => TakenPart::Lane,
                },
            });
            taken -= here;
            self.bytes -= here;
            if whole {
                self.taken = 0;
                self.library_end = self.library_end.saturating_sub(1);
                self.frames -= u32::from(matches!(front, QueueEntry::Lane(_)));
                gone += 1;
            } else {
                self.taken += here;
            }
        }
        self.entries.drain(..gone);
        self.give_back();
    }

    /// Drops what is behind the first `count` entries.
    pub(super) fn truncate(&mut self, count: usize) {
        while self.entries.len() > count
            && let Some(entry) = self.entries.pop()
        {
            // A part of the first one had left before.
            let left = if self.entries.is_empty() {
                std::mem::take(&mut self.taken)
            } else {
                0
            };
            self.bytes -= entry.bytes().len() - left;
            self.frames -= u32::from(matches!(entry, QueueEntry::Lane(_)));
        }
        self.library_end = self
            .library_end
            .min(u32::try_from(count).unwrap_or(u32::MAX));
        self.give_back();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn give_back(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = SmallVec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn all_bytes(&self) -> Vec<u8> {
        let all = self.entries.iter().flat_map(QueueEntry::bytes);
        all.skip(self.taken).copied().collect()
    }

    #[cfg(test)]
    pub(super) fn is_allocated(&self) -> bool {
        self.entries.spilled()
    }
}

impl QueueEntry {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Library(bytes) => bytes,
            Self::Lane(frame) => frame.bytes(),
        }
    }
}
