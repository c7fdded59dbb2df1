//! Every metric, declared once. The recorder belongs to the `Metrics` value, not to the process: two servers in one test do not
//! share counters. Closed labels exist at zero from the start, so that a scrape (and an alert rule) sees them before the first event.
//!
//! What is set per record or per delivery is fetched once (`topic`, `event`, `partition_lag`) and kept by the caller.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::labels::{
    AskOutcome, Command, CommandOutcome, Component, Label, Namespace, ReceiptOutcome,
    RecordOutcome, Refused, ResumeOutcome, Transport, Undelivered,
};
use super::throttle::Throttle;
use crate::clock;
use crate::lifecycle::Lifecycle;

/// Upper bounds of `fleetcast_delivery_seconds`, in seconds.
pub const DELIVERY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// How often recorded samples are folded into their buckets: until then each one takes memory.
const UPKEEP: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric as the outside knows it.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn declare(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Declared {
    Declared {
        name,
        kind,
        labels,
        help,
    }
}

use MetricKind::{Counter as C, Gauge as G, Histogram as H};

const CONNECTIONS: Declared = declare(
    "fleetcast_connections",
    G,
    &["transport", "namespace"],
    "Connections that are open now.",
);
const CONNECTS: Declared = declare(
    "fleetcast_connects_total",
    C,
    &["transport"],
    "Connections that were let in.",
);
const DISCONNECTS: Declared = declare(
    "fleetcast_disconnects_total",
    C,
    &["reason"],
    "Connections that ended, by reason.",
);
const REFUSED: Declared = declare(
    "fleetcast_refused_total",
    C,
    &["reason"],
    "Connections and handshakes that were refused, by reason.",
);
const COMMANDS: Declared = declare(
    "fleetcast_commands_total",
    C,
    &["command", "outcome"],
    "Commands of clients, by what they were answered.",
);
const ACKNOWLEDGEMENTS: Declared = declare(
    "fleetcast_acknowledgements_total",
    C,
    &["outcome"],
    "Events that clients were asked to acknowledge, by what came of it.",
);
const ACKNOWLEDGEMENT_SECONDS: Declared = declare(
    "fleetcast_acknowledgement_seconds",
    H,
    &[],
    "From the question to a client's acknowledgement.",
);
const RECEIPTS: Declared = declare(
    "fleetcast_receipts_total",
    C,
    &["outcome"],
    "Receipts for RECEIPTS_TOPIC, by whether the brokers have them.",
);
const RESUMES: Declared = declare(
    "fleetcast_resumes_total",
    C,
    &["outcome"],
    "Requests to go on from a cursor, by outcome.",
);
const RECORDS: Declared = declare(
    "fleetcast_records_total",
    C,
    &["topic", "outcome"],
    "Kafka records read, by what became of them.",
);
const DELIVERIES: Declared = declare(
    "fleetcast_deliveries_total",
    C,
    &["event"],
    "Events written to connections.",
);
const DELIVERY_SECONDS: Declared = declare(
    "fleetcast_delivery_seconds",
    H,
    &["event"],
    "From the append in Kafka to the write to a connection.",
);
const UNDELIVERED: Declared = declare(
    "fleetcast_undelivered_total",
    C,
    &["reason"],
    "Events meant for a connection that did not reach it, by reason.",
);
const LAGGING: Declared = declare(
    "fleetcast_lagging_connections",
    G,
    &[],
    "Connections that are being fed from the window.",
);
const KAFKA_LAG: Declared = declare(
    "fleetcast_kafka_lag",
    G,
    &["topic", "partition"],
    "Records between what was read and the end of the partition.",
);
const KAFKA_UP: Declared = declare(
    "fleetcast_kafka_up",
    G,
    &[],
    "1 while the brokers answer, else 0.",
);
const WINDOW_SECONDS: Declared = declare(
    "fleetcast_window_seconds",
    G,
    &[],
    "Age of the oldest publication in the window.",
);
const WINDOW_BYTES: Declared = declare(
    "fleetcast_window_bytes",
    G,
    &[],
    "Memory that the window's publications take.",
);
const ERRORS: Declared = declare(
    "fleetcast_errors_total",
    C,
    &["component"],
    "Faults, by the part that had them.",
);
const PANICS: Declared = declare(
    "fleetcast_panics_total",
    C,
    &[],
    "Panics: each one is a bug.",
);
const REDIS_UP: Declared = declare(
    "fleetcast_redis_up",
    G,
    &[],
    "1 while Redis answers, else 0; absent where no Redis is used.",
);
const REDIS_COMMANDS: Declared = declare(
    "fleetcast_redis_commands_total",
    C,
    &["outcome"],
    "Commands sent to Redis, by outcome; absent where no Redis is used.",
);

/// All of them, for docs/operations.md and the test that holds it.
pub const DECLARED: &[Declared] = &[
    CONNECTIONS,
    CONNECTS,
    DISCONNECTS,
    REFUSED,
    COMMANDS,
    ACKNOWLEDGEMENTS,
    ACKNOWLEDGEMENT_SECONDS,
    RECEIPTS,
    RESUMES,
    RECORDS,
    DELIVERIES,
    DELIVERY_SECONDS,
    UNDELIVERED,
    LAGGING,
    KAFKA_LAG,
    KAFKA_UP,
    WINDOW_SECONDS,
    WINDOW_BYTES,
    ERRORS,
    PANICS,
    REDIS_UP,
    REDIS_COMMANDS,
];

/// Handles on every metric. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    throttle: Throttle,
    cells: Cells,
}

