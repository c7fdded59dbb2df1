//! Things worth telling: each function is one log line and the counter that goes with it. What an outsider can cause a thousand
//! times a second is throttled; the counter has the exact number.
//!
//! `error`: a person should act. `warn`: degraded, going on. `info`: state changed. No tokens, no payloads.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use tracing::{debug, error, info, warn};

use super::labels::{
    AskOutcome, Command, CommandOutcome, Component, ConnectionEventOutcome, ConnectionLabels,
    ControlKind, ControlOutcome, Label, ReceiptOutcome, RecordOutcome, RejectReason, ReloadOutcome,
    ResumeOutcome, Undelivered,
};
use super::metrics::{Metrics, TopicMetrics};
use super::throttle::{LogKey, Throttle};
use crate::clock;

/// The process has its settings and begins to build.
pub fn starting(profile: &str, brokers: &str) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        profile, brokers, "starting"
    );
}

/// Both listeners accept connections. Tests and scripts read the addresses from here when the port was 0.
pub fn listening(public: SocketAddr, internal: SocketAddr) {
    info!(%public, %internal, "listening");
}

/// `/ready` changed its answer.
pub fn readiness(status: &'static str, why: &str) {
    info!(status, why, "readiness changed");
}

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
    warn!(
        why,
        "a Kafka producer has failed for good, and was made again"
    );
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

/// A record reaches no client. Throttled by outcome.
pub fn record_skipped(
    metrics: &Metrics,
    counters: &TopicMetrics,
    outcome: RecordOutcome,
    topic: &str,
    partition: i32,
    offset: i64,
) {
    counters.increment(outcome);
    if let Some(suppressed) = metrics.may_log("record", outcome.as_str()) {
        warn!(
            reason = outcome.as_str(),
            topic, partition, offset, suppressed, "record skipped: it reaches no client"
        );
    }
}

/// A connection or a handshake was refused; `why` is for the log only and holds nothing of what was sent. Throttled by reason.
pub fn refused(metrics: &Metrics, reason: RejectReason, why: &str) {
    metrics.refused.increment(reason);
    if let Some(suppressed) = metrics.may_log("refused", reason.as_str()) {
        info!(reason = reason.as_str(), why, suppressed, "refused");
    }
}

/// A connection was accepted.
pub fn connected(metrics: &Metrics, labels: ConnectionLabels, connection_id: &str) {
    metrics.count_connect(labels);
    let ConnectionLabels {
        transport,
        namespace,
    } = labels;
    debug!(connection_id, transport, namespace, "connected");
}

/// A connection continues on another transport: polling was upgraded to a WebSocket.
pub fn upgraded(metrics: &Metrics, before: ConnectionLabels, after: ConnectionLabels) {
    metrics.open_connections(before).decrement(1.0);
    metrics.open_connections(after).increment(1.0);
}

/// A connection that was counted by `connected` ended; `labels` are those that it had last.
pub fn disconnected(
    metrics: &Metrics,
    labels: ConnectionLabels,
    connection_id: &str,
    reason: CloseReason,
) {
    metrics.disconnects.increment(reason);
    metrics.open_connections(labels).decrement(1.0);
    debug!(connection_id, reason = reason.as_str(), "disconnected");
    // Its author needs to find this, and the client received no reason.
    if reason == CloseReason::Protocol
        && let Some(suppressed) = metrics.may_log("disconnected", reason.as_str())
    {
        info!(
            connection_id,
            suppressed, "connection closed: the client broke the protocol"
        );
    }
}

/// A polling session has ended because an answer to one of its polls did not arrive. Throttled.
pub fn answer_lost(metrics: &Metrics, why: &'static str) {
    if let Some(suppressed) = metrics.may_log("answer_lost", why) {
        info!(why, suppressed, "polling session ended: an answer was lost");
    }
}

/// A command was answered.
pub fn command(metrics: &Metrics, command: Command, outcome: CommandOutcome) {
    metrics.commands.increment(command, outcome);
    debug!(
        command = command.as_str(),
        outcome = outcome.as_str(),
        "command"
    );
}

/// A client sent a newer token, and the connection keeps the one that it has. Throttled by reason; `why` holds nothing of the token.
pub fn refresh_refused(metrics: &Metrics, reason: &'static str, why: &str) {
    if let Some(suppressed) = metrics.may_log("auth:refresh", reason) {
        info!(reason, why, suppressed, "a newer token was refused");
    }
}

