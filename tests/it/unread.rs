//! Clients that send and do not read: what they send, and what they are answered, must not pile up.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::{Client, Kafka, Packet, Proxy, TestApp, Way, auth, eventually};

/// What is looked at here is behind the limit of commands and packets in a second.
const FREE: (&str, &str) = ("COMMANDS_PER_SECOND", "0");

const CLIENTS: u64 = 10;
/// Bytes for each of them, as is promised: what is on its way to them, their commands and all else.
const MOST: u64 = 1024 * 1024;

/// Holds so many rooms that the list of them takes 14 KB, and takes in next to nothing that it does not read.
async fn deaf(address: SocketAddr, number: u64) -> Client {
    let rooms: Vec<_> = (0..190).map(|room| format!("channel:{room:064}")).collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    let way = Way {
        receive_buffer: Some(4096),
        ..address.into()
    };
    let auth = auth(&format!("u{number}"), "o1", &rooms);
    let mut client = Client::connect(way, &auth).await;
    client.enter("/ws", &auth).await;
    client
}

/// With what they cost so far.
async fn deaf_clients(app: &TestApp) -> (Vec<Client>, u64) {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(deaf(app.public, number).await);
    }
    (clients, app.resident())
}

fn grown(app: &TestApp, before: u64) -> u64 {
    app.resident().saturating_sub(before) / CLIENTS
}

async fn cut_off(app: &TestApp, reason: &str) -> u64 {
    let series = format!("fleetcast_disconnects_total{{reason=\"{reason}\"}}");
    app.metrics().await.value(&series)
}

#[tokio::test]
async fn large_commands_that_wait_are_bounded_by_their_bytes() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(&kafka, &[FREE]).await;
    let (mut clients, before) = deaf_clients(&app).await;
    let large = format!("[\"x\",\"{}\"]", "a".repeat(65_000));
    for client in &mut clients {
        // Answers that fill the way out, 14 KB each, and what waits behind them.
        for id in 0..200 {
            client.send(&format!("42{id}[\"rooms\"]")).await;
        }
        for number in 0..250 {
            let namespace = if number % 2 == 0 { "" } else { "/ws," };
            // A client that sends on without reading may be disconnected.
            if client
                .try_send(&format!("42{namespace}{large}"))
                .await
                .is_err()
            {
                break;
            }
        }
    }
    eventually("they are cut off", async || {
        (cut_off(&app, "msg_rate").await == 2 * CLIENTS).then_some(())
    })
    .await;
    let grown = grown(&app, before);
    assert!(grown < MOST, "{grown} bytes each");
    app.empty().await;
}

/// Nothing of a command is kept but whom to answer, and the answers, 14 KB each, are not made before there is room.
#[tokio::test]
async fn commands_whose_answers_come_to_be_known_together_are_bounded() {
    /// As many as may be under way: together they are larger than what is promised.
    const ACKS: u64 = 250;
    let kafka = Kafka::mock(&[("transmission", 1), ("receipts", 1)]).await;
    let wire = Proxy::to_broker(&kafka.address).await;
    let (address, receipts) = (wire.address.to_string(), kafka.topic("receipts"));
    let more = [
        FREE,
        ("KAFKA_BOOTSTRAP_SERVERS", address.as_str()),
        ("RECEIPTS_TOPIC", &receipts),
    ];
    let app = TestApp::start_with(&kafka, &more).await;
    let (mut clients, before) = deaf_clients(&app).await;
    wire.stall();
    let ack = json!(["ack", {"id": "transmission/0/7", "note": "a".repeat(6_000)}]).to_string();
    for client in &mut clients {
        for id in 1_000..1_000 + ACKS {
            client.send(&format!("42{id}{ack}")).await;
            if id % 25 == 24 {
                // Answered behind them: more of them at once than may wait would end the connection.
                let rooms = client.command("rooms", &json!({})).await;
                assert_eq!(rooms["success"], true);
            }
        }
    }
    let waiting = grown(&app, before);
    assert!(waiting < MOST, "{waiting} bytes each");

    wire.restore();
    eventually("all are kept", async || {
        let metrics = app.metrics().await;
        (metrics.sum("fleetcast_receipts_total") == ACKS * CLIENTS).then_some(())
    })
    .await;
    let answered = grown(&app, before);
    assert!(answered < MOST, "{answered} bytes each");
    for client in &mut clients {
        let mut told = BTreeSet::new();
        while (told.len() as u64) < ACKS {
            if let Packet::Ack { id, answer, .. } =
                client.packet().await.expect("it is not cut off")
            {
                assert_eq!(answer["success"], true, "{id}: {answer}");
                told.insert(id);
            }
        }
    }
}

/// Is answered all the while, and answers the heartbeat.
async fn asks_on(client: &mut Client) {
    loop {
        let rooms = client.command("rooms", &json!({})).await;
        assert_eq!(rooms["success"], true);
        sleep(Duration::from_millis(200)).await;
    }
}

/// The library answers each, and bounds the answers by nothing.
#[tokio::test]
async fn pings_of_the_websocket_without_end_are_bounded() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(&kafka, &[FREE, ("SLOW_CLIENT_TIMEOUT", "5")]).await;
    let mut neighbour = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let (mut clients, before) = deaf_clients(&app).await;
    let floods = clients
        .iter_mut()
        .enumerate()
        .map(async |(number, client)| {
            let bytes = if number == 0 { 0 } else { 125 };
            // Until it is cut off. What the buffers on the way hold of empty ones is not known.
            for _ in 0..2_000_000 {
                if client.try_ping(bytes).await.is_err() {
                    break;
                }
            }
        });
    tokio::select! {
        _ = join_all(floods) => {}
        () = asks_on(&mut neighbour) => {}
    }
    eventually("they are cut off", async || {
        // Where the library stops to read before the bound is met nothing comes in any more, and the stall ends it.
        let one_sided = cut_off(&app, "msg_rate").await;
        (one_sided + cut_off(&app, "write_stall").await == 2 * CLIENTS).then_some(())
    })
    .await;
    let grown = grown(&app, before);
    assert!(grown < MOST, "{grown} bytes each");
}
