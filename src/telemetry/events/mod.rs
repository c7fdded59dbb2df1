//! Things worth telling: each function is one log line and the counter that goes with it. What an outsider can cause a thousand
//! times a second is throttled; the counter has the exact number.
//!
//! `error`: a person should act. `warn`: degraded, going on. `info`: state changed. No tokens, no payloads.

mod bus;
mod kafka;
mod service_topics;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fleetcast_core::domain::protocol::CloseReason;
use tracing::{debug, error, info, warn};

use super::labels::{
    AskOutcome, Command, CommandOutcome, Component, ConnectionLabels, Label, RejectReason,
    ReloadOutcome, ResumeOutcome, Undelivered,
};
use super::metrics::Metrics;
use super::throttle::{LogKey, Throttle};
use crate::clock;
pub use bus::{
    bad_signature, control_lost, kept_revocations_healthy, kept_revocations_not_awaited,
    kept_revocations_problem, redis_down, redis_up, registry_refused, registry_written,
};
pub use kafka::{
    caught_up, gap, kafka_down, kafka_refused, kafka_restart, kafka_up, librdkafka, log_replaced,
    partition_ended, partition_permitted, partition_unwanted, producer_renewed, record_skipped,
    topic_recreated, topic_refused,
};
pub use service_topics::{
    connection_event_kept, connection_event_lost, control_log_lost, control_record,
    grants_not_written, grants_repeated, not_compacted, policy_unknown, receipt_kept, receipt_lost,
    records_on_their_way, revocations_repeated, rooms_granted, tokens_revoked, topic_made,
    topic_missing,
};

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

/// A connection or a handshake was refused; `why` is for the log only and holds nothing of what was sent. Throttled by reason.
pub fn refused(metrics: &Metrics, reason: RejectReason, why: &str) {
    refused_at(metrics, reason, why, None, None);
}

/// The same of a request to the API: its `path` as the document has it, without ids, and the `code` of the answer.
pub fn refused_at(
    metrics: &Metrics,
    reason: RejectReason,
    why: &str,
    path: Option<&str>,
    code: Option<&str>,
) {
    metrics.refused.increment(reason);
    if let Some(suppressed) = metrics.may_log("refused", reason.as_str()) {
        let reason = reason.as_str();
        info!(reason, why, path, code, suppressed, "refused");
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

/// A share of the connections is being closed, so that other instances get them.
pub fn share_drain_started(connections: usize, spread: Duration) {
    let seconds = spread.as_secs();
    info!(
        connections,
        seconds, "draining a share of the connections, as the API asks"
    );
}

/// That has ended. Fewer `closed` than `connections`: the others had ended by themselves, or the process is stopping.
pub fn share_drain_ended(closed: usize, connections: usize) {
    info!(
        closed,
        connections, "the drain of a share of the connections has ended"
    );
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
