//! How fast a client may send: commands, and packets of any kind.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::harness::{
    Client, Kafka, Packet, Polling, SOON, TestApp, auth, eventually, record, request, transmission,
};

const CLOSED: &str = "fleetcast_disconnects_total{reason=\"msg_rate\"}";
const REFUSED: &str = "fleetcast_refused_total{reason=\"msg_rate\"}";

fn reason(answer: &Value) -> &str {
    let reason = answer["error"]["reason"].as_str();
    reason.unwrap_or(if answer["success"] == true {
        "success"
    } else {
        "none"
    })
}

/// A neighbour that is served all the while: it is answered, and gets an event, within 5 s each time.
struct Neighbour(Client);

impl Neighbour {
    async fn connect(app: &TestApp) -> Self {
        Self(Client::connect(app.public, &auth("neighbour", "o1", &["channel:7"])).await)
    }

    async fn is_served(&mut self, kafka: &Kafka) {
        let served = async {
            assert_eq!(self.0.command("rooms", &json!({})).await["success"], true);
            let record = transmission("o1", "7", 0, 1, "");
            kafka.produce("transmission", &record).await;
            self.0.expect("transmission_started").await;
        };
        timeout(Duration::from_secs(5), served)
            .await
            .expect("the neighbour waits");
    }
}

#[tokio::test]
async fn a72_commands_beyond_the_burst_are_refused_and_a_flood_is_closed() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut neighbour = Neighbour::connect(&app).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let rooms = async |client: &mut Client, ids: std::ops::Range<u64>| {
        for id in ids {
            if client
                .try_send(&format!("42{id}[\"rooms\"]"))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let start = Instant::now();
    rooms(&mut client, 100..230).await;
    let mut answers = Vec::new();
    while answers.len() < 130 {
        match client.packet().await.expect("it is not closed yet") {
            Packet::Ack { id, answer, .. } => answers.push((id, reason(&answer).to_owned())),
            Packet::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let ids: Vec<_> = answers.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (100..230).collect::<Vec<_>>(), "in order");
    let count = |reason: &str| answers.iter().filter(|(_, it)| it == reason).count();
    let refilled = 20 * (usize::try_from(start.elapsed().as_secs()).unwrap() + 1);
    assert_eq!(count("success") + count("rate_limited"), 130);
    assert!(
        (100..=100 + refilled).contains(&count("success")),
        "{answers:?}"
    );
    assert!(answers[..100].iter().all(|(_, reason)| reason == "success"));
    neighbour.is_served(&kafka).await;
    // It lives, and is answered again when it has waited.
    eventually("a command is carried out again", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = client.command("rooms", &json!({})).await;
        (answer["success"] == true).then_some(())
    })
    .await;

    rooms(&mut client, 1_000..11_000).await;
    timeout(SOON, client.read_to_end()).await.expect("closed");
    let metrics = app.metrics().await;
    assert_eq!((metrics.value(CLOSED), metrics.value(REFUSED)), (1, 1));
    let limited = "fleetcast_commands_total{command=\"unknown\",outcome=\"rate_limited\"}";
    assert!(metrics.value(limited) > 100);
    neighbour.is_served(&kafka).await;
}

#[tokio::test]
async fn a72_the_last_of_pipelined_commands_decides() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    for round in 0..15 {
        let mut id = 1_000 + round * 10;
        for command in ["subscribe", "unsubscribe", "subscribe", "unsubscribe"] {
            let packet = json!([command, {"room": "channel:7"}]);
            client.send(&format!("42{id}{packet}")).await;
            id += 1;
        }
        if round % 2 == 0 {
            let packet = json!(["subscribe", {"room": "channel:7"}]);
            client.send(&format!("42{id}{packet}")).await;
        }
        let answer = client.command("rooms", &json!({})).await;
        let rooms = answer["data"]["rooms"].as_array().unwrap().len();
        assert_eq!(rooms, if round % 2 == 0 { 3 } else { 2 }, "round {round}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_client_that_joins_two_hundred_rooms_one_by_one_is_not_limited() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    for (most, others) in [("20", 50), ("1", 3)] {
        let app = TestApp::start_with(&kafka, &[("COMMANDS_PER_SECOND", most)]).await;
        joins_two_hundred_rooms_one_by_one(&app, others).await;
    }
}

async fn joins_two_hundred_rooms_one_by_one(app: &TestApp, others: usize) {
    let auth = auth("u1", "o1", &[]);
    let mut client = Client::connect(app.public, &auth).await;
    let polling = Polling::connect(app.public, &auth).await;
    let subscribe = |number: u64| {
        format!(
            "42{number}{}",
            json!(["subscribe", {"type": "channel", "id": number}])
        )
    };
    let all: Vec<_> = (1_000..1_200).map(subscribe).collect();
    for packet in &all {
        client.send(packet).await;
    }
    polling.post(&all.join("\u{1e}")).await;
    let (mut answered, mut polled) = (0, 0);
    while answered < 200 {
        if let Packet::Ack { answer, .. } = client.packet().await.expect("open") {
            assert_eq!(reason(&answer), "success", "{answered}");
            answered += 1;
        }
    }
    while polled < 200 {
        for packet in polling.poll().await {
            if let Packet::Ack { answer, .. } = packet {
                assert_eq!(reason(&answer), "success", "{polled}");
                polled += 1;
            }
        }
    }
    for _ in 0..others {
        assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    }
}

#[tokio::test]
async fn a72_a_client_that_connects_again_on_its_transport_has_no_more_commands() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("COMMANDS_PER_SECOND", "2")]).await;
    let auth = auth("u1", "o1", &[]);
    let mut client = Client::connect(app.public, &auth).await;
    let start = Instant::now();
    let mut carried_out = 0;
    for round in 0..2 {
        for _ in 0..8 {
            let answer = client.command("rooms", &json!({})).await;
            carried_out += u64::from(answer["success"] == true);
        }
        if round == 0 {
            client.send("41").await;
            client.enter("/", &auth).await;
        }
    }
    let most = 10 + 2 * (start.elapsed().as_secs() + 1);
    assert!(
        (10..=most).contains(&carried_out),
        "{carried_out} of {most}"
    );
    // CONNECTs count as well.
    for _ in 0..200 {
        let again = format!("40{auth}");
        if client.try_send("41").await.is_err() || client.try_send(&again).await.is_err() {
            break;
        }
    }
    timeout(SOON, client.read_to_end()).await.expect("closed");
    assert_eq!(app.metrics().await.value(REFUSED), 1);
}

