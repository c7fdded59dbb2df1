//! Redis: what instances tell each other.

use std::fmt::Display;

use tracing::{info, warn};

use crate::telemetry::labels::Component;
use crate::telemetry::metrics::Metrics;

/// Redis answers, and all subscriptions are made.
pub fn redis_up(address: &str) {
    info!(address, "Redis is there");
}

/// Redis is away: from now on until `redis_up`.
pub fn redis_down(metrics: &Metrics, address: &str, why: &(impl Display + ?Sized)) {
    metrics.errors.increment(Component::Redis);
    warn!(
        address,
        why = %why,
        "Redis is away: events of Kafka are delivered as before, what instances tell each other is not"
    );
}

/// Redis is there and does not take what this instance writes: from now on until `registry_written`.
pub fn registry_refused(metrics: &Metrics, why: &(impl Display + ?Sized)) {
    metrics.errors.increment(Component::Redis);
    warn!(
        why = %why,
        "Redis does not take the connections of this instance: others do not list them, and limits hold for each instance"
    );
}

pub fn registry_written() {
    info!("Redis takes the connections of this instance again");
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
