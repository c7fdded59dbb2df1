//! Mistakes of profiles about topics and sources, each with its place.

use super::*;
use crate::domain::route::tests::named;

pub(super) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub(super) fn room(kind: &str, id: &[&str]) -> RoomSpec {
    RoomSpec {
        kind: kind.to_owned(),
        id: SourceSpec::of_fields(id),
        optional: false,
    }
}

fn fields(texts: &[&str]) -> Vec<FieldSpec> {
    SourceSpec::of_fields(texts).fields
}

fn event(spec: &mut TableSpec) -> &mut SourceSpec {
    spec.event.as_mut().expect("there is one")
}

fn organisation(spec: &mut TableSpec) -> &mut SourceSpec {
    &mut spec.organisation.0
}

pub(super) fn good() -> TableSpec {
    TableSpec {
        topic_prefix: "city.".to_owned(),
        topics: vec![TopicSpec::names(&["asset", "assets"])],
        service_topics: vec!["receipts-of-ours".to_owned()],
        event: Some(SourceSpec::of_fields(&["event_type"])),
        organisation: OrganisationSpec(SourceSpec::of_fields(&["organization_id"])),
        aliases: BTreeMap::from([("gps".to_owned(), "asset_moved".to_owned())]),
        routes: vec![RouteSpec {
            rooms: vec![room("asset", &["asset_id", "id"])],
            class: Class::Latest,
            key: SourceSpec::of_fields(&["asset_id", "id"]),
            ..named("asset_moved")
        }],
        max_event_bytes: 1000,
        ..TableSpec::default()
    }
}

#[test]
fn a_good_table_has_its_topics_with_the_prefix() {
    let table = good().build().expect("good");
    assert_eq!(
        table.topics().collect::<Vec<_>>(),
        ["city.asset", "city.assets"]
    );
    assert_eq!(table.events().collect::<Vec<_>>(), ["asset_moved"]);
}

#[test]
fn patterns_select_topics_beside_the_names() {
    let mut spec = good();
    assert!(!spec.clone().build().expect("good").has_patterns());
    spec.topics.push(TopicSpec::pattern("receipts.*|unit.*"));
    spec.service_topics = vec!["city.unit.audit".to_owned()];
    let table = spec.build().expect("good");
    assert!(table.has_patterns());
    let shown: Vec<_> = table.patterns().map(ToString::to_string).collect();
    assert_eq!(shown, ["receipts.*|unit.*"]);
    assert_eq!(
        table.topics().count(),
        2,
        "only the brokers know the others"
    );
    for (topic, wanted) in [
        ("city.asset", true),
        ("city.unit.moved", true),
        ("city.unit.moved.dlq", false),
        ("city.unit.audit", false),
        ("unit.moved", false),
    ] {
        assert_eq!(table.wants(topic), wanted, "{topic}");
    }
}

/// A mistake made in a good table, the place that it is reported for, and words of the message.
pub(super) type Case = (fn(&mut TableSpec), &'static str, &'static str);

pub(super) fn alias(spec: &mut TableSpec, alias: &str, event: &str) {
    spec.aliases.insert(alias.to_owned(), event.to_owned());
}

pub(super) fn check(cases: &[Case]) {
    for (spoil, at, words) in cases {
        let mut spec = good();
        spoil(&mut spec);
        let problems = spec.build().err().unwrap_or_default();
        assert!(
            problems
                .iter()
                .any(|problem| problem.at.to_string() == *at && problem.message.contains(words)),
            "{at}: {words}: {problems:?}"
        );
    }
}

