//! `POST /api/revocations`: revoked tokens are refused and their connections closed, on every instance that reads the topic.

use std::time::{Duration, Instant};

use fleetcast::clock;
use serde_json::{Value, json};

use crate::api::{ask, assert_problem};
use crate::harness::{Client, Kafka, TestApp, auth, eventually, record, token};

/// What is promised at the 99th percentile, and what a loaded machine may add.
const SILENCE: Duration = Duration::from_secs(2);

async fn revoke(app: &TestApp, body: Value) -> Value {
    let answer = ask(app, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What comes of a CONNECT with this token.
async fn connect(app: &TestApp, auth: &Value) -> Result<Value, String> {
    let mut client = Client::open(app.public).await;
    client.try_enter("/", auth).await
}

/// The transport is closed, which has stock clients reconnect and learn the reason.
async fn is_closed(client: &mut Client) {
    let begin = Instant::now();
    let late: Vec<_> = client.read_to_end().await;
    assert!(
        late.iter().all(|event| event.name == "cursor"),
        "nothing is sent any more: {late:?}"
    );
    assert!(begin.elapsed() < SILENCE + Duration::from_secs(5));
}

/// A token that says when it was issued, and its id.
fn issued(user: &str, seconds_ago: u64, jti: &str) -> Value {
    let iat = clock::wall_ms() / 1000 - seconds_ago;
    json!({ "token": token(json!({
        "sub": user, "organization_id": "o1", "roles": ["dispatcher"], "iat": iat, "jti": jti,
    })) })
}

#[tokio::test]
async fn h6_without_the_topic_a_revocation_holds_on_this_instance_and_the_answer_says_so() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    // A token that is issued after a revocation is to be good at once.
    let app = TestApp::start_with(&kafka, &[("JWT_LEEWAY", "0")]).await;
    let mut ann = Client::connect(app.public, &auth("ann", "o1", &[])).await;
    let mut bob = Client::connect(app.public, &auth("bob", "o1", &[])).await;
    let answer = revoke(&app, json!({ "organization_id": "o1", "user_id": "ann" })).await;
    assert_eq!(
        answer,
        json!({
            "revoked": { "organization_id": "o1", "user_id": "ann" },
            "until": null, "scope": "instance", "connections": 1,
        })
    );
    is_closed(&mut ann).await;
    let refused = connect(&app, &auth("ann", "o1", &[])).await;
    assert_eq!(refused, Err("token_revoked".to_owned()));
    // Of another organisation it is another person.
    assert!(connect(&app, &auth("ann", "o2", &[])).await.is_ok());
    kafka
        .produce(
            "incident",
            record("incident_created", "o1", &json!({ "id": 1 })),
        )
        .await;
    bob.expect("incident_created").await;

    // One token, and not the other of the same user; one that is issued afterwards is good.
    let (old, older) = (issued("cid", 9, "t1"), issued("cid", 10, "t2"));
    let mut kept = Client::connect(app.public, &older).await;
    let answer = revoke(
        &app,
        json!({ "jti": "t1", "until": "2099-01-01T00:00:00Z" }),
    )
    .await;
    assert_eq!(answer["until"], "2099-01-01T00:00:00.000Z");
    assert_eq!(connect(&app, &old).await, Err("token_revoked".to_owned()));
    assert!(connect(&app, &older).await.is_ok());
    kept.command("rooms", &json!({})).await;
    revoke(&app, json!({ "organization_id": "o1" })).await;
    is_closed(&mut kept).await;
    is_closed(&mut bob).await;
    eventually("a later token is good", async || {
        connect(&app, &issued("cid", 0, "t3")).await.ok()
    })
    .await;

    for wrong in [
        json!({}),
        json!({ "user_id": "ann" }),
        json!({ "organization_id": "o1", "until": 1 }),
        json!({ "organization_id": "o1", "until": "yesterday" }),
        json!({ "organization_id": "o1", "users": [] }),
        json!({ "jti": "t1", "issuer": "https://stranger.example" }),
    ] {
        let answer = ask(&app, "POST", "/api/revocations", Some(&wrong)).await;
        assert_problem(&answer, 400, "bad_request");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics.value("fleetcast_revocations"), 3);
    let refused = r#"fleetcast_refused_total{reason="token_revoked"}"#;
    assert!(metrics.value(refused) >= 2);
}

async fn carried_by_the_topic(kafka: Kafka) {
    let topic = kafka.topic("revoked");
    let settings = [("REVOCATIONS_TOPIC", topic.as_str())];
    let first = TestApp::start_with(&kafka, &settings).await;
    let second = TestApp::start_with(&kafka, &settings).await;
    let mut here = Client::connect(first.public, &auth("ann", "o1", &[])).await;
    let mut there = Client::connect(second.public, &auth("ann", "o1", &[])).await;
    let mut bob = Client::connect(second.public, &auth("bob", "o1", &[])).await;
    let begin = Instant::now();
    let answer = revoke(&first, json!({ "organization_id": "o1", "user_id": "ann" })).await;
    assert_eq!(
        (&answer["scope"], &answer["connections"]),
        (&json!("fleet"), &json!(1))
    );
    is_closed(&mut here).await;
    is_closed(&mut there).await;
    // 2 s, and what a loaded machine may add.
    assert!(begin.elapsed() < SILENCE + Duration::from_secs(5));
    for app in [&first, &second] {
        let refused = connect(app, &auth("ann", "o1", &[])).await;
        assert_eq!(refused, Err("token_revoked".to_owned()));
    }
    bob.command("rooms", &json!({})).await;

    // An instance that starts later knows before it is ready.
    first.stop();
    let third = TestApp::start_with(&kafka, &settings).await;
    let refused = connect(&third, &auth("ann", "o1", &[])).await;
    assert_eq!(refused, Err("token_revoked".to_owned()));
    let ready = third.get("/ready").await.json();
    assert_eq!(ready["components"]["revocations"]["status"], "ok");

    // What an operator writes by hand: broken records change nothing, a tombstone restores. One of a later version may mean everybody.
    for (user, value) in [
        ("bob", r#"{"v":1,"issued_until":99999999999999}"#),
        ("cid", r#"{"v":2,"issued_until":9999999999}"#),
    ] {
        let key = format!("user/o1/{user}");
        kafka.produce_keyed("revoked", &key, value).await;
    }
    kafka.produce_keyed("revoked", "nonsense", "{}").await;
    kafka.produce_tombstone("revoked", "user/o1/ann").await;
    for app in [&second, &third] {
        eventually("the revocation is deleted", async || {
            connect(app, &auth("ann", "o1", &[])).await.ok()
        })
        .await;
        let metrics = app.metrics().await;
        let refused = connect(app, &auth("cid", "o1", &[])).await;
        assert_eq!(refused, Err("token_revoked".to_owned()));
        let outcomes = ["bad_version", "bad_value", "bad_key", "deleted"];
        for (outcome, expected) in outcomes.map(|outcome| (outcome, 1)) {
            let series = format!(
                "fleetcast_control_records_total{{kind=\"revocation\",outcome=\"{outcome}\"}}"
            );
            assert_eq!(metrics.value(&series), expected, "{outcome}");
        }
    }
    bob.command("rooms", &json!({})).await;
}

mod h6_the_topic_carries_revocations_to_every_instance_and_over_a_restart {
    use crate::harness::Kafka;

    #[tokio::test]
    async fn on_the_mock_broker() {
        super::carried_by_the_topic(Kafka::mock(&[("revoked", 1)]).await).await;
    }

    #[tokio::test]
    #[ignore = "real Kafka"]
    async fn on_apache_kafka() {
        let kafka = Kafka::real(&[]).await;
        kafka
            .create_with("revoked", &[("cleanup.policy", "compact")])
            .await;
        super::carried_by_the_topic(kafka).await;
    }
}

/// Two instances are asked at once, and the narrower request is written last: compaction would keep it alone.
#[tokio::test]
async fn h6_a_record_that_says_less_than_what_is_known_is_written_again() {
    let kafka = Kafka::mock(&[("revoked", 1)]).await;
    let topic = kafka.topic("revoked");
    let app = TestApp::start_with(&kafka, &[("REVOCATIONS_TOPIC", &topic)]).await;
    revoke(&app, json!({ "organization_id": "o1", "user_id": "ann" })).await;
    let narrow = r#"{"v":1,"issued_until":5,"until":10}"#;
    kafka.produce_keyed("revoked", "user/o1/ann", narrow).await;
    let applied = r#"fleetcast_control_records_total{kind="revocation",outcome="applied"}"#;
    eventually(
        "the own one, the narrow one, and the merged one",
        async || (app.metrics().await.value(applied) == 3).then_some(()),
    )
    .await;
    let refused = connect(&app, &auth("ann", "o1", &[])).await;
    assert_eq!(refused, Err("token_revoked".to_owned()));
}

/// How many records of the topic were applied.
const APPLIED: &str = r#"fleetcast_control_records_total{kind="revocation",outcome="applied"}"#;

const WIDE: &str = r#"{"v":1,"issued_until":9999999999,"until":null}"#;
const NARROW: &str = r#"{"v":1,"issued_until":9999999999,"until":9999999999}"#;

/// Another instance did not know of the wide one, and stopped before it could write both again.
#[tokio::test]
async fn h6_a_record_that_says_less_is_written_again_by_an_instance_that_starts_later() {
    let kafka = Kafka::mock(&[("revoked", 1)]).await;
    let topic = kafka.topic("revoked");
    for (user, value) in [
        ("ann", WIDE),
        ("bob", NARROW),
        ("ann", NARROW),
        ("bob", WIDE),
    ] {
        let key = format!("user/o1/{user}");
        kafka.produce_keyed("revoked", &key, value).await;
    }
    let app = TestApp::start_with(&kafka, &[("REVOCATIONS_TOPIC", &topic)]).await;
    eventually("those four, and the merged one of ann", async || {
        (app.metrics().await.value(APPLIED) == 5).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(app.metrics().await.value(APPLIED), 5);
}

/// As in a topic that was restored from a backup.
#[tokio::test]
async fn h6_a_tombstone_takes_back_what_was_asked_for_before_it_alone() {
    let kafka = Kafka::mock(&[("revoked", 1)]).await;
    let topic = kafka.topic("revoked");
    let app = TestApp::start_with(&kafka, &[("REVOCATIONS_TOPIC", &topic)]).await;
    revoke(&app, json!({ "organization_id": "o1", "user_id": "ann" })).await;
    let age = Duration::from_mins(1);
    kafka
        .produce_old_tombstone("revoked", "user/o1/ann", age)
        .await;
    eventually("it is written once more", async || {
        (app.metrics().await.value(APPLIED) == 2).then_some(())
    })
    .await;
    let outdated = r#"fleetcast_control_records_total{kind="revocation",outcome="outdated"}"#;
    assert_eq!(app.metrics().await.value(outdated), 1);
    let refused = connect(&app, &auth("ann", "o1", &[])).await;
    assert_eq!(refused, Err("token_revoked".to_owned()));

    // One of a time to come says nothing of when it was asked for: an operator has the last word.
    kafka.produce_keyed("revoked", "user/o1/bob", WIDE).await;
    for user in ["ann", "bob"] {
        let key = format!("user/o1/{user}");
        kafka.produce_tombstone("revoked", &key).await;
        eventually("it is taken back", async || {
            connect(&app, &auth(user, "o1", &[])).await.ok()
        })
        .await;
    }
}

/// Compaction would keep it instead of what it hides.
#[tokio::test]
async fn h6_an_unreadable_record_of_a_known_target_is_written_over() {
    let kafka = Kafka::mock(&[("revoked", 1)]).await;
    let topic = kafka.topic("revoked");
    for value in [WIDE, "{}"] {
        kafka.produce_keyed("revoked", "user/o1/ann", value).await;
    }
    let app = TestApp::start_with(&kafka, &[("REVOCATIONS_TOPIC", &topic)]).await;
    for written in [2, 3] {
        eventually("the good one again", async || {
            (app.metrics().await.value(APPLIED) == written).then_some(())
        })
        .await;
        kafka.produce_keyed("revoked", "user/o1/ann", "[]").await;
    }
}

/// What would be written then might say less than what the topic holds.
#[tokio::test]
async fn h6_before_the_topic_is_read_nothing_is_revoked() {
    let kafka = Kafka::mock(&[]).await;
    let topic = kafka.topic("revoked");
    let app = TestApp::launch(&kafka, &[("REVOCATIONS_TOPIC", &topic)]).await;
    let body = json!({ "organization_id": "o1", "user_id": "ann" });
    let answer = ask(&app, "POST", "/api/revocations", Some(&body)).await;
    assert_problem(&answer, 503, "starting");
    kafka.create_topic("revoked", 1).await;
    app.ready().await;
    assert!(connect(&app, &auth("ann", "o1", &[])).await.is_ok());
    revoke(&app, body).await;
}

/// One token is revoked whatever its `iat`; those of a user as far as the clocks may differ.
#[tokio::test]
async fn h6_tokens_of_an_issuer_whose_clock_is_ahead_are_revoked() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let ahead = |user: &str, seconds: u64| {
        let iat = clock::wall_ms() / 1000 + seconds;
        json!({ "token": token(json!({
            "sub": user, "organization_id": "o1", "iat": iat, "jti": user,
        })) })
    };
    let (ann, bob) = (ahead("ann", 250), ahead("bob", 5));
    let mut open = [
        Client::connect(app.public, &ann).await,
        Client::connect(app.public, &bob).await,
    ];
    revoke(&app, json!({ "jti": "ann" })).await;
    revoke(&app, json!({ "organization_id": "o1", "user_id": "bob" })).await;
    for client in &mut open {
        is_closed(client).await;
    }
    for token in [&ann, &bob] {
        let refused = connect(&app, token).await;
        assert_eq!(refused, Err("token_revoked".to_owned()));
    }
}

#[tokio::test]
async fn h6_without_a_delivery_report_the_answer_is_503_and_this_instance_has_applied_it() {
    let kafka = Kafka::mock(&[("revoked", 1)]).await;
    let wire = crate::harness::Proxy::to_broker(&kafka.address).await;
    let (topic, address) = (kafka.topic("revoked"), wire.address.to_string());
    let settings = [
        ("REVOCATIONS_TOPIC", topic.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", address.as_str()),
    ];
    let app = TestApp::start_with(&kafka, &settings).await;
    let mut ann = Client::connect(app.public, &auth("ann", "o1", &[])).await;
    wire.cut();
    let body = json!({ "organization_id": "o1", "user_id": "ann" });
    let answer = ask(&app, "POST", "/api/revocations", Some(&body)).await;
    assert_problem(&answer, 503, "not_written");
    loop {
        // `stale` may have come before.
        let Some(event) = ann.try_event().await else {
            break;
        };
        assert!(
            ["stale", "cursor"].contains(&event.name.as_str()),
            "{event:?}"
        );
    }
    let refused = connect(&app, &auth("ann", "o1", &[])).await;
    assert_eq!(refused, Err("token_revoked".to_owned()));
    wire.restore();
    eventually("asked again", async || {
        let answer = ask(&app, "POST", "/api/revocations", Some(&body)).await;
        (answer.status == 200).then_some(())
    })
    .await;
}
