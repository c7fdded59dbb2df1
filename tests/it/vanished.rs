//! Peers that are gone without a word: no FIN, no reset, not even an acknowledgement of TCP.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{
    Client, Kafka, Polling, Stream, Tally, TestApp, auth, eventually, open_websocket, vanish,
};

/// All that counts connections or what they hold, and the kernel's count of the process's sockets.
#[derive(Debug, PartialEq)]
struct Held {
    connections: Vec<String>,
    lagging: u64,
    stats: Vec<Value>,
    sockets: usize,
}

async fn held(app: &TestApp) -> Held {
    let metrics = app.metrics().await;
    let stats = app.get("/stats").await.json();
    let mut connections: Vec<_> = metrics
        .0
        .lines()
        .filter(|line| line.starts_with("fleetcast_connections{") && !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect();
    connections.sort();
    let fields = ["sessions", "connections", "lagging", "rooms", "total_rooms"];
    Held {
        connections,
        lagging: metrics.value("fleetcast_lagging_connections"),
        stats: fields.map(|field| stats[field].clone()).into(),
        sockets: app.sockets(),
    }
}

#[tokio::test]
async fn a_vanished_client_is_closed_within_the_ping_timeout_and_leaves_nothing_behind() {
    let kafka = Kafka::mock(&[("transmission", 2)]).await;
    let more = [
        ("PING_INTERVAL", "2"),
        ("PING_TIMEOUT", "6"),
        // A poll that was answered with a ping leaves an idle HTTP connection behind, which outlives the session.
        ("KEEP_ALIVE_TIMEOUT", "7"),
    ];
    let app = TestApp::start_with(&kafka, &more).await;
    let mut stream = Stream::new(&kafka, 2, 20_000);
    let mut stays = Client::connect(app.public, &auth("u0", "o1", &["channel:7"])).await;
    let mut tally = Tally::default();
    stream.produce(&kafka, 2).await;
    stays.read_until(&mut tally, 2).await;
    let before = held(&app).await;

    // In a room of its own: its only members are to be gone.
    let idle = Client::connect(app.public, &auth("u1", "o1", &["channel:8"])).await;
    let mut both = Client::connect(app.public, &auth("u2", "o1", &["asset:9"])).await;
    both.enter("/ws", &auth("u2", "o1", &["asset:9"])).await;
    let unwelcome = Client::open(app.public).await;
    let loaded = Client::connect(app.public, &auth("u4", "o1", &["channel:7"])).await;
    let polls = Polling::connect(app.public, &auth("u5", "o1", &["channel:7"])).await;
    polls.poll().await;
    let mut held_poll = TcpStream::connect(app.public).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", polls.target());
    held_poll.write_all(request.as_bytes()).await.unwrap();
    let between = Polling::connect(app.public, &auth("u6", "o1", &["channel:7"])).await;
    between.poll().await;
    let mut upgrading = open_websocket(app.public.into(), Some(&between.sid)).await;
    assert_eq!(app.metrics().await.sum("fleetcast_connections"), 7);

    let begin = Instant::now();
    for client in [&idle, &both, &unwelcome, &loaded] {
        client.vanish();
    }
    vanish(&held_poll);
    vanish(upgrading.get_mut());
    // More than its window and all buffers take: a write waits when it is given up.
    for _ in 0..10 {
        stream.produce(&kafka, 30).await;
        stays.read_until(&mut tally, stream.total()).await;
    }
    eventually("all is as it was", async || {
        // Answers the pings of the one that stays.
        stays.command("rooms", &json!({})).await;
        let now = held(&app).await;
        (now == before).then_some(())
    })
    .await;
    let waited = begin.elapsed();
    // An upgrade that is not finished has 10 s; the others are given up within 8.
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    let metrics = app.metrics().await;
    let lost = metrics.value("fleetcast_disconnects_total{reason=\"heartbeat\"}");
    // The library has another reason for the upgrade. The disconnect handler of each has run, and none twice.
    assert_eq!(lost, 5, "{}", metrics.0);
    assert_eq!(metrics.sum("fleetcast_disconnects_total"), 6);
    stream.produce(&kafka, 10).await;
    stays.read_until(&mut tally, stream.total()).await;
    drop((idle, both, unwelcome, loaded, held_poll, upgrading));
}
