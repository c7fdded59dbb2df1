//! Topics that come while the server runs.

use serde_json::json;

use crate::harness::{Client, Kafka, TestApp, auth, record};

on_both_brokers! {
    a_new_topic_is_read_within_30_seconds(&[("incident", 1)]);
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
