//! Which connections are admitted, and how the others are rejected.

use serde_json::{Value, json};

use crate::harness::{
    Client, Kafka, Packet, Polling, TestApp, auth, dispatcher, eventually, handshake,
    open_websocket, request, token,
};

#[tokio::test]
async fn over_max_connections_new_clients_are_rejected_with_retry_after() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("MAX_CONNECTIONS", "3")]).await;
    let first = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let second = Client::connect(app.public, &auth("u2", "o1", &[])).await;
    let third = Polling::connect(app.public, &auth("u3", "o1", &[])).await;
    for transport in ["polling", "websocket"] {
        let (status, retry_after) = handshake(app.public, transport, &[]).await;
        assert_eq!(status, 503, "{transport}");
        assert!(retry_after.unwrap().parse::<u32>().unwrap() > 0);
    }
    for path in ["/health", "/ready"] {
        assert_eq!(app.get(path).await.status, 200, "probes always answer");
    }
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_refused_total{reason=\"max_connections\"}"),
        2
    );

    first.cut();
    eventually("there is capacity again", async || {
        let sessions = app.get("/stats").await.json()["sessions"].clone();
        (sessions == 2).then_some(())
    })
    .await;
    let fourth = Client::connect(app.public, &auth("u4", "o1", &[])).await;
    third.post("1").await;
    second.cut();
    fourth.cut();
    app.empty().await;
}

#[tokio::test]
async fn polling_session_is_counted_after_a_refused_upgrade() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("MAX_CONNECTIONS", "1")]).await;
    let polling = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    // No key: the library refuses it, and polling goes on. Its TCP connection is closed with the answer.
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", polling.sid);
    let headers = [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")];
    let refused = request(app.public, "GET", &target, &headers, "").await;
    assert_eq!(refused.unwrap().status, 400);
    polling.poll().await;
    let (status, _) = handshake(app.public, "polling", &[]).await;
    assert_eq!(status, 503, "the session is open");
    polling.post("1").await;
    app.empty().await;
}

#[tokio::test]
async fn a35_a_second_upgrade_is_refused_and_the_first_goes_on() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let polling = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", polling.sid);
    let again = async || {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let refused = request(app.public, "GET", &target, &headers, "").await;
        refused.unwrap().status
    };
    let websocket = open_websocket(app.public.into(), Some(&polling.sid)).await;
    let mut upgraded = Client::over(websocket);
    assert_eq!(again().await, 400, "while the first is under way");
    upgraded.send("2probe").await;
    assert!(matches!(upgraded.packet().await, Some(Packet::Probed)));
    polling.get().await;
    upgraded.send("5").await;
    assert_eq!(again().await, 400, "after it");
    let rooms = upgraded.command("rooms", &json!({})).await;
    assert_eq!(rooms["success"], true);
    upgraded.cut();
    app.empty().await;
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_may_not_connect() {
    let kafka = Kafka::mock(&[]).await;
    let more = [("CORS_ORIGINS", "https://app.example.com")];
    let app = TestApp::start_with(&kafka, &more).await;
    for (origin, expected) in [
        ("https://app.example.com", 200),
        ("https://app.example.com.evil.io", 403),
        ("https://evilapp.example.com", 403),
        ("http://app.example.com", 403),
        ("https://app.example.com:8443", 403),
        ("null", 403),
    ] {
        let (status, _) = handshake(app.public, "polling", &[("Origin", origin)]).await;
        assert_eq!(status, expected, "{origin}");
        let upgraded = if expected == 200 { 101 } else { 403 };
        let (status, _) = handshake(app.public, "websocket", &[("Origin", origin)]).await;
        assert_eq!(status, upgraded, "{origin}");
    }
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_refused_total{reason=\"origin\"}"),
        10
    );
}

