//! Profiles of one's own: records through the server.

use serde_json::{Value, json};

use crate::harness::{Client, Kafka, TestApp, auth, eventually, token};
use crate::profile_examples::{examples, profile};

on_both_brokers! {
    cloudevents_of_both_forms_reach_their_rooms(&[("orders", 1)]);
    outbox_events_of_topics_that_a_pattern_finds(&[("outbox.event.order", 1), ("outbox.event.order.dlq", 1)]);
    framed_json_is_delivered_without_its_frame(&[("telemetry", 1), ("alerts", 1)]);
}

/// A sample as a record of the log.
async fn produce(kafka: &Kafka, sample: &str, edit: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(examples().join(format!("records/{sample}.json")));
    let mut record: Value = serde_json::from_str(&text.unwrap()).unwrap();
    edit(&mut record);
    let headers: Vec<(&str, &str)> = (record["headers"].as_object().into_iter().flatten())
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let value = match &record["value"] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let topic = record["topic"].as_str().unwrap();
    let key = record["key"].as_str();
    kafka
        .produce_record(topic, key, &headers, value.as_bytes())
        .await;
}

async fn start(kafka: &Kafka, name: &str) -> TestApp {
    TestApp::start_with(kafka, &[("FLEETCAST_PROFILE", &profile(name))]).await
}

async fn cloudevents_of_both_forms_reach_their_rooms(kafka: Kafka) {
    let app = start(&kafka, "cloudevents").await;
    let mut order = Client::connect(app.public, &auth("u1", "o1", &["order:5"])).await;
    let mut foreign = Client::connect(app.public, &auth("u1", "o2", &["order:5"])).await;

    produce(&kafka, "cloudevents-structured", |_| ()).await;
    // The application's own data names another organisation; that field is not a source.
    produce(&kafka, "cloudevents-binary", |record| {
        record["value"]["data"] = json!({ "organizationid": "o2" });
    })
    .await;
    produce(&kafka, "cloudevents-structured", |record| {
        record["value"]["data"] = json!("v1.AAAA");
    })
    .await;
    produce(&kafka, "cloudevents-structured", |record| {
        record["value"]["organizationid"] = json!("o2");
    })
    .await;

    let created = order.expect("order_created").await;
    assert_eq!(
        created.args[0],
        json!({ "total": 12.50, "organizationid": "not-this-one" })
    );
    let shipped = order.expect("order_shipped").await;
    assert_eq!(shipped.args[0]["carrier"], "bike", "the whole value");
    let theirs = foreign.record().await;
    assert_eq!(theirs.args[0]["total"], 12.50, "only what is theirs");
    counted(
        &app,
        &kafka.topic("orders"),
        &[("routed", 3), ("no_payload", 1)],
    )
    .await;
}

async fn outbox_events_of_topics_that_a_pattern_finds(kafka: Kafka) {
    let app = start(&kafka, "debezium-outbox").await;
    let mut client =
        Client::connect(app.public, &auth("u1", "o1", &["order:5", "customer:9"])).await;
    produce(&kafka, "outbox-header", |record| {
        record["topic"] = json!("outbox.event.order.dlq");
    })
    .await;
    produce(&kafka, "outbox-header", |_| ()).await;
    let created = client.record().await;
    assert_eq!(
        created.name, "order_created",
        "nothing of what was set aside"
    );
    assert_eq!(created.args[0], json!({ "id": 77, "total": 12.50 }));

    // A new kind of aggregate.
    kafka.create_topic("outbox.event.customer", 1).await;
    produce(&kafka, "outbox-envelope", |_| ()).await;
    let renamed = client.record().await;
    assert_eq!(renamed.name, "customer_renamed");
    assert_eq!(renamed.args[0]["name"], "Ada", "the payload alone");
    let metrics = app.metrics().await;
    assert!(!metrics.0.contains("order.dlq"), "it is not read");
}

async fn framed_json_is_delivered_without_its_frame(kafka: Kafka) {
    let app = start(&kafka, "schema-registry").await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["vehicle:v7"])).await;
    produce(&kafka, "schema-registry", |record| {
        record["value"] = json!({ "type": "position_measured" });
    })
    .await;
    produce(&kafka, "schema-registry", |record| {
        record["value"] = json!("\u{0}\u{0}{}");
    })
    .await;
    produce(&kafka, "schema-registry", |_| ()).await;
    produce(&kafka, "schema-registry", |record| {
        record["topic"] = json!("alerts");
        record["value"] = json!({ "type": "alert_raised", "organization_id": "o1" });
    })
    .await;
    let mut names = Vec::new();
    for _ in 0..2 {
        let event = client.record().await;
        if event.name == "position_measured" {
            assert_eq!(event.args[0]["lat"], 52.5);
        }
        names.push(event.name);
    }
    names.sort();
    assert_eq!(names, ["alert_raised", "position_measured"]);
    counted(
        &app,
        &kafka.topic("telemetry"),
        &[("routed", 1), ("bad_framing", 2)],
    )
    .await;
}

#[tokio::test]
async fn a_profile_that_serves_one_organisation_asks_neither_tokens_nor_records_for_it() {
    let kafka = Kafka::mock(&[("notice", 1)]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one.toml");
    let profile = r#"
        name = "one"
        topics = ["notice"]
        organisation = "acme"
        [event]
        fields = ["type"]
        [[routes]]
        events = ["noticed"]
        class = "event"
        rooms = [{ kind = "org" }]
    "#;
    std::fs::write(&path, profile).unwrap();
    let more = [("FLEETCAST_PROFILE", path.to_str().unwrap())];
    let app = TestApp::start_with(&kafka, &more).await;
    let without_organisation = json!({ "token": token(json!({ "sub": "u1" })) });
    let mut own = Client::connect(app.public, &without_organisation).await;
    assert_eq!(own.welcome["organization_id"], "acme");
    let mut other = Client::connect(app.public, &auth("u2", "o1", &[])).await;
    for (n, organisation) in [None, Some("o1"), Some("acme")].into_iter().enumerate() {
        let notice = json!({ "type": "noticed", "n": n, "organization_id": organisation });
        kafka.produce("notice", notice).await;
    }
    for n in [0, 2] {
        assert_eq!(own.expect("noticed").await.args[0]["n"], n);
    }
    assert_eq!(other.expect("noticed").await.args[0]["n"], 1);
}

async fn counted(app: &TestApp, topic: &str, outcomes: &[(&str, u64)]) {
    eventually("all are counted", async || {
        let metrics = app.metrics().await;
        let all = outcomes.iter().all(|(outcome, count)| {
            let series =
                format!("fleetcast_records_total{{topic=\"{topic}\",outcome=\"{outcome}\"}}");
            metrics.0.contains(&format!("{series} {count}\n"))
        });
        all.then_some(())
    })
    .await;
}
