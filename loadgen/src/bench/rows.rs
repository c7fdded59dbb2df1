//! The rows of the table, and what each must reach.

pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// `measurement.figure`, as [`Figures`](super::figures::Figures) has it.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// After the point.
    pub(crate) digits: usize,
    pub(crate) goals: &'static [Goal],
}

pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Times the bare writer's.
    OfBare(f64),
    /// Times Node's.
    OfNode(f64),
}

impl Goal {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::OfBare(limit) => format!("<= {limit} x bare"),
            Self::OfNode(limit) => format!("<= {limit} x Node"),
        }
    }
}

use Goal::{AtLeast, AtMost, OfBare, OfNode};

const fn row(
    title: &'static str,
    name: &'static str,
    unit: &'static str,
    digits: usize,
    goals: &'static [Goal],
) -> Row {
    Row {
        title,
        name,
        unit,
        digits,
        goals,
    }
}

#[rustfmt::skip] // One row, one line, as in the table that it becomes.
pub(crate) const ROWS: &[Row] = &[
    row("fan-out to 1,000, 20/s", "fan_out.cpu_us", "us", 2, &[OfBare(1.2), OfNode(0.6)]),
    row("the same, append to client, p50", "fan_out.append_p50_ms", "ms", 1, &[]),
    row("the same, append to client, p99", "fan_out.append_p99_ms", "ms", 1, &[OfBare(1.3)]),
    row("the same, writes per delivery", "fan_out.writes", "", 3, &[]),
    row("the same, of that the threads that read Kafka", "fan_out.kafka_us", "us", 2, &[]),
    row("fan-out to 1,000, eight in flight", "eight.cpu_us", "us", 2, &[OfBare(1.3), OfNode(0.1)]),
    row("the same, p99", "eight.p99_ms", "ms", 1, &[]),
    row("the same, writes per delivery", "eight.writes", "", 3, &[]),
    row("bursts of eight, 400 records/s to 1,000", "eight_even.cpu_us", "us", 2, &[]),
    row("the same, of that the threads that read Kafka", "eight_even.kafka_us", "us", 2, &[]),
    row("10,000 clients, two in flight", "ten_thousand.cpu_us", "us", 2, &[OfBare(1.1)]),
    row("the same, p99", "ten_thousand.p99_ms", "ms", 0, &[]),
    row("500 rooms of 10, 1,000 records/s", "rooms_paced.cpu_us", "us", 2, &[]),
    row("the same, p99", "rooms_paced.p99_ms", "ms", 1, &[]),
    row("the same, of that the threads that read Kafka", "rooms_paced.kafka_us", "us", 2, &[]),
    row("500 rooms of 10, 3,000 records/s", "rooms_even.cpu_us", "us", 2, &[]),
    row("the same, of that the threads that read Kafka", "rooms_even.kafka_us", "us", 2, &[]),
    row("500 rooms of 10, saturated", "rooms.cpu_us", "us", 2, &[OfBare(1.25)]),
    row("the same, of that the threads that read Kafka", "rooms.kafka_us", "us", 2, &[]),
    row("the same, append to client, p99", "rooms.append_p99_ms", "ms", 1, &[OfNode(0.6)]),
    row("the same, from the publisher on, p99", "rooms.p99_ms", "ms", 1, &[]),
    row("the same, deliveries", "rooms.per_second", "1/s", 0, &[]),
    row("the same, writes per delivery", "rooms.writes", "", 3, &[]),
    row("acknowledgement of a command", "ack.cpu_us", "us", 2, &[OfNode(0.5)]),
    row("the same, p50", "ack.p50_ms", "ms", 2, &[]),
    row("the same, p99", "ack.p99_ms", "ms", 2, &[]),
    row("connect", "connect.cpu_us", "us", 0, &[]),
    row("idle client at 10,000", "idle.client_kb", "KB", 1, &[AtMost(19.5)]),
    row("the same, more after 1 MB each", "memory.more_kb", "KB", 1, &[AtMost(2.0)]),
    row("memory that stays when all 10,000 have gone", "gone.mib", "MiB", 1, &[]),
    row("append to client, 2,000 records/s to 1,000 clients in rooms of 10, p50", "append.append_p50_ms", "ms", 2, &[AtMost(3.0)]),
    row("the same, p99", "append.append_p99_ms", "ms", 2, &[AtMost(10.0)]),
    row("the same, CPU", "append.cpu_us", "us", 2, &[]),
    row("alert that asks 10,000 clients, p99 of delivery", "alert.p99_ms", "ms", 0, &[AtMost(400.0)]),
    row("the same, longest pause of the loop", "alert.pause_ms", "ms", 0, &[AtMost(20.0)]),
    row("10,000 clients in 1,000 rooms, bursts of 8: deliveries with p95 under 10 ms", "bursts.reached", "1/s", 0, &[AtLeast(100_000.0)]),
    row("the same, p95", "bursts.p95_ms", "ms", 1, &[AtMost(10.0)]),
    row("the same, server busy", "bursts.server_percent", "%", 0, &[]),
    row("the same, RSS with a full window of 128 MiB", "bursts.rss_mib", "MiB", 0, &[AtMost(512.0)]),
    row("the same, window at that rate", "bursts.window_seconds", "s", 0, &[]),
    row("the same unbatched: deliveries with p95 under 10 ms", "unbatched.reached", "1/s", 0, &[]),
    row("the same, p95", "unbatched.p95_ms", "ms", 1, &[]),
    row("the same, server busy", "unbatched.server_percent", "%", 0, &[]),
    row("live events while 100 of 2,000 catch up on 300 each, p99 against without", "catch_up.p99_ratio", "x", 2, &[AtMost(1.2)]),
    row("the same, p99 without", "catch_up.quiet_p99_ms", "ms", 1, &[]),
    row("the same, p99 with", "catch_up.busy_p99_ms", "ms", 1, &[]),
    row("the same, until all 100 have caught up", "catch_up.seconds", "s", 2, &[]),
    row("storm of 5,000 that missed 300 each: until all have resumed", "storm.seconds", "s", 1, &[AtMost(15.0)]),
    row("the same, live events of 500 others, p99", "storm.others_p99_ms", "ms", 0, &[]),
];
