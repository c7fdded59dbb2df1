//! The lane, seen from outside: what a client can tell of it, and of the other roads that packets take.

mod asks;
mod bursts;
mod cuts;
mod steps;

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::harness::{Client, Event, Kafka, Packet, Polling, TestApp, auth, record};

/// How packets come to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    /// WebSocket, below the library.
    Lane,
    /// WebSocket, through the library.
    Library,
    Polling,
    /// By polling, and then by the lane.
    Upgrade,
}

impl Road {
    async fn app(self, kafka: &Kafka) -> TestApp {
        let receipts = kafka.topic("receipts");
        let lane = if self == Self::Library { "off" } else { "on" };
        let more = [("FLEETCAST_LANE", lane), ("RECEIPTS_TOPIC", &receipts)];
        TestApp::start_with(kafka, &more).await
    }
}

enum Wire {
    WebSocket(Box<Client>),
    Polling(Polling),
}

/// A client that does not wait for anything before it sends.
struct Line {
    wire: Option<Wire>,
    packets: VecDeque<Packet>,
}

impl Line {
    /// CONNECT is sent, and at least one packet of its answer is not read.
    async fn connect(app: &TestApp, road: Road, auth: &Value) -> Self {
        let mut packets = VecDeque::new();
        let wire = match road {
            Road::Lane | Road::Library => {
                let mut client = Client::open(app.public).await;
                client.send(&format!("40{auth}")).await;
                // At an event that comes before, the library closes the transport.
                let first = client.packet().await.unwrap();
                assert!(matches!(first, Packet::Connect { .. }), "{first:?}");
                packets.push_back(first);
                Wire::WebSocket(Box::new(client))
            }
            Road::Polling | Road::Upgrade => {
                Wire::Polling(Polling::connect(app.public, auth).await)
            }
        };
        Self {
            wire: Some(wire),
            packets,
        }
    }

    /// All of them at once.
    async fn send(&mut self, packets: &[String]) {
        match self.wire.as_mut().unwrap() {
            Wire::Polling(polling) => polling.post(&packets.join("\u{1e}")).await,
            Wire::WebSocket(client) => {
                for packet in packets {
                    client.send(packet).await;
                }
            }
        }
    }

    async fn upgrade(&mut self) {
        let Some(Wire::Polling(polling)) = self.wire.take() else {
            panic!("it polls");
        };
        let (client, packets) = polling.upgrade(true).await;
        self.packets.extend(packets);
        self.wire = Some(Wire::WebSocket(Box::new(client)));
    }

    async fn packet(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return packet;
            }
            match self.wire.as_mut().unwrap() {
                Wire::Polling(polling) => self.packets.extend(polling.poll().await),
                Wire::WebSocket(client) => {
                    let packet = client.packet().await.expect("the connection is closed");
                    self.packets.push_back(packet);
                }
            }
        }
    }
}

/// A command with the number of its acknowledgement.
fn command(id: u64, event: &str, payload: &Value) -> String {
    format!("42{id}{}", json!([event, payload]))
}

fn rooms(channels: impl IntoIterator<Item = usize>) -> Vec<String> {
    let channels = channels.into_iter();
    channels.map(|number| format!("channel:{number}")).collect()
}

/// Channel and number of a record.
fn numbered(event: &Event) -> Option<(usize, u64)> {
    let data = event.args.first()?.get("data")?;
    let channel = data["channel_id"].as_str()?.parse().ok()?;
    Some((channel, data["n"].as_u64()?))
}

fn is_end(event: &Event) -> bool {
    event.name == "incident_created"
}

async fn produce_end(kafka: &Kafka) {
    let end = record("incident_created", "o1", &json!({}));
    kafka.produce("transmission", end).await;
}

async fn produce_positions(kafka: &Kafka) {
    for asset in 0..POSITIONS {
        let value = record(
            "asset_position_updated",
            "o1",
            &json!({ "asset_id": asset }),
        );
        kafka.produce("asset", value).await;
    }
}

const POSITIONS: usize = 3;

/// What comes up to the end to a client that goes on from this cursor.
async fn resumed(app: &TestApp, cursor: &str, channels: &BTreeSet<usize>) -> Vec<(usize, u64)> {
    let channels = rooms(channels.iter().copied());
    let channels: Vec<_> = channels.iter().map(String::as_str).collect();
    let mut auth = auth("u1", "o1", &channels);
    auth["cursor"] = json!(cursor);
    let mut client = Client::connect(app.public, &auth).await;
    assert_eq!(client.welcome["resume"], "resumed");
    let mut records = Vec::new();
    loop {
        let event = client.record().await;
        if is_end(&event) {
            client.cut();
            return records;
        }
        records.extend(numbered(&event));
    }
}
