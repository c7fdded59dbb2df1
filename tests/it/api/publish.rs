//! Publishing over the internal API: what is accepted arrives, everywhere, once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{ask, assert_problem};
use crate::harness::{Answer, Client, Kafka, TestApp, auth, eventually, request};

/// With a topic for publishing.
pub(super) async fn kafka() -> Kafka {
    Kafka::mock(&[("transmission", 1), ("asset", 1), ("publish", 3)]).await
}

pub(super) async fn start(kafka: &Kafka, more: &[(&str, &str)]) -> TestApp {
    let topic = kafka.topic("publish");
    let variables = [&[("PUBLISH_TOPIC", topic.as_str())], more].concat();
    let app = TestApp::start_with(kafka, &variables).await;
    eventually("the topic is read", async || {
        let stats = app.get("/stats").await.json();
        let partitions = stats["kafka"]["partitions"].as_array()?.clone();
        let read = partitions.iter().filter(|one| one["topic"] == *topic);
        (read.count() == PARTITIONS).then_some(())
    })
    .await;
    app
}

async fn publish(app: &TestApp, body: &Value) -> Answer {
    ask(app, "POST", "/api/publish", Some(body)).await
}

pub(super) async fn accepted(app: &TestApp, body: &Value) -> Vec<Value> {
    let answer = publish(app, body).await;
    assert_eq!(answer.status, 202, "{body}: {}", answer.body);
    let answer = answer.json();
    let ids = answer["ids"].as_array().unwrap().clone();
    assert_eq!(answer["accepted"], ids.len());
    ids
}

/// Partitions of the topic.
const PARTITIONS: usize = 3;

/// Publishes markers to every partition, and reads until they are there: what was in the log before has come then. Gives `n` of it;
/// markers of others are passed over.
pub(super) async fn until_marker(
    app: &TestApp,
    client: &mut Client,
    organisation: &str,
) -> Vec<i64> {
    static MARKERS: AtomicUsize = AtomicUsize::new(0);
    let marker = format!("marker-{}", MARKERS.fetch_add(1, Ordering::Relaxed));
    let mut awaited = BTreeSet::new();
    let mut sent = 0;
    while awaited.len() < PARTITIONS {
        let body = json!({
            "event": marker, "organization_id": organisation, "all": true, "data": {},
            "key": sent.to_string(),
        });
        let ids = accepted(app, &body).await;
        let (partition, _) = ids[0].as_str().unwrap().rsplit_once('/').unwrap();
        awaited.insert(partition.to_owned());
        sent += 1;
    }
    let mut numbers = Vec::new();
    while sent > 0 {
        let event = client.record().await;
        if event.name == marker {
            sent -= 1;
        } else if !event.name.starts_with("marker-") {
            numbers.push(event.args[0]["n"].as_i64().unwrap());
        }
    }
    numbers
}

