//! Connections, rooms and users as an operator sees and ends them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ask, assert_problem};
use crate::harness::{Client, Kafka, Packet, Polling, TestApp, auth, eventually, request, token};

fn named(page: &Value) -> Vec<&str> {
    let connections = page["connections"].as_array().unwrap();
    connections
        .iter()
        .map(|one| one["connection_id"].as_str().unwrap())
        .collect()
}

async fn list(app: &TestApp, query: &str) -> Value {
    let answer = ask(app, "GET", &format!("/api/connections{query}"), None).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()
}

fn id_of(client: &Client) -> String {
    client.welcome["connection_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn connections_are_listed_filtered_and_paged() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let first = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let second = Client::connect(app.public, &auth("u1", "o1", &["channel:*"])).await;
    let odd = "auth0|5f/é:7";
    let third = Client::connect(app.public, &auth(odd, "o1", &[])).await;
    let fourth = Client::connect(app.public, &auth("u1", "o2", &["channel:7"])).await;
    let [one, two, three, four] = [&first, &second, &third, &fourth].map(id_of);

    let page = list(&app, "").await;
    assert_eq!(named(&page).len(), 4);
    assert_eq!(page.get("after"), None);
    let item = eventually("it is live", async || {
        let page = list(&app, "?organization_id=o1&room=channel:7&user_id=u1").await;
        let items = page["connections"].as_array().unwrap().clone();
        let item = items
            .into_iter()
            .find(|item| item["connection_id"] == *one)?;
        (item["state"] == "live").then_some(item)
    })
    .await;
    assert_eq!(item["user_id"], "u1");
    assert_eq!(item["organization_id"], "o1");
    assert_eq!(item["roles"], json!(["dispatcher"]));
    assert_eq!(
        (&item["transport"], &item["namespace"]),
        (&"websocket".into(), &"/".into())
    );
    assert_eq!(item["rooms"], 3);
    assert_eq!(item["address"], "127.0.0.1");
    for time in ["connected_at", "expires_at"] {
        let text = item[time].as_str().unwrap();
        assert!(text.starts_with("20") && text.ends_with('Z'), "{text}");
    }

    let percent = "auth0%7C5f%2F%C3%A9%3A7";
    for (query, expected) in [
        ("?organization_id=o1".to_owned(), vec![&one, &two, &three]),
        ("?organization_id=o2".to_owned(), vec![&four]),
        ("?organization_id=o3".to_owned(), vec![]),
        ("?user_id=u1".to_owned(), vec![&one, &two, &four]),
        (format!("?user_id={percent}"), vec![&three]),
        (
            "?organization_id=o1&room=channel:7".to_owned(),
            vec![&one, &two],
        ),
        ("?organization_id=o1&room=channel:8".to_owned(), vec![&two]),
        (
            format!("?organization_id=o1&room=user:{percent}"),
            vec![&three],
        ),
        (
            "?transport=websocket".to_owned(),
            vec![&one, &two, &three, &four],
        ),
        ("?transport=polling".to_owned(), vec![]),
        (
            "?address=127.0.0.1&organization_id=o2".to_owned(),
            vec![&four],
        ),
        ("?address=10.0.0.1".to_owned(), vec![]),
    ] {
        let page = list(&app, &query).await;
        let found: BTreeSet<&str> = named(&page).into_iter().collect();
        let expected: BTreeSet<&str> = expected.into_iter().map(String::as_str).collect();
        assert_eq!(found, expected, "{query}");
    }
    for wrong in [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?organisation_id=o1",
        "?organization_id=o%201",
        "?room=channel:7",
        "?organization_id=o1&room=channel",
        "?organization_id=o1&room=planet:1",
        "?organization_id=o1&room=planet:*",
        "?organization_id=o1&organization_id=o2",
        "?transport=tcp",
        "?address=here",
        "?after=x",
        "?after=bnVsbA",
    ] {
        let answer = ask(&app, "GET", &format!("/api/connections{wrong}"), None).await;
        assert_problem(&answer, 400, "bad_request");
    }

    // Each of them once over pages, also when the last one of a page ends between two.
    let mut seen = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = list(&app, &query).await;
        let Some(id) = named(&page).first().copied() else {
            break;
        };
        seen.push(id.to_owned());
        if seen.len() == 2 {
            ask(&app, "DELETE", &format!("/api/connections/{id}"), None).await;
        }
        query = format!("?limit=1&after={}", page["after"].as_str().unwrap());
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 4, "{seen:?}");
    assert_eq!(seen.len(), 4);

    let details = ask(&app, "GET", &format!("/api/connections/{four}"), None)
        .await
        .json();
    assert_eq!(
        details["room_names"],
        json!(["org:o2", "user:u1", "channel:7"])
    );
}

