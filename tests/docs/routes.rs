//! docs/routes.md: each example is a profile, and each word of the format is there.

use std::collections::BTreeSet;

use fleetcast::settings::Profile;
use fleetcast_core::domain::decode::Format;

use crate::{first_cells, page, section};

/// The examples of docs/routes.md, each from its fence to its fence.
fn examples(page: &str) -> Vec<&str> {
    let blocks = page.split("```toml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

/// A profile that says only what an example leaves out.
fn completed(example: &str) -> String {
    const REST: &str = r#"
        name = "example"
        topics = ["incident"]
        [event]
        fields = ["type"]
        [organisation]
        fields = ["organization_id"]
        [[routes]]
        events = ["told"]
        rooms = [{ kind = "org" }, { kind = "incident", id = ["id"], optional = true }]
    "#;
    let mut profile: toml::Table = toml::from_str(REST).expect("good");
    let example: toml::Table =
        toml::from_str(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    profile.extend(example);
    // Some role may join each kind of room, unless the example is about just that.
    if !profile.contains_key("policy") {
        let routes = profile["routes"].as_array().expect("routes");
        let rooms = routes
            .iter()
            .flat_map(|route| route["rooms"].as_array().expect("rooms"));
        let kinds = rooms.filter_map(|room| room["kind"].as_str());
        let policy: toml::Table = kinds
            .filter(|kind| !matches!(*kind, "org" | "user"))
            .map(|kind| (kind.to_owned(), toml::toml! { any = ["admin"] }.into()))
            .collect();
        profile.insert("policy".to_owned(), policy.into());
    }
    toml::to_string(&profile).expect("it was TOML")
}

#[test]
fn every_example_of_the_routes_page_is_a_profile() {
    let page = page("routes.md");
    let examples = examples(&page);
    assert!(examples.len() >= 11, "{}", examples.len());
    let first = examples.first().expect("there are some");
    let whole = Profile::parse(first, "first", "", 262_144, &[]);
    assert_eq!(whole.map(|profile| profile.name), Ok("shop".to_owned()));
    for example in examples {
        let text = completed(example);
        if let Err(errors) = Profile::parse(&text, "example", "", 262_144, &[]) {
            panic!("{errors}\n{example}");
        }
    }
}

#[test]
fn the_routes_page_lists_every_word_of_the_format() {
    let page = page("routes.md");
    let tables = [
        ("## The file", "zzz = 1"),
        ("## Topics", "topics = [{ zzz = 1 }]"),
        ("## Sources", "event = { zzz = 1 }"),
        ("## Routes", "routes = [{ zzz = 1 }]"),
        (
            "### Rooms",
            "routes = [{ events = [\"a\"], rooms = [{ zzz = 1 }] }]",
        ),
        ("## Policy", "policy = { a = { zzz = 1 } }"),
    ];
    for (heading, wrong) in tables {
        // The parser names what it would have taken.
        let errors = Profile::parse(wrong, "wrong", "", 262_144, &[]).expect_err(wrong);
        let errors = errors.to_string();
        let (_, expected) = errors.split_once("expected").expect("a list");
        let known: BTreeSet<&str> = expected.split('`').skip(1).step_by(2).collect();
        let section = section(&page, heading);
        // A section has its own table first; those below it are of its parts.
        let own = section.split("\n### ").next().unwrap_or_default();
        assert_eq!(first_cells(own), known, "{heading}: {errors}");
    }
    let formats = first_cells(section(&page, "## Formats"));
    for format in [Format::Json, Format::JsonSchema] {
        assert!(formats.contains(format.as_str()), "{format}");
    }
    assert_eq!(formats.len(), 2);
}
