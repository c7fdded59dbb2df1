//! Long polling, and the change to WebSocket.

use std::time::Duration;

use fleetcast::clock;
use futures_util::future::join_all;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{
    Client, Kafka, Packet, Polling, SECRET, Stream, Tally, TestApp, auth, eventually,
};

/// python-engineio refuses a payload of more.
const PACKETS: usize = 16;

#[tokio::test]
async fn a_client_that_polls_slowly_gets_everything_in_order_in_small_answers() {
    const RECORDS: usize = 400;
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    let app = TestApp::start(&kafka).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 3, 100);
    let mut tally = Tally::default();
    stream.produce(&kafka, RECORDS).await;
    while tally.count < RECORDS {
        let packets = client.poll().await;
        assert!(packets.len() <= PACKETS, "{} packets", packets.len());
        for packet in packets {
            if let Packet::Event(event) = packet {
                tally.note(&event);
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    // Live again: the next record answers a poll that is held.
    let held = async {
        loop {
            for packet in client.poll().await {
                if let Packet::Event(event) = packet {
                    tally.note(&event);
                }
            }
            if tally.count > RECORDS {
                break;
            }
        }
    };
    tokio::join!(held, stream.produce(&kafka, 1));
    client.post("41").await;
    eventually("it has left", async || {
        let left = app.metrics().await;
        (left.value("fleetcast_disconnects_total{reason=\"client_left\"}") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_in_the_midst_of_a_replay_loses_and_repeats_nothing() {
    const RECORDS: usize = 120;
    let kafka = Kafka::mock(&[("transmission", 3)]).await;
    let app = TestApp::start(&kafka).await;
    let first = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(first.cursor());
    first.cut();
    // It is to have none of the deliveries that are counted.
    app.empty().await;
    let mut stream = Stream::new(&kafka, 3, 200);
    stream.produce(&kafka, RECORDS).await;
    for round in 0..50 {
        let client = Polling::connect(app.public, &resume).await;
        let mut tally = Tally::default();
        let mut note = |packets: Vec<Packet>| {
            for packet in packets {
                if let Packet::Event(event) = packet {
                    tally.note(&event);
                }
            }
        };
        for _ in 0..round % 7 {
            note(client.poll().await);
        }
        let (mut client, packets) = client.upgrade(round % 2 == 0).await;
        note(packets);
        client.read_until(&mut tally, RECORDS).await;
        // What would come twice comes before the answer.
        let rooms = client.command("rooms", &json!({})).await;
        assert_eq!(rooms["success"], true, "round {round}");
        client.cut();
    }
    app.empty().await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_resumes_total{outcome=\"resumed\"}"),
        50
    );
    assert_eq!(
        metrics.sum("fleetcast_deliveries_total") % 120,
        0,
        "each once to each"
    );
}

#[tokio::test]
async fn a_silent_polling_session_is_closed() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = [("PING_INTERVAL", "1"), ("PING_TIMEOUT", "2")];
    let app = TestApp::start_with(&kafka, &more).await;
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    client.poll().await;
    app.empty().await;
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.value("fleetcast_disconnects_total{reason=\"heartbeat\"}"),
        1
    );
    assert_eq!(client.get().await.status, 400);
}

/// With a token that is good for so many seconds.
fn short_lived(seconds: u64) -> Value {
    let expires = clock::wall_ms() / 1000 + seconds;
    let claims =
        json!({ "sub": "u1", "organization_id": "o1", "roles": ["dispatcher"], "exp": expires });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    json!({ "token": jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap() })
}

/// Asks for an upgrade behind other requests, and reads nothing for longer than an upgrade may take. If what came before
/// filled the buffers of the kernels and no more, the 101 waits for that. `None`: the connection is closed.
async fn upgrade_late(
    app: &TestApp,
    polling: &Polling,
    requests_before: usize,
) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(app.public).await.unwrap();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let upgrade = format!(
        "GET /socket.io/?EIO=4&transport=websocket&sid={} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        polling.sid
    );
    let before = get("/assets/qa.css") + &get("/") + &get("/health").repeat(requests_before);
    stream.write_all(before.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(10_500)).await;
    let is_in = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|it| it == wanted);
    let mut answers = Vec::new();
    while !(answers.ends_with(b"\r\n\r\n") && is_in(&answers, b"HTTP/1.1 101")) {
        let read = stream.read_buf(&mut answers).await;
        read.ok().filter(|bytes| *bytes > 0)?;
    }
    Some(stream)
}

#[tokio::test]
async fn session_is_closed_when_its_token_expires_however_its_transport_is_written() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start_with(&kafka, &[("JWT_LEEWAY", "0")]).await;
    let path = "/socket.io/?EIO=4&transport=websocket=x&";
    for upgrades in [false, true] {
        let auth = short_lived(3);
        let mut client = if upgrades {
            let polling = Polling::connect(app.public, &auth).await;
            polling.poll().await;
            let stream = TcpStream::connect(app.public).await.unwrap();
            let url = format!("ws://{}{path}sid={}", app.public, polling.sid);
            let mut client = Client::over(client_async(url, stream).await.unwrap().0);
            client.send("2probe").await;
            let answer = client.packet().await;
            assert!(matches!(answer, Some(Packet::Probed)), "{answer:?}");
            client.send("5").await;
            client
        } else {
            let stream = TcpStream::connect(app.public).await.unwrap();
            let url = format!("ws://{}{path}", app.public);
            let mut client = Client::over(client_async(url, stream).await.unwrap().0);
            assert!(matches!(client.packet().await, Some(Packet::Open(_))));
            client.enter("/", &auth).await;
            client
        };
        let closed = timeout(Duration::from_secs(10), async {
            while client.packet().await.is_some() {}
        });
        let why = "it goes on with an expired token";
        assert!(closed.await.is_ok(), "{upgrades}: {why}");
    }
    app.empty().await;
}

#[tokio::test]
async fn session_that_was_upgraded_late_is_closed_when_its_token_expires() {
    let kafka = Kafka::mock(&[]).await;
    let more = [("QA_PAGE", "true"), ("JWT_LEEWAY", "0")];
    let app = TestApp::start_with(&kafka, &more).await;
    // Behind how many requests it is late depends on the kernel.
    let clients = (0..24).map(|requests_before| {
        let app = &app;
        async move {
            let polling = Polling::connect(app.public, &short_lived(14)).await;
            polling.poll().await;
            // If the upgrade began in time, the library has given it up.
            let Some(stream) = upgrade_late(app, &polling, requests_before).await else {
                return;
            };
            let websocket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
            let mut client = Client::over(websocket);
            if client.try_send("2probe").await.is_ok()
                && let Some(Packet::Probed) = client.packet().await
            {
                client.send("5").await;
                let closed = timeout(Duration::from_secs(12), async {
                    while client.packet().await.is_some() {}
                });
                let why = "it goes on with an expired token";
                assert!(closed.await.is_ok(), "behind {requests_before}: {why}");
            }
        }
    });
    join_all(clients).await;
    app.empty().await;
}
