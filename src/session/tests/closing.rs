//! How sessions are found, changed and closed, whatever their transport.

use super::*;
use crate::session::{Reply, SessionPosition, SessionRange};

#[tokio::test]
async fn a_session_is_closed_by_reason_and_by_expiry() {
    let server = TestServer::start(10).await;
    let (kicked, _) = server.connect(anybody()).await;
    let (expiring, _) = server.connect(anybody()).await;
    kicked.session.close(CloseReason::Kicked);
    assert_eq!(kicked.close_reason(), Some(CloseReason::Kicked));
    let now = clock::wall_ms() / 1000;
    server.sessions.close_expired(now + 598).await;
    assert_eq!(expiring.close_reason(), None);
    server.sessions.close_expired(now + 601).await;
    assert_eq!(expiring.close_reason(), Some(CloseReason::TokenExpired));
    assert_eq!(
        kicked.close_reason(),
        Some(CloseReason::Kicked),
        "the first reason stays"
    );
    kicked.end();
    expiring.end();
    let text = server.sessions.metrics().render();
    for reason in ["kicked", "token_expired"] {
        let line = format!("fleetcast_disconnects_total{{reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{line} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn sessions_are_found_by_connection_user_and_organisation_until_they_end() {
    let server = TestServer::start(10).await;
    let id = |text: &str| Id::parse(text).expect("an id");
    let of = |user: &str, organisation: &str| {
        let grant = Grant {
            user: user.to_owned(),
            organisation: organisation.to_owned(),
            ..Grant::default()
        };
        let token = mint(&auth(), &grant, clock::wall_ms() / 1000, 60).expect("a good grant");
        ConnectRequest {
            token: Some(SecretString::from(token)),
            cursor: None,
            rooms: None,
            slot: None,
        }
    };
    let mut clients = Vec::new();
    for (user, organisation) in [("u1", "o1"), ("u1", "o1"), ("u2", "o1"), ("u1", "o2")] {
        clients.push(server.connect(of(user, organisation)).await.0);
    }
    let open = server.sessions.open();
    let counts = || {
        let users = [("o1", "u1"), ("o1", "u2"), ("o2", "u1"), ("o2", "u2")];
        users.map(|(org, user)| open.of_user(&id(org), &UserId::from(&id(user))).len())
    };
    assert_eq!(counts(), [2, 1, 1, 0]);
    let found = |organisation: Option<&str>, user: Option<&str>, after| {
        let (organisation, user) = (
            organisation.map(id),
            user.map(|user| UserId::from(&id(user))),
        );
        let range = SessionRange {
            organisation: organisation.as_ref(),
            user: user.as_ref(),
        };
        open.following(range, after, 2)
    };
    let named = |found: &[(SessionPosition, _)]| -> Vec<String> {
        let named = found.iter();
        named
            .map(|(at, _)| format!("{}/{}", at.organisation, at.user))
            .collect()
    };
    let first = found(None, None, None);
    assert_eq!(named(&first), ["o1/u1", "o1/u1"]);
    let last = &first[1].0;
    for (organisation, user, expected) in [
        (None, None, &["o1/u2", "o2/u1"][..]),
        (Some("o1"), None, &["o1/u2"]),
        (Some("o1"), Some("u1"), &[]),
        (Some("o1"), Some("u2"), &["o1/u2"]),
        (Some("o2"), Some("u1"), &["o2/u1"]),
        (Some("o2"), Some("u2"), &[]),
    ] {
        let after = found(organisation, user, Some(last));
        assert_eq!(named(&after), expected, "{organisation:?} {user:?}");
    }
    assert_eq!(named(&found(Some("o1"), Some("u2"), None)), ["o1/u2"]);
    let connection_id = clients[3].session.connection_id().to_owned();
    let found = open.by_connection_id(&connection_id).expect("it is open");
    found.close(CloseReason::Kicked);
    assert_eq!(clients[3].close_reason(), Some(CloseReason::Kicked));
    for session in open.of_user(&id("o1"), &UserId::from(&id("u1"))) {
        session.close(CloseReason::Dismissed);
    }
    let reasons: Vec<_> = clients.iter().map(SessionClient::close_reason).collect();
    let dismissed = Some(CloseReason::Dismissed);
    assert_eq!(
        reasons,
        [dismissed, dismissed, None, Some(CloseReason::Kicked)]
    );
    for (client, left) in clients.into_iter().zip([3, 2, 1, 0]) {
        client.end();
        assert_eq!(open.len(), left);
    }
    assert_eq!(counts(), [0; 4]);
    assert!(open.by_connection_id(&connection_id).is_none());
}

#[tokio::test]
async fn a_new_policy_revokes_rooms_in_the_connections_own_feed() {
    let server = TestServer::start(10).await;
    let dispatcher = Grant {
        roles: vec!["dispatcher".to_owned()],
        ..Grant::default()
    };
    let request = ConnectRequest {
        rooms: Some(json!(["channel:7"])),
        ..token(dispatcher)
    };
    let (client, _) = server.connect(request).await;
    client.receive(1).await;
    let rules = SessionRules {
        publish: Arc::default(),
        policy: policy(&["asset"]),
        envelope: EventEnvelope::Plain,
    };
    let revoked = server.sessions.set_rules(rules).await;
    assert_eq!((revoked.connections, revoked.rooms), (1, 1));
    let told = &client.receive(2).await[1];
    assert_eq!(told.event, "room_revoked");
    // The envelope changes together with the policy.
    assert_eq!(told.body["rooms"], json!(["channel:7:org:o1"]));
    assert!(told.body["timestamp"].is_string());
}

#[tokio::test]
async fn draining_closes_every_session() {
    let server = TestServer::start(10).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(server.connect(anybody()).await.0);
    }
    let hurry = server.lifecycle.killed();
    server
        .sessions
        .drain(Duration::from_millis(20), &hurry)
        .await;
    for client in &clients {
        assert_eq!(client.close_reason(), Some(CloseReason::Draining));
    }
}

#[tokio::test]
async fn a_command_is_carried_out_and_its_error_has_the_envelope_of_the_profile() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let room = RawValue::from_string(r#"{"room": "channel:7"}"#.to_owned()).expect("JSON");
    let Reply::Now(answer) = client.session.execute("subscribe", Some(&room)) else {
        panic!("it is answered at once");
    };
    let failure = answer.failure().expect("forbidden");
    let event = client.session.error_event(failure, "subscribe");
    let body: Value = serde_json::from_str(event.body.expect("a body").get()).expect("JSON");
    assert_eq!(
        (event.name, &body["data"]["about"]),
        ("error", &json!("subscribe"))
    );
}
