//! Publishing over the internal API: what is accepted arrives, everywhere, once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{ask, assert_problem};
use crate::harness::{Answer, Background, Client, Kafka, TestApp, auth, eventually, request};

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
        (read.count() == 3).then_some(())
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

/// The marker behind which nothing more is to come, then `n` of all that came before it.
pub(super) async fn until_marker(
    app: &TestApp,
    client: &mut Client,
    organisation: &str,
) -> Vec<i64> {
    let marker = format!("marker-{organisation}");
    let body = json!({ "event": marker, "organization_id": organisation, "all": true, "data": {} });
    // Partitions are read side by side, so what is in the log already is given time.
    sleep(Duration::from_millis(500)).await;
    accepted(app, &body).await;
    let mut numbers = Vec::new();
    loop {
        let event = client.record().await;
        if event.name == marker {
            return numbers;
        }
        numbers.push(event.args[0]["n"].as_i64().unwrap());
    }
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
    let large = format!("{{\"event\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    let answer = request(app.internal, "POST", "/api/publish", &json_type, &large).await;
    if let Ok(answer) = answer {
        assert_problem(&answer, 413, "body_too_large");
    }
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
async fn h20_a_retry_is_delivered_once_on_every_instance() {
    const COUNT: usize = 60;
    let kafka = kafka().await;
    let app = start(&kafka, &[]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let message = |n: usize| {
        json!({
            "event": "told", "organization_id": "o1", "rooms": ["channel:7"], "data": { "n": n },
            "idempotency_key": format!("request-{n}"),
        })
    };
    for n in 0..COUNT {
        accepted(&app, &message(n)).await;
        if n % 3 == 0 {
            accepted(&app, &message(n)).await;
        }
    }
    // The same key of another body, or of another organisation, is another message.
    let mut same_key = message(0);
    same_key["data"]["n"] = COUNT.into();
    accepted(&app, &same_key).await;
    let mut foreign = message(0);
    foreign["organization_id"] = "o2".into();
    accepted(&app, &foreign).await;
    let mut numbers = until_marker(&app, &mut client, "o1").await;
    numbers.sort_unstable();
    let expected: Vec<i64> = (0..=i64::try_from(COUNT).unwrap()).collect();
    assert_eq!(numbers, expected);

    // An instance that starts now knows what came before it.
    let other = start(&kafka, &[("FLEETCAST_WINDOW", "1")]).await;
    let mut elsewhere = Client::connect(other.public, &auth("u1", "o1", &["channel:7"])).await;
    for n in 0..COUNT {
        accepted(&other, &message(n)).await;
    }
    for (app, client) in [(&app, &mut client), (&other, &mut elsewhere)] {
        let again = until_marker(app, client, "o1").await;
        assert_eq!(again, [0_i64; 0]);
        let topic = kafka.topic("publish");
        let series = format!("fleetcast_records_total{{topic=\"{topic}\",outcome=\"duplicate\"}}");
        assert_eq!(app.metrics().await.value(&series), 80);
        // The other one's marker comes, too.
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn h20_no_accepted_message_is_lost_when_the_instance_is_killed() {
    let kafka = kafka().await;
    let (dying, stays) = (start(&kafka, &[]).await, start(&kafka, &[]).await);
    let mut client = Client::connect(stays.public, &auth("u1", "o1", &["channel:7"])).await;
    let address = dying.internal;
    let counted = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let mut publishers = Vec::new();
    for publisher in 0..8 {
        let counted = counted.clone();
        publishers.push(Background::start(async move {
            for n in (publisher..).step_by(8) {
                let body = json!({
                    "event": "told", "organization_id": "o1", "rooms": ["channel:7"],
                    "data": { "n": n }, "idempotency_key": n.to_string(),
                });
                let json_type = [("Content-Type", "application/json")];
                let text = body.to_string();
                let Ok(answer) = request(address, "POST", "/api/publish", &json_type, &text).await
                else {
                    return;
                };
                if answer.status == 202 {
                    counted.lock().unwrap().insert(n);
                }
            }
        }));
    }
    let begin = Instant::now();
    while counted.lock().unwrap().len() < 200 && begin.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(10)).await;
    }
    dying.crash();
    eventually("the publishers end", async || {
        publishers.iter().all(Background::is_finished).then_some(())
    })
    .await;
    let accepted = counted.lock().unwrap().clone();
    assert!(accepted.len() >= 200, "{}", accepted.len());
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    for n in until_marker(&stays, &mut client, "o1").await {
        *times.entry(n).or_default() += 1;
    }
    let lost: Vec<&i64> = accepted.iter().filter(|n| !times.contains_key(n)).collect();
    assert_eq!(lost, [&0_i64; 0], "accepted and not delivered");
    assert!(times.values().all(|count| *count == 1), "{times:?}");
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
