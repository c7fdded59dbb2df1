//! Revocations that Redis keeps: what it has lost is written again, and nothing makes it narrower.

use std::time::Duration;

use fleetcast::bus::{AcceptedEmitters, Adapter, BusKeys, KeptRevocations, RedisSettings};
use fleetcast::telemetry::Metrics;
use fleetcast_core::domain::revocation::{Revocation, RevocationChange, RevocationTarget};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::revoked::{ANN, is_refused, revoke};
use super::{connect, instance, kafka};
use crate::api::{ask, assert_problem};
use crate::harness::{Background, Kafka, Redis, SECRET, TestApp, auth, eventually};

const HASH: &str = "fleetcast:revocations";
const OTHER_SECRET: &str = "another-secret-of-enough-bytes-4kQ9x";

/// What an instance does with the hash, without an instance.
pub(super) struct Hash {
    pub(super) kept: KeptRevocations,
    _connected: Background,
}

impl Hash {
    pub(super) async fn of(redis: &Redis, secrets: &[&str]) -> Self {
        let secrets: Vec<_> = secrets.iter().map(|one| SecretString::from(*one)).collect();
        let settings = RedisSettings {
            url: redis.url().into(),
            prefix: "fleetcast".to_owned(),
            keys: BusKeys::of(&secrets).unwrap(),
            keys_of_tokens: false,
        };
        let emitters = AcceptedEmitters::new(Vec::new(), 1024);
        let (adapter, _tasks) = Adapter::new(&settings, emitters, &Metrics::new()).unwrap();
        let link = adapter.link();
        let connected = Background::start(link.clone().keep(CancellationToken::new()));
        eventually("it is connected", async || link.is_up().then_some(())).await;
        Self {
            kept: adapter.kept_revocations(),
            _connected: connected,
        }
    }

    /// As far as it can be read.
    pub(super) async fn all(&self) -> Vec<(String, Revocation)> {
        let page = self.kept.page(0).await.unwrap();
        let read = page.kept.iter();
        let read = read.map(|one| (one.target.to_string(), one.revocation));
        let mut all: Vec<_> = read.collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    async fn keeps(&self, what: &[(String, Revocation)]) {
        eventually("they are kept", async || {
            (self.all().await == what).then_some(())
        })
        .await;
    }
}

pub(super) fn target(user: &str) -> RevocationTarget {
    let key = format!("user/o1/{user}");
    RevocationChange::target(key.as_bytes()).unwrap()
}

fn now() -> u64 {
    fleetcast::clock::wall_ms() / 1000
}

async fn command(redis: &Redis, words: &[&[u8]]) {
    let mut command = redis::cmd(std::str::from_utf8(words[0]).unwrap());
    for word in &words[1..] {
        command.arg(*word);
    }
    let mut connection = redis.connection().await;
    command.query_async::<()>(&mut connection).await.unwrap();
}

async fn value(redis: &Redis, user: &str) -> Vec<u8> {
    let mut get = redis::cmd("HGET");
    get.arg(HASH).arg(format!("user/o1/{user}"));
    let mut connection = redis.connection().await;
    get.query_async(&mut connection).await.unwrap()
}

fn lines(app: &TestApp, text: &str) -> usize {
    let log = app.log();
    log.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn h6_what_redis_loses_on_a_connection_that_lasts_is_written_again() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    revoke(&first, ANN).await;
    revoke(&first, "bob").await;
    let hash = Hash::of(&redis, &[SECRET]).await;
    let all = hash.all().await;
    assert_eq!(all.len(), 2);
    for loss in [
        &[&b"FLUSHALL"[..]][..],
        &[b"HDEL", HASH.as_bytes(), b"user/o1/ann"],
    ] {
        command(&redis, loss).await;
        assert!(hash.all().await.len() < 2);
        hash.keeps(&all).await;
    }
    assert_eq!(lines(&first, "redis is reachable"), 1);
    first.stop();
    let second = instance(&kafka, &redis, &[]).await;
    is_refused(&second, ANN).await;
}

/// A program that may write to Redis may write what it has read before. A pass finds it: each minute, and when something may have been missed.
#[tokio::test]
async fn h6_an_older_value_that_is_put_back_is_widened_again() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let body = json!({ "organization_id": "o1", "user_id": ANN, "until": now() + 1_000 });
    let answer = ask(&first, "POST", "/api/revocations", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "fleet");
    let older = value(&redis, ANN).await;
    revoke(&first, ANN).await;
    let newer = value(&redis, ANN).await;
    assert_ne!(older, newer);
    let hash = Hash::of(&redis, &[SECRET]).await;
    let all = hash.all().await;
    command(&redis, &[b"HSET", HASH.as_bytes(), b"user/o1/ann", &older]).await;
    assert_ne!(hash.all().await, all);
    // It would be found within a minute, too.
    first.hangup();
    hash.keeps(&all).await;
}

