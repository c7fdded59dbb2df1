//! H5: what a token may publish on the public listener.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::publish::{accepted, kafka, start, until_marker};
use super::{ask, assert_problem};
use crate::harness::{
    Answer, Client, Kafka, TestApp, auth, eventually, request, request_with_late_body, token,
};

async fn publish_as(app: &TestApp, token: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let own = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let headers = [&own, headers].concat();
    request(
        app.public,
        "POST",
        "/api/publish",
        &headers,
        &body.to_string(),
    )
    .await
    .unwrap()
}

fn unit(scope: &str) -> String {
    let claims = json!({
        "sub": "phone", "org_id": "o1", "roles": ["field_unit"], "channels": [7], "scope": scope,
    });
    token(claims)
}

/// The dispatch profile with this section.
fn profile(publish: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("profile.toml");
    let text = std::fs::read_to_string("profiles/dispatch.toml").unwrap();
    std::fs::write(&path, format!("{text}\n{publish}")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[tokio::test]
async fn h5_a_token_publishes_what_the_profile_allows_where_it_may_join() {
    const INTERNAL: &str = "kq3vN8xW0pZr5tYb-of-tests";
    let kafka = kafka().await;
    let (_directory, profile) = profile("[publish]\nfield_unit = [\"note\"]\n");
    let app = start(
        &kafka,
        &[
            ("PUBLIC_API", "true"),
            ("FLEETCAST_PROFILE", &profile),
            ("CORS_ORIGINS", "https://app.example.com"),
        ],
    )
    .await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:*"])).await;
    let mut foreign = Client::connect(app.public, &auth("u1", "o2", &["channel:*"])).await;
    let phone = unit("publish");
    let note = |n: i32| json!({ "event": "note", "rooms": ["channel:7"], "data": { "n": n } });
    let with = |name: &str, value: Value| {
        let mut body = note(0);
        body[name] = value;
        body
    };

    let answer = publish_as(&app, &phone, &[], &note(1)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(client.expect("note").await.args[0]["n"], 1);
    let page = [("Origin", "https://app.example.com")];
    let answer = publish_as(&app, &phone, &page, &with("organization_id", "o1".into())).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert!(answer.header("access-control-allow-origin").is_some());
    client.expect("note").await;

    // A task that names its sender, a vehicle's position, rooms that are not its own.
    for body in [
        json!({ "event": "task_assigned", "user_id": "phone", "data": { "task_id": 1, "assigned_to": "phone" } }),
        with("event", "asset_position_updated".into()),
        with("rooms", json!(["channel:8"])),
        with("rooms", json!(["channel:7", "channel:8"])),
        with("rooms", json!(["asset:5"])),
        with("rooms", json!(["user:u1"])),
        with("organization_id", "o2".into()),
        json!({ "messages": [note(2), with("rooms", json!(["channel:8"]))] }),
    ] {
        let answer = publish_as(&app, &phone, &[], &body).await;
        assert_problem(&answer, 403, "forbidden");
    }
    let answer = publish_as(&app, &phone, &[], &with("rooms", json!(["org:o2"]))).await;
    assert_problem(&answer, 400, "bad_request");
    for scope in ["", "openid", "publisher"] {
        let answer = publish_as(&app, &unit(scope), &[], &note(2)).await;
        assert_problem(&answer, 403, "forbidden");
    }
    let evil = [("Origin", "https://evil.example")];
    assert_problem(
        &publish_as(&app, &phone, &evil, &note(2)).await,
        403,
        "origin",
    );
    assert_problem(
        &publish_as(&app, INTERNAL, &[], &note(2)).await,
        401,
        "token_invalid",
    );
    let json_type = [("Content-Type", "application/json")];
    let text = note(2).to_string();
    let answer = request(app.public, "POST", "/api/publish", &json_type, &text).await;
    assert_problem(&answer.unwrap(), 401, "token_missing");
    let bearer = format!("Bearer {phone}");
    let form = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "text/plain"),
    ];
    let answer = request(app.public, "POST", "/api/publish", &form, &text).await;
    assert_problem(&answer.unwrap(), 415, "media_type");
    for (method, target) in [
        ("GET", "/api/connections"),
        ("POST", "/ws/broadcast?event_type=a"),
    ] {
        let answer = request(app.public, method, target, &json_type, "{}")
            .await
            .unwrap();
        assert_eq!(answer.status, 404, "{target}");
    }
    assert_eq!(until_marker(&app, &mut client, "o1").await, [0_i64; 0]);
    assert_eq!(until_marker(&app, &mut foreign, "o2").await, [0_i64; 0]);

    // The same key of another publisher is another message.
    let body = with("idempotency_key", "k".into());
    for _ in 0..2 {
        assert_eq!(publish_as(&app, &phone, &[], &body).await.status, 202);
    }
    let mut same = body.clone();
    same["organization_id"] = "o1".into();
    accepted(&app, &same).await;
    assert_eq!(until_marker(&app, &mut client, "o1").await, [0, 0]);
    assert!(!app.log().iter().any(|line| line.contains(&phone)));
}

#[tokio::test]
async fn h5_without_a_section_no_token_publishes_and_without_public_api_nothing_is_there() {
    let kafka = kafka().await;
    let app = start(&kafka, &[("PUBLIC_API", "true")]).await;
    let body = json!({ "event": "note", "rooms": ["channel:7"], "data": {} });
    let answer = publish_as(&app, &unit("publish"), &[], &body).await;
    assert_problem(&answer, 403, "forbidden");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("section publish"), "{detail}");
    drop(app);
    let app = start(&kafka, &[]).await;
    let answer = publish_as(&app, &unit("publish"), &[], &body).await;
    assert_problem(&answer, 404, "not_found");
    assert_eq!(
        ask(&app, "GET", "/api/openapi.json", None).await.status,
        200
    );
}

