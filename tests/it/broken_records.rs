//! Records that reach no client: each kind is counted under its own outcome and logged, and its neighbours are served.

use std::collections::{BTreeMap, BTreeSet};

use fleetcast::telemetry::labels::{Label, RecordOutcome};
use serde_json::{Value, json};

use crate::harness::{Client, Kafka, TestApp, auth, eventually, record};

const PLAIN: &str = "incident";
const FRAMED: &str = "framed";

/// All that can be wrong with a record needs more than the dispatch profile has.
const PROFILE: &str = r#"
    name = "broken"
    topics = ["incident", { names = ["framed"], format = "json-schema" }]
    [event]
    headers = ["event_type"]
    fields = ["event_type"]
    [organisation]
    headers = ["organization_id"]
    fields = ["organization_id"]
    [[routes]]
    events = ["told"]
    rooms = [{ kind = "org" }, { kind = "incident", id = ["incident_id"], optional = true }]
    [[routes]]
    events = ["moved"]
    rooms = [{ kind = "asset", id = ["asset_id"] }]
    [[routes]]
    events = ["wrapped"]
    payload = "data"
    rooms = [{ kind = "org" }]
    [policy.incident]
    any = ["dispatcher"]
    [policy.asset]
    any = ["dispatcher"]
"#;

/// No record of this test can have these outcomes: it is routed, or its topic went out of the profile between two polls, which
/// `domain::route::tests` tries, or it is one of `PUBLISH_TOPIC` that was written twice, which `api::publish` tries.
const ELSEWHERE: [RecordOutcome; 3] = [
    RecordOutcome::Routed,
    RecordOutcome::UnknownTopic,
    RecordOutcome::Duplicate,
];

/// A record of one kind of mistake.
struct Broken {
    topic: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    /// `None`: a tombstone.
    value: Option<Vec<u8>>,
    outcome: RecordOutcome,
}

fn of(outcome: RecordOutcome, value: impl Into<Vec<u8>>) -> Broken {
    Broken {
        topic: PLAIN,
        headers: Vec::new(),
        value: Some(value.into()),
        outcome,
    }
}

fn broken() -> Vec<Broken> {
    use RecordOutcome as O;
    let data = json!({ "n": -1 });
    let told = |organisation: Value| {
        json!({ "event_type": "told", "organization_id": organisation, "data": data }).to_string()
    };
    let event = |name: &str, data: Value| record(name, "o1", &data).to_string();
    let headed = |outcome, headers: &[(&'static str, &'static str)]| Broken {
        headers: headers.to_vec(),
        ..of(outcome, told(json!("o1")))
    };
    let framed = |value: &[u8]| Broken {
        topic: FRAMED,
        ..of(O::BadFraming, value)
    };
    vec![
        Broken {
            value: None,
            ..of(O::Tombstone, "")
        },
        of(O::Empty, ""),
        of(O::NotUtf8, [0xff, 0xfe, 0x00, 0x80]),
        of(O::NotJson, "{"),
        of(O::NotJson, "coffee"),
        of(O::NotJson, " "),
        of(O::NotJson, format!("\u{feff}{}", told(json!("o1")))),
        of(O::NotJson, [0, 0, 0, 0, 7, 1, 2, 3]),
        of(O::NotObject, "[]"),
        of(O::NotObject, "17"),
        of(O::NotObject, "null"),
        of(O::NotObject, "\"text\""),
        of(
            O::TooDeep,
            format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)),
        ),
        of(
            O::TooLarge,
            event("told", json!({ "text": "x".repeat(300_000) })),
        ),
        of(
            O::NoOrganisation,
            json!({ "event_type": "told", "data": data }).to_string(),
        ),
        of(O::BadOrganisation, told(json!("a:org:b"))),
        of(O::BadOrganisation, told(json!("x".repeat(65)))),
        of(O::BadOrganisation, told(json!(1.5))),
        of(O::BadOrganisation, told(json!(["o1"]))),
        headed(O::BadOrganisation, &[("organization_id", "no id!")]),
        headed(
            O::AmbiguousField,
            &[("organization_id", "o1"), ("organization_id", "o2")],
        ),
        of(
            O::AmbiguousField,
            r#"{"event_type":"told","organization_id":"o1","organization_id":"o2"}"#,
        ),
        of(
            O::NoEvent,
            json!({ "organization_id": "o1", "data": data }).to_string(),
        ),
        of(O::UnknownEvent, event("coffee_is_ready", data.clone())),
        of(O::ReservedEvent, event("disconnect", data.clone())),
        of(O::ReservedEvent, event("cursor", data.clone())),
        of(
            O::ReservedEvent,
            event("connection_established", data.clone()),
        ),
        of(O::NoRoom, event("moved", data.clone())),
        of(O::BadId, event("moved", json!({ "asset_id": ["7"] }))),
        of(O::BadId, event("moved", json!({ "asset_id": 1.0001 }))),
        of(
            O::BadId,
            event("told", json!({ "incident_id": "5:org:o2" })),
        ),
        of(
            O::NoPayload,
            json!({ "event_type": "wrapped", "organization_id": "o1" }).to_string(),
        ),
        of(O::NoPayload, event("wrapped", json!("v1.text"))),
        framed(b"{}"),
        framed(&[0, 0, 0, 0, 7]),
        framed(&[1, 0, 0, 0, 7, b'{', b'}']),
    ]
}

