use std::collections::{BTreeMap, BTreeSet};

use fleetcast_core::domain::id::Id;
use serde_json::Value;

use super::*;

const START_MS: u64 = 1_767_225_600_000;

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

/// Runs a city in steps of 100 ms.
fn run(seed: u64, seconds: u64) -> Vec<CityEvent> {
    let mut city = City::new(seed);
    (0..=seconds * 10)
        .flat_map(|tenth| city.step(START_MS + tenth * 100))
        .collect()
}

fn within(events: &[CityEvent], from_s: u64, seconds: u64) -> impl Iterator<Item = &CityEvent> {
    let from = START_MS + from_s * 1000;
    events
        .iter()
        .filter(move |event| (from..from + seconds * 1000).contains(&event.timestamp_ms))
}

#[test]
fn all_events_of_the_profile_occur_in_each_organisation_every_minute() {
    for seed in 0..20 {
        let events = run(seed, 600);
        for organisation in ["metro", "harbor"] {
            for minute in 0..10 {
                let seen: BTreeSet<_> = within(&events, minute * 60, 60)
                    .filter(|event| event.organisation == organisation)
                    .map(|event| (event.topic, event.name))
                    .collect();
                let missing: Vec<_> = EVENTS
                    .iter()
                    .filter(|event| !seen.contains(event))
                    .collect();
                assert!(
                    missing.is_empty(),
                    "seed {seed}, {organisation}, minute {minute}: {missing:?}"
                );
                assert_eq!(seen.len(), EVENTS.len());
            }
        }
    }
}

#[test]
fn a_visitor_sees_most_events_within_twenty_seconds() {
    for seed in 0..20 {
        let events = run(seed, 600);
        for window in 0..30 {
            let seen: BTreeSet<_> = within(&events, window * 20, 20)
                .map(|event| event.name)
                .collect();
            assert!(seen.len() >= 13, "seed {seed}, window {window}: {seen:?}");
        }
    }
}

