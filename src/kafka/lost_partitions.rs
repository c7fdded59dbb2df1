//! Partitions of compacted topics whose log is not the one that was read, and when all has been read that there is in its place.
//!
//! That a topic is gone is known from answers of brokers, and one that has just started may have forgotten it: so nothing ends by that
//! alone. It does when the topic is there and has been read to an end that was asked for afterwards.

use std::collections::HashMap;

use fleetcast_core::domain::record::TopicPartition;

use super::partitions::TopicId;
use super::{ConsumerStatus, PartitionStatus};
use crate::clock;

/// A partition that is read.
pub(super) struct OpenPartition {
    pub(super) place: TopicPartition,
    /// Once the brokers have said.
    pub(super) topic_id: Option<TopicId>,
    /// Monotonic milliseconds.
    pub(super) opened_ms: u64,
}

/// What there is in place of a lost log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplacingLog {
    /// One that has been read up to this offset.
    ReadUpTo(i64),
    /// None: its topic has fewer partitions now.
    Missing,
}

struct LostPartition {
    topic_id: Option<TopicId>,
    lost_ms: u64,
}

/// Those that have not been repeated.
#[derive(Default)]
pub(super) struct LostPartitions(HashMap<TopicPartition, LostPartition>);

impl LostPartitions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, place: &TopicPartition) -> bool {
        self.0.contains_key(place)
    }

    /// A partition may be lost once more before it was repeated: the reader opens all that a recreated topic had before, and ends those
    /// again that the new one does not have. What is to be replaced is the log that was applied, so the first topic counts.
    pub(super) fn note(&mut self, open: OpenPartition) {
        let lost_ms = clock::monotonic_ms();
        let first = LostPartition {
            topic_id: open.topic_id,
            lost_ms,
        };
        self.0.entry(open.place).or_insert(first).lost_ms = lost_ms;
    }

    /// Takes those of which everything has been read that there is in their place, and gives what that is.
    pub(super) fn take_repeated(
        &mut self,
        status: &ConsumerStatus,
        open: &HashMap<u32, OpenPartition>,
    ) -> Vec<(TopicPartition, ReplacingLog)> {
        let mut repeated = Vec::new();
        self.0.retain(|place, lost| {
            let Some(log) = lost.repeated(place, status, open) else {
                return true;
            };
            repeated.push((place.clone(), log));
            false
        });
        repeated
    }
}

impl LostPartition {
    fn repeated(
        &self,
        place: &TopicPartition,
        status: &ConsumerStatus,
        open: &HashMap<u32, OpenPartition>,
    ) -> Option<ReplacingLog> {
        let topic = &place.0;
        let is_read = |partition: &PartitionStatus, since_ms: u64| {
            partition.position >= partition.high && partition.asked_ms > since_ms
        };
        let mut of_topic = (status.partitions.iter())
            .filter(|partition| partition.topic == *topic)
            .filter_map(|partition| Some((partition, open.get(&partition.index)?)));
        if let Some((partition, opened)) = of_topic.clone().find(|(_, one)| one.place == *place) {
            let lost_ms = self.lost_ms.max(opened.opened_ms);
            let read = ReplacingLog::ReadUpTo(partition.position);
            return is_read(partition, lost_ms).then_some(read);
        }
        // There are fewer partitions now, which is so of another topic of this name alone: the same one has lost none.
        let is_other = |now: Option<TopicId>| {
            now.zip(self.topic_id)
                .is_none_or(|(now, before)| now != before)
        };
        let is_there = status.complete
            && !status.missing.contains(topic)
            && !status.leaderless.iter().any(|(name, _)| name == topic)
            && of_topic.clone().next().is_some();
        let all = of_topic
            .all(|(partition, open)| is_read(partition, self.lost_ms) && is_other(open.topic_id));
        (is_there && all).then_some(ReplacingLog::Missing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn topic() -> Arc<str> {
        "granted".into()
    }

    fn open(number: i32, topic_id: Option<u8>) -> OpenPartition {
        OpenPartition {
            place: (topic(), number),
            topic_id: topic_id.map(|id| [id; 16]),
            opened_ms: 0,
        }
    }

    /// Partition 0 is read up to there, of a log that ended there when it was asked so many milliseconds from now.
    fn status(position: i64, high: i64, asked_ms: u64) -> ConsumerStatus {
        let partition = PartitionStatus {
            index: 7,
            topic: topic(),
            number: 0,
            position,
            high,
            reached: true,
            asked_ms: clock::monotonic_ms() + asked_ms,
            lag: 0,
        };
        ConsumerStatus {
            complete: true,
            partitions: vec![partition],
            ..ConsumerStatus::default()
        }
    }

    #[test]
    fn h6_a_partition_is_repeated_when_an_end_that_was_asked_for_afterwards_is_read() {
        let mut lost = LostPartitions::default();
        lost.note(open(0, Some(1)));
        let nothing = HashMap::new();
        assert!(lost.take_repeated(&status(9, 9, 5), &nothing).is_empty());
        let again = HashMap::from([(7, open(0, Some(1)))]);
        let (behind, before) = (status(8, 9, 5), status(9, 9, 0));
        assert!(lost.take_repeated(&behind, &again).is_empty());
        assert!(lost.take_repeated(&before, &again).is_empty());
        let repeated = lost.take_repeated(&status(9, 9, 5), &again);
        assert_eq!(repeated, [((topic(), 0), ReplacingLog::ReadUpTo(9))]);
        assert!(lost.is_empty());
    }

    /// A broker that does not know a new partition yet, and a topic that was recreated with fewer.
    #[test]
    fn h6_a_partition_that_is_not_there_is_gone_with_its_topic_alone() {
        let mut lost = LostPartitions::default();
        lost.note(open(1, Some(1)));
        let there = status(9, 9, 5);
        let same = HashMap::from([(7, open(0, Some(1)))]);
        assert!(lost.take_repeated(&there, &same).is_empty());
        let other = HashMap::from([(7, open(0, Some(2)))]);
        let behind = status(8, 9, 5);
        assert!(lost.take_repeated(&behind, &other).is_empty());
        let missing = ConsumerStatus {
            missing: vec![topic()],
            ..there.clone()
        };
        assert!(lost.take_repeated(&missing, &other).is_empty());
        assert_eq!(
            lost.take_repeated(&there, &other),
            [((topic(), 1), ReplacingLog::Missing)]
        );
    }

    /// The reader opens as many partitions of the new topic as the old one had, until the brokers have said that it has fewer.
    #[test]
    fn h6_a_partition_that_is_lost_again_is_replaced_by_the_topic_after_the_first() {
        let mut lost = LostPartitions::default();
        lost.note(open(1, Some(1)));
        lost.note(open(1, Some(2)));
        let other = HashMap::from([(7, open(0, Some(2)))]);
        let before = status(9, 9, 0);
        assert!(lost.take_repeated(&before, &other).is_empty());
        assert_eq!(
            lost.take_repeated(&status(9, 9, 5), &other),
            [((topic(), 1), ReplacingLog::Missing)]
        );
    }
}