#[tokio::test]
async fn rooms_are_counted_by_organisation() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let _clients = [
        Client::connect(app.public, &auth("u1", "o1", &["channel:7", "channel:8"])).await,
        Client::connect(app.public, &auth("u2", "o1", &["channel:7", "incident:*"])).await,
        Client::connect(app.public, &auth("u1", "o2", &["channel:7"])).await,
    ];
    let expected = [
        ("o1", "channel:7", 2),
        ("o1", "channel:8", 1),
        ("o1", "incident:*", 1),
        ("o1", "org:o1", 2),
        ("o1", "user:u1", 1),
        ("o1", "user:u2", 1),
        ("o2", "channel:7", 1),
        ("o2", "org:o2", 1),
        ("o2", "user:u1", 1),
    ];
    let expected: Vec<Value> = expected
        .iter()
        .map(|(organisation, room, members)| {
            json!({ "organization_id": organisation, "room": room, "members": members })
        })
        .collect();
    let page = ask(&app, "GET", "/api/rooms", None).await.json();
    assert_eq!(page, json!({ "rooms": expected }));
    let page = ask(&app, "GET", "/api/rooms?organization_id=o2", None)
        .await
        .json();
    assert_eq!(page, json!({ "rooms": expected[6..] }));
    let mut rooms = Vec::new();
    let mut after = String::new();
    loop {
        let page = ask(&app, "GET", &format!("/api/rooms?limit=2{after}"), None)
            .await
            .json();
        rooms.extend(page["rooms"].as_array().unwrap().clone());
        let Some(next) = page["after"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!(rooms, expected);
}

#[tokio::test]
async fn a_connection_is_closed_for_now_or_for_good() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut kicked = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let target = format!("/api/connections/{}", id_of(&kicked));
    assert_eq!(
        ask(&app, "DELETE", &target, None).await.json(),
        json!({ "disconnected": 1 })
    );
    kicked.read_to_end().await;
    assert_problem(&ask(&app, "DELETE", &target, None).await, 404, "not_found");
    assert_problem(&ask(&app, "GET", &target, None).await, 404, "not_found");

    let mut dismissed = Client::connect(app.public, &auth("u2", "o1", &[])).await;
    let target = format!("/api/connections/{}?reconnect=false", id_of(&dismissed));
    assert_eq!(ask(&app, "DELETE", &target, None).await.status, 200);
    assert_problem(&ask(&app, "DELETE", &target, None).await, 404, "not_found");
    loop {
        match dismissed.packet().await {
            Some(Packet::Disconnect) => break,
            Some(Packet::Event(_)) => {}
            other => panic!("no DISCONNECT: {other:?}"),
        }
    }
    assert!(
        dismissed.packet().await.is_none(),
        "then the transport is closed"
    );

    // The other namespace of the transport stays.
    let mut both = Client::connect(app.public, &auth("u3", "o1", &[])).await;
    let other = both.enter("/ws", &auth("u3", "o1", &[])).await;
    let id = other["connection_id"].as_str().unwrap();
    let target = format!("/api/connections/{id}?reconnect=false");
    assert_eq!(ask(&app, "DELETE", &target, None).await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    both.subscribe("channel:7").await;

    let polling = Polling::connect(app.public, &auth("u4", "o1", &[])).await;
    let page = list(&app, "?transport=polling").await;
    let target = format!("/api/connections/{}?reconnect=false", named(&page)[0]);
    assert_eq!(ask(&app, "DELETE", &target, None).await.status, 200);
    while !polling.get().await.body.ends_with("41") {}
    drop(polling);

    let metrics = app.metrics().await;
    for (reason, count) in [("kicked", 1), ("dismissed", 3)] {
        let series = format!("fleetcast_disconnects_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics.value(&series), count, "{reason}");
    }
    drop(both);
    app.empty().await;
}

#[tokio::test]
async fn all_connections_of_a_user_are_closed_by_any_name_that_issuers_make() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let target = "/api/users/auth0%7C5f%2F7c/disconnect";
    let claims = |organisation: &str| {
        let claims = json!({ "sub": "auth0|5f/7c", "org_id": organisation, "roles": ["viewer"] });
        json!({ "token": token(claims) })
    };
    let mut gone = Vec::new();
    for _ in 0..2 {
        gone.push(Client::connect(app.public, &claims("o1")).await);
    }
    let mut stays = Client::connect(app.public, &claims("o2")).await;
    let body = json!({ "organization_id": "o1" });
    let answer = ask(&app, "POST", target, Some(&body)).await;
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 2, "scope": "instance" })
    );
    for client in &mut gone {
        client.read_to_end().await;
    }
    eventually("nothing is left of it", async || {
        let answer = ask(&app, "POST", target, Some(&body)).await;
        (answer.json() == json!({ "disconnected": 0, "scope": "instance" })).then_some(())
    })
    .await;
    assert_eq!(stays.command("rooms", &json!({})).await["success"], true);
    let answer = ask(&app, "POST", target, Some(&json!({ "organization_id": 1 }))).await;
    assert_eq!(
        answer.json(),
        json!({ "disconnected": 0, "scope": "instance" }),
        "as \"1\""
    );
    for wrong in [
        json!({}),
        json!({ "organization_id": "o 1" }),
        json!({ "organization_id": "o1", "reconect": false }),
        json!({ "organization_id": 1.0 }),
        json!({ "organization_id": null }),
    ] {
        let answer = ask(&app, "POST", target, Some(&wrong)).await;
        assert_problem(&answer, 400, "bad_request");
    }
    // It is a member of the body: in the query it would be ignored, and the clients would come back.
    let in_query = format!("{target}?reconnect=false");
    let answer = ask(
        &app,
        "POST",
        &in_query,
        Some(&json!({ "organization_id": "o2" })),
    )
    .await;
    assert_problem(&answer, 400, "bad_request");
    let answer = ask(&app, "POST", "/api/users/%00/disconnect", Some(&body)).await;
    assert_problem(&answer, 400, "bad_request");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = request(app.internal, "POST", target, &form, "organization_id=o2").await;
    assert_problem(&answer.unwrap(), 415, "media_type");
    assert_eq!(stays.command("rooms", &json!({})).await["success"], true);
}
