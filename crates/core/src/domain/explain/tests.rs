//! The explanations of records, against the table of the route's own tests.

use super::super::record::Record;
use super::super::route::tests::table;
use super::*;

fn explain(headers: &[(&str, &[u8])], value: Option<&str>) -> Explanation {
    let record = Record {
        topic: "incident",
        partition: 0,
        offset: 0,
        timestamp: None,
        key: None,
        value: value.map(str::as_bytes),
        headers,
    };
    table().explain(&record, &Arc::from("incident"))
}

/// `stage verdict: note`, one line each.
fn told(explanation: &Explanation) -> Vec<String> {
    let steps = explanation.steps.iter();
    steps
        .map(
            |ExplainedStep {
                 stage,
                 verdict,
                 note,
             }| {
                let verdict = format!("{verdict:?}").to_lowercase();
                format!("{} {verdict}: {note}", stage.as_str())
            },
        )
        .collect()
}

#[test]
fn a_record_that_is_routed_is_followed_to_its_rooms() {
    let value = r#"{"type":"IncidentOpened","organization_id":"o1","data":{"id":5,"organization_id":null}}"#;
    let explanation = explain(&[("other", b"x")], Some(value));
    assert_eq!(
        told(&explanation),
        [
            "topic found: \"incident\" is a topic of the profile",
            "value found: an object of JSON, 87 bytes",
            "event absent: there is no header event_type",
            "event absent: there is no header ce_type",
            "event absent: there is no field event_type at the top",
            "event found: field type says \"IncidentOpened\"",
            "event found: \"IncidentOpened\" is another name of \"incident_created\", which has a route",
            "organisation absent: there is no header organization_id",
            "organisation found: organization_id at the top is \"o1\"",
            "room found: org:o1: every user of the organisation",
            "room found: incident:5:org:o1: incident_id is neither in data nor at the top (null counts as absent), but id in data is 5",
            "delivery found: class event: delivered each; no acknowledgement is asked for; the payload has 87 bytes",
        ]
    );
    assert!(explanation.outcome.is_ok());
}

#[test]
fn omitted_rooms_are_explained() {
    let headers: &[(&str, &[u8])] = &[("event_type", b"transmission_started")];
    let value = r#"{"organization_id":"o1","channel_id":"7","data":{"incident_id":null}}"#;
    let explanation = explain(headers, Some(value));
    let told = told(&explanation);
    for expected in [
        "event found: header event_type says \"transmission_started\"",
        "event found: \"transmission_started\" has a route",
        "room found: channel:7:org:o1: channel_id at the top is \"7\"",
        "room leftout: incident: incident_id is neither in data nor at the top (null counts as absent); the room is optional",
    ] {
        assert!(
            told.iter().any(|line| line == expected),
            "{expected}: {told:#?}"
        );
    }
    let twice = explain(
        &[("event_type", b"alert_seen")],
        Some(r#"{"organization_id":"o1","incident_id":5,"parent_id":"5"}"#),
    );
    let last = &twice.steps[twice.steps.len() - 2];
    assert_eq!(last.verdict, StepVerdict::LeftOut);
    assert_eq!(
        last.note,
        "incident:5:org:o1: parent_id at the top is \"5\", but this room is named already"
    );
}

#[test]
fn a_refused_record_ends_with_one_refusal_at_its_own_stage() {
    type ExplainCase<'a> = (&'a [(&'a str, &'a [u8])], Option<&'a str>, Stage, Skip);
    let long = format!(
        r#"{{"organization_id":"o1","channel_id":"{}"}}"#,
        "x".repeat(2000)
    );
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(5000));
    let started: &[(&str, &[u8])] = &[("event_type", b"transmission_started")];
    let cases: &[ExplainCase<'_>] = &[
        (&[], None, Stage::Value, Skip::Tombstone),
        (&[], Some(""), Stage::Value, Skip::Empty),
        (&[], Some("{"), Stage::Value, Skip::NotJson),
        (&[], Some("[]"), Stage::Value, Skip::NotObject),
        (&[], Some(&large), Stage::Value, Skip::TooLarge),
        (
            &[],
            Some(r#"{"type":"a","type":"b"}"#),
            Stage::Value,
            Skip::AmbiguousField,
        ),
        (&[], Some("{}"), Stage::Event, Skip::NoEvent),
        (
            &[("event_type", b"\xff")],
            Some("{}"),
            Stage::Event,
            Skip::UnknownEvent,
        ),
        (
            &[("event_type", b"Connect")],
            Some("{}"),
            Stage::Event,
            Skip::ReservedEvent,
        ),
        (
            &[],
            Some(r#"{"type":["x"]}"#),
            Stage::Event,
            Skip::UnknownEvent,
        ),
        (
            started,
            Some("{}"),
            Stage::Organisation,
            Skip::NoOrganisation,
        ),
        (
            started,
            Some(r#"{"organization_id":"a b"}"#),
            Stage::Organisation,
            Skip::BadOrganisation,
        ),
        (
            started,
            Some(r#"{"organization_id":"o1"}"#),
            Stage::Room,
            Skip::NoRoom,
        ),
        (started, Some(&long), Stage::Room, Skip::BadId),
        (
            &[("event_type", b"gps")],
            Some(r#"{"organization_id":"o1","incident_id":1,"asset_id":1.5}"#),
            Stage::Key,
            Skip::BadId,
        ),
    ];
    for (headers, value, stage, skip) in cases {
        let explanation = explain(headers, *value);
        assert_eq!(explanation.outcome.as_ref().err(), Some(skip), "{value:?}");
        let refusals = explanation
            .steps
            .iter()
            .filter(|step| step.verdict == StepVerdict::Refused);
        let refusals: Vec<_> = refusals.collect();
        assert_eq!(refusals.len(), 1, "{:#?}", explanation.steps);
        let last = explanation.steps.last();
        assert_eq!(last, refusals.first().copied());
        assert_eq!(last.map(|step| step.stage), Some(*stage), "{value:?}");
        assert!(last.is_some_and(|step| step.note.len() < 400), "{last:?}");
    }
}

#[test]
fn an_unknown_topic_names_the_known_ones() {
    let record = Record {
        topic: "incidnet",
        partition: 0,
        offset: 0,
        timestamp: None,
        key: None,
        value: Some(b"{}"),
        headers: &[],
    };
    let explanation = table().explain(&record, &Arc::from("incidnet"));
    assert_eq!(
        told(&explanation),
        [
            "topic refused: \"incidnet\" is none of the profile's topics, which are incident, incidents, alert, /fleet\\.(.*)\\.events/"
        ]
    );
    assert_eq!(explanation.outcome.err(), Some(Skip::UnknownTopic));
}
