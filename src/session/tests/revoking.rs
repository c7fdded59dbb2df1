//! Revoked tokens: at whatever moment it happens, no session of one receives an event afterwards.

use fleetcast_core::domain::revocation::{Revocation, RevocationTarget};

use super::*;

fn user(name: &str) -> RevocationTarget {
    let organisation = Id::parse("o1").expect("an id");
    RevocationTarget::User(organisation, UserId::parse(name).expect("a user"))
}

fn now() -> Revocation {
    Revocation::requested(clock::wall_ms(), None)
}

impl TestServer {
    fn revoke(&self, name: &str) {
        self.sessions.revoke(&user(name), now());
    }

    /// As the process runs it.
    fn watch_revocations(&self) {
        let watching = self.sessions.clone();
        let stop = self.lifecycle.stopping();
        let watching = watching.watch_revocations(stop);
        self.lifecycle.spawn("revocations", watching);
    }
}

#[tokio::test]
async fn h6_a_revoked_user_is_closed_and_refused_and_others_live() {
    let mut server = TestServer::start(10).await;
    server.watch_revocations();
    let (client, _) = server.connect(anybody()).await;
    let (second, _) = server.connect(anybody()).await;
    assert_eq!(server.sessions.end_revoked(&user("u1")).await, 0);
    server.revoke("u2");
    server.publish(1).await;
    assert_eq!(client.close_reason(), None);
    assert_eq!(numbers(&client.receive(2).await), [0]);
    server.revoke("u1");
    server.publish(0).await;
    for closed in [&client, &second] {
        assert_eq!(closed.close_reason(), Some(CloseReason::TokenRevoked));
    }
    let refused = server.try_connect(anybody()).await.map(drop);
    assert_eq!(refused, Err(RejectReason::TokenRevoked));
    assert!(server.sessions.restore(&user("u1")));
    assert!(server.try_connect(anybody()).await.is_ok());
}

#[tokio::test]
async fn h6_a_token_that_is_issued_after_the_revocation_is_accepted() {
    let server = TestServer::start(10).await;
    let before = Revocation::requested(clock::wall_ms() - 10_000, None);
    server.sessions.revoke(&user("u1"), before);
    assert!(server.try_connect(anybody()).await.is_ok());
}

/// The walk over the open sessions does not see one that is about to be bound.
#[tokio::test]
async fn h6_revoked_between_the_token_and_the_connection_it_receives_nothing() {
    let mut server = TestServer::start(10).await;
    let sessions = server.sessions.clone();
    let revoke = || {
        sessions.revoke(&user("u1"), now());
    };
    let connecting = MemoryTransport::connect_slowly(&sessions, anybody(), usize::MAX, revoke);
    let (client, resumption) = connecting.await.expect("it was accepted before");
    assert_eq!(resumption, None);
    assert_eq!(client.close_reason(), Some(CloseReason::TokenRevoked));
    assert_eq!(sessions.end_revoked(&user("u1")).await, 0, "never bound");
    server.publish(2).await;
    assert_eq!(client.received(), []);
    client.end();
    assert_eq!(server.open_connections(), "0");
}

/// The handshake waits for the brokers, and the token was good when it began.
#[tokio::test]
async fn h6_revoked_while_partitions_are_looked_up_it_is_refused() {
    let (cursor, empty, log) = cursor_and_empty_instance().await;
    let revoked = empty.clone();
    *log.meanwhile.lock().unwrap() = Some(Box::new(move || {
        revoked.revoke(&user("u1"), now());
    }));
    let request = with_cursor(cursor.as_ref());
    let connected = MemoryTransport::connect(&empty, request, usize::MAX).await;
    assert_eq!(connected.map(drop), Err(RejectReason::TokenRevoked));
    assert_eq!(log.asked.load(Ordering::Relaxed), 1);
}

/// More targets at once than are looked for one by one.
#[tokio::test]
async fn h6_of_many_revocations_at_once_none_is_missed() {
    let mut server = TestServer::start(10).await;
    server.watch_revocations();
    let (client, _) = server.connect(anybody()).await;
    for nth in 0..200 {
        server.revoke(&format!("stranger-{nth}"));
    }
    server.revoke("u1");
    server.publish(0).await;
    assert_eq!(client.close_reason(), Some(CloseReason::TokenRevoked));
    assert_eq!(server.sessions.revocations(), 201);
}

/// What `auth:refresh` does with a token that was revoked while it was under way, or before.
#[tokio::test]
async fn h6_a_revoked_token_does_not_take_the_place_of_a_good_one() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    server.revoke("u1");
    let token = anybody().token.expect("a token");
    let payload = json!({ "token": secrecy::ExposeSecret::expose_secret(&token) });
    let payload = to_raw_value(&payload).expect("JSON");
    let crate::session::Reply::Now(answer) = client.session.execute("auth:refresh", Some(&payload))
    else {
        panic!("the key is known, so it is answered at once");
    };
    let answer = serde_json::to_value(answer).expect("JSON");
    assert_eq!(answer["error"]["reason"], "token_revoked", "{answer}");
}
