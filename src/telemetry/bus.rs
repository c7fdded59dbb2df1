//! The metrics of Redis, which exist only where one is used, and their labels.

use fleetcast_core::domain::emitters::Refused;
use metrics::Gauge;

use super::families::Counters;
use super::labels::{Label, labels};

/// Handles on them. Clones share them.
#[derive(Clone)]
pub struct RedisMetrics {
    pub up: Gauge,
    pub commands: Counters<RedisOutcome>,
    pub messages: Counters<BusOutcome>,
    pub limits_across_instances: Gauge,
    pub instances: Gauge,
}

labels! {
    /// What became of a command to Redis.
    RedisOutcome as "outcome" {
        Ok = "ok",
        /// Redis answered with an error.
        Refused = "refused",
        TimedOut = "timed_out",
        /// The connection ended before the answer.
        Lost = "lost",
        /// There was no connection.
        NotConnected = "not_connected",
    }
}

labels! {
    /// What became of a message that instances or emitters send by Redis.
    BusOutcome as "outcome" {
        Sent = "sent",
        /// Redis was away, or too many were waiting.
        NotSent = "not_sent",
        Applied = "applied",
        /// It came back to the instance that sent it.
        Own = "own",
        /// Of an emitter, like the next eight: see [`Refused`].
        TooDeep = "too_deep",
        Pickle = "pickle",
        NotAllowed = "not_allowed",
        Excluded = "excluded",
        OtherNamespace = "other_namespace",
        BadEvent = "bad_event",
        BadArgument = "bad_argument",
        Binary = "binary",
        BadRoom = "bad_room",
        TooLarge = "too_large",
        /// More came than could be looked at.
        Overflow = "overflow",
        Malformed = "malformed",
        UnknownVersion = "unknown_version",
        UnknownKind = "unknown_kind",
        BadSignature = "bad_signature",
        /// It was sent once more, by a program that has recorded it.
        Repeated = "repeated",
        /// It is older than five minutes or than this instance, or the clocks of two instances differ by as much.
        Stale = "stale",
    }
}

impl From<Refused> for BusOutcome {
    fn from(refused: Refused) -> Self {
        Self::parse(refused.outcome()).expect("a test compares the two lists")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_of_emitters_has_a_label() {
        for refused in Refused::ALL {
            assert_eq!(BusOutcome::from(*refused).as_str(), refused.outcome());
        }
    }
}
