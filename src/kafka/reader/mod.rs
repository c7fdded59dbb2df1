//! The blocking poll loop: records and ends go to the hub, reports of the metadata poller are acted on.
//!
//! - `queue`: what the client has read
//! - `act`: reports of the metadata poller

mod act;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::hub::feed::{Feed, PartitionIndices};
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::client::{self, Context};
use super::contact::BrokerContact;
use super::ffi::RecordSource;
use super::metadata::Report;
use super::partitions::{ReadPartition, ReadPartitions};
use super::status::{ConsumerStatus, SharedStatus};
use super::{ConsumerRole, PollIntervals, Router};
use crate::clock;
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events};

/// What a [`Reader`] is built from.
pub(super) struct ReaderParts {
    pub(super) config: ClientConfig,
    pub(super) context: Context,
    pub(super) intervals: PollIntervals,
    pub(super) role: ConsumerRole,
    pub(super) router: Arc<dyn Router>,
    pub(super) metrics: Metrics,
    pub(super) shared: Arc<SharedStatus>,
    pub(super) indices: PartitionIndices,
    /// See [`OwnTopic`](super::OwnTopic).
    pub(super) own: Option<Arc<str>>,
}

pub(super) struct Reader {
    config: ClientConfig,
    context: Context,
    intervals: PollIntervals,
    role: ConsumerRole,
    router: Arc<dyn Router>,
    metrics: Metrics,
    shared: Arc<SharedStatus>,
    /// `None` until it is created, and to have it recreated at the positions reached.
    source: Option<RecordSource<Context>>,
    /// Not before this may a client be made (again), in monotonic milliseconds.
    next_source_ms: u64,
    partitions: ReadPartitions,
    own: Option<Arc<str>>,
    contact: BrokerContact,
    /// What the hub receives next.
    batch: Vec<Feed>,
    status: ConsumerStatus,
    published_ms: u64,
    /// All partitions of the start are known.
    found_all: bool,
    /// The newest call that the reports have answered, to be announced once their feed is handed over.
    answered: u64,
}

impl Reader {
    /// How many events one batch takes in at most.
    const BATCH: usize = 256;
    /// How long the queue is waited on when nothing comes; reports and the stop wait so long.
    const WAIT: Duration = Duration::from_millis(100);
    const PUBLISH_MS: u64 = 200;
    /// Between two clients. One that cannot be made, or is lost at once, is not tried in a spin.
    const SOURCE_PAUSE_MS: u64 = 1_000;

    pub(super) fn new(parts: ReaderParts) -> Self {
        let ReaderParts {
            config,
            context,
            intervals,
            role,
            router,
            metrics,
            shared,
            indices,
            own,
        } = parts;
        Self {
            config,
            context,
            intervals,
            role,
            router,
            metrics,
            shared,
            source: None,
            next_source_ms: 0,
            partitions: ReadPartitions::new(indices),
            own,
            contact: BrokerContact::default(),
            batch: Vec::new(),
            status: ConsumerStatus::default(),
            published_ms: 0,
            found_all: false,
            answered: 0,
        }
    }