on_both_brokers! {
    a81_each_kind_of_broken_record_has_its_outcome_and_its_neighbours_are_served(&[(super::PLAIN, 1), (super::FRAMED, 1)]);
}

async fn a81_each_kind_of_broken_record_has_its_outcome_and_its_neighbours_are_served(
    kafka: Kafka,
) {
    let broken = broken();
    let mut expected = BTreeMap::<&str, u64>::new();
    for record in &broken {
        *expected.entry(record.outcome.as_str()).or_default() += 1;
    }
    let tried: BTreeSet<&str> = expected.keys().copied().collect();
    let all = RecordOutcome::ALL
        .iter()
        .filter(|outcome| !ELSEWHERE.contains(outcome));
    assert_eq!(tried, all.map(|outcome| outcome.as_str()).collect());

    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), PROFILE).unwrap();
    let path = file.path().to_str().unwrap();
    let app = TestApp::start_with(&kafka, &[("FLEETCAST_PROFILE", path)]).await;
    let rooms = ["asset:7", "incident:5"];
    let mut client = Client::connect(app.public, &auth("u1", "o1", &rooms)).await;
    let mut foreign = Client::connect(app.public, &auth("u1", "o2", &rooms)).await;

    let good = |number: usize| record("told", "o1", &json!({ "n": number })).to_string();
    let mut neighbours = 0;
    for bad in &broken {
        match &bad.value {
            Some(value) => {
                kafka
                    .produce_record(bad.topic, None, &bad.headers, value)
                    .await;
            }
            None => kafka.produce_tombstone(bad.topic, "key").await,
        }
        let mut value = good(neighbours).into_bytes();
        if bad.topic == FRAMED {
            value.splice(..0, [0, 0, 0, 0, 7]);
        }
        kafka.produce_record(bad.topic, None, &[], &value).await;
        let event = client.expect("told").await;
        assert_eq!(event.args[0]["data"]["n"], neighbours);
        neighbours += 1;
    }
    kafka.produce(PLAIN, record("told", "o2", &json!({}))).await;
    let first = foreign.expect("told").await;
    assert_eq!(
        first.args[0]["organization_id"], "o2",
        "the first that it sees"
    );

    let counted = eventually("all are counted", async || {
        let metrics = app.metrics().await;
        let sum = metrics.sum("fleetcast_records_total");
        (sum == u64::try_from(broken.len() + neighbours + 1).unwrap()).then_some(metrics)
    })
    .await;
    for outcome in RecordOutcome::ALL.iter().map(|outcome| outcome.as_str()) {
        let of = |topic: &str| {
            let topic = kafka.topic(topic);
            counted.value(&format!(
                "fleetcast_records_total{{topic=\"{topic}\",outcome=\"{outcome}\"}}"
            ))
        };
        let wanted = match outcome {
            "routed" => u64::try_from(neighbours + 1).unwrap(),
            other => expected.get(other).copied().unwrap_or(0),
        };
        assert_eq!(of(PLAIN) + of(FRAMED), wanted, "{outcome}");
    }
    // One line a second for each outcome, so each has at least one.
    let log = app.log();
    for outcome in tried {
        let said = log.iter().any(|line| {
            line.contains("record skipped") && line.contains(&format!("\"reason\":\"{outcome}\""))
        });
        assert!(said, "no line of {outcome}");
    }
}
