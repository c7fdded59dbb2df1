//! A proxy resets a connection that it has no use for.

use std::sync::Weak;

use super::super::delivery::DeliveryWatch;
use super::super::memory::MemorySocket;
use super::library::over_memory;
use super::*;

#[derive(Default)]
struct Losses(Mutex<Vec<&'static str>>);

impl DeliveryWatch for Losses {
    fn lost(&self, why: &'static str) {
        self.0.lock().unwrap().push(why);
    }
}

/// haproxy acknowledges what it has read with the reset itself, where the kernel does not look. hyper takes a reset between two
/// requests for an end like any other and shuts the connection down. Nothing more will be acknowledged, so it is not waited for:
/// the next poll of that session is there within milliseconds.
#[tokio::test]
async fn reset_by_a_proxy_is_judged_at_once() {
    let socket = MemorySocket::new();
    let (mut stream, guard) = over_memory(&socket);
    guard.next_request(true);
    let losses = Arc::new(Losses::default());
    let watch: Weak<Losses> = Arc::downgrade(&losses);
    guard.watch_delivery(5, watch);
    socket.allow([usize::MAX]);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\n\r\nhello")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    socket.peer_resets(24);
    let error = stream.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let begin = Instant::now();
    stream.shutdown().await.unwrap();
    drop(stream);
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(guard.delivery_settled(Duration::ZERO).await);
    assert!(losses.0.lock().unwrap().is_empty());
}
