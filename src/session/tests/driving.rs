//! How the driver shares the thread.

use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;

/// Keeps the feed full until it is dropped: there is always something to apply.
struct Flood {
    _stop: DropGuard,
}

impl Flood {
    fn start(server: &TestServer) -> Self {
        let (feed, stop) = (server.feed.clone(), CancellationToken::new());
        let stopped = stop.clone();
        server.lifecycle.spawn("flood", async move {
            // Of another partition, which is not read: nothing is delivered of it.
            let passed = || Feed::Passed {
                partition: 1,
                offset: 0,
            };
            while !stopped.is_cancelled() {
                let batch = (0..64).map(|_| passed()).collect();
                if feed.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Self {
            _stop: stop.drop_guard(),
        }
    }
}

#[tokio::test]
async fn a_feed_that_never_ends_leaves_turns_and_the_stop_their_share() {
    let server = TestServer::start(10).await;
    let flood = Flood::start(&server);
    while server.feed.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    let (client, _) = server.connect(anybody()).await;
    // A welcome is a turn.
    let received = client.receive(1).await;
    assert_eq!(received[0].event, "connection_established");
    drop(flood);
}
