//! Every metric, declared once. The recorder belongs to the `Metrics` value, not to the process: two servers in one test do not
//! share counters. Closed labels exist at zero from the start, so that a scrape (and an alert rule) sees them before the first event.
//!
//! What is set per record is fetched once (`topic`, `event`) and kept by the caller. Two histograms are fed too often for the recorder: see
//! `delivery_times.rs` and `loop_pauses.rs`. What goes away again is none of these: see `lag.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use fleetcast_core::hub::OTHER_EVENTS;
use metrics::{Counter, Gauge, Histogram, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::bus::RedisMetrics;
use super::catalogue::{
    ACKNOWLEDGEMENT_SECONDS, ACKNOWLEDGEMENTS, BUS_MESSAGES, COMMANDS, CONNECTION_EVENTS,
    CONNECTIONS, CONNECTS, CONTROL_RECORDS, DECLARED, DELIVERIES, DISCONNECTS, ERRORS, GRANTS,
    INSTANCES, KAFKA_UP, LAGGING, LANE_WRITES, LATEST_BYTES, LATEST_EVICTED, LATEST_RECORDS,
    LIMITS_ACROSS_INSTANCES, MetricKind, PANICS, POLLING_KEPT_BYTES, POLLS_HELD, POLLS_REPEATED,
    RECEIPTS, RECORDS, REDIS_COMMANDS, REDIS_UP, REFUSED, RELOADS, RESIDENT_BYTES, RESUMES,
    REVOCATIONS, UNDELIVERED, WINDOW_BYTES, WINDOW_LIMIT_BYTES, WINDOW_SECONDS, WINDOW_SHORTENED,
};
use super::delivery_times::DeliveryTimes;
use super::families::{Counters, Counters2, counter, gauge, key, metadata};
use super::labels::{
    AskOutcome, Command, CommandOutcome, Component, ConnectionEventOutcome, ConnectionLabels,
    ControlKind, ControlOutcome, ReceiptOutcome, RecordOutcome, RejectReason, ReloadOutcome,
    RepeatOutcome, ResumeOutcome, Undelivered,
};
use super::loop_pauses::LoopPauses;
use super::throttle::{LogKey, Throttle};
use crate::clock;
use crate::lifecycle::Lifecycle;

/// Upper bounds of the recorder's histograms, in seconds.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// How often recorded samples are folded into their buckets: until then each one takes memory.
const UPKEEP: Duration = Duration::from_secs(1);

/// Handles on every metric. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<MetricsState>,
}

struct MetricsState {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    throttle: Throttle<LogKey>,
    cells: Cells,
    /// Connections that were accepted, of all transports.
    connects: AtomicU64,
}

/// The metrics whose labels are closed, or that have none.
pub struct Cells {
    pub disconnects: Counters<CloseReason>,
    pub refused: Counters<RejectReason>,
    pub commands: Counters2<Command, CommandOutcome>,
    pub acknowledgements: Counters<AskOutcome>,
    /// In seconds.
    pub acknowledgement_seconds: Histogram,
    pub receipts: Counters<ReceiptOutcome>,
    pub connection_events: Counters<ConnectionEventOutcome>,
    pub control_records: Counters2<ControlKind, ControlOutcome>,
    pub revocations: Gauge,
    pub grants: Gauge,
    pub reloads: Counters<ReloadOutcome>,
    pub resumes: Counters<ResumeOutcome>,
    /// `fleetcast_delivery_seconds`.
    pub delivery_times: Arc<DeliveryTimes>,
    /// Calls to the kernel that wrote frames of the lane.
    pub lane_writes: Counter,
    /// `fleetcast_loop_pause_seconds`.
    pub loop_pauses: Arc<LoopPauses>,
    pub undelivered: Counters<Undelivered>,
    pub lagging: Gauge,
    pub kafka_up: Gauge,
    pub window_seconds: Gauge,
    pub window_bytes: Gauge,
    pub window_limit_bytes: Gauge,
    pub window_shortened: Counter,
    pub resident_bytes: Gauge,
    pub latest_bytes: Gauge,
    pub latest_records: Gauge,
    pub latest_evicted: Counter,
    pub polls_repeated: Counters<RepeatOutcome>,
    pub polls_held: Gauge,
    pub polling_kept_bytes: Gauge,
    pub errors: Counters<Component>,
    pub panics: Counter,
}

/// `metrics.refused` and the like are the cells.
impl std::ops::Deref for Metrics {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.shared.cells
    }
}

/// The counters of one topic.
pub type TopicMetrics = Counters<RecordOutcome>;

