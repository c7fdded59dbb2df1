//! Reads compacted topics of our own: every partition from its first record to the end that it has, then on as records come.
//!
//! It is the consumer of the log, which survives restarts of brokers and notices deleted and recreated topics, with another router: the
//! records wait here until the feed, which has one item for each of them, says that it is their turn. So records and what became of
//! their topic come in one order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::publication::Publication;
use fleetcast_core::domain::record::{Record, TopicPartition};
use fleetcast_core::hub::feed::{Feed, PartitionIndices};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::lost_partitions::{LostPartitions, OpenPartition, ReplacingLog};
use super::{
    ConsumerRole, ConsumerSettings, ConsumerStatus, Handle, LogConsumer, PartitionStatus, Router,
    StartError, StartThread, TopicSelection,
};
use crate::clock;
use crate::telemetry::Metrics;

/// Batches of at most some 256 records that wait to be applied. Then the reader waits, and librdkafka stops fetching.
const FEED: usize = 4;

/// Of a key and of a value, in bytes: what is longer is cut here, and is then no record of ours.
const MAX_PART: usize = 64 * 1024;

/// Until everything is read, the status is looked at so often.
const LOOK: Duration = Duration::from_millis(50);

/// What a compacted topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompactedItem {
    /// In the order of its partition.
    Record(CompactedRecord),
    /// A partition's log was deleted or recreated, or its end was lost, or the brokers have forgotten it for a while. Should there be one
    /// again, all that it holds comes once more, from its first record on.
    Lost { topic: Arc<str>, partition: i32 },
    /// All that there is in place of what was lost has come: what was not in it is in no log any more.
    Repeated { topic: Arc<str>, partition: i32 },
    /// Everything that the topics held at the start has been given. Once.
    Loaded,
}

/// The newest record of its key so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactedRecord {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Empty for a record without a key.
    pub key: Vec<u8>,
    /// `None`: a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Records that were read and whose turn has not come. Bounded by the feed.
#[derive(Default)]
struct ReadRecords(Mutex<VecDeque<CompactedRecord>>);

impl ReadRecords {
    fn lock(&self) -> MutexGuard<'_, VecDeque<CompactedRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router for ReadRecords {
    fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Option<Publication> {
        let cut = |part: &[u8]| part[..part.len().min(MAX_PART)].to_vec();
        self.lock().push_back(CompactedRecord {
            topic: topic.clone(),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(cut).unwrap_or_default(),
            value: record.value.map(cut),
        });
        None
    }
}

/// The receiving end: [`run`](Self::run) it.
pub struct CompactedReader {
    feed: mpsc::Receiver<Vec<Feed>>,
    records: Arc<ReadRecords>,
    /// By their indices in the feed.
    partitions: HashMap<u32, OpenPartition>,
    lost: LostPartitions,
    handle: CompactedHandle,
}

/// Asks how far the topics are read.
#[derive(Clone)]
pub struct CompactedHandle {
    consumer: Handle,
    shared: Arc<Applied>,
}

/// What has been applied.
struct Applied {
    topics: Vec<Arc<str>>,
    /// The next offset of each partition.
    positions: Mutex<HashMap<TopicPartition, i64>>,
    /// Counts changes of the positions.
    changes: watch::Sender<u64>,
    /// Those that were lost and have not been repeated.
    lost: Mutex<BTreeSet<TopicPartition>>,
    loaded: AtomicBool,
}

impl CompactedReader {
    /// Starts reading, on two threads of its own. Brokers that cannot be reached, and topics that do not exist, are waited for.
    pub fn start(
        settings: ConsumerSettings,
        topics: &[Arc<str>],
        metrics: &Metrics,
        stop: &CancellationToken,
        start_thread: StartThread<'_>,
    ) -> Result<Self, StartError> {
        let (sender, feed) = mpsc::channel(FEED);
        let records = Arc::new(ReadRecords::default());
        let consumer = LogConsumer {
            settings: ConsumerSettings {
                keep: None,
                ..settings
            },
            role: ConsumerRole::Service,
            topics: TopicSelection {
                names: topics.iter().map(|topic| vec![topic.clone()]).collect(),
                wanted: None,
            },
            router: records.clone(),
            metrics: metrics.clone(),
            feed: sender,
            indices: PartitionIndices::default(),
            stop: stop.clone(),
        };
        let shared = Arc::new(Applied {
            topics: topics.to_vec(),
            positions: Mutex::default(),
            changes: watch::Sender::new(0),
            lost: Mutex::default(),
            loaded: AtomicBool::new(false),
        });
        let consumer = consumer.start(start_thread)?;
        Ok(Self {
            feed,
            records,
            partitions: HashMap::new(),
            lost: LostPartitions::default(),
            handle: CompactedHandle { consumer, shared },
        })
    }

