//! Tokens that expire, and tokens that take the place of others.

use super::*;
use crate::session::Reply;

/// A token of user `u1` of `o1` that lasts so many seconds, as text.
fn lasting(seconds: u64, grant: Grant) -> String {
    let grant = Grant {
        user: if grant.user.is_empty() {
            "u1".to_owned()
        } else {
            grant.user
        },
        organisation: if grant.organisation.is_empty() {
            "o1".to_owned()
        } else {
            grant.organisation
        },
        ..grant
    };
    mint(&auth(), &grant, clock::wall_ms() / 1000, seconds).expect("a good grant")
}

fn dispatcher() -> Grant {
    Grant {
        roles: vec!["dispatcher".to_owned()],
        ..Grant::default()
    }
}

fn request(token: String) -> ConnectRequest {
    ConnectRequest {
        token: Some(SecretString::from(token)),
        cursor: None,
        rooms: None,
        slot: None,
    }
}

/// The answer as the client reads it, and why the connection is closed behind it.
fn execute(client: &SessionClient, event: &str, payload: &Value) -> (Value, Option<CloseReason>) {
    let payload = to_raw_value(payload).expect("JSON");
    let Reply::Now(answer) = client.session.execute(event, Some(&payload)) else {
        panic!("the key is known, so it is answered at once");
    };
    let closes = answer.closes();
    (serde_json::to_value(answer).expect("JSON"), closes)
}

fn refresh(client: &SessionClient, token: &str) -> (Value, Option<CloseReason>) {
    execute(client, "auth:refresh", &json!({ "token": token }))
}

fn now() -> u64 {
    clock::wall_ms() / 1000
}

#[tokio::test]
async fn a52_a_token_that_expires_is_announced_and_another_one_prolongs_the_connection() {
    let server = TestServer::start(10).await;
    let (client, _) = server
        .connect(request(lasting(600, Grant::default())))
        .await;
    let expires = client.session.claims().expires;
    server.sessions.notify_expiring(expires - 61).await;
    assert_eq!(client.receive(1).await.len(), 1, "the welcome alone");
    server.sessions.notify_expiring(expires - 60).await;
    server.sessions.notify_expiring(expires - 59).await;
    let notice = client.receive(2).await[1].clone();
    assert_eq!(
        (notice.event.as_str(), &notice.cursor),
        ("auth_expiring", &None)
    );
    let expected = json!({ "expires_at": clock::rfc3339(expires * 1000) });
    assert_eq!(notice.body["data"], expected);
    assert!(notice.body["timestamp"].is_string());

    let (answer, closes) = refresh(&client, &lasting(1200, Grant::default()));
    let renewed = client.session.claims().expires;
    assert_eq!((answer["success"].clone(), closes), (json!(true), None));
    let expected = json!({
        "expires_at": clock::rfc3339(renewed * 1000),
        "rooms": ["org:o1", "user:u1:org:o1"],
    });
    assert_eq!(answer["data"], expected);
    assert!(renewed >= expires + 599);
    // The end of the first token closes nothing, and that of the second one does.
    server.sessions.close_expired(expires + 100).await;
    assert_eq!(client.close_reason(), None);
    server.sessions.notify_expiring(renewed - 60).await;
    assert_eq!(client.receive(3).await.len(), 3, "once for each token");
    server.sessions.close_expired(renewed).await;
    assert_eq!(client.close_reason(), Some(CloseReason::TokenExpired));
}

#[tokio::test]
async fn a52_a_token_of_less_than_a_minute_is_announced_behind_the_welcome() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(request(lasting(30, Grant::default()))).await;
    let received = client.receive(2).await;
    let events: Vec<_> = received.iter().map(|it| it.event.as_str()).collect();
    assert_eq!(events, ["connection_established", "auth_expiring"]);
    // A client that answers every notice with a token of short life does not get the next one at once.
    refresh(&client, &lasting(31, Grant::default()));
    server.sessions.notify_expiring(now() + 2).await;
    assert_eq!(client.receive(2).await.len(), 2);
    server.sessions.notify_expiring(now() + 16).await;
    assert_eq!(client.receive(3).await[2].event, "auth_expiring");
}