/// Sends until the server closes, and says how many it took.
async fn flood(
    app: &TestApp,
    mut client: Client,
    mut send: impl AsyncFnMut(&mut Client) -> Result<(), String>,
) {
    let before = app.metrics().await.value(REFUSED);
    for _ in 0..50_000 {
        if send(&mut client).await.is_err() {
            break;
        }
    }
    eventually("it is closed and counted", async || {
        let counted = app.metrics().await.value(REFUSED);
        (counted == before + 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a23_floods_of_frames_are_closed_and_others_are_served() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut neighbour = Neighbour::connect(&app).await;
    let connected = async || Client::connect(app.public, &auth("u1", "o1", &[])).await;
    flood(&app, connected().await, async |client| {
        client.try_ping(0).await
    })
    .await;
    neighbour.is_served(&kafka).await;
    flood(&app, connected().await, async |client| {
        client.try_pong().await
    })
    .await;
    neighbour.is_served(&kafka).await;
    flood(&app, connected().await, async |client| {
        client.try_send("3").await
    })
    .await;
    neighbour.is_served(&kafka).await;
    // Acknowledgements that nothing has asked for.
    flood(&app, connected().await, async |client| {
        client.try_send("431000000007[]").await
    })
    .await;
    // Without a socket.
    let open = Client::open(app.public).await;
    flood(&app, open, async |client| client.try_ping(100).await).await;
    neighbour.is_served(&kafka).await;
    assert_eq!(app.metrics().await.value(CLOSED), 4, "one had no socket");
}

/// No packet is empty, so the first one is one too many; with a socket and without.
#[tokio::test]
async fn a23_empty_texts_close_the_transport_and_others_are_served() {
    const BROKEN: &str = "fleetcast_disconnects_total{reason=\"protocol\"}";
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut neighbour = Neighbour::connect(&app).await;
    for round in 1..=3 {
        let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
        let mut open = Client::open(app.public).await;
        let flood = async |client: &mut Client| {
            for sent in 0..50_000 {
                if client.try_send("").await.is_err() {
                    return sent;
                }
            }
            panic!("50,000 are taken");
        };
        let floods = async { tokio::join!(flood(&mut client), flood(&mut open)) };
        tokio::join!(floods, neighbour.is_served(&kafka));
        eventually("it is closed", async || {
            (app.metrics().await.value(BROKEN) == round).then_some(())
        })
        .await;
    }
    assert_eq!(app.metrics().await.sum("fleetcast_disconnects_total"), 3);
    neighbour.is_served(&kafka).await;
}

/// One open question does not pay for all acknowledgements of a payload, and of every one after it.
#[tokio::test]
async fn a29_acknowledgements_that_were_not_asked_for_are_limited_on_polling_too() {
    let kafka = Kafka::mock(&[("transmission", 1), ("alert", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut neighbour = Neighbour::connect(&app).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let alert = record("alert_created", "o1", &json!({ "id": "a1" }));
    kafka.produce("alert", &alert).await;
    let asked = eventually("it is asked", async || {
        let mut packets = client.poll().await.into_iter();
        packets.find_map(|packet| match packet {
            Packet::Event(event) => event.ask,
            _ => None,
        })
    })
    .await;
    let many = vec![format!("43{}[]", asked + 1); 1_000].join("\u{1e}");
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 50 {
        let answer = request(app.public, "POST", &client.target(), &[], &many).await;
        statuses.push(answer.unwrap().status);
    }
    assert!((2..20).contains(&statuses.len()), "{statuses:?}");
    eventually("it is counted", async || {
        let metrics = app.metrics().await;
        (metrics.value(REFUSED) == 1 && metrics.value(CLOSED) == 1).then_some(())
    })
    .await;
    neighbour.0.expect("alert_created").await;
    neighbour.is_served(&kafka).await;
}

#[tokio::test]
async fn a29_floods_of_packets_by_polling_are_closed_and_others_are_served() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut neighbour = Neighbour::connect(&app).await;
    let post = async |client: &Polling, body: &str| {
        let target = client.target();
        let answer = request(app.public, "POST", &target, &[], body)
            .await
            .unwrap();
        answer.status
    };
    // All in one payload.
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let most = vec!["3"; 60_000].join("\u{1e}");
    assert_eq!(post(&client, &most).await, 429);
    assert_eq!(post(&client, "3").await, 400, "it has ended");
    // Payload by payload.
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let many = vec!["3"; 1_000].join("\u{1e}");
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 50 {
        statuses.push(post(&client, &many).await);
    }
    assert!((2..20).contains(&statuses.len()), "{statuses:?}");
    assert_eq!(post(&client, "3").await, 400, "it has ended");
    // A poll that is repeated without end.
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut repeats = 0;
    while client.get_marked("a").await.status == 200 && repeats < 6_000 {
        repeats += 1;
    }
    assert!((1_000..6_000).contains(&repeats), "{repeats}");
    eventually("they are counted", async || {
        let metrics = app.metrics().await;
        (metrics.value(REFUSED) == 3 && metrics.value(CLOSED) == 3).then_some(())
    })
    .await;
    neighbour.is_served(&kafka).await;
}

const ALERTS: usize = 2_600;
const ACKNOWLEDGED: &str = "fleetcast_acknowledgements_total{outcome=\"acknowledged\"}";

async fn produce_alerts(kafka: &Kafka) {
    let topic = kafka.topic("alert");
    for piece in 0..ALERTS / 200 {
        let alert = |number: usize| {
            let data = json!({ "id": format!("a{piece}-{number}") });
            (0, record("alert_created", "o1", &data).to_string())
        };
        kafka
            .produce_all(&topic, (0..200).map(alert).collect())
            .await;
    }
}

/// The acknowledgements of a storm of alerts: more than a burst of packets, each of which was asked for.
#[tokio::test]
async fn acknowledgements_that_were_asked_for_are_not_limited() {
    let kafka = Kafka::mock(&[("alert", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut seen = 0;
    let read = async {
        while seen < ALERTS {
            let event = client.event().await;
            if let Some(ask) = event.ask {
                client.send(&format!("43{ask}[]")).await;
            }
            seen += usize::from(event.name == "alert_created");
        }
        assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    };
    tokio::join!(produce_alerts(&kafka), read);
    let metrics = app.metrics().await;
    assert!(metrics.value(ACKNOWLEDGED) > 2_000, "more than a burst");
    assert_eq!(metrics.value(REFUSED), 0);
}

#[tokio::test]
async fn acknowledgements_that_were_asked_for_are_not_limited_on_polling() {
    let kafka = Kafka::mock(&[("alert", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let (mut seen, mut answered) = (0, 0);
    let read = async {
        while seen < ALERTS {
            let mut answers = Vec::new();
            for packet in client.poll().await {
                if let Packet::Event(event) = packet {
                    seen += usize::from(event.name == "alert_created");
                    answers.extend(event.ask.map(|ask| format!("43{ask}[]")));
                }
            }
            answered += answers.len();
            if !answers.is_empty() {
                client.post(&answers.join("\u{1e}")).await;
            }
        }
    };
    tokio::join!(produce_alerts(&kafka), read);
    assert!(answered > 2_000, "more than a burst: {answered}");
    let metrics = app.metrics().await;
    assert_eq!(metrics.value(REFUSED), 0);
}
