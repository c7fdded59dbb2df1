//! Topics of our own: receipts, connection events, revocations and grants.

use std::fmt::Display;

use tracing::{debug, error, info, warn};

use crate::clock;
use crate::telemetry::labels::{
    Component, ConnectionEventOutcome, ControlKind, ControlOutcome, Label, ReceiptOutcome,
};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::throttle::Throttle;

/// A receipt is with the brokers.
pub fn receipt_kept(metrics: &Metrics) {
    metrics.receipts.increment(ReceiptOutcome::Kept);
}

/// A receipt was not written. Throttled.
pub fn receipt_lost(metrics: &Metrics, why: &(impl Display + ?Sized)) {
    metrics.receipts.increment(ReceiptOutcome::Lost);
    if let Some(suppressed) = metrics.may_log("receipt", ReceiptOutcome::Lost.as_str()) {
        warn!(why = %why, suppressed, "a receipt was not written");
    }
}

/// A report of a connect or disconnect is with the brokers.
pub fn connection_event_kept(metrics: &Metrics) {
    metrics
        .connection_events
        .increment(ConnectionEventOutcome::Kept);
}

/// It was not written. Throttled.
pub fn connection_event_lost(metrics: &Metrics, why: &(impl Display + ?Sized)) {
    let lost = ConnectionEventOutcome::Lost;
    metrics.connection_events.increment(lost);
    if let Some(suppressed) = metrics.may_log("connection_event", lost.as_str()) {
        warn!(why = %why, suppressed, "a connection event was not written");
    }
}

/// The brokers had not confirmed the last records of one of our topics when the process stopped.
pub fn records_on_their_way(topic: &str) {
    warn!(topic, "records were still on their way at the end");
}

/// A record of revocations or grants was read. Those that are not applied are throttled by what is wrong with them.
pub fn control_record(
    metrics: &Metrics,
    kind: ControlKind,
    outcome: ControlOutcome,
    at: (&str, i32, i64),
) {
    metrics.control_records.increment(kind, outcome);
    let (topic, partition, offset) = at;
    if matches!(outcome, ControlOutcome::Applied | ControlOutcome::Deleted) {
        debug!(
            kind = kind.as_str(),
            outcome = outcome.as_str(),
            topic,
            partition,
            offset,
            "control record"
        );
    } else if let Some(suppressed) = metrics.may_log("control_record", outcome.as_str()) {
        error!(
            reason = outcome.as_str(),
            topic,
            partition,
            offset,
            suppressed,
            "a revocation or grant cannot be read, or is outdated: not applied"
        );
    }
}

/// A partition of revocations or grants was deleted, recreated or truncated, or the brokers have forgotten it for a while.
pub fn control_log_lost(metrics: &Metrics, kind: ControlKind, topic: &str, partition: i32) {
    metrics.errors.increment(Component::Kafka);
    let kind = kind.as_str();
    error!(
        kind,
        topic,
        partition,
        "a compacted topic was deleted, recreated or truncated: what it said holds until it is read once more"
    );
}

/// Grants were read once more: how many users have lost rooms, and how many rooms are new.
pub fn grants_repeated(topic: &str, partition: i32, withdrawn: usize, granted: usize) {
    info!(
        topic,
        partition, withdrawn, granted, "grants read once more: what was not there is withdrawn"
    );
}

/// Revocations were read once more: how many were not there.
pub fn revocations_repeated(topic: &str, partition: i32, owed: usize) {
    info!(
        topic,
        partition, owed, "revocations read once more: what was not there is written again"
    );
}

/// Tokens were revoked by a request.
pub fn tokens_revoked(connections: usize, written: bool) {
    info!(
        connections,
        written, "tokens revoked: their connections are closed"
    );
}

/// Grants were changed by a request: how many rooms.
pub fn rooms_granted(granted: usize, withdrawn: usize) {
    info!(granted, withdrawn, "rooms granted or withdrawn by the API");
}

/// The brokers have not confirmed what a request was to change: some of it may hold.
pub fn grants_not_written(granted: usize, withdrawn: usize, why: &str) {
    warn!(
        granted,
        withdrawn, why, "rooms were not granted or withdrawn, or not all: not written"
    );
}

/// A service topic was made.
pub fn topic_made(topic: &str, notes: &str) {
    info!(topic, notes, "service topic created");
}

/// The start waits for a compacted topic that does not exist. Throttled by what is said, by the one who waits.
pub fn topic_missing(throttle: &Throttle<String>, why: &str) {
    if throttle.allow(why, clock::monotonic_ms()).is_some() {
        warn!(
            why,
            "a compacted topic does not exist: no client is admitted until it does"
        );
    }
}

/// A topic that was compacted at the start is not any more: made again by others, or changed.
pub fn not_compacted(metrics: &Metrics, topic: &str, policy: &str) {
    metrics.errors.increment(Component::Kafka);
    error!(
        topic,
        policy, "a compacted topic has another cleanup.policy now: records may be deleted"
    );
}

/// The brokers do not say whether a topic is compacted. Told once.
pub fn policy_unknown(topic: &str, why: &str) {
    warn!(
        topic,
        why, "cannot check that the topic is compacted: going on"
    );
}
