//! What operators see.

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{
    Client, Kafka, Polling, SECRET, TestApp, auth, dispatcher, eventually, record, request, token,
};

/// Names and kinds of the contract. Those of Redis come with it.
const METRICS: [(&str, &str); 19] = [
    ("fleetcast_connections", "gauge"),
    ("fleetcast_records_total", "counter"),
    ("fleetcast_deliveries_total", "counter"),
    ("fleetcast_undelivered_total", "counter"),
    ("fleetcast_lagging_connections", "gauge"),
    ("fleetcast_resumes_total", "counter"),
    ("fleetcast_refused_total", "counter"),
    ("fleetcast_commands_total", "counter"),
    ("fleetcast_kafka_lag", "gauge"),
    ("fleetcast_delivery_seconds", "histogram"),
    ("fleetcast_lane_writes_total", "counter"),
    ("fleetcast_loop_pause_seconds", "histogram"),
    ("fleetcast_kafka_up", "gauge"),
    ("fleetcast_connects_total", "counter"),
    ("fleetcast_disconnects_total", "counter"),
    ("fleetcast_errors_total", "counter"),
    ("fleetcast_panics_total", "counter"),
    ("fleetcast_window_seconds", "gauge"),
    ("fleetcast_window_bytes", "gauge"),
];

#[tokio::test]
async fn every_metric_of_the_contract_is_there_from_the_start() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let metrics = app.metrics().await;
    let lines: Vec<&str> = metrics.0.lines().collect();
    for (name, kind) in METRICS {
        assert!(
            lines.contains(&format!("# TYPE {name} {kind}").as_str()),
            "{name}"
        );
        let help = format!("# HELP {name} ");
        assert!(lines.iter().any(|line| line.starts_with(&help)), "{name}");
        let sample = |line: &&str| line.starts_with(name) && !line.starts_with('#');
        assert!(
            lines.iter().any(sample),
            "{name} has no sample in:\n{}",
            metrics.0
        );
    }
    assert_eq!(metrics.value("fleetcast_kafka_up"), 1);
}

#[tokio::test]
async fn connections_are_counted_down_however_they_end() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    for number in 0..100 {
        let client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
        if number % 2 == 0 {
            client.cut();
        }
    }
    // Reset right after the 101, before the library has seen a packet.
    for _ in 0..100 {
        let mut stream = TcpStream::connect(app.public).await.unwrap();
        let upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        SockRef::from(&stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }
    app.empty().await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_connects_total{transport=\"websocket\"}"),
        100
    );
    assert_eq!(metrics.sum("fleetcast_disconnects_total"), 100);
}

#[tokio::test]
async fn no_token_and_no_payload_is_ever_logged() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let app = TestApp::start_with(&kafka, &[("LOG_LEVEL", "debug")]).await;
    let good = dispatcher("u1", "o1");
    let bad = format!("{}x", dispatcher("u2", "o1"));
    let strange = token(json!({ "sub": "u1", "organization_id": "hush-organisation:x" }));
    let mut tokens = vec![good.clone(), bad.clone(), strange.clone()];

    let mut client = Client::connect(app.public, &json!({ "token": good })).await;
    kafka
        .produce(
            "incident",
            record("incident_created", "o1", &json!({ "note": "hush-payload" })),
        )
        .await;
    client.expect("incident_created").await;
    kafka.produce("incident", "{\"hush-payload\"").await;
    client
        .command("hush-command", &json!({ "room": "hush-room" }))
        .await;
    let cursor = client.cursor();
    client.cut();
    for wrong in [&bad, &strange] {
        let mut client = Client::open(app.public).await;
        assert!(
            client
                .try_enter("/", &json!({ "token": wrong }))
                .await
                .is_err()
        );
    }
    // In the query and in the header, masked there too.
    for transport in ["polling", "websocket"] {
        for given in [&good, &bad] {
            let target = format!("/socket.io/?EIO=4&transport={transport}&token={given}");
            let bearer = format!("Bearer {given}");
            let headers = [("Authorization", bearer.as_str())];
            request(app.public, "GET", &target, &headers, "")
                .await
                .unwrap();
        }
    }
    let polling = Polling::connect(app.public, &json!({ "token": good, "cursor": cursor })).await;
    polling.poll().await;
    tokens.extend([SECRET.to_owned(), polling.sid.clone(), "hush-".to_owned()]);
    eventually("the broken record is counted", async || {
        let metrics = app.metrics().await;
        (metrics.sum("fleetcast_records_total") == 2).then_some(())
    })
    .await;

    let log = app.stop();
    let levels = log
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["level"].clone());
    assert!(levels.into_iter().any(|level| level == "DEBUG"), "{log:#?}");
    for secret in &tokens {
        let signature = secret.rsplit('.').next().unwrap();
        let leak = log.iter().find(|line| line.contains(signature));
        assert_eq!(leak, None, "{signature} is in the log");
    }
}

#[tokio::test]
async fn errors_of_every_path_are_problem_documents_with_a_code() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("QA_PAGE", "true")]).await;
    for (address, method, target, code) in [
        (app.public, "GET", "/nothing", "not_found"),
        (app.public, "POST", "/ready", "bad_method"),
        (app.public, "POST", "/", "bad_method"),
        (app.public, "DELETE", "/assets/qa.js", "bad_method"),
        (app.internal, "GET", "/nothing", "not_found"),
        (app.internal, "POST", "/metrics", "bad_method"),
    ] {
        let answer = request(address, method, target, &[], "").await.unwrap();
        let content_type = answer.header("content-type").unwrap_or_default();
        assert_eq!(
            content_type, "application/problem+json",
            "{method} {target}"
        );
        assert_eq!(answer.json()["code"], code, "{method} {target}");
    }
}
