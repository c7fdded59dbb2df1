//! What the brokers and their client do, and what is wrong with records.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::clock;
use crate::telemetry::labels::{Component, Label, RecordOutcome};
use crate::telemetry::metrics::{Metrics, TopicMetrics};
use crate::telemetry::throttle::Throttle;

/// The brokers answer again, or for the first time.
pub fn kafka_up(metrics: &Metrics) {
    metrics.kafka_up.set(1.0);
    info!("kafka is reachable");
}

/// The brokers do not answer. Connections stay, nothing new comes.
pub fn kafka_down(metrics: &Metrics, why: &str) {
    metrics.kafka_up.set(0.0);
    metrics.errors.increment(Component::Kafka);
    warn!(why, "kafka is not reachable: going on without new records");
}

/// The brokers reject us, or we them, and a person has to act. Logged when the reason changes.
pub fn kafka_refused(metrics: &Metrics, why: &str) {
    metrics.errors.increment(Component::Kafka);
    error!(
        why,
        "Kafka rejected our credentials or certificate; retrying will not help"
    );
}

/// A partition is not read any more: its topic was deleted or recreated, or its log was truncated.
pub fn partition_ended(topic: &str, partition: i32) {
    info!(
        topic,
        partition, "a partition is not read any more: its log was deleted, recreated or truncated"
    );
}

/// Another topic stands behind a name: all its clients receive a resync, and it is read from its beginning.
pub fn topic_recreated(metrics: &Metrics, topic: &str, partitions: usize) {
    metrics.errors.increment(Component::Kafka);
    warn!(topic, partitions, "a topic was deleted and recreated");
}

/// No route wants the partition's topic any more.
pub fn partition_unwanted(topic: &str, partition: i32) {
    info!(
        topic,
        partition, "a partition is not read any more: no route wants its topic"
    );
}

/// The brokers refuse to let us read a topic that the server can do without.
pub fn topic_refused(metrics: &Metrics, topic: &str) {
    metrics.errors.increment(Component::Kafka);
    warn!(
        topic,
        "the brokers do not let this server read its topic: going on without it"
    );
}

pub fn partition_permitted(topic: &str, partition: i32) {
    info!(
        topic,
        partition, "a partition may be read now: going on where its reading ended"
    );
}

/// The end of a log lies below what was read of it, or did before it grew again: all its clients receive a resync.
pub fn log_replaced(metrics: &Metrics, topic: &str, partition: i32, position: i64, end: i64) {
    metrics.errors.increment(Component::Kafka);
    warn!(
        topic,
        partition, position, end, "the log is not the one that was read: recreated or truncated"
    );
}

/// The consumer is recreated, at the positions that it had reached.
pub fn kafka_restart(why: &str) {
    info!(why, "recreating the Kafka client");
}

/// A client that writes has failed for good; the one in its place has taken over.
pub fn producer_renewed(why: &str) {
    warn!(why, "recreated a Kafka producer after a fatal error");
}

/// Everything that Kafka had at the start has been read.
pub fn caught_up(partitions: usize, took: Duration) {
    info!(
        partitions,
        milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "caught up with kafka"
    );
}

/// Records between two offsets were deleted; organisations that had some in it receive a resync.
pub fn gap(metrics: &Metrics, topic: &str, partition: i32, next: i64, lost: i64) {
    metrics.errors.increment(Component::Kafka);
    warn!(
        topic,
        partition, next, lost, "records were deleted before they were read: a gap"
    );
}

/// A record reaches no client. Throttled by outcome. A publisher that retries does what it should, so that is worth no warning.
pub fn record_skipped(
    metrics: &Metrics,
    counters: &TopicMetrics,
    outcome: RecordOutcome,
    topic: &str,
    partition: i32,
    offset: i64,
) {
    counters.increment(outcome);
    if outcome == RecordOutcome::Duplicate {
        debug!(topic, partition, offset, "a retry: delivered already");
    } else if let Some(suppressed) = metrics.may_log("record", outcome.as_str()) {
        warn!(
            reason = outcome.as_str(),
            topic, partition, offset, suppressed, "record skipped: it reaches no client"
        );
    }
}

/// A line that librdkafka wrote, of level warning or worse, with no secret in it. Throttled by facility.
pub fn librdkafka(throttle: &Throttle<String>, facility: &str, text: impl FnOnce() -> String) {
    if let Some(suppressed) = throttle.allow(facility, clock::monotonic_ms()) {
        warn!(target: "librdkafka", facility, suppressed, "{}", text());
    }
}
