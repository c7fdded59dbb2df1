//! Polls whose answers are lost, and requests that are repeated because of that.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::harness::{
    Client, Kafka, Packet, Polling, SOON, Stream, Tally, TestApp, auth, eventually, open_websocket,
    request,
};

const SAME_T_REPEATED: &str = "fleetcast_polls_repeated_total{outcome=\"repeated\"}";
const TAKEN_OVER: &str = "fleetcast_polls_repeated_total{outcome=\"taken_over\"}";
const EVICTED: &str = "fleetcast_polls_repeated_total{outcome=\"evicted\"}";
const ACCEPTED: &str = "fleetcast_polls_repeated_total{outcome=\"accepted\"}";
const KEPT_BYTES: &str = "fleetcast_polling_kept_bytes";
const ANSWER_LOST: &str = "fleetcast_disconnects_total{reason=\"answer_lost\"}";
const PROTOCOL: &str = "fleetcast_disconnects_total{reason=\"protocol\"}";

/// A polling session in `channel:7` that has its welcome.
async fn welcomed(app: &TestApp) -> Polling {
    let client = Polling::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut mark = 0;
    loop {
        mark += 1;
        let answer = client.get_marked(&format!("w{mark}")).await;
        if answer.body.contains("connection_established") {
            return client;
        }
    }
}

fn note(tally: &mut Tally, body: &str) {
    for packet in body.split('\u{1e}').map(Packet::parse) {
        if let Packet::Event(event) = packet {
            tally.note(&event);
        }
    }
}

/// Ends the connection so that TCP resets it.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

/// All that comes until the connection ends.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut bytes)).await;
    drop(ended.expect("the connection stays open"));
    String::from_utf8(bytes).unwrap()
}

/// So many polls wait at the server.
async fn held(app: &TestApp, count: u64) {
    eventually("polls wait", async || {
        (app.metrics().await.value("fleetcast_polls_held") == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn repeated_poll_gets_the_same_answer_until_another_poll_comes() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let mut stream = Stream::new(&kafka, 1, 100);
    let mut tally = Tally::default();
    for round in 1..=3 {
        let mark = format!("r{round}");
        stream.produce(&kafka, 1).await;
        let first = client.get_marked(&mark).await;
        note(&mut tally, &first.body);
        assert_eq!(tally.count, round);
        for _ in 0..3 {
            let again = client.get_marked(&mark).await;
            assert_eq!((again.status, &again.body), (200, &first.body));
        }
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics.value(SAME_T_REPEATED), 9);
    let deliveries = "fleetcast_deliveries_total{event=\"transmission_started\"}";
    assert_eq!(metrics.value(deliveries), 3, "each was delivered once");
    client.post("1").await;
    app.empty().await;
    let kept = app.metrics().await.value(KEPT_BYTES);
    assert_eq!(kept, 0, "the end of the session releases its answer");
}

#[tokio::test]
async fn repeat_of_a_held_poll_takes_it_over() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let mut stream = Stream::new(&kafka, 1, 100);
    let first = client.hold(&client.marked("a")).await;
    held(&app, 1).await;
    let (second, ()) = tokio::join!(client.get_marked("a"), async {
        let answer = rest_of(first).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        stream.produce(&kafka, 1).await;
    });
    assert_eq!(second.status, 200);
    note(&mut Tally::default(), &second.body);
    assert!(second.body.contains("transmission_started"));
    let third = client.get_marked("a").await;
    assert_eq!(third.body, second.body, "it stays kept");
    let metrics = app.metrics().await;
    assert_eq!(metrics.value(TAKEN_OVER), 1);
    assert_eq!(metrics.value(SAME_T_REPEATED), 1);
}

/// A poll of a connection that is gone is still held by the library. What it is answered with then belongs to the next poll.
#[tokio::test]
async fn answer_for_which_no_request_waits_goes_to_the_next_poll() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let mut stream = Stream::new(&kafka, 1, 100);
    let mut tally = Tally::default();
    let marks = [
        (Some("a"), Some("a")),
        (Some("b"), Some("c")),
        (Some("d"), None),
        (None, None),
        (None, Some("e")),
    ];
    for (first, second) in marks {
        for answered_before in [true, false] {
            let target = |mark: Option<&str>| match mark {
                Some(mark) => client.marked(&format!("{mark}{answered_before}")),
                None => client.target(),
            };
            let (first, second) = (target(first), target(second));
            for _ in 0..2 {
                let lost = client.hold(&first).await;
                held(&app, 1).await;
                reset(lost);
                held(&app, 0).await;
            }
            if answered_before {
                stream.produce(&kafka, 1).await;
                eventually("the answer is kept", async || {
                    (app.metrics().await.value(KEPT_BYTES) > 0).then_some(())
                })
                .await;
            }
            let ask = request(app.public, "GET", &second, &[], "");
            let answer = if answered_before {
                ask.await
            } else {
                let (answer, ()) = tokio::join!(ask, async {
                    held(&app, 1).await;
                    stream.produce(&kafka, 1).await;
                });
                answer
            };
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{first}, then {second}");
            note(&mut tally, &answer.body);
            assert_eq!(tally.count, stream.total(), "{first}, then {second}");
        }
    }
}

/// The connection of a poll breaks at any moment before, in and after its answer, and the GET is repeated by its HTTP layer.
#[tokio::test]
async fn poll_that_is_repeated_after_its_connection_broke_loses_nothing() {
    const ROUNDS: usize = 60;
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let mut stream = Stream::new(&kafka, 1, 100);
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let mark = format!("r{round}");
        let lost = client.hold(&client.marked(&mark)).await;
        let pause = Duration::from_micros(u64::try_from(round).unwrap() * 200);
        tokio::join!(stream.produce(&kafka, 1), async {
            sleep(pause).await;
            reset(lost);
        });
        let mut answer = client.get_marked(&mark).await;
        for more in 0.. {
            assert_eq!(answer.status, 200, "round {round}");
            if answer.body.split('\u{1e}').any(|packet| packet == "2") {
                client.post("3").await;
            }
            note(&mut tally, &answer.body);
            if tally.count == stream.total() {
                break;
            }
            answer = client.get_marked(&format!("{mark}.{more}")).await;
        }
    }
}

