//! Each room of each route of the dispatch profile delivers by itself. Most events go to the organisation's room too, so a
//! client receives them whether or not their other rooms are right. Here the server runs with copies of the profile in which
//! every route has only its room of one kind: what arrives came through that room.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use toml::Table;

use crate::harness::{Client, Kafka, TestApp, auth, record};

const TOPIC: &str = "incident";

/// Kinds of rooms with the fields that may hold their ids.
type Rooms = &'static [(&'static str, &'static [&'static str])];

/// What the dispatch profile promises.
const ROUTES: [(&[&str], Rooms); 6] = [
    (
        &[
            "transmission_started",
            "transmission_completed",
            "transcription_completed",
            "transmission_tagged",
        ],
        &[("channel", &["channel_id"]), ("incident", &["incident_id"])],
    ),
    (
        &[
            "incident_created",
            "incident_updated",
            "incident_status_changed",
        ],
        &[("org", &[]), ("incident", &["incident_id", "id"])],
    ),
    (
        &["task_assigned", "task_completed", "task_updated"],
        &[
            ("org", &[]),
            ("user", &["assigned_to", "assignee_id"]),
            ("incident", &["incident_id"]),
        ],
    ),
    (
        &["asset_position_updated"],
        &[
            ("asset", &["asset_id", "id"]),
            ("incident", &["incident_id"]),
        ],
    ),
    (
        &["asset_status_changed"],
        &[("org", &[]), ("asset", &["asset_id", "id"])],
    ),
    (
        &["alert_created", "alert_acknowledged"],
        &[
            ("org", &[]),
            ("incident", &["incident_id"]),
            ("asset", &["asset_id"]),
        ],
    ),
];

/// A kind of room, with the id that one client has of it, and the id that the other has.
const KINDS: [(&str, &str, &str); 5] = [
    ("org", "", ""),
    ("user", "u1", "u2"),
    ("channel", "7", "8"),
    ("incident", "5", "6"),
    ("asset", "9", "10"),
];

fn dispatch() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/dispatch.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// The profile with the rooms of one kind only. Routes that have none are taken out.
fn only(kind: &str) -> Table {
    let mut profile = dispatch();
    let routes = profile["routes"].as_array_mut().unwrap();
    for route in routes.iter_mut() {
        let rooms = route["rooms"].as_array_mut().unwrap();
        rooms.retain(|room| room["kind"].as_str() == Some(kind));
    }
    routes.retain(|route| !route["rooms"].as_array().unwrap().is_empty());
    let policy = profile["policy"].as_table_mut().unwrap();
    policy.retain(|of, _| of == kind);
    profile
}

/// Every event that goes to a room of this kind, with each field that may hold the room's id. A kind without ids has one
/// field without a name.
fn cases(kind: &str) -> Vec<(&'static str, &'static str)> {
    let mut cases = Vec::new();
    for (events, rooms) in ROUTES {
        for (_, fields) in rooms.iter().filter(|(of, _)| *of == kind) {
            let fields = if fields.is_empty() { &[""] } else { *fields };
            for event in events {
                cases.extend(fields.iter().map(|field| (*event, *field)));
            }
        }
    }
    cases
}

/// `data` of a record whose rooms are all those of one client; that of `kind` is named by `field`.
fn data(kind: &str, field: &str, own: bool, number: usize) -> Value {
    let mut data = json!({ "n": number });
    for (of, first, second) in KINDS {
        let name = match of {
            _ if of == kind => field.to_owned(),
            "user" => "assigned_to".to_owned(),
            _ => format!("{of}_id"),
        };
        if !name.is_empty() && of != "org" {
            data[name] = json!(if own { first } else { second });
        }
    }
    data
}

