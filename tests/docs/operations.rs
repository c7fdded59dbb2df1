//! docs/operations.md: metrics, labels, and what is shown on request.

use std::collections::BTreeSet;

use fleetcast::socketio;
use fleetcast::telemetry::labels::{
    AskOutcome, BusOutcome, Command, CommandOutcome, Component, ControlKind, ControlOutcome, Label,
    ReceiptOutcome, RecordOutcome, RedisOutcome, RejectReason, ReloadOutcome, RepeatOutcome,
    ResumeOutcome, Undelivered,
};
use fleetcast::telemetry::{DECLARED, MetricKind};
use fleetcast_core::domain::protocol::CloseReason;

use crate::{first_cells, page, section};

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
    check_label::<ControlKind>(&operations, "fleetcast_control_records_total");
    check_label::<ControlOutcome>(&operations, "fleetcast_control_records_total");
    check_label::<RejectReason>(&operations, "fleetcast_refused_total");
    check_label::<Command>(&operations, "fleetcast_commands_total");
    check_label::<CommandOutcome>(&operations, "fleetcast_commands_total");
    check_label::<ReloadOutcome>(&operations, "fleetcast_reloads_total");
    check_label::<RepeatOutcome>(&operations, "fleetcast_polls_repeated_total");
    check_label::<ResumeOutcome>(&operations, "fleetcast_resumes_total");
    check_label::<RecordOutcome>(&operations, "fleetcast_records_total");
    check_label::<RedisOutcome>(&operations, "fleetcast_redis_commands_total");
    check_label::<BusOutcome>(&operations, "fleetcast_bus_messages_total");
    check_label::<Undelivered>(&operations, "fleetcast_undelivered_total");
    check_label::<Component>(&operations, "fleetcast_errors_total");
}

/// A link leads to the first of them only, and of two tables one is soon wrong.
#[test]
fn no_two_headings_are_equal() {
    let operations = page("operations.md");
    let mut seen = BTreeSet::new();
    for heading in operations.lines().filter(|line| line.starts_with('#')) {
        assert!(seen.insert(heading), "twice: {heading}");
    }
}

/// A person who reads a scrape and a person who reads the page learn the same.
#[test]
fn the_page_says_of_each_metric_what_its_help_says() {
    let operations = page("operations.md");
    let metrics = section(&operations, "## Metrics");
    for declared in DECLARED {
        let row = metrics
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", declared.name)))
            .unwrap_or_else(|| panic!("no row of {}", declared.name));
        let cells: Vec<&str> = row.split(" | ").collect();
        let kind = match declared.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        assert_eq!(cells[2], kind, "{}", declared.name);
        let meaning = cells[3].replace('`', "").to_lowercase();
        let help = declared.help.trim_end_matches('.').to_lowercase();
        assert!(
            meaning.starts_with(&help),
            "of {} a scrape says {help:?}, and the page {meaning:?}",
            declared.name
        );
    }
}
