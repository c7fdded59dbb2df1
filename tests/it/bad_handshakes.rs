//! Engine.IO requests that no stock client of today sends: refused with a status, and no session is made.

use crate::harness::{Kafka, TestApp, request};

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
