//! A Redis of a test's own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::bus::intake::IntakeSettings;
use crate::bus::link::Link;
use crate::telemetry::Metrics;

pub(super) struct TestRedis {
    port: u16,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

impl TestRedis {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut redis = Self {
            port,
            child: None,
            folder: tempfile::tempdir().unwrap(),
        };
        redis.start_again();
        redis
    }

    /// Empty, at the same address.
    pub(super) fn start_again(&mut self) {
        self.stop();
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        server.args(["--port", &self.port.to_string()]);
        server.current_dir(self.folder.path());
        server.stdin(Stdio::null()).stdout(Stdio::null());
        let child = server.spawn().expect("redis-server is installed");
        self.child = Some(child);
        // So the first attempt of an instance finds it.
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "it listens");
            std::thread::yield_now();
        }
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn client(&self) -> ::redis::Client {
        ::redis::Client::open(self.url()).unwrap()
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kept until the guard is dropped.
    pub(super) fn link(&self, metrics: &Metrics) -> (Arc<Link>, DropGuard) {
        let (link, messages) = Link::new(&self.url(), IntakeSettings::default(), metrics).unwrap();
        drop(messages);
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(link.clone().keep(stop.clone()));
        (link, stop.drop_guard())
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What `look` gives, once it gives something: within 15 s.
pub(super) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(15), found).await;
    found.unwrap_or_else(|_| panic!("not in time: {what}"))
}
