//! How many connections a user may have of all instances together.

use futures_util::future::join_all;

use super::{instance, kafka};
use crate::harness::{Client, Packet, Redis, TestApp, auth, eventually};

/// A client that was admitted. `None`: its transport was closed.
async fn admitted(app: &TestApp, user: &str) -> Option<Client> {
    let mut client = Client::open(app.public).await;
    client.send(&format!("40{}", auth(user, "o1", &[]))).await;
    loop {
        match client.packet().await? {
            Packet::Connect { .. } => return Some(client),
            Packet::ConnectError { .. } => panic!("a limit is no final refusal"),
            _ => {}
        }
    }
}

async fn storm(apps: &[TestApp], user: &str) -> Vec<Client> {
    let asked = (0..120).map(|number| admitted(&apps[number % apps.len()], user));
    join_all(asked).await.into_iter().flatten().collect()
}

async fn gauge(app: &TestApp, value: u64) {
    eventually(&format!("the gauge says {value}"), async || {
        let metrics = app.metrics().await;
        (metrics.value("fleetcast_limits_across_instances") == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn s4_05_a_user_has_as_many_connections_as_allowed_of_all_instances_together() {
    let (kafka, mut redis) = (kafka().await, Redis::start().await);
    let mut apps = Vec::new();
    for _ in 0..3 {
        let more = [("MAX_CONNECTIONS_PER_USER", "20")];
        apps.push(instance(&kafka, &redis, &more).await);
    }
    let held = storm(&apps, "u1").await;
    assert_eq!(held.len(), 20);
    let mut refused = 0;
    for app in &apps {
        refused += app.metrics().await.refused("user_limit");
        gauge(app, 1).await;
        assert_eq!(app.metrics().await.value("fleetcast_instances"), 3);
    }
    assert_eq!(refused, 100);
    assert!(admitted(&apps[0], "u2").await.is_some(), "another user");

    // What is given back, however a connection ends, is free at any instance.
    for (number, client) in held.into_iter().enumerate() {
        if number % 2 == 0 {
            client.cut();
        } else {
            drop(client);
        }
    }
    let mut held = Vec::new();
    eventually("20 of one instance", async || {
        held.extend(admitted(&apps[1], "u1").await);
        (held.len() == 20).then_some(())
    })
    .await;
    assert!(admitted(&apps[0], "u1").await.is_none());

    // Without Redis each instance has its own limit, and no connection is refused because of that.
    redis.kill();
    gauge(&apps[0], 0).await;
    let more = storm(&apps[..1], "u1").await;
    assert_eq!(more.len(), 20);
    redis.restart().await;
    for app in &apps {
        gauge(app, 1).await;
    }
    eventually("all are counted again", async || {
        admitted(&apps[2], "u1").await.is_none().then_some(())
    })
    .await;
    drop((held, more));
}