    pub fn handle(&self) -> CompactedHandle {
        self.handle.clone()
    }

    /// Gives each item to `apply`, until the reader has stopped. False if it stopped by itself.
    pub async fn run(
        mut self,
        stop: &CancellationToken,
        mut apply: impl FnMut(CompactedItem),
    ) -> bool {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            let settled = self.handle.is_loaded() && self.lost.is_empty();
            tokio::select! {
                () = stop.cancelled() => return true,
                batch = self.feed.recv() => match batch {
                    Some(batch) => {
                        self.apply(batch, &mut apply);
                        // Others need the thread while a long topic is read.
                        tokio::task::yield_now().await;
                    }
                    None => return stop.is_cancelled(),
                },
                _ = looks.tick(), if !settled => self.look(&mut apply),
            }
        }
    }

    /// What the status counts as read was handed over before it was published, so it is in the feed by now.
    fn look(&mut self, apply: &mut impl FnMut(CompactedItem)) {
        let status = self.handle.consumer.status();
        // And no more than that: of a long topic the reader hands over as fast as this takes.
        for _ in 0..self.feed.len() {
            if let Ok(batch) = self.feed.try_recv() {
                self.apply(batch, apply);
            }
        }
        let shared = self.handle.shared.clone();
        for (place, log) in self.lost.take_repeated(&status, &self.partitions) {
            let (topic, partition) = place.clone();
            apply(CompactedItem::Repeated { topic, partition });
            shared.lost().remove(&place);
            if let ReplacingLog::ReadUpTo(next) = log {
                shared.positions().insert(place, next);
            }
        }
        if !shared.loaded.load(Ordering::Relaxed) && self.lost.is_empty() && shared.is_read(&status)
        {
            shared.loaded.store(true, Ordering::Release);
            apply(CompactedItem::Loaded);
        }
        shared.changes.send_modify(|changes| *changes += 1);
    }

    fn apply(&mut self, batch: Vec<Feed>, apply: &mut impl FnMut(CompactedItem)) {
        for item in batch {
            match item {
                Feed::Partition {
                    index,
                    topic,
                    number,
                    start,
                    topic_id,
                } => {
                    let (place, opened_ms) = ((topic, number), clock::monotonic_ms());
                    let open = OpenPartition {
                        place,
                        topic_id,
                        opened_ms,
                    };
                    if self.lost.contains(&open.place) {
                        self.handle.consumer.ask();
                    }
                    self.partitions.insert(index, open);
                    self.reached(index, start);
                }
                Feed::TopicId {
                    partition,
                    topic_id,
                } => {
                    if let Some(open) = self.partitions.get_mut(&partition) {
                        open.topic_id = Some(topic_id);
                    }
                }
                Feed::Passed { partition, offset }
                | Feed::Tombstone {
                    partition, offset, ..
                } => {
                    // Out of its lock by the end of the line: what is applied may take others.
                    let record = self.records.lock().pop_front();
                    if let Some(record) = record {
                        apply(CompactedItem::Record(record));
                    }
                    self.reached(partition, offset + 1);
                }
                Feed::End {
                    partition, next, ..
                }
                | Feed::Gap { partition, next } => self.reached(partition, next),
                Feed::TopicDeleted { partition } | Feed::Truncated { partition } => {
                    if let Some((topic, partition)) = self.ended(partition) {
                        apply(CompactedItem::Lost { topic, partition });
                    }
                }
                Feed::Publication { .. }
                | Feed::Ephemeral(_)
                | Feed::Unwanted { .. }
                | Feed::Contact { .. } => {}
            }
        }
        self.handle
            .shared
            .changes
            .send_modify(|changes| *changes += 1);
    }

    /// How far it was read says nothing of the log that comes in its place.
    fn ended(&mut self, partition: u32) -> Option<TopicPartition> {
        let open = self.partitions.remove(&partition)?;
        let place = open.place.clone();
        self.handle.shared.positions().remove(&place);
        self.handle.shared.lost().insert(place.clone());
        self.lost.note(open);
        Some(place)
    }

    fn reached(&self, partition: u32, next: i64) {
        // What a lost partition says holds when it has been repeated, and then only has it been applied.
        if let Some(open) = self.partitions.get(&partition)
            && !self.lost.contains(&open.place)
        {
            let mut positions = self.handle.shared.positions();
            positions.insert(open.place.clone(), next);
        }
    }
}

impl Applied {
    fn positions(&self) -> MutexGuard<'_, HashMap<TopicPartition, i64>> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_read(&self, status: &ConsumerStatus) -> bool {
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
