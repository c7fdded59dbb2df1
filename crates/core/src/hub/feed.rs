//! What the consumer tells the hub.

use std::sync::Arc;

use crate::domain::publication::{Ephemeral, Publication};

/// One thing that the consumer learned. Per partition the order is the log's order.
#[derive(Debug)]
pub enum Feed {
    /// A partition is read from now on; `start` is the first offset that will come. `index` is dense, given by the
    /// consumer and never reused.
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
    /// A record that reaches nobody (poison, unknown event): its offset counts as read.
    Passed { partition: u32, offset: i64 },
    /// A record without a value: the records of this key before it in the partition are deleted. Its offset counts as read.
    Deleted {
        partition: u32,
        offset: i64,
        key: Arc<str>,
    },
    /// The end was reached: everything below `next` was handed over (control records included), and at the moment `asked`
    /// (wall time, milliseconds) the log held no more. Confirmed about once a second while it stays so.
    End {
        partition: u32,
        next: i64,
        asked: u64,
    },
    /// Offsets below `next` that were not handed over are gone (retention, truncation).
    Gap { partition: u32, next: i64 },
    /// The partition's topic is gone or was made anew; what follows comes under a new index.
    Gone { partition: u32 },
    /// The partition's log is not the one that was read, and what follows comes under a new index that leaves out what the log held
    /// by then. So it concerns everybody, whatever else they were told of that topic.
    Cut { partition: u32 },
    /// No route wants the partition's topic any more, so nothing more of it comes. Nothing is lost by that: what was read
    /// stays owed, cursors stay good, and nobody is told to resync. Should it be wanted again, it comes under a new index, and
    /// begins no lower than where it ended.
    Unwanted { partition: u32 },
    /// Contact with the brokers was lost or found again.
    Contact { up: bool },
}
