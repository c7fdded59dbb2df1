//! From one instance to another, and from one life of the server to the next.

use serde_json::json;

use crate::harness::{Background, Client, Kafka, Stream, Tally, TestApp, auth};

const TOPICS: &[(&str, i32)] = &[("transmission", 3)];

on_both_brokers! {
    a_cursor_outlives_the_server(super::TOPICS);
    moving_back_and_forth_under_load_loses_and_repeats_nothing(super::TOPICS);
}

fn resume(cursor: &str) -> serde_json::Value {
    let mut auth = auth("u1", "o1", &["channel:7"]);
    auth["cursor"] = json!(cursor);
    auth
}

async fn a_cursor_outlives_the_server(kafka: Kafka) {
    let mut stream = Stream::new(&kafka, 3, 50);
    let mut tally = Tally::default();
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    stream.produce(&kafka, 30).await;
    client.read_until(&mut tally, 20).await;
    let cursor = client.cursor();
    app.crash();
    stream.produce(&kafka, 30).await;

    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &resume(&cursor)).await;
    assert_eq!(client.welcome["resume"], "resumed");
    stream.produce(&kafka, 30).await;
    client.read_until(&mut tally, 90).await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_resumes_total{outcome=\"resumed\"}"),
        1
    );
}

async fn moving_back_and_forth_under_load_loses_and_repeats_nothing(kafka: Kafka) {
    const MOVES: usize = 20;
    let apps = [TestApp::start(&kafka).await, TestApp::start(&kafka).await];
    let mut tally = Tally::default();
    let mut client = Client::connect(apps[0].public, &auth("u1", "o1", &["channel:7"])).await;

    let kafka = std::sync::Arc::new(kafka);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let (told, total) = tokio::sync::oneshot::channel();
    let producing = kafka.clone();
    let load = Background::start(async move {
        let mut stream = Stream::new(&producing, 3, 50);
        while !*stopped.borrow_and_update() {
            stream.produce(&producing, 7).await;
            tokio::task::yield_now().await;
        }
        told.send(stream.total()).unwrap();
    });
    for number in 1..=MOVES {
        let some = tally.count + 20 + 13 * (number % 5);
        client.read_until(&mut tally, some).await;
        let cursor = client.cursor();
        client.cut();
        client = Client::connect(apps[number % 2].public, &resume(&cursor)).await;
        assert_eq!(client.welcome["resume"], "resumed", "move {number}");
    }
    stop.send_replace(true);
    let total = total.await.unwrap();
    client.read_until(&mut tally, total).await;
    drop(load);
    let metrics = [apps[0].metrics().await, apps[1].metrics().await];
    let resumed =
        metrics.map(|metrics| metrics.value("fleetcast_resumes_total{outcome=\"resumed\"}"));
    assert_eq!(resumed, [10, 10]);
    drop(apps);
}
