//! What instances tell each other, and what others may not tell them.

use futures_util::StreamExt;
use serde_json::json;

use super::{counted, emit, heard_from, instance, kafka, messages, next_typing};
use crate::api::ask;
use crate::harness::{Client, Redis, auth, eventually};

#[tokio::test]
async fn a_volatile_event_reaches_the_clients_of_other_instances_and_of_no_other_organisation() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut here = Client::connect(first.public, &auth("ann", "o1", &["channel:7"])).await;
    let mut there = Client::connect(second.public, &auth("bob", "o1", &["channel:7"])).await;
    let mut stranger = Client::connect(second.public, &auth("cid", "o2", &["channel:7"])).await;
    heard_from(&first, "o1", "channel:7", &mut there).await;
    heard_from(&first, "o2", "channel:7", &mut stranger).await;
    let cursor = there.cursor();
    for n in 0..20 {
        emit(&first, "o1", "channel:7", &json!({ "n": n })).await;
    }
    for n in 0..20 {
        assert_eq!(next_typing(&mut here).await["n"], n);
        assert_eq!(next_typing(&mut there).await["n"], n);
    }
    emit(&second, "o1", "channel:7", &json!({ "n": 20 })).await;
    assert_eq!(next_typing(&mut here).await["n"], 20);
    assert_eq!(next_typing(&mut there).await["n"], 20);
    assert_eq!(there.cursor(), cursor, "no event moves a cursor");
    emit(&first, "o2", "channel:7", &json!({ "n": "o2" })).await;
    assert_eq!(next_typing(&mut stranger).await["n"], "o2");

    // None of its clients is left there, so nothing more is sent there.
    let mut connection = redis.connection().await;
    let mut followed = redis::cmd("PUBSUB");
    followed
        .arg("NUMSUB")
        .arg("fleetcast:o:o2")
        .arg("fleetcast:o:o1");
    let before: Vec<(String, u64)> = followed.query_async(&mut connection).await.unwrap();
    assert_eq!((before[0].1, before[1].1), (1, 2));
    drop(stranger);
    eventually("the organisation is followed no more", async || {
        let now: Vec<(String, u64)> = followed.query_async(&mut connection).await.unwrap();
        (now[0].1 == 0 && now[1].1 == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_who_is_disconnected_at_one_instance_is_at_all() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut ann = Client::connect(second.public, &auth("ann", "o1", &[])).await;
    let mut of_o2 = Client::connect(second.public, &auth("ann", "o2", &[])).await;
    let mut bob = Client::connect(second.public, &auth("bob", "o1", &[])).await;
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&first, "POST", "/api/users/ann/disconnect", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "fleet", "{answer:?}");
    ann.read_to_end().await;
    for other in [&mut of_o2, &mut bob] {
        other.command("rooms", &json!({})).await;
    }
}

#[tokio::test]
async fn h2_what_is_forged_or_sent_once_more_does_nothing() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut heard = redis.listen().await;
    let mut heard = heard.on_message();
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&first, "POST", "/api/users/ann/disconnect", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "fleet", "{answer:?}");
    let recorded = loop {
        let message = heard.next().await.unwrap();
        if message.get_channel_name() == "fleetcast:control" {
            break message.get_payload_bytes().to_vec();
        }
    };
    counted(&second, "applied", 1).await;
    let mut ann = Client::connect(second.public, &auth("ann", "o1", &[])).await;
    redis.publish("fleetcast:control", &recorded).await;
    counted(&second, "repeated", 1).await;
    let mut forged = recorded.clone();
    let at = forged.windows(3).position(|part| part == b"ann").unwrap();
    forged[at..at + 3].copy_from_slice(b"bob");
    redis.publish("fleetcast:control", &forged).await;
    redis.publish("fleetcast:o:o1", &recorded).await;
    counted(&second, "bad_signature", 2).await;
    ann.command("rooms", &json!({})).await;
    assert_eq!(messages(&second, "applied").await, 1);
    // The one that has sent it looks no further than at its own name.
    assert_eq!(messages(&first, "repeated").await, 0);
}

#[tokio::test]
async fn a88_garbage_and_huge_messages_are_counted_and_nothing_else() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let first = instance(&kafka, &redis, &[]).await;
    let second = instance(&kafka, &redis, &[]).await;
    let mut there = Client::connect(second.public, &auth("bob", "o1", &["channel:7"])).await;
    heard_from(&first, "o1", "channel:7", &mut there).await;
    let msgpack = b"\x93\xa6server\x84\xa4type\x02\xa4data\x92\xa5hello\xdd\xff\xff\xff\xff";
    redis.publish("fleetcast:control", msgpack).await;
    redis.publish("fleetcast:o:o1", b"").await;
    redis.publish("fleetcast:o:o1", b"\x01\x01short").await;
    redis.publish("fleetcast:o:o1", &[0xff; 70]).await;
    let before = second.resident();
    for _ in 0..30 {
        redis
            .publish("fleetcast:control", &vec![1; 10_000_000])
            .await;
    }
    counted(&second, "too_large", 30).await;
    counted(&second, "unknown_version", 2).await;
    counted(&second, "malformed", 2).await;
    // A third of what came.
    assert!(second.resident() < before + 100_000_000);
    emit(&first, "o1", "channel:7", &json!({ "n": 1 })).await;
    assert_eq!(next_typing(&mut there).await["n"], 1);
}

/// Numbers of databases separate keys and not messages.
#[tokio::test]
async fn h2_two_deployments_on_one_redis_do_not_meet() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let production = instance(&kafka, &redis, &[]).await;
    let also_production = instance(&kafka, &redis, &[]).await;
    let (other_database, other_prefix) =
        (format!("{}/3", redis.url()), ("REDIS_PREFIX", "staging"));
    let staging = instance(
        &kafka,
        &redis,
        &[other_prefix, ("REDIS_URL", &other_database)],
    )
    .await;
    let other_secret = ("REDIS_SECRET", "another-secret-of-enough-bytes-4kQ9x");
    let same_prefix = instance(
        &kafka,
        &redis,
        &[other_secret, ("REDIS_URL", &other_database)],
    )
    .await;
    let mut ann = Client::connect(also_production.public, &auth("ann", "o1", &["channel:7"])).await;
    heard_from(&production, "o1", "channel:7", &mut ann).await;
    let body = json!({ "organization_id": "o1" });
    for app in [&staging, &same_prefix] {
        emit(app, "o1", "channel:7", &json!({ "n": "theirs" })).await;
        ask(app, "POST", "/api/users/ann/disconnect", Some(&body)).await;
        let revoked = ask(app, "POST", "/api/revocations", Some(&body)).await;
        assert_eq!(revoked.json()["scope"], "fleet", "{revoked:?}");
    }
    counted(&also_production, "bad_signature", 3).await;
    let told = also_production.log();
    let told = (told.iter()).filter(|line| line.contains("is not signed with our secret"));
    assert!((1..=3).contains(&told.count()));
    emit(&production, "o1", "channel:7", &json!({ "n": "ours" })).await;
    assert_eq!(next_typing(&mut ann).await["n"], "ours");
    ann.command("rooms", &json!({})).await;
    assert_eq!(
        also_production
            .metrics()
            .await
            .value("fleetcast_revocations"),
        0
    );
}
