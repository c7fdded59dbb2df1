//! A share of the connections is closed, so that other instances get them.

use fleetcast_core::domain::drain::DrainShare;

use super::*;
use crate::session::DrainRefusal;

const REBALANCED: Option<CloseReason> = Some(CloseReason::Rebalanced);

async fn clients(server: &TestServer, count: usize) -> Vec<SessionClient> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(server.connect(anybody()).await.0);
    }
    clients
}

fn closed(clients: &[SessionClient]) -> usize {
    let closed = clients.iter().map(SessionClient::close_reason);
    closed.filter(|reason| *reason == REBALANCED).count()
}

impl TestServer {
    /// The share that was being drained, once it is.
    async fn drained(&self) {
        let permit =
            tokio::time::timeout(Duration::from_secs(10), self.sessions.share_drain.acquire());
        drop(permit.await.expect("it ends"));
    }
}

#[tokio::test]
async fn s4_25_a_share_is_chosen_at_the_start_and_closed_by_itself() {
    let server = TestServer::start(100).await;
    let mut before = clients(&server, 20).await;
    let spread = Duration::from_millis(300);
    let chosen = server.sessions.drain_share(DrainShare::HALF, spread);
    assert_eq!(chosen, Ok(10));
    for _ in 0..3 {
        let second = server.sessions.drain_share(DrainShare::HALF, spread);
        assert_eq!(second, Err(DrainRefusal::Running));
    }
    assert!(closed(&before) < 10, "over the time");
    let after = clients(&server, 20).await;
    // Those that end by themselves are not made up for.
    let leaving = before.split_off(10);
    leaving.into_iter().for_each(SessionClient::end);
    server.drained().await;
    // That all of these ten were chosen is one draw of 184,756.
    assert!(closed(&before) < 10, "they are made up for");
    assert_eq!(closed(&after), 0, "not those that came later");

    before.into_iter().for_each(SessionClient::end);
    let all = DrainShare::parse("1").expect("a share");
    assert_eq!(server.sessions.drain_share(all, Duration::ZERO), Ok(20));
    server.drained().await;
    assert_eq!(closed(&after), 20);
}

#[tokio::test]
async fn s4_25_which_connections_are_drained_is_random() {
    let server = TestServer::start(1000).await;
    let clients = clients(&server, 40).await;
    assert_eq!(
        server
            .sessions
            .drain_share(DrainShare::HALF, Duration::ZERO),
        Ok(20)
    );
    server.drained().await;
    assert_eq!(closed(&clients), 20);
    // Of the older half: all, or none of them, is one draw of 137 billion.
    assert!((1..20).contains(&closed(&clients[..20])));
}

#[tokio::test]
async fn s4_25_a_stop_ends_the_drain_of_a_share_and_closes_all_that_is_left() {
    let server = TestServer::start(100).await;
    let clients = clients(&server, 10).await;
    let hour = Duration::from_hours(1);
    assert_eq!(server.sessions.drain_share(DrainShare::HALF, hour), Ok(5));
    let first = async {
        while closed(&clients) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let first = tokio::time::timeout(Duration::from_secs(10), first).await;
    assert!(first.is_ok(), "the first is closed at once");
    server.lifecycle.stop();
    server.drained().await;
    assert_eq!(closed(&clients), 1);
    assert_eq!(
        server.sessions.drain_share(DrainShare::HALF, hour),
        Err(DrainRefusal::Stopping)
    );
    let hurry = server.lifecycle.killed();
    server
        .sessions
        .drain(Duration::from_millis(20), &hurry)
        .await;
    let stopped = clients
        .iter()
        .filter(|client| client.close_reason() == Some(CloseReason::Draining));
    assert_eq!(stopped.count(), 9);
}
