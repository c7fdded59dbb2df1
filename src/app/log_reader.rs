//! Kafka as the rest sees it: the profile routes its records, the hub is fed, sessions ask about the log.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use fleetcast_core::domain::publication::Publication;
use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::route::RouteTable;
use fleetcast_core::hub::Settings as HubSettings;
use fleetcast_core::hub::feed::Feed;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kafka::{self, ConsumerSettings, Handle, Pace, Router, Status};
use crate::lifecycle::Lifecycle;
use crate::settings::Settings;
use crate::socketio::LogSource;
use crate::telemetry::labels::RecordOutcome;
use crate::telemetry::metrics::TopicMetrics;
use crate::telemetry::{Metrics, events};

/// The running consumer.
pub(super) struct LogReader {
    handle: Handle,
    threads: TaskTracker,
    routes: Arc<Routes>,
}

impl LogReader {
    pub(super) fn status(&self) -> Arc<Status> {
        self.handle.status()
    }

    /// The table in use.
    pub(super) fn routes(&self) -> Arc<RouteTable> {
        self.routes.current.load().table.clone()
    }

    /// Routes by this table from now on: each record by the one before or by this one. Gives the topics that it names and that
    /// are not read, because reading them takes a restart.
    pub(super) fn reroute(&self, table: &Arc<RouteTable>) -> Vec<String> {
        self.routes.set(table);
        let read = self.routes.topics();
        let unread = table
            .topics()
            .filter(|topic| !read.iter().any(|known| **known == **topic));
        unread.map(str::to_owned).collect()
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

    fn end(&self, partition: u32) -> Option<i64> {
        let status = self.handle.status();
        let found = status
            .partitions
            .iter()
            .find(|known| known.index == partition);
        found.map(|known| known.high)
    }
}

/// The profile's table, which a reload swaps.
struct Routes {
    current: ArcSwap<Current>,
    /// What is read.
    topics: Vec<Arc<str>>,
    metrics: Metrics,
}

/// A table, with counters of the topics that are read.
struct Current {
    table: Arc<RouteTable>,
    counters: Vec<(Arc<str>, TopicMetrics)>,
}

impl Routes {
    fn new(table: &Arc<RouteTable>, metrics: &Metrics) -> Self {
        let topics: Vec<Arc<str>> = table.topics().map(Arc::from).collect();
        Self {
            current: ArcSwap::from_pointee(Current::new(table, &topics, metrics)),
            topics,
            metrics: metrics.clone(),
        }
    }

    fn set(&self, table: &Arc<RouteTable>) {
        let current = Current::new(table, &self.topics, &self.metrics);
        self.current.store(Arc::new(current));
    }
}

impl Current {
    fn new(table: &Arc<RouteTable>, topics: &[Arc<str>], metrics: &Metrics) -> Self {
        let counters = topics
            .iter()
            .map(|topic| (topic.clone(), metrics.topic(topic)));
        Self {
            table: table.clone(),
            counters: counters.collect(),
        }
    }
}

impl Router for Routes {
    fn topics(&self) -> Vec<Arc<str>> {
        self.topics.clone()
    }

    fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Option<Publication> {
        let current = self.current.load();
        let routed = current.table.route(record, topic);
        let counters = current.counters.iter().find(|(name, _)| name == topic);
        if let Some((_, counters)) = counters {
            match &routed {
                Ok(_) => counters.increment(RecordOutcome::Routed),
                Err(skip) => {
                    let outcome = RecordOutcome::from(*skip);
                    let (partition, offset) = (record.partition, record.offset);
                    events::record_skipped(
                        &self.metrics,
                        counters,
                        outcome,
                        topic,
                        partition,
                        offset,
                    );
                }
            }
        }
        routed.ok()
    }
}

/// How the log is read: as far back as the hub keeps what comes.
pub(super) fn consumer(settings: &Settings, hub: &HubSettings) -> ConsumerSettings {
    let kafka = &settings.kafka;
    ConsumerSettings {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        properties: kafka.properties.clone(),
        group_id: kafka.group_id.clone(),
        keep: Duration::from_millis(hub.kept_ms()),
        mock: kafka.mock,
        pace: Pace::default(),
    }
}

/// Starts the consumer on threads of its own.
pub(super) fn start(
    settings: &Settings,
    hub: &HubSettings,
    metrics: &Metrics,
    feed: mpsc::Sender<Vec<Feed>>,
    stop: &CancellationToken,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Arc<LogReader>> {
    let routes = Arc::new(Routes::new(&settings.profile.routes, metrics));
    let threads = TaskTracker::new();
    let handle = kafka::spawn(
        &consumer(settings, hub),
        routes.clone(),
        metrics,
        feed,
        stop.clone(),
        &mut |name, work| {
            let running = threads.token();
            lifecycle.thread(name, move || {
                let _running = running;
                work();
            })
        },
    );
    let handle = handle.context("cannot start the consumer of Kafka")?;
    Ok(Arc::new(LogReader {
        handle,
        threads,
        routes,
    }))
}
