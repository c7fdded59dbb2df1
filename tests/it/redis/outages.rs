//! Redis away, and back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{emit, heard_from, instance, kafka, messages, next_typing};
use crate::api::ask;
use crate::harness::{Client, Redis, TestApp, auth, record};

/// From the moment on at which Redis answers again.
const HEALS: Duration = Duration::from_secs(5);

async fn launch(kafka: &crate::harness::Kafka, redis: &Redis) -> TestApp {
    let url = redis.url();
    TestApp::launch(kafka, &[("REDIS_URL", url.as_str())]).await
}

fn lines(app: &TestApp, text: &str) -> usize {
    let log = app.log();
    log.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a88_redis_that_is_away_at_the_start_degrades_and_heals() {
    let (kafka, mut redis) = (kafka().await, Redis::absent(&[]));
    let (first, second) = (launch(&kafka, &redis).await, launch(&kafka, &redis).await);
    for app in [&first, &second] {
        let ready = app.wait_for_status("degraded").await;
        let why = ready["components"]["redis"].to_string();
        assert!(why.contains("cannot be reached"), "{why}");
        assert_eq!(app.metrics().await.value("fleetcast_redis_up"), 0);
        assert_eq!(app.get("/ready").await.status, 200);
    }
    // Everything goes on here.
    let mut here = Client::connect(first.public, &auth("ann", "o1", &["channel:7"])).await;
    let mut there = Client::connect(second.public, &auth("bob", "o1", &["channel:7"])).await;
    let begin = Instant::now();
    emit(&first, "o1", "channel:7", &json!({ "n": 1 })).await;
    assert_eq!(next_typing(&mut here).await["n"], 1);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(messages(&first, "not_sent").await, 1);
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&first, "POST", "/api/users/absent/disconnect", Some(&body)).await;
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 0, "scope": "instance" })
    );
    let incident = record("incident_created", "o1", &json!({ "id": 1 }));
    kafka.produce("incident", incident).await;
    there.expect("incident_created").await;

    redis.restart().await;
    let begin = Instant::now();
    for app in [&first, &second] {
        app.ready().await;
        assert_eq!(app.metrics().await.value("fleetcast_redis_up"), 1);
    }
    heard_from(&first, "o1", "channel:7", &mut there).await;
    assert!(begin.elapsed() < HEALS, "{:?}", begin.elapsed());
    for app in [&first, &second] {
        assert_eq!(
            (
                lines(app, "redis is not reachable"),
                lines(app, "redis is reachable")
            ),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn a88_redis_that_is_killed_and_comes_back_is_used_again() {
    let (kafka, mut redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut here = Client::connect(first.public, &auth("ann", "o1", &["channel:7"])).await;
    let mut there = Client::connect(second.public, &auth("bob", "o1", &["channel:7"])).await;
    heard_from(&first, "o1", "channel:7", &mut there).await;
    for round in 0..3 {
        redis.kill();
        for app in [&first, &second] {
            app.wait_for_status("degraded").await;
        }
        emit(&first, "o1", "channel:7", &json!({ "n": round })).await;
        assert_eq!(next_typing(&mut here).await["n"], round);
        redis.restart().await;
        let begin = Instant::now();
        heard_from(&first, "o1", "channel:7", &mut there).await;
        assert!(begin.elapsed() < HEALS, "{:?}", begin.elapsed());
        first.ready().await;
        second.ready().await;
    }
    assert_eq!(
        (
            lines(&first, "redis is not reachable"),
            lines(&first, "redis is reachable")
        ),
        (3, 4)
    );
}

#[tokio::test]
async fn a88_a_wrong_password_is_named_and_is_no_reason_to_stop() {
    let (kafka, redis) = (
        kafka().await,
        Redis::start_with(&["--requirepass", "right"]).await,
    );
    let why_with = async |credentials: &str| -> (TestApp, Value) {
        let url = redis.url_of(credentials);
        let app = TestApp::launch(&kafka, &[("REDIS_URL", url.as_str())]).await;
        let ready = app.wait_for_status("degraded").await;
        (app, ready["components"]["redis"].clone())
    };
    let (wrong, why) = why_with(":hush-hush@").await;
    assert!(
        why.to_string().contains("user or password rejected"),
        "{why}"
    );
    let (none, why) = why_with("").await;
    assert!(why.to_string().contains("authentication required"), "{why}");
    let url = redis.url_of(":right@");
    let right = TestApp::start_with(&kafka, &[("REDIS_URL", url.as_str())]).await;
    for app in [wrong, none, right] {
        let log = app.stop();
        assert!(
            !log.iter()
                .any(|line| line.contains("hush") || line.contains("right@"))
        );
    }
}