#[test]
fn the_table_has_every_room_and_field_of_the_profile() {
    let profile = dispatch();
    let mut known = BTreeSet::new();
    for (events, rooms) in ROUTES {
        for event in events {
            known.insert((*event, "", ""));
            for (kind, fields) in rooms {
                assert!(KINDS.iter().any(|(of, ..)| of == kind), "{kind}");
                known.insert((*event, *kind, ""));
                known.extend(fields.iter().map(|field| (*event, *kind, *field)));
            }
        }
    }
    for route in profile["routes"].as_array().unwrap() {
        for event in route["events"].as_array().unwrap() {
            let event = event.as_str().unwrap();
            assert!(known.contains(&(event, "", "")), "{event}");
            for room in route["rooms"].as_array().unwrap() {
                let kind = room["kind"].as_str().unwrap();
                assert!(known.contains(&(event, kind, "")), "{kind} of {event}");
                let fields = room.get("id").and_then(toml::Value::as_array);
                for field in fields.into_iter().flatten() {
                    let field = field.as_str().unwrap();
                    assert!(known.contains(&(event, kind, field)), "{field} of {event}");
                }
            }
        }
    }
}

macro_rules! each_kind {
    ($($name:ident($kind:literal);)+) => { $(
        #[tokio::test]
        async fn $name() {
            delivers_by_itself($kind).await;
        }
    )+

    #[test]
    fn every_kind_has_its_test() {
        let tested = BTreeSet::from([$($kind),+]);
        assert_eq!(tested, KINDS.map(|(kind, ..)| kind).into());
    } };
}

each_kind! {
    s4_09_the_room_of_the_organisation_delivers_each_of_its_events("org");
    s4_16_the_room_of_a_user_delivers_each_of_its_events("user");
    s4_10_the_room_of_a_channel_delivers_each_of_its_events("channel");
    s4_11_the_room_of_an_incident_delivers_each_of_its_events("incident");
    s4_12_the_room_of_an_asset_delivers_each_of_its_events("asset");
}

async fn delivers_by_itself(kind: &str) {
    let kafka = Kafka::mock(&[(TOPIC, 1)]).await;
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), only(kind).to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let app = TestApp::start_with(&kafka, &[("FLEETCAST_PROFILE", path)]).await;

    let connect = async |user: &str, organisation: &str, own: bool| {
        let rooms = KINDS.iter().filter(|(of, ..)| *of == kind);
        let rooms = rooms.filter(|(of, ..)| !matches!(*of, "org" | "user"));
        let rooms: Vec<String> = rooms
            .map(|(of, first, second)| format!("{of}:{}", if own { first } else { second }))
            .collect();
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        Client::connect(app.public, &auth(user, organisation, &rooms)).await
    };
    let mut member = connect("u1", "o1", true).await;
    let mut other = connect("u2", "o1", false).await;
    let mut foreign = connect("u1", "o2", true).await;

    let cases = cases(kind);
    assert!(cases.len() >= 3, "{kind}: {cases:?}");
    for (number, (event, field)) in cases.iter().enumerate() {
        let value = record(event, "o1", &data(kind, field, true, number));
        kafka.produce(TOPIC, value).await;
    }
    // Behind them one for each of those that should have received nothing until then.
    let (event, field) = cases[0];
    let last = cases.len();
    for (organisation, own) in [("o1", false), ("o2", true)] {
        let value = record(event, organisation, &data(kind, field, own, last));
        kafka.produce(TOPIC, value).await;
    }

    let everybody = kind == "org";
    for (number, (event, _)) in cases.iter().enumerate() {
        let expected = (*event, json!(number));
        let received = member.record().await;
        let got = (
            received.name.as_str(),
            received.args[0]["data"]["n"].clone(),
        );
        assert_eq!(got, expected, "by the room {kind}");
        if everybody {
            assert_eq!(other.expect(event).await.args[0]["data"]["n"], number);
        }
    }
    for client in [&mut other, &mut foreign] {
        let first = client.record().await;
        assert_eq!(first.args[0]["data"]["n"], last, "{kind}: {first:?}");
    }
}
