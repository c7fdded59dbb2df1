//! What tests are made of.

mod app;
mod cgroup;
mod cluster;
mod haproxy;
mod http;
mod kafka;
mod packet;
mod polling;
mod proxy;
mod record;
mod redis;
mod socket;
mod token;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) use self::redis::Redis;
pub(crate) use app::TestApp;
pub(crate) use cgroup::Cgroup;
pub(crate) use cluster::Cluster;
pub(crate) use haproxy::Haproxy;
pub(crate) use http::{Answer, connect_from, request, request_over, request_with_late_body};
pub(crate) use kafka::Kafka;
pub(crate) use packet::{Event, Packet};
pub(crate) use polling::Polling;
pub(crate) use proxy::Proxy;
pub(crate) use record::{Stream, Tally, record, transmission};
pub(crate) use socket::{Client, Way, handshake, open_websocket, vanish};
pub(crate) use token::{SECRET, auth, dispatcher, raw_token, token};

/// Long for everything that should come at once: two busy cores and a debug build.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks until there is an answer, for at most [`SOON`].
pub(crate) async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(SOON, what, probe).await
}

/// Asks until there is an answer, and fails after `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A task that ends with the test.
pub(crate) struct Background(tokio::task::JoinHandle<()>);

impl Background {
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a test's own task, ended with the test"
        )]
        Self(tokio::spawn(work))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
