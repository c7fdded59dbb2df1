//! What holds for any record, however broken: found by throwing many at the table.

use std::sync::Arc;

use proptest::prelude::*;

use super::json;
use super::publication::Class;
use super::record::Record;
use super::route::tests::named;
use super::route::{RouteTable, Skip};
use super::spec::{OrganisationSpec, RoomSpec, RouteSpec, SourceSpec, TableSpec, TopicSpec};

fn table() -> RouteTable {
    let field = |name: &str| SourceSpec {
        headers: vec![format!("h_{name}")],
        ..SourceSpec::of_fields(&[name])
    };
    let room = |kind: &str, id: &[&str]| RoomSpec {
        kind: kind.to_owned(),
        id: SourceSpec::of_fields(id),
        optional: true,
    };
    let org = RoomSpec {
        optional: false,
        ..room("org", &[])
    };
    let spec = TableSpec {
        topics: vec![TopicSpec::names(&["t"])],
        event: Some(field("event")),
        organisation: OrganisationSpec(field("org")),
        routes: vec![
            RouteSpec {
                rooms: vec![room("asset", &["asset", "id"])],
                class: Class::Latest,
                key: SourceSpec::of_fields(&["asset"]),
                ..named("moved")
            },
            RouteSpec {
                rooms: vec![org, room("channel", &["channel", "id"])],
                ..named("told")
            },
        ],
        max_event_bytes: 100_000,
        ..TableSpec::default()
    };
    spec.build().expect("a good table")
}

type Header = (String, Vec<u8>);

/// Routes and checks all that a publication promises.
fn check(value: &[u8], headers: &[Header]) -> Result<(), Skip> {
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let record = Record {
        topic: "t",
        partition: 0,
        offset: 1,
        timestamp: None,
        key: None,
        value: Some(value),
        headers: &headers,
    };
    let publication = table().route(&record, &Arc::from("t"))?;
    assert_eq!(publication.payload.get().as_bytes(), value.trim_ascii());
    assert!(serde_json::from_str::<serde::de::IgnoredAny>(publication.payload.get()).is_ok());
    assert!(!publication.rooms.is_empty());
    for (number, room) in publication.rooms.iter().enumerate() {
        assert_eq!(room.organisation, publication.organisation);
        assert!(!publication.rooms[..number].contains(room));
    }
    assert_eq!(
        publication.class == Class::Latest,
        publication.latest_of.is_some()
    );
    Ok(())
}

/// Scalars near the borders of what is an id.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("\"o1\"".to_owned()),
        2 => Just("7".to_owned()),
        1 => Just("null".to_owned()),
        2 => prop::sample::select(vec![
            "\"\"", "\"a:org:b\"", "7.5", "1e400", "-0", "true", "\"\\ud800\"", "\"\\u006f1\"", "[]", "{}",
        ]).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ]
}

/// Objects of few names, so that they meet, repeat and contradict each other.
fn members(depth: u32) -> BoxedStrategy<String> {
    let name = prop::sample::select(vec![
        "org",
        "asset",
        "channel",
        "id",
        "x",
        "\\u006frg",
        "data",
    ]);
    let value = if depth == 0 {
        scalar().boxed()
    } else {
        prop_oneof![3 => scalar(), 1 => members(depth - 1).prop_map(|inner| format!("{{{inner}}}"))]
            .boxed()
    };
    prop::collection::vec((name, value), 0..5)
        .prop_map(|members| {
            let members: Vec<_> = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            members.join(", ")
        })
        .boxed()
}

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let name = prop::sample::select(vec!["h_org", "h_event", "other"]).prop_map(str::to_owned);
    let value = prop_oneof![
        Just(b"o1".to_vec()),
        Just(b"told".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8)
    ];
    prop::collection::vec((name, value), 0..3)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..300), headers in headers()) {
        let outcome = check(&value, &headers);
        prop_assert!(outcome.is_err(), "no object comes about by chance");
    }

    #[test]
    fn the_lenient_parser_accepts_all_that_the_library_accepts(text in "[\\[\\]{}\":,\\\\ n0-9.eu-]{0,80}", inner in members(2)) {
        let object = format!("{{{inner}}}");
        for text in [text, object] {
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert!(json::parse(&text).is_ok(), "{}", text);
            }
            // What it reads besides is JSON still.
            if json::parse(&text).is_ok() {
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
            }
        }
    }

    #[test]
    fn json_like_text_never_panics(value in "[\\[\\]{}\":,\\\\ a-z0-9.eu-]{0,200}") {
        prop_assert!(check(value.as_bytes(), &[]).is_err());
    }

    #[test]
    fn what_is_routed_keeps_its_bytes_and_its_organisation(
        top in members(2),
        event in prop::sample::select(vec!["told", "Moved", "connect", "x"]),
        org in prop::sample::select(vec!["", "\"org\":\"o1\","]),
        headers in headers(),
    ) {
        let comma = if top.is_empty() { "" } else { "," };
        let value = format!(" {{{org}\"event\":\"{event}\"{comma}{top}}}\n");
        let outcome = check(value.as_bytes(), &headers);
        prop_assert_ne!(outcome, Err(Skip::NotObject));
        let names_event = headers.iter().any(|(name, _)| name == "h_event");
        if event == "connect" && !names_event {
            prop_assert!(outcome.is_err());
        }
    }

    #[test]
    fn a_truncated_record_is_rejected(cut in 1_usize..70) {
        let value = br#"{"event":"told","org":"o1","data":{"channel":"7","text":"\u00e9 [}"}}"#;
        let kept = value.len().saturating_sub(cut);
        let expected = if kept == 0 { Skip::Empty } else { Skip::NotJson };
        prop_assert_eq!(check(value, &[]), Ok(()));
        prop_assert_eq!(check(&value[..kept], &[]), Err(expected));
    }

    #[test]
    fn the_first_of_two_sources_names_the_organisation(first in "[a-z0-9]{1,6}", second in "[a-z0-9]{1,6}") {
        let organisation = |value: &str, headers: &[(&str, &[u8])]| {
            let record = Record {
                topic: "t",
                partition: 0,
                offset: 1,
                timestamp: None,
                key: None,
                value: Some(value.as_bytes()),
                headers,
            };
            let publication = table().route(&record, &Arc::from("t")).expect("routed");
            publication.organisation.to_string()
        };
        let value = format!(r#"{{"event":"told","org":"{first}","data":{{"org":"{second}"}}}}"#);
        prop_assert_eq!(organisation(&value, &[]), second.as_str());
        let value = format!(r#"{{"event":"told","org":"{first}"}}"#);
        prop_assert_eq!(organisation(&value, &[("h_org", second.as_bytes())]), second);
    }
}
