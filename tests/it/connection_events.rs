//! Records of connects and disconnects.

use std::time::Duration;

use rdkafka::consumer::StreamConsumer;
use rdkafka::message::Message;
use serde_json::Value;
use tokio::time::timeout;

use crate::harness::{Client, Kafka, Polling, Proxy, SOON, TestApp, auth, eventually};

/// A reader of all that was reported.
struct Reports(StreamConsumer);

impl Reports {
    fn of(kafka: &Kafka) -> Self {
        Self(kafka.consumer("connections"))
    }

    /// The next `count` records. The user of each record is in its key.
    async fn next(&self, count: usize) -> Vec<Value> {
        let mut reports = Vec::new();
        while reports.len() < count {
            let record = timeout(SOON, self.0.recv()).await;
            let record = record.unwrap_or_else(|_| panic!("of {count} came {reports:?}"));
            let record = record.unwrap();
            let report: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            let user = report["user_id"].as_str().unwrap();
            let key = format!("{}/{user}", report["organization_id"].as_str().unwrap());
            assert_eq!(record.key(), Some(key.as_bytes()));
            reports.push(report);
        }
        reports
    }
}

/// What was reported of which connection.
fn short(reports: &[Value]) -> Vec<(&str, &str)> {
    let short = reports.iter().map(|report| {
        let field = |name: &str| report[name].as_str().unwrap();
        (field("type"), field("connection_id"))
    });
    short.collect()
}

fn id(welcome: &Value) -> &str {
    welcome["connection_id"].as_str().unwrap()
}

async fn start(kafka: &Kafka, debounce: &str, more: &[(&str, &str)]) -> TestApp {
    let topic = kafka.topic("connections");
    let mut settings = vec![
        ("CONNECTIONS_TOPIC", topic.as_str()),
        ("CONNECTIONS_DEBOUNCE", debounce),
    ];
    settings.extend(more);
    TestApp::start_with(kafka, &settings).await
}

#[tokio::test]
async fn connects_and_disconnects_are_reported_and_reconnects_are_not() {
    let kafka = Kafka::mock(&[("transmission", 1), ("connections", 1)]).await;
    let app = start(&kafka, "3s", &[]).await;
    let reports = Reports::of(&kafka);
    let ann = auth("auth0|5/7", "o1", &[]);
    let first = Client::connect(app.public, &ann).await;
    let came = reports.next(2).await;
    let a = id(&first.welcome).to_owned();
    assert_eq!(
        short(&came),
        [("connected", a.as_str()), ("user_online", &a)]
    );
    for report in &came {
        assert_eq!(report["user_id"], "auth0|5/7");
        assert_eq!(report["organization_id"], "o1");
        assert_eq!(report["transport"], "websocket");
        assert!(report.get("reason").is_none());
        assert!(report["timestamp"].as_str().unwrap().ends_with('Z'));
    }
    // The same user again: by polling, and in both namespaces of one WebSocket.
    let polling = Polling::connect(app.public, &ann).await;
    let mut both = Client::connect(app.public, &ann).await;
    let (b, c) = (
        id(&both.welcome).to_owned(),
        id(&both.enter("/ws", &ann).await).to_owned(),
    );
    // And another one.
    let other = Client::connect(app.public, &auth("u2", "o1", &[])).await;
    let o = id(&other.welcome).to_owned();
    let came = reports.next(5).await;
    assert_eq!(came[0]["transport"], "polling");
    let expected = [
        ("connected", b.as_str()),
        ("connected", &c),
        ("connected", &o),
        ("user_online", &o),
    ];
    assert_eq!(short(&came[1..]), expected);
    drop(polling);

    // One of each is lost; the first user is back at once, and nothing is reported of that.
    first.cut();
    other.cut();
    eventually("the server has noticed", async || {
        let left = app.metrics().await.sum("fleetcast_disconnects_total");
        (left == 2).then_some(())
    })
    .await;
    let again = Client::connect(app.public, &ann).await;
    let came = reports.next(2).await;
    let expected = [("disconnected", o.as_str()), ("user_offline", &o)];
    assert_eq!(short(&came), expected);
    assert!(came[0]["reason"].is_string(), "{came:?}");
    assert_eq!(came[0]["user_id"], "u2");

    // At the end everything is reported at once; the connection that came back under the id that was reported.
    let instance = came[0]["instance"].clone();
    app.stop();
    let came = reports.next(5).await;
    assert!(came.iter().all(|report| report["instance"] == instance));
    let mut ids: Vec<_> = came[..4]
        .iter()
        .map(|report| report["connection_id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert!(
        [&a, &b, &c].iter().all(|id| ids.contains(&id.as_str())),
        "{ids:?}"
    );
    for report in &came[..4] {
        assert_eq!(
            (&report["type"], &report["reason"]),
            (&"disconnected".into(), &"draining".into())
        );
    }
    assert_eq!(came[4]["type"], "user_offline");
    let more = timeout(Duration::from_millis(300), reports.next(1)).await;
    assert!(more.is_err(), "{more:?}");
    drop((again, both));
}

#[tokio::test]
async fn a_stop_waits_only_a_moment_for_brokers_that_are_away() {
    let kafka = Kafka::mock(&[("transmission", 1), ("connections", 1)]).await;
    let wire = Proxy::to_broker(&kafka.address).await;
    let address = wire.address.to_string();
    let more = [("KAFKA_BOOTSTRAP_SERVERS", address.as_str())];
    let app = start(&kafka, "0", &more).await;
    let reports = Reports::of(&kafka);
    let client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let came = reports.next(2).await;
    assert_eq!(came[1]["type"], "user_online");
    wire.stall();
    client.cut();
    app.empty().await;
    // It ends in time and with 0, or this fails.
    let log = app.stop();
    let line = "records were still on their way at the end";
    assert!(log.iter().any(|told| told.contains(line)), "{log:#?}");
}
