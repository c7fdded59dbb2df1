//! Several instances that know of each other's connections by Redis: what operators see and close, and limits.

mod limits;
mod listings;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::ask;
use crate::harness::{Kafka, Redis, TestApp};

async fn kafka() -> Kafka {
    Kafka::mock(&[("transmission", 1)]).await
}

async fn instance(kafka: &Kafka, redis: &Redis, more: &[(&str, &str)]) -> TestApp {
    let url = redis.url();
    let settings = [&[("REDIS_URL", url.as_str())], more].concat();
    TestApp::start_with(kafka, &settings).await
}

/// As [`instance`], with no more rights in Redis than the page for operators gives.
async fn restricted_instance(kafka: &Kafka, redis: &Redis) -> TestApp {
    let page = include_str!("../../../docs/operations.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER"));
    let mut words = line.unwrap().split(' ');
    let mut command = ::redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    let mut connection = redis.connection().await;
    command.query_async::<()>(&mut connection).await.unwrap();
    let url = redis.url_of("fleetcast:PASSWORD@");
    TestApp::start_with(
        kafka,
        &[("REDIS_URL", &url), ("MAX_CONNECTIONS_PER_USER", "50")],
    )
    .await
}

async fn get(app: &TestApp, target: &str) -> Value {
    let answer = ask(app, "GET", target, None).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    answer.json()
}

/// The connections that this instance lists, in its order: id and instance.
async fn listed(app: &TestApp, query: &str) -> Vec<(String, String)> {
    let page = get(app, &format!("/api/connections{query}")).await;
    let text = |item: &Value, member: &str| item[member].as_str().unwrap().to_owned();
    let items = page["connections"].as_array().unwrap().iter();
    items
        .map(|item| (text(item, "connection_id"), text(item, "instance")))
        .collect()
}

/// How many connections this instance lists of each.
async fn counts(app: &TestApp) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, instance) in listed(app, "?limit=1000").await {
        *counts.entry(instance).or_default() += 1;
    }
    counts
}