#[tokio::test]
async fn what_is_published_reaches_its_rooms_on_every_instance_and_no_others() {
    let kafka = kafka().await;
    let (first, second) = (start(&kafka, &[]).await, start(&kafka, &[]).await);
    let mut here = Client::connect(first.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut there = Client::connect(second.public, &auth("auth0|5f:7", "o1", &["channel:*"])).await;
    let mut other = Client::connect(second.public, &auth("u1", "o2", &["channel:7"])).await;

    let body = json!({
        "event": "shift.changed", "organization_id": "o1", "rooms": ["channel:7"],
        "data": { "n": 1 },
    });
    let ids = accepted(&first, &body).await;
    assert!(
        ids[0]
            .as_str()
            .unwrap()
            .starts_with(&kafka.topic("publish")),
        "{ids:?}"
    );
    for client in [&mut here, &mut there] {
        let event = client.expect("shift.changed").await;
        assert_eq!(event.args[0], json!({ "n": 1 }));
        assert!(
            event.cursor().is_some() && event.args.len() == 2,
            "{event:?}"
        );
    }
    // In order, because they have one key.
    let messages: Vec<Value> = (2..50)
        .map(|n| {
            let room = ["channel:7", "channel:8"][n % 2];
            json!({ "event": "told", "organization_id": "o1", "rooms": [room], "data": { "n": n }, "key": "k" })
        })
        .collect();
    assert_eq!(
        accepted(&second, &json!({ "messages": messages }))
            .await
            .len(),
        48
    );
    for n in 2..50 {
        assert_eq!(there.expect("told").await.args[0]["n"], n);
        if n % 2 == 0 {
            assert_eq!(here.expect("told").await.args[0]["n"], n);
        }
    }
    let own =
        json!({ "event": "own", "organization_id": "o1", "user_id": "auth0|5f:7", "data": [1] });
    accepted(&first, &own).await;
    assert_eq!(there.expect("own").await.args[0], json!([1]));
    let target = "/ws/broadcast?event_type=all.hear&organization_id=o1";
    let answer = ask(&first, "POST", target, Some(&json!({ "n": 50 }))).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    for client in [&mut here, &mut there] {
        assert_eq!(client.expect("all.hear").await.args[0]["n"], 50);
    }
    let target = "/ws/broadcast?event_type=one&room=channel:7&organization_id=o1";
    assert_eq!(
        ask(&first, "POST", target, Some(&json!({}))).await.status,
        202
    );
    here.expect("one").await;
    assert_eq!(until_marker(&first, &mut other, "o2").await, [0_i64; 0]);

    // On another instance it goes on from the cursor, as with any record.
    let cursor = here.cursor();
    drop(here);
    let body = json!({ "event": "told", "organization_id": "o1", "rooms": ["channel:7"], "data": { "n": 51 } });
    accepted(&first, &body).await;
    let mut back = auth("u1", "o1", &["channel:7"]);
    back["cursor"] = cursor.into();
    let mut here = Client::connect(second.public, &back).await;
    assert_eq!(here.welcome["resume"], "resumed");
    assert_eq!(here.expect("told").await.args[0]["n"], 51);
}

#[tokio::test]
async fn h16_what_could_pass_for_a_cursor_or_for_the_server_is_refused() {
    let kafka = kafka().await;
    let app = start(&kafka, &[("MAX_EVENT_BYTES", "1024")]).await;
    let good = json!({ "event": "a", "organization_id": "o1", "all": true, "data": {} });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, named) in [
        (with("data", "v1.abc".into()), "data"),
        (with("data", Value::Null), "data"),
        (with("data", 7.into()), "data"),
        (
            with("data", json!({ "x": "x".repeat(1100) })),
            "MAX_EVENT_BYTES",
        ),
        (with("event", "cursor".into()), "event"),
        (with("event", "connect_error".into()), "event"),
        (with("event", "resync_required".into()), "event"),
        (with("event", "a b".into()), "event"),
        (with("event", "".into()), "event"),
        (with("event", "x".repeat(65).into()), "event"),
        (with("organization_id", "o 1".into()), "organization_id"),
        (with("organization_id", Value::Null), "organization_id"),
        (with("user_id", "u1".into()), "user_id"),
        (with("all", false.into()), "all: true"),
        (with("rooms", json!(["channel:7"])), "rooms"),
        (with("key", "".into()), "key"),
        (
            with("idempotency_key", "x".repeat(257).into()),
            "idempotency_key",
        ),
        (with("idempotencykey", "x".into()), "idempotencykey"),
        (
            json!({ "event": "a", "organization_id": "o1", "rooms": [], "data": {} }),
            "rooms",
        ),
        (
            json!({ "event": "a", "organization_id": "o1", "rooms": ["chanel:7"], "data": {} }),
            "kind",
        ),
        (
            json!({ "event": "a", "organization_id": "o1", "rooms": ["channel:*"], "data": {} }),
            "all",
        ),
        (
            json!({ "event": "a", "organization_id": "o1", "rooms": ["org:o2"], "data": {} }),
            "organisation",
        ),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [good], "event": "a" }), "messages"),
        (json!({ "messages": vec![good.clone(); 501] }), "messages"),
        (
            json!({ "messages": [good, with("event", "cursor".into())] }),
            "messages[1]",
        ),
        (
            with("volatile", true.into())
                .as_object()
                .map(|body| {
                    let mut body = Value::Object(body.clone());
                    body["idempotency_key"] = "k".into();
                    body
                })
                .unwrap(),
            "idempotency_key",
        ),
    ] {
        let answer = publish(&app, &body).await;
        assert_problem(&answer, 400, "bad_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{body}: {detail}");
    }
    let twice = r#"{"event":"a","event":"b","organization_id":"o1","all":true,"data":{}}"#;
    let json_type = [("Content-Type", "application/json")];
    let answer = request(app.internal, "POST", "/api/publish", &json_type, twice)
        .await
        .unwrap();
    assert_problem(&answer, 400, "bad_request");
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("`event`")
    );
    let target = "/ws/broadcast?event_type=a";
    assert_problem(
        &ask(&app, "POST", target, Some(&json!({}))).await,
        400,
        "bad_request",
    );
    // One byte too many: it is read to its end before it is refused, so the answer arrives.
    let large = format!(
        "{good}{}",
        " ".repeat(4 * 1024 * 1024 + 1 - good.to_string().len())
    );
    let answer = request(app.internal, "POST", "/api/publish", &json_type, &large).await;
    assert_problem(&answer.unwrap(), 413, "body_too_large");
    // Nothing of all that was written.
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    assert_eq!(until_marker(&app, &mut client, "o1").await, [0_i64; 0]);
    assert!(!app.log().iter().any(|line| line.contains("v1.abc")));
}

