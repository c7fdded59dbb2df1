//! What is listed and closed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{counts, get, instance, kafka, listed, restricted_instance};
use crate::api::{ask, assert_problem};
use crate::harness::{Client, Redis, TestApp, auth, eventually, within};

fn id_of(client: &Client) -> String {
    client.welcome["connection_id"].as_str().unwrap().to_owned()
}

/// Until this instance lists so many connections.
async fn lists(app: &TestApp, count: usize) -> Vec<(String, String)> {
    eventually(&format!("{count} connections are listed"), async || {
        let listed = listed(app, "?limit=1000").await;
        (listed.len() == count).then_some(listed)
    })
    .await
}

#[tokio::test]
async fn s4_05_any_instance_lists_and_closes_the_connections_of_all() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let mut apps = vec![restricted_instance(&kafka, &redis).await];
    for _ in 0..2 {
        apps.push(instance(&kafka, &redis, &[]).await);
    }
    let mut clients = Vec::new();
    for number in 0..9 {
        let user = format!("u{}", number % 2);
        let room = format!("channel:{}", number % 4);
        let auth = auth(&user, "o1", &[&room]);
        clients.push(Client::connect(apps[number % 3].public, &auth).await);
    }
    let odd = "auth0|5f/é:7";
    let other = Client::connect(apps[2].public, &auth(odd, "o2", &["channel:*"])).await;
    let all = lists(&apps[0], 10).await;
    let instances: BTreeSet<_> = all.iter().map(|(_, instance)| instance).collect();
    assert_eq!(instances.len(), 3);
    for app in &apps {
        assert_eq!(lists(app, 10).await, all, "the same order");
    }
    let text = get(&apps[0], "/api/connections").await;
    assert_eq!(text.get("complete"), None, "{text}");
    assert!(!text.to_string().contains("token\""), "{text}");

    // A page of one instance goes on with the next of another.
    let mut paged = Vec::new();
    let mut after = String::new();
    for app in apps.iter().cycle() {
        let target = format!("/api/connections?limit=1{after}");
        let page = get(app, &target).await;
        let Some(item) = page["connections"].get(0) else {
            break;
        };
        paged.push(item["connection_id"].as_str().unwrap().to_owned());
        after = format!("&after={}", page["after"].as_str().unwrap());
    }
    let ids: Vec<_> = all.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(paged, ids);

    let of = |numbers: &[usize]| -> BTreeSet<String> {
        numbers
            .iter()
            .map(|&number| id_of(&clients[number]))
            .collect()
    };
    let percent = "auth0%7C5f%2F%C3%A9%3A7";
    for (query, expected) in [
        (
            "?organization_id=o1".to_owned(),
            of(&[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ),
        (
            "?organization_id=o1&user_id=u1".to_owned(),
            of(&[1, 3, 5, 7]),
        ),
        ("?organization_id=o1&room=channel:1".to_owned(), of(&[1, 5])),
        (
            "?organization_id=o2&room=channel:9".to_owned(),
            [id_of(&other)].into(),
        ),
        (format!("?user_id={percent}"), [id_of(&other)].into()),
        (
            "?address=127.0.0.1&organization_id=o2".to_owned(),
            [id_of(&other)].into(),
        ),
        ("?transport=polling".to_owned(), of(&[])),
    ] {
        for app in &apps {
            let found = listed(app, &query).await.into_iter().map(|(id, _)| id);
            assert_eq!(found.collect::<BTreeSet<_>>(), expected, "{query}");
        }
    }
    let rooms = get(&apps[1], "/api/rooms?organization_id=o1").await;
    let members = |room: &str| {
        let rooms = rooms["rooms"].as_array().unwrap();
        let found = rooms.iter().find(|item| item["room"] == room);
        found.map(|item| item["members"].as_u64().unwrap())
    };
    assert_eq!(
        (members("channel:0"), members("org:o1")),
        (Some(3), Some(9))
    );

    // What is known of a connection is the same everywhere, and what it joins is seen within 5 s.
    let target = format!("/api/connections/{}", id_of(&other));
    let there = eventually("it is live", async || {
        let there = get(&apps[2], &target).await;
        (there["state"] == "live").then_some(there)
    })
    .await;
    eventually("the others say the same", async || {
        (get(&apps[0], &target).await == there).then_some(())
    })
    .await;
    assert_eq!(
        there["room_names"],
        json!(["org:o2", format!("user:{odd}"), "channel:*"])
    );
    clients[8].subscribe("channel:77").await;
    within(Duration::from_secs(6), "the new room", async || {
        let found = listed(&apps[0], "?organization_id=o1&room=channel:77").await;
        (found.len() == 1).then_some(())
    })
    .await;

    // From another instance: one, and all of a user.
    let gone = id_of(&clients[4]);
    let target = format!("/api/connections/{gone}");
    let answer = ask(&apps[0], "DELETE", &target, None).await;
    assert_eq!(answer.json(), json!({ "disconnected": 1 }));
    clients[4].read_to_end().await;
    lists(&apps[0], 9).await;
    assert_problem(
        &ask(&apps[0], "DELETE", &target, None).await,
        404,
        "not_found",
    );
    assert_problem(&ask(&apps[0], "GET", &target, None).await, 404, "not_found");
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&apps[2], "POST", "/api/users/u1/disconnect", Some(&body)).await;
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 4, "scope": "fleet" })
    );
    for number in [1, 3, 5, 7] {
        clients[number].read_to_end().await;
    }
    for app in &apps {
        lists(app, 5).await;
    }

    // A clean stop waits for no lease.
    apps.remove(0).stop();
    let left = listed(&apps[0], "").await;
    assert_eq!(left.len(), 3, "{left:?}");
    let mut connection = redis.connection().await;
    let mut count = redis::cmd("ZCARD");
    count.arg("fleetcast:instances");
    let instances: usize = count.query_async(&mut connection).await.unwrap();
    assert_eq!(instances, 2);
}

