//! The brokers go away and come back, or were never there.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Client, Kafka, Proxy, Stream, Tally, TestApp, auth, eventually, handshake, record,
};

on_both_brokers! {
    no_record_is_lost_while_brokers_are_unreachable(&[("transmission", 3)]);
    silent_brokers_are_noticed(&[("transmission", 1)]);
}

async fn no_record_is_lost_while_brokers_are_unreachable(kafka: Kafka) {
    let wire = Proxy::to_broker(&kafka.address).await;
    let address = wire.address.to_string();
    let app = TestApp::start_with(&kafka, &[("KAFKA_BOOTSTRAP_SERVERS", &address)]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 3, 50);
    let mut tally = Tally::default();
    stream.produce(&kafka, 30).await;
    client.read_until(&mut tally, 30).await;

    wire.cut();
    let report = app.wait_for_status("degraded").await;
    let reason = report["components"]["kafka"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("no contact"), "{report}");
    assert_eq!(
        app.get("/ready").await.status,
        200,
        "no client is disconnected for it"
    );
    assert_eq!(app.metrics().await.value("fleetcast_kafka_up"), 0);
    let stale = client.expect("stale").await;
    assert_eq!(stale.args[0]["data"]["stale"], true);
    stream.produce(&kafka, 30).await;
    // New clients are admitted and receive `stale`.
    let mut late = Client::connect(app.public, &auth("u2", "o1", &["channel:7"])).await;
    assert_eq!(late.expect("stale").await.args[0]["data"]["stale"], true);

    wire.restore();
    app.wait_for_status("ready").await;
    let mut stale = None;
    while tally.count < 60 || stale.is_none() {
        let event = client.record().await;
        tally.note(&event);
        if event.name == "stale" {
            stale = Some(event.args[0]["data"]["stale"].clone());
        }
    }
    assert_eq!(stale, Some(json!(false)));
    assert_eq!(app.metrics().await.value("fleetcast_kafka_up"), 1);
    stream.produce(&kafka, 30).await;
    client.read_until(&mut tally, 90).await;
}

/// A connection that is open and dead is found by silence.
async fn silent_brokers_are_noticed(kafka: Kafka) {
    let wire = Proxy::to_broker(&kafka.address).await;
    let address = wire.address.to_string();
    let app = TestApp::start_with(&kafka, &[("KAFKA_BOOTSTRAP_SERVERS", &address)]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 1, 50);
    let mut tally = Tally::default();
    stream.produce(&kafka, 5).await;
    client.read_until(&mut tally, 5).await;
    wire.stall();
    app.wait_for_status("degraded").await;
    stream.produce(&kafka, 5).await;
    wire.restore();
    app.wait_for_status("ready").await;
    client.read_until(&mut tally, 10).await;
}

#[tokio::test]
async fn without_brokers_connections_are_rejected_until_they_answer() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let wire = Proxy::to_broker(&kafka.address).await;
    wire.cut();
    let address = wire.address.to_string();
    let app = TestApp::launch(&kafka, &[("KAFKA_BOOTSTRAP_SERVERS", &address)]).await;
    let report = eventually("a reason", async || {
        let answer = app.get("/ready").await;
        assert_eq!(answer.status, 503);
        let report = answer.json();
        report["components"]["kafka"]["reason"]
            .is_string()
            .then_some(report)
    })
    .await;
    assert_eq!(report["status"], "starting");
    assert_eq!(app.get("/health").await.status, 200);
    for transport in ["polling", "websocket"] {
        let (status, retry_after) = handshake(app.public, transport, &[]).await;
        assert_eq!(status, 503);
        assert!(retry_after.unwrap().parse::<u32>().unwrap() > 0);
    }
    let refused = app
        .metrics()
        .await
        .value("fleetcast_refused_total{reason=\"starting\"}");
    assert_eq!(refused, 2);

    wire.restore();
    app.ready().await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    kafka
        .produce("incident", record("incident_created", "o1", &json!({})))
        .await;
    client.expect("incident_created").await;
}

#[tokio::test]
async fn a_server_without_brokers_stops_on_a_signal() {
    let kafka = Kafka::mock(&[]).await;
    let more = [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")];
    let app = TestApp::launch(&kafka, &more).await;
    let begin = tokio::time::Instant::now();
    app.stop();
    assert!(begin.elapsed() < Duration::from_secs(5));
}
