//! Events that ask for an acknowledgement: whose answer is found again, and what is kept of it.

use rdkafka::message::Message;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{
    Client, Event, Kafka, Packet, Polling, SOON, TestApp, auth, eventually, record,
};

const TOPICS: [(&str, i32); 2] = [("alert", 1), ("receipts", 1)];

async fn start(kafka: &Kafka, lane: &str) -> TestApp {
    let receipts = kafka.topic("receipts");
    let more = [("FLEETCAST_LANE", lane), ("RECEIPTS_TOPIC", &receipts)];
    TestApp::start_with(kafka, &more).await
}

async fn produce_alert(kafka: &Kafka, organisation: &str, number: u64) {
    let alert = record("alert_created", organisation, &json!({ "n": number }));
    kafka.produce("alert", alert).await;
}

/// The first `count` receipts.
async fn receipts(kafka: &Kafka, count: usize) -> Vec<Value> {
    let consumer = kafka.consumer("receipts");
    let mut receipts = Vec::new();
    while receipts.len() < count {
        let record = timeout(SOON, consumer.recv()).await;
        let record = record.unwrap_or_else(|_| panic!("of {count} receipts came {receipts:?}"));
        let receipt = record.unwrap().payload().map(serde_json::from_slice);
        receipts.push(receipt.unwrap().unwrap());
    }
    receipts
}

fn receipt(kind: &str, kafka: &Kafka, offset: u64, organisation: &str) -> [Value; 5] {
    [
        json!(kind),
        json!("alert_created"),
        json!(format!("{}/0/{offset}", kafka.topic("alert"))),
        json!("u1"),
        json!(organisation),
    ]
}

fn shape(receipt: &Value) -> [Value; 5] {
    ["kind", "event", "id", "user_id", "organization_id"].map(|field| receipt[field].clone())
}

async fn counted(app: &TestApp, outcome: &str) -> u64 {
    let series = format!("fleetcast_acknowledgements_total{{outcome=\"{outcome}\"}}");
    app.metrics().await.value(&series)
}

async fn counts(app: &TestApp, outcome: &str, expected: u64) {
    eventually(&format!("{expected} {outcome}"), async || {
        (counted(app, outcome).await >= expected).then_some(())
    })
    .await;
    assert_eq!(counted(app, outcome).await, expected, "{outcome}");
}

/// The alert and the `cursor` event behind it, which comes next.
fn alert_and_cursor(packets: &[Packet]) -> Event {
    let [Packet::Event(alert), Packet::Event(cursor)] = packets else {
        panic!("an alert and its cursor, not {packets:?}");
    };
    assert_eq!([&*alert.name, &*cursor.name], ["alert_created", "cursor"]);
    assert_eq!(alert.namespace, cursor.namespace);
    assert_eq!(alert.cursor(), cursor.cursor());
    alert.clone()
}

async fn next_alert(client: &mut Client) -> (u64, Event) {
    let packets = [client.packet().await, client.packet().await].map(Option::unwrap);
    let alert = alert_and_cursor(&packets);
    (alert.ask.expect("it asks"), alert)
}

#[tokio::test]
async fn answered_and_unanswered_alerts_leave_their_receipts_on_the_lane() {
    on_a_websocket("on").await;
}

#[tokio::test]
async fn answered_and_unanswered_alerts_leave_their_receipts_through_the_library() {
    on_a_websocket("off").await;
}

async fn on_a_websocket(lane: &str) {
    let kafka = Kafka::mock(&TOPICS).await;
    let app = start(&kafka, lane).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    for offset in 0..3 {
        produce_alert(&kafka, "o1", offset).await;
        let (number, alert) = next_alert(&mut client).await;
        // The last one stays unanswered.
        if offset < 2 {
            client.send(&format!("43{number}[]")).await;
            counts(&app, "acknowledged", offset + 1).await;
        }
        assert_eq!(alert.args[0]["data"]["n"], offset);
    }
    client.cut();
    counts(&app, "missing", 1).await;
    counts(&app, "asked", 3).await;
    check_receipts(&kafka).await;
}

#[tokio::test]
async fn answered_and_unanswered_alerts_leave_their_receipts_on_polling() {
    let kafka = Kafka::mock(&TOPICS).await;
    let app = start(&kafka, "on").await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut packets = Vec::new();
    let is_welcome = |packet: &Packet| matches!(packet, Packet::Event(event) if event.name == "connection_established");
    while !packets.iter().any(is_welcome) {
        packets = client.poll().await;
    }
    for offset in 0..3 {
        produce_alert(&kafka, "o1", offset).await;
        let mut packets = Vec::new();
        while packets.len() < 2 {
            let polled = client.poll().await.into_iter();
            packets.extend(polled.filter(|packet| matches!(packet, Packet::Event(_))));
        }
        let number = alert_and_cursor(&packets).ask.expect("it asks");
        if offset < 2 {
            client.post(&format!("43{number}[]")).await;
            counts(&app, "acknowledged", offset + 1).await;
        }
    }
    client.post("41").await;
    counts(&app, "missing", 1).await;
    counts(&app, "asked", 3).await;
    check_receipts(&kafka).await;
}

