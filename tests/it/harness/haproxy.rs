//! The real haproxy as a process of the test.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::net::{TcpListener, TcpStream};

use super::eventually;

pub(crate) struct Haproxy {
    child: Child,
    pub(crate) address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Haproxy {
    /// In front of `server`, with `option` among its defaults and `to_server` on the line of the server.
    pub(crate) async fn start(server: SocketAddr, option: &str, to_server: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n    nbthread 1\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    \
             {option}\nfrontend clients\n    bind {address}\n    default_backend fleet\nbackend fleet\n    server s1 {server} {to_server}\n"
        );
        std::fs::write(&path, text).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("make setup installs haproxy");
        eventually("haproxy listens", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        Self {
            child,
            address,
            directory,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        assert!(self.directory.path().exists());
    }
}
