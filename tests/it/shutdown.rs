//! The end.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Client, Kafka, Polling, Stream, Tally, TestApp, auth, eventually, handshake};

const DRAIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_signal_closes_fifty_connections_over_the_drain_without_a_close_packet() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let mut app = TestApp::start_with(&kafka, &[("DRAIN_SECONDS", "2")]).await;
    let mut clients = Vec::new();
    for number in 0..50 {
        let auth = auth(&format!("u{number}"), "o1", &["channel:7"]);
        clients.push(Client::connect(app.public, &auth).await);
    }
    let polling = Polling::connect(app.public, &auth("p", "o1", &["channel:7"])).await;
    polling.poll().await;
    Stream::new(&kafka, 1, 50).produce(&kafka, 5).await;

    app.terminate();
    let begin = Instant::now();
    let ends = join_all(clients.into_iter().map(|mut client| async move {
        // Fails at a packet that tells the client never to come back.
        let mut tally = Tally::default();
        for event in client.read_to_end().await {
            tally.note(&event);
        }
        begin.elapsed()
    }));
    let refusals = async {
        eventually("it drains", async || {
            let answer = app.get("/ready").await;
            (answer.status == 503).then(|| assert_eq!(answer.json()["status"], "draining"))
        })
        .await;
        let (status, retry_after) = handshake(app.public, "polling", &[]).await;
        assert_eq!((status, retry_after.is_some()), (503, true));
    };
    let held = async {
        // A poll that is held may be answered with what was on its way; after that the session is unknown.
        loop {
            match crate::harness::request(app.public, "GET", &polling.target(), &[], "").await {
                Ok(answer) if answer.status == 200 => assert!(!answer.body.contains("\u{1e}1")),
                Ok(answer) => break assert_eq!(answer.json()["code"], json!(1)),
                Err(_) => break,
            }
        }
    };
    let (ends, (), ()) = tokio::join!(ends, refusals, held);
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(
        *last > DRAIN / 2 && *first < DRAIN / 2,
        "spread: {first:?} to {last:?}"
    );
    eventually("it has ended", async || app.exited()).await;
    assert!(begin.elapsed() < DRAIN + Duration::from_secs(5));
    app.stop();
}

#[tokio::test]
async fn a_second_signal_cuts_the_drain_short() {
    let kafka = Kafka::mock(&[]).await;
    let mut app = TestApp::start_with(&kafka, &[("DRAIN_SECONDS", "60")]).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        clients.push(Client::connect(app.public, &auth(&format!("u{number}"), "o1", &[])).await);
    }
    app.terminate();
    app.wait_for_status("draining").await;
    app.terminate();
    let begin = Instant::now();
    eventually("it has ended", async || app.exited()).await;
    assert!(begin.elapsed() < Duration::from_secs(5));
    for mut client in clients {
        client.read_to_end().await;
    }
}
