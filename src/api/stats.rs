//! `/stats`, and its two views for dashboards of the services that this one replaces: the same numbers under their names.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

/// Makes what `/stats` shows.
pub type Stats = Arc<dyn Fn() -> Value + Send + Sync>;

pub(super) fn routes(stats: &Stats) -> Router {
    let (whole, agents, projects) = (stats.clone(), stats.clone(), stats.clone());
    Router::new()
        .route("/stats", get(move || async move { Json(whole()) }))
        .route(
            "/ws/stats",
            get(move || async move { Json(agents_view(&agents())) }),
        )
        .route(
            "/api/v1/websocket/stats",
            get(move || async move { Json(projects_view(&projects())) }),
        )
}

/// Totals only.
fn agents_view(stats: &Value) -> Value {
    view(
        stats,
        &[
            "active_connections",
            "total_connections",
            "total_disconnections",
            "total_rooms",
            "messages_sent",
            "messages_received",
        ],
    )
}

/// Rooms by pattern, with the number of their members.
fn projects_view(stats: &Value) -> Value {
    let mut view = view(stats, &["connections", "events_emitted", "uptime_seconds"]);
    let rooms = stats["rooms"].as_object().into_iter().flatten();
    view["rooms"] = rooms
        .map(|(pattern, count)| (pattern.clone(), count["members"].clone()))
        .collect::<Map<_, _>>()
        .into();
    view
}

fn view(stats: &Value, names: &[&str]) -> Value {
    let fields = names
        .iter()
        .map(|name| ((*name).to_owned(), stats[*name].clone()));
    json!(fields.collect::<Map<_, _>>())
}
