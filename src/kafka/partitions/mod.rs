//! What is known of each partition that is read, and what a report about it means. Values in, verdicts out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::record::TopicPartition;
use fleetcast_core::hub::feed::PartitionIndices;

use super::metadata::FoundPartition;
use super::offsets::Bounds;
use super::status::PartitionStatus;

pub(super) type TopicId = [u8; 16];

/// One partition under one index. A topic that was recreated gets new indices.
#[derive(Debug)]
pub(super) struct ReadPartition {
    pub(super) index: u32,
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    /// Which topic of that name, once the brokers have said.
    pub(super) topic_id: Option<TopicId>,
    /// Where the hub's part of it begins. Records below are shown to the router alone.
    pub(super) start: i64,
    /// The next offset to come: everything below was handed over, or is reported as a gap.
    pub(super) next: i64,
    pub(super) early: bool,
    /// The end of the log when reading began.
    first_high: i64,
    high: i64,
    /// The end of the log as the brokers last reported it, and when they were asked (monotonic milliseconds). They are not
    /// asked while the partition has no leader.
    heard: (i64, u64),
    /// When `next` last changed, in monotonic milliseconds.
    moved_ms: u64,
    /// The end was reached once.
    pub(super) reached: bool,
    /// Since when the log has been ahead of a reading that does not move.
    behind_ms: Option<u64>,
    /// Reports in a row that put the end of the log below `next`.
    beyond: u32,
    /// librdkafka has given the partition up, see [`ReadPartition::lost`]. Since when.
    lost_ms: Option<u64>,
}

/// What a report means for one partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PartitionVerdict {
    Fine,
    /// Everything that the log held when the brokers were asked has been read.
    AtEnd,
    /// The log may be shorter than what was read: ask once more.
    Suspicious,
    /// Everything from the partition's `next` up to this offset was deleted.
    Gap(i64),
    /// The log is not the one that was read: the topic was recreated, or the log was truncated. To be read from here.
    Replaced(i64),
    /// Reading does not move although nothing is wrong with the log: recreate the client.
    Restart,
}

impl ReadPartition {
    /// Takes note of a record. False: it is below what was read already, and must not be handed over again.
    pub(super) fn record(&mut self, offset: i64, now_ms: u64) -> bool {
        if offset < self.next {
            return false;
        }
        self.next = offset + 1;
        self.moved(now_ms);
        true
    }

    /// Takes note of the end, which may lie behind control records that were never shown.
    pub(super) fn end(&mut self, next: i64, now_ms: u64) {
        if next > self.next {
            self.next = next;
            self.moved(now_ms);
        }
        self.reached = true;
    }

    /// The latest moment (monotonic milliseconds) at which the log is known to have held no more than what was read. An
    /// event of the end alone proves nothing about time: it may have waited in the queue while the process was stopped.
    pub(super) fn confirmed(&self) -> Option<u64> {
        let (end, asked_ms) = self.heard;
        (self.next >= end && !self.is_lost()).then_some(asked_ms)
    }

    /// Takes note that librdkafka has given the partition up: there is nothing at `next` to go on from.
    ///
    /// It reads from offsets that we give as numbers, with `auto.offset.reset=error`, and then says `_AUTO_OFFSET_RESET` for two
    /// reasons only. The leader has answered a fetch with `OFFSET_OUT_OF_RANGE`: retention is past `next`, or the log ends below
    /// it (`rdkafka_fetcher.c`). Or a new leader says that the epoch of the last record ends below `next`, also when its log has
    /// grown since (`_LOG_TRUNCATION`, `rdkafka_offset.c`). Neither comes from brokers that restart, move or elect as they
    /// should, since nothing is shown to readers before all that may lead have it. What does come then (no leader, not the
    /// leader, an epoch that is not known yet, storage) librdkafka keeps to itself and tries again.
    pub(super) fn lost(&mut self, now_ms: u64) {
        self.lost_ms.get_or_insert(now_ms);
    }

    /// Nothing is read of it until it is judged. Read on from `next` meanwhile, a log that has grown past it would hide what was
    /// written again below.
    pub(super) fn is_lost(&self) -> bool {
        self.lost_ms.is_some()
    }

    /// Goes on behind a hole.
    pub(super) fn skip_to(&mut self, next: i64, now_ms: u64) {
        self.next = next;
        self.lost_ms = None;
        self.moved(now_ms);
    }

    /// Reading starts over at `next` in a new client.
    pub(super) fn restarted(&mut self) {
        self.behind_ms = None;
    }

    /// The reader itself stood still, waiting for the hub: that is no stall of the client.
    pub(super) fn excuse(&mut self) {
        self.behind_ms = None;
    }

    fn moved(&mut self, now_ms: u64) {
        self.moved_ms = now_ms;
        self.behind_ms = None;
        self.beyond = 0;
        self.high = self.high.max(self.next);
    }

