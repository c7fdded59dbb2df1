//! What waits to be written: frames of the lane, and what the kernel did not take of the library's.

use std::collections::VecDeque;
use std::io::IoSlice;

use axum::body::Bytes;

use super::super::lane::{LaneFrame, RecordStamp};

/// So many pieces leave with one call to the kernel.
pub(super) const SLICES: usize = 64;

/// An empty queue keeps the memory of so many pieces, so that a connection that keeps up does not allocate.
const KEPT: usize = 16;

#[derive(Default)]
pub(super) struct FrameQueue {
    pieces: VecDeque<QueuedPiece>,
    /// Of all pieces.
    bytes: usize,
    /// Of the lane, the one that the kernel has taken a part of included.
    frames: usize,
    /// How many pieces there are up to the end of what is of the library. 0: nothing is.
    ahead: usize,
}

struct QueuedPiece {
    /// Never empty.
    bytes: Bytes,
    kind: PieceKind,
}

enum PieceKind {
    Library,
    /// Another piece of the frame follows.
    LanePart,
    LaneEnd,
    /// The end of a frame with a [`RecordStamp`].
    LaneRecord {
        event: u32,
        timestamp: i64,
    },
}

/// What the kernel has taken of one piece.
pub(super) enum TakenPart<'a> {
    Library(&'a [u8]),
    Lane,
    /// With the last byte of this record's frame.
    LaneRecord(RecordStamp),
}

impl FrameQueue {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    pub(super) fn push_lane(&mut self, frame: &LaneFrame) {
        for bytes in frame.pieces() {
            self.bytes += bytes.len();
            self.pieces.push_back(QueuedPiece {
                bytes: bytes.clone(),
                kind: PieceKind::LanePart,
            });
        }
        if let Some(last) = self.pieces.back_mut()
            && !frame.is_empty()
        {
            self.frames += 1;
            last.kind = frame
                .record()
                .map_or(PieceKind::LaneEnd, |record| PieceKind::LaneRecord {
                    event: record.event,
                    timestamp: record.timestamp,
                });
        }
    }

    /// `continues`: bytes of a frame of which others have gone out before, so nothing may go out before these.
    pub(super) fn push_library(&mut self, bytes: Bytes, continues: bool) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        let at = if continues { 0 } else { self.pieces.len() };
        let kind = PieceKind::Library;
        self.pieces.insert(at, QueuedPiece { bytes, kind });
        self.ahead = at + 1;
    }

    /// Hands the first `count` pieces, as far as they fit into one call, to the kernel: `send` returns how many bytes it has
    /// taken. Returns that, and how many there were.
    pub(super) fn send<E>(
        &self,
        count: usize,
        send: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<(usize, usize), E> {
        // A fan-out to connections that keep up: no table of slices for one.
        if let (1, Some(piece)) = (count, self.pieces.front()) {
            let taken = send(&[IoSlice::new(&piece.bytes)])?;
            return Ok((taken, piece.bytes.len()));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut used, mut given) = (0, 0);
        for (slice, piece) in slices.iter_mut().zip(self.pieces.iter().take(count)) {
            *slice = IoSlice::new(&piece.bytes);
            used += 1;
            given += piece.bytes.len();
        }
        Ok((send(&slices[..used])?, given))
    }

    /// The kernel has taken so many bytes.
    pub(super) fn taken(&mut self, mut taken: usize, mut report: impl FnMut(TakenPart<'_>)) {
        while taken > 0
            && let Some(front) = self.pieces.front_mut()
        {
            let here = taken.min(front.bytes.len());
            let whole = here == front.bytes.len();
            report(match front.kind {
                PieceKind::Library => TakenPart::Library(&front.bytes[..here]),
                PieceKind::LaneRecord { event, timestamp } if whole => {
                    TakenPart::LaneRecord(RecordStamp { event, timestamp })
                }
                PieceKind::LanePart | PieceKind::LaneEnd | PieceKind::LaneRecord { .. } => {
                    TakenPart::Lane
                }
            });
            taken -= here;
            self.bytes -= here;
            if whole {
                self.pop();
            } else {
                front.bytes = front.bytes.slice(here..);
            }
        }
        self.give_back();
    }

    fn pop(&mut self) {
        let piece = self.pieces.pop_front();
        self.ahead = self.ahead.saturating_sub(1);
        if piece.is_some_and(|piece| piece.kind.ends_frame()) {
            self.frames -= 1;
        }
    }

    /// Drops what is behind the first `count` pieces.
    pub(super) fn truncate(&mut self, count: usize) {
        while self.pieces.len() > count
            && let Some(piece) = self.pieces.pop_back()
        {
            self.bytes -= piece.bytes.len();
            self.frames -= usize::from(piece.kind.ends_frame());
        }
        self.ahead = self.ahead.min(count);
        self.give_back();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn give_back(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > KEPT {
            self.pieces = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn all_bytes(&self) -> Vec<u8> {
        self.pieces
            .iter()
            .flat_map(|piece| &piece.bytes)
            .copied()
            .collect()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.pieces.capacity()
    }
}

impl PieceKind {
    fn ends_frame(&self) -> bool {
        matches!(self, Self::LaneEnd | Self::LaneRecord { .. })
    }
}
