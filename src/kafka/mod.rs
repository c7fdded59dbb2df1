//! Reads the routed topics: every instance all partitions, by `assign`, without joining a group.
//!
//! Two threads. The *reader* (`reader`) blocks on librdkafka's queue, routes each record and hands the hub batches of
//! [`Feed`] in the order of the log. The *metadata poller* (`metadata`) asks the brokers, over connections of its own, which topics
//! and partitions there are, which topics stand behind the names, where partitions begin and end (`offsets.rs`), and where reading
//! starts. What the poller finds goes to the reader, which alone decides: `partitions` holds what is known of each partition, and
//! turns reports into ends, gaps, deleted topics, and stalls; `contact.rs` says whether "now" is read up to, `diagnose.rs` why the
//! brokers cannot be reached. `ffi` takes events off the queue; `client.rs` configures, `properties.rs` says with what; `status.rs` is
//! what others may see.
//!
//! Beside it: `producer.rs` writes records, `admin` makes topics, and `compacted.rs` reads compacted topics of our own from their beginning,
//! with a reader and a metadata poller of its own; `lost_partitions.rs` says when what such a topic lost has been read once more.
//!
//! There is no `max.poll.interval.ms` to keep: librdkafka runs that timer for subscriptions only, so a reader that waits for the
//! hub keeps its assignment, and librdkafka's own threads keep the connections.

pub mod admin;
mod client;
mod compacted;
mod contact;
mod diagnose;
mod ffi;
mod lost_partitions;
mod metadata;
mod offsets;
mod partitions;
mod producer;
pub mod properties;
mod reader;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use fleetcast_core::domain::publication::Publication;
use fleetcast_core::domain::record::Record;
use fleetcast_core::hub::feed::{Feed, PartitionIndices};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use client::ClientError;
pub use compacted::{CompactedHandle, CompactedItem, CompactedReader, CompactedRecord};
pub use producer::{OutgoingRecord, Producer, WriteError, WrittenAt};
pub use status::{ConsumerStatus, PartitionStatus};

use crate::telemetry::Metrics;
use status::SharedStatus;

/// What becomes of a record. Called on the reader's thread, for every record, so it must not block.
pub trait Router: Send + Sync {
    /// The publication, or `None` when the record reaches no client.
    fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Option<Publication>;

    /// Called in place of `route` for a record from before what the hub is given, see [`OwnTopic::further`].
    fn note(&self, _record: &Record<'_>, _topic: &Arc<str>) {}
}

/// Whether a topic of this full name is to be read. Called on the metadata poller's thread for every topic of the cluster, apart from
/// Kafka's own (`__...`), so it must not block.
pub type Wants = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Which topics are read. Those that come later are read once they are there.
#[derive(Clone, Default)]
pub struct TopicSelection {
    /// Full names, in groups of names of one topic. All that exist are read, and the others are looked for.
    pub names: Vec<Vec<Arc<str>>>,
    /// What else is read, of what exists. `None`: nothing, and the topics of the cluster are not listed.
    pub wanted: Option<Wants>,
}

impl fmt::Debug for TopicSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, wants) = (&self.names, self.wanted.is_some());
        write!(f, "TopicSelection {{ names: {names:?}, wants: {wants} }}")
    }
}

/// Starts a named thread whose end the process waits for.
pub type StartThread<'a> =
    &'a mut dyn FnMut(&'static str, Box<dyn FnOnce() + Send>) -> io::Result<()>;

#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Comma-separated.
    pub bootstrap_servers: String,
    /// librdkafka's, by their own names.
    pub properties: BTreeMap<String, String>,
    /// Nothing is committed under it; brokers show it and check access by it.
    pub group_id: String,
    /// Reading starts so long ago; `None`: with the first record that the log has.
    pub keep: Option<Duration>,
    /// The topic that the server itself writes what it is to read.
    pub own: Option<OwnTopic>,
    /// The brokers are librdkafka's mock: it sleeps the whole time that a fetch may wait, so that is kept short.
    pub mock: bool,
    pub intervals: PollIntervals,
}

/// A topic that a server can do without: if the brokers do not let us read it, it is missing, and all others are read.
#[derive(Debug, Clone)]
pub struct OwnTopic {
    pub name: Arc<str>,
    /// Reading starts so much longer ago than of other topics. What comes from there is noted by the [`Router`] and not given to the
    /// hub.
    pub further: Duration,
}

impl ConsumerSettings {
    pub fn new(bootstrap_servers: &str) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.to_owned(),
            properties: BTreeMap::new(),
            group_id: "fleetcast".to_owned(),
            // The window of 5 minutes, and 10 s more.
            keep: Some(Duration::from_secs(310)),
            own: None,
            mock: false,
            intervals: PollIntervals::default(),
        }
    }
}