#[test]
fn the_rate_is_steady() {
    for seed in 0..20 {
        let events = run(seed, 1200);
        for minute in 0..20 {
            let count = within(&events, minute * 60, 60).count();
            assert!(
                (900..=1500).contains(&count),
                "seed {seed}, minute {minute}: {count}"
            );
        }
        for window in 0..240 {
            let count = within(&events, window * 5, 5).count();
            assert!(
                (50..=150).contains(&count),
                "seed {seed}, window {window}: {count}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    assert_eq!(run(7, 60), run(7, 60));
    assert_ne!(run(7, 60), run(8, 60));
}

#[test]
fn events_come_in_order_and_never_from_the_future() {
    let mut city = City::new(1);
    let mut last = 0;
    for tenth in 0..6000 {
        let now = START_MS + tenth * 100;
        for event in city.step(now) {
            assert!(event.timestamp_ms >= last && event.timestamp_ms <= now);
            last = event.timestamp_ms;
        }
    }
}

#[test]
fn values_have_the_shape_of_the_contract() {
    for event in run(3, 120) {
        let value: Value = serde_json::from_str(&event.value()).unwrap();
        let object = value.as_object().unwrap();
        assert_eq!(object.len(), 4);
        assert_eq!(object["event_type"], event.name);
        assert_eq!(object["organization_id"], event.organisation);
        assert!(object["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(TOPICS.contains(&event.topic));
    }
}

#[test]
fn every_event_names_its_object_and_its_ids_fit_rooms() {
    for event in run(3, 300) {
        let data = event.data.as_object().unwrap();
        let own = match event.topic {
            "transmission" => "transmission_id",
            "incident" => "incident_id",
            "task" => "task_id",
            "asset" => "asset_id",
            _ => "alert_id",
        };
        assert_eq!(data[own], event.key.as_str(), "{event:?}");
        if event.topic == "transmission" {
            assert!(data.contains_key("channel_id"));
        }
        if event.topic == "task" {
            assert!(data.contains_key("assigned_to"));
        }
        for (name, value) in data {
            if name.ends_with("_id") || name == "assigned_to" {
                let text = value.as_str().unwrap();
                assert!(Id::parse(text).is_ok(), "{name} = {text}");
            }
        }
        for unfilled in ["{me}", "{at}", "{what}"] {
            assert!(!event.value().contains(unfilled), "{event:?}");
        }
    }
}

#[test]
fn vehicles_stay_in_the_city_and_drive_like_vehicles() {
    let mut before: BTreeMap<String, (u64, f64, f64)> = BTreeMap::new();
    for event in run(11, 900) {
        if event.name != "asset_position_updated" {
            continue;
        }
        let (lat, lon) = (
            event.data["lat"].as_f64().unwrap(),
            event.data["lon"].as_f64().unwrap(),
        );
        assert!((44.615..44.630).contains(&lat), "{lat}");
        assert!((-124.060..-124.040).contains(&lon), "{lon}");
        assert!((0.0..360.0).contains(&event.data["heading"].as_f64().unwrap()));
        let now = event.timestamp_ms;
        if let Some((then, old_lat, old_lon)) = before.insert(event.key.clone(), (now, lat, lon)) {
            let metres = ((lat - old_lat) * 111_320.0)
                .hypot((lon - old_lon) * 111_320.0 * lat.to_radians().cos());
            let seconds = f64::from(u32::try_from(now - then).unwrap()) / 1000.0;
            assert!(metres <= 20.5 * seconds + 1.0, "{metres} m in {seconds} s");
        }
    }
    assert_eq!(before.len(), 24);
}

#[test]
fn incidents_live_legally() {
    const LIFE: [&str; 6] = [
        "new",
        "dispatched",
        "on_scene",
        "contained",
        "resolved",
        "closed",
    ];
    let events = run(2, 1800);
    let mut status: BTreeMap<&str, &str> = BTreeMap::new();
    for event in &events {
        let id = event.data["incident_id"].as_str().unwrap_or_default();
        match event.name {
            "incident_created" => assert!(status.insert(id, "new").is_none(), "{id} twice"),
            "incident_updated" => assert_eq!(event.data["status"], status[id]),
            "incident_status_changed" => {
                let (from, to) = (&event.data["from"], &event.data["to"]);
                assert_eq!(from, status[id]);
                let step = LIFE.iter().position(|name| from == name).unwrap() + 1;
                assert_eq!(to, LIFE[step]);
                status.insert(id, LIFE[step]);
            }
            "asset_position_updated" | "asset_status_changed" | "task_assigned"
                if !id.is_empty() =>
            {
                assert_ne!(status[id], "closed", "{event:?}");
            }
            _ => {}
        }
    }
    let closed = status
        .values()
        .filter(|&&status| status == "closed")
        .count();
    assert!(closed >= 60, "{closed} incidents closed in half an hour");
    for standing in ["minc-1000", "hinc-1000"] {
        assert_eq!(status[standing], "on_scene");
    }
}

#[test]
fn tasks_and_alerts_follow_their_order() {
    let mut last: BTreeMap<String, &str> = BTreeMap::new();
    for event in run(4, 600) {
        let before = match event.name {
            "task_assigned" | "alert_created" | "transmission_started" => None,
            "task_updated" => Some("task_assigned"),
            "task_completed" => Some("task_updated"),
            "alert_acknowledged" => Some("alert_created"),
            "transmission_completed" => Some("transmission_started"),
            "transcription_completed" => Some("transmission_completed"),
            "transmission_tagged" => Some("transcription_completed"),
            _ => continue,
        };
        assert_eq!(
            last.insert(event.key.clone(), event.name),
            before,
            "{}",
            event.key
        );
    }
}

#[test]
fn a_long_pause_gives_no_flood_and_the_city_does_not_grow() {
    let mut city = City::new(9);
    for step in 0..2_000 {
        let count = city.step(START_MS + step * 3_600_000).len();
        assert!(count < 250, "{count} events after an hour of sleep");
    }
    assert!(city.step(START_MS).is_empty(), "time that runs backwards");
    assert!(
        city.agenda.len() < 150,
        "{} things planned",
        city.agenda.len()
    );
    assert!(
        city.services
            .iter()
            .all(|service| service.incidents.len() <= 5)
    );
}
