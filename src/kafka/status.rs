//! What the rest of the program may know about the consumer, and may ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::TopicSelection;

/// A picture of the consumer, at most a fifth of a second old while the reader runs.
#[derive(Debug, Clone, Default)]
pub struct ConsumerStatus {
    /// As reported to the hub: everything up to "now" is read, apart from what `lag` says.
    pub contact: bool,
    /// Why the brokers cannot be used, while retrying will not help.
    pub diagnosis: Option<String>,
    /// What went wrong last, in words for an operator, secrets masked.
    pub last_error: Option<String>,
    /// Every partition of the start has been read to its end once. Stays true.
    pub caught_up: bool,
    /// The last look at the brokers found every partition of the topics that are there.
    pub complete: bool,
    /// Records handed over of the partitions of the start, and how many they held when they were found.
    pub loaded: u64,
    pub to_load: u64,
    /// In the order of their index.
    pub partitions: Vec<PartitionStatus>,
    /// Topics that the brokers do not have (or do not show us, or, of our own, do not let us read). Read from their beginning
    /// when they appear.
    pub missing: Vec<Arc<str>>,
    /// Topics that are read and whose ids the brokers have not reported: one that is recreated at once is noticed only if its new log is
    /// shorter than what was read.
    pub unidentified: Vec<Arc<str>>,
    /// Partitions without a leader, so that they can be neither read nor written: topic and number.
    pub leaderless: Vec<(Arc<str>, i32)>,
    /// How often the client was recreated: after a stall, a gap in the log, or a topic that was deleted or recreated.
    pub restarts: u64,
}

impl ConsumerStatus {
    /// The end of the partition's log, if the brokers were asked for it at `since_ms` (monotonic milliseconds) or later. A look
    /// that was answered says nothing about a partition without a leader: what is known of its end may be old.
    pub fn end(&self, partition: u32, since_ms: u64) -> Option<i64> {
        let known = |known: &&PartitionStatus| known.index == partition;
        let known = self.partitions.iter().find(known)?;
        (known.asked_ms >= since_ms).then_some(known.high)
    }

    /// Of topics that may have several names those that exist under none of them, each by its first name.
    pub fn missing_of<'a>(&self, groups: impl Iterator<Item = &'a [Arc<str>]>) -> Vec<&'a str> {
        groups
            .filter(|names| names.iter().all(|name| self.missing.contains(name)))
            .filter_map(|names| names.first().map(AsRef::as_ref))
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    pub index: u32,
    pub topic: Arc<str>,
    pub number: i32,
    /// The next offset to come.
    pub position: i64,
    /// The end of the log when the brokers last said, never below `position`.
    pub high: i64,
    /// Its end was reached once.
    pub reached: bool,
    /// When the brokers were asked for that (monotonic milliseconds). They are not while the partition has no leader.
    pub asked_ms: u64,
    /// In offsets, so transaction markers count too.
    pub lag: u64,
}

/// Between the two threads and the `Handle`.
#[derive(Debug)]
pub(super) struct SharedStatus {
    pub(super) status: ArcSwap<ConsumerStatus>,
    /// What is to be read.
    pub(super) topics: ArcSwap<TopicSelection>,
    /// Counts the calls for a fresh look at the brokers.
    asked: AtomicU64,
    pub(super) call: Notify,
    /// The newest call whose answer has been handed to the hub.
    pub(super) answered: watch::Sender<u64>,
}

impl SharedStatus {
    pub(super) fn new(topics: TopicSelection) -> Self {
        Self {
            status: ArcSwap::default(),
            topics: ArcSwap::from_pointee(topics),
            asked: AtomicU64::new(0),
            call: Notify::new(),
            answered: watch::Sender::new(0),
        }
    }

    /// Calls for a fresh look; the number goes up to `answered` when it has been had.
    pub(super) fn ask(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.call.notify_one();
        number
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_missing_when_none_of_its_names_exists() {
        let names = |names: &[&str]| names.iter().copied().map(Arc::from).collect::<Vec<_>>();
        let status = ConsumerStatus {
            missing: names(&["incidents", "task", "tasks", "alert"]),
            ..ConsumerStatus::default()
        };
        let groups = [
            &["incident", "incidents"][..],
            &["task", "tasks"],
            &["alert"],
            &["asset"],
        ];
        let groups = groups.map(names);
        let missing = status.missing_of(groups.iter().map(Vec::as_slice));
        assert_eq!(missing, ["task", "alert"]);
        let all_there = ConsumerStatus::default();
        assert!(
            all_there
                .missing_of(groups.iter().map(Vec::as_slice))
                .is_empty()
        );
    }
}
