//! The built binary, seen from outside: a Kafka on one side, clients on the other, and a proxy that breaks the wires.
//!
//! Each test has topics of its own and ends with a clean stop of its server. What a test says of Kafka is said of the mock
//! broker, which lives in the test, and with `-- --ignored` of the real one at `FLEETCAST_TEST_KAFKA`.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper fails the test, as the test itself would"
)]

/// One body, run against the mock broker and against Apache Kafka. `topics` lists what exists before the server starts.
macro_rules! on_both_brokers {
    ($($name:ident($topics:expr);)+) => { $(
        mod $name {
            #[tokio::test]
            async fn on_the_mock_broker() {
                super::$name(crate::harness::Kafka::mock($topics).await).await;
            }

            #[tokio::test]
            #[ignore = "real Kafka"]
            async fn on_apache_kafka() {
                super::$name(crate::harness::Kafka::real($topics).await).await;
            }
        }
    )+ };
}

mod admission;
mod api;
mod bad_handshakes;
mod broken_records;
mod broker_faults;
mod broker_restarts;
mod cli;
mod client_input;
mod config_file;
mod connection_events;
mod failed_attempts;
mod fleet;
mod grants;
mod harness;
mod heartbeat;
mod instances;
mod issuers;
mod keys;
mod lane;
mod latest;
mod limits;
mod lost_topics;
mod memory;
mod message_rate;
mod namespaces;
mod neighbours;
mod observability;
mod odd_records;
mod odd_tokens;
mod order;
mod overlapping_posts;
mod polling;
mod polling_repeats;
mod polling_tcp;
mod profile_examples;
mod profiles;
mod proxies;
mod real_kafka;
mod redis;
mod refresh;
mod reload;
mod revocations;
mod route_rooms;
mod routing;
mod secure;
mod service_topics;
mod shutdown;
mod slow_clients;
mod tools;
mod topics;
mod unread;
mod vanished;
