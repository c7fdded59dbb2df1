//! H4: web pages drive no internal API, and other machines need the token.

use serde_json::json;

use super::{ask, assert_problem};
use crate::harness::{Kafka, TestApp, request};

const TOKEN: &str = "kq3vN8xW0pZr5tYb-of-tests";

/// What answers without a token, whatever is set.
const OPEN: [&str; 6] = [
    "/health",
    "/ready",
    "/stats",
    "/ws/stats",
    "/api/v1/websocket/stats",
    "/metrics",
];

const DOCUMENT: &str = "/api/openapi.json";

#[tokio::test]
async fn h4_pages_rebound_names_and_forms_are_refused_and_counted() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(
        &kafka,
        &[("INTERNAL_NAMES", "push.internal, Other.example")],
    )
    .await;
    assert_eq!(ask(&app, "GET", DOCUMENT, None).await.status, 200);

    let port = app.internal.port();
    // The harness sends a Host of its own first, so two of them are tried here, and one alone below.
    for (name, value, code) in [
        ("Origin", "http://evil.example".to_owned(), "origin"),
        ("Origin", format!("http://{}", app.internal), "origin"),
        ("Origin", "null".to_owned(), "origin"),
        ("Sec-Fetch-Site", "cross-site".to_owned(), "origin"),
        ("Sec-Fetch-Site", "same-site".to_owned(), "origin"),
        ("Host", format!("evil.example:{port}"), "host"),
    ] {
        let headers = [(name, value.as_str())];
        let answer = request(app.internal, "GET", DOCUMENT, &headers, "")
            .await
            .unwrap();
        assert_problem(&answer, 403, code);
    }
    for (host, status) in [
        (format!("evil.example:{port}"), 403),
        ("push.internal".to_owned(), 200),
        (format!("other.example:{port}"), 200),
        (format!("localhost:{port}"), 200),
    ] {
        let text = format!("GET {DOCUMENT} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(&app, &text).await, status, "{host}");
    }
    for media_type in ["application/x-www-form-urlencoded", "text/plain"] {
        let headers = [("Content-Type", media_type)];
        let answer = request(app.internal, "GET", DOCUMENT, &headers, "{}")
            .await
            .unwrap();
        assert_problem(&answer, 415, "media_type");
    }

    let metrics = app.metrics().await;
    for (reason, count) in [("api_origin", 5), ("api_host", 2), ("api_media_type", 2)] {
        let series = format!("fleetcast_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics.value(&series), count, "{reason}");
    }
    let told = |all: &[&str]| {
        let log = app.log();
        let mut lines = log.iter().filter(|line| line.contains("refused"));
        lines.any(|line| all.iter().all(|part| line.contains(part)))
    };
    assert!(told(&["api_host", DOCUMENT, "code"]));
    let body = json!([]);
    let answer = ask(&app, "POST", "/api/users/ann/grants", Some(&body)).await;
    assert_problem(&answer, 400, "bad_request");
    assert!(told(&[
        "api_request",
        "/api/users/{id}/grants",
        "bad_request"
    ]));
    assert!(!app.log().iter().any(|line| line.contains("/ann/")));
}

/// The status of an answer to these bytes.
async fn raw(app: &TestApp, text: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(app.internal).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn h4_the_token_is_required_where_it_is_set_and_off_loopback() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let good = format!("Bearer {TOKEN}");
    for (host, token, none, right) in [
        ("127.0.0.1", Some(TOKEN), 401, 200),
        ("0.0.0.0", Some(TOKEN), 401, 200),
        ("0.0.0.0", None, 403, 403),
    ] {
        let mut variables = vec![("INTERNAL_HOST", host)];
        variables.extend(token.map(|token| ("INTERNAL_TOKEN", token)));
        let mut app = TestApp::start_with(&kafka, &variables).await;
        app.internal.set_ip([127, 0, 0, 1].into());
        let answer = ask(&app, "GET", DOCUMENT, None).await;
        assert_eq!(answer.status, none, "{host} {token:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), none == 401);
        let wrong = [("Authorization", "Bearer kq3vN8xW0pZr5tYb-of-test")];
        let answer = request(app.internal, "GET", DOCUMENT, &wrong, "")
            .await
            .unwrap();
        assert_eq!(answer.status, none);
        let right_one = [("Authorization", good.as_str())];
        let answer = request(app.internal, "GET", DOCUMENT, &right_one, "")
            .await
            .unwrap();
        assert_eq!(answer.status, right);
        for path in OPEN {
            let answer = request(app.internal, "GET", path, &[], "").await.unwrap();
            assert_eq!(answer.status, 200, "{path}");
        }
        // It opens nothing on the public listener.
        let answer = request(app.public, "GET", DOCUMENT, &right_one, "")
            .await
            .unwrap();
        assert_problem(&answer, 404, "not_found");
        let log = app.stop();
        assert!(!log.iter().any(|line| line.contains(TOKEN)));
    }
}