#[tokio::test]
async fn a_token_that_a_retry_cannot_make_valid_is_rejected_with_its_code() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let good = dispatcher("u1", "o1");
    let (head, _) = good.rsplit_once('.').unwrap();
    let without_user = token(json!({ "organization_id": "o1", "roles": [] }));
    let strange = token(json!({ "sub": "u1", "organization_id": "a:org:b", "roles": [] }));
    for (given, expected) in [
        (Value::Null, "token_missing"),
        (json!("nonsense"), "token_invalid"),
        (json!(format!("{head}.c2lnbmF0dXJl")), "token_invalid"),
        (json!(without_user), "token_invalid"),
        (json!(strange), "token_invalid"),
        (json!({ "token": good }), "token_invalid"),
    ] {
        let mut client = Client::open(app.public).await;
        let refused = client.try_enter("/", &json!({ "token": given })).await;
        assert_eq!(refused.err().as_deref(), Some(expected), "{given}");
        // The same transport with a good one.
        client.enter("/", &json!({ "token": good })).await;
        client.cut();
    }
    app.empty().await;
}

/// What a browser asks before a request with headers of its own.
async fn preflight(app: &TestApp, headers: &str) -> (u16, String) {
    let asked = [
        ("Origin", "https://app.example.com"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", headers),
    ];
    let answer = request(app.public, "OPTIONS", "/socket.io/", &asked, "")
        .await
        .unwrap();
    let allowed = answer
        .header("access-control-allow-headers")
        .unwrap_or_default();
    (answer.status, allowed.to_owned())
}

#[tokio::test]
async fn preflights_allow_the_headers_of_traces_and_those_of_the_setting() {
    let kafka = Kafka::mock(&[]).await;
    let origins = ("CORS_ORIGINS", "https://app.example.com");
    let app = TestApp::start_with(&kafka, &[origins]).await;
    let (status, allowed) = preflight(&app, "traceparent,baggage").await;
    let default = "authorization,baggage,content-type,traceparent,tracestate";
    assert_eq!((status, allowed.as_str()), (204, default));
    drop(app);
    let own = ("CORS_HEADERS", " X-Tenant , Authorization,,x-tenant");
    let app = TestApp::start_with(&kafka, &[origins, own]).await;
    assert_eq!(
        preflight(&app, "x-tenant").await.1,
        "authorization,x-tenant"
    );
}

#[tokio::test]
async fn a_native_client_of_the_same_host_is_admitted_with_its_websocket_origin() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let own = app.public.to_string();
    for (origin, status) in [
        (format!("ws://{own}"), 101),
        (format!("wss://{own}"), 101),
        (format!("ws://{own}.evil.io"), 403),
        ("ws://127.0.0.1:1".to_owned(), 403),
        ("null".to_owned(), 403),
    ] {
        let headers = [("Origin", origin.as_str())];
        let (got, _) = handshake(app.public, "websocket", &headers).await;
        assert_eq!(got, status, "{origin}");
    }
}

#[tokio::test]
async fn an_offered_subprotocol_is_answered_and_a_token_among_them_never() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let jwt = dispatcher("u1", "o1");
    let bearer = format!("bearer.{jwt}");
    for path in ["/socket.io/", "/ws/socket.io"] {
        for (offers, expected) in [
            (vec!["notify"], Some("notify")),
            (vec![bearer.as_str(), "notify"], Some("notify")),
            (vec![jwt.as_str(), "a, b"], Some("a")),
            (vec![bearer.as_str()], None),
            (vec![jwt.as_str()], None),
            (vec![], None),
        ] {
            let mut headers = vec![
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            headers.extend(
                offers
                    .iter()
                    .map(|offer| ("Sec-WebSocket-Protocol", *offer)),
            );
            let target = format!("{path}?EIO=4&transport=websocket");
            let answer = request(app.public, "GET", &target, &headers, "")
                .await
                .unwrap();
            assert_eq!(answer.status, 101);
            assert_eq!(
                answer.header("sec-websocket-protocol"),
                expected,
                "{offers:?}"
            );
        }
    }
    let log = app.stop().join("\n");
    assert!(
        !log.contains(&jwt) && !log.contains("bearer."),
        "no token is logged"
    );
}
