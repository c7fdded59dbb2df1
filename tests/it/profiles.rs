//! Profiles of one's own: the examples as files, their sample records through `profile check`, and records through the server.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Client, Kafka, SECRET, TestApp, auth, eventually, token};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/examples")
}

fn profile(name: &str) -> String {
    let path = examples().join(format!("{name}.toml"));
    path.to_str().unwrap().to_owned()
}

/// What `profile check --json` says of one sample, and the exit code.
fn check(profile: &str, sample: &Path) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .args(["profile", "check", profile, "--json", "--record"])
        .arg(sample)
        .env_clear()
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&shown).unwrap_or_else(|error| {
        panic!(
            "{error}: {shown}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (document["records"][0].clone(), output.status.code())
}

/// Profile, sample, event, rooms, what it is the latest of, bytes of the payload.
type Example = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    Option<&'static str>,
    u64,
);

const EXAMPLES: [Example; 8] = [
    (
        "cloudevents",
        "cloudevents-structured",
        "order_created",
        &["org:o1", "order:5:org:o1"],
        None,
        52,
    ),
    (
        "cloudevents",
        "cloudevents-binary",
        "order_shipped",
        &["org:o1", "order:5:org:o1"],
        None,
        47,
    ),
    (
        "debezium-outbox",
        "outbox-header",
        "order_created",
        &["org:o1", "order:5:org:o1"],
        None,
        28,
    ),
    (
        "debezium-outbox",
        "outbox-envelope",
        "customer_renamed",
        &["customer:9:org:o1"],
        None,
        52,
    ),
    (
        "debezium-changes",
        "change-update",
        "asset_changed",
        &["asset:7:org:o1"],
        Some("7"),
        250,
    ),
    (
        "debezium-changes",
        "change-delete",
        "incident_changed",
        &["org:o1", "incident:3:org:o1"],
        None,
        118,
    ),
    (
        "schema-registry",
        "schema-registry",
        "position_measured",
        &["vehicle:v7:org:o1"],
        Some("v7"),
        80,
    ),
    (
        "regions",
        "regions",
        "unit_moved",
        &["region:north:org:acme", "unit:unit-7:org:acme"],
        Some("unit-7"),
        49,
    ),
];

#[test]
fn s4_07_every_example_profile_explains_its_records() {
    for (name, sample, event, rooms, key, bytes) in EXAMPLES {
        let path = examples().join(format!("records/{sample}.json"));
        let (record, code) = check(&profile(name), &path);
        assert_eq!(code, Some(0), "{sample}: {record:#}");
        let of = if name == "regions" { "acme" } else { "o1" };
        let expected = json!({
            "outcome": "routed", "event": event, "organization_id": of, "rooms": rooms,
            "key": key, "payload_bytes": bytes,
        });
        for (key, expected) in expected.as_object().unwrap() {
            assert_eq!(&record[key], expected, "{key} of {sample}");
        }
    }
    let known = |ending: &str, folder: &Path, used: &dyn Fn(&str) -> bool| {
        for entry in folder.read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(ending) {
                assert!(used(name), "no test uses {name}{ending}");
            }
        }
    };
    known(".toml", &examples(), &|name| {
        EXAMPLES.iter().any(|example| example.0 == name)
    });
    known(".json", &examples().join("records"), &|name| {
        EXAMPLES.iter().any(|example| example.1 == name)
    });
}

/// A sample with one part replaced must be refused, with this outcome and these words.
#[test]
fn example_profiles_reject_invalid_records_by_their_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &str, Value, &str, &str); 10] = [
        (
            "cloudevents",
            "cloudevents-structured",
            "/value/data",
            json!("v1.AAAA"),
            "no_payload",
            "an object or a list",
        ),
        (
            "cloudevents",
            "cloudevents-structured",
            "/value/subject",
            json!("orders/5"),
            "bad_id",
            "subject is \"orders/5\"",
        ),
        (
            "cloudevents",
            "cloudevents-structured",
            "/value/organizationid",
            json!(null),
            "no_organisation",
            "nothing names the organisation",
        ),
        (
            "cloudevents",
            "cloudevents-binary",
            "/headers/ce_organizationid",
            json!("o1:org:o2"),
            "bad_organisation",
            "an identifier is",
        ),
        (
            "cloudevents",
            "cloudevents-binary",
            "/headers/ce_type",
            json!("connect"),
            "reserved_event",
            "must not pose",
        ),
        (
            "debezium-outbox",
            "outbox-header",
            "/topic",
            json!("outbox.event.order.dlq"),
            "unknown_topic",
            "is none of the profile's topics",
        ),
        (
            "debezium-outbox",
            "outbox-header",
            "/topic",
            json!("outbox.event.dlq"),
            "unknown_topic",
            "what was set aside",
        ),
        (
            "debezium-outbox",
            "outbox-envelope",
            "/value/payload",
            json!("{\"name\":\"Ada\"}"),
            "no_payload",
            "an object or a list",
        ),
        (
            "debezium-changes",
            "change-update",
            "/value/before/organization_id",
            json!("o2"),
            "ambiguous_field",
            "they must agree",
        ),
        (
            "schema-registry",
            "schema-registry",
            "/value",
            json!({ "type": "position_measured" }),
            "bad_framing",
            "begins with the byte 123",
        ),
    ];
    for (name, sample, pointer, replaced, outcome, words) in cases {
        let text = std::fs::read_to_string(examples().join(format!("records/{sample}.json")));
        let mut record: Value = serde_json::from_str(&text.unwrap()).unwrap();
        *record.pointer_mut(pointer).expect(pointer) = replaced;
        let path = folder.path().join("sample.json");
        std::fs::write(&path, record.to_string()).unwrap();
        let (explained, code) = check(&profile(name), &path);
        assert_eq!(code, Some(1), "{explained:#}");
        assert_eq!(explained["outcome"], outcome, "{explained:#}");
        let steps = explained["steps"].as_array().unwrap();
        let last = steps.last().unwrap()["note"].as_str().unwrap();
        assert!(last.contains(words), "{last}");
    }
}

#[test]
fn a_format_that_is_not_read_stops_the_start() {
    let text = std::fs::read_to_string(profile("schema-registry")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("avro.toml");
    std::fs::write(&path, text.replace("\"json-schema\"", "\"avro\"")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .arg("serve")
        .env_clear()
        .env("JWT_SECRET", SECRET)
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .env("FLEETCAST_PROFILE", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for words in [
        "avro.toml:9: format \"avro\" is not supported",
        "\"json-schema\"",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

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
