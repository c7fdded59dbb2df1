//! An instance is sent what its clients may receive, and nothing else.

use super::{instance, kafka};
use crate::harness::{Client, Redis, auth, eventually};

/// How many subscribe to the emitters of Python and of Node.js.
async fn subscribers(redis: &Redis) -> (u64, u64) {
    let mut connection = redis.connection().await;
    let (mut channels, mut patterns) = (redis::cmd("PUBSUB"), redis::cmd("PUBSUB"));
    channels.arg("NUMSUB").arg("jobs");
    let channels: Vec<(String, u64)> = channels.query_async(&mut connection).await.unwrap();
    patterns.arg("NUMPAT");
    (
        channels[0].1,
        patterns.query_async(&mut connection).await.unwrap(),
    )
}

#[tokio::test]
async fn emitters_are_listened_to_while_their_organisation_has_clients_here() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let emitters = ("REDIS_EMITTERS", "python:o1:jobs,node:o2:jobs");
    let app = instance(&kafka, &redis, &[emitters]).await;
    assert_eq!(subscribers(&redis).await, (0, 0));
    let ann = Client::connect(app.public, &auth("ann", "o1", &[])).await;
    let becomes = async |expected: (u64, u64)| {
        eventually(&format!("{expected:?} subscribers"), async || {
            (subscribers(&redis).await == expected).then_some(())
        })
        .await;
    };
    becomes((1, 0)).await;
    // Of events, and of requests, which are counted.
    let bob = Client::connect(app.public, &auth("bob", "o2", &[])).await;
    becomes((1, 2)).await;
    drop(ann);
    becomes((0, 2)).await;
    drop(bob);
    becomes((0, 0)).await;
}
