//! Clients that do not keep up.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::harness::{Client, Kafka, Proxy, Stream, Tally, TestApp, Way, auth, eventually};

const PARTITIONS: usize = 6;
/// Bytes; with the number of records 30 MB.
const RECORD: usize = 20_000;
const RECORDS: usize = 1500;

/// For all its memory: the window with 30 MB of records, what is on its way, and the process itself. 60 MB were seen.
const RESIDENT: u64 = 100 * 1024 * 1024;

#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "a small number"
)]
async fn thirty_megabytes() -> (Kafka, Stream) {
    let kafka = Kafka::mock(&[("transmission", PARTITIONS as i32)]).await;
    let stream = Stream::new(&kafka, PARTITIONS, RECORD);
    (kafka, stream)
}

fn slow(app: &TestApp) -> Way {
    Way {
        receive_buffer: Some(4096),
        ..app.public.into()
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_slows_no_other_and_gets_all_in_the_end() {
    let (kafka, mut stream) = thirty_megabytes().await;
    let app = TestApp::start(&kafka).await;
    let mut fast = Vec::new();
    for number in 0..3 {
        let auth = auth(&format!("u{number}"), "o1", &["channel:7"]);
        fast.push((Client::connect(app.public, &auth).await, Tally::default()));
    }
    let mut stopped = Client::connect(slow(&app), &auth("slow", "o1", &["channel:7"])).await;
    // The mock broker keeps 5 MiB of a partition, so the log must be read as it grows.
    for _ in 0..RECORDS / 60 {
        stream.produce(&kafka, 60).await;
        let total = stream.total();
        let reads = fast
            .iter_mut()
            .map(|(client, tally)| client.read_until(tally, total));
        join_all(reads).await;
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics.value("fleetcast_lagging_connections"), 1);
    let resident = app.resident();
    assert!(resident < RESIDENT, "{resident} bytes");

    let mut tally = Tally::default();
    stopped.read_until(&mut tally, RECORDS).await;
    eventually("it is live again", async || {
        let metrics = app.metrics().await;
        (metrics.value("fleetcast_lagging_connections") == 0).then_some(())
    })
    .await;
    stream.produce(&kafka, 6).await;
    stopped.read_until(&mut tally, RECORDS + 6).await;
    assert_eq!(app.metrics().await.sum("fleetcast_disconnects_total"), 0);
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_closed() {
    let (kafka, mut stream) = thirty_megabytes().await;
    let app = TestApp::start_with(&kafka, &[("SLOW_CLIENT_TIMEOUT", "2")]).await;
    let mut fast = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stopped = Vec::new();
    for _ in 0..3 {
        stopped.push(Client::connect(slow(&app), &auth("u2", "o1", &["channel:7"])).await);
    }
    let mut tally = Tally::default();
    for _ in 0..5 {
        stream.produce(&kafka, 60).await;
        fast.read_until(&mut tally, stream.total()).await;
    }
    let begin = Instant::now();
    eventually("they are closed", async || {
        let metrics = app.metrics().await;
        let stalled = metrics.value("fleetcast_disconnects_total{reason=\"write_stall\"}");
        (stalled == 3 && metrics.sum("fleetcast_connections") == 1).then_some(())
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(8));
    assert_eq!(
        app.metrics().await.value("fleetcast_lagging_connections"),
        0
    );
    stream.produce(&kafka, 6).await;
    fast.read_until(&mut tally, stream.total()).await;
    fast.cut();
    app.empty().await;
    drop(stopped);
}

/// Fast ones may have most on their way: these read well until they stop.
#[tokio::test]
async fn clients_that_stop_cost_at_most_a_mebibyte_each_in_the_process_and_the_kernel() {
    const CLIENTS: u64 = 20;
    const MOST: u64 = 1024 * 1024;
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    // The window is full before anything is measured.
    let more = [("FLEETCAST_WINDOW_BYTES", "1MiB")];
    let app = TestApp::start_with(&kafka, &more).await;
    let mut stream = Stream::new(&kafka, 3, 1000);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let auth = auth(&format!("u{number}"), "o1", &["channel:7"]);
        clients.push((Client::connect(slow(&app), &auth).await, Tally::default()));
    }
    for _ in 0..15 {
        stream.produce(&kafka, 100).await;
        let total = stream.total();
        let reads = clients
            .iter_mut()
            .map(|(client, tally)| client.read_until(tally, total));
        join_all(reads).await;
    }
    let (resident, queued) = (app.resident(), app.queued_by_the_kernel());
    for _ in 0..15 {
        stream.produce(&kafka, 100).await;
    }
    let lagging = eventually("they are full, and left behind", async || {
        let metrics = app.metrics().await;
        let lag = metrics.sum("fleetcast_kafka_lag");
        let lagging = metrics.value("fleetcast_lagging_connections");
        (lag == 0 && lagging == CLIENTS).then_some(lagging)
    })
    .await;
    let in_process = app.resident().saturating_sub(resident) / lagging;
    let in_kernel = app.queued_by_the_kernel().saturating_sub(queued) / lagging;
    assert!(in_kernel > 0, "none of them is stopped");
    assert!(
        in_process + in_kernel < MOST,
        "{in_process} and {in_kernel} bytes"
    );
}

#[tokio::test]
async fn ten_thousand_commands_without_reading_slow_no_other_client() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut neighbour = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut flood = Client::connect(slow(&app), &auth("u2", "o1", &["channel:7"])).await;
    for id in 0..10_000 {
        // A client that sends on without reading may be disconnected.
        if flood.try_send(&format!("42{id}[\"rooms\"]")).await.is_err() {
            break;
        }
    }
    let mut stream = Stream::new(&kafka, 1, 50);
    stream.produce(&kafka, 10).await;
    neighbour.read_until(&mut Tally::default(), 10).await;
    let rooms = neighbour.command("rooms", &serde_json::json!({})).await;
    assert_eq!(rooms["success"], true);
    flood.cut();
    neighbour.cut();
    app.empty().await;
}

/// A lost phone signal: nothing arrives, nothing is closed.
#[tokio::test]
async fn a_dead_connection_is_detected_by_the_heartbeat_and_resumed() {
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    let more = [("PING_INTERVAL", "1"), ("PING_TIMEOUT", "2")];
    let app = TestApp::start_with(&kafka, &more).await;
    let wire = Proxy::to(app.public).await;
    let mut client = Client::connect(wire.address, &auth("u1", "o1", &[])).await;
    client.subscribe("channel:7").await;
    let mut stream = Stream::new(&kafka, 3, 50);
    let mut tally = Tally::default();
    stream.produce(&kafka, 30).await;
    client.read_until(&mut tally, 30).await;
    wire.stall();
    stream.produce(&kafka, 30).await;
    app.empty().await;
    let metrics = app.metrics().await;
    let lost = metrics.value("fleetcast_disconnects_total{reason=\"heartbeat\"}");
    assert_eq!(lost, 1);

    wire.restore();
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = serde_json::json!(client.cursor());
    let mut client = Client::connect(wire.address, &resume).await;
    client.read_until(&mut tally, 60).await;
}
