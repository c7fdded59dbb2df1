//! The compacted topics that say what tokens may do no more, and what users may do beyond their tokens: read from their beginning
//! before connections are admitted, and followed. Every instance reads them, so what one is asked for holds on all.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::records::RevocationLogs;
use super::repairs::Repairs;
use crate::api::ComponentHealth;
use crate::app::client_settings;
use crate::app::topic_keeper::{PolicyChecks, TopicKeeper};
use crate::kafka::{
    CompactedHandle, CompactedReader, OutgoingRecord, Producer, WriteError, WrittenAt,
};
use crate::lifecycle::Lifecycle;
use crate::session::{GrantSource, Sessions};
use crate::settings::KafkaSettings;
use crate::telemetry::throttle::Throttle;
use crate::telemetry::{Metrics, events};

/// All replicas must have a record within this time.
const DELIVERY: Duration = Duration::from_secs(5);

/// A topic that the start makes may be missing for this time without a line in the log.
const MAKING: Duration = Duration::from_secs(5);

/// Between two lines that say that a topic is missing.
const TOLD_AGAIN: Duration = Duration::from_secs(30);

/// What becomes of a record.
pub(in crate::app) type ControlWrite =
    Pin<Box<dyn Future<Output = Result<WrittenAt, WriteError>> + Send>>;

/// What is known of them, and the way to write to them.
pub(in crate::app) struct ControlTopics {
    revocations: Option<Arc<str>>,
    grants: Option<Arc<str>>,
    /// `None`: neither topic is set.
    open: Option<OpenTopics>,
    checks: Arc<PolicyChecks>,
    /// Whether the start makes those that do not exist.
    makes: bool,
    told_missing: Throttle<String>,
    /// Of the reader.
    threads: TaskTracker,
    pub(in crate::app) repairs: Repairs,
    pub(in crate::app) logs: RevocationLogs,
    /// How far ahead the issuers' clocks may be.
    pub(in crate::app) leeway: Duration,
    metrics: Metrics,
}

struct OpenTopics {
    handle: CompactedHandle,
    producer: Producer,
}

impl OpenTopics {
    /// `None`: as far as is known, the topic is there.
    fn missing(&self, topic: &Arc<str>) -> Option<String> {
        if !self.handle.status().missing.contains(topic) {
            return None;
        }
        let known = if self.handle.is_lost(topic) {
            ". What it said before holds until it is there and has been read"
        } else {
            ""
        };
        Some(format!(
            "there is no topic {topic}: KAFKA_CREATE_TOPICS=true or `fleetcast topics apply` makes it{known}"
        ))
    }
}

/// What is started with the process.
pub(in crate::app) struct BuiltControlTopics {
    pub(in crate::app) topics: Arc<ControlTopics>,
    reader: Option<CompactedReader>,
    keeper: Option<TopicKeeper>,
}

impl BuiltControlTopics {
    /// The topics are read from here on. `stop` ends the reading.
    pub(in crate::app) fn open(
        kafka: &KafkaSettings,
        leeway: Duration,
        metrics: &Metrics,
        stop: &CancellationToken,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let named = |variable| {
            kafka
                .service_topics
                .get(variable)
                .map(|name| name.as_str().into())
        };
        let revocations: Option<Arc<str>> = named("REVOCATIONS_TOPIC");
        let grants: Option<Arc<str>> = named("GRANTS_TOPIC");
        let all: Vec<Arc<str>> = revocations.iter().chain(&grants).cloned().collect();
        let checks = Arc::<PolicyChecks>::default();
        let keeper = TopicKeeper::new(kafka, checks.clone(), metrics)?;
        let threads = TaskTracker::new();
        let (reader, open) = if all.is_empty() {
            (None, None)
        } else {
            let settings = client_settings(kafka);
            let producer = Producer::new(&settings, DELIVERY)
                .context("cannot create the producer of revocations and grants")?;
            let reader =
                CompactedReader::start(settings, &all, metrics, stop, &mut |name, work| {
                    let running = threads.token();
                    lifecycle.thread(name, move || {
                        let _running = running;
                        work();
                    })
                });
            let reader = reader.context("cannot start the reader of compacted topics")?;
            let handle = reader.handle();
            (Some(reader), Some(OpenTopics { handle, producer }))
        };
        let topics = ControlTopics {
            revocations,
            grants,
            open,
            checks,
            makes: kafka.create_topics,
            told_missing: Throttle::new(TOLD_AGAIN),
            threads,
            repairs: Repairs::default(),
            logs: RevocationLogs::default(),
            leeway,
            metrics: metrics.clone(),
        };
        Ok(Self {
            topics: Arc::new(topics),
            reader,
            keeper,
        })
    }

    /// Applies what the topics say until `stop`, and keeps the topics themselves in order.
    pub(in crate::app) fn start(
        self,
        sessions: &Arc<Sessions>,
        stop: &CancellationToken,
        lifecycle: &Lifecycle,
    ) {
        let Self {
            topics,
            reader,
            keeper,
        } = self;
        if let Some(grants) = topics.grants_source() {
            sessions.follow_grants(grants);
        }
        if let Some(topic) = topics.revocations.clone() {
            let repair = topics.clone().repair(sessions.clone(), topic, stop.clone());
            lifecycle.spawn("revocation records", repair);
        }
        if let Some(reader) = reader {
            let (sessions, stop) = (sessions.clone(), stop.clone());
            lifecycle.critical("control topics", async move {
                let apply = |item| topics.apply(&sessions, item);
                let stopped = reader.run(&stop, apply).await;
                anyhow::ensure!(stopped, "the reader of compacted topics has ended");
                Ok(())
            });
        }
        if let Some(keeper) = keeper {
            lifecycle.critical("service topics", keeper.run(lifecycle.stopping()));
        }
        let watching = sessions.clone().watch_revocations(stop.clone());
        lifecycle.spawn("revocations", watching);
    }
}

