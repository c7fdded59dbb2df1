//! `MAX_RSS`, in a control group whose limit the kernel enforces: what does not fit is refused or shortened, and the process lives.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::harness::{
    Cgroup, Client, Kafka, Stream, Tally, TestApp, auth, eventually, handshake, record, within,
};

const LIMIT: u64 = 256 << 20;
const MAX_RSS: &str = "200MiB";
/// Payload of a record that only the window wants: nearly.
const HEAVY: usize = 100_000;
const REFUSED: &str = "fleetcast_refused_total{reason=\"mem_shed\"}";
const SHORTENED: &str = "fleetcast_window_shortened_total";

/// Fills the window, no faster than it is read: the mock broker keeps 5 MB of each partition.
struct Feed<'a> {
    kafka: &'a Kafka,
    heavy: String,
    light: Stream,
    /// Of the follower, which has seen everything.
    seen: Tally,
    follower: Client,
}

impl<'a> Feed<'a> {
    async fn new(kafka: &'a Kafka, app: &TestApp) -> Self {
        let filler = "x".repeat(HEAVY);
        let data = json!({ "channel_id": "9", "filler": filler });
        Self {
            kafka,
            heavy: record("transmission_started", "o1", &data).to_string(),
            light: Stream::new(kafka, 1, 10),
            seen: Tally::default(),
            follower: Client::connect(app.public, &auth("follower", "o1", &["channel:7"])).await,
        }
    }

    /// So many heavy ones, and a light one behind them that has been read.
    async fn round(&mut self, heavy: usize) {
        let topic = self.kafka.topic("transmission");
        let records = vec![(0, self.heavy.clone()); heavy];
        self.kafka.produce_all(&topic, records).await;
        self.light.produce(self.kafka, 1).await;
        let total = self.light.total();
        self.follower.read_until(&mut self.seen, total).await;
    }
}

async fn window_seconds(app: &TestApp) -> u64 {
    let stats = app.get("/stats").await.json();
    stats["window"]["seconds"].as_u64().unwrap()
}

async fn is_shortened(app: &TestApp) -> bool {
    app.metrics().await.value(SHORTENED) > 0
}

#[tokio::test]
async fn a90_short_of_memory_new_clients_are_refused_the_window_shrinks_and_live_ones_lose_nothing()
{
    const LIVE: usize = 200;
    let Some(cgroup) = Cgroup::with_memory(LIMIT) else {
        return;
    };
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let mut app = TestApp::start_in(&cgroup, &kafka, &[("MAX_RSS", MAX_RSS)]).await;
    let mut feed = Feed::new(&kafka, &app).await;
    let enter = (0..LIVE).map(async |n| {
        let auth = auth(&format!("u{n}"), "o1", &["channel:7"]);
        Client::connect(app.public, &auth).await
    });
    let mut live = join_all(enter).await;
    // One that will be away, and one that stops reading.
    let away = auth("away", "o1", &["channel:7"]);
    let mut client = Client::connect(app.public, &away).await;
    let stalled = auth("stalled", "o1", &["channel:9"]);
    let mut stalled = Client::connect(app.public, &stalled).await;
    let mut other = Client::connect(app.public, &auth("other", "o1", &[])).await;
    feed.round(1).await;
    client.expect("transmission_started").await;
    let cursor = client.cursor();
    client.cut();

    let mut refused = BTreeSet::new();
    let mut next = Instant::now();
    let deadline = next + Duration::from_mins(1);
    while !is_shortened(&app).await {
        assert!(
            Instant::now() < deadline,
            "never: {}",
            app.metrics().await.0
        );
        for _ in 0..3 {
            feed.round(12).await;
            next += Duration::from_millis(100);
            sleep_until(next).await;
        }
        let (status, retry_after) = handshake(app.public, "polling", &[]).await;
        if status != 200 && refused.insert((status, retry_after)) {
            // It is connected, whatever else it does.
            other.enter("/ws", &auth("other", "o1", &[])).await;
        }
        assert!(app.exited().is_none(), "killed");
    }
    assert_eq!(refused, [(503, Some("10".to_owned()))].into());
    assert!(app.metrics().await.value(REFUSED) > 0);
    // What is older than 10 s goes, and no more than that.
    let left = within(
        Duration::from_secs(20),
        "the window is shorter",
        async || {
            feed.round(0).await;
            let stats = app.get("/stats").await.json();
            let window = &stats["window"];
            (window["bytes"].as_u64() <= window["limit_bytes"].as_u64()).then(|| window.clone())
        },
    )
    .await;
    assert!(left["evicted_early"].as_u64() > Some(0), "{left}");
    assert!(window_seconds(&app).await >= 9, "{left}");

    app.wait_for_status("ready").await;
    let mut late = Client::connect(app.public, &auth("late", "o1", &[])).await;
    let promised = late.welcome["window_seconds"].as_u64().unwrap();
    assert!((9..120).contains(&promised), "{promised} s");
    assert!(late.command("rooms", &json!({})).await["success"] == true);
    let mut away = away;
    away["cursor"] = cursor.into();
    let back = Client::connect(app.public, &away).await;
    assert_eq!(back.welcome["resume"], "resync");
    loop {
        let event = stalled.record().await;
        if event.name == "resync_required" {
            break;
        }
    }
    feed.round(1).await;
    let total = feed.light.total();
    for client in &mut live {
        let mut tally = Tally::default();
        client.read_until(&mut tally, total).await;
    }
    assert_eq!(cgroup.killed(), 0);
    let log = app.stop().join("\n");
    for line in [
        "memory is near MAX_RSS: refusing new connections",
        "memory is near MAX_RSS: shortening the window",
        "there is memory again: accepting new connections",
    ] {
        assert!(log.contains(line), "{line}");
    }
}

