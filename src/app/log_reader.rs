//! Kafka as the rest sees it: the profile routes its records, the hub is fed, sessions ask about the log.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use fleetcast_core::domain::publication::Publication;
use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::route::RouteTable;
use fleetcast_core::hub::HubSettings;
use fleetcast_core::hub::feed::{Feed, PartitionIndices};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::published_topic::{KEYS_KEPT, PublishedTopic};
use super::topic_counters::TopicCounters;
use crate::kafka::{
    ConsumerRole, ConsumerSettings, ConsumerStatus, Handle, LogConsumer, OwnTopic, Router,
    TopicSelection, Wants,
};
use crate::lifecycle::Lifecycle;
use crate::session::LogSource;
use crate::settings::{KafkaSettings, Settings};
use crate::telemetry::labels::RecordOutcome;
use crate::telemetry::{Metrics, events};

/// The running consumer.
pub(super) struct LogReader {
    handle: Handle,
    threads: TaskTracker,
    routes: Arc<Routes>,
}

/// What it is started with.
pub(super) struct LogReaderParts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) hub: &'a HubSettings,
    pub(super) metrics: &'a Metrics,
    /// To the hub.
    pub(super) feed: mpsc::Sender<Vec<Feed>>,
    pub(super) indices: PartitionIndices,
    pub(super) stop: &'a CancellationToken,
    pub(super) lifecycle: &'a Lifecycle,
}

impl LogReader {
    /// Starts the consumer on threads of its own.
    pub(super) fn start(parts: LogReaderParts<'_>) -> anyhow::Result<Arc<Self>> {
        let LogReaderParts {
            settings,
            hub,
            metrics,
            feed,
            indices,
            stop,
            lifecycle,
        } = parts;
        let table = &settings.profile.routes;
        let published = PublishedTopic::new(settings, metrics);
        let routes = Arc::new(Routes::new(table, published, metrics));
        let threads = TaskTracker::new();
        let consumer = LogConsumer {
            settings: consumer(settings, hub),
            role: ConsumerRole::Log,
            topics: topics(table, routes.published.topic()),
            router: routes.clone(),
            metrics: metrics.clone(),
            feed,
            indices,
            stop: stop.clone(),
        };
        let handle = consumer.start(&mut |name, work| {
            let running = threads.token();
            lifecycle.thread(name, move || {
                let _running = running;
                work();
            })
        });
        let handle = handle.context("cannot start the consumer of Kafka")?;
        Ok(Arc::new(Self {
            handle,
            threads,
            routes,
        }))
    }

    pub(super) fn status(&self) -> Arc<ConsumerStatus> {
        self.handle.status()
    }

    /// The table in use.
    pub(super) fn routes(&self) -> Arc<RouteTable> {
        self.routes.table.load_full()
    }

    /// Routes by this table from now on: each record by the one before or by this one. Then its topics are read, and no others.
    pub(super) fn reroute(&self, table: &Arc<RouteTable>) {
        self.routes.swap(table);
        let topics = topics(table, self.routes.published.topic());
        self.handle.set_topics(topics);
    }

    /// The topic of what is published over HTTP.
    pub(super) fn published(&self) -> &PublishedTopic {
        &self.routes.published
    }

    /// Waits until nothing of it talks to a broker any more, at most a few seconds after its `stop`.
    pub(super) async fn stopped(&self) {
        self.threads.close();
        self.threads.wait().await;
    }
}

impl LogSource for LogReader {
    fn refreshed(&self, at_most: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.handle.refreshed(at_most))
    }

    fn end(&self, partition: u32, since_ms: u64) -> Option<i64> {
        self.handle.status().end(partition, since_ms)
    }
}

/// The profile's table, which a reload swaps, and counters of the topics.
struct Routes {
    table: ArcSwap<RouteTable>,
    published: PublishedTopic,
    counters: Mutex<TopicCounters>,
    metrics: Metrics,
}

impl Routes {
    fn new(table: &Arc<RouteTable>, published: PublishedTopic, metrics: &Metrics) -> Self {
        Self {
            published,
            counters: Mutex::new(TopicCounters::new(metrics, table)),
            metrics: metrics.clone(),
            table: ArcSwap::new(table.clone()),
        }
    }

    fn swap(&self, table: &Arc<RouteTable>) {
        self.counters().learn(table);
        self.table.store(table.clone());
    }

    /// Taken by the reader's thread, which waits only for a reload.
    fn counters(&self) -> MutexGuard<'_, TopicCounters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router for Routes {
    fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Option<Publication> {
        let routed = if self.published.is(topic) {
            self.published.route(record, topic)
        } else {
            self.table.load().route(record, topic)
        };
        let mut counters = self.counters();
        let counters = counters.of(topic);
        match &routed {
            Ok(_) => counters.increment(RecordOutcome::Routed),
            Err(skip) => {
                let outcome = RecordOutcome::from(*skip);
                let (partition, offset) = (record.partition, record.offset);
                let metrics = &self.metrics;
                events::record_skipped(metrics, counters, outcome, topic, partition, offset);
            }
        }
        routed.ok()
    }

    /// Only whether later records repeat it matters.
    fn note(&self, record: &Record<'_>, topic: &Arc<str>) {
        if self.published.is(topic) {
            let _noted = self.published.route(record, topic);
        }
    }
}

/// How brokers are talked to, by whatever client.
pub fn client_settings(kafka: &KafkaSettings) -> ConsumerSettings {
    ConsumerSettings {
        properties: kafka.properties.0.clone(),
        group_id: kafka.group_id.clone(),
        mock: kafka.mock,
        ..ConsumerSettings::new(&kafka.bootstrap_servers)
    }
}

/// How the log is read: as far back as the hub has to know it.
pub(super) fn consumer(settings: &Settings, hub: &HubSettings) -> ConsumerSettings {
    ConsumerSettings {
        keep: Some(Duration::from_millis(hub.loaded_ms())),
        // Whether a record repeats another shows by those before it.
        own: Some(OwnTopic {
            name: settings.kafka.publish_topic.as_str().into(),
            further: KEYS_KEPT,
        }),
        ..client_settings(&settings.kafka)
    }
}

/// What the profile has the consumer read, and what is published over HTTP.
fn topics(routes: &Arc<RouteTable>, published: &Arc<str>) -> TopicSelection {
    let wanted = routes.has_patterns().then(|| {
        let routes = routes.clone();
        Arc::new(move |topic: &str| routes.wants(topic)) as Wants
    });
    TopicSelection {
        names: (routes.topic_groups().map(<[_]>::to_vec))
            .chain([vec![published.clone()]])
            .collect(),
        wanted,
    }
}