impl ControlTopics {
    /// The topic of revocations, if there is one.
    pub(in crate::app) fn revocations(&self) -> Option<&Arc<str>> {
        self.revocations.as_ref()
    }

    /// The topic of grants, if there is one.
    pub(in crate::app) fn grants(&self) -> Option<&Arc<str>> {
        self.grants.as_ref()
    }

    fn grants_source(&self) -> Option<Arc<dyn GrantSource>> {
        let topic = self.grants.clone()?;
        let handle = self.open.as_ref()?.handle.clone();
        Some(Arc::new(GrantsTopic { topic, handle }))
    }

    /// Waits until this record of a topic is applied here. False when that took longer than `at_most`.
    pub(in crate::app) async fn applied(
        &self,
        topic: &Arc<str>,
        written: WrittenAt,
        at_most: Duration,
    ) -> bool {
        let Some(open) = &self.open else { return false };
        let WrittenAt { partition, offset } = written;
        open.handle.applied(topic, partition, offset, at_most).await
    }

    /// Waits until nothing of the reader talks to a broker any more, at most a few seconds after its `stop`.
    pub(in crate::app) async fn stopped(&self) {
        self.threads.close();
        self.threads.wait().await;
    }

    /// Everything that the topics held at the start is applied, and they are what they have to be, as far as the brokers say.
    pub(in crate::app) fn is_loaded(&self) -> bool {
        let settled = |topic: &Arc<str>| self.checks.is_settled(topic);
        let mut topics = self.revocations.iter().chain(&self.grants);
        self.is_read() && topics.all(settled)
    }

    /// Everything that the topics held at the start is applied.
    pub(in crate::app) fn is_read(&self) -> bool {
        let open = self.open.as_ref();
        open.is_none_or(|open| open.handle.is_loaded())
    }

    /// Logs which topics the start waits for, `waited` so long by now.
    pub(in crate::app) fn tell_missing(&self, waited: Duration) {
        if self.makes && waited < MAKING {
            return;
        }
        for topic in self.revocations.iter().chain(&self.grants) {
            if let Some(why) = self.open.as_ref().and_then(|open| open.missing(topic)) {
                events::topic_missing(&self.told_missing, &why);
            }
        }
    }

    pub(in crate::app) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What `/ready` says of each topic that is set.
    pub(in crate::app) fn health(&self) -> Vec<(&'static str, ComponentHealth)> {
        let named = [("revocations", &self.revocations), ("grants", &self.grants)];
        let set = named.into_iter();
        set.filter_map(|(name, topic)| Some((name, self.health_of(topic.as_ref()?))))
            .collect()
    }

    fn health_of(&self, topic: &Arc<str>) -> ComponentHealth {
        match self.problem_of(topic) {
            Some(problem) => ComponentHealth::unhealthy(problem),
            None => ComponentHealth::healthy(self.checks.remark(topic)),
        }
    }

    /// Why what the topics held at the start is not applied, as this one of them says.
    pub(super) fn why_unread(&self, topic: &Arc<str>) -> Option<String> {
        if self.is_read() {
            return None;
        }
        let problem = self.problem_of(topic);
        Some(problem.unwrap_or_else(|| format!("{topic} is being read")))
    }

    fn problem_of(&self, topic: &Arc<str>) -> Option<String> {
        let open = self.open.as_ref()?;
        if let Some(missing) = open.missing(topic) {
            return Some(missing);
        }
        let status = open.handle.status();
        if !status.contact {
            let error = status.last_error.as_deref();
            let error = error.unwrap_or("no broker has answered yet");
            return Some(format!("cannot read {topic}: {error}"));
        }
        if !open.handle.is_loaded() {
            return Some(format!("{topic} is being read"));
        }
        if open.handle.is_lost(topic) {
            return Some(format!(
                "{topic} was deleted, recreated or truncated, and is read once more: what it said before holds until then"
            ));
        }
        if !self.checks.is_settled(topic) {
            return Some(format!(
                "the brokers are asked whether {topic} is compacted"
            ));
        }
        self.checks.problem(topic)
    }

    /// Writes a record to one of the topics, which is set. `None` as its value is a tombstone. The record is in the queue when this
    /// returns.
    pub(in crate::app) fn write(
        &self,
        topic: &str,
        key: &str,
        value: Option<&str>,
    ) -> ControlWrite {
        let Some(open) = &self.open else {
            return Box::pin(std::future::ready(Err(WriteError::Stopped)));
        };
        match value {
            None => Box::pin(open.producer.delete(topic, key)),
            Some(value) => Box::pin(open.producer.write(OutgoingRecord {
                topic,
                key: Some(key),
                value: value.as_bytes(),
                headers: &[],
            })),
        }
    }
}

/// Says whether the topic of grants is read.
struct GrantsTopic {
    topic: Arc<str>,
    handle: CompactedHandle,
}

impl GrantSource for GrantsTopic {
    fn read_to_end(&self, at_most: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.handle.read_to_end(&self.topic, at_most))
    }
}