#[tokio::test]
async fn s4_05_a_crashed_or_paused_instance_is_not_listed_after_twelve_seconds() {
    let (kafka, redis) = (kafka().await, Redis::start().await);
    let apps = [
        instance(&kafka, &redis, &[]).await,
        instance(&kafka, &redis, &[]).await,
        instance(&kafka, &redis, &[]).await,
    ];
    let mut clients = Vec::new();
    for app in apps.iter().cycle().take(6) {
        clients.push(Client::connect(app.public, &auth("u1", "o1", &[])).await);
    }
    let all = lists(&apps[0], 6).await;
    assert_eq!(counts(&apps[0]).await.len(), 3);
    let [first, crashed, paused] = apps;
    let target = format!("/api/connections/{}", id_of(&clients[1]));
    let begin = Instant::now();
    paused.freeze();
    crashed.crash();
    // They may live still, as far as others know, and do not hear. Redis keeps what it has for the one that is paused.
    let answer = ask(&first, "DELETE", &target, None).await;
    assert_problem(&answer, 503, "unreached");
    let of_paused = format!("/api/connections/{}", id_of(&clients[2]));
    let answer = ask(&first, "DELETE", &of_paused, None).await;
    assert_problem(&answer, 503, "unreached");
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&first, "POST", "/api/users/u9/disconnect", Some(&body)).await;
    assert_eq!(answer.json()["scope"], "instance", "one does not hear");
    within(Duration::from_secs(12), "both have lapsed", async || {
        (listed(&first, "").await.len() == 2).then_some(())
    })
    .await;
    assert!(
        begin.elapsed() < Duration::from_secs(12),
        "{:?}",
        begin.elapsed()
    );
    assert_problem(
        &ask(&first, "DELETE", &target, None).await,
        404,
        "not_found",
    );

    paused.thaw();
    // What it was told, it does when it comes back.
    lists(&first, 3).await;
    assert_eq!(counts(&paused).await.len(), 2);

    // As if a minute had passed: nothing is left of the one that crashed.
    let mut connection = redis.connection().await;
    let mut keys = redis::cmd("KEYS");
    keys.arg("fleetcast:connections:*");
    let names: Vec<String> = keys.query_async(&mut connection).await.unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
    let mut leases = redis::cmd("ZRANGE");
    leases.arg("fleetcast:instances").arg(0).arg(0);
    let oldest: Vec<String> = leases.query_async(&mut connection).await.unwrap();
    let mut lapse = redis::cmd("ZADD");
    lapse.arg("fleetcast:instances").arg(1).arg(&oldest[0]);
    lapse.query_async::<usize>(&mut connection).await.unwrap();
    eventually("its keys are gone", async || {
        let names: Vec<String> = keys.query_async(&mut connection).await.unwrap();
        (names.len() == 2).then_some(())
    })
    .await;
    let left = lists(&first, 3).await;
    assert!(left.iter().all(|one| all.contains(one)));
}

#[tokio::test]
async fn s4_25_without_redis_own_connections_are_listed_and_later_all_again() {
    let (kafka, mut redis) = (kafka().await, Redis::start().await);
    let apps = [
        instance(&kafka, &redis, &[]).await,
        instance(&kafka, &redis, &[]).await,
    ];
    let mut clients = Vec::new();
    for number in 0..6 {
        let auth = auth(&format!("u{number}"), "o1", &["channel:7"]);
        clients.push(Client::connect(apps[number % 2].public, &auth).await);
    }
    let all = lists(&apps[0], 6).await;
    redis.kill();
    for app in &apps {
        eventually("only the own ones", async || {
            let page = get(app, "/api/connections").await;
            let own = page["connections"].as_array().unwrap().len() == 3;
            (own && page["complete"] == false).then_some(())
        })
        .await;
        let rooms = get(app, "/api/rooms").await;
        assert_eq!(rooms["complete"], false);
        assert_eq!(rooms["rooms"][0]["members"], 3, "{rooms}");
    }
    let (own, other) = (id_of(&clients[0]), id_of(&clients[1]));
    let target = format!("/api/connections/{other}");
    assert_problem(&ask(&apps[0], "GET", &target, None).await, 503, "unreached");
    assert_problem(
        &ask(&apps[0], "DELETE", &target, None).await,
        503,
        "unreached",
    );
    let target = format!("/api/connections/{own}");
    assert_eq!(ask(&apps[0], "DELETE", &target, None).await.status, 200);
    clients[0].read_to_end().await;
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&apps[0], "POST", "/api/users/u2/disconnect", Some(&body)).await;
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 1, "scope": "instance" })
    );
    clients[2].read_to_end().await;

    // Empty. Instances are back within a pause of the link, a second or so.
    redis.restart().await;
    let begin = Instant::now();
    let left = lists(&apps[1], 4).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    lists(&apps[0], 4).await;
    assert!(left.iter().all(|one| all.contains(one)));
    // Others had their time to come back, as far as this one knows.
    eventually("the list is complete", async || {
        let page = get(&apps[0], "/api/connections").await;
        page.get("complete").is_none().then_some(())
    })
    .await;
}
