//! Mistakes of profiles about routes, each with its place.

use super::tests::{alias, check, good, room, strings};
use super::*;
use crate::domain::route::tests::named;

/// Limits a route to topics.
fn on(spec: &mut TableSpec, route: usize, names: &[&str]) {
    spec.routes[route].topics = Some(names.iter().map(|name| TopicSpec::names(&[name])).collect());
}

/// Makes the first route one that goes by the topic alone.
fn fixed(spec: &mut TableSpec, names: &[&str]) {
    spec.routes[0].events.clear();
    spec.routes[0].event = Some("all".to_owned());
    on(spec, 0, names);
}

#[test]
fn every_mistake_about_routes_is_reported_with_its_place() {
    check(&[
        (|s| s.routes.clear(), "routes", "no route"),
        (|s| s.routes[0].events.clear(), "routes[0]", "no event"),
        (
            |s| s.routes[0].events = strings(&["connect"]),
            "routes[0].events[0]",
            "reserved",
        ),
        (
            |s| s.routes[0].events = strings(&["resync-required"]),
            "routes[0].events[0]",
            "reserved",
        ),
        (
            |s| s.routes[0].events = strings(&["a b"]),
            "routes[0].events[0]",
            "cannot be an event",
        ),
        (
            |s| s.routes[0].events.push("AssetMoved".to_owned()),
            "routes[0].events[1]",
            "twice",
        ),
        (
            |s| s.routes[0].events.push("asset_moved".to_owned()),
            "routes[0].events[1]",
            "twice",
        ),
        (
            |s| s.routes.push(s.routes[0].clone()),
            "routes[1].events[0]",
            "routed twice on all topics",
        ),
        (|s| s.event = None, "routes[0].events", "no [event]"),
        (|s| s.routes[0].rooms.clear(), "routes[0].rooms", "no room"),
        (
            |s| s.routes[0].rooms.push(room("a:b", &["id"])),
            "routes[0].rooms[1].kind",
            "kind",
        ),
        (
            |s| s.routes[0].rooms.push(room("org", &["id"])),
            "routes[0].rooms[1]",
            "org",
        ),
        (
            |s| s.routes[0].rooms.push(room("user", &[])),
            "routes[0].rooms[1]",
            "no field",
        ),
        (
            |s| s.routes[0].rooms.push(room("user", &["u", "u"])),
            "routes[0].rooms[1].id.fields[1]",
            "named twice",
        ),
        (
            |s| s.routes[0].key.fields.clear(),
            "routes[0].key",
            "key belongs to class latest",
        ),
        (
            |s| s.routes[0].class = Class::Event,
            "routes[0].key",
            "key belongs to class latest",
        ),
        (
            |s| s.routes[0].key.default = Some("x".to_owned()),
            "routes[0].key",
            "latest of one thing",
        ),
        (
            |s| s.routes[0].payload = Some(FieldSpec::Path(vec![])),
            "routes[0].payload",
            "cannot be a path",
        ),
        (
            |s| {
                s.routes[0].when.insert("h".to_owned(), String::new());
            },
            "routes[0].when",
            "a name and a value",
        ),
        (|s| alias(s, "x", "y"), "aliases.x", "no route"),
        (
            |s| alias(s, "error", "asset_moved"),
            "aliases.error",
            "reserved",
        ),
        (
            |s| alias(s, "asset.moved", "asset_moved"),
            "aliases.asset.moved",
            "already",
        ),
    ]);
}

#[test]
fn no_record_has_two_routes_and_no_topic_two_formats() {
    check(&[
        (
            |s| s.routes[0].topics = Some(vec![]),
            "routes[0].topics",
            "receives no records",
        ),
        (
            |s| on(s, 0, &["others"]),
            "routes[0].topics[0]",
            "none of the profile's",
        ),
        (
            |s| s.routes[0].topics = Some(vec![TopicSpec::pattern("units.*")]),
            "routes[0].topics[0]",
            "matches none of the profile's topics",
        ),
        (
            |s| {
                s.routes[0].topics = Some(vec![TopicSpec {
                    format: Some(Format::Json),
                    ..TopicSpec::names(&["asset"])
                }]);
            },
            "routes[0].topics[0]",
            "beside the route's topics",
        ),
        // A route for one name of a topic is for all of its names.
        (
            |s| {
                s.routes.push(s.routes[0].clone());
                on(s, 0, &["asset"]);
                on(s, 1, &["assets"]);
            },
            "routes[1].events[0]",
            "routed twice on topic \"city.asset",
        ),
        (
            |s| {
                s.routes.push(s.routes[0].clone());
                on(s, 1, &["asset"]);
            },
            "routes[1].events[0]",
            "routed twice on the topics that the other names",
        ),
        (
            |s| {
                s.topics.push(TopicSpec::pattern("unit.*"));
                s.routes[0].topics = Some(vec![TopicSpec::pattern("unit.*")]);
                s.routes.push(s.routes[0].clone());
            },
            "routes[1].events[0]",
            "routed twice on pattern \"unit.*\"",
        ),
        (
            |s| {
                fixed(s, &["asset"]);
                s.routes.push(RouteSpec {
                    rooms: vec![room("org", &[])],
                    ..named("other")
                });
                on(s, 1, &["asset"]);
            },
            "routes[1].topics",
            "is \"all\" already",
        ),
        (
            |s| {
                on(s, 0, &["asset"]);
                s.routes.push(s.routes[0].clone());
                s.routes.swap(0, 1);
                fixed(s, &["asset"]);
                s.routes.swap(0, 1);
            },
            "routes[1].topics",
            "would take all",
        ),
        (
            |s| {
                fixed(s, &["asset"]);
                s.routes[0].topics = None;
            },
            "routes[0].event",
            "needs the topics",
        ),
        (
            |s| {
                fixed(s, &["asset"]);
                s.routes[0].event = Some("error".to_owned());
            },
            "routes[0].event",
            "reserved",
        ),
        (
            |s| {
                s.routes[0].event = Some("x".to_owned());
                on(s, 0, &["asset"]);
            },
            "routes[0].event",
            "either",
        ),
        (
            |s| {
                s.topics.push(TopicSpec::names(&["other"]));
                on(s, 0, &["asset"]);
            },
            "topics[1]",
            "no route is for topic \"city.other\"",
        ),
        (
            |s| {
                s.topics[0].format = Some(Format::Json);
                s.routes[0].format = Some(Format::JsonSchema);
            },
            "routes[0].format",
            "of format json already",
        ),
        (
            |s| {
                s.routes[0].rooms[0].id.topic = Some("region".to_owned());
            },
            "routes[0].rooms[0].id.topic",
            "no pattern has a group \"region\"",
        ),
    ]);
}

#[test]
fn an_earlier_route_may_be_narrower() {
    let mut spec = good();
    spec.routes.push(spec.routes[0].clone());
    on(&mut spec, 0, &["asset"]);
    assert!(
        spec.clone().build().is_ok(),
        "what one topic leaves goes on"
    );
    spec.routes[0].topics = None;
    spec.routes[0].when.insert("a".to_owned(), "b".to_owned());
    assert!(spec.build().is_ok(), "what one header leaves goes on");
}
