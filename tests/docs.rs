//! What docs/ says about names and numbers is what the code has: a list that grows in one place only fails here.

use std::collections::BTreeSet;
use std::path::Path;

use fleetcast::settings::Profile;
use fleetcast::socketio;
use fleetcast::telemetry::DECLARED;
use fleetcast::telemetry::labels::{
    AskOutcome, Command, CommandOutcome, Component, Label, ReceiptOutcome, RecordOutcome,
    RejectReason, ReloadOutcome, ResumeOutcome, Undelivered,
};
use fleetcast_core::domain::decode::Format;
use fleetcast_core::domain::protocol::{
    CloseReason, RESERVED_EVENTS, Reason, Refusal, ResyncReason, RevokeReason,
};

/// A page of docs/.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The text between this heading and the next one of its rank or above.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let rank = heading.chars().take_while(|sign| *sign == '#').count();
    let (_, rest) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading:?}"));
    let end = (1..=rank)
        .filter_map(|rank| rest.find(&format!("\n{} ", "#".repeat(rank))))
        .min();
    &rest[..end.unwrap_or(rest.len())]
}

/// What stands in backticks in the first cell of each row of the section's tables.
fn first_cells(section: &str) -> BTreeSet<&str> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(cell, _)| cell)
        .collect()
}

/// The section lists the values of this label, each in a row of its own, and no others.
fn check_label<L: Label>(operations: &str, metric: &str) {
    let known = L::ALL.iter().map(|value| value.as_str()).collect();
    check_values(operations, metric, L::NAME, &known);
}

fn check_values(operations: &str, metric: &str, label: &str, known: &BTreeSet<&str>) {
    let declared = DECLARED
        .iter()
        .find(|declared| declared.name == metric)
        .unwrap_or_else(|| panic!("no metric is called {metric}"));
    assert!(
        declared.labels.contains(&label),
        "{metric} has no label {label}"
    );
    let listed = first_cells(section(
        operations,
        &format!("#### `{label}` of `{metric}`"),
    ));
    assert_eq!(&listed, known, "{label} of {metric}");
}

#[test]
fn s4_22_operations_names_every_metric_with_its_labels() {
    let operations = page("operations.md");
    let metrics = section(&operations, "## Metrics");
    for declared in DECLARED {
        let labels = match declared.labels {
            [] => "-".to_owned(),
            labels => format!("`{}`", labels.join("`, `")),
        };
        let row = format!("| `{}` | {labels} |", declared.name);
        assert!(metrics.contains(&row), "no row begins with: {row}");
    }
    let known: BTreeSet<&str> = DECLARED.iter().map(|declared| declared.name).collect();
    for word in operations.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_') {
        if word.starts_with("fleetcast_") {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word);
            assert!(
                known.contains(word) || known.contains(base),
                "{word} is no metric of ours"
            );
        }
    }
}

#[test]
fn s4_22_operations_lists_every_value_of_every_closed_label() {
    let operations = page("operations.md");
    let transports = socketio::LABELS.map(|labels| labels.transport).into();
    check_values(
        &operations,
        "fleetcast_connections",
        "transport",
        &transports,
    );
    let namespaces = socketio::LABELS.map(|labels| labels.namespace).into();
    check_values(
        &operations,
        "fleetcast_connections",
        "namespace",
        &namespaces,
    );
    check_label::<CloseReason>(&operations, "fleetcast_disconnects_total");
    check_label::<AskOutcome>(&operations, "fleetcast_acknowledgements_total");
    check_label::<ReceiptOutcome>(&operations, "fleetcast_receipts_total");
    check_label::<RejectReason>(&operations, "fleetcast_refused_total");
    check_label::<Command>(&operations, "fleetcast_commands_total");
    check_label::<CommandOutcome>(&operations, "fleetcast_commands_total");
    check_label::<ReloadOutcome>(&operations, "fleetcast_reloads_total");
    check_label::<ResumeOutcome>(&operations, "fleetcast_resumes_total");
    check_label::<RecordOutcome>(&operations, "fleetcast_records_total");
    check_label::<Undelivered>(&operations, "fleetcast_undelivered_total");
    check_label::<Component>(&operations, "fleetcast_errors_total");
}

#[test]
fn protocol_lists_every_code_with_its_number_and_no_other() {
    let protocol = page("protocol.md");
    let codes = section(&protocol, "## Codes");
    let mut known = BTreeSet::new();
    let all = [
        Refusal::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect::<Vec<_>>(),
        Reason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        CloseReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        ResyncReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
        RevokeReason::ALL
            .iter()
            .map(|code| (code.number(), code.as_str()))
            .collect(),
    ];
    for (number, name) in all.into_iter().flatten() {
        known.insert(format!("| {number} | `{name}` |"));
    }
    let listed: BTreeSet<String> = codes
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let (number, name) = (cells.next()?.parse::<u16>().ok()?, cells.next()?);
            Some(format!("| {number} | {name} |"))
        })
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn protocol_names_every_event_of_the_built_in_profile_and_every_reserved_one() {
    let protocol = page("protocol.md");
    let profile = Profile::builtin("dispatch", "", 262_144).expect("the built-in profile is good");
    let routed: BTreeSet<&str> = profile.routes.events().collect();
    assert_eq!(
        first_cells(section(&protocol, "### Routed events")),
        routed,
        "events of the dispatch profile"
    );
    let reserved = section(&protocol, "## Reserved names");
    for name in RESERVED_EVENTS {
        assert!(reserved.contains(&format!("`{name}`")), "{name}");
    }
}

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

/// A link that leads nowhere is found when it is needed.
#[test]
fn links_between_the_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for from in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/protocol.md",
        "docs/operations.md",
        "docs/routes.md",
    ] {
        let text = std::fs::read_to_string(root.join(from)).expect(from);
        let folder = root.join(from);
        let folder = folder.parent().expect("a file has a folder");
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap_or_default();
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                root.join(from)
            } else {
                folder.join(file)
            };
            assert!(path.exists(), "{from} links to {target}");
            if !anchor.is_empty() {
                let page = std::fs::read_to_string(&path).expect(target);
                assert!(
                    page.lines().any(|line| is_heading_of(line, anchor)),
                    "{from} links to {target}"
                );
            }
        }
    }
}

/// As forges make anchors: lower case, spaces to hyphens, other signs left out.
fn is_heading_of(line: &str, anchor: &str) -> bool {
    let title = line.trim_start_matches('#');
    let made: String = title
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|sign| match sign {
            ' ' => Some('-'),
            sign if sign.is_alphanumeric() || "-_".contains(sign) => Some(sign),
            _ => None,
        })
        .collect();
    title.len() < line.len() && made == anchor
}
