//! What a feeder gives the hub: the reader of a log, or a bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::publication::{Ephemeral, Publication};

/// One thing that a feeder learned. Per partition the order is the log's order.
#[derive(Debug)]
pub enum Feed {
    /// A partition is read from now on; `start` is the first offset that will come. `index` is its name in every other item, from
    /// [`PartitionIndices`].
    Partition {
        index: u32,
        topic: Arc<str>,
        number: i32,
        /// `None` while the brokers have not said.
        topic_id: Option<[u8; 16]>,
        start: i64,
    },
    /// The topic's id was learned after its partition was announced.
    TopicId { partition: u32, topic_id: [u8; 16] },
    Publication {
        partition: u32,
        publication: Publication,
    },
    /// An event without a position in any log.
    Ephemeral(Ephemeral),
    /// A record that is not delivered (poison, unknown event): its offset counts as read.
    Passed { partition: u32, offset: i64 },
    /// A record without a value: the records of this key before it in the partition are deleted. Its offset counts as read.
    Tombstone {
        partition: u32,
        offset: i64,
        key: Arc<[u8]>,
    },
    /// The end was reached: everything below `next` was handed over (control records included), and at the moment `asked`
    /// (wall time, milliseconds) the log held no more. Confirmed about once a second while it stays so.
    End {
        partition: u32,
        next: i64,
        asked: u64,
    },
    /// Offsets below `next` that were not handed over no longer exist (retention, truncation).
    Gap { partition: u32, next: i64 },
    /// The partition's topic was deleted; if it was recreated, what follows comes under a new index.
    TopicDeleted { partition: u32 },
    /// The partition's log was truncated below what was read. What follows comes under a new index that leaves out what the log held
    /// by then, so it concerns every connection, also one that received a resync for that topic before.
    Truncated { partition: u32 },
    /// No route wants the partition's topic any more, so nothing more of it comes. Nothing is lost by that: what was read is still
    /// delivered, cursors stay valid, and no client is resynced. Should it be wanted again, it comes under a new index, and begins
    /// no lower than where it ended.
    Unwanted { partition: u32 },
    /// Contact with the brokers was lost or found again.
    Contact { up: bool },
}

/// The names of partitions between feeders and one hub. All feeders of a hub share it: indices are dense (the hub counts them from
/// 0), and none is given twice, not even after its partition was deleted.
#[derive(Debug, Clone, Default)]
pub struct PartitionIndices(Arc<AtomicU32>);

impl PartitionIndices {
    /// An index that no feeder has had before.
    pub fn allocate(&self) -> u32 {
        // Nothing else is published with it: each index goes to the hub in the feed.
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn two_feeders_never_get_the_same_index() {
        const EACH: u32 = 10_000;

        let indices = PartitionIndices::default();
        let allocated = thread::scope(|scope| {
            let feeder = || (0..EACH).map(|_| indices.allocate()).collect::<Vec<_>>();
            let feeders = [(); 2].map(|()| scope.spawn(feeder));
            feeders.map(|feeder| feeder.join().unwrap())
        });
        assert!(allocated.iter().all(|feeder| feeder.is_sorted()));
        let distinct: BTreeSet<_> = allocated.into_iter().flatten().collect();
        assert!(distinct.into_iter().eq(0..2 * EACH), "dense, each once");
    }
}
