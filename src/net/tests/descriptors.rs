//! No file descriptor left, in a process of its own: the limit would hit every other test.

use std::process::{Command, Stdio};

use axum::routing::get;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::*;

/// Set by the parent alone: without it (`cargo test -- --ignored`) the child must not touch the limit.
const STARTED: &str = "FLEETCAST_TEST_DESCRIPTORS";

#[test]
fn without_descriptors_the_loop_waits_and_recovers() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["net::tests::descriptors::child", "--exact", "--ignored"])
        .env(STARTED, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a word between two processes of a test, no setting"
)]
fn started() -> bool {
    std::env::var_os(STARTED).is_some()
}

#[tokio::test]
#[ignore = "started by without_descriptors_the_loop_waits_and_recovers"]
async fn child() {
    if !started() {
        return;
    }
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let mut peers = Vec::new();
    for _ in 0..40 {
        peers.push(TcpStream::connect(address).await.unwrap());
    }
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(open + 10);
    setrlimit(Resource::Nofile, limit).unwrap();

    let patient = NetSettings {
        header_timeout: LONG,
        ..settings()
    };
    let router = Router::new().route("/", get(async || "root"));
    let net = TestNet::on(listener, router, patient);
    eventually("out of descriptors", || net.table.stats().accept_errors > 0).await;
    assert!((8..=12).contains(&net.table.len()), "{}", net.table.len());
    sleep(Duration::from_secs(1)).await;
    let errors = net.table.stats().accept_errors;
    assert!((2..20).contains(&errors), "no spin, no surrender: {errors}");

    let start = Instant::now();
    drop(peers);
    let answer = net
        .exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.ends_with("root"), "{answer}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    net.finish().await;
}
