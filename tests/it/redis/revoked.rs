//! Revocations by Redis, with and without a topic.

use serde_json::{Value, json};

use super::{connect, counted, instance, kafka, messages};
use crate::api::{ask, assert_problem};
use crate::harness::{Client, Kafka, Redis, TestApp, auth, eventually};

pub(super) const ANN: &str = "ann";

pub(super) async fn revoke(app: &TestApp, user: &str) -> Value {
    let body = json!({ "organization_id": "o1", "user_id": user });
    let answer = ask(app, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

pub(super) async fn is_refused(app: &TestApp, user: &str) {
    let refused = connect(app, &auth(user, "o1", &[])).await;
    assert_eq!(refused, Err("token_revoked".to_owned()), "{user}");
}

#[tokio::test]
async fn h6_without_a_topic_redis_tells_all_instances_and_keeps_it() {
    let (kafka, mut redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut ann = Client::connect(second.public, &auth(ANN, "o1", &[])).await;
    let mut bob = Client::connect(second.public, &auth("bob", "o1", &[])).await;
    assert_eq!(revoke(&first, ANN).await["scope"], "fleet");
    ann.read_to_end().await;
    is_refused(&second, ANN).await;
    bob.command("rooms", &json!({})).await;

    // A restart of the instance.
    second.stop();
    let second = instance(&kafka, &redis, &[]).await;
    is_refused(&second, ANN).await;

    // A Redis that comes back empty: what the instances know is written again, and one that starts reads it.
    redis.restart().await;
    eventually("it is kept again", async || {
        let mut connection = redis.connection().await;
        let mut length = redis::cmd("HLEN");
        length.arg("fleetcast:revocations");
        let kept: u64 = length.query_async(&mut connection).await.ok()?;
        (kept == 1).then_some(())
    })
    .await;
    first.ready().await;
    first.stop();
    second.stop();
    let third = instance(&kafka, &redis, &[]).await;
    is_refused(&third, ANN).await;
    assert_eq!(third.metrics().await.value("fleetcast_revocations"), 1);
}

/// A program that may write to Redis revokes no token.
#[tokio::test]
async fn h2_what_others_write_beside_the_kept_revocations_is_not_believed() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    revoke(&first, ANN).await;
    let mut connection = redis.connection().await;
    let mut get = redis::cmd("HGET");
    get.arg("fleetcast:revocations").arg("user/o1/ann");
    let signed: Vec<u8> = get.query_async(&mut connection).await.unwrap();
    let mut unsigned = signed.clone();
    unsigned[..32].fill(0);
    let mut set = redis::cmd("HSET");
    set.arg("fleetcast:revocations");
    set.arg("user/o1/bob")
        .arg(&signed)
        .arg("user/o1/cid")
        .arg(&unsigned);
    set.arg("user/o1/dan").arg(b"\x93\xa6").arg("").arg("");
    set.query_async::<()>(&mut connection).await.unwrap();
    let url = redis.url();
    let second = TestApp::launch(&kafka, &[("REDIS_URL", url.as_str())]).await;
    let ready = second.wait_for_status("degraded").await;
    let why = ready["components"]["redis"].to_string();
    assert!(
        why.contains("4 of the revocations that are kept there are not signed"),
        "{why}"
    );
    is_refused(&second, ANN).await;
    for user in ["bob", "cid", "dan"] {
        assert!(connect(&second, &auth(user, "o1", &[])).await.is_ok());
    }
    assert_eq!(messages(&second, "bad_signature").await, 2);
    assert_eq!(messages(&second, "malformed").await, 2);
}

#[tokio::test]
async fn h6_while_redis_is_away_a_revocation_holds_here_and_is_told_when_it_comes() {
    let (kafka, mut redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut ann = Client::connect(second.public, &auth(ANN, "o1", &[])).await;
    redis.kill();
    first.wait_for_status("degraded").await;
    let body = json!({ "organization_id": "o1", "user_id": ANN });
    let answer = ask(&first, "POST", "/api/revocations", Some(&body)).await;
    assert_problem(&answer, 503, "not_written");
    is_refused(&first, ANN).await;
    ann.command("rooms", &json!({})).await;
    redis.restart().await;
    ann.read_to_end().await;
    is_refused(&second, ANN).await;
}

#[tokio::test]
async fn h6_a_revocation_that_comes_by_redis_and_by_the_topic_is_one() {
    let kafka = Kafka::mock(&[("incident", 1), ("revoked", 1)]).await;
    let redis = Redis::start().await;
    let topic = kafka.topic("revoked");
    let settings = [("REVOCATIONS_TOPIC", topic.as_str())];
    let first = instance(&kafka, &redis, &settings).await;
    let second = instance(&kafka, &redis, &settings).await;
    let mut ann = Client::connect(second.public, &auth(ANN, "o1", &[])).await;
    assert_eq!(revoke(&first, ANN).await["scope"], "fleet");
    ann.read_to_end().await;
    counted(&second, "applied", 1).await;
    let applied = json!({ "organization_id": "o1", "user_id": "last" });
    assert_eq!(
        ask(&second, "POST", "/api/revocations", Some(&applied))
            .await
            .status,
        200
    );
    for app in [&first, &second] {
        eventually("both know two", async || {
            let known = app.metrics().await.value("fleetcast_revocations");
            (known == 2).then_some(())
        })
        .await;
    }
    let closed = second.metrics().await;
    let series = closed
        .0
        .lines()
        .filter(|line| line.contains("token_revoked"));
    let series: Vec<_> = series.collect();
    assert!(
        series
            .iter()
            .any(|line| line.starts_with("fleetcast_disconnects_total") && line.ends_with(" 1")),
        "{series:?}"
    );
    // With a topic nothing is kept in Redis.
    let mut connection = redis.connection().await;
    let mut exists = redis::cmd("EXISTS");
    exists.arg("fleetcast:revocations");
    assert_eq!(exists.query_async::<u64>(&mut connection).await.unwrap(), 0);
}