/// Then even the last ten seconds are too much.
#[tokio::test]
async fn a90_a_flood_that_fills_the_memory_within_seconds_does_not_end_the_process() {
    let Some(cgroup) = Cgroup::with_memory(LIMIT) else {
        return;
    };
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let mut app = TestApp::start_in(&cgroup, &kafka, &[("MAX_RSS", MAX_RSS)]).await;
    let mut feed = Feed::new(&kafka, &app).await;
    let began = Instant::now();
    // Half as much again as the group may take.
    for _ in 0..LIMIT * 3 / 2 / (20 * HEAVY as u64) {
        feed.round(20).await;
        assert!(app.exited().is_none(), "killed");
        if began.elapsed() > Duration::from_secs(30) {
            break;
        }
    }
    assert!(is_shortened(&app).await);
    eventually("new clients are accepted", async || {
        feed.round(0).await;
        let (status, _) = handshake(app.public, "polling", &[]).await;
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(cgroup.killed(), 0);
}

/// A WebSocket without a namespace; `None`: it was refused.
async fn websocket(app: &TestApp) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(app.public).await.unwrap();
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (&status == b"HTTP/1.1 101").then_some(stream)
}

/// It is not the window that takes the memory, and no setting that is too large: there are too many clients.
#[tokio::test]
async fn a90_where_clients_fill_the_memory_more_are_refused_until_others_have_left() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("MAX_RSS", "64MiB")]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut others = Vec::new();
    while app.metrics().await.value(REFUSED) == 0 {
        let taken = app.resident();
        assert!(others.len() < 5_000, "{taken} bytes are not refused");
        let more = join_all((0..100).map(|_| websocket(&app))).await;
        others.extend(more.into_iter().flatten());
    }
    let report = app.wait_for_status("degraded").await;
    let reason = report["components"]["memory"]["reason"].as_str().unwrap();
    assert!(reason.contains("of 64 MiB (MAX_RSS) are taken"), "{reason}");
    // It is served, and may enter another namespace.
    client.enter("/ws", &auth("u1", "o1", &[])).await;
    drop(others);
    within(
        Duration::from_secs(40),
        "clients are accepted",
        async || websocket(&app).await.map(drop),
    )
    .await;
    app.wait_for_status("ready").await;
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
}
