//! Redis: messages between instances, and what is kept there.

use std::fmt::Display;

use tracing::{error, info, warn};

use crate::telemetry::labels::Component;
use crate::telemetry::metrics::Metrics;

/// Redis answers, and all subscriptions are made.
pub fn redis_up(address: &str) {
    info!(address, "redis is reachable");
}

/// Redis is not reachable: from now on until `redis_up`.
pub fn redis_down(metrics: &Metrics, address: &str, why: &(impl Display + ?Sized)) {
    metrics.errors.increment(Component::Redis);
    warn!(
        address,
        why = %why,
        "redis is not reachable: Kafka events continue, messages between instances are dropped"
    );
}

/// Redis answers, and refuses what this instance writes: from now on until `registry_written`.
pub fn registry_refused(metrics: &Metrics, why: &(impl Display + ?Sized)) {
    metrics.errors.increment(Component::Redis);
    warn!(
        why = %why,
        "redis refuses the connection registry: other instances do not list these connections, limits are per instance"
    );
}

pub fn registry_written() {
    info!("redis accepts the connection registry again");
}

/// Without them tokens that are revoked may be accepted. Until `kept_revocations_healthy`.
pub fn kept_revocations_problem(why: &str) {
    warn!(why, "Redis does not keep the revocations as it should");
}

/// All that are known are kept, and all that are kept are known.
pub fn kept_revocations_healthy() {
    info!("Redis keeps the revocations again");
}

/// Connections are admitted though what is revoked may not be known.
pub fn kept_revocations_not_awaited(why: &(impl Display + ?Sized)) {
    warn!(why = %why, "starting without the revocations that Redis keeps");
}

/// Messages that end connections or revoke tokens were dropped. Throttled.
pub fn control_lost(metrics: &Metrics) {
    metrics.errors.increment(Component::Redis);
    if let Some(suppressed) = metrics.may_log("bus", "control") {
        error!(
            suppressed,
            "too many messages of other instances: an order to disconnect or to revoke was dropped"
        );
    }
}

/// A message of a channel between instances is not signed with a secret of ours. Throttled.
pub fn bad_signature(metrics: &Metrics) {
    if let Some(suppressed) = metrics.may_log("bus", "signature") {
        warn!(
            suppressed,
            "a message by Redis is not signed with our secret: instances have different ones, or another program has sent it"
        );
    }
}
