//! Requests: deadlines, limits, smuggling, and a listener that is full.

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension};
use axum::routing::{get, post};

use super::*;

fn router() -> Router {
    Router::new()
        .route("/health", get(async || "alive"))
        .route("/", get(async || "root"))
        .route("/hold", get(std::future::pending::<()>))
        .route(
            "/echo",
            post(async |body: Result<Bytes, _>| {
                body.map_err(|_: axum::extract::rejection::BytesRejection| "no body")
            }),
        )
        .route(
            "/peer",
            get(
                async |ConnectInfo(peer): ConnectInfo<SocketAddr>,
                       Extension(address): Extension<SocketAddr>,
                       Extension(guard): Extension<Arc<Guard>>| {
                    assert!(peer == address && peer == guard.peer());
                    peer.to_string()
                },
            ),
        )
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let net = TestNet::start(router(), settings());
    let start = Instant::now();
    assert_eq!(net.exchange(b"").await, "");
    assert!(start.elapsed() >= Duration::from_millis(190));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(net.closed("header_timeout"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_request_head_that_trickles_is_cut_at_the_deadline() {
    let net = TestNet::start(router(), settings());
    let mut peer = net.connect().await;
    let start = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: yes" {
        if peer.write_all(&[*byte]).await.is_err() || net.closed("header_timeout") == 1 {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read_to_close(&mut peer).await, "");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(net.closed("header_timeout"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_held_request_outlives_the_header_deadline_and_ends_with_a_kick() {
    let net = TestNet::start(router(), settings());
    let mut peer = net.connect().await;
    peer.write_all(b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(400)).await;
    let guard = net.only_guard().await;
    assert_eq!(guard.close_reason(), None);
    guard.kick("draining");
    assert_eq!(read_to_close(&mut peer).await, "");
    eventually("gone", || net.table.is_empty()).await;
    assert_eq!(net.closed("draining"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_stalled_request_body_is_rejected() {
    let net = TestNet::start(router(), settings());
    let answer = net
        .exchange(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        .await;
    assert!(answer.ends_with("no body"), "{answer}");
    assert_eq!(net.closed("body_timeout"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_request_body_must_come_at_a_pace_and_as_a_whole() {
    let net = TestNet::start(router(), settings());
    // Bytes every 20 ms, and how the request ends.
    for (bytes, pieces, ends) in [
        // 50 bytes in 200 ms: too little of it comes.
        (5, 40, false),
        // 500 bytes in 200 ms, and still not all in 600 ms.
        (50, 100, false),
        (50, 15, true),
    ] {
        let before = net.closed("body_timeout");
        let mut peer = net.connect().await;
        let length = bytes * pieces;
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        peer.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..pieces {
            if peer.write_all(&vec![b'x'; bytes]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let answer = read_to_close(&mut peer).await;
        let whole = answer.ends_with(&"x".repeat(length));
        assert_eq!(whole, ends, "{bytes} * {pieces}: {answer}");
        assert_eq!(
            net.closed("body_timeout") - before,
            u64::from(!ends),
            "{bytes} * {pieces}"
        );
    }
    net.finish().await;
}

#[tokio::test]
async fn headers_over_the_limits_are_refused_and_the_connection_closed() {
    let net = TestNet::start(router(), settings());
    let many = "a: b\r\n".repeat(200);
    let large = format!("a: {}\r\n", "b".repeat(64 * 1024));
    for headers in [many, large] {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let mut peer = net.connect().await;
        // The server may close before it has read everything.
        peer.write_all(request.as_bytes()).await.ok();
        let answer = read_to_close(&mut peer).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let mut peer = net.connect().await;
    let target = format!("GET /{} HTTP/1.1\r\n\r\n", "u".repeat(1024 * 1024));
    peer.write_all(target.as_bytes()).await.ok();
    let answer = read_to_close(&mut peer).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    eventually("counted", || net.closed("header_limit") == 3).await;
    net.finish().await;
}

#[tokio::test]
async fn invalid_requests_are_rejected_and_the_connection_closed() {
    let net = TestNet::start(router(), settings());
    let cases: [&[u8]; 12] = [
        b"GET / HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1 1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"POST /echo HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
    ];
    for input in cases {
        let mut twice = input.to_vec();
        twice.extend_from_slice(b"GET / HTTP/1.1\r\nhost: smuggled\r\n\r\n");
        let answer = net.exchange(&twice).await;
        let name = String::from_utf8_lossy(input);
        assert!(answer.starts_with("HTTP/1.1 400"), "{name:?}: {answer:?}");
        assert_eq!(responses(&answer), 1, "{name:?}: {answer:?}");
    }
    assert_eq!(net.closed("bad_http"), 12);
    net.finish().await;
}

#[tokio::test]
async fn a_body_with_two_framings_never_yields_a_second_response() {
    let net = TestNet::start(router(), settings());
    let smuggled = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let chunked = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        5 + smuggled.len()
    );
    let turned = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n{smuggled}"
    );
    for input in [chunked, turned] {
        let answer = net.exchange(input.as_bytes()).await;
        assert_eq!(responses(&answer), 1, "{answer}");
        assert!(!answer.contains("alive"), "{answer}");
    }
    net.finish().await;
}

/// RFC 9112 (2.2) lets a server take them, and hyper does.
#[tokio::test]
async fn bare_line_feeds_end_lines_and_yield_one_response() {
    let net = TestNet::start(router(), settings());
    let answer = net
        .exchange(b"GET / HTTP/1.1\nhost: x\nx: y\nconnection: close\n\nGET /health HTTP/1.1\n\n")
        .await;
    assert_eq!(responses(&answer), 1, "{answer}");
    assert!(answer.ends_with("root"), "{answer}");
    net.finish().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_once() {
    let net = TestNet::start(router(), settings());
    let answer = net
        .exchange(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nGET \
              GET /health HTTP/1.1\r\nhost: x\r\n\r\n\
              GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n\
              GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        .await;
    assert_eq!(responses(&answer), 3, "{answer}");
    let (echo, alive) = (
        answer.find("\r\n\r\nGET ").unwrap(),
        answer.find("\r\n\r\nalive").unwrap(),
    );
    assert!(echo < alive && answer.ends_with("root"), "{answer}");
    net.finish().await;
}

#[tokio::test]
async fn the_peer_is_known_to_handlers() {
    let net = TestNet::start(router(), settings());
    let mut peer = net.connect().await;
    let own = peer.local_addr().unwrap().to_string();
    peer.write_all(b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_close(&mut peer).await;
    assert!(answer.ends_with(&own), "{answer}");
    net.finish().await;
}

#[tokio::test]
async fn a_full_listener_answers_probes_and_refuses_the_rest() {
    let full = NetSettings {
        max_connections: 3,
        header_timeout: LONG,
        ..settings()
    };
    let net = TestNet::start(router(), full);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(net.connect().await);
    }
    eventually("full", || net.table.len() == 3).await;
    // Idle ones over the cap push each other out, and no probe.
    for _ in 0..20 {
        held.push(net.connect().await);
    }
    for _ in 0..5 {
        let health = net
            .exchange(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            .await;
        assert!(health.ends_with("alive"), "{health}");
        assert!(health.contains("connection: close"), "{health}");
    }
    let other = net.exchange(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(other.starts_with("HTTP/1.1 503"), "{other}");
    assert!(other.contains("retry-after: 5"), "{other}");
    assert!(
        other.contains("content-type: application/problem+json"),
        "{other}"
    );
    assert!(other.contains("\"code\":\"max_connections\""), "{other}");
    assert!(net.table.len() <= 5);
    assert_eq!(net.table.stats().refused, 26);
    // The first connections are still there; free places are used again.
    drop(held);
    eventually("room again", || net.table.is_empty()).await;
    let root = net
        .exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(root.ends_with("root"), "{root}");
    net.finish().await;
}

#[tokio::test]
async fn stopping_closes_the_listener_and_keeps_connections() {
    let net = TestNet::start(
        router(),
        NetSettings {
            header_timeout: LONG,
            ..settings()
        },
    );
    let mut peer = net.connect().await;
    net.only_guard().await;
    net.stop.cancel();
    let start = Instant::now();
    while TcpStream::connect(net.address).await.is_ok() {
        assert!(start.elapsed() < LONG, "the listener stays open");
    }
    peer.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(read_to_close(&mut peer).await.ends_with("root"));
    net.finish().await;
}