/// The metrics whose labels are closed, or that have none.
pub struct Cells {
    pub connections: Gauges2<Transport, Namespace>,
    pub connects: Counters<Transport>,
    pub disconnects: Counters<CloseReason>,
    pub refused: Counters<Refused>,
    pub commands: Counters2<Command, CommandOutcome>,
    pub acknowledgements: Counters<AskOutcome>,
    /// In seconds.
    pub acknowledgement_seconds: Histogram,
    pub receipts: Counters<ReceiptOutcome>,
    pub resumes: Counters<ResumeOutcome>,
    pub undelivered: Counters<Undelivered>,
    pub lagging: Gauge,
    pub kafka_up: Gauge,
    pub window_seconds: Gauge,
    pub window_bytes: Gauge,
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
    /// In seconds.
    pub delivery_seconds: Histogram,
}

impl Metrics {
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full(DELIVERY_SECONDS.name.to_owned()),
                DELIVERY_BUCKETS,
            )
            .and_then(|builder| {
                builder.set_buckets_for_metric(
                    Matcher::Full(ACKNOWLEDGEMENT_SECONDS.name.to_owned()),
                    DELIVERY_BUCKETS,
                )
            })
            .expect("the list of buckets is not empty")
            .build_recorder();
        for declared in DECLARED {
            let (name, help) = (declared.name.into(), declared.help.into());
            match declared.kind {
                C => recorder.describe_counter(name, None, help),
                G => recorder.describe_gauge(name, None, help),
                H => recorder.describe_histogram(name, None, help),
            }
        }
        let cells = Cells {
            connections: Gauges2::new(&recorder, CONNECTIONS),
            connects: Counters::new(&recorder, CONNECTS, None),
            disconnects: Counters::new(&recorder, DISCONNECTS, None),
            refused: Counters::new(&recorder, REFUSED, None),
            commands: Counters2::new(&recorder, COMMANDS),
            acknowledgements: Counters::new(&recorder, ACKNOWLEDGEMENTS, None),
            acknowledgement_seconds: recorder.register_histogram(
                &key(ACKNOWLEDGEMENT_SECONDS, &[]),
                &metadata(ACKNOWLEDGEMENT_SECONDS),
            ),
            receipts: Counters::new(&recorder, RECEIPTS, None),
            resumes: Counters::new(&recorder, RESUMES, None),
            undelivered: Counters::new(&recorder, UNDELIVERED, None),
            lagging: gauge(&recorder, LAGGING, &[]),
            kafka_up: gauge(&recorder, KAFKA_UP, &[]),
            window_seconds: gauge(&recorder, WINDOW_SECONDS, &[]),
            window_bytes: gauge(&recorder, WINDOW_BYTES, &[]),
            errors: Counters::new(&recorder, ERRORS, None),
            panics: counter(&recorder, PANICS, &[]),
        };
        Self {
            shared: Arc::new(Shared {
                handle: recorder.handle(),
                recorder,
                throttle: Throttle::default(),
                cells,
            }),
        }
    }

    /// All values in Prometheus' text format.
    pub fn render(&self) -> String {
        self.shared.handle.render()
    }

    /// Counters of a topic that is read, all at zero the first time. Fetch once and keep.
    pub fn topic(&self, topic: &str) -> TopicMetrics {
        Counters::new(&self.shared.recorder, RECORDS, Some(("topic", topic)))
    }

    /// Counters of a routed event. Names of events come from the profile, never from records. Fetch once and keep.
    pub fn event(&self, event: &str) -> EventMetrics {
        let labels = [("event", event)];
        EventMetrics {
            deliveries: counter(&self.shared.recorder, DELIVERIES, &labels),
            delivery_seconds: self
                .shared
                .recorder
                .register_histogram(&key(DELIVERY_SECONDS, &labels), &metadata(DELIVERY_SECONDS)),
        }
    }

    /// The lag of a partition, in records. Fetch once and keep.
    pub fn partition_lag(&self, topic: &str, partition: i32) -> Gauge {
        let partition = partition.to_string();
        gauge(
            &self.shared.recorder,
            KAFKA_LAG,
            &[("topic", topic), ("partition", &partition)],
        )
    }

    /// Folds samples into buckets and tells the end of storms of throttled log lines, until the process stops. Without it every
    /// sample of a histogram stays in memory until somebody scrapes.
    pub fn keep_up(&self, lifecycle: &Lifecycle) {
        let (metrics, stopping) = (self.clone(), lifecycle.stopping());
        lifecycle.spawn("metrics", async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
                metrics.shared.handle.run_upkeep();
                super::events::settle(&metrics);
            }
        });
    }

    /// Which throttled lines were written when.
    pub(super) fn throttle(&self) -> &Throttle {
        &self.shared.throttle
    }

    /// May a throttled line be written now, and how many were left out before it.
    pub(super) fn may_log(&self, about: &'static str, reason: &'static str) -> Option<u64> {
        self.shared
            .throttle
            .allow((about, reason), clock::monotonic_ms())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// One counter for each value of a closed label.
#[derive(Clone)]
pub struct Counters<L> {
    counters: Arc<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> Counters<L> {
    fn new(recorder: &PrometheusRecorder, declared: Declared, first: Option<(&str, &str)>) -> Self {
        let counters = L::ALL
            .iter()
            .map(|value| {
                let labels: Vec<_> = first
                    .into_iter()
                    .chain([(L::NAME, value.as_str())])
                    .collect();
                counter(recorder, declared, &labels)
            })
            .collect();
        Self {
            counters,
            label: PhantomData,
        }
    }

    pub fn increment(&self, value: L) {
        self.counters[value.index()].increment(1);
    }

    pub fn add(&self, value: L, count: u64) {
        self.counters[value.index()].increment(count);
    }

    /// For what is counted elsewhere and shown here: the total so far.
    pub fn absolute(&self, value: L, total: u64) {
        self.counters[value.index()].absolute(total);
    }
}

/// One counter for each pair of values of two closed labels.
pub struct Counters2<A, B> {
    rows: Vec<Counters<B>>,
    label: PhantomData<A>,
}

impl<A: Label, B: Label> Counters2<A, B> {
    fn new(recorder: &PrometheusRecorder, declared: Declared) -> Self {
        let rows = A::ALL
            .iter()
            .map(|first| Counters::new(recorder, declared, Some((A::NAME, first.as_str()))))
            .collect();
        Self {
            rows,
            label: PhantomData,
        }
    }

    pub fn increment(&self, first: A, second: B) {
        self.rows[first.index()].increment(second);
    }
}

/// One gauge for each pair of values of two closed labels.
pub struct Gauges2<A, B> {
    gauges: Vec<Gauge>,
    labels: PhantomData<(A, B)>,
}

impl<A: Label, B: Label> Gauges2<A, B> {
    fn new(recorder: &PrometheusRecorder, declared: Declared) -> Self {
        let pairs = A::ALL
            .iter()
            .flat_map(|first| B::ALL.iter().map(move |second| (first, second)));
        let gauges = pairs
            .map(|(first, second)| {
                gauge(
                    recorder,
                    declared,
                    &[(A::NAME, first.as_str()), (B::NAME, second.as_str())],
                )
            })
            .collect();
        Self {
            gauges,
            labels: PhantomData,
        }
    }

    pub fn get(&self, first: A, second: B) -> &Gauge {
        &self.gauges[first.index() * B::ALL.len() + second.index()]
    }
}

fn counter(recorder: &PrometheusRecorder, declared: Declared, labels: &[(&str, &str)]) -> Counter {
    recorder.register_counter(&key(declared, labels), &metadata(declared))
}

fn gauge(recorder: &PrometheusRecorder, declared: Declared, labels: &[(&str, &str)]) -> Gauge {
    recorder.register_gauge(&key(declared, labels), &metadata(declared))
}

fn key(declared: Declared, labels: &[(&str, &str)]) -> Key {
    let labels: Vec<metrics::Label> = labels
        .iter()
        .map(|(name, value)| metrics::Label::new((*name).to_owned(), (*value).to_owned()))
        .collect();
    Key::from_parts(declared.name, labels)
}

fn metadata(declared: Declared) -> Metadata<'static> {
    Metadata::new(declared.name, Level::INFO, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_labels_are_there_at_zero_before_anything_happens() {
        let text = Metrics::new().render();
        for line in [
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
        assert!(!text.contains("redis"), "no Redis is used");
    }

    #[test]
    fn every_declared_metric_can_be_rendered() {
        let metrics = Metrics::new();
        metrics.topic("incident");
        metrics.event("incident_created");
        metrics.partition_lag("incident", 3).set(0.0);
        let text = metrics.render();
        for declared in DECLARED {
            let shown = text.contains(&format!("# TYPE {} ", declared.name));
            assert_eq!(shown, !declared.name.contains("redis"), "{}", declared.name);
        }
        assert!(text.contains(r#"fleetcast_records_total{topic="incident",outcome="not_json"} 0"#));
        assert!(text.contains(r#"fleetcast_kafka_lag{topic="incident",partition="3"} 0"#));
    }

    #[test]
    fn deliveries_fall_into_buckets_from_a_millisecond_to_half_a_minute() {
        let metrics = Metrics::new();
        let event = metrics.event("alert_created");
        event.delivery_seconds.record(0.003);
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
        one.refused.increment(Refused::Origin);
        let counted = r#"fleetcast_refused_total{reason="origin"} 1"#;
        assert!(one.render().contains(counted));
        assert!(!other.render().contains(counted));
    }
}