    /// Has not moved although the log has, for so long.
    pub(super) fn stuck_for(&self, now_ms: u64) -> Duration {
        self.behind_ms.map_or(Duration::ZERO, |since| {
            Duration::from_millis(now_ms.saturating_sub(since))
        })
    }

    /// Whether the brokers' answer to a question asked at `asked_ms` fits what was read.
    pub(super) fn judge(
        &mut self,
        bounds: Bounds,
        asked_ms: u64,
        now_ms: u64,
        stall: Duration,
    ) -> PartitionVerdict {
        self.high = bounds.high.max(self.next);
        self.heard = (bounds.high, asked_ms);
        if asked_ms <= self.moved_ms || self.lost_ms.is_some_and(|since| asked_ms <= since) {
            // The answer may be older than what has been read since.
            let read_it_all = self.next >= bounds.high && !self.is_lost();
            return if read_it_all {
                PartitionVerdict::AtEnd
            } else {
                PartitionVerdict::Fine
            };
        }
        if bounds.high < self.next {
            self.beyond += 1;
            if self.beyond < 2 && !self.is_lost() {
                return PartitionVerdict::Suspicious;
            }
            // The log of a recreated topic begins at 0 and is wholly new. One that has lost its first records to retention was
            // truncated by an election instead: what is left of it was read, and must not be delivered a second time. A young
            // log that was truncated is recognised by its topic's id alone, see `ReadPartition::is_still`.
            return PartitionVerdict::Replaced(if bounds.low == 0 { 0 } else { bounds.high });
        }
        self.beyond = 0;
        if self.is_lost() {
            return if self.next < bounds.low {
                PartitionVerdict::Gap(bounds.low)
            } else {
                // It was truncated, and has grown past `next` since. Where it was truncated is unknown by now, so all that it
                // holds is left to the resync, and nothing is delivered a second time.
                PartitionVerdict::Replaced(bounds.high)
            };
        }
        if self.next == bounds.high {
            self.behind_ms = None;
            return PartitionVerdict::AtEnd;
        }
        self.behind_ms.get_or_insert(now_ms);
        if self.stuck_for(now_ms) >= stall {
            PartitionVerdict::Restart
        } else {
            PartitionVerdict::Fine
        }
    }

    /// The brokers say that it is the topic which is read here already.
    pub(super) fn is_still(&self, reported: Option<&TopicId>) -> bool {
        self.topic_id.is_some() && self.topic_id.as_ref() == reported
    }

    /// How much of what was there at first has been read, and how much that was.
    pub(super) fn loading(&self) -> (u64, u64) {
        let all = self.first_high.saturating_sub(self.start);
        let read = self.next.saturating_sub(self.start).min(all);
        (read.max(0).unsigned_abs(), all.max(0).unsigned_abs())
    }

    pub(super) fn status(&self) -> PartitionStatus {
        PartitionStatus {
            index: self.index,
            topic: Arc::clone(&self.topic),
            number: self.number,
            position: self.next,
            high: self.high,
            reached: self.reached,
            asked_ms: self.heard.1,
            lag: self.high.saturating_sub(self.next).max(0).unsigned_abs(),
        }
    }
}

/// All partitions that are read now.
#[derive(Debug, Default)]
pub(super) struct ReadPartitions {
    by_topic: HashMap<Arc<str>, Vec<ReadPartition>>,
    /// Where reading ended of partitions that are there and not wanted, and of which topic they were.
    left: HashMap<TopicPartition, (Option<TopicId>, i64)>,
    /// Those that the brokers do not let us read, as they were. The client goes on asking for them.
    refused: Vec<ReadPartition>,
    /// The ids of topics that stood behind these names before, the last ones.
    former: HashMap<Arc<str>, VecDeque<TopicId>>,
    indices: PartitionIndices,
}

/// What the brokers' word about a topic's id changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identified {
    /// Partitions that learned their topic's id now, by index.
    pub(super) learned: Vec<u32>,
    /// Partitions of another topic of that name, which was deleted.
    pub(super) others: Vec<TopicPartition>,
}

impl ReadPartitions {
    /// `indices`: shared with every other feeder of the hub.
    pub(super) fn new(indices: PartitionIndices) -> Self {
        Self {
            indices,
            ..Self::default()
        }
    }

    /// Begins to read a partition, under an index that none had before.
    pub(super) fn open(
        &mut self,
        found: &FoundPartition,
        topic_id: Option<TopicId>,
        asked_ms: u64,
        now_ms: u64,
    ) -> &mut ReadPartition {
        let (topic, number) = &found.place;
        let index = self.indices.allocate();
        let (mut start, mut from, mut topic_id) = (found.start, found.read_from, topic_id);
        if let Some((before, next)) = self.left.remove(&found.place)
            && before.is_none_or(|before| topic_id.is_none_or(|now| before == now))
            && next <= found.bounds.high
        {
            // What came before was handed over when it was wanted.
            (start, from) = (start.max(next), from.max(next));
            // Should the brokers say later that it is another topic, its beginning was skipped.
            topic_id = topic_id.or(before);
        }
        let partitions = self.by_topic.entry(Arc::clone(topic)).or_default();
        partitions.push(ReadPartition {
            index,
            topic: Arc::clone(topic),
            number: *number,
            topic_id,
            start,
            next: from,
            early: found.early,
            first_high: found.bounds.high,
            high: found.bounds.high.max(start),
            heard: (found.bounds.high, asked_ms),
            moved_ms: now_ms,
            reached: false,
            behind_ms: None,
            beyond: 0,
            lost_ms: None,
        });
        let last = partitions.len() - 1;
        &mut partitions[last]
    }