    pub(super) fn run(
        mut self,
        runtime: &Runtime,
        mut reports: mpsc::Receiver<Report>,
        feed: &mpsc::Sender<Vec<Feed>>,
        stop: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            self.keep_source();
            self.drain_queue(runtime, stop);
            loop {
                match reports.try_recv() {
                    Ok(report) => self.act_on(report),
                    Err(TryRecvError::Empty) => break,
                    // The metadata poller ends only with us, or by a panic, which stops the process.
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.report_contact();
            if !self.hand_over(runtime, feed, stop) {
                break;
            }
            self.publish_when_due();
        }
        // Destroying the client may take a moment; by now only the thread's end waits for it.
        debug!("kafka reader ends");
    }

    /// Creates the client, also again after a restart, and has it read on from the positions reached.
    fn keep_source(&mut self) {
        let now_ms = clock::monotonic_ms();
        if self.source.is_some() || now_ms < self.next_source_ms {
            return;
        }
        self.next_source_ms = now_ms + Self::SOURCE_PAUSE_MS;
        let source = match client::source(&self.config, self.context.clone()) {
            Ok(source) => source,
            Err(problem) => {
                let context = "cannot make a Kafka client, trying again";
                events::fault(&self.metrics, Component::Kafka, context, &problem);
                self.status.last_error = Some(problem.to_string());
                return;
            }
        };
        let mut positions = TopicPartitionList::new();
        for partition in self.partitions.iter_mut() {
            partition.restarted();
            if partition.is_lost() {
                continue;
            }
            add(
                &mut positions,
                &partition.topic,
                partition.number,
                partition.next,
            );
        }
        // Their first event shows that they may be read again.
        for refused in self.partitions.refused() {
            add(&mut positions, &refused.topic, refused.number, refused.next);
        }
        if let Err(problem) = source.consumer().assign(&positions) {
            let context = "cannot assign partitions, trying again";
            events::fault(&self.metrics, Component::Kafka, context, &problem);
            self.status.last_error = Some(problem.to_string());
            return;
        }
        self.source = Some(source);
    }

    /// Has the client recreated. Rare (a stall, a gap, a deleted topic), and it leaves no stale record of the old positions in any
    /// queue.
    fn restart(&mut self, why: &str) {
        if self.source.take().is_some() {
            events::kafka_restart(why);
            self.status.restarts += 1;
        }
    }

    fn report_contact(&mut self) {
        let partitions = &self.partitions;
        if let Some(up) = self.contact.edge(|index, goal| {
            partitions
                .iter()
                .find(|partition| partition.index == index)
                .is_none_or(|partition| partition.next >= goal)
        }) {
            match (self.role, up) {
                (ConsumerRole::Log, true) => events::kafka_up(&self.metrics),
                (ConsumerRole::Log, false) => {
                    let last_error = self.status.last_error.as_deref().unwrap_or_default();
                    events::kafka_down(&self.metrics, last_error);
                }
                (ConsumerRole::Service, _) => {}
            }
            self.batch.push(Feed::Contact { up });
        }
    }

    /// False when the receiver was dropped.
    fn hand_over(
        &mut self,
        runtime: &Runtime,
        feed: &mpsc::Sender<Vec<Feed>>,
        stop: &CancellationToken,
    ) -> bool {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            match feed.try_send(batch) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(batch)) => {
                    let sent = runtime.block_on(async {
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => false,
                            sent = feed.send(batch) => sent.is_ok(),
                        }
                    });
                    if !sent {
                        return false;
                    }
                    self.partitions.iter_mut().for_each(ReadPartition::excuse);
                }
            }
        }
        if *self.shared.answered.borrow() < self.answered {
            // Who waited for the answer reads the status next: it must hold what the brokers said.
            self.publish();
            self.shared.answered.send_replace(self.answered);
        }
        true
    }

    fn publish_when_due(&mut self) {
        let old = clock::monotonic_ms() >= self.published_ms + Self::PUBLISH_MS;
        if old || self.contact.up() != self.status.contact {
            self.publish();
        }
    }

    /// Makes the picture that others see.
    fn publish(&mut self) {
        self.published_ms = clock::monotonic_ms();
        self.status.contact = self.contact.up();
        self.status.caught_up |= self.found_all
            && self
                .partitions
                .iter()
                .all(|partition| partition.reached || !partition.early);
        self.status.partitions = self.partitions.iter().map(ReadPartition::status).collect();
        self.status
            .partitions
            .sort_unstable_by_key(|partition| partition.index);
        self.status.unidentified = self.partitions.unidentified();
        (self.status.loaded, self.status.to_load) = self
            .partitions
            .iter()
            .filter(|partition| partition.early)
            .map(ReadPartition::loading)
            .fold((0, 0), |(read, all), partition| {
                (read + partition.0, all + partition.1)
            });
        self.shared.status.store(Arc::new(self.status.clone()));
    }
}

fn add(positions: &mut TopicPartitionList, topic: &str, number: i32, next: i64) {
    positions
        .add_partition_offset(topic, number, Offset::Offset(next))
        .expect("offsets of the log are not negative");
}

pub(super) fn opened(partition: &ReadPartition) -> Feed {
    Feed::Partition {
        index: partition.index,
        topic: Arc::clone(&partition.topic),
        number: partition.number,
        topic_id: partition.topic_id,
        start: partition.start,
    }
}

pub(super) fn end_of(partition: &ReadPartition) -> Feed {
    let asked = partition.confirmed().map_or(0, |asked_ms| {
        clock::wall_ms().saturating_sub(clock::monotonic_ms().saturating_sub(asked_ms))
    });
    Feed::End {
        partition: partition.index,
        next: partition.next,
        asked,
    }
}
