//! Whose address counts: what proxies say of clients in front of them, and what clients say of themselves.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Haproxy, Kafka, TestApp, auth, connect_from, eventually, request_over};
use crate::limits::{NEIGHBOUR, ONE, OPEN, limited, open};

#[tokio::test]
async fn a16_h24_only_a_trusted_proxy_names_the_client() {
    let kafka = Kafka::mock(&[]).await;
    let more = limited("MAX_CONNECTIONS_PER_ADDRESS", "1");
    let app = TestApp::start_with(&kafka, &more).await;
    let named = |client| [("X-Forwarded-For", client)];
    assert_eq!(open(&app, ONE, &named("192.0.2.1")).await.status, 200);
    for forged in ["192.0.2.2", "127.0.0.1", "10.0.0.1"] {
        assert_eq!(open(&app, ONE, &named(forged)).await.status, 429);
        let forwarded = [("Forwarded", &*format!("for={forged}"))];
        assert_eq!(open(&app, ONE, &forwarded).await.status, 429);
    }
    drop(app);

    let proxies = ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8");
    let app = TestApp::start_with(&kafka, &[more[1], proxies]).await;
    let status = async |source, headers: &[_]| open(&app, source, headers).await.status;
    assert_eq!(status(ONE, &named("192.0.2.1")).await, 200);
    assert_eq!(status(ONE, &named("192.0.2.1")).await, 429);
    assert_eq!(status(ONE, &named("203.0.113.9, 192.0.2.1")).await, 429);
    let lines = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("x-forwarded-for", "192.0.2.1, 10.0.0.7"),
    ];
    assert_eq!(status(ONE, &lines).await, 429, "all lines, right to left");
    let both = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.8"),
    ];
    assert_eq!(status(ONE, &both).await, 429, "the other header is ignored");
    assert_eq!(status(ONE, &named("192.0.2.2")).await, 200);
    assert_eq!(status(ONE, &named("[2001:db8:0:1::1]:443")).await, 200);
    assert_eq!(status(ONE, &named("2001:db8:0:1::ffff")).await, 429);
    // Loopback that a proxy names is not exempt, nor is what a proxy on this machine passes on without being trusted.
    assert_eq!(status(ONE, &named("127.0.0.1")).await, 200);
    assert_eq!(status(ONE, &named("127.0.0.1")).await, 429);
    assert_eq!(status(NEIGHBOUR, &named("192.0.2.3")).await, 200);
    assert_eq!(status(NEIGHBOUR, &named("192.0.2.4")).await, 429);
    // Operators see the same address.
    let target = "/api/connections?address=192.0.2.9";
    let opened = open(&app, ONE, &named("203.0.113.9, 192.0.2.9")).await;
    let packet: Value = serde_json::from_str(opened.body.strip_prefix('0').unwrap()).unwrap();
    let session = format!("{OPEN}&sid={}", packet["sid"].as_str().unwrap());
    let connect = format!("40{}", auth("u9", "o9", &[]));
    let posted = crate::harness::request(app.public, "POST", &session, &[], &connect).await;
    assert_eq!(posted.unwrap().status, 200);
    eventually("it is listed by its address", async || {
        let listed = crate::harness::request(app.internal, "GET", target, &[], "").await;
        let listed = listed.unwrap();
        (listed.status == 200 && listed.body.contains("u9")).then_some(())
    })
    .await;
    // Without a proxy loopback is exempt; one that is declared is a proxy also where it writes nothing.
    assert_eq!(status(ONE, &[]).await, 429);
    for _ in 0..3 {
        assert_eq!(status([127, 0, 0, 9], &[]).await, 200);
    }
    drop(app);

    let header = ("FORWARDED_HEADER", "Forwarded");
    let app = TestApp::start_with(&kafka, &[more[1], proxies, header]).await;
    let status = async |headers: &[_]| open(&app, ONE, headers).await.status;
    let v6 = |last: &str| format!("for=\"[2001:db8:0:1::{last}]:443\"");
    let (first, second) = (v6("1"), v6("ffff"));
    assert_eq!(status(&[("Forwarded", first.as_str())]).await, 200);
    let forged = [
        ("Forwarded", second.as_str()),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    assert_eq!(status(&forged).await, 429);
}

#[tokio::test]
async fn h24_a_preamble_is_required_of_trusted_proxies_and_taken_from_no_other() {
    let kafka = Kafka::mock(&[]).await;
    let more = [
        ("MAX_CONNECTIONS_PER_ADDRESS", "1"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("PROXY_PROTOCOL", "true"),
    ];
    let app = TestApp::launch(&kafka, &more).await;
    eventually("it is ready", async || {
        let answer = crate::harness::request(app.internal, "GET", "/ready", &[], "").await;
        (answer.ok()?.status == 200).then_some(())
    })
    .await;
    let status = async |source, preamble: &[u8]| {
        let mut stream = connect_from(source, app.public).await;
        stream.write_all(preamble).await.unwrap();
        match request_over(stream, "GET", OPEN, &[], "").await {
            Ok(answer) => answer.status,
            Err(_) => 0,
        }
    };
    let v1 = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n".as_slice();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 2, 127, 0, 0, 1, 1, 1, 0, 80]);
    assert_eq!(status(ONE, v1).await, 200);
    assert_eq!(status(ONE, v1).await, 429, "the same client");
    assert_eq!(status(ONE, &v2).await, 200, "another one");
    assert_eq!(status(ONE, &v2).await, 429);
    assert_eq!(status(ONE, b"").await, 0, "required");
    assert_eq!(status(ONE, &[b'P'; 3_000]).await, 0);
    assert_eq!(status(NEIGHBOUR, b"").await, 200, "of others none is read");
    assert_eq!(status(NEIGHBOUR, v1).await, 400);
    // One that does not go on is not waited for.
    let mut stream = connect_from(ONE, app.public).await;
    stream.write_all(b"PROXY TCP4 192.").await.unwrap();
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(15), stream.read_to_end(&mut rest));
    read.await.expect("it is closed").ok();
    assert!(rest.is_empty());
    eventually("they are counted", async || {
        let counted = app.metrics().await.refused("proxy_preamble");
        (counted == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn h24_clients_behind_haproxy_are_told_apart() {
    let kafka = Kafka::mock(&[]).await;
    for (preambles, option, to_server) in [
        ("false", "option forwardfor", ""),
        ("true", "option httpclose", "send-proxy"),
        ("true", "option httpclose", "send-proxy-v2"),
    ] {
        let more = [
            ("MAX_CONNECTIONS_PER_ADDRESS", "1"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("PROXY_PROTOCOL", preambles),
        ];
        let app = TestApp::launch(&kafka, &more).await;
        let proxy = Haproxy::start(app.public, option, to_server).await;
        let status = async |source| {
            let stream = connect_from(source, proxy.address).await;
            let answer = request_over(stream, "GET", OPEN, &[], "").await;
            answer.map_or(0, |answer| answer.status)
        };
        eventually("it is ready", async || {
            (status(NEIGHBOUR).await == 200).then_some(())
        })
        .await;
        assert_eq!(status(NEIGHBOUR).await, 429, "{option} {to_server}");
        assert_eq!(status([127, 0, 0, 3]).await, 200, "{option} {to_server}");
        assert_eq!(status([127, 0, 0, 3]).await, 429, "{option} {to_server}");
    }
}
