//! Which connections are admitted, and how the others are rejected.

use serde_json::{Value, json};

use crate::harness::{
    Client, Kafka, Polling, TestApp, auth, dispatcher, eventually, handshake, request, token,
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
async fn a_token_that_no_retry_cures_is_refused_by_name() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let good = dispatcher("u1", "o1");
    let (head, _) = good.rsplit_once('.').unwrap();
    let nobody = token(json!({ "organization_id": "o1", "roles": [] }));
    let strange = token(json!({ "sub": "u1", "organization_id": "a:org:b", "roles": [] }));
    for (given, expected) in [
        (Value::Null, "token_missing"),
        (json!("nonsense"), "token_invalid"),
        (json!(format!("{head}.c2lnbmF0dXJl")), "token_invalid"),
        (json!(nobody), "token_invalid"),
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
