//! docs/operations.md lists every path of both listeners, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::Router;

use super::{App, Mode};
use crate::lifecycle::Lifecycle;
use crate::settings::{Presets, Settings};
use crate::telemetry::Metrics;

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

/// The paths that the page's first table of paths lists for a listener.
fn listed(page: &str, listener: &str) -> BTreeSet<String> {
    let (_, table) = page
        .split_once("| path | listener | serves |")
        .expect("a table of paths");
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let mut paths = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells[2].starts_with(listener) || cells[2].starts_with("both") {
            for path in cells[1].split('`').skip(1).step_by(2) {
                paths.insert(path.to_owned());
                if cells[1].ends_with("also without the last slash") {
                    paths.insert(path.trim_end_matches('/').to_owned());
                }
            }
        }
    }
    paths
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
    ]);
    let environment = environment
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let mut settings = Settings::from_map(&environment, &Presets::new()).expect("good settings");
    settings.use_embedded_broker();
    App::build(settings, Mode::Demo, Metrics::new(), lifecycle).expect("an app")
}

#[tokio::test]
async fn operations_lists_every_path_of_both_listeners_and_no_other() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
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
