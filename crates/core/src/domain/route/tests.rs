//! Records against a small table that has every feature.

use super::super::room::Room;
use super::super::spec::{OrganisationSpec, RoomSpec, RouteSpec, SourceSpec, TableSpec, TopicSpec};
use super::*;
use std::collections::BTreeMap;

/// A small table that has every feature. The dispatch profile itself is tested where its file is read.
pub(in crate::domain) fn table() -> RouteTable {
    let strings = |texts: &[&str]| {
        texts
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    let room = |kind: &str, id: &[&str], optional| RoomSpec {
        kind: kind.to_owned(),
        id: SourceSpec::of_fields(id),
        optional,
    };
    let route = |event: &str, rooms, class, latest_of: &[&str]| RouteSpec {
        rooms,
        class,
        key: SourceSpec::of_fields(latest_of),
        ack: event == "alert_created",
        ..named(event)
    };
    let spec = TableSpec {
        topics: vec![
            TopicSpec::names(&["incident", "incidents"]),
            TopicSpec::names(&["alert"]),
            TopicSpec::pattern(r"fleet\.(.*)\.events"),
        ],

        event: Some(SourceSpec {
            headers: strings(&["event_type", "ce_type"]),
            ..SourceSpec::of_fields(&["event_type", "type", "event"])
        }),
        organisation: OrganisationSpec(SourceSpec {
            headers: strings(&["organization_id"]),
            ..SourceSpec::of_fields(&["organization_id"])
        }),
        aliases: [("incident_opened".to_owned(), "incident_created".to_owned())].into(),
        routes: vec![
            route(
                "incident_created",
                vec![
                    room("org", &[], false),
                    room("incident", &["incident_id", "id"], true),
                ],
                Class::Event,
                &[],
            ),
            route(
                "transmission_started",
                vec![
                    room("channel", &["channel_id"], false),
                    room("incident", &["incident_id"], true),
                ],
                Class::Event,
                &[],
            ),
            route(
                "asset_seen",
                vec![room("asset", &["asset_id"], false)],
                Class::Latest,
                &["asset_id"],
            ),
            route(
                "gps",
                vec![room("incident", &["incident_id"], false)],
                Class::Latest,
                &["asset_id"],
            ),
            route(
                "alert_created",
                vec![room("org", &[], false)],
                Class::Critical,
                &[],
            ),
            route(
                "alert_seen",
                vec![
                    room("incident", &["incident_id"], true),
                    room("incident", &["parent_id"], true),
                ],
                Class::Event,
                &[],
            ),
        ],
        max_event_bytes: 4096,
        ..TableSpec::default()
    };
    spec.build().expect("a good table")
}

/// A route without rooms for records that name this event.
pub(in crate::domain) fn named(event: &str) -> RouteSpec {
    RouteSpec {
        events: vec![event.to_owned()],
        event: None,
        topics: None,
        format: None,
        when: BTreeMap::new(),
        payload: None,
        rooms: Vec::new(),
        class: Class::Event,
        key: SourceSpec::default(),
        ack: false,
    }
}

type HeaderList<'a> = &'a [(&'a str, &'a [u8])];

fn route_with(headers: HeaderList<'_>, value: &str) -> Result<Publication, Skip> {
    let record = Record {
        topic: "incident",
        partition: 2,
        offset: 41,
        timestamp: Some(1_700_000_000_000),
        key: Some(b"k"),
        value: Some(value.as_bytes()),
        headers,
    };
    table().route(&record, &Arc::from("incident"))
}

/// `event rooms…`, or the outcome.
fn shown(result: Result<Publication, Skip>) -> String {
    result.map_or_else(
        |skip| skip.outcome().to_owned(),
        |publication| {
            let rooms: Vec<_> = publication.rooms.iter().map(Room::to_string).collect();
            format!("{} {}", publication.event, rooms.join(" "))
        },
    )
}

#[test]
fn a_record_becomes_a_publication_with_its_value_untouched() {
    let value = " {\"event_type\":\"incident_created\",\"organization_id\":\"o1\", \"x\":1e400,\n\"data\":{\"id\":5}}\n";
    let publication = route_with(&[], value).expect("routed");
    assert_eq!(publication.payload.get(), value.trim());
    assert_eq!(publication.id(), "incident/2/41");
    assert_eq!(publication.timestamp, Some(1_700_000_000_000));
    assert_eq!(publication.key_text(), Some("k"));
    assert_eq!(
        (publication.class, publication.latest_of.as_deref()),
        (Class::Event, None)
    );
    assert!(!publication.ack);
    assert_eq!(
        shown(Ok(publication)),
        "incident_created org:o1 incident:5:org:o1"
    );
}

#[test]
fn s4_07_the_name_of_an_event_and_its_spellings() {
    let created = "incident_created org:o1";
    let cases: &[(HeaderList<'_>, &str, &str)] = &[
        (&[], r#""event_type":"incident.created""#, created),
        (&[], r#""event_type":"IncidentCreated""#, created),
        (&[], r#""event_type":"incidentCreated""#, created),
        (&[], r#""event_type":"incident-created""#, created),
        (&[], r#""event_type":"INCIDENT_CREATED""#, created),
        (&[], r#""event_type":"incident\u005fcreated""#, created),
        (&[], r#""event_type":"incident_opened""#, created),
        (&[], r#""event_type":"incident.opened""#, created),
        (&[], r#""type":"incident_created""#, created),
        (&[], r#""event":"incident_created""#, created),
        (
            &[],
            r#""event_type":"incident_created","type":"fire","event":7"#,
            created,
        ),
        (
            &[],
            r#""event_type":null,"type":"incident_created""#,
            created,
        ),
        (
            &[("event_type", b"incident_created")],
            r#""event_type":"other""#,
            created,
        ),
        (
            &[("ce_type", b"incident.created")],
            r#""type":"fire""#,
            created,
        ),
        (
            &[("ce_type", b"x"), ("event_type", b"incident_created")],
            r#""a":1"#,
            created,
        ),
        (
            &[("event_type", b"x"), ("event_type", b"incident_created")],
            r#""a":1"#,
            created,
        ),
        (
            &[("event_type", b"\xff")],
            r#""event_type":"incident_created""#,
            "unknown_event",
        ),
        (
            &[("event_type", b"")],
            r#""event_type":"incident_created""#,
            "unknown_event",
        ),
        (
            &[("EVENT_TYPE", b"x")],
            r#""event_type":"incident_created""#,
            created,
        ),
        (&[], r#""a":1"#, "no_event"),
        (
            &[],
            r#""data":{"event_type":"incident_created"}"#,
            "no_event",
        ),
        (&[], r#""event_type":"fire""#, "unknown_event"),
        (
            &[],
            r#""event_type":"fire","type":"incident_created""#,
            "unknown_event",
        ),
        (&[], r#""event_type":7"#, "unknown_event"),
        (&[], r#""event_type":["incident_created"]"#, "unknown_event"),
        (&[], r#""event_type":"""#, "unknown_event"),
        (&[], r#""event_type":"\ud800""#, "unknown_event"),
        (
            &[],
            r#""event_type":"incident_created\u0000""#,
            "unknown_event",
        ),
        (&[], r#""event_type":"connect""#, "reserved_event"),
        (&[], r#""event_type":"newListener""#, "reserved_event"),
        (&[], r#""event_type":"cursor""#, "reserved_event"),
        (&[], r#""event_type":"Resync.Required""#, "reserved_event"),
        (
            &[("ce_type", b"error")],
            r#""event_type":"incident_created""#,
            "reserved_event",
        ),
    ];
    for (headers, fields, expected) in cases {
        let value = format!("{{\"organization_id\":\"o1\",{fields}}}");
        assert_eq!(
            shown(route_with(headers, &value)),
            *expected,
            "{headers:?} {fields}"
        );
    }
    let long = format!(
        r#"{{"organization_id":"o1","type":"{}"}}"#,
        "A".repeat(4000)
    );
    assert_eq!(route_with(&[], &long).err(), Some(Skip::UnknownEvent));
}

#[test]
fn a81_the_first_source_names_the_organisation_and_an_invalid_one_rejects_the_record() {
    const O1: (&str, &[u8]) = ("organization_id", b"o1");
    const O2: (&str, &[u8]) = ("organization_id", b"o2");
    let cases: &[(HeaderList<'_>, &str, &str)] = &[
        (&[], r#","organization_id":"o1""#, "alert_created org:o1"),
        (&[], r#","organization_id":7"#, "alert_created org:7"),
        (
            &[],
            r#","data":{"organization_id":"o1"}"#,
            "alert_created org:o1",
        ),
        (
            &[],
            r#","organization_id":7,"data":{"organization_id":"7"}"#,
            "alert_created org:7",
        ),
        (
            &[],
            r#","organization_id":null,"data":{"organization_id":"o1"}"#,
            "alert_created org:o1",
        ),
        (&[O1], "", "alert_created org:o1"),
        (
            &[("organization_id", b"7")],
            r#","organization_id":7,"data":{"organization_id":7}"#,
            "alert_created org:7",
        ),
        (&[O1], r#","organization_id":null"#, "alert_created org:o1"),
        (&[O1, O1], "", "alert_created org:o1"),
        (&[], "", "no_organisation"),
        (
            &[],
            r#","organization_id":null,"data":null"#,
            "no_organisation",
        ),
        (
            &[],
            r#","data":{"a":{"organization_id":"o1"}}"#,
            "no_organisation",
        ),
        (&[O2], r#","organization_id":"o1""#, "alert_created org:o2"),
        (
            &[O2],
            r#","data":{"organization_id":"o1"}"#,
            "alert_created org:o2",
        ),
        (
            &[],
            r#","organization_id":"o2","data":{"organization_id":"o1"}"#,
            "alert_created org:o1",
        ),
        (
            &[],
            r#","organization_id":"o1","organization_id":"o1""#,
            "ambiguous_field",
        ),
        (&[O1, O2], "", "ambiguous_field"),
        (
            &[("organization_id", b"\xff")],
            r#","organization_id":"o1""#,
            "bad_organisation",
        ),
        (
            &[("organization_id", b"")],
            r#","organization_id":"o1""#,
            "bad_organisation",
        ),
        (
            &[O1],
            r#","organization_id":"a:org:b""#,
            "alert_created org:o1",
        ),
        (
            &[],
            r#","organization_id":"o1","data":{"organization_id":"a:org:b"}"#,
            "bad_organisation",
        ),
        (&[], r#","organization_id":"a:org:b""#, "bad_organisation"),
        (&[], r#","organization_id":1.5"#, "bad_organisation"),
        (&[], r#","organization_id":"""#, "bad_organisation"),
        (&[], r#","organization_id":["o1"]"#, "bad_organisation"),
        (&[], r#","organization_id":true"#, "bad_organisation"),
        (
            &[],
            r#","organization_id":"o1","data":{"organization_id":{}}"#,
            "bad_organisation",
        ),
    ];
    for (headers, fields, expected) in cases {
        let value = format!("{{\"event_type\":\"alert_created\"{fields}}}");
        assert_eq!(
            shown(route_with(headers, &value)),
            *expected,
            "{headers:?} {fields}"
        );
    }
}

#[test]
fn s4_13_rooms_come_from_the_ids_of_the_record() {
    for (event, fields, expected) in [
        (
            "incident_created",
            r#""data":{"id":"5"}"#,
            "incident_created org:o1 incident:5:org:o1",
        ),
        (
            "incident_created",
            r#""id":"5""#,
            "incident_created org:o1 incident:5:org:o1",
        ),
        (
            "incident_created",
            r#""id":"envelope","data":{"id":5}"#,
            "incident_created org:o1 incident:5:org:o1",
        ),
        (
            "incident_created",
            r#""incident_id":5,"data":{"id":"note"}"#,
            "incident_created org:o1 incident:5:org:o1",
        ),
        (
            "incident_created",
            r#""data":{"id":null}"#,
            "incident_created org:o1",
        ),
        ("incident_created", r#""data":{"id":5.5}"#, "bad_id"),
        (
            "incident_created",
            r#""data":{"incident_id":"a b","id":"5"}"#,
            "bad_id",
        ),
        (
            "transmission_started",
            r#""channel_id":7"#,
            "transmission_started channel:7:org:o1",
        ),
        (
            "transmission_started",
            r#""channel_id":7,"incident_id":"""#,
            "bad_id",
        ),
        (
            "transmission_started",
            r#""channel_id":7,"incident_id":[]"#,
            "bad_id",
        ),
        ("transmission_started", r#""incident_id":"5""#, "no_room"),
        ("transmission_started", r#""channel_id":null"#, "no_room"),
        (
            "alert_seen",
            r#""incident_id":5,"parent_id":"5""#,
            "alert_seen incident:5:org:o1",
        ),
        (
            "alert_seen",
            r#""incident_id":5,"parent_id":6"#,
            "alert_seen incident:5:org:o1 incident:6:org:o1",
        ),
        ("alert_seen", r#""a":1"#, "no_room"),
    ] {
        let value = format!("{{\"event_type\":\"{event}\",\"organization_id\":\"o1\",{fields}}}");
        assert_eq!(shown(route_with(&[], &value)), expected, "{event} {fields}");
    }
}

#[test]
fn class_latest_requires_a_key() {
    let routed = |fields: &str| {
        let value = format!("{{\"organization_id\":\"o1\",\"incident_id\":1,{fields}}}");
        route_with(&[], &value).map(|publication| {
            (
                publication.class,
                publication.latest_of.as_deref().map(str::to_owned),
            )
        })
    };
    let latest = Ok((Class::Latest, Some("7".to_owned())));
    assert_eq!(routed(r#""event":"asset_seen","asset_id":7"#), latest);
    assert_eq!(routed(r#""event":"gps","asset_id":"7""#), latest);
    assert_eq!(routed(r#""event":"gps""#), Ok((Class::Event, None)));
    assert_eq!(routed(r#""event":"gps","asset_id":7.5"#), Err(Skip::BadId));
}

#[test]
fn tombstones_and_unknown_topics_are_skipped() {
    let value = br#"{"event_type":"alert_created","organization_id":"o1"}"#;
    let mut record = Record {
        topic: "alert",
        partition: 0,
        offset: 0,
        timestamp: None,
        key: Some(b"\xff"),
        value: None,
        headers: &[],
    };
    let table = table();
    let topic: Arc<str> = Arc::from("alert");
    assert_eq!(table.route(&record, &topic).err(), Some(Skip::Tombstone));
    record.value = Some(value);
    let publication = table.route(&record, &topic).expect("routed");
    assert!(publication.ack);
    assert_eq!(publication.key.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(publication.key_text(), None);
    // Any topic of the profile carries any of its events.
    record.topic = "incidents";
    assert!(table.route(&record, &topic).is_ok());
    record.topic = "fleet.north.events";
    assert!(table.route(&record, &topic).is_ok());
    record.topic = "fleet.events.dlq";
    assert_eq!(table.route(&record, &topic).err(), Some(Skip::UnknownTopic));
    record.topic = "incidents2";
    assert_eq!(table.route(&record, &topic).err(), Some(Skip::UnknownTopic));
}

#[test]
fn usual_spellings() {
    for (name, expected) in [
        ("IncidentStatusChanged", "incident_status_changed"),
        ("Incident.Created", "incident_created"),
        ("unit2Seen", "unit2_seen"),
        ("GPSUpdated", "gpsupdated"),
        ("été", "été"),
        ("", ""),
    ] {
        assert_eq!(normalise(name), expected);
    }
}
