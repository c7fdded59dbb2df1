//! The stream of a connection on which HTTP is over.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use tokio::sync::mpsc;

use super::super::GuardedStream;
use super::*;

/// Reads all that comes after the upgrade, and passes it on.
fn reader(read: &mpsc::Sender<Vec<u8>>) -> Router {
    let read = read.clone();
    Router::new().fallback(async move |mut request: Request| {
        let (guard, read) = (guard_of(&request), read.clone());
        let upgrade = hyper::upgrade::on(&mut request);
        TaskTracker::new().spawn(async move {
            let mut stream = GuardedStream::upgraded(upgrade).await.unwrap();
            assert!(guard.reads_messages());
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            read.send(all).await.unwrap();
        });
        let upgrade = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "other")];
        (StatusCode::SWITCHING_PROTOCOLS, upgrade).into_response()
    })
}

#[tokio::test]
async fn bytes_that_came_with_the_request_are_read_first() {
    const REQUEST: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    // A masked text in two parts, and one that follows.
    let (early, late) = (b"\x81\x83\0\0\0\0on".as_slice(), b"e\x81\x83\0\0\0\0two");
    let (sender, mut read) = mpsc::channel(1);
    let net = TestNet::start(reader(&sender), settings());
    for cut in [0, 1, early.len()] {
        let mut peer = net.connect().await;
        let first = [REQUEST, &early[..cut]].concat();
        peer.write_all(&first).await.unwrap();
        let mut head = [0; 12];
        peer.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        peer.write_all(&early[cut..]).await.unwrap();
        peer.write_all(late).await.unwrap();
        peer.shutdown().await.unwrap();
        let all = timeout(LONG, read.recv()).await.unwrap().unwrap();
        assert_eq!(all, [early, late].concat(), "{cut}");
    }
    net.finish().await;
}