#[tokio::test]
async fn h16_volatile_events_end_with_null_and_move_no_cursor() {
    let kafka = kafka().await;
    let (app, other) = (start(&kafka, &[]).await, start(&kafka, &[]).await);
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut elsewhere = Client::connect(other.public, &auth("u1", "o1", &["channel:7"])).await;
    let durable = |n: i32| json!({ "event": "told", "organization_id": "o1", "rooms": ["channel:7"], "data": { "n": n } });
    accepted(&app, &durable(1)).await;
    client.expect("told").await;
    let cursor = client.cursor();
    for n in 0..20 {
        let mut body = durable(n);
        body["event"] = "typing".into();
        body["volatile"] = true.into();
        assert_eq!(accepted(&app, &body).await, [Value::Null]);
        let event = client.expect("typing").await;
        assert_eq!(event.args, [json!({ "n": n }), Value::Null]);
    }
    assert_eq!(client.cursor(), cursor);
    drop(client);
    accepted(&app, &durable(2)).await;
    let mut back = auth("u1", "o1", &["channel:7"]);
    back["cursor"] = cursor.into();
    let mut client = Client::connect(app.public, &back).await;
    assert_eq!(client.expect("told").await.args[0]["n"], 2);
    // They were of the first instance.
    for n in [1, 2] {
        assert_eq!(elsewhere.expect("told").await.args[0]["n"], n);
    }
    let series = "fleetcast_deliveries_total{event=\"(other)\"}";
    assert_eq!(app.metrics().await.value(series), 2);
    // Anybody may see the statistics, and only the profile's events by their names.
    let stats = app.get("/stats").await.json();
    assert_eq!(stats["deliveries"], json!({ "(other)": 2 }));
}

#[tokio::test]
async fn h5_what_is_published_enters_no_keyed_state() {
    let kafka = kafka().await;
    let app = start(&kafka, &[]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["asset:5"])).await;
    let position = |n: i32| json!({ "event_type": "asset_position_updated", "organization_id": "o1", "data": { "asset_id": "5", "n": n } });
    kafka.produce("asset", position(1)).await;
    client.expect("asset_position_updated").await;
    // A claim of another position, as the profile's own event looks.
    let forged = json!({
        "event": "asset_position_updated", "organization_id": "o1", "rooms": ["asset:5"],
        "data": position(2), "key": "5",
    });
    accepted(&app, &forged).await;
    client.expect("asset_position_updated").await;
    let mut late = Client::connect(app.public, &auth("u2", "o1", &[])).await;
    let wanted = json!({ "room": "asset:5", "latest": true });
    late.command("subscribe", &wanted).await;
    let event = late.expect("asset_position_updated").await;
    assert_eq!(
        event.args[0]["data"]["n"], 1,
        "the record's, not what was published"
    );
}

#[tokio::test]
async fn without_its_topic_a_server_is_ready_and_says_that_it_cannot_publish() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let report = app.wait_for_status("ready").await;
    assert_eq!(report["components"]["kafka"]["status"], "ok");
    let body = json!({ "event": "a", "organization_id": "o1", "all": true, "data": {} });
    let answer = publish(&app, &body).await;
    assert_problem(&answer, 503, "publish_unavailable");
    assert!(answer.header("retry-after").is_some());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("fleetcast.publish"), "{detail}");
    let series = "fleetcast_refused_total{reason=\"api_unavailable\"}";
    assert_eq!(app.metrics().await.value(series), 1);
    // Volatile events need no topic.
    let mut client = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let mut volatile = body.clone();
    volatile["volatile"] = true.into();
    assert_eq!(accepted(&app, &volatile).await, [Value::Null]);
    client.expect("a").await;
}

/// Of connections that have received nothing before, the worst case: none has used its lane yet.
#[tokio::test]
async fn a_large_event_is_encoded_once_for_all_who_receive_it() {
    const CLIENTS: usize = 300;
    const BYTES: usize = 250_000;

    let kafka = kafka().await;
    for volatile in [true, false] {
        let app = start(&kafka, &[]).await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let user = auth(&format!("u{number}"), "o1", &[]);
            clients.push(Client::connect(app.public, &user).await);
        }
        let before = app.peak_resident();
        let body = json!({
            "event": "large", "organization_id": "o1", "all": true, "volatile": volatile,
            "data": { "text": "x".repeat(BYTES) },
        });
        accepted(&app, &body).await;
        for client in &mut clients {
            client.expect("large").await;
        }
        let grown = usize::try_from(app.peak_resident() - before).unwrap();
        let copies = grown / BYTES;
        assert!(
            copies < CLIENTS / 3,
            "volatile {volatile}: {grown} bytes, as of {copies} copies"
        );
    }
}
