//! Reads compacted topics of our own: every partition from its first record to the end that it has, then on as records come.
//!
//! It is the consumer of the log, which survives restarts of brokers and notices deleted and recreated topics, with another router: the
//! records wait here until the feed, which has one item for each of them, says that it is their turn. So records and what became of
//! their topic come in one order.

mod applied;

use std::collections::{HashMap, VecDeque};
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
    ConsumerRole, ConsumerSettings, LogConsumer, Router, StartError, StartThread, TopicSelection,
};
use crate::clock;
use crate::telemetry::Metrics;

use applied::Applied;
pub use applied::CompactedHandle;

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
