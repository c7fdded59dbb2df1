//! Several POSTs of one polling session at once: no stock client sends that.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Kafka, Packet, Polling, SOON, TestApp, auth, eventually, request};

const PROTOCOL: &str = "fleetcast_disconnects_total{reason=\"protocol\"}";

async fn welcomed(app: &TestApp) -> Polling {
    let client = Polling::connect(app.public, &auth("u1", "o1", &[])).await;
    let welcome = |packet: &Packet| matches!(packet, Packet::Event(_));
    while !client.poll().await.iter().any(welcome) {}
    client
}

/// A post whose head and first packet have been sent, and the rest of it.
async fn begun(app: &TestApp, target: &str) -> (TcpStream, &'static str) {
    let (first, rest) = ("421[\"rooms\",{}]", "\u{1e}422[\"rooms\",{}]");
    let length = first.len() + rest.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{first}"
    );
    let mut stream = TcpStream::connect(app.public).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    (stream, rest)
}

/// Its answer, once the rest is there.
async fn ended((mut stream, rest): (TcpStream, &'static str)) -> String {
    drop(stream.write_all(rest.as_bytes()).await);
    let mut answer = String::new();
    let read = timeout(SOON, stream.read_to_string(&mut answer)).await;
    drop(read.expect("it is answered"));
    answer
}

#[tokio::test]
async fn a29_a_post_before_the_one_before_it_is_answered_ends_the_session() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    for marks in [None, Some(("a", "b"))] {
        let client = welcomed(&app).await;
        let target = |mark: Option<&str>| mark.map_or(client.target(), |mark| client.marked(mark));
        let first = begun(&app, &target(marks.map(|marks| marks.0))).await;
        let answer = eventually("the first one is under way", async || {
            let target = target(marks.map(|marks| marks.1));
            let answer = request(app.public, "POST", &target, &[], "423[\"rooms\",{}]").await;
            let status = answer.unwrap().status;
            (status != 200).then_some(status)
        })
        .await;
        assert_eq!(answer, 400);
        let answer = ended(first).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(client.get().await.status, 400, "it has ended");
    }
    app.empty().await;
    assert_eq!(app.metrics().await.value(PROTOCOL), 2);
}

/// As an HTTP layer repeats a request whose connection has broken.
#[tokio::test]
async fn a29_a_post_that_is_repeated_before_its_connection_is_known_to_be_broken_is_accepted() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let target = client.marked("a");
    let first = begun(&app, &target).await;
    let body = "421[\"rooms\",{}]\u{1e}422[\"rooms\",{}]";
    let again = request(app.public, "POST", &target, &[], body)
        .await
        .unwrap();
    assert_eq!(again.status, 200);
    assert!(ended(first).await.starts_with("HTTP/1.1 200"));
    let mut answers = Vec::new();
    while answers.len() < 2 {
        for packet in client.poll().await {
            if let Packet::Ack { id, .. } = packet {
                answers.push(id);
            }
        }
    }
    assert_eq!(answers, [1, 2], "once");
    client.post("1").await;
    app.empty().await;
}

#[tokio::test]
async fn a29_a_hundred_posts_at_once_are_all_answered_and_leave_nothing_behind() {
    let kafka = Kafka::mock(&[]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let target = client.target();
    let posts = join_all((0..100).map(|_| begun(&app, &target))).await;
    // None is complete yet, and the second one has ended the session.
    app.empty().await;
    for answer in join_all(posts.into_iter().map(ended)).await {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    }
    assert_eq!(client.get().await.status, 400, "it has ended");
    assert_eq!(app.metrics().await.value(PROTOCOL), 1);
}