#[tokio::test]
async fn a49_rejected_tokens_of_publishers_count_against_their_address() {
    let kafka = kafka().await;
    let more = [("PUBLIC_API", "true"), ("LIMIT_LOOPBACK", "true")];
    let app = start(&kafka, &more).await;
    let body = json!({ "event": "note", "rooms": ["channel:7"], "data": {} });
    let good = unit("publish");
    let (head, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.c2lnbmF0dXJl");
    assert_problem(
        &publish_as(&app, &forged, &[], &body).await,
        401,
        "token_invalid",
    );
    // Not even a good one is looked at, until a part of the limit is free again: that takes milliseconds, so it is sent together with
    // others.
    let answer = eventually("the limit is reached", async || {
        let attempts = (0..20).map(|_| publish_as(&app, &forged, &[], &body));
        let good = publish_as(&app, &good, &[], &body);
        let (_, answer) = tokio::join!(join_all(attempts), good);
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_problem(&answer, 429, "auth_rate");
    assert!(answer.header("retry-after").is_some());
    eventually("the limit is free again", async || {
        let answer = publish_as(&app, &good, &[], &body).await;
        (answer.status == 403).then_some(())
    })
    .await;
}

/// Where a token may join by a grant alone it may publish as well, until the grant is withdrawn.
#[tokio::test]
async fn h5_a_token_publishes_to_a_room_that_is_granted() {
    let kafka = Kafka::mock(&[("transmission", 1), ("publish", 3), ("granted", 1)]).await;
    let (_directory, profile) = profile("[publish]\nfield_unit = [\"note\"]\n");
    let granted = kafka.topic("granted");
    let more = [
        ("PUBLIC_API", "true"),
        ("FLEETCAST_PROFILE", profile.as_str()),
        ("GRANTS_TOPIC", granted.as_str()),
    ];
    let app = start(&kafka, &more).await;
    let phone = unit("publish");
    let note = json!({ "event": "note", "rooms": ["channel:8"], "data": {} });
    let change = async |member: &str| {
        let body = json!({ "organization_id": "o1", member: ["channel:8"] });
        let answer = ask(&app, "POST", "/api/users/phone/grants", Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let publish = async || publish_as(&app, &phone, &[], &note).await;
    assert_problem(&publish().await, 403, "forbidden");
    change("grant").await;
    let answer = publish().await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    change("withdraw").await;
    assert_problem(&publish().await, 403, "forbidden");
}

/// A body may take half a minute to come.
#[tokio::test]
async fn h6_a_token_that_is_revoked_before_its_body_has_come_publishes_nothing() {
    let kafka = kafka().await;
    let (_directory, profile) = profile("[publish]\nfield_unit = [\"note\"]\n");
    let more = [
        ("PUBLIC_API", "true"),
        ("FLEETCAST_PROFILE", profile.as_str()),
    ];
    let app = start(&kafka, &more).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:*"])).await;
    let bearer = format!("Bearer {}", unit("publish"));
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let publish = async |n: i32, revoked: Option<&Value>| {
        let body = json!({ "event": "note", "rooms": ["channel:7"], "data": { "n": n } });
        let between = async {
            if let Some(revoked) = revoked {
                let answer = ask(&app, "POST", "/api/revocations", Some(revoked)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        };
        let target = ("POST", "/api/publish");
        request_with_late_body(app.public, target, &headers, &body.to_string(), between)
            .await
            .unwrap()
    };
    let other = json!({ "organization_id": "o1", "user_id": "another" });
    assert_eq!(publish(1, None).await.status, 202);
    assert_eq!(publish(2, Some(&other)).await.status, 202);
    let own = json!({ "organization_id": "o1", "user_id": "phone" });
    assert_problem(&publish(3, Some(&own)).await, 401, "token_revoked");
    assert_eq!(until_marker(&app, &mut client, "o1").await, [1, 2]);
}
