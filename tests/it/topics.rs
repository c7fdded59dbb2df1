//! Topics that come while the server runs.

use serde_json::json;

use crate::harness::{Client, Kafka, TestApp, auth, record};

on_both_brokers! {
    a_new_topic_is_read_within_30_seconds(&[("incident", 1)]);
    s0_27_topics_are_found_by_a_pattern_also_later_ones(&[("fleet.north.events", 1), ("fleet.north.dlq", 1)]);
}

async fn a_new_topic_is_read_within_30_seconds(kafka: Kafka) {
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    kafka
        .produce("incident", record("incident_created", "o1", &json!({})))
        .await;
    client.expect("incident_created").await;
    let before = client.cursor();

    kafka.create_topic("alert", 2).await;
    kafka
        .produce("alert", record("alert_created", "o1", &json!({ "n": 0 })))
        .await;
    let begin = tokio::time::Instant::now();
    let event = client.expect("alert_created").await;
    assert!(begin.elapsed().as_secs() < 30);
    assert_eq!(event.args[0]["data"]["n"], 0, "from its beginning");
    client.cut();

    // A cursor from before the topic came does not name it, and covers nothing of it.
    let mut resume = auth("u1", "o1", &[]);
    resume["cursor"] = json!(before);
    let mut client = Client::connect(app.public, &resume).await;
    assert_eq!(client.welcome["resume"], "resumed");
    client.expect("alert_created").await;
}

async fn s0_27_topics_are_found_by_a_pattern_also_later_ones(kafka: Kafka) {
    let profile = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/profiles/examples/regions.toml"
    );
    let app = TestApp::start_with(&kafka, &[("FLEETCAST_PROFILE", profile)]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    client.subscribe("region:all").await;
    let storm = |n: u32| (json!({ "meta": { "type": "storm_warning" }, "n": n })).to_string();
    // Where records go that another consumer could not use: no pattern matches it.
    kafka
        .produce_keyed("fleet.north.dlq", "o1:7", &storm(0))
        .await;
    kafka
        .produce_keyed("fleet.north.events", "o1:7", &storm(1))
        .await;
    assert_eq!(client.expect("storm_warning").await.args[0]["n"], 1);
    kafka
        .produce_keyed("fleet.north.events", "o2:7", &storm(2))
        .await;
    kafka.create_topic("fleet.south.events", 2).await;
    kafka
        .produce_keyed("fleet.south.events", "o1:8", &storm(3))
        .await;
    assert_eq!(client.expect("storm_warning").await.args[0]["n"], 3);
    let metrics = app.metrics().await;
    for (topic, count) in [("north", 2), ("south", 1)] {
        let topic = kafka.topic(&format!("fleet.{topic}.events"));
        let routed = format!("fleetcast_records_total{{topic=\"{topic}\",outcome=\"routed\"}}");
        assert_eq!(metrics.value(&routed), count, "{topic}");
    }
    assert!(!metrics.names("fleet.north.dlq"));
}
