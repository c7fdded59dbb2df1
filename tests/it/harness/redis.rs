//! A Redis of the test.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use redis::aio::{MultiplexedConnection, PubSub};
use tempfile::TempDir;

use super::eventually;

/// Stopped at drop. It keeps nothing on disk.
pub(crate) struct Redis {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments of `redis-server`.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::absent(arguments);
        redis.restart().await;
        redis
    }

    /// Reached by TLS alone, with `redis.pem` and `redis.key` of this folder.
    pub(crate) async fn start_with_tls(folder: &Path) -> Self {
        let mut redis = Self::absent(&["--port", "0", "--tls-auth-clients", "no"]);
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        for (name, value) in [
            ("--tls-port", redis.port.to_string()),
            ("--tls-cert-file", file("redis.pem")),
            ("--tls-key-file", file("redis.key")),
            ("--tls-ca-cert-file", file("ca.pem")),
        ] {
            redis.arguments.extend([name.to_owned(), value]);
        }
        redis.restart().await;
        redis
    }

    /// Its port is known, and nothing listens there before [`restart`](Self::restart).
    pub(crate) fn absent(arguments: &[&str]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: free.local_addr().unwrap().port(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            child: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("")
    }

    /// With `user:password@`.
    pub(crate) fn url_of(&self, credentials: &str) -> String {
        format!("redis://{credentials}127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// On the same port, with nothing in it.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let log = File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        eventually("Redis listens", async || {
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .await
                .ok()
        })
        .await;
    }

    /// Of its default user.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        eventually("Redis answers", async || {
            client.get_multiplexed_async_connection().await.ok()
        })
        .await
    }

    /// How many have received it.
    pub(crate) async fn publish(&self, channel: &str, message: &[u8]) -> u64 {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(message);
        let mut connection = self.connection().await;
        publish.query_async(&mut connection).await.unwrap()
    }

    /// Everything that is published from now on.
    pub(crate) async fn listen(&self) -> PubSub {
        let client = redis::Client::open(self.url()).unwrap();
        let mut messages = client.get_async_pubsub().await.unwrap();
        messages.psubscribe("*").await.unwrap();
        messages
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
