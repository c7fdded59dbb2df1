//! Logs that lost their end: of what was read here, and of what a client has seen elsewhere.

use super::connection::{Lag, State};
use super::outlet::Outlet;
use super::{ConnectionKey, Hub, Now};
use crate::domain::protocol::ResyncReason;

impl<O: Outlet> Hub<O> {
    /// What was read under this index is not what the log holds. Told to everybody for each partition: what each held by then was
    /// left out, however much of another one was told before.
    pub(super) fn cut(&mut self, index: u32, now: Now) {
        let gone = self.positions.remove(index, now);
        self.log_gone(&gone, now);
    }

    /// What was read under these indices belongs to a log that is gone.
    pub(super) fn log_gone(&mut self, indices: &[u32], now: Now) {
        for partition in indices {
            self.forget_partition(*partition);
        }
        if !indices.is_empty() {
            self.resync_all(ResyncReason::TopicRecreated, now);
        }
    }

    /// The end of the partition's log lies at `high`, as was asked after this connection came: if it says that it has seen
    /// more, it saw another log of that name.
    pub fn end_of_log(&mut self, key: ConnectionKey, partition: u32, high: i64, now: Now) {
        let read = self.positions.get(partition).map(|here| here.next);
        // More may have been read here than that: the news is old.
        if read.is_none_or(|read| read > high) || self.seen(key, partition) <= Some(high) {
            return;
        }
        self.with_turn(key, now, |turn, connection| {
            turn.resync(connection, ResyncReason::LogTruncated);
        });
        self.schedule(key);
    }

    /// Whether the connection says that it has seen more of the partition than was read here.
    pub fn is_ahead(&self, key: ConnectionKey, partition: u32) -> bool {
        let read = self.positions.get(partition).map(|here| here.next);
        read.is_some() && self.seen(key, partition) > read
    }

    /// How far the partition was read where the connection was before, while this instance has not read all that it has seen.
    fn seen(&self, key: ConnectionKey, partition: u32) -> Option<i64> {
        let State::Lagging(Lag { own: Some(own), .. }) = &self.connections.get(key)?.state else {
            return None;
        };
        own.next(self.positions.get(partition)?.hash)
    }
}