#[tokio::test]
async fn h6_one_that_was_heard_of_and_not_kept_is_written_by_who_heard_it() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    // Messages pass, and nothing is written any more.
    command(&redis, &[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    let body = json!({ "organization_id": "o1", "user_id": ANN });
    let answer = ask(&first, "POST", "/api/revocations", Some(&body)).await;
    assert_problem(&answer, 503, "not_written");
    eventually("it is heard", async || {
        let refused = connect(&second, &auth(ANN, "o1", &[])).await;
        (refused == Err("token_revoked".to_owned())).then_some(())
    })
    .await;
    let ready = second.wait_for_status("degraded").await;
    let why = ready["components"]["redis"].to_string();
    assert!(why.contains("OOM"), "{why}");
    first.crash();
    command(&redis, &[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    second.ready().await;
    let hash = Hash::of(&redis, &[SECRET]).await;
    eventually("it is kept", async || {
        (hash.all().await.len() == 1).then_some(())
    })
    .await;
    second.stop();
    let third = instance(&kafka, &redis, &[]).await;
    is_refused(&third, ANN).await;
}

#[tokio::test]
async fn h6_whichever_instance_writes_last_what_is_kept_becomes_never_narrower() {
    let redis = Redis::start().await;
    let (one, other) = (
        Hash::of(&redis, &[SECRET]).await,
        Hash::of(&redis, &[SECRET]).await,
    );
    let revocation = |issued_until, until| Revocation {
        issued_until,
        until,
    };
    let wide = revocation(90, None);
    one.kept.widen(&[(target(ANN), wide)]).await.unwrap();
    let narrow = [
        (target(ANN), revocation(80, Some(1_000))),
        (target("bob"), revocation(70, Some(2_000))),
    ];
    let kept = other.kept.widen(&narrow).await.unwrap();
    assert_eq!(kept, [wide, narrow[1].1]);
    assert_eq!(one.all().await[0].1, wide);
    // Each knows what the other does not.
    let partly = [(target("bob"), revocation(75, Some(1_500)))];
    let kept = one.kept.widen(&partly);
    assert_eq!(kept.await.unwrap(), [revocation(75, Some(2_000))]);
    let race = (0..64).map(|nth| {
        let hash = if nth % 2 == 0 { &one } else { &other };
        async move {
            let mine = revocation(100 + nth, Some(5_000 - nth));
            // There are more writers than there are rounds: the keeper of an instance tries again.
            while hash.kept.widen(&[(target("cid"), mine)]).await.is_err() {}
        }
    });
    futures_util::future::join_all(race).await;
    assert_eq!(one.all().await[2].1, revocation(163, Some(5_000)));
}

#[tokio::test]
async fn what_redis_does_not_give_is_named_and_holds_up_the_start_for_seconds_only() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    command(&redis, &[b"SET", HASH.as_bytes(), b"of another program"]).await;
    let url = redis.url();
    let app = TestApp::launch(&kafka, &[("REDIS_URL", url.as_str())]).await;
    let ready = app.wait_for_status("degraded").await;
    let why = ready["components"]["redis"].to_string();
    assert!(
        why.contains("cannot be read") && why.contains("WRONGTYPE"),
        "{why}"
    );
    for line in [
        "Redis does not keep the revocations as it should",
        "starting without the revocations that Redis keeps",
    ] {
        assert_eq!(lines(&app, line), 1, "{line}");
    }
    assert!(connect(&app, &auth(ANN, "o1", &[])).await.is_ok());
    command(&redis, &[b"DEL", HASH.as_bytes()]).await;
    app.ready().await;
    assert_eq!(lines(&app, "Redis keeps the revocations again"), 1);
}

#[tokio::test]
async fn a_start_waits_some_seconds_for_redis() {
    let (kafka, mut redis) = (kafka().await, Redis::absent(&[]));
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str())];
    let first = TestApp::launch(&kafka, &settings).await;
    first.wait_for_status("degraded").await;
    assert_eq!(
        lines(&first, "starting without the revocations that Redis keeps"),
        1
    );
    let second = TestApp::launch(&kafka, &settings).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(second.get("/ready").await.json()["status"], "starting");
    redis.restart().await;
    second.ready().await;
    assert_eq!(
        lines(&second, "starting without the revocations that Redis keeps"),
        0
    );
}

