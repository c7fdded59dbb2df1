//! Limits per address, user and organisation.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{
    Answer, Client, Kafka, Packet, SOON, TestApp, Way, auth, connect_from, eventually,
    request_over, transmission,
};

pub(crate) const ONE: [u8; 4] = [127, 0, 0, 1];
pub(crate) const NEIGHBOUR: [u8; 4] = [127, 0, 0, 2];
pub(crate) const OPEN: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A handshake by polling from this address.
pub(crate) async fn open(app: &TestApp, source: [u8; 4], headers: &[(&str, &str)]) -> Answer {
    let stream = connect_from(source, app.public).await;
    let answer = request_over(stream, "GET", OPEN, headers, "").await;
    answer.unwrap()
}

/// Reads until the transport closes: nothing may have told the client not to come back.
async fn closed_without_a_word(client: &mut Client) {
    loop {
        match timeout(SOON, client.packet()).await.expect("it is closed") {
            None => return,
            Some(Packet::Connect { .. } | Packet::ConnectError { .. } | Packet::Disconnect) => {
                panic!("the client received a packet that ends its retries")
            }
            Some(_) => {}
        }
    }
}

/// A client of another address is served as ever.
pub(crate) async fn is_served(app: &TestApp, kafka: &Kafka, source: [u8; 4]) {
    let auth = auth("neighbour", "o1", &["channel:7"]);
    let mut client = Client::connect(Way::of(source, app), &auth).await;
    let record = transmission("o1", "7", 0, 1, "");
    kafka.produce("transmission", &record).await;
    client.expect("transmission_started").await;
    client.cut();
}

/// A limit per address on loopback too.
pub(crate) fn limited<'a>(name: &'a str, most: &'a str) -> [(&'a str, &'a str); 2] {
    [("LIMIT_LOOPBACK", "true"), (name, most)]
}

