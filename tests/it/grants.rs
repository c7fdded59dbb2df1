//! `POST /api/users/{id}/grants`: rooms beyond the token, on every instance and over a restart.

use serde_json::{Value, json};

use crate::api::{ask, assert_problem};
use crate::harness::{
    Client, Kafka, Proxy, TestApp, dispatcher, eventually, open_websocket, token, transmission,
};

const USER: &str = "auth0|a/b";
const PATH: &str = "/api/users/auth0%7Ca%2Fb/grants";

/// May join nothing by the token.
fn unit(rooms: &[&str]) -> Value {
    let claims = json!({ "sub": USER, "organization_id": "o1", "roles": ["field_unit"] });
    json!({ "token": token(claims), "rooms": rooms })
}

async fn change(app: &TestApp, grant: &[&str], withdraw: &[&str]) -> Value {
    let body = json!({ "organization_id": "o1", "grant": grant, "withdraw": withdraw });
    let answer = ask(app, "POST", PATH, Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn subscribed(client: &mut Client, room: &str) -> bool {
    let answer = client.command("subscribe", &json!({ "room": room })).await;
    if answer["success"] == false {
        assert_eq!(answer["error"]["reason"], "forbidden", "{answer}");
    }
    answer["success"] == true
}

#[tokio::test]
async fn s4_06_without_the_topic_grants_are_refused() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let body = json!({ "organization_id": "o1", "grant": ["channel:7"] });
    let answer = ask(&app, "POST", PATH, Some(&body)).await;
    assert_problem(&answer, 409, "no_grants_topic");
    let mut client = Client::connect(app.public, &unit(&[])).await;
    assert!(!subscribed(&mut client, "channel:7").await);
}

/// At once: nothing waits for the brokers.
#[tokio::test]
async fn before_the_topic_is_read_nothing_is_granted() {
    let kafka = Kafka::mock(&[]).await;
    let topic = kafka.topic("granted");
    let app = TestApp::launch(&kafka, &[("GRANTS_TOPIC", &topic)]).await;
    let body = json!({ "organization_id": "o1", "grant": ["channel:7"] });
    eventually("the reason is known", async || {
        let answer = ask(&app, "POST", PATH, Some(&body)).await;
        assert_problem(&answer, 503, "starting");
        let detail = answer.json()["detail"].to_string();
        let known = detail.contains(&format!("there is no topic {topic}"));
        known.then_some(())
    })
    .await;
    let said = |line: &String| line.contains("granted or withdrawn");
    assert!(!app.log().iter().any(said));
    kafka.create_topic("granted", 1).await;
    app.ready().await;
    change(&app, &["channel:7"], &[]).await;
}

async fn carried_by_the_topic(kafka: Kafka) {
    let topic = kafka.topic("granted");
    let settings = [("GRANTS_TOPIC", topic.as_str())];
    let first = TestApp::start_with(&kafka, &settings).await;
    let second = TestApp::start_with(&kafka, &settings).await;
    let mut ann = Client::connect(second.public, &unit(&[])).await;
    // The same user with a token that allows the room by itself.
    let desk = json!({ "token": dispatcher(USER, "o1"), "rooms": ["channel:7"] });
    let mut desk = Client::connect(second.public, &desk).await;
    assert!(!subscribed(&mut ann, "channel:7").await);

    let answer = change(&first, &["channel:7", "incident:5"], &[]).await;
    assert_eq!(
        answer,
        json!({
            "organization_id": "o1", "user_id": USER, "granted": ["channel:7", "incident:5"],
            "withdrawn": [], "effective": true,
        })
    );
    let mut rooms = Vec::new();
    while rooms.len() < 2 {
        let event = ann.expect("room_granted").await;
        let data = &event.args[0]["data"];
        assert_eq!(
            (&data["reason"], &data["code"]),
            (&json!("granted"), &json!(801))
        );
        assert!(event.args[1].as_str().unwrap().starts_with("v1."));
        rooms.extend(data["rooms"].as_array().unwrap().clone());
    }
    assert_eq!(
        rooms,
        [json!("channel:7:org:o1"), json!("incident:5:org:o1")]
    );
    assert!(
        subscribed(&mut ann, "channel:7").await,
        "with the same token"
    );
    assert!(!subscribed(&mut ann, "channel:8").await);
    kafka
        .produce("transmission", transmission("o1", "7", 0, 0, ""))
        .await;
    ann.expect("transmission_started").await;
    let cursor = ann.cursor();
    ann.cut();

    // A resume with the room, where the grant was asked for, and where it was read at the start.
    first.stop();
    let third = TestApp::start_with(&kafka, &settings).await;
    let ready = third.get("/ready").await.json();
    assert_eq!(ready["components"]["grants"]["status"], "ok");
    let mut resume = unit(&["channel:7"]);
    resume["cursor"] = json!(cursor);
    let mut ann = Client::connect(third.public, &resume).await;
    assert_eq!(ann.welcome["resume"], "resumed");
    assert!(
        ann.welcome["rooms"]
            .as_array()
            .unwrap()
            .contains(&json!("channel:7:org:o1"))
    );
    // It has not asked for the other one.
    let offered = ann.expect("room_granted").await;
    assert_eq!(
        offered.args[0]["data"]["rooms"],
        json!(["incident:5:org:o1"])
    );
    kafka
        .produce("transmission", transmission("o1", "7", 0, 1, ""))
        .await;
    let event = ann.expect("transmission_started").await;
    assert_eq!(event.args[0]["data"]["n"], 1);

    change(&second, &[], &["channel:7"]).await;
    let event = ann.expect("room_revoked").await;
    assert_eq!(
        event.args[0]["data"],
        json!({ "rooms": ["channel:7:org:o1"], "reason": "grant_withdrawn", "code": 702 })
    );
    kafka
        .produce("transmission", transmission("o1", "7", 0, 2, ""))
        .await;
    // The token of the desk allows the room: it hears of no grants, and loses nothing. Its own token does not allow the other one.
    let mut heard = Vec::new();
    while heard.last() != Some(&json!(2)) {
        let event = desk.record().await;
        match event.name.as_str() {
            "room_granted" => {
                assert_eq!(event.args[0]["data"]["rooms"], json!(["incident:5:org:o1"]));
            }
            "transmission_started" => heard.push(event.args[0]["data"]["n"].clone()),
            other => panic!("{other}: {event:?}"),
        }
    }
    assert_eq!(heard, [0, 1, 2]);
    assert!(!subscribed(&mut ann, "channel:7").await);
    assert!(
        subscribed(&mut ann, "incident:5").await,
        "the other one stays"
    );
    assert_eq!(third.metrics().await.value("fleetcast_grants"), 1);
    change(&second, &["channel:7"], &[]).await;
    // And not the record that came while it had left the room.
    ann.expect("room_granted").await;

    for (grant, withdraw) in [
        (json!(["nonsense:1"]), json!([])),
        (json!(["channel:*"]), json!([])),
        (json!(["org:o1"]), json!([])),
        (json!([]), json!(["user:u1"])),
        (json!([]), json!([])),
        (json!(["channel:7"]), json!(["channel:7"])),
    ] {
        let body = json!({ "organization_id": "o1", "grant": grant, "withdraw": withdraw });
        let answer = ask(&third, "POST", PATH, Some(&body)).await;
        assert_problem(&answer, 400, "bad_request");
    }
}

mod s4_06_the_topic_carries_grants_to_every_instance_and_over_a_restart {
    use crate::harness::Kafka;

    #[tokio::test]
    async fn on_the_mock_broker() {
        let topics = [("granted", 1), ("transmission", 1)];
        super::carried_by_the_topic(Kafka::mock(&topics).await).await;
    }

    #[tokio::test]
    #[ignore = "real Kafka"]
    async fn on_apache_kafka() {
        let kafka = Kafka::real(&[("transmission", 1)]).await;
        kafka
            .create_with("granted", &[("cleanup.policy", "compact")])
            .await;
        super::carried_by_the_topic(kafka).await;
    }
}

/// Compaction keeps the newest record of a key alone: an instance that starts afterwards knows nothing of the grant before it.
#[tokio::test]
async fn s4_06_a_newest_record_that_cannot_be_read_withdraws_the_grant() {
    let kafka = Kafka::mock(&[("granted", 1), ("transmission", 1)]).await;
    let topic = kafka.topic("granted");
    let app = TestApp::start_with(&kafka, &[("GRANTS_TOPIC", &topic)]).await;
    change(&app, &["channel:7"], &[]).await;
    let mut ann = Client::connect(app.public, &unit(&["channel:7"])).await;
    let key = "o1/auth0%7Ca%2Fb/channel:7";
    kafka.produce_keyed("granted", key, r#"{"v":2}"#).await;
    let event = ann.expect("room_revoked").await;
    assert_eq!(event.args[0]["data"]["code"], 702);
    assert!(!subscribed(&mut ann, "channel:7").await);
    let bad = r#"fleetcast_control_records_total{kind="grant",outcome="bad_version"}"#;
    assert_eq!(app.metrics().await.value(bad), 1);
}

/// It was granted elsewhere, and this instance cannot know: to refuse the room would be wrong, and final for this connection.
#[tokio::test]
async fn h8_an_instance_that_cannot_read_the_grants_closes_a_handshake_that_may_need_one() {
    let kafka = Kafka::mock(&[("granted", 1), ("transmission", 1)]).await;
    let wire = Proxy::to_broker(&kafka.address).await;
    let (topic, address) = (kafka.topic("granted"), wire.address.to_string());
    let near = [("GRANTS_TOPIC", topic.as_str())];
    let far = [near[0], ("KAFKA_BOOTSTRAP_SERVERS", address.as_str())];
    let near = TestApp::start_with(&kafka, &near).await;
    let far = TestApp::start_with(&kafka, &far).await;
    wire.cut();
    change(&near, &["channel:7"], &[]).await;
    let mut client = Client::over(open_websocket(far.public.into(), None).await);
    client.send(&format!("40{}", unit(&["channel:7"]))).await;
    while let Some(packet) = client.packet().await {
        let text = format!("{packet:?}");
        assert!(!text.contains("ConnectError"), "{text}");
        assert!(!text.contains("connection_established"), "{text}");
    }
    let refused = r#"fleetcast_refused_total{reason="grants_pending"}"#;
    assert_eq!(far.metrics().await.value(refused), 1);
    // A client that asks for nothing of the kind connects.
    let mut other = Client::connect(far.public, &unit(&[])).await;
    let answer = other
        .command("subscribe", &json!({ "room": "channel:7" }))
        .await;
    assert_eq!(answer["error"]["reason"], "internal", "{answer}");
    assert_eq!(answer["error"]["retryable"], true);
    wire.restore();
    eventually("it is read", async || {
        let answer = other
            .command("subscribe", &json!({ "room": "channel:7" }))
            .await;
        (answer["success"] == true).then_some(())
    })
    .await;
    let late = Client::connect(far.public, &unit(&["channel:7"])).await;
    assert!(
        late.welcome["rooms"]
            .as_array()
            .unwrap()
            .contains(&json!("channel:7:org:o1"))
    );
}

/// An instance that starts afterwards knows nothing of its grants, so no other one may go on with them.
#[tokio::test]
#[ignore = "real Kafka"]
async fn s4_06_when_the_topic_is_recreated_its_grants_are_withdrawn() {
    let mut kafka = Kafka::real(&[("transmission", 1)]).await;
    let compacted = [("cleanup.policy", "compact")];
    kafka.create_with("granted", &compacted).await;
    let topic = kafka.topic("granted");
    let app = TestApp::start_with(&kafka, &[("GRANTS_TOPIC", &topic)]).await;
    change(&app, &["channel:7"], &[]).await;
    let mut ann = Client::connect(app.public, &unit(&["channel:7"])).await;
    kafka.delete_topic("granted").await;
    eventually("it is noticed", async || {
        let ready = app.get("/ready").await.json();
        (ready["components"]["grants"]["status"] == "failing").then_some(())
    })
    .await;
    assert_eq!(app.metrics().await.value("fleetcast_grants"), 1);
    kafka.create_with("granted", &compacted).await;
    let event = ann.expect("room_revoked").await;
    assert_eq!(event.args[0]["data"]["code"], 702);
    eventually("the new topic is read", async || {
        let body = json!({ "organization_id": "o1", "grant": ["channel:8"] });
        let answer = ask(&app, "POST", PATH, Some(&body)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(subscribed(&mut ann, "channel:8").await);
    assert!(!subscribed(&mut ann, "channel:7").await);
}