async fn check_receipts(kafka: &Kafka) {
    let receipts = receipts(kafka, 3).await;
    let expected = ["received", "received", "missing"];
    for ((receipt_kept, kind), offset) in receipts.iter().zip(expected).zip(0..) {
        assert_eq!(shape(receipt_kept), receipt(kind, kafka, offset, "o1"));
        assert!(receipt_kept["after_ms"].is_u64(), "{receipt_kept}");
    }
}

#[tokio::test]
async fn answer_is_found_in_any_form_and_only_in_its_own_namespace() {
    let kafka = Kafka::mock(&TOPICS).await;
    let app = start(&kafka, "on").await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    client.enter("/ws", &auth("u1", "o2", &[])).await;
    let mut expected = Vec::new();
    let forms = 6;
    for form in 0..forms {
        for (prefix, other, organisation) in [("", "/ws,", "o1"), ("/ws,", "", "o2")] {
            let offset = expected.len() as u64;
            produce_alert(&kafka, organisation, offset).await;
            let (number, alert) = next_alert(&mut client).await;
            let namespace = prefix.trim_end_matches(',');
            assert_eq!(alert.namespace.trim_end_matches('/'), namespace);
            // Of the other namespace, never asked, and no number at all.
            for wrong in [
                format!("43{other}{number}[]"),
                format!("43{prefix}{}[]", number + 1),
                format!("43{prefix}7[]"),
                format!("43{prefix}99999999999[]"),
            ] {
                client.send(&wrong).await;
            }
            // Commands are carried out in their order, so what was sent before has been read.
            let rooms = client.command("rooms", &json!({})).await;
            assert_eq!(rooms["success"], true);
            assert_eq!(counted(&app, "acknowledged").await, offset, "form {form}");
            for _twice in 0..2 {
                answer(&mut client, form, prefix, number).await;
            }
            counts(&app, "acknowledged", offset + 1).await;
            expected.push(receipt("received", &kafka, offset, organisation));
        }
    }
    let rooms = client.command_in("/ws", "rooms", &json!({})).await;
    assert_eq!(rooms["success"], true, "it is still connected");
    counts(&app, "acknowledged", 2 * forms).await;
    client.cut();
    app.empty().await;
    assert_eq!(counted(&app, "missing").await, 0);
    let receipts = receipts(&kafka, expected.len()).await;
    let shapes: Vec<_> = receipts.iter().map(shape).collect();
    assert_eq!(shapes, expected);
}

/// The forms in which a client may answer.
async fn answer(client: &mut Client, form: u64, prefix: &str, number: u64) {
    match form {
        0 => client.send(&format!("43{prefix}{number}[]")).await,
        1 => {
            let payload = json!([{ "seen": true, "text": "é \"x\"" }, "v1.x", 7]);
            client.send(&format!("43{prefix}{number}{payload}")).await;
        }
        2 => {
            let payload = json!(["x".repeat(20_000)]);
            client.send(&format!("43{prefix}{number}{payload}")).await;
        }
        3 => {
            let payload = json!([{ "_placeholder": true, "num": 0 }]);
            client.send(&format!("461-{prefix}{number}{payload}")).await;
            client.send_binary(b"x").await;
        }
        4 => {
            let payload =
                json!([{ "_placeholder": true, "num": 0 }, { "_placeholder": true, "num": 1 }]);
            client.send(&format!("462-{prefix}{number}{payload}")).await;
            client.send_binary(b"x").await;
            client.send_binary(b"y").await;
        }
        _ => {
            client
                .send_fragments(&format!("43{prefix}{number}["), "7]")
                .await;
        }
    }
}

/// Clients do not fragment so short a text; if one did, the answer would count as missing, and never as another's.
#[tokio::test]
async fn answer_whose_number_is_split_over_fragments_acknowledges_nothing() {
    let kafka = Kafka::mock(&TOPICS).await;
    let app = start(&kafka, "on").await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    produce_alert(&kafka, "o1", 0).await;
    let (number, _) = next_alert(&mut client).await;
    let number = number.to_string();
    let (first, rest) = number.split_at(9);
    client
        .send_fragments(&format!("43{first}"), &format!("{rest}[]"))
        .await;
    let rooms = client.command("rooms", &json!({})).await;
    assert_eq!(rooms["success"], true);
    assert_eq!(counted(&app, "acknowledged").await, 0);
    client.send(&format!("43{number}[]")).await;
    counts(&app, "acknowledged", 1).await;
}

#[tokio::test]
async fn alert_for_many_is_offered_in_slices_and_each_answer_is_counted_once() {
    const CLIENTS: u64 = 300;
    let kafka = Kafka::mock(&TOPICS).await;
    let app = start(&kafka, "on").await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let auth = auth(&format!("u{number}"), "o1", &[]);
        clients.push(Client::connect(app.public, &auth).await);
    }
    produce_alert(&kafka, "o1", 0).await;
    for client in &mut clients {
        let (number, _) = next_alert(client).await;
        client.send(&format!("43{number}[]")).await;
    }
    counts(&app, "acknowledged", CLIENTS).await;
    counts(&app, "asked", CLIENTS).await;
    let mut users: Vec<_> = receipts(&kafka, usize::try_from(CLIENTS).unwrap())
        .await
        .iter()
        .map(|receipt| receipt["user_id"].to_string())
        .collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len() as u64, CLIENTS, "one each");
}
