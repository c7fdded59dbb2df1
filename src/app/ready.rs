//! `/ready`: whether new connections are admitted, and why not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::ControlTopics;
use super::fleet::Fleet;
use super::log_reader::LogReader;
use super::memory::MemoryWatch;
use crate::api::{ComponentHealth, ReadyReport, ReadyStatus};
use crate::auth::Verifier;
use crate::clock;
use crate::session::SharedHub;
use crate::telemetry::events;
use crate::telemetry::labels::RejectReason;

const LOOK: Duration = Duration::from_millis(20);

/// The brokers have confirmed what was read at most so long ago: cursors issued now are good.
const CONFIRMED_WITHIN_MS: u64 = 10_000;

pub(super) struct Readiness {
    log: Arc<LogReader>,
    hub: Arc<SharedHub>,
    verifier: Arc<Verifier>,
    memory: Arc<MemoryWatch>,
    control: Arc<ControlTopics>,
    /// Not set where there is no Redis.
    fleet: OnceLock<Arc<Fleet>>,
    /// The keys are known, and the window and the compacted topics have been loaded. Stays true: Kafka away after a good start is no
    /// reason to refuse connections, because the other instances have the same Kafka.
    started: watch::Sender<bool>,
    draining: AtomicBool,
}

impl Readiness {
    pub(super) fn new(
        log: Arc<LogReader>,
        hub: Arc<SharedHub>,
        verifier: Arc<Verifier>,
        memory: Arc<MemoryWatch>,
        control: Arc<ControlTopics>,
    ) -> Arc<Self> {
        let (started, draining) = (watch::Sender::new(false), AtomicBool::new(false));
        Arc::new(Self {
            log,
            hub,
            verifier,
            memory,
            control,
            fleet: OnceLock::new(),
            started,
            draining,
        })
    }

    /// It counts too what Redis is like. The first call counts.
    pub(super) fn wait_for(&self, fleet: Arc<Fleet>) {
        self.fleet.get_or_init(|| fleet);
    }

    /// Whether a new connection may come in.
    pub(super) fn admits(&self) -> Result<(), RejectReason> {
        if self.draining.load(Ordering::Relaxed) {
            Err(RejectReason::Draining)
        } else if *self.started.borrow() {
            Ok(())
        } else {
            Err(RejectReason::Starting)
        }
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until connections are admitted; for ever, if they never are.
    pub(super) async fn started(&self) {
        // The sender lives in `self`, so it is never dropped first.
        drop(self.started.subscribe().wait_for(|started| *started).await);
    }

    /// Waits for the end of the start and logs which topics it waits for, then logs each change.
    pub(super) async fn watch(self: Arc<Self>, stopping: CancellationToken) {
        let start = clock::monotonic_ms();
        let waited = || Duration::from_millis(clock::monotonic_ms().saturating_sub(start));
        let mut logged = ReadyStatus::Starting;
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return events::readiness("draining", "stopping"),
                _ = ticks.tick() => {}
            }
            if !*self.started.borrow() && self.is_loaded() {
                self.hub.with(|hub, _| hub.loaded());
                self.started.send_replace(true);
                events::caught_up(self.log.status().partitions.len(), waited());
                ticks = tokio::time::interval(Duration::from_millis(250));
            }
            if !*self.started.borrow() {
                self.control.tell_missing(waited());
            }
            let report = self.report();
            if report.status != logged {
                logged = report.status;
                events::readiness(
                    logged.as_str(),
                    report.why().unwrap_or("all components are healthy"),
                );
            }
        }
    }

    fn is_loaded(&self) -> bool {
        self.log.status().caught_up
            && self.verifier.keys().known
            && self.control.is_loaded()
            && self.fleet.get().is_none_or(|fleet| fleet.is_loaded())
            && self
                .hub
                .with(|hub, now| now.wall.saturating_sub(hub.read_up_to(now)) < CONFIRMED_WITHIN_MS)
    }

    pub(super) fn report(&self) -> ReadyReport {
        let (kafka, keys, memory) = (self.kafka(), self.keys(), self.memory.health());
        let bus = self.fleet.get().map(|fleet| ("redis", fleet.health()));
        let others: Vec<_> = self.control.health().into_iter().chain(bus).collect();
        let is_healthy = [&kafka, &keys, &memory]
            .into_iter()
            .chain(others.iter().map(|(_, component)| component))
            .all(ComponentHealth::is_healthy);
        let status = match self.admits() {
            Err(RejectReason::Draining) => ReadyStatus::Draining,
            Err(_) => ReadyStatus::Starting,
            Ok(()) if is_healthy => ReadyStatus::Ready,
            Ok(()) => ReadyStatus::Degraded,
        };
        ReadyReport {
            status,
            components: [
                ("kafka", kafka),
                ("keys", keys),
                ("memory", memory),
                ("topic_ids", self.topic_ids()),
                ("window", self.window()),
            ]
            .into_iter()
            .chain(others)
            .collect(),
        }
    }

    fn kafka(&self) -> ComponentHealth {
        let status = self.log.status();
        if !status.contact {
            let diagnosis = status.diagnosis.as_deref();
            let error = diagnosis
                .or(status.last_error.as_deref())
                .unwrap_or("no broker has answered yet");
            return ComponentHealth::unhealthy(format!("no contact: {error}"));
        }
        if !status.leaderless.is_empty() {
            let (topic, number) = &status.leaderless[0];
            let count = status.leaderless.len();
            return ComponentHealth::unhealthy(format!(
                "{count} partitions have no leader, first {topic}/{number}"
            ));
        }
        let routes = self.log.routes();
        let missing = status.missing_of(routes.topic_groups());
        if missing.is_empty() {
            ComponentHealth::healthy(None)
        } else {
            ComponentHealth::healthy(Some(format!("no such topics yet: {}", missing.join(", "))))
        }
    }

    /// What is not protected against while topics are known by their names alone. No reason to refuse connections.
    fn topic_ids(&self) -> ComponentHealth {
        const SHOWN: usize = 3;
        let status = self.log.status();
        let unknown = &status.unidentified;
        if unknown.is_empty() {
            return ComponentHealth::healthy(None);
        }
        let (first, rest) = unknown.split_at(unknown.len().min(SHOWN));
        let more = match rest.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        ComponentHealth::healthy(Some(format!(
            "the brokers do not report those of {}{more}: a topic that is deleted and recreated at once is noticed only if its new log is shorter",
            first.join(", ")
        )))
    }

    fn keys(&self) -> ComponentHealth {
        let keys = self.verifier.keys();
        match keys.problem {
            Some(problem) => ComponentHealth::unhealthy(problem),
            None if keys.known => ComponentHealth::healthy(None),
            None => ComponentHealth::unhealthy("waiting for the key server".to_owned()),
        }
    }

    fn window(&self) -> ComponentHealth {
        let status = self.log.status();
        if *self.started.borrow() {
            ComponentHealth::healthy(None)
        } else {
            ComponentHealth::unhealthy(format!(
                "loading: {} of {} records",
                status.loaded, status.to_load
            ))
        }
    }
}
