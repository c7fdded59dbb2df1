//! Topics of grants and revocations whose log is gone: recreated, cut, or forgotten by brokers for a while. The brokers behind a proxy
//! are exchanged for others, which have another log of the same topic, or none.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::ask;
use crate::harness::{Client, Kafka, Proxy, TestApp, auth, eventually, token};

const TOPICS: [(&str, i32); 3] = [("granted", 1), ("revoked", 1), ("transmission", 1)];

/// May join nothing by the token.
fn unit(rooms: &[&str]) -> Value {
    let claims = json!({ "sub": "ann", "organization_id": "o1", "roles": ["field_unit"] });
    json!({ "token": token(claims), "rooms": rooms })
}

fn settings(kafka: &Kafka) -> [(&'static str, String); 2] {
    let topics = [
        ("GRANTS_TOPIC", "granted"),
        ("REVOCATIONS_TOPIC", "revoked"),
    ];
    topics.map(|(variable, topic)| (variable, kafka.topic(topic)))
}

async fn start(kafka: &Kafka, address: &str) -> TestApp {
    let [grants, revocations] = settings(kafka);
    let more = [
        (grants.0, grants.1.as_str()),
        (revocations.0, revocations.1.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", address),
    ];
    TestApp::start_with(kafka, &more).await
}

async fn grant(app: &TestApp, room: &str) {
    let body = json!({ "organization_id": "o1", "grant": [room] });
    let answer = ask(app, "POST", "/api/users/ann/grants", Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn bob_is_refused(app: &TestApp) -> bool {
    let mut client = Client::open(app.public).await;
    let entered = client.try_enter("/", &auth("bob", "o1", &[])).await;
    entered == Err("token_revoked".to_owned())
}

async fn component(app: &TestApp, name: &str) -> String {
    let ready = app.get("/ready").await.json();
    ready["components"][name]["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn subscribed(client: &mut Client, room: &str) -> bool {
    let answer = client.command("subscribe", &json!({ "room": room })).await;
    answer["success"] == true
}

/// The brokers were away for a moment: clients receive `stale`.
async fn revoked_rooms(client: &mut Client) -> Value {
    loop {
        let event = client.record().await;
        if event.name == "room_revoked" {
            assert_eq!(event.args[0]["data"]["code"], 702);
            return event.args[0]["data"]["rooms"].clone();
        }
        assert_eq!(event.name, "stale", "{event:?}");
    }
}

/// The end of both logs was lost. Instances that ran before and one that starts now agree: what was granted by what is lost ends, and
/// what was revoked by it is revoked everywhere.
#[tokio::test]
async fn h6_when_a_log_has_lost_its_end_old_and_new_instances_agree() {
    let before = Kafka::mock(&TOPICS).await;
    let wire = Proxy::to_broker(&before.address).await;
    let app = start(&before, &wire.address.to_string()).await;
    grant(&app, "channel:7").await;
    grant(&app, "channel:8").await;
    let body = json!({ "organization_id": "o1", "user_id": "bob" });
    let answer = ask(&app, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "fleet", "{answer:?}");
    let mut ann = Client::connect(app.public, &unit(&["channel:7", "channel:8"])).await;

    let after = before.mock_beside(&TOPICS).await;
    let kept = "o1/ann/channel:8";
    after.produce_keyed("granted", kept, r#"{"v":1}"#).await;
    wire.lead_to(&after.address);
    assert_eq!(revoked_rooms(&mut ann).await, json!(["channel:7:org:o1"]));
    assert!(bob_is_refused(&app).await);
    eventually("both are read", async || {
        let both = [
            component(&app, "grants").await,
            component(&app, "revocations").await,
        ];
        (both == ["ok", "ok"]).then_some(())
    })
    .await;
    assert_eq!(app.metrics().await.value("fleetcast_grants"), 1);

    eventually("a new instance knows of the revocation", async || {
        let new = start(&before, &after.address).await;
        bob_is_refused(&new).await.then_some(())
    })
    .await;
    let new = start(&before, &after.address).await;
    for instance in [&app, &new] {
        let mut ann = Client::connect(instance.public, &unit(&[])).await;
        assert!(!subscribed(&mut ann, "channel:7").await);
        assert!(subscribed(&mut ann, "channel:8").await);
        assert!(bob_is_refused(instance).await);
    }
}

const WIDE: &str = r#"{"v":1,"issued_until":9999999999,"until":null}"#;
const NARROW: &str = r#"{"v":1,"issued_until":9999999999,"until":9999999999}"#;

/// Both partitions are lost. Of what they held some is in the same one again, some in the other one, and some in none; and of one user the
/// newest record says less than the one before it.
#[tokio::test]
async fn h6_what_no_partition_holds_any_more_is_written_again_and_nothing_else() {
    const TOPICS: [(&str, i32); 3] = [("granted", 1), ("revoked", 2), ("transmission", 1)];
    let before = Kafka::mock(&TOPICS).await;
    let after = before.mock_beside(&TOPICS).await;
    for (kafka, partition, records) in [
        (
            &before,
            0,
            vec![("bob", WIDE), ("cid", WIDE), ("cid", WIDE)],
        ),
        (
            &before,
            1,
            vec![
                ("dan", WIDE),
                ("eve", WIDE),
                ("eve", WIDE),
                ("dan", WIDE),
                ("dan", WIDE),
                ("dan", WIDE),
            ],
        ),
        (&after, 0, vec![("cid", WIDE)]),
        (
            &after,
            1,
            vec![("bob", WIDE), ("dan", WIDE), ("ann", WIDE), ("ann", NARROW)],
        ),
    ] {
        for (user, value) in records {
            let key = format!("user/o1/{user}");
            kafka
                .produce_keyed_to(("revoked", partition), &key, value)
                .await;
        }
    }
    let wire = Proxy::to_broker(&before.address).await;
    let app = start(&before, &wire.address.to_string()).await;
    let applied = async || {
        let series = r#"fleetcast_control_records_total{kind="revocation",outcome="applied"}"#;
        app.metrics().await.value(series)
    };
    assert_eq!(applied().await, 9);
    wire.lead_to(&after.address);
    eventually(
        "those five, and eve and the merged one of ann",
        async || (applied().await == 9 + 5 + 2).then_some(()),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(applied().await, 9 + 5 + 2);
    assert!(bob_is_refused(&app).await);
}

/// Brokers that have just started, or do not have the topic any more: which it is is not known.
#[tokio::test]
async fn h6_a_topic_that_is_away_for_a_while_takes_nothing_with_it() {
    let before = Kafka::mock(&TOPICS).await;
    let wire = Proxy::to_broker(&before.address).await;
    let app = start(&before, &wire.address.to_string()).await;
    grant(&app, "channel:7").await;
    let mut ann = Client::connect(app.public, &unit(&["channel:7"])).await;
    let without = before
        .mock_beside(&[("revoked", 1), ("transmission", 1)])
        .await;
    wire.lead_to(&without.address);
    eventually("it is gone", async || {
        let status = component(&app, "grants").await;
        let ready = app.get("/ready").await;
        let reason = ready.json()["components"]["grants"]["reason"].to_string();
        assert_eq!(ready.status, 200, "clients are served");
        (status == "failing" && reason.contains("What it said before holds")).then_some(())
    })
    .await;
    assert_eq!(app.metrics().await.value("fleetcast_grants"), 1);
    let late = Client::connect(app.public, &unit(&["channel:7"])).await;
    let rooms = late.welcome["rooms"].as_array().unwrap();
    assert!(rooms.contains(&json!("channel:7:org:o1")), "{rooms:?}");

    wire.lead_to(&before.address);
    eventually("it is there again", async || {
        (component(&app, "grants").await == "ok").then_some(())
    })
    .await;
    assert_eq!(app.metrics().await.value("fleetcast_grants"), 1);
    // Had the room been withdrawn in between, this would come behind the notice.
    let answer = ann.command("rooms", &json!({})).await;
    assert!(answer.to_string().contains("channel:7:org:o1"), "{answer}");
    let body = json!({ "organization_id": "o1", "withdraw": ["channel:7"] });
    let answer = ask(&app, "POST", "/api/users/ann/grants", Some(&body)).await;
    assert_eq!(answer.json()["effective"], true, "{answer:?}");
    assert_eq!(revoked_rooms(&mut ann).await, json!(["channel:7:org:o1"]));
}
