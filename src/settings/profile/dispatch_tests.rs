//! The dispatch profile against the contract's table.

use fleetcast_core::domain::claims::{ClaimPaths, Claims};
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::publication::{Class, Publication};
use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::room::{Kind, Room, Which};
use fleetcast_core::domain::route::Skip;
use serde_json::json;

use super::*;

fn dispatch() -> Profile {
    Profile::builtin("dispatch", "", 262_144).expect("the built-in profile is good")
}

fn route(event: &str, data: &serde_json::Value) -> Result<Publication, Skip> {
    let value = json!({"event_type": event, "organization_id": "o1", "data": data}).to_string();
    let record = Record {
        topic: "incident",
        partition: 0,
        offset: 0,
        timestamp: None,
        key: None,
        value: Some(value.as_bytes()),
        headers: &[],
    };
    dispatch().routes.route(&record, &Arc::from("incident"))
}

fn rooms(event: &str, data: &serde_json::Value) -> Result<Vec<String>, Skip> {
    route(event, data).map(|publication| publication.rooms.iter().map(Room::to_string).collect())
}

fn room(kind: &str, which: &str) -> Room {
    Room {
        organisation: Id::parse("o1").expect("id"),
        kind: Kind::parse(kind).expect("kind"),
        which: match kind {
            "user" => Which::User(UserId::parse(which).expect("a user")),
            _ => Which::parse(which).expect("id or *"),
        },
    }
}

const INCIDENTS: [&str; 3] = [
    "incident_created",
    "incident_updated",
    "incident_status_changed",
];
const TASKS: [&str; 3] = ["task_assigned", "task_completed", "task_updated"];
const TRANSMISSIONS: [&str; 4] = [
    "transmission_started",
    "transmission_completed",
    "transcription_completed",
    "transmission_tagged",
];
const ALERTS: [&str; 2] = ["alert_created", "alert_acknowledged"];

#[test]
fn s4_07_topics_and_all_14_events_are_there() {
    let profile = Profile::builtin("dispatch", "city.", 262_144).expect("good");
    let topics: Vec<_> = profile.routes.topics().collect();
    assert_eq!(topics.len(), 10);
    assert!(topics.contains(&"city.transmission") && topics.contains(&"city.alerts"));
    let preferred: Vec<_> = profile
        .routes
        .topic_groups()
        .map(|group| &*group[0])
        .collect();
    assert_eq!(
        preferred,
        [
            "city.transmission",
            "city.incident",
            "city.task",
            "city.asset",
            "city.alert"
        ]
    );
    assert_eq!(profile.routes.events().count(), 14);
    assert_eq!(profile.name, "dispatch");
}

#[test]
fn s4_14_transmission_goes_to_its_channel_and_incident() {
    for event in TRANSMISSIONS {
        let both = rooms(
            event,
            &json!({"id": "x", "channel_id": 7, "incident_id": "5"}),
        );
        assert_eq!(
            both,
            Ok(vec!["channel:7:org:o1".into(), "incident:5:org:o1".into()])
        );
        assert_eq!(
            rooms(event, &json!({"channel_id": "7"})),
            Ok(vec!["channel:7:org:o1".into()])
        );
        assert_eq!(
            rooms(event, &json!({"incident_id": "5"})),
            Err(Skip::NoRoom)
        );
    }
}

#[test]
fn s4_15_incident_goes_to_org_and_incident_room() {
    for event in INCIDENTS {
        for data in [
            json!({"incident_id": "5"}),
            json!({"id": 5}),
            json!({"incident_id": 5, "id": "n"}),
        ] {
            assert_eq!(
                rooms(event, &data),
                Ok(vec!["org:o1".into(), "incident:5:org:o1".into()])
            );
        }
        assert_eq!(rooms(event, &json!({})), Ok(vec!["org:o1".into()]));
        assert_eq!(
            rooms(event, &json!({"incident_id": "a:org:b"})),
            Err(Skip::BadId)
        );
    }
}