#[tokio::test]
async fn what_has_ended_is_removed_a_day_later_and_a_removal_that_fails_is_no_failed_read() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let hash = Hash::of(&redis, &[SECRET]).await;
    let ended = |ago| Revocation {
        issued_until: 90,
        until: Some(now() - ago),
    };
    let lasting = Revocation {
        issued_until: now(),
        until: None,
    };
    let all = [
        (target(ANN), lasting),
        (target("bob"), ended(23 * 3600)),
        (target("cid"), ended(25 * 3600)),
    ];
    hash.kept.widen(&all).await.unwrap();
    let rights: &[&[u8]] = &[
        b"ACL", b"SETUSER", b"hands", b"on", b">off", b"~*", b"&*", b"+@all", b"-hdel",
    ];
    command(&redis, rights).await;
    let url = redis.url_of("hands:off@");
    let app = TestApp::launch(&kafka, &[("REDIS_URL", url.as_str())]).await;
    let ready = app.wait_for_status("degraded").await;
    let why = ready["components"]["redis"].to_string();
    assert!(why.contains("cannot be removed"), "{why}");
    assert_eq!(lines(&app, "starting without"), 0);
    is_refused(&app, ANN).await;
    app.stop();
    assert_eq!(hash.all().await.len(), 3);
    let app = instance(&kafka, &redis, &[]).await;
    is_refused(&app, ANN).await;
    let kept = hash.all().await;
    let kept: Vec<_> = kept.iter().map(|(target, _)| &**target).collect();
    assert_eq!(kept, ["user/o1/ann", "user/o1/bob"]);
}

#[tokio::test]
async fn h6_what_is_kept_outlives_its_secret() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let old = [("REDIS_SECRET", OTHER_SECRET)];
    let first = instance(&kafka, &redis, &old).await;
    revoke(&first, ANN).await;
    first.stop();
    let new = [
        ("REDIS_SECRET", SECRET),
        ("REDIS_SECRET_PREVIOUS", OTHER_SECRET),
    ];
    let second = instance(&kafka, &redis, &new).await;
    is_refused(&second, ANN).await;
    let hash = Hash::of(&redis, &[SECRET]).await;
    eventually("it is signed with the new secret", async || {
        (hash.all().await.len() == 1).then_some(())
    })
    .await;
    second.stop();
    let third = instance(&kafka, &redis, &new[..1]).await;
    is_refused(&third, ANN).await;
}

#[tokio::test]
async fn h6_what_redis_keeps_moves_to_a_topic_that_is_set_later() {
    let kafka = Kafka::mock(&[("incident", 1), ("revoked", 1)]).await;
    let redis = Redis::start().await;
    let first = instance(&kafka, &redis, &[]).await;
    revoke(&first, ANN).await;
    first.stop();
    let topic = kafka.topic("revoked");
    let settings = [("REVOCATIONS_TOPIC", topic.as_str())];
    let second = instance(&kafka, &redis, &settings).await;
    is_refused(&second, ANN).await;
    let hash = Hash::of(&redis, &[SECRET]).await;
    hash.keeps(&[]).await;
    second.stop();
    let third = instance(&kafka, &redis, &settings).await;
    is_refused(&third, ANN).await;
}
