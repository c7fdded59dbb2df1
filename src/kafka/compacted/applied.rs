//! How far compacted topics have been applied, and waiting for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::record::TopicPartition;
use tokio::sync::watch;

use crate::clock;
use crate::kafka::{ConsumerStatus, Handle, PartitionStatus};

/// Asks how far the topics are read.
#[derive(Clone)]
pub struct CompactedHandle {
    pub(super) consumer: Handle,
    pub(super) shared: Arc<Applied>,
}

/// What has been applied.
pub(super) struct Applied {
    pub(super) topics: Vec<Arc<str>>,
    /// The next offset of each partition.
    pub(super) positions: Mutex<HashMap<TopicPartition, i64>>,
    /// Counts changes of the positions.
    pub(super) changes: watch::Sender<u64>,
    /// Those that were lost and have not been repeated.
    pub(super) lost: Mutex<BTreeSet<TopicPartition>>,
    pub(super) loaded: AtomicBool,
}

impl Applied {
    pub(super) fn positions(&self) -> MutexGuard<'_, HashMap<TopicPartition, i64>> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lost(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_read(&self, status: &ConsumerStatus) -> bool {
        let is_read = |topic: &Arc<str>| {
            let mut partitions = (status.partitions.iter())
                .filter(|partition| partition.topic == *topic)
                .peekable();
            partitions.peek().is_some()
                && partitions.all(|partition| partition.position >= partition.high)
                && !status.missing.contains(topic)
                && !status.leaderless.iter().any(|(name, _)| name == topic)
        };
        // A look that was not answered wholly may have left out a partition.
        status.complete && status.caught_up && self.topics.iter().all(is_read)
    }

    /// How far to read each partition. `None`: the brokers have not said since then, or one that was lost is not there again yet.
    fn ends(
        &self,
        status: &ConsumerStatus,
        topic: &str,
        asked_ms: u64,
    ) -> Option<Vec<(TopicPartition, i64)>> {
        let of_topic = status.partitions.iter().filter(|one| &*one.topic == topic);
        let partitions: Vec<_> = of_topic.collect();
        let is_there = |place: &TopicPartition| partitions.iter().any(|one| one.number == place.1);
        let lost = self.lost();
        let mut lost = lost.iter().filter(|(lost, _)| **lost == *topic);
        let said = !partitions.is_empty()
            && partitions.iter().all(|one| one.asked_ms >= asked_ms)
            && lost.all(is_there);
        let end = |one: &PartitionStatus| ((one.topic.clone(), one.number), one.high);
        said.then(|| partitions.iter().map(|one| end(one)).collect())
    }
}

impl CompactedHandle {
    /// Every topic was there and has been read to its end once. Stays true.
    pub fn is_loaded(&self) -> bool {
        self.shared.loaded.load(Ordering::Acquire)
    }

    /// Something of this topic was lost, and what there is in its place has not been read yet.
    pub fn is_lost(&self, topic: &str) -> bool {
        let lost = self.shared.lost();
        lost.iter().any(|(lost, _)| **lost == *topic)
    }

    pub fn status(&self) -> Arc<ConsumerStatus> {
        self.consumer.status()
    }

    /// Waits until the record at this offset has been applied. False when that took longer than `at_most`.
    pub async fn applied(
        &self,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
        at_most: Duration,
    ) -> bool {
        let goals = [((topic.clone(), partition), offset + 1)];
        tokio::time::timeout(at_most, self.reached(&goals))
            .await
            .is_ok()
    }

    /// Waits until everything has been applied that the topic held when this was called. False when that took longer than `at_most`, or
    /// the brokers do not say what it holds.
    pub async fn read_to_end(&self, topic: &str, at_most: Duration) -> bool {
        let asked_ms = clock::monotonic_ms();
        let reading = async {
            if !self.consumer.refreshed(at_most).await {
                return false;
            }
            let status = self.consumer.status();
            let Some(goals) = self.shared.ends(&status, topic, asked_ms) else {
                return false;
            };
            self.reached(&goals).await;
            true
        };
        tokio::time::timeout(at_most, reading)
            .await
            .unwrap_or(false)
    }

    async fn reached(&self, goals: &[(TopicPartition, i64)]) {
        let mut changes = self.shared.changes.subscribe();
        let reached = |_: &u64| {
            let positions = self.shared.positions();
            let reached = |(place, goal): &(TopicPartition, i64)| {
                positions
                    .get(place)
                    .is_some_and(|position| position >= goal)
            };
            goals.iter().all(reached)
        };
        // The sender lives in `self`, so it is never dropped first.
        drop(changes.wait_for(reached).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic that is just being made is shown with some of its partitions, and a broker that leads others may not answer.
    #[test]
    fn h6_a_topic_is_read_when_every_partition_is() {
        let topic: Arc<str> = "revoked".into();
        let applied = Applied {
            topics: vec![topic.clone()],
            positions: Mutex::default(),
            changes: watch::Sender::new(0),
            lost: Mutex::default(),
            loaded: AtomicBool::new(false),
        };
        let partition = |position| PartitionStatus {
            index: 0,
            topic: topic.clone(),
            number: 0,
            position,
            high: 9,
            reached: true,
            asked_ms: 0,
            lag: 0,
        };
        let status = |complete, position| ConsumerStatus {
            caught_up: true,
            complete,
            partitions: vec![partition(position)],
            ..ConsumerStatus::default()
        };
        assert!(applied.is_read(&status(true, 9)));
        assert!(!applied.is_read(&status(true, 8)));
        assert!(!applied.is_read(&status(false, 9)));
        let missing = ConsumerStatus {
            missing: vec![topic.clone()],
            ..status(true, 9)
        };
        assert!(!applied.is_read(&missing));

        // Of a recreated topic one partition is there, and the other may come, and grant what is asked for.
        let ends = |topic, asked_ms| applied.ends(&status(true, 9), topic, asked_ms);
        assert_eq!(ends("revoked", 1), None, "not asked since");
        applied.lost().insert((topic.clone(), 0));
        applied.lost().insert(("granted".into(), 1));
        assert_eq!(ends("revoked", 0), Some(vec![((topic.clone(), 0), 9)]));
        applied.lost().insert((topic.clone(), 1));
        assert_eq!(ends("revoked", 0), None);
    }
}
