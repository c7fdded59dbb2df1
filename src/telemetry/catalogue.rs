//! The names, kinds, labels and help texts of all metrics: what dashboards and alert rules are written against.

use MetricKind::{Counter as C, Gauge as G, Histogram as H};

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

pub(super) const CONNECTIONS: Declared = declare(
    "fleetcast_connections",
    G,
    &["transport", "namespace"],
    "Connections that are open now.",
);
pub(super) const CONNECTS: Declared = declare(
    "fleetcast_connects_total",
    C,
    &["transport"],
    "Connections that were admitted.",
);
pub(super) const DISCONNECTS: Declared = declare(
    "fleetcast_disconnects_total",
    C,
    &["reason"],
    "Connections that ended.",
);
pub(super) const REFUSED: Declared = declare(
    "fleetcast_refused_total",
    C,
    &["reason"],
    "Connections and handshakes that were refused.",
);
pub(super) const COMMANDS: Declared = declare(
    "fleetcast_commands_total",
    C,
    &["command", "outcome"],
    "Commands of clients, by what they were answered.",
);
pub(super) const ACKNOWLEDGEMENTS: Declared = declare(
    "fleetcast_acknowledgements_total",
    C,
    &["outcome"],
    "Events that clients were asked to acknowledge, by what came of it.",
);
pub(super) const ACKNOWLEDGEMENT_SECONDS: Declared = declare(
    "fleetcast_acknowledgement_seconds",
    H,
    &[],
    "From the question to a client's acknowledgement.",
);
pub(super) const RECEIPTS: Declared = declare(
    "fleetcast_receipts_total",
    C,
    &["outcome"],
    "Receipts for RECEIPTS_TOPIC, by whether the brokers have them.",
);
pub(super) const CONNECTION_EVENTS: Declared = declare(
    "fleetcast_connection_events_total",
    C,
    &["outcome"],
    "Records for CONNECTIONS_TOPIC, by whether the brokers have them.",
);
pub(super) const CONTROL_RECORDS: Declared = declare(
    "fleetcast_control_records_total",
    C,
    &["kind", "outcome"],
    "Records of REVOCATIONS_TOPIC and GRANTS_TOPIC, by what became of them.",
);
pub(super) const REVOCATIONS: Declared = declare(
    "fleetcast_revocations",
    G,
    &[],
    "Users, tokens and organisations whose tokens are revoked.",
);
pub(super) const GRANTS: Declared = declare(
    "fleetcast_grants",
    G,
    &[],
    "Rooms that users may join by a grant, each user's counted.",
);
pub(super) const RELOADS: Declared = declare(
    "fleetcast_reloads_total",
    C,
    &["outcome"],
    "Reloads by SIGHUP.",
);
pub(super) const RESUMES: Declared = declare(
    "fleetcast_resumes_total",
    C,
    &["outcome"],
    "Connections that showed a cursor.",
);
pub(super) const RECORDS: Declared = declare(
    "fleetcast_records_total",
    C,
    &["topic", "outcome"],
    "Records read, by what became of them.",
);
pub(super) const DELIVERIES: Declared = declare(
    "fleetcast_deliveries_total",
    C,
    &["event"],
    "Events handed to connections.",
);
pub(super) const DELIVERY_SECONDS: Declared = declare(
    "fleetcast_delivery_seconds",
    H,
    &["event"],
    "From the record's Kafka timestamp to the moment at which the kernel had the last byte for that client, live and replayed events.",
);
pub(super) const LANE_WRITES: Declared = declare(
    "fleetcast_lane_writes_total",
    C,
    &[],
    "Calls to the kernel that wrote frames of the lane.",
);
pub(super) const LOOP_PAUSE_SECONDS: Declared = declare(
    "fleetcast_loop_pause_seconds",
    H,
    &[],
    "How long the event loop did not come to a task that was due, in time that its thread had the processor.",
);
pub(super) const LOOP_PAUSE_MAX_SECONDS: Declared = declare(
    "fleetcast_loop_pause_max_seconds",
    G,
    &[],
    "The longest pause of the event loop since the start.",
);
pub(super) const UNDELIVERED: Declared = declare(
    "fleetcast_undelivered_total",
    C,
    &["reason"],
    "Events meant for a connection that did not reach it.",
);
pub(super) const LAGGING: Declared = declare(
    "fleetcast_lagging_connections",
    G,
    &[],
    "Connections that are being fed from the window.",
);
pub(super) const KAFKA_LAG: Declared = declare(
    "fleetcast_kafka_lag",
    G,
    &["topic", "partition"],
    "Records between what was read and the end of the partition.",
);
pub(super) const KAFKA_UP: Declared = declare(
    "fleetcast_kafka_up",
    G,
    &[],
    "1 while the brokers answer and what they had has been read, else 0.",
);
pub(super) const WINDOW_SECONDS: Declared = declare(
    "fleetcast_window_seconds",
    G,
    &[],
    "Age of the oldest event in the window.",
);
pub(super) const WINDOW_BYTES: Declared = declare(
    "fleetcast_window_bytes",
    G,
    &[],
    "Memory that the window takes.",
);
pub(super) const WINDOW_LIMIT_BYTES: Declared = declare(
    "fleetcast_window_limit_bytes",
    G,
    &[],
    "Memory that the window may take now.",
);
pub(super) const WINDOW_SHORTENED: Declared = declare(
    "fleetcast_window_shortened_total",
    C,
    &[],
    "How often the window was shortened because memory was near MAX_RSS.",
);
pub(super) const RESIDENT_BYTES: Declared = declare(
    "fleetcast_resident_bytes",
    G,
    &[],
    "Resident memory of the process.",
);
pub(super) const LATEST_BYTES: Declared = declare(
    "fleetcast_latest_bytes",
    G,
    &[],
    "Memory that the newest records of class latest take.",
);
pub(super) const LATEST_RECORDS: Declared = declare(
    "fleetcast_latest_records",
    G,
    &[],
    "Newest records of class latest that are kept.",
);
pub(super) const LATEST_EVICTED: Declared = declare(
    "fleetcast_latest_evicted_total",
    C,
    &[],
    "Newest records of class latest that were evicted for lack of space.",
);
pub(super) const POLLS_REPEATED: Declared = declare(
    "fleetcast_polls_repeated_total",
    C,
    &["outcome"],
    "Polls and posts that were repeated with the same t, by outcome.",
);
pub(super) const POLLS_HELD: Declared = declare(
    "fleetcast_polls_held",
    G,
    &[],
    "Polls that wait for their answer.",
);
pub(super) const POLLING_KEPT_BYTES: Declared = declare(
    "fleetcast_polling_kept_bytes",
    G,
    &[],
    "Memory that the last answers of polling sessions take.",
);
pub(super) const ERRORS: Declared = declare(
    "fleetcast_errors_total",
    C,
    &["component"],
    "Faults; each has a log line.",
);
pub(super) const PANICS: Declared = declare(
    "fleetcast_panics_total",
    C,
    &[],
    "Panics: each one is a bug, please report it.",
);
pub(super) const REDIS_UP: Declared = declare(
    "fleetcast_redis_up",
    G,
    &[],
    "1 while Redis answers, else 0; absent where no Redis is used.",
);
pub(super) const REDIS_COMMANDS: Declared = declare(
    "fleetcast_redis_commands_total",
    C,
    &["outcome"],
    "Commands sent to Redis, by outcome; absent where no Redis is used.",
);
pub(super) const BUS_MESSAGES: Declared = declare(
    "fleetcast_bus_messages_total",
    C,
    &["outcome"],
    "Messages by Redis, sent and received, by outcome; absent where no Redis is used.",
);
pub(super) const LIMITS_ACROSS_INSTANCES: Declared = declare(
    "fleetcast_limits_across_instances",
    G,
    &[],
    "1 while connections of a user and of an organisation are counted over all instances, 0 while each instance counts its own; absent where no Redis is used.",
);
pub(super) const INSTANCES: Declared = declare(
    "fleetcast_instances",
    G,
    &[],
    "Instances that share the Redis and were alive within the last 10 s, as Redis last said; absent where no Redis is used.",
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
    CONNECTION_EVENTS,
    CONTROL_RECORDS,
    REVOCATIONS,
    GRANTS,
    RELOADS,
    RESUMES,
    RECORDS,
    DELIVERIES,
    DELIVERY_SECONDS,
    LANE_WRITES,
    LOOP_PAUSE_SECONDS,
    LOOP_PAUSE_MAX_SECONDS,
    UNDELIVERED,
    LAGGING,
    KAFKA_LAG,
    KAFKA_UP,
    WINDOW_SECONDS,
    WINDOW_BYTES,
    WINDOW_LIMIT_BYTES,
    WINDOW_SHORTENED,
    RESIDENT_BYTES,
    LATEST_BYTES,
    LATEST_RECORDS,
    LATEST_EVICTED,
    POLLS_REPEATED,
    POLLS_HELD,
    POLLING_KEPT_BYTES,
    ERRORS,
    PANICS,
    REDIS_UP,
    REDIS_COMMANDS,
    BUS_MESSAGES,
    LIMITS_ACROSS_INSTANCES,
    INSTANCES,
];