#[test]
fn every_mistake_about_topics_and_sources_is_reported_with_its_place() {
    check(&[
        (|s| s.topics.clear(), "topics", "no topic"),
        (
            |s| s.topics.push(TopicSpec::names(&[])),
            "topics[1]",
            "no name",
        ),
        (
            |s| s.topics.push(TopicSpec::names(&["a/b"])),
            "topics[1]",
            "invalid topic name",
        ),
        (
            |s| s.topics.push(TopicSpec::names(&["asset"])),
            "topics[1]",
            "twice",
        ),
        (
            |s| s.topics.push(TopicSpec::pattern("a(")),
            "topics[1]",
            "pattern \"a(\" is not a regular expression",
        ),
        (
            |s| s.topic_prefix = "ü".to_owned(),
            "topics[0]",
            "invalid topic name",
        ),
        (|s| event(s).fields.clear(), "event", "neither"),
        (
            |s| event(s).headers = strings(&[""]),
            "event.headers[0]",
            "header",
        ),
        (
            |s| event(s).key = Some(KeySpec::Whole),
            "event.key",
            "does not name its event",
        ),
        (
            |s| event(s).default = Some("x".to_owned()),
            "event.default",
            "a route's",
        ),
        (
            |s| event(s).topic = Some("x".to_owned()),
            "event.topic",
            "no pattern has a group \"x\"",
        ),
        (
            |s| organisation(s).fields = fields(&["data"]),
            "organisation.fields[0]",
            "data",
        ),
        (
            |s| organisation(s).fields = fields(&["a", "b", "a"]),
            "organisation.fields[2]",
            "named twice",
        ),
        (
            |s| organisation(s).fields = fields(&["a..b"]),
            "organisation.fields[0]",
            "cannot be a path",
        ),
        (
            |s| organisation(s).fields = fields(&["a.b.c.d.e.f.g.h.i"]),
            "organisation.fields[0]",
            "1 to 8 keys",
        ),
        (
            |s| organisation(s).fields = vec![FieldSpec::Path(vec![])],
            "organisation.fields[0]",
            "cannot be a path",
        ),
        (
            |s| organisation(s).default = Some("a b".to_owned()),
            "organisation.default",
            "an identifier is",
        ),
        (
            |s| event(s).agree = true,
            "event.agree",
            "belongs to the organisation",
        ),
        (
            |s| organisation(s).topic = Some("x".to_owned()),
            "organisation.topic",
            "(?<x>...)",
        ),
        (
            |s| {
                organisation(s).key = Some(KeySpec::Part(KeyPart {
                    separator: ":".to_owned(),
                    part: 0,
                }));
            },
            "organisation.key",
            "counted from 1",
        ),
        (
            |s| organisation(s).key = Some(part("-")),
            "organisation.key.separator",
            "could be of acme or of acme-north,",
        ),
        (
            |s| organisation(s).key = Some(part("__to__")),
            "organisation.key.separator",
            "may stand in ids",
        ),
        (
            |s| {
                organisation(s).fields =
                    (0..40).map(|n| FieldSpec::Name(format!("f{n}"))).collect();
            },
            "organisation.fields[31]",
            "one more",
        ),
    ]);
}

fn part(separator: &str) -> KeySpec {
    KeySpec::Part(KeyPart {
        separator: separator.to_owned(),
        part: 1,
    })
}

#[test]
fn the_separator_for_an_organisation_must_not_be_a_character_of_ids() {
    for separator in [":", "-:-", ".", "/"] {
        let mut spec = good();
        organisation(&mut spec).key = Some(part(separator));
        assert_eq!(spec.build().err(), None, "{separator}");
    }
    // At worst it is another room of the record's own organisation.
    let mut spec = good();
    spec.routes[0].rooms[0].id.key = Some(part("-"));
    spec.routes[0].key.key = Some(part("_"));
    assert_eq!(spec.build().err(), None);
}

#[test]
fn a_part_of_a_key_names_no_user() {
    let mut spec = good();
    let room = &mut spec.routes[0].rooms[0];
    room.kind = "user".to_owned();
    room.id.key = Some(part("|"));
    let problems = spec.build().expect_err("auth0|7 would be the user auth0");
    assert!(
        problems[0].message.contains("could name another user"),
        "{problems:?}"
    );
    let mut spec = good();
    let room = &mut spec.routes[0].rooms[0];
    room.kind = "user".to_owned();
    room.id.key = Some(KeySpec::Whole);
    assert_eq!(spec.build().err(), None);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mut spec = good();
    spec.topics.clear();
    event(&mut spec).fields.clear();
    spec.routes[0].rooms.clear();
    assert_eq!(spec.build().expect_err("bad").len(), 3);
}
