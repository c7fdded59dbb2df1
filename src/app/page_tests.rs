//! docs/operations.md lists every path of both listeners, every field of `/stats` and its views, every status and component of
//! `/ready`, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use serde_json::Value;
use tower::ServiceExt;

use super::{App, Mode};
use crate::api::{ReadyReport, ReadyStatus};
use crate::lifecycle::Lifecycle;
use crate::settings::{Presets, Settings};
use crate::telemetry::Metrics;

fn operations() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    std::fs::read_to_string(page).expect("the page")
}

/// The rows of the table with this head, cell by cell.
fn table<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let (_, table) = page
        .split_once(&format!("\n{head}\n"))
        .unwrap_or_else(|| panic!("no table {head}"));
    let rows = table.lines().skip(1).take_while(|row| row.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The paths of a router, which it shows for debugging only, before those of its fallback.
fn served(router: &Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let (shown, _) = shown.split_once("fallback_router: ").expect("a router");
    let texts = shown.split('"').skip(1).step_by(2);
    texts
        .filter(|text| text.starts_with('/') && !text.contains("__private__"))
        .map(str::to_owned)
        .collect()
}

/// The paths that the page lists for a listener.
fn listed(page: &str, listener: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for cells in table(page, "| path | listener | serves |") {
        if cells[1].starts_with(listener) || cells[1].starts_with("both") {
            for path in names(cells[0]) {
                paths.insert(path.to_owned());
                if cells[0].ends_with("also without the last slash") {
                    paths.insert(path.trim_end_matches('/').to_owned());
                }
            }
        }
    }
    paths
}

/// Fields of `/stats`, dotted. What is by event, kind or reason is one field.
fn fields(stats: &Value) -> BTreeSet<String> {
    const MAPS: [&str; 4] = ["rooms", "deliveries", "starts", "resyncs"];
    let mut fields = BTreeSet::new();
    for (name, value) in stats.as_object().expect("an object") {
        match value {
            Value::Object(inner) if !MAPS.contains(&name.as_str()) => {
                for (inner, value) in inner {
                    let list = if inner == "partitions" { "[]" } else { "" };
                    assert!(!value.is_object(), "{name}.{inner}");
                    fields.insert(format!("{name}.{inner}{list}"));
                }
            }
            _ => {
                fields.insert(name.clone());
            }
        }
    }
    fields
}

/// An app that serves all that one can serve: the demo's.
fn app(lifecycle: &Lifecycle) -> App {
    let environment = BTreeMap::from([
        ("JWT_SECRET", "fleetcast-tests-only-3kYbqzT0pW9sVn5x"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("INTERNAL_PORT", "0"),
        ("QA_PAGE", "true"),
        ("PUBLIC_API", "true"),
        ("REVOCATIONS_TOPIC", "revoked"),
        ("GRANTS_TOPIC", "granted"),
    ]);
    let environment = environment
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let mut settings = Settings::from_map(&environment, &Presets::new()).expect("good settings");
    settings.use_embedded_broker();
    App::build(
        settings,
        Mode::Demo { secret_file: None },
        Metrics::new(),
        lifecycle,
    )
    .expect("an app")
}

#[tokio::test]
async fn operations_lists_every_path_of_both_listeners_and_no_other() {
    let page = operations();
    let lifecycle = Lifecycle::new();
    let app = app(&lifecycle);
    let (public, internal) = app.routers();
    assert!(served(&public).contains("/ready"), "{public:?}");
    assert_eq!(served(&public), listed(&page, "public"), "public listener");
    assert_eq!(
        served(&internal),
        listed(&page, "internal"),
        "internal listener"
    );
}

#[tokio::test]
async fn operations_lists_every_field_of_stats_and_no_other() {
    let page = operations();
    let lifecycle = Lifecycle::new();
    let probes = app(&lifecycle).probes();
    let mut listed = BTreeSet::new();
    for cells in table(&page, "| field | meaning |") {
        // `.bytes` behind `window.seconds` is `window.bytes`.
        let mut object = "";
        for name in names(cells[0]) {
            if let Some(rest) = name.strip_prefix('.') {
                listed.insert(format!("{object}.{rest}"));
            } else {
                object = name.split('.').next().unwrap_or_default();
                listed.insert(name.to_owned());
            }
        }
    }
    assert_eq!(fields(&(probes.stats)()), listed);
}

#[tokio::test]
async fn operations_lists_every_status_and_component_of_ready_and_no_other() {
    let page = operations();
    let lifecycle = Lifecycle::new();
    let report = app(&lifecycle).readiness.report();
    let components = report.components.iter().map(|(name, _)| *name);
    // This app has no Redis.
    let components: BTreeSet<&str> = components.chain(["redis"]).collect();
    let rows = table(&page, "| component | `ok` | `failing` |");
    let listed: BTreeSet<&str> = rows.iter().flat_map(|cells| names(cells[0])).collect();
    assert_eq!(listed, components);

    let rows = table(&page, "| `/ready` | status | meaning |");
    let listed: BTreeSet<(&str, &str)> = rows
        .iter()
        .flat_map(|cells| names(cells[1]).map(|status| (cells[0], status)))
        .collect();
    let known = ReadyStatus::ALL.map(|status| {
        let components = Vec::new();
        let answer = ReadyReport { status, components }.into_response();
        (answer.status().as_u16().to_string(), status.as_str())
    });
    let known = known
        .iter()
        .map(|(code, status)| (code.as_str(), *status))
        .collect();
    assert_eq!(listed, known);
}

#[tokio::test]
async fn operations_lists_every_field_of_the_views_of_stats_and_no_other() {
    let page = operations();
    let lifecycle = Lifecycle::new();
    let (_, internal) = app(&lifecycle).routers();
    let rows = table(&page, "| path | fields |");
    assert_eq!(rows.len(), 2);
    for cells in rows {
        let path = names(cells[0]).next().expect("a path");
        let listed: BTreeSet<&str> = names(cells[1])
            .filter(|name| !name.starts_with('{'))
            .collect();
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = internal.clone().oneshot(request).await;
        let body = answer.expect("it never fails").into_body();
        let body = axum::body::to_bytes(body, 10_000).await.expect("a body");
        let view: Value = serde_json::from_slice(&body).expect("JSON");
        let fields = view.as_object().expect("an object").keys();
        assert_eq!(
            fields.map(String::as_str).collect::<BTreeSet<_>>(),
            listed,
            "{path}"
        );
    }
}
