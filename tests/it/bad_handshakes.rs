//! Engine.IO requests that no stock client of today sends: refused with a status, and no session is made.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Client, Kafka, Polling, SOON, TestApp, auth, dispatcher, request};

/// No such transport, no such session, another version of the protocol.
const TRANSPORT: u8 = 0;
const SESSION: u8 = 1;
const VERSION: u8 = 5;

/// Query and code.
const REFUSED: [(&str, u8); 21] = [
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
    ("EIO=4&transport=polling&transport=constructor", TRANSPORT),
    ("EIO=4&transport=polling&transport=websocket", TRANSPORT),
    ("EIO=4&transport=polling&EIO=3", VERSION),
    ("EIO=4&EIO=4&transport=polling", VERSION),
    ("EIO=4&transport=polling&sid=a&sid=a", SESSION),
    (
        "EIO=4&transport=polling&sid=1;DROP%20TABLE%20sessions--",
        SESSION,
    ),
];

async fn sessions(app: &TestApp) -> (Value, Value) {
    let stats = app.get("/stats").await.json();
    (stats["sessions"].clone(), stats["connections"].clone())
}

async fn refused(app: &TestApp, reason: &str) -> u64 {
    let metrics = app.metrics().await;
    metrics.value(&format!("fleetcast_refused_total{{reason=\"{reason}\"}}"))
}

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
    assert_eq!(sessions(&app).await, (0.into(), 0.into()));
    let count = |code| REFUSED.iter().filter(|(_, of)| *of == code).count() as u64 * 4;
    assert_eq!(refused(&app, "bad_transport").await, count(TRANSPORT));
    assert_eq!(refused(&app, "version").await, count(VERSION));
}

#[tokio::test]
async fn a32_a_session_is_refused_a_transport_that_does_not_exist_and_goes_on() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    for query in [
        "EIO=4&transport=constructor",
        "EIO=4&transport=polling&transport=",
    ] {
        let target = format!("/socket.io/?{query}&sid={}", client.sid);
        for method in ["GET", "POST"] {
            let answer = request(app.public, method, &target, &[], "").await.unwrap();
            assert_eq!(
                (answer.status, answer.json()["code"].clone()),
                (400, TRANSPORT.into())
            );
        }
    }
    assert!(!client.poll().await.is_empty());
    client.post("1").await;
    app.empty().await;
}

/// Up to 1 MB, and of bytes that no URL may have.
#[tokio::test]
async fn a33_session_ids_of_any_length_and_bytes_make_no_session() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let own = Client::connect(app.public, &auth("u1", "o1", &[])).await;
    let before = sessions(&app).await;
    let ids = [
        b"AAAAAAAAAAAAAAA".to_vec(),
        vec![b'A'; 4_000],
        vec![b'A'; 1_000_000],
        "\u{1f692}".into(),
        vec![0xff, 0xfe, 0x80],
        b"%00%0d%0aX:%20y".to_vec(),
    ];
    for sid in ids {
        let head = b"GET /socket.io/?EIO=4&transport=polling&sid=";
        let rest = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(app.public).await.unwrap();
        let length = sid.len();
        // Of one that is too long the server reads the beginning only.
        drop(stream.write_all(&[&head[..], &sid, rest].concat()).await);
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match read.expect("it is answered") {
            Err(_) if length > 100_000 => {}
            _ => assert!(answer.starts_with("HTTP/1.1 4"), "{length}: {answer}"),
        }
        if answer.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json") {
            assert!(answer.contains("\"code\":1,"), "{length}: {answer}");
        }
    }
    assert_eq!(sessions(&app).await, before);
    own.cut();
}

#[tokio::test]
async fn a14_preflights_and_wrong_methods_by_the_thousand_make_no_session_and_hold_up_no_client() {
    const ROUNDS: usize = 40;
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let other = Polling::connect(app.public, &auth("u2", "o1", &[])).await;
    let before = sessions(&app).await;
    let own = format!("http://{}", app.public);
    let preflight = [
        ("Origin", own.as_str()),
        ("Access-Control-Request-Method", "POST"),
    ];
    let begin = "/socket.io/?EIO=4&transport=polling".to_owned();
    let targets = [begin, other.target(), "/ws/socket.io/".to_owned()];
    let mut asked = 0;
    for round in 0..ROUNDS {
        let all = [
            "OPTIONS", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH", "BREW", "HEAD",
        ];
        let all = all
            .iter()
            .flat_map(|method| targets.iter().map(move |target| (method, target)));
        let all = all.map(async |(method, target)| {
            let headers = if *method == "OPTIONS" {
                &preflight[..]
            } else {
                &[]
            };
            // The answer to HEAD has the length of a body that it does not have.
            let answer = request(app.public, method, target, headers, "").await;
            let status = answer.map_or(405, |answer| answer.status);
            let expected = if *method == "OPTIONS" { 204 } else { 405 };
            assert_eq!(status, expected, "{method} {target}");
            u64::from(expected == 405)
        });
        asked += join_all(all).await.into_iter().sum::<u64>();
        if round % 10 == 0 {
            assert_eq!(client.command("rooms", &json!({})).await["success"], true);
        }
    }
    assert_eq!(sessions(&app).await, before);
    assert_eq!(refused(&app, "bad_method").await, asked);
    assert!(!other.poll().await.is_empty(), "it goes on");
    let lines = app
        .stop()
        .iter()
        .filter(|line| line.contains("bad_method"))
        .count();
    assert!(lines < 60, "{lines} lines of {asked} requests");
}

#[tokio::test]
async fn a14_a_method_that_is_not_served_is_named_with_those_that_are() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let target = "/socket.io/?EIO=4&transport=polling";
    let answer = request(app.public, "PUT", target, &[], "").await.unwrap();
    assert_eq!(answer.header("allow"), Some("GET, POST"));
    assert_eq!(answer.json()["code"], "bad_method");
    let answer = request(app.public, "POST", target, &[], "").await.unwrap();
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (400, 2.into())
    );
    assert_eq!(sessions(&app).await, (0.into(), 0.into()));
    assert_eq!(refused(&app, "bad_method").await, 2);
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