/// A client was asked to acknowledge an event, or what came of that.
pub fn asked(metrics: &Metrics, event: &str, outcome: AskOutcome, after: Option<Duration>) {
    metrics.acknowledgements.increment(outcome);
    if let Some(after) = after.filter(|_| outcome == AskOutcome::Acknowledged) {
        metrics.acknowledgement_seconds.record(after.as_secs_f64());
    }
    debug!(event, outcome = outcome.as_str(), "acknowledgement");
}

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
            "a revocation or grant cannot be read: not applied"
        );
    }
}

/// The compacted topic of revocations or grants was deleted, recreated or truncated.
pub fn control_topic_deleted(metrics: &Metrics, kind: ControlKind, topic: &str) {
    metrics.errors.increment(Component::Kafka);
    let kind = kind.as_str();
    error!(
        kind,
        topic, "a compacted topic was deleted, recreated or truncated"
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
pub fn rooms_granted(granted: usize, withdrawn: usize, written: bool) {
    info!(
        granted,
        withdrawn, written, "rooms granted or withdrawn by the API"
    );
}

/// A service topic was made.
pub fn topic_made(topic: &str, notes: &str) {
    info!(topic, notes, "service topic created");
}

/// A topic that was compacted at the start is not any more: made again by others, or changed.
pub fn not_compacted(metrics: &Metrics, topic: &str, policy: &str) {
    metrics.errors.increment(Component::Kafka);
    error!(
        topic,
        policy, "the topic is not compacted any more, and forgets what it must keep"
    );
}

/// The brokers do not say whether a topic is compacted. Told once.
pub fn policy_unknown(topic: &str, why: &str) {
    warn!(
        topic,
        why, "cannot check that the topic is compacted: going on"
    );
}

/// A client asked to go on from a cursor.
pub fn resume(metrics: &Metrics, connection_id: &str, outcome: ResumeOutcome) {
    metrics.resumes.increment(outcome);
    debug!(connection_id, outcome = outcome.as_str(), "resume");
}

/// `count` events did not reach the connection that they were meant for.
pub fn undelivered(metrics: &Metrics, reason: Undelivered, count: u64) {
    metrics.undelivered.add(reason, count);
    if let Some(suppressed) = metrics.may_log("undelivered", reason.as_str()) {
        debug!(
            reason = reason.as_str(),
            count, suppressed, "events not delivered"
        );
    }
}

/// A part had a fault and goes on. Throttled by part; `context` is a sentence of ours.
pub fn fault(
    metrics: &Metrics,
    component: Component,
    context: &'static str,
    fault: &(impl Display + ?Sized),
) {
    metrics.errors.increment(component);
    if let Some(suppressed) = metrics.may_log(component.as_str(), context) {
        error!(component = component.as_str(), fault = %fault, suppressed, "{context}");
    }
}

/// A key file has changed, and its keys are in force.
pub fn keys_read(setting: &'static str, file: &Path, keys: usize) {
    info!(setting, file = %file.display(), keys, "keys read again");
}

/// A key file cannot be used as it is now; the keys from before hold. Told when the reason changes.
pub fn keys_kept(setting: &'static str, file: &Path, why: &str) {
    warn!(
        setting,
        file = %file.display(),
        why, "cannot use the key file: keeping the keys that are known"
    );
}

/// The key server answers again, or for the first time.
pub fn key_server_up(server: &str, keys: usize) {
    info!(server, keys, "the key server answers");
}

/// The key server gives no keys. Told once; each try is counted as an error of `keys`.
pub fn key_server_down(server: &str, why: &str, has_keys: bool) {
    if has_keys {
        warn!(
            server,
            why, "the key server gives no keys: keeping those that are known"
        );
    } else {
        warn!(
            server,
            why, "the key server gives no keys: tokens of its issuer cannot be verified yet"
        );
    }
}

/// SIGHUP: what can be changed while the server runs is as it is written now. Lists are names, comma-separated.
pub fn reloaded(metrics: &Metrics, reload: &Reloaded<'_>) {
    metrics.reloads.increment(ReloadOutcome::Applied);
    let Reloaded {
        profile,
        revoked_connections,
        revoked_rooms,
        needs_restart,
    } = reload;
    info!(
        profile,
        revoked_connections,
        revoked_rooms,
        needs_restart,
        "reloaded: routes, policy, origins and keys are as they are written now"
    );
    if !needs_restart.is_empty() {
        warn!(settings = needs_restart, "changed, but needs a restart");
    }
}

/// What a reload came to.
pub struct Reloaded<'a> {
    pub profile: &'a str,
    pub revoked_connections: usize,
    pub revoked_rooms: usize,
    /// Variables that have changed, and take effect with a restart only.
    pub needs_restart: &'a str,
}

/// SIGHUP: what is written now cannot be used, so everything stays as it was.
pub fn reload_refused(metrics: &Metrics, why: &str) {
    metrics.reloads.increment(ReloadOutcome::Refused);
    error!(
        why,
        "cannot reload: keeping the settings, routes, policy and keys that are in force"
    );
}

/// Memory is near `MAX_RSS`: connections are refused from here on. Sizes are numbers of bytes, here and below.
pub fn memory_short(metrics: &Metrics, resident: u64, max_rss: u64) {
    if let Some(suppressed) = metrics.may_log("memory", "short") {
        warn!(
            resident,
            max_rss, suppressed, "memory is near MAX_RSS: refusing new connections"
        );
    }
}

/// Connections are accepted again.
pub fn memory_free(metrics: &Metrics, resident: u64, max_rss: u64) {
    if let Some(suppressed) = metrics.may_log("memory", "free") {
        info!(
            resident,
            max_rss, suppressed, "there is memory again: accepting new connections"
        );
    }
}

/// The window may take less than it does.
pub fn window_shortened(metrics: &Metrics, resident: u64, window_bytes: usize, limit: usize) {
    metrics.window_shortened.increment(1);
    if let Some(suppressed) = metrics.may_log("memory", "shortened") {
        warn!(
            resident,
            window_bytes, limit, suppressed, "memory is near MAX_RSS: shortening the window"
        );
    }
}

/// It cannot be shortened any more.
pub fn window_at_minimum(metrics: &Metrics, resident: u64, max_rss: u64) {
    if let Some(suppressed) = metrics.may_log("memory", "minimum") {
        warn!(
            resident,
            max_rss, suppressed, "memory is short, and the window is at its minimum"
        );
    }
}

/// The window may take again what its setting says.
pub fn window_unlimited(metrics: &Metrics) {
    if let Some(suppressed) = metrics.may_log("memory", "unlimited") {
        info!(
            suppressed,
            "there is memory again: the window may grow to FLEETCAST_WINDOW_BYTES"
        );
    }
}

/// The listener cannot accept connections: no descriptor or no memory, mostly. Throttled by the listener, which counts.
pub fn accept_failed(throttle: &Throttle<LogKey>, error: &io::Error) {
    let key = (Component::Net.as_str(), "accept");
    if let Some(suppressed) = throttle.allow(&key, clock::monotonic_ms()) {
        warn!(%error, suppressed, "cannot accept connections, trying again");
    }
}

/// A line that librdkafka wrote, of level warning or worse, with no secret in it. Throttled by facility.
pub fn librdkafka(throttle: &Throttle<String>, facility: &str, text: impl FnOnce() -> String) {
    if let Some(suppressed) = throttle.allow(facility, clock::monotonic_ms()) {
        warn!(target: "librdkafka", facility, suppressed, "{}", text());
    }
}

/// One task, or many that were due at once, held up all others. Throttled.
pub(super) fn loop_paused(metrics: &Metrics, pause: Duration) {
    if let Some(suppressed) = metrics.may_log("loop", "paused") {
        let milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        warn!(milliseconds, suppressed, "loop paused");
    }
}

/// A setting that this version knows but does not act on yet.
pub fn setting_without_effect(name: &str) {
    warn!(name, "this setting has no effect in this version");
}

/// Something about the settings that an operator should look at; the start goes on.
pub fn setting_warning(name: &str, warning: &str) {
    warn!(name, warning, "check this setting");
}

/// What Kubernetes injects for a Service of our name.
pub fn service_variables_ignored(count: usize) {
    debug!(
        count,
        "variables that Kubernetes sets for a service called fleetcast are ignored"
    );
}

/// Reports how many throttled lines were suppressed in storms that have passed.
pub(super) fn report_suppressed(metrics: &Metrics) {
    for ((about, reason), suppressed) in metrics.throttle().take_suppressed(clock::monotonic_ms()) {
        info!(
            about,
            reason, suppressed, "suppressed {suppressed} similar messages"
        );
    }
}
