//! Engine.IO requests that no stock client of today sends: refused with a status, and no session is made.

use serde_json::json;

use crate::harness::{Client, Kafka, TestApp, dispatcher, request};

/// What the library answers: no such transport, no such session, another version of the protocol.
const TRANSPORT: &str = "0";
const SESSION: &str = "1";
const VERSION: &str = "5";

/// Query and code.
const REFUSED: [(&str, &str); 15] = [
    ("EIO=4&transport=constructor", TRANSPORT),
    ("EIO=4&transport=__proto__", TRANSPORT),
    ("EIO=4&transport=", TRANSPORT),
    ("EIO=4", TRANSPORT),
    ("transport=polling", VERSION),
    ("EIO=99&transport=polling", VERSION),
    ("EIO=&transport=polling", VERSION),
    ("EIO=3&transport=polling", VERSION),
    ("EIO=3&transport=websocket", VERSION),
    ("EIO=4&transport=polling&sid=", SESSION),
    ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAA", SESSION),
    ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", SESSION),
    ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAA", SESSION),
    (
        "EIO=4&transport=polling&sid=%F0%9F%9A%92%27%20OR%201=1",
        SESSION,
    ),
    ("EIO=4&transport=websocket&sid=!!!!!!!!!!!!!!!!", SESSION),
];

#[tokio::test]
async fn a32_a33_a79_requests_for_what_does_not_exist_make_no_session() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    for path in ["/socket.io/", "/ws/socket.io/"] {
        for (query, code) in REFUSED {
            let target = format!("{path}?{query}");
            for method in ["GET", "POST"] {
                let answer = request(app.public, method, &target, &[], "").await;
                let answer = answer.unwrap();
                let got = (answer.status, answer.json()["code"].clone());
                assert_eq!(got, (400, code.into()), "{method} {target}");
            }
        }
    }
    let stats = app.get("/stats").await.json();
    assert_eq!(
        (&stats["sessions"], &stats["connections"]),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn a_websocket_is_asked_for_as_rfc_6455_says_or_there_is_none() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let ask = async |key: &str, version: &str| {
        let headers = [
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", version),
        ];
        let headers = [&headers[..], &[("Connection", "Upgrade")]].concat();
        let target = "/socket.io/?EIO=4&transport=websocket";
        request(app.public, "GET", target, &headers, "")
            .await
            .unwrap()
    };
    for (key, version) in [("", "13"), ("AAAA", "13"), (KEY, "12"), (KEY, "")] {
        let answer = ask(key, version).await;
        let code = answer.json()["code"].clone();
        assert_eq!(
            (answer.status, code),
            (400, "bad_upgrade".into()),
            "{key} {version}"
        );
        let names = answer.header("sec-websocket-version");
        assert_eq!(names, (version != "13").then_some("13"), "{key} {version}");
    }
    // As any client asks.
    Client::connect(app.public, &json!({ "token": dispatcher("u1", "o1") }))
        .await
        .cut();
    let refused = app
        .metrics()
        .await
        .value("fleetcast_refused_total{reason=\"bad_upgrade\"}");
    assert_eq!(refused, 4);
}