#[test]
fn s4_16_task_goes_to_org_assignee_and_incident() {
    for event in TASKS {
        for data in [
            json!({"assigned_to": "u1", "incident_id": 5}),
            json!({"assignee_id": "u1", "incident_id": 5}),
        ] {
            let expected = vec![
                "org:o1".into(),
                "user:u1:org:o1".into(),
                "incident:5:org:o1".into(),
            ];
            assert_eq!(rooms(event, &data), Ok(expected));
        }
        assert_eq!(
            rooms(event, &json!({"id": "t1", "assigned_to": null})),
            Ok(vec!["org:o1".into()])
        );
    }
}

#[test]
fn s4_17_position_is_the_latest_of_its_asset_and_status_goes_to_org() {
    for data in [
        json!({"asset_id": "a1", "incident_id": "5"}),
        json!({"id": "a1", "incident_id": "5"}),
    ] {
        let position = route("asset_position_updated", &data).expect("routed");
        assert_eq!(
            (position.class, position.latest_of.as_deref()),
            (Class::Latest, Some("a1"))
        );
        let shown: Vec<_> = position.rooms.iter().map(Room::to_string).collect();
        assert_eq!(shown, ["asset:a1:org:o1", "incident:5:org:o1"]);
    }
    assert_eq!(
        rooms("asset_position_updated", &json!({"lat": 1})).err(),
        Some(Skip::NoRoom)
    );
    let status = rooms("asset_status_changed", &json!({"asset_id": "a1"}));
    assert_eq!(status, Ok(vec!["org:o1".into(), "asset:a1:org:o1".into()]));
}

#[test]
fn s4_18_alert_is_critical_and_its_creation_asks_for_an_acknowledgement() {
    for event in ALERTS {
        let alert = route(
            event,
            &json!({"id": "al", "incident_id": "5", "asset_id": 9}),
        )
        .expect("routed");
        let shown: Vec<_> = alert.rooms.iter().map(Room::to_string).collect();
        assert_eq!(shown, ["org:o1", "incident:5:org:o1", "asset:9:org:o1"]);
        assert_eq!(
            (alert.class, alert.ack),
            (Class::Critical, event == "alert_created")
        );
        assert_eq!(
            rooms(event, &json!({"id": "al"})),
            Ok(vec!["org:o1".into()])
        );
    }
}

#[test]
fn other_events_are_class_event_and_ask_for_nothing() {
    let data = json!({"channel_id": 1, "asset_id": 1});
    for event in [
        &TRANSMISSIONS[..],
        &INCIDENTS,
        &TASKS,
        &["asset_status_changed"],
    ]
    .concat()
    {
        let publication = route(event, &data).expect("routed");
        assert_eq!(
            (publication.class, publication.ack),
            (Class::Event, false),
            "{event}"
        );
    }
}

#[test]
fn s4_06_the_five_roles_of_dispatch() {
    let policy = dispatch().policy;
    for (role, channel, incident, asset) in [
        ("admin", [true, true], [true, true], [true, true]),
        ("supervisor", [true, true], [true, true], [true, true]),
        ("dispatcher", [true, true], [true, true], [true, true]),
        ("field_unit", [true, false], [true, false], [true, false]),
        ("viewer", [false, false], [true, true], [false, false]),
        ("other", [false, false], [false, false], [false, false]),
    ] {
        let value = json!({
            "sub": "u1", "organization_id": "o1", "roles": [role], "exp": 1_900_000_000,
            "channels": [1], "incidents": ["1"], "assets": [1],
        });
        let rules = dispatch().claim_rules();
        let map = value.as_object().expect("object");
        let claims = Claims::from_json(map, &ClaimPaths::default(), &rules).expect("claims");
        for (kind, expected) in [
            ("channel", channel),
            ("incident", incident),
            ("asset", asset),
        ] {
            for (id, allowed) in ["1", "2"].into_iter().zip(expected) {
                assert_eq!(
                    policy.may_join(&claims, &room(kind, id)),
                    allowed,
                    "{role} {kind} {id}"
                );
            }
            // A role that may join every room of a kind may join the whole of it.
            assert_eq!(
                policy.may_join(&claims, &room(kind, "*")),
                expected == [true, true],
                "{role} {kind}"
            );
        }
        for (kind, id, allowed) in [
            ("org", "o1", true),
            ("org", "o2", false),
            ("user", "u1", true),
            ("user", "u2", false),
        ] {
            assert_eq!(
                policy.may_join(&claims, &room(kind, id)),
                allowed,
                "{role} {kind} {id}"
            );
        }
    }
}
