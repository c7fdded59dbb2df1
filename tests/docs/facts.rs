//! Numbers on docs/operations.md are those of the code: each constant stands beside what the page makes of it.

use std::collections::BTreeMap;
use std::path::Path;

use fleetcast::settings::{Presets, Settings};

use crate::page;

/// File, what stands in it, what the page says.
const CONSTANTS: [(&str, &str, &str); 31] = [
    (
        "src/session/receipts.rs",
        "ASK_TIMEOUT: Duration = Duration::from_secs(30)",
        "no answer within 30 s",
    ),
    (
        "src/session/receipts.rs",
        "MAX_ASKED: usize = 50_000",
        "or 50,000 on this instance",
    ),
    (
        "src/session/receipts.rs",
        "MAX_ASKED_OF_ONE: usize = 1_000",
        "1,000 answers of this client",
    ),
    (
        "src/app/service_topics.rs",
        "DELIVERY: Duration = Duration::from_secs(10)",
        "did not take it within 10 s",
    ),
    (
        "src/kafka/producer.rs",
        "QUEUE: (&str, &str) = (\"50000\", ",
        "or 50,000 were waiting",
    ),
    (
        "src/app/topic_counters.rs",
        "MAX_FOUND: usize = 500",
        "the first 500 topics",
    ),
    (
        "src/telemetry/delivery_times.rs",
        "at_most: &[\n        (1, \"0.001\"),",
        "Buckets from 1 ms",
    ),
    (
        "src/telemetry/delivery_times.rs",
        "(30_000, \"30\"),\n    ]",
        "to 30 s",
    ),
    (
        "src/telemetry/delivery_times.rs",
        "MAX_EVENTS: usize = 1_000",
        "for all beyond 1,000",
    ),
    (
        "src/telemetry/delivery_times.rs",
        "LONGEST_MS: u64 = 86_400_000",
        "a day at most",
    ),
    (
        "src/telemetry/loop_pauses.rs",
        "BEAT: Duration = Duration::from_millis(5)",
        "Short by up to 5 ms",
    ),
    (
        "src/telemetry/loop_pauses.rs",
        "IDLE_BEAT: Duration = Duration::from_millis(100)",
        "every 100 ms only",
    ),
    (
        "src/telemetry/loop_pauses.rs",
        "MANY_CONNECTIONS: u64 = 100",
        "with fewer than 100 connections",
    ),
    (
        "src/telemetry/loop_pauses.rs",
        "QUIET: Duration = Duration::from_secs(10)",
        "little to do for 10 s",
    ),
    (
        "src/telemetry/loop_pauses.rs",
        "LONG: Duration = Duration::from_millis(20)",
        "for more than 20 ms of work",
    ),
    (
        "src/telemetry/throttle.rs",
        "PERIOD: Duration = Duration::from_secs(1)",
        "once a second for each reason",
    ),
    (
        "src/kafka/client.rs",
        "PERIOD: Duration = Duration::from_secs(10)",
        "one in 10 s for each of its facilities",
    ),
    (
        "src/socketio/kept_answers.rs",
        "MAX_KEPT: usize = 64 * 1024 * 1024",
        "64 MiB at most",
    ),
    (
        "src/net/mod.rs",
        "header_timeout: Duration::from_secs(5)",
        "request head within 5 s",
    ),
    (
        "crates/core/src/domain/decode/mod.rs",
        "MAX_DEPTH: usize = 128",
        "nested deeper than 128",
    ),
    (
        "src/cli/serve.rs",
        "AFTER_DRAIN: Duration = Duration::from_secs(5)",
        "open 5 s after that is cut",
    ),
    (
        "src/lifecycle/mod.rs",
        "AFTER_HARD: Duration = Duration::from_secs(2)",
        "and 2 s later",
    ),
    (
        "crates/core/src/hub/settings.rs",
        "NAMED_PARTITIONS: usize = 64",
        "at most 64 partitions",
    ),
    (
        "src/kafka/metadata/ids.rs",
        "EVERY_MS: u64 = 10_000",
        "noticed by its id, within 10 s",
    ),
    (
        "src/kafka/metadata/wanted.rs",
        "LIST_MS: u64 = 10_000",
        "all topics listed every 10 s",
    ),
    (
        "src/kafka/metadata/wanted.rs",
        "LIST_AGAIN_MS: u64 = 1_000",
        "at most once a second",
    ),
    (
        "crates/core/src/hub/window/entry.rs",
        "ENTRY_OVERHEAD: usize = 320",
        "320 bytes",
    ),
    (
        "crates/core/src/hub/window/entry.rs",
        "ROOM_OVERHEAD: usize = 96",
        "96 bytes per room",
    ),
    (
        "crates/core/src/hub/window/snapshot.rs",
        "RECORD_OVERHEAD: usize = 576",
        "576 bytes",
    ),
    (
        "src/net/drain_rate.rs",
        "START: usize = 64 * 1024",
        "64 KiB when it was idle",
    ),
    (
        "src/net/drain_rate.rs",
        "MOST: usize = 768 * 1024",
        "768 KiB at most",
    ),
];

/// The page in one line, so that it may be wrapped anywhere.
fn operations() -> String {
    let page = page("operations.md");
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn operations_has_the_numbers_of_the_code() {
    let page = operations();
    for (file, code, words) in CONSTANTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).expect(file);
        assert!(
            text.contains(code),
            "{file} no longer has {code:?}: the page says {words:?}"
        );
        assert!(
            page.contains(words),
            "the page does not say {words:?}: {file} has {code:?}"
        );
    }
}

#[test]
fn operations_has_the_defaults_of_settings() {
    let needed = [
        ("JWT_SECRET", "fleetcast-tests-only-3kYbqzT0pW9sVn5x"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
    ];
    let needed = needed.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let settings = Settings::from_map(&BTreeMap::from(needed), &Presets::new()).expect("defaults");
    let (sockets, window, listen) = (settings.sockets, settings.window, &settings.listen);
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    let page = operations();
    for words in [
        format!("`HOST`, `PORT` | `{}:{}`", listen.host, listen.port),
        format!(
            "`INTERNAL_HOST`, `INTERNAL_PORT` | `{}:{}`",
            listen.internal_host, listen.internal_port
        ),
        format!(
            "`PING_INTERVAL` and `PING_TIMEOUT` together ({} s)",
            (sockets.ping_interval + sockets.ping_timeout).as_secs()
        ),
        format!("`DRAIN_SECONDS` ({})", sockets.drain.as_secs()),
        format!("`MAX_EVENT_BYTES` ({} KiB)", sockets.max_event_bytes / 1024),
        format!("`FLEETCAST_WINDOW_BYTES` ({} MiB)", mebibytes(window.bytes)),
        format!(
            "`FLEETCAST_LATEST_BYTES` ({} MiB)",
            mebibytes(window.latest_bytes)
        ),
    ] {
        assert!(page.contains(&words), "the page does not say {words:?}");
    }
}