    pub(super) fn close(&mut self, (topic, number): &TopicPartition) -> Option<ReadPartition> {
        let partitions = self.by_topic.get_mut(topic)?;
        let at = partitions
            .iter()
            .position(|partition| partition.number == *number)?;
        let partition = partitions.swap_remove(at);
        if partitions.is_empty() {
            // Names that come and go do not accumulate.
            self.by_topic.remove(topic);
        }
        Some(partition)
    }

    /// Closes a partition that is not wanted any more. Its index, if it was read.
    pub(super) fn leave(&mut self, place: &TopicPartition) -> Option<u32> {
        let partition = self.close(place)?;
        self.left
            .insert(place.clone(), (partition.topic_id, partition.next));
        Some(partition.index)
    }

    /// Takes out the partitions of a topic that the brokers do not let us read. Their indices.
    pub(super) fn refuse(&mut self, topic: &str) -> Vec<u32> {
        let refused = self.by_topic.remove(topic).unwrap_or_default();
        let indices = refused.iter().map(|partition| partition.index).collect();
        self.refused.extend(refused);
        indices
    }

    /// The brokers let us read it after all: it goes on where it was, under a new index. `None` if it was not refused.
    pub(super) fn permit(
        &mut self,
        topic: &str,
        number: i32,
        now_ms: u64,
    ) -> Option<&mut ReadPartition> {
        let mut partition = self.take_refused(topic, number)?;
        partition.index = self.indices.allocate();
        partition.start = partition.start.max(partition.next);
        partition.reached = false;
        partition.moved(now_ms);
        let partitions = self
            .by_topic
            .entry(Arc::clone(&partition.topic))
            .or_default();
        partitions.push(partition);
        partitions.last_mut()
    }

    /// Forgets a partition that was refused. False: it was not.
    pub(super) fn forget_refused(&mut self, (topic, number): &TopicPartition) -> bool {
        self.take_refused(topic, *number).is_some()
    }

    fn take_refused(&mut self, topic: &str, number: i32) -> Option<ReadPartition> {
        let refused = (self.refused.iter())
            .position(|refused| refused.number == number && *refused.topic == *topic)?;
        Some(self.refused.swap_remove(refused))
    }

    pub(super) fn refused(&self) -> &[ReadPartition] {
        &self.refused
    }

    /// A broker that lags behind the others may still name a topic that was deleted.
    pub(super) fn was_replaced(&self, topic: &str, id: &TopicId) -> bool {
        let former = self.former.get(topic);
        former.is_some_and(|former| former.contains(id))
    }

    /// The brokers say that this is the topic behind the name.
    pub(super) fn identify(&mut self, topic: &str, id: TopicId) -> Identified {
        const KEPT: usize = 8;

        let mut identified = Identified::default();
        for partition in self.by_topic.get_mut(topic).into_iter().flatten() {
            match partition.topic_id {
                Some(known) if known == id => {}
                Some(known) => {
                    let place = (Arc::clone(&partition.topic), partition.number);
                    identified.others.push(place);
                    let former = self.former.entry(Arc::clone(&partition.topic)).or_default();
                    if !former.contains(&known) {
                        former.push_front(known);
                        former.truncate(KEPT);
                    }
                }
                None => {
                    partition.topic_id = Some(id);
                    identified.learned.push(partition.index);
                }
            }
        }
        identified
    }

    /// Topics that are read and whose ids are unknown.
    pub(super) fn unidentified(&self) -> Vec<Arc<str>> {
        let unknown = |partitions: &&Vec<ReadPartition>| {
            partitions
                .iter()
                .any(|partition| partition.topic_id.is_none())
        };
        let topics = self
            .by_topic
            .iter()
            .filter(|(_, partitions)| unknown(partitions));
        let mut topics: Vec<_> = topics.map(|(topic, _)| Arc::clone(topic)).collect();
        topics.sort_unstable();
        topics
    }

    pub(super) fn get(&mut self, topic: &str, number: i32) -> Option<&mut ReadPartition> {
        self.by_topic
            .get_mut(topic)?
            .iter_mut()
            .find(|partition| partition.number == number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ReadPartition> {
        self.by_topic.values().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ReadPartition> {
        self.by_topic.values_mut().flatten()
    }
}

#[cfg(test)]
mod tests;