#[tokio::test]
async fn a52_a_token_of_another_user_or_organisation_closes_the_connection() {
    let server = TestServer::start(10).await;
    for (user, organisation) in [("u2", "o1"), ("u1", "o2"), ("U1", "o1")] {
        let (client, _) = server
            .connect(request(lasting(600, Grant::default())))
            .await;
        let before = client.session.claims();
        let other = Grant {
            user: user.to_owned(),
            organisation: organisation.to_owned(),
            ..dispatcher()
        };
        let (answer, closes) = refresh(&client, &lasting(1200, other));
        assert_eq!(
            answer["error"]["reason"], "forbidden",
            "{user} of {organisation}"
        );
        assert_eq!(closes, Some(CloseReason::IdentityChanged));
        assert_eq!(client.session.claims(), before, "and nothing is changed");
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_by_its_name_and_changes_nothing() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(request(lasting(600, dispatcher()))).await;
    let before = client.session.claims();
    let good = lasting(1200, Grant::default());
    let expired = mint(
        &auth(),
        &Grant {
            user: "u1".to_owned(),
            organisation: "o1".to_owned(),
            ..Grant::default()
        },
        now() - 100,
        60,
    )
    .expect("a good grant");
    let forged = format!("{}x", &good[..good.len() - 1]);
    for (payload, reason, code) in [
        (json!({ "token": expired }), "token_expired", 103),
        (json!({ "token": forged }), "token_invalid", 102),
        (json!({ "token": "nonsense" }), "token_invalid", 102),
        (json!({ "token": "" }), "token_missing", 101),
        (json!({ "token": 7 }), "bad_request", 201),
        (json!({}), "bad_request", 201),
        (json!(good), "bad_request", 201),
    ] {
        let (answer, closes) = execute(&client, "auth:refresh", &payload);
        let expected = json!({"code": code, "reason": reason, "retryable": false});
        assert_eq!((answer["error"].clone(), closes), (expected, None));
    }
    assert_eq!(client.session.claims(), before);
    let text = server.sessions.metrics().render();
    let line = r#"fleetcast_commands_total{command="auth:refresh",outcome="token_invalid"} 2"#;
    assert!(text.contains(line), "{line} is missing in:\n{text}");
    server.sessions.close_expired(before.expires).await;
    assert_eq!(client.close_reason(), Some(CloseReason::TokenExpired));
}

#[tokio::test]
async fn rooms_are_judged_by_the_new_token() {
    let server = TestServer::start(10).await;
    let unit = |channels: &[&str]| Grant {
        roles: vec!["field_unit".to_owned()],
        ids: [(
            "channels".to_owned(),
            channels.iter().map(|&id| id.to_owned()).collect(),
        )]
        .into(),
        ..Grant::default()
    };
    let wanted = ConnectRequest {
        rooms: Some(json!(["channel:7", "channel:8"])),
        ..request(lasting(600, unit(&["7", "8"])))
    };
    let (client, _) = server.connect(wanted).await;
    let join = |id: &str| {
        execute(
            &client,
            "subscribe",
            &json!({"room": format!("channel:{id}")}),
        )
        .0
    };
    assert_eq!(join("9")["error"]["reason"], "forbidden");
    let (answer, _) = refresh(&client, &lasting(1200, unit(&["8", "9"])));
    let rooms = json!(["org:o1", "user:u1:org:o1", "channel:8:org:o1"]);
    assert_eq!(answer["data"]["rooms"], rooms);
    let told = client.receive(2).await[1].clone();
    let expected = json!({"rooms": ["channel:7:org:o1"], "reason": "token_changed", "code": 703});
    assert_eq!(
        (told.event.as_str(), &told.body["data"]),
        ("room_revoked", &expected)
    );
    assert_eq!(join("7")["error"]["reason"], "forbidden");
    assert_eq!(join("9")["success"], true);
}

#[tokio::test]
async fn a_policy_that_comes_first_holds_for_a_new_token_and_one_that_comes_second_too() {
    let server = TestServer::start(10).await;
    let rules = |kinds: &[&str]| SessionRules {
        publish: Arc::default(),
        policy: policy(kinds),
        envelope: EventEnvelope::default(),
    };
    let (client, _) = server
        .connect(request(lasting(600, Grant::default())))
        .await;
    let join = |room: &str| execute(&client, "subscribe", &json!({"room": room})).0;
    server.sessions.set_rules(rules(&["asset"])).await;
    refresh(&client, &lasting(1200, dispatcher()));
    assert_eq!(join("channel:7")["error"]["reason"], "forbidden");
    assert_eq!(join("asset:7")["success"], true);
    let revoked = server.sessions.set_rules(rules(&["channel"])).await;
    assert_eq!(revoked.rooms, 1, "judged by the claims of the new token");
    assert_eq!(join("channel:7")["success"], true);
}

#[tokio::test]
async fn a_token_that_comes_after_the_end_of_the_one_before_is_too_late() {
    let server = TestServer::start(10).await;
    let (client, _) = server
        .connect(request(lasting(600, Grant::default())))
        .await;
    let before = client.session.claims();
    server.sessions.close_expired(before.expires).await;
    let (answer, _) = refresh(&client, &lasting(1200, Grant::default()));
    assert_eq!(answer["error"]["reason"], "token_expired");
    assert_eq!(client.session.claims(), before);
    let session = client.session.clone();
    client.end();
    let payload = to_raw_value(&json!({"token": lasting(1200, Grant::default())})).expect("JSON");
    let Reply::Now(answer) = session.execute("auth:refresh", Some(&payload)) else {
        panic!("it is answered at once");
    };
    assert!(answer.failure().is_some(), "it has ended");
}

/// What a client has lost is kept until it is notified. One that does not read may lose no more than its share.
#[tokio::test]
async fn a52_a_client_that_does_not_read_cannot_have_lost_rooms_pile_up() {
    const MAX_ROOMS: usize = 200;
    let server = TestServer::start(10).await;
    let wide = lasting(600, dispatcher());
    let narrow = lasting(600, Grant::default());
    let memory = MemoryTransport::connect(&server.sessions, request(wide.clone()), 1);
    let (client, _) = memory.await.expect("accepted");
    client.receive(1).await;
    let mut refused = false;
    for round in 0..20 {
        refresh(&client, &wide);
        let rooms: Vec<String> = (0..MAX_ROOMS)
            .map(|nth| format!("channel:{round}-{nth}"))
            .collect();
        let (answer, _) = execute(&client, "subscribe", &json!({ "rooms": rooms }));
        refused |= answer["error"]["reason"] == json!("too_many_rooms");
        refresh(&client, &narrow);
    }
    assert!(refused);
    let key = client.session.key().expect("it is connected");
    let pending = (server.sessions.hub()).with(|hub, _| hub.revoked_rooms(key));
    assert!(pending <= 3 * MAX_ROOMS, "{pending}");
}