#[tokio::test]
async fn a30_two_different_polls_at_once_end_the_session() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    for (one, other) in [(Some("a"), Some("b")), (None, None), (Some("a"), None)] {
        let client = welcomed(&app).await;
        let target = |mark: Option<&str>| mark.map_or(client.target(), |mark| client.marked(mark));
        let first = client.hold(&target(one)).await;
        held(&app, 1).await;
        let second = request(app.public, "GET", &target(other), &[], "").await;
        assert_eq!(second.unwrap().status, 400);
        let mut head = [0; 12];
        let mut first = first;
        timeout(SOON, first.read_exact(&mut head))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&head, b"HTTP/1.1 400");
        assert_eq!(client.get_marked("c").await.status, 400);
    }
    app.empty().await;
    assert_eq!(app.metrics().await.value(PROTOCOL), 3);
}

#[tokio::test]
async fn repeat_of_an_evicted_answer_ends_the_session() {
    const SESSIONS: usize = 300;
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let free = [("MAX_CONNECTIONS_PER_USER", "0")];
    let app = TestApp::start_with(&kafka, &free).await;
    let clients = join_all((0..SESSIONS).map(|_| welcomed(&app))).await;
    // Together more than 64 MiB.
    let mut stream = Stream::new(&kafka, 1, 240_000);
    stream.produce(&kafka, 1).await;
    for client in &clients {
        let answer = client.get_marked("a").await;
        assert!(answer.body.contains("transmission_started"));
    }
    let kept = app.metrics().await.value(KEPT_BYTES);
    assert!((60 << 20..=64 << 20).contains(&kept), "{kept} bytes");
    let newest = clients.last().unwrap();
    assert_eq!(newest.get_marked("a").await.status, 200);
    let [oldest, second, ..] = &clients[..] else {
        panic!("there are sessions");
    };
    assert_eq!(oldest.get_marked("a").await.status, 400);
    assert_eq!(oldest.get_marked("b").await.status, 400, "it has ended");
    // The second one's answer has arrived: its next poll has another `t`.
    let next = second.hold(&second.marked("b")).await;
    held(&app, 1).await;
    stream.produce(&kafka, 1).await;
    let mut head = [0; 12];
    let mut next = next;
    timeout(SOON, next.read_exact(&mut head))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    eventually("the session has ended", async || {
        let metrics = app.metrics().await;
        let counted = (metrics.value(EVICTED), metrics.value(ANSWER_LOST));
        (counted == (1, 1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn repeated_post_is_acted_upon_once() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(&app).await;
    let post = async |mark: &str, body: &str| {
        let answer = request(app.public, "POST", &client.marked(mark), &[], body).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    };
    let rooms = |id: usize| format!("42{id}[\"rooms\",{{}}]");
    post("a", &rooms(1)).await;
    post("a", &rooms(1)).await;
    post("a", &rooms(2)).await;
    post("b", &rooms(2)).await;
    let mut answers = Vec::new();
    for mark in 0.. {
        let answer = client.get_marked(&format!("p{mark}")).await;
        let packets = answer.body.split('\u{1e}');
        answers.extend(
            packets
                .filter(|packet| packet.starts_with("43"))
                .map(|packet| packet[2..3].to_owned()),
        );
        if answers.len() >= 3 {
            break;
        }
    }
    assert_eq!(answers, ["1", "2", "2"]);
    assert_eq!(app.metrics().await.value(ACCEPTED), 1);
}

/// Some clients put the time in whole seconds into `t` (C#), or a checksum of 32 bits (Rust): two requests that are no repeats have the same.
#[tokio::test]
async fn t_of_seconds_or_a_short_checksum_does_not_make_a_repeat() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    for mark in ["1795000000", "94637862", "4294967295"] {
        let client = welcomed(&app).await;
        let mut stream = Stream::new(&kafka, 1, 100);
        let mut tally = Tally::default();
        for _ in 1..=3 {
            stream.produce(&kafka, 1).await;
            let answer = client.get_marked(mark).await;
            assert_eq!(answer.status, 200, "{mark}");
            note(&mut tally, &answer.body);
            assert_eq!(tally.count, stream.total(), "{mark}");
        }
        let target = client.marked(mark);
        for _ in 0..2 {
            let command = "42[\"no such\"]";
            let posted = request(app.public, "POST", &target, &[], command).await;
            assert_eq!(posted.unwrap().status, 200);
        }
        let mut refusals = 0;
        while refusals < 2 {
            let answer = timeout(SOON, client.get_marked(mark)).await;
            let answer = answer.expect("a command was dropped");
            refusals += answer.body.matches("42[\"error\"").count();
        }
        client.post("1").await;
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics.value(SAME_T_REPEATED) + metrics.value(ACCEPTED), 0);
}

#[tokio::test]
async fn poll_that_is_repeated_during_an_upgrade_does_not_disturb_it() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    for taken_over in [false, true] {
        let client = welcomed(&app).await;
        let mut first = client.hold(&client.marked("a")).await;
        held(&app, 1).await;
        if taken_over {
            let second = client.hold(&client.marked("a")).await;
            assert!(rest_of(first).await.starts_with("HTTP/1.1 400 "));
            first = second;
        }
        let websocket = open_websocket(app.public.into(), Some(&client.sid)).await;
        let mut upgraded = Client::over(websocket);
        upgraded.send("2probe").await;
        let answer = upgraded.packet().await;
        assert!(matches!(answer, Some(Packet::Probed)), "{answer:?}");
        // The answer of the poll that was held may be lost, too.
        reset(first);
        assert_eq!(client.get_marked("a").await.body, "6");
        assert_eq!(client.get_marked("a").await.body, "6");
        assert_eq!(client.get_marked("b").await.body, "6");
        upgraded.send("5").await;
        let mut stream = Stream::new(&kafka, 1, 100);
        let mut tally = Tally::default();
        if !taken_over {
            stream.produce(&kafka, 1).await;
            upgraded.read_until(&mut tally, 1).await;
        }
        let rooms = upgraded.command("rooms", &serde_json::json!({})).await;
        assert_eq!(rooms["success"], true);
        assert_eq!(client.get_marked("c").await.status, 400, "it polls no more");
        upgraded.cut();
    }
}
