//! `reconnect=false` for clients that cannot be told at once: the DISCONNECT reaches them all the same.

use std::time::Duration;

use tokio::time::sleep;

use super::ask;
use crate::harness::{
    Client, Kafka, Packet, Polling, Stream, Tally, TestApp, Way, auth, eventually, open_websocket,
};

/// Longer than a client that reads has for the DISCONNECT.
const LATE: Duration = Duration::from_secs(4);

/// The connection of `u1`.
async fn dismiss(app: &TestApp) {
    let page = ask(app, "GET", "/api/connections?user_id=u1", None)
        .await
        .json();
    let id = page["connections"][0]["connection_id"].as_str().unwrap();
    let target = format!("/api/connections/{id}?reconnect=false");
    assert_eq!(ask(app, "DELETE", &target, None).await.status, 200);
    assert_eq!(ask(app, "DELETE", &target, None).await.status, 404);
}

/// Reads on to the DISCONNECT, and to the end of the transport behind it.
async fn is_dismissed(client: &mut Client) {
    loop {
        match client.packet().await {
            Some(Packet::Disconnect) => break,
            Some(Packet::Event(_)) => {}
            other => panic!("no DISCONNECT: {other:?}"),
        }
    }
    assert!(client.packet().await.is_none(), "the transport is closed");
}

/// A client of `u1` that has stopped reading, with as much on its way as it may have.
async fn lagging(kafka: &Kafka, app: &TestApp) -> Client {
    let slow = Way {
        receive_buffer: Some(4096),
        ..app.public.into()
    };
    let client = Client::connect(slow, &auth("u1", "o1", &["channel:7"])).await;
    // The mock broker keeps 5 MiB of a partition, so the log must be read as it grows.
    let mut fast = Client::connect(app.public, &auth("u2", "o1", &["channel:7"])).await;
    let mut tally = Tally::default();
    let mut stream = Stream::new(kafka, 6, 20_000);
    eventually("it lags", async || {
        stream.produce(kafka, 60).await;
        fast.read_until(&mut tally, stream.total()).await;
        let lagging = app.metrics().await.value("fleetcast_lagging_connections");
        (lagging == 1).then_some(())
    })
    .await;
    fast.cut();
    client
}

#[tokio::test]
async fn slow_client_is_dismissed_behind_what_is_on_its_way() {
    for lane in ["on", "off"] {
        let kafka = Kafka::mock(&[("transmission", 6)]).await;
        let app = TestApp::start_with(&kafka, &[("FLEETCAST_LANE", lane)]).await;
        let mut client = lagging(&kafka, &app).await;
        dismiss(&app).await;
        sleep(LATE).await;
        is_dismissed(&mut client).await;
        app.empty().await;
    }
}

#[tokio::test]
async fn client_that_never_reads_again_is_closed_although_it_was_to_be_dismissed() {
    let kafka = Kafka::mock(&[("transmission", 6)]).await;
    let app = TestApp::start_with(&kafka, &[("SLOW_CLIENT_TIMEOUT", "3")]).await;
    let client = lagging(&kafka, &app).await;
    dismiss(&app).await;
    app.empty().await;
    drop(client);
}

#[tokio::test]
async fn client_that_polls_late_is_dismissed_by_that_poll() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let polling = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    while !polling.get().await.body.contains("connection_established") {}
    dismiss(&app).await;
    sleep(LATE).await;
    let answer = polling.get().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "41"));
    app.empty().await;
}

#[tokio::test]
async fn client_that_changes_its_transport_is_dismissed_after_that() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let polling = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    while !polling.get().await.body.contains("connection_established") {}
    let mut client = Client::over(open_websocket(app.public.into(), Some(&polling.sid)).await);
    dismiss(&app).await;
    sleep(LATE).await;
    client.send("2probe").await;
    assert!(matches!(client.packet().await, Some(Packet::Probed)));
    client.send("5").await;
    is_dismissed(&mut client).await;
    app.empty().await;
}