/// The counters of one event.
#[derive(Clone)]
pub struct EventMetrics {
    pub deliveries: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full(ACKNOWLEDGEMENT_SECONDS.name.to_owned()),
                BUCKETS,
            )
            .expect("the list of buckets is not empty")
            .build_recorder();
        for declared in DECLARED {
            let (name, help) = (declared.name.into(), declared.help.into());
            match declared.kind {
                MetricKind::Counter => recorder.describe_counter(name, None, help),
                MetricKind::Gauge => recorder.describe_gauge(name, None, help),
                MetricKind::Histogram => recorder.describe_histogram(name, None, help),
            }
        }
        let cells = Cells {
            disconnects: Counters::new(&recorder, DISCONNECTS, None),
            refused: Counters::new(&recorder, REFUSED, None),
            commands: Counters2::new(&recorder, COMMANDS),
            acknowledgements: Counters::new(&recorder, ACKNOWLEDGEMENTS, None),
            acknowledgement_seconds: recorder.register_histogram(
                &key(ACKNOWLEDGEMENT_SECONDS, &[]),
                &metadata(ACKNOWLEDGEMENT_SECONDS),
            ),
            receipts: Counters::new(&recorder, RECEIPTS, None),
            connection_events: Counters::new(&recorder, CONNECTION_EVENTS, None),
            control_records: Counters2::new(&recorder, CONTROL_RECORDS),
            revocations: gauge(&recorder, REVOCATIONS, &[]),
            grants: gauge(&recorder, GRANTS, &[]),
            reloads: Counters::new(&recorder, RELOADS, None),
            resumes: Counters::new(&recorder, RESUMES, None),
            delivery_times: Arc::new(DeliveryTimes::new()),
            lane_writes: counter(&recorder, LANE_WRITES, &[]),
            loop_pauses: Arc::new(LoopPauses::new()),
            undelivered: Counters::new(&recorder, UNDELIVERED, None),
            lagging: gauge(&recorder, LAGGING, &[]),
            kafka_up: gauge(&recorder, KAFKA_UP, &[]),
            window_seconds: gauge(&recorder, WINDOW_SECONDS, &[]),
            window_bytes: gauge(&recorder, WINDOW_BYTES, &[]),
            window_limit_bytes: gauge(&recorder, WINDOW_LIMIT_BYTES, &[]),
            window_shortened: counter(&recorder, WINDOW_SHORTENED, &[]),
            resident_bytes: gauge(&recorder, RESIDENT_BYTES, &[]),
            latest_bytes: gauge(&recorder, LATEST_BYTES, &[]),
            latest_records: gauge(&recorder, LATEST_RECORDS, &[]),
            latest_evicted: counter(&recorder, LATEST_EVICTED, &[]),
            polls_repeated: Counters::new(&recorder, POLLS_REPEATED, None),
            polls_held: gauge(&recorder, POLLS_HELD, &[]),
            polling_kept_bytes: gauge(&recorder, POLLING_KEPT_BYTES, &[]),
            errors: Counters::new(&recorder, ERRORS, None),
            panics: counter(&recorder, PANICS, &[]),
        };
        Self {
            shared: Arc::new(MetricsState {
                handle: recorder.handle(),
                recorder,
                throttle: Throttle::default(),
                cells,
                connects: AtomicU64::new(0),
            }),
        }
    }

    /// All values in Prometheus' text format, but for the lag of partitions.
    pub fn render(&self) -> String {
        let mut text = self.shared.handle.render();
        self.delivery_times.render(&mut text);
        self.loop_pauses.render(&mut text);
        text
    }

    /// Shows a transport's connections at zero before there are any. `all` is every pair of labels that it uses.
    pub fn declare_connections(&self, all: &[ConnectionLabels]) {
        for labels in all {
            self.open_connections(*labels).increment(0.0);
            self.connects(*labels).increment(0);
        }
    }

    /// Connections of a transport that are open now.
    pub(super) fn open_connections(&self, labels: ConnectionLabels) -> Gauge {
        let labels = [
            ("transport", labels.transport),
            ("namespace", labels.namespace),
        ];
        gauge(&self.shared.recorder, CONNECTIONS, &labels)
    }

    pub(super) fn count_connect(&self, labels: ConnectionLabels) {
        self.open_connections(labels).increment(1.0);
        self.connects(labels).increment(1);
        self.shared.connects.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were accepted, of all transports.
    pub fn total_connects(&self) -> u64 {
        self.shared.connects.load(Ordering::Relaxed)
    }

    fn connects(&self, labels: ConnectionLabels) -> Counter {
        let labels = [("transport", labels.transport)];
        counter(&self.shared.recorder, CONNECTS, &labels)
    }

    /// Counters of a topic that is read, all at zero the first time. Fetch once and keep.
    pub fn topic(&self, topic: &str) -> TopicMetrics {
        Counters::new(&self.shared.recorder, RECORDS, Some(("topic", topic)))
    }

    /// Counter of a routed event, which gets its delivery times, too. Names of events come from the profile, never from records.
    /// Fetch once and keep.
    pub fn event(&self, event: &str) -> EventMetrics {
        self.delivery_times.declare(event);
        EventMetrics {
            deliveries: counter(&self.shared.recorder, DELIVERIES, &[("event", event)]),
        }
    }

    /// The metrics of Redis: with the first call they are there, and every call gives the same ones.
    pub fn bus(&self) -> RedisMetrics {
        let recorder = &self.shared.recorder;
        RedisMetrics {
            up: gauge(recorder, REDIS_UP, &[]),
            commands: Counters::new(recorder, REDIS_COMMANDS, None),
            messages: Counters::new(recorder, BUS_MESSAGES, None),
            limits_across_instances: gauge(recorder, LIMITS_ACROSS_INSTANCES, &[]),
            instances: gauge(recorder, INSTANCES, &[]),
        }
    }

    /// Counter of all events that are not the profile's, together. Their delivery times have a series of their own once there are some.
    pub fn other_events(&self) -> EventMetrics {
        EventMetrics {
            deliveries: counter(
                &self.shared.recorder,
                DELIVERIES,
                &[("event", OTHER_EVENTS)],
            ),
        }
    }

    /// Folds samples into buckets and reports the end of storms of throttled log lines, until the process stops. Without it every
    /// sample of a histogram stays in memory until the next scrape.
    pub fn keep_up(&self, lifecycle: &Lifecycle) {
        let (metrics, stopping) = (self.clone(), lifecycle.stopping());
        lifecycle.spawn("metrics", async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
                metrics.shared.handle.run_upkeep();
                super::events::report_suppressed(&metrics);
            }
        });
    }

    /// Which throttled lines were written when.
    pub(super) fn throttle(&self) -> &Throttle<LogKey> {
        &self.shared.throttle
    }

    /// May a throttled line be written now, and how many were suppressed before it.
    pub(super) fn may_log(&self, about: &'static str, reason: &'static str) -> Option<u64> {
        self.shared
            .throttle
            .allow(&(about, reason), clock::monotonic_ms())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lag::render_lag;
    use super::*;

    const LABELS: ConnectionLabels = ConnectionLabels {
        transport: "polling",
        namespace: "/ws",
    };

    #[test]
    fn closed_labels_are_there_at_zero_before_anything_happens() {
        let metrics = Metrics::new();
        metrics.declare_connections(&[LABELS]);
        let text = metrics.render();
        for line in [
            r#"fleetcast_connects_total{transport="polling"} 0"#,
            r#"fleetcast_connections{transport="polling",namespace="/ws"} 0"#,
            r#"fleetcast_refused_total{reason="token_expired"} 0"#,
            r#"fleetcast_commands_total{command="subscribe",outcome="forbidden"} 0"#,
            r#"fleetcast_disconnects_total{reason="write_stall"} 0"#,
            "fleetcast_panics_total 0",
            "fleetcast_kafka_up 0",
            "# HELP fleetcast_lagging_connections Connections that are being fed from the window.",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn every_declared_metric_can_be_rendered() {
        let metrics = Metrics::new();
        metrics.declare_connections(&[LABELS]);
        metrics.topic("incident");
        metrics.event("incident_created");
        let without = metrics.render();
        assert!(
            !without.contains("fleetcast_redis") && !without.contains("fleetcast_bus"),
            "none is used"
        );
        metrics.bus();
        let text = metrics.render() + &render_lag([("incident", 3, 0.0)]);
        for declared in DECLARED {
            let shown = text.contains(&format!("# TYPE {} ", declared.name));
            assert!(shown, "{}", declared.name);
        }
        assert!(text.contains(r#"fleetcast_records_total{topic="incident",outcome="not_json"} 0"#));
        assert!(text.contains(r#"fleetcast_kafka_lag{topic="incident",partition="3"} 0"#));
    }

    #[test]
    fn deliveries_fall_into_buckets_from_a_millisecond_to_half_a_minute() {
        let metrics = Metrics::new();
        let event = metrics.event("alert_created");
        let times = &metrics.delivery_times;
        times.observe(times.index("alert_created"), 3);
        event.deliveries.increment(1);
        let text = metrics.render();
        for line in [
            r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="0.0025"} 0"#,
            r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="0.005"} 1"#,
            r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="30"} 1"#,
            r#"fleetcast_deliveries_total{event="alert_created"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn two_servers_in_one_process_count_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.refused.increment(RejectReason::Origin);
        let counted = r#"fleetcast_refused_total{reason="origin"} 1"#;
        assert!(one.render().contains(counted));
        assert!(!other.render().contains(counted));
    }
}
