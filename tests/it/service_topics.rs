//! Topics of our own that must be there and be compacted, or the server does not serve.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Kafka, SECRET, TestApp, eventually};
use crate::tools::{err, out, run_beside};

#[tokio::test]
async fn h6_a_topic_that_is_not_there_keeps_the_instance_from_being_ready() {
    let kafka = Kafka::mock(&[]).await;
    let topic = kafka.topic("revoked");
    let app = TestApp::launch(&kafka, &[("REVOCATIONS_TOPIC", &topic)]).await;
    eventually("/ready says why", async || {
        let ready = app.get("/ready").await;
        let reason = ready.json()["components"]["revocations"]["reason"].clone();
        let named = reason
            .as_str()
            .is_some_and(|why| why.contains("there is no topic"));
        (named && ready.status == 503).then_some(())
    })
    .await;
    let reason = format!("there is no topic {topic}: ");
    let told = || {
        let log = app.log();
        let lines = log.iter().filter(|line| {
            line.contains("a compacted topic does not exist") && line.contains(&reason)
        });
        lines.count()
    };
    eventually("the log says why", async || (told() > 0).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(told(), 1, "not with each look");
    kafka.create_topic("revoked", 1).await;
    app.ready().await;
}

/// A topic that deletes by age forgets what is revoked.
#[tokio::test]
#[ignore = "real Kafka"]
async fn h6_a_topic_that_is_not_compacted_stops_the_start() {
    let kafka = Kafka::real(&[]).await;
    for (name, policy) in [("aged", "delete"), ("both", "compact,delete")] {
        kafka.create_with(name, &[("cleanup.policy", policy)]).await;
        let topic = kafka.topic(name);
        let output = run_beside(
            &["serve".to_owned()],
            &[
                ("HOST", "127.0.0.1"),
                ("PORT", "0"),
                ("INTERNAL_PORT", "0"),
                ("DRAIN_SECONDS", "0"),
                ("JWT_SECRET", SECRET),
                ("KAFKA_BOOTSTRAP_SERVERS", &kafka.address),
                ("KAFKA_TOPIC_PREFIX", kafka.prefix()),
                ("REVOCATIONS_TOPIC", &topic),
            ],
        )
        .await;
        let said = out(&output) + &err(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("{topic} (REVOCATIONS_TOPIC) has cleanup.policy=")),
            "{said}"
        );
        assert!(!said.contains("\"status\":\"ready\""), "{said}");
    }
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn h6_missing_service_topics_are_made_at_the_start_if_that_is_asked_for() {
    let kafka = Kafka::real(&[]).await;
    let (revoked, receipts) = (kafka.topic("revoked"), kafka.topic("receipts"));
    let publish = kafka.topic("publish");
    let settings = [
        ("KAFKA_CREATE_TOPICS", "true"),
        ("REVOCATIONS_TOPIC", revoked.as_str()),
        ("RECEIPTS_TOPIC", receipts.as_str()),
        ("PUBLISH_TOPIC", publish.as_str()),
    ];
    let first = TestApp::start_with(&kafka, &settings).await;
    let again = TestApp::start_with(&kafka, &settings).await;
    assert_eq!(
        kafka.config("revoked", "cleanup.policy").await.as_deref(),
        Some("compact")
    );
    assert_eq!(
        kafka.config("receipts", "retention.ms").await.as_deref(),
        Some("2592000000")
    );
    for app in [&first, &again] {
        let ready = app.get("/ready").await.json();
        assert_eq!(
            ready["components"]["revocations"],
            json!({ "status": "ok" })
        );
    }
    let made = |app: TestApp| {
        let log = app.stop();
        let lines = log.iter();
        lines
            .filter(|line| line.contains("service topic created"))
            .count()
    };
    assert_eq!((made(first), made(again)), (3, 0));
}
