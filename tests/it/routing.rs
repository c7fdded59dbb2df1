//! Records of every event reach the right rooms, once, and no others.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Client, Kafka, TestApp, auth, record};

const TOPICS: &[(&str, i32)] = &[
    ("transmission", 3),
    ("incident", 3),
    ("task", 3),
    ("asset", 3),
    ("alert", 3),
];

/// Each event of the profile with its topic.
const EVENTS: [(&str, &str); 14] = [
    ("transmission", "transmission_started"),
    ("transmission", "transmission_completed"),
    ("transmission", "transcription_completed"),
    ("transmission", "transmission_tagged"),
    ("incident", "incident_created"),
    ("incident", "incident_updated"),
    ("incident", "incident_status_changed"),
    ("task", "task_assigned"),
    ("task", "task_completed"),
    ("task", "task_updated"),
    ("asset", "asset_position_updated"),
    ("asset", "asset_status_changed"),
    ("alert", "alert_created"),
    ("alert", "alert_acknowledged"),
];

/// What every user of the organisation hears.
const ORGANISATION: [&str; 9] = [
    "incident_created",
    "incident_updated",
    "incident_status_changed",
    "task_assigned",
    "task_completed",
    "task_updated",
    "asset_status_changed",
    "alert_created",
    "alert_acknowledged",
];
const CHANNEL: [&str; 4] = [
    "transmission_started",
    "transmission_completed",
    "transcription_completed",
    "transmission_tagged",
];
const POSITION: &str = "asset_position_updated";

on_both_brokers! {
    each_event_reaches_its_rooms_once_and_no_other_organisation(super::TOPICS);
}

/// Everything up to a last record on each topic, by event.
async fn heard(client: &mut Client, organisation: &str) -> BTreeMap<String, usize> {
    let mut ends = 0;
    let mut heard = BTreeMap::new();
    while ends < TOPICS.len() {
        let event = client.record().await;
        assert_eq!(event.args[0]["organization_id"], organisation, "isolation");
        assert!(event.cursor().is_some(), "the last argument: {event:?}");
        if event.args[0]["data"]["end"] == true {
            ends += 1;
        } else {
            *heard.entry(event.name).or_default() += 1;
        }
    }
    heard
}

fn once(names: &[&[&str]]) -> BTreeMap<String, usize> {
    let names = names.concat();
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

async fn each_event_reaches_its_rooms_once_and_no_other_organisation(kafka: Kafka) {
    let app = TestApp::start(&kafka).await;
    let all = ["channel:7", "incident:5", "asset:9"];
    let connect = async |user: &str, organisation: &str, rooms: &[&str]| {
        Client::connect(app.public, &auth(user, organisation, rooms)).await
    };
    let mut alone = connect("u1", "o1", &[]).await;
    let mut channel = connect("u2", "o1", &["channel:7"]).await;
    let mut incident = connect("u3", "o1", &["incident:5"]).await;
    let mut asset = connect("u4", "o1", &["asset:9"]).await;
    let mut everything = connect("u9", "o1", &all).await;
    let mut foreign = connect("u9", "o2", &all).await;
    let mut elsewhere = connect("u5", "o1", &["channel:8", "incident:6", "asset:10"]).await;

    for organisation in ["o1", "o2"] {
        let data =
            json!({ "channel_id": 7, "incident_id": "5", "asset_id": "9", "assigned_to": "u9" });
        // The neighbours get theirs without the ids, to be told apart by what is missing.
        let data = if organisation == "o1" {
            data
        } else {
            json!({ "channel_id": "1", "asset_id": "1" })
        };
        for (topic, event) in EVENTS {
            kafka
                .produce(topic, record(event, organisation, &data))
                .await;
        }
        for (topic, _) in TOPICS {
            let end = record("incident_created", organisation, &json!({ "end": true }));
            kafka.produce(topic, end).await;
        }
    }

    assert_eq!(heard(&mut alone, "o1").await, once(&[&ORGANISATION]));
    assert_eq!(
        heard(&mut channel, "o1").await,
        once(&[&ORGANISATION, &CHANNEL])
    );
    let whole = once(&[&ORGANISATION, &CHANNEL, &[POSITION]]);
    assert_eq!(heard(&mut incident, "o1").await, whole);
    assert_eq!(
        heard(&mut asset, "o1").await,
        once(&[&ORGANISATION, &[POSITION]])
    );
    assert_eq!(
        heard(&mut everything, "o1").await,
        whole,
        "once, by several rooms"
    );
    assert_eq!(heard(&mut foreign, "o2").await, once(&[&ORGANISATION]));
    assert_eq!(heard(&mut elsewhere, "o1").await, once(&[&ORGANISATION]));

    // Counted as what they are.
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_deliveries_total{event=\"asset_position_updated\"}"),
        3
    );
    assert_eq!(metrics.sum("fleetcast_records_total"), 2 * (14 + 5));
}