#[tokio::test]
async fn a08_more_connections_of_one_address_get_429_and_others_are_served() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = limited("MAX_CONNECTIONS_PER_ADDRESS", "20");
    let more = [
        more[0],
        more[1],
        ("HANDSHAKES_PER_SECOND_PER_ADDRESS", "25"),
    ];
    let app = TestApp::start_with(&kafka, &more).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let auth = auth(&format!("u{number}"), "o1", &[]);
        clients.push(Client::connect(Way::of(ONE, &app), &auth).await);
    }
    // Many more than there may be handshakes: what is refused costs none.
    for _ in 0..200 {
        let answer = open(&app, ONE, &[]).await;
        assert_eq!(answer.status, 429, "{answer:?}");
        assert_eq!(answer.json()["code"], "ip_limit");
        assert_eq!(answer.header("retry-after"), Some("10"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    is_served(&app, &kafka, NEIGHBOUR).await;
    assert_eq!(app.metrics().await.refused("ip_limit"), 200);
    // A transport without a CONNECT counts as any other, until it ends.
    clients.pop().unwrap().cut();
    let idle = eventually("one is admitted again", async || {
        let answer = open(&app, ONE, &[]).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert!(idle.body.starts_with('0'));
    assert_eq!(open(&app, ONE, &[]).await.status, 429);
    for client in clients {
        client.cut();
    }
    eventually("a whole set is admitted again", async || {
        let mut status = open(&app, ONE, &[]).await.status;
        if status == 200 {
            for _ in 0..9 {
                status = open(&app, ONE, &[]).await.status;
            }
        }
        (status == 200).then_some(())
    })
    .await;
}

/// A connection that has been answered once and stays open.
async fn idle(app: &TestApp, source: [u8; 4]) -> (TcpStream, String) {
    let mut stream = connect_from(source, app.public).await;
    let request = b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = vec![0; 4096];
    let read = timeout(SOON, stream.read(&mut head)).await.unwrap();
    let head = String::from_utf8_lossy(&head[..read.unwrap()]).into_owned();
    (stream, head)
}

#[tokio::test]
async fn a08_tcp_connections_of_one_address_are_limited_too_and_probes_are_answered() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = limited("MAX_CONNECTIONS_PER_ADDRESS", "5");
    let app = TestApp::launch(&kafka, &more).await;
    eventually("it is ready", async || {
        let answer = crate::harness::request(app.internal, "GET", "/ready", &[], "").await;
        (answer.ok()?.status == 200).then_some(())
    })
    .await;
    let mut kept = Vec::new();
    while kept.len() < 20 {
        let (stream, head) = idle(&app, ONE).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{}: {head}", kept.len());
        kept.push(stream);
    }
    let (_, head) = idle(&app, ONE).await;
    assert!(head.starts_with("HTTP/1.1 429"), "{head}");
    assert!(head.contains("retry-after: 10"), "{head}");
    let answer = open(&app, ONE, &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (429, &json!("ip_limit"))
    );
    let stream = connect_from(ONE, app.public).await;
    let probe = request_over(stream, "GET", "/ready", &[], "").await;
    assert_eq!(probe.unwrap().status, 200);
    is_served(&app, &kafka, NEIGHBOUR).await;
    eventually("they are counted", async || {
        let counted = app.metrics().await.refused("ip_limit");
        (counted >= 2).then_some(())
    })
    .await;
    drop(kept);
    eventually("the address is served again", async || {
        (open(&app, ONE, &[]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a10_more_handshakes_in_a_second_get_503_and_others_are_served() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = limited("HANDSHAKES_PER_SECOND_PER_ADDRESS", "5");
    let app = TestApp::start_with(&kafka, &more).await;
    let (mut admitted, mut rejected) = (0, 0);
    let start = std::time::Instant::now();
    while rejected < 100 {
        let answer = open(&app, ONE, &[]).await;
        match answer.status {
            200 => admitted += 1,
            503 => {
                assert_eq!(answer.json()["code"], "handshake_rate");
                assert_eq!(answer.header("retry-after"), Some("2"));
                rejected += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    let most = 5 + 5 * (start.elapsed().as_secs() + 1);
    assert!((5..=most).contains(&admitted), "{admitted} of {most}");
    is_served(&app, &kafka, NEIGHBOUR).await;
    assert_eq!(app.metrics().await.refused("handshake_rate"), 100);
    eventually("the first address is admitted again", async || {
        sleep(Duration::from_millis(200)).await;
        (open(&app, ONE, &[]).await.status == 200).then_some(())
    })
    .await;
}

/// Connections that are opened and cut as fast as they can be: beyond the limit each is refused, and clients of other addresses come in
/// all the while.
#[tokio::test]
async fn a10_a_churn_of_connections_keeps_no_others_out() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = limited("HANDSHAKES_PER_SECOND_PER_ADDRESS", "5");
    let app = TestApp::start_with(&kafka, &more).await;
    let start = std::time::Instant::now();
    let (admitted, rejected) = (Cell::new(0), Cell::new(0));
    let churn = async |enough: u64| {
        while rejected.get() < enough {
            let stream = connect_from(ONE, app.public).await;
            let url = format!("ws://{}{WEBSOCKET}", app.public);
            match client_async(url, stream).await {
                // It is cut as it is dropped.
                Ok(_) => admitted.set(admitted.get() + 1),
                Err(Error::Http(answer)) => {
                    assert_eq!(answer.status(), 503);
                    assert_eq!(answer.headers()["retry-after"], "2");
                    rejected.set(rejected.get() + 1);
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    // The limit is reached; then each of these comes in while as many again are refused.
    churn(10).await;
    for _ in 0..5 {
        let enough = rejected.get() + 40;
        tokio::join!(churn(enough), is_served(&app, &kafka, NEIGHBOUR));
    }
    let most = 5 + 5 * (start.elapsed().as_secs() + 1);
    assert!(
        (5..=most).contains(&admitted.get()),
        "{admitted:?} of {most}"
    );
    let counted = app.metrics().await.refused("handshake_rate");
    assert_eq!(counted, rejected.get());
    app.empty().await;
}

#[tokio::test]
async fn connections_of_a_user_and_of_an_organisation_are_limited_and_the_newest_is_closed() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let more = [
        ("MAX_CONNECTIONS_PER_USER", "2"),
        ("MAX_CONNECTIONS_PER_ORGANISATION", "3"),
    ];
    let app = TestApp::start_with(&kafka, &more).await;
    let connect = async |user, organisation| {
        Client::connect(app.public, &auth(user, organisation, &["channel:7"])).await
    };
    let is_refused = async |user, organisation| {
        let mut client = Client::open(app.public).await;
        let auth = auth(user, organisation, &[]);
        client.send(&format!("40{auth}")).await;
        closed_without_a_word(&mut client).await;
    };
    let mut first = connect("u1", "o1").await;
    let second = connect("u1", "o1").await;
    is_refused("u1", "o1").await;
    let third = connect("u2", "o1").await;
    is_refused("u3", "o1").await;
    let other = connect("u1", "o2").await;
    let metrics = app.metrics().await;
    assert_eq!(metrics.refused("user_limit"), 1);
    assert_eq!(metrics.refused("organisation_limit"), 1);
    // Those that were there go on, and a place that is free is taken again.
    kafka
        .produce("transmission", &transmission("o1", "7", 0, 1, ""))
        .await;
    first.expect("transmission_started").await;
    second.cut();
    let fourth = eventually("the next one is admitted", async || {
        let mut client = Client::open(app.public).await;
        let auth = auth("u1", "o1", &[]);
        client.send(&format!("40{auth}")).await;
        loop {
            match client.packet().await {
                Some(Packet::Connect { .. }) => return Some(client),
                Some(_) => {}
                None => return None,
            }
        }
    })
    .await;
    // Two namespaces of one transport are one connection.
    let mut both = connect("u9", "o9").await;
    both.enter("/ws", &auth("u9", "o9", &[])).await;
    let again = connect("u9", "o9").await;
    is_refused("u9", "o9").await;
    both.send("41/ws,").await;
    let answer = both.command("rooms", &json!({})).await;
    assert_eq!(answer["success"], true);
    is_refused("u9", "o9").await;
    for client in [first, third, fourth, other, both, again] {
        client.cut();
    }
    app.empty().await;
}

#[tokio::test]
async fn a_limit_that_a_second_namespace_meets_leaves_the_first_alone() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start_with(&kafka, &[("MAX_CONNECTIONS_PER_USER", "1")]).await;
    let holder = Client::connect(app.public, &auth("u2", "o1", &[])).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    client
        .send(&format!("40/ws,{}", auth("u2", "o1", &[])))
        .await;
    eventually("it is looked at again and again", async || {
        let counted = app.metrics().await.refused("user_limit");
        (counted >= 3).then_some(())
    })
    .await;
    kafka
        .produce("transmission", &transmission("o1", "7", 0, 1, ""))
        .await;
    client.expect("transmission_started").await;
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    // More of the kind change nothing.
    for _ in 0..5 {
        client
            .send(&format!("40/ws,{}", auth("u2", "o1", &[])))
            .await;
    }
    assert_eq!(client.command("rooms", &json!({})).await["success"], true);
    holder.cut();
    let connected = async {
        loop {
            if let Packet::Connect { .. } = client.packet().await.expect("it is open") {
                break;
            }
        }
    };
    timeout(SOON, connected).await.expect("the place is taken");
}
