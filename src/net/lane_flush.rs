//! One flush of many lanes. What they have in common is done once: their deliveries are counted together, and a burst that several of
//! them are sent is [joined](JoinedFrames).

use std::sync::Arc;

use smallvec::SmallVec;

use super::lane::{RecordObserver, RecordStamp};
use super::writer::JoinedFrames;

/// So many records that differ in event or timestamp are counted before the counts are reported.
const COUNTED: usize = 8;

/// What it has counted is reported when it is dropped.
pub struct LaneFlush {
    /// Now, in milliseconds since the Unix epoch.
    wall_ms: u64,
    counts: SmallVec<[(RecordStamp, u64); COUNTED]>,
    /// Of those counts.
    observer: Option<Arc<dyn RecordObserver>>,
    joined: JoinedFrames,
}

impl LaneFlush {
    /// `wall_ms`: now, in milliseconds since the Unix epoch.
    pub fn new(wall_ms: u64) -> Self {
        Self {
            wall_ms,
            counts: SmallVec::new(),
            observer: None,
            joined: JoinedFrames::default(),
        }
    }

    /// What is written from here on is written at `wall_ms`.
    pub fn at(&mut self, wall_ms: u64) {
        if self.wall_ms != wall_ms {
            self.report();
            self.wall_ms = wall_ms;
        }
    }

    pub(super) fn joined(&mut self) -> &mut JoinedFrames {
        &mut self.joined
    }

    /// The kernel has taken the last byte of a frame that carries this record.
    pub(super) fn record_written(
        &mut self,
        record: RecordStamp,
        observer: &Arc<dyn RecordObserver>,
    ) {
        let same = |known: &Arc<dyn RecordObserver>| Arc::ptr_eq(known, observer);
        if !self.observer.as_ref().is_some_and(same) || self.counts.len() == COUNTED {
            self.report();
            self.observer = Some(observer.clone());
        }
        match self.counts.iter_mut().find(|(known, _)| *known == record) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((record, 1)),
        }
    }

    fn report(&mut self) {
        if let Some(observer) = &self.observer {
            for (record, count) in self.counts.drain(..) {
                observer.records_written(record, count, self.wall_ms);
            }
        }
    }
}

impl Drop for LaneFlush {
    fn drop(&mut self) {
        self.report();
    }
}
