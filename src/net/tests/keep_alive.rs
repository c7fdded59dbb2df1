//! Connections that are kept between two requests: how long, what is announced, and what a trickle gets.

use axum::routing::get;

use super::*;

/// 1 s is announced, and a connection is kept for a second more.
const KEPT: Duration = Duration::from_secs(2);

fn router() -> Router {
    Router::new().route("/", get(async || "root")).route(
        "/slow",
        get(async || {
            sleep(KEPT + Duration::from_millis(500)).await;
            "slow"
        }),
    )
}

/// One answer, without what may come behind it.
async fn answer(peer: &mut TcpStream, body: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(body.as_bytes()) {
        let read = timeout(LONG, peer.read_buf(&mut all)).await.unwrap();
        assert!(
            read.unwrap() > 0,
            "closed: {}",
            String::from_utf8_lossy(&all)
        );
    }
    String::from_utf8(all).unwrap()
}

async fn ask(peer: &mut TcpStream, request: &str) {
    peer.write_all(request.as_bytes()).await.unwrap();
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_kept_connection_outlives_the_head_deadline_and_the_announced_time_only_just() {
    let net = TestNet::start(router(), settings());
    let mut peer = net.connect().await;
    for _ in 0..2 {
        ask(&mut peer, GET).await;
        let answer = answer(&mut peer, "root").await;
        assert!(answer.contains("keep-alive: timeout=1\r\n"), "{answer}");
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
        // The head deadline is 200 ms, and the client may use all that was announced.
        sleep(Duration::from_secs(1)).await;
    }
    let idle = Instant::now();
    assert_eq!(read_to_close(&mut peer).await, "");
    assert!(idle.elapsed() < KEPT, "{:?}", idle.elapsed());
    assert_eq!(net.closed("header_timeout"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a01_a_head_that_trickles_on_a_kept_connection_has_the_head_deadline_from_its_first_byte() {
    let net = TestNet::start(router(), settings());
    let mut peer = net.connect().await;
    ask(&mut peer, GET).await;
    answer(&mut peer, "root").await;
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    for byte in GET.bytes() {
        if peer.write_all(&[byte]).await.is_err() || net.closed("header_timeout") == 1 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(read_to_close(&mut peer).await, "");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(150) && took < KEPT / 2,
        "{took:?}"
    );
    assert_eq!(net.closed("header_timeout"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_request_that_is_answered_late_is_not_idle() {
    let net = TestNet::start(router(), settings());
    let mut peer = net.connect().await;
    ask(&mut peer, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    answer(&mut peer, "slow").await;
    ask(&mut peer, GET).await;
    answer(&mut peer, "root").await;
    net.finish().await;
}

#[tokio::test]
async fn only_connections_that_are_kept_are_announced_as_kept() {
    let net = TestNet::start(router(), settings());
    for (request, kept) in [
        (GET, true),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: Keep-Alive\r\n\r\n",
            true,
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: te, Close\r\n\r\n",
            false,
        ),
        ("GET / HTTP/1.0\r\nhost: x\r\n\r\n", false),
        (
            "GET / HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n",
            true,
        ),
    ] {
        let mut peer = net.connect().await;
        ask(&mut peer, request).await;
        let first = answer(&mut peer, "root").await;
        assert_eq!(
            first.contains("keep-alive: timeout=1"),
            kept,
            "{request:?}: {first}"
        );
        if kept {
            ask(&mut peer, request).await;
            answer(&mut peer, "root").await;
        } else {
            assert_eq!(read_to_close(&mut peer).await, "", "{request:?}");
        }
    }
    net.finish().await;
}

#[tokio::test]
async fn nothing_is_kept_behind_refusals_without_keep_alive_while_draining_or_with_many_connections()
 {
    let none = NetSettings {
        keep_alive: Duration::ZERO,
        ..settings()
    };
    let net = TestNet::start(router(), none);
    let alone = net.exchange(GET.as_bytes()).await;
    assert!(alone.contains("connection: close"), "{alone}");
    assert!(!alone.contains("keep-alive"), "{alone}");
    net.finish().await;

    let net = TestNet::start(router(), settings());
    let refused = net
        .exchange(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
    assert!(refused.contains("connection: close"), "{refused}");
    net.drain.cancel();
    let draining = net.exchange(GET.as_bytes()).await;
    assert!(draining.contains("connection: close"), "{draining}");
    net.finish().await;

    let few = NetSettings {
        max_connections: 4,
        header_timeout: LONG,
        ..settings()
    };
    let net = TestNet::start(router(), few);
    let held = [
        net.connect().await,
        net.connect().await,
        net.connect().await,
    ];
    eventually("held", || net.table.len() == 3).await;
    let crowded = net.exchange(GET.as_bytes()).await;
    assert!(crowded.contains("connection: close"), "{crowded}");
    drop(held);
    net.finish().await;
}
