//! Logs that end: a topic is deleted, or recreated under its name, or a log is truncated.
//!
//! In each case what was read under an index is not what the log holds, and no later cursor can say what a client has seen of it:
//! offsets begin again. So the partition is removed from every window, and the connections are resynced. What differs is who
//! must be notified:
//!
//! - *deleted* (and perhaps recreated, under a new index): all partitions of the topic go, one after another, for one reason.
//!   A connection is notified once, unless something was read of a further partition in between.
//! - *recreated*, noticed only when the topic is wanted again: the new partition's arrival says so. All are notified.
//! - *recreated*, noticed only when the topic's id becomes known: connections with a cursor vector of the former topic are notified.
//! - *truncated*: the new index leaves out what the log held by then, so it concerns every connection, also one
//!   that received a resync for the topic before.
//! - *truncated below a cursor*: one connection claims to have seen more than the log holds. It alone is notified.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::cursor::Cursor;
use crate::domain::protocol::ResyncReason;
use crate::hub::connections::ConnectionState;
use crate::hub::connections::resyncs::Concerned;
use crate::hub::outlet::Outlet;
use crate::hub::{ConnectionKey, Hub, Now};

/// Topics of which some partitions were deleted, and others still exist.
#[derive(Debug, Default)]
pub(in crate::hub) struct PartlyDeleted(HashMap<Arc<str>, DeletionNotice>);

/// When the connections were notified about a topic.
#[derive(Debug, Clone, Copy)]
struct DeletionNotice {
    /// The newest index that there was then: what comes under a later one is of another topic.
    index: u32,
    /// The newest append then.
    appends: u64,
}

impl<O: Outlet> Hub<O> {
    /// The topic of the partition that is read under this index was deleted; if it was recreated, its log comes under a new index.
    pub(in crate::hub) fn topic_deleted(&mut self, index: u32, now: Now) {
        let Some((topic, appended)) = self.positions.last_append(index) else {
            return;
        };

        // A notice about an earlier partition of the same topic holds for this one too, unless something was read of it since.
        let before = self.partly_deleted.0.get(&topic).copied();
        let same_topic = before.filter(|before| index <= before.index);
        let notice = same_topic.filter(|before| appended <= before.appends);
        let newest_index = same_topic.map_or(self.positions.newest_index(), |before| before.index);

        for removed in self.positions.remove(index, now) {
            self.remove_partition(removed);
        }

        // A connection that started fresh after the notice, or was resynced by it, has nothing of the topic.
        let concerned = notice.map_or(Concerned::All, |notice| {
            Concerned::StartedBefore(notice.appends)
        });
        self.raise_resync(ResyncReason::TopicRecreated, concerned);

        // The first notice is the one to compare with, for as long as partitions of that topic are left.
        if self.positions.has_up_to(&topic, newest_index) {
            let notice = notice.unwrap_or(DeletionNotice {
                index: newest_index,
                appends: self.appends,
            });
            self.partly_deleted.0.insert(topic, notice);
        } else {
            self.partly_deleted.0.remove(&topic);
        }
    }

    /// The log that was read under this index was truncated below what was read.
    pub(in crate::hub) fn truncated(&mut self, index: u32, now: Now) {
        let replaced = self.positions.remove(index, now);
        self.recreated(&replaced);
    }

    /// The id of the partition's topic is known from now on. A connection that resumed before, with a vector of another topic of
    /// that name, took its offsets for those of this log.
    pub(in crate::hub) fn learn_topic_id(&mut self, index: u32, topic_id: [u8; 16], now: Now) {
        self.positions.learn_topic_id(index, topic_id, now);
        let Some((hash, tag)) = self.positions.get(index).map(|here| (here.hash, here.tag)) else {
            return;
        };
        let concerned = Concerned::VectorDiffers { hash, tag };
        self.raise_resync(ResyncReason::TopicRecreated, concerned);
    }

    /// What was read under these indices is not in the log that goes by the name now.
    pub(in crate::hub) fn recreated(&mut self, replaced: &[u32]) {
        for partition in replaced {
            self.remove_partition(*partition);
        }
        if !replaced.is_empty() {
            self.raise_resync(ResyncReason::TopicRecreated, Concerned::All);
        }
    }

    /// In the snapshots of all organisations: what is scanned when a partition goes.
    pub(in crate::hub) fn snapshot_records(&self) -> usize {
        let logs = self.organisations.values();
        logs.map(|log| log.snapshot.len()).sum()
    }

    /// A record that no longer exists is in no snapshot.
    fn remove_partition(&mut self, partition: u32) {
        for log in self.organisations.values_mut() {
            self.snapshot_bytes -= log.remove_partition(partition, &mut self.record_index);
        }
    }

    /// The end of the partition's log lies at `high`, which was asked after this connection came. If it claims to have seen more,
    /// it saw another log of that name, or the log before it was truncated.
    pub fn end_of_log(&mut self, key: ConnectionKey, partition: u32, high: i64, now: Now) {
        self.see_to(key, now);
        let read = self.positions.get(partition).map(|here| here.next);
        // More may have been read here than that: then the answer is outdated.
        if read.is_none_or(|read| read > high) || self.seen(key, partition) <= Some(high) {
            return;
        }
        self.resync(key, ResyncReason::LogTruncated, now);
    }

    /// Whether the connection claims to have seen more of the partition than was read here.
    pub fn is_ahead(&self, key: ConnectionKey, partition: u32) -> bool {
        let read = self.positions.get(partition).map(|here| here.next);
        read.is_some() && self.seen(key, partition) > read
    }

    /// How far the connection has seen the partition on another instance, while this one has not read all that it has seen.
    fn seen(&self, key: ConnectionKey, partition: u32) -> Option<i64> {
        let hash = self.positions.get(partition)?.hash;
        self.vector(key)?.next(hash)
    }

    fn vector(&self, key: ConnectionKey) -> Option<&Cursor> {
        match &self.connections.get(key)?.state {
            ConnectionState::Lagging(lag) => lag.cursor_vector.as_ref(),
            ConnectionState::Live => None,
        }
    }
}
