//! Long polling, and the change to WebSocket.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Kafka, Packet, Polling, Stream, Tally, TestApp, auth, eventually};

/// python-engineio refuses a payload of more.
const PACKETS: usize = 16;

#[tokio::test]
async fn a_client_that_polls_slowly_gets_everything_in_order_in_small_answers() {
    const RECORDS: usize = 400;
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    let app = TestApp::start(&kafka).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 3, 100);
    let mut tally = Tally::default();
    stream.produce(&kafka, RECORDS).await;
    while tally.count < RECORDS {
        let packets = client.poll().await;
        assert!(packets.len() <= PACKETS, "{} packets", packets.len());
        for packet in packets {
            if let Packet::Event(event) = packet {
                tally.note(&event);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Live again: the next record answers a poll that is held.
    let held = async {
        loop {
            for packet in client.poll().await {
                if let Packet::Event(event) = packet {
                    tally.note(&event);
                }
            }
            if tally.count > RECORDS {
                break;
            }
        }
    };
    tokio::join!(held, stream.produce(&kafka, 1));
    client.post("41").await;
    eventually("it has left", async || {
        let left = app.metrics().await;
        (left.value("fleetcast_disconnects_total{reason=\"client_left\"}") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_in_the_midst_of_a_replay_loses_and_repeats_nothing() {
    const RECORDS: usize = 120;
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    let app = TestApp::start(&kafka).await;
    let first = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(first.cursor());
    first.cut();
    // It is to have none of the deliveries that are counted.
    app.empty().await;
    let mut stream = Stream::new(&kafka, 3, 200);
    stream.produce(&kafka, RECORDS).await;
    for round in 0..50 {
        let client = Polling::connect(app.public, &resume).await;
        let mut tally = Tally::default();
        let mut note = |packets: Vec<Packet>| {
            for packet in packets {
                if let Packet::Event(event) = packet {
                    tally.note(&event);
                }
            }
        };
        for _ in 0..round % 7 {
            note(client.poll().await);
        }
        let (mut client, packets) = client.upgrade(round % 2 == 0).await;
        note(packets);
        client.read_until(&mut tally, RECORDS).await;
        // What would come twice comes before the answer.
        let rooms = client.command("rooms", &json!({})).await;
        assert_eq!(rooms["success"], true, "round {round}");
        client.cut();
    }
    app.empty().await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_resumes_total{outcome=\"resumed\"}"),
        50
    );
    assert_eq!(
        metrics.sum("fleetcast_deliveries_total") % 120,
        0,
        "each once to each"
    );
}

#[tokio::test]
async fn a_polling_session_that_goes_silent_is_forgotten() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = [("PING_INTERVAL", "1"), ("PING_TIMEOUT", "2")];
    let app = TestApp::start_with(&kafka, &more).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    client.poll().await;
    app.empty().await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_disconnects_total{reason=\"heartbeat\"}"),
        1
    );
    assert_eq!(client.get().await.status, 400);
}