/// How often and how long. Tests shorten it.
#[derive(Debug, Clone, Copy)]
pub struct PollIntervals {
    /// Between two looks at the brokers. New partitions are found within this and the time of the next refresh of librdkafka's
    /// own metadata (5 s).
    pub look: Duration,
    /// The same after a failure, or while an answer is incomplete.
    pub retry: Duration,
    /// No answer for so long: contact is lost.
    pub silence: Duration,
    /// A partition whose log has moved on while its reading has not, for so long: the client is recreated.
    pub stall: Duration,
}

impl Default for PollIntervals {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(1),
            retry: Duration::from_millis(250),
            silence: Duration::from_secs(10),
            stall: Duration::from_secs(15),
        }
    }
}

/// Checks the settings as far as that goes without asking a broker.
pub fn check(settings: &ConsumerSettings) -> Result<(), ClientError> {
    let config = client::config(settings)?;
    client::source(&config, client::Context::new(settings)).map(drop)
}

/// Why the consumer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Which of the consumers of this process one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerRole {
    /// Reads the routed topics. It alone says in log and metrics whether Kafka is reachable.
    Log,
    /// Reads compacted topics of our own.
    Service,
}

impl ConsumerRole {
    /// The names of the reader's thread and of the metadata poller's.
    fn threads(self) -> [&'static str; 2] {
        match self {
            Self::Log => ["kafka-reader", "kafka-metadata"],
            Self::Service => ["service-reader", "service-metadata"],
        }
    }
}

/// What the log is read with, by whom it is routed, and where it goes.
pub struct LogConsumer {
    pub settings: ConsumerSettings,
    pub role: ConsumerRole,
    pub topics: TopicSelection,
    pub router: Arc<dyn Router>,
    pub metrics: Metrics,
    /// Bounded by its maker. When it is full the reader waits, librdkafka's own bounded queue fills, and it stops fetching:
    /// nothing is dropped.
    pub feed: mpsc::Sender<Vec<Feed>>,
    /// By which partitions are named in the feed.
    pub indices: PartitionIndices,
    pub stop: CancellationToken,
}

impl LogConsumer {
    /// Starts reading. Brokers that cannot be reached are no error: they are tried for ever. Both threads end within about a
    /// second of `stop` (a few when a broker takes a question and does not answer), or when the feed's receiver is dropped.
    pub fn start(self, start_thread: StartThread<'_>) -> Result<Handle, StartError> {
        /// Reports that wait for the reader: a few, they repeat what matters.
        const REPORTS: usize = 4;

        let Self {
            settings,
            role,
            topics,
            router,
            metrics,
            feed,
            indices,
            stop,
        } = self;
        let [reader_name, poller_name] = role.threads();
        check(&settings)?;
        let config = client::config(&settings)?;
        let context = client::Context::new(&settings);
        let shared = Arc::new(SharedStatus::new(topics));
        let (reports, received) = mpsc::channel(REPORTS);
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
        };

        let reader = reader::Reader::new(reader::ReaderParts {
            config: config.clone(),
            context: context.clone(),
            intervals: settings.intervals,
            role,
            router,
            metrics,
            shared: Arc::clone(&shared),
            indices,
            own: settings.own.as_ref().map(|own| Arc::clone(&own.name)),
        });
        let poller = metadata::MetadataPoller::new(
            ffi::MetadataClient::new(client::metadata_client(&config, context)?),
            settings,
            Arc::clone(&shared),
        );
        let poller_stop = stop.clone();
        let poller_runtime = runtime()?;
        start_thread(
            poller_name,
            Box::new(move || poller.run(&poller_runtime, &reports, &poller_stop)),
        )?;
        let reader_runtime = runtime()?;
        start_thread(
            reader_name,
            Box::new(move || reader.run(&reader_runtime, received, &feed, &stop)),
        )?;
        Ok(Handle { shared })
    }
}

/// Asks things of the running consumer. Never blocks.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<SharedStatus>,
}

impl Handle {
    pub fn status(&self) -> Arc<ConsumerStatus> {
        self.shared.status.load_full()
    }

    /// Other topics are to be read from now on. Of those that are not wanted any more nothing comes after the next look (within a
    /// second, while brokers answer), and no client receives a resync for it. New ones are read as at the start, as far back as is
    /// kept; those that were read before, from where their reading ended.
    pub fn set_topics(&self, topics: TopicSelection) {
        self.shared.topics.store(Arc::new(topics));
        self.shared.ask();
    }

    /// Has the brokers asked soon.
    fn ask(&self) {
        self.shared.ask();
    }

    /// Has the brokers asked, and waits until what they said (`Feed::Partition` for what is new) has been handed over. False
    /// when that took longer than `at_most`.
    pub async fn refreshed(&self, at_most: Duration) -> bool {
        let number = self.shared.ask();
        let mut answered = self.shared.answered.subscribe();
        let reached = answered.wait_for(|answered| *answered >= number);
        matches!(tokio::time::timeout(at_most, reached).await, Ok(Ok(_)))
    }
}
