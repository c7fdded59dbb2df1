//! Polls without `t`, as Java's client sends them: nothing tells a repeat, so TCP has to show whether an answer arrived.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::harness::{
    Haproxy, Kafka, Packet, Polling, SOON, Stream, Tally, TestApp, auth, eventually, request,
};

const ANSWER_LOST: &str = "fleetcast_disconnects_total{reason=\"answer_lost\"}";

/// A polling session in `channel:7` that has its welcome. Its answers were read to the end.
async fn welcomed(address: SocketAddr) -> Polling {
    let client = Polling::connect(address, &auth("u1", "o1", &["channel:7"])).await;
    while !client.get().await.body.contains("connection_established") {}
    client
}

/// How a client asks, and what it does with the answer.
#[derive(Debug, Clone, Copy)]
struct Habit {
    /// A line of the head, or none.
    head: &'static str,
    version: &'static str,
    receive_buffer: u32,
    reads: bool,
    resets: bool,
}

const READS: Habit = Habit {
    head: "",
    version: "1.1",
    receive_buffer: 64 * 1024,
    reads: true,
    resets: false,
};

/// Sends a poll and returns what was read of its answer.
async fn poll(client: &Polling, address: SocketAddr, habit: Habit) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(habit.receive_buffer).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!(
        "GET {} HTTP/{}\r\nHost: x\r\n{}\r\n",
        client.target(),
        habit.version,
        habit.head
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    if habit.reads {
        while !complete(&text) {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    } else {
        timeout(SOON, stream.readable()).await.unwrap().unwrap();
        // So that all of it has come that fits into the buffers.
        sleep(Duration::from_millis(100)).await;
    }
    (stream, text)
}

fn complete(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .any(|(name, value)| {
            name.eq_ignore_ascii_case("content-length") && value.parse() == Ok(body.len())
        })
}

async fn has_ended(app: &TestApp, client: &Polling, ended: u64) {
    eventually("the session has ended", async || {
        (app.metrics().await.value(ANSWER_LOST) == ended).then_some(())
    })
    .await;
    assert_eq!(client.get().await.status, 400);
    let logged = app
        .log()
        .iter()
        .any(|line| line.contains("polling session ended: an answer was lost"));
    assert!(logged);
}

#[tokio::test]
async fn session_ends_when_tcp_shows_that_an_answer_did_not_arrive() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let unread = Habit {
        reads: false,
        ..READS
    };
    let small = Habit {
        receive_buffer: 2048,
        ..unread
    };
    let habits = [
        // The client's kernel has all of it, and resets because it was not read.
        ("unread, closed", unread),
        (
            "unread, reset",
            Habit {
                resets: true,
                ..unread
            },
        ),
        // The client's kernel has the beginning.
        ("unacknowledged, closed", small),
        (
            "unacknowledged, reset",
            Habit {
                resets: true,
                ..small
            },
        ),
        (
            "unacknowledged on a connection that was to end",
            Habit {
                head: "Connection: close\r\n",
                ..small
            },
        ),
        (
            "unacknowledged, of HTTP/1.0",
            Habit {
                version: "1.0",
                ..small
            },
        ),
    ];
    let mut stream = Stream::new(&kafka, 1, 60_000);
    for (ended, (name, habit)) in (1..).zip(habits) {
        let client = welcomed(app.public).await;
        stream.produce(&kafka, 1).await;
        let (connection, _) = poll(&client, app.public, habit).await;
        if habit.resets {
            connection.set_zero_linger().unwrap();
        }
        drop(connection);
        has_ended(&app, &client, ended).await;
        println!("{name}: ended");
    }
    app.empty().await;
}

/// The repeat comes while the connection of the lost answer seems to be open.
#[tokio::test]
async fn poll_that_follows_an_unacknowledged_answer_ends_the_session() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut stream = Stream::new(&kafka, 1, 60_000);
    let habit = Habit {
        receive_buffer: 2048,
        reads: false,
        ..READS
    };
    let client = welcomed(app.public).await;
    stream.produce(&kafka, 1).await;
    let (open, _) = poll(&client, app.public, habit).await;
    stream.produce(&kafka, 1).await;
    let repeat = client.get().await;
    assert_eq!(repeat.status, 400, "it would get what comes after the hole");
    has_ended(&app, &client, 1).await;
    drop(open);
    // The same when the reset and the repeat come at once.
    for ended in 2..12 {
        let client = welcomed(app.public).await;
        stream.produce(&kafka, 1).await;
        let unread = Habit {
            reads: false,
            ..READS
        };
        let (open, _) = poll(&client, app.public, unread).await;
        stream.produce(&kafka, 1).await;
        open.set_zero_linger().unwrap();
        drop(open);
        assert_eq!(client.get().await.status, 400);
        has_ended(&app, &client, ended).await;
    }
}

/// The connection of a poll breaks at any moment before, in and after its answer, and the GET is repeated by the HTTP layer. Where
/// the session has ended for that, the client goes on from its cursor.
#[tokio::test]
async fn poll_that_is_repeated_without_t_loses_nothing() {
    const ROUNDS: u64 = 60;
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = welcomed(app.public).await;
    let mut stream = Stream::new(&kafka, 1, 100);
    let mut tally = Tally::default();
    let mut resume = auth("u1", "o1", &["channel:7"]);
    let mut ended = 0;
    for round in 0..ROUNDS {
        let lost = client.hold(&client.target()).await;
        tokio::join!(stream.produce(&kafka, 1), async {
            sleep(Duration::from_micros(round * 200)).await;
            lost.set_zero_linger().unwrap();
            drop(lost);
        });
        while tally.count < stream.total() {
            let answer = client.get().await;
            if answer.status == 400 {
                ended += 1;
                client = Polling::connect(app.public, &resume).await;
                continue;
            }
            for packet in answer.body.split('\u{1e}').map(Packet::parse) {
                match packet {
                    Packet::Event(event) => {
                        tally.note(&event);
                        if let Some(cursor) = event.cursor() {
                            resume["cursor"] = cursor.into();
                        }
                    }
                    Packet::Ping => client.post("3").await,
                    _ => {}
                }
            }
        }
    }
    assert_eq!(app.metrics().await.value(ANSWER_LOST), ended);
    println!("{ended} of {ROUNDS} sessions ended");
}

/// What proxies do that open a connection for each poll, and what clients do that leave theirs open.
#[tokio::test]
async fn session_goes_on_however_the_connection_of_an_answer_that_was_read_ends() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let client = welcomed(app.public).await;
    let mut stream = Stream::new(&kafka, 1, 20_000);
    let mut tally = Tally::default();
    let closes = Habit {
        head: "Connection: close\r\n",
        ..READS
    };
    let mut open = Vec::new();
    for round in 0..20 {
        for (keeps_open, habit) in [
            (false, READS),
            (true, READS),
            (false, closes),
            (
                false,
                Habit {
                    resets: true,
                    ..closes
                },
            ),
            (
                false,
                Habit {
                    version: "1.0",
                    ..READS
                },
            ),
            (
                false,
                Habit {
                    version: "1.0",
                    resets: true,
                    ..READS
                },
            ),
        ] {
            stream.produce(&kafka, 1).await;
            let (connection, answer) = poll(&client, app.public, habit).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.0 200 "),
                "round {round}, {habit:?}: {answer}"
            );
            note(&client, &mut tally, &answer).await;
            if habit.resets {
                connection.set_zero_linger().unwrap();
            }
            if keeps_open {
                open.push(connection);
            }
        }
    }
    // Idle connections are closed by either side later.
    drop(open);
    while tally.count < stream.total() {
        let (_, answer) = poll(&client, app.public, READS).await;
        note(&client, &mut tally, &answer).await;
    }
    assert_eq!(app.metrics().await.value(ANSWER_LOST), 0);
}

/// Counts what came; answers a ping.
async fn note(client: &Polling, tally: &mut Tally, answer: &str) {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    for packet in body.split('\u{1e}').map(Packet::parse) {
        match packet {
            Packet::Event(event) => tally.note(&event),
            Packet::Ping => client.post("3").await,
            _ => {}
        }
    }
}

#[tokio::test]
async fn session_goes_on_behind_a_proxy_that_closes_after_each_answer() {
    const ROUNDS: usize = 60;
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let options = [
        "option http-server-close",
        "option httpclose",
        "option forwardfor",
    ];
    for option in options {
        let proxy = Haproxy::start(app.public, option, "").await;
        let client = welcomed(proxy.address).await;
        // Small answers and larger ones.
        for filler in [100, 60_000] {
            let mut stream = Stream::new(&kafka, 1, filler);
            let mut count = 0;
            while count < ROUNDS {
                stream.produce(&kafka, 1).await;
                let answer = request(proxy.address, "GET", &client.target(), &[], "").await;
                let answer = answer.unwrap();
                let log = app.log().pop();
                assert_eq!(answer.status, 200, "{option}, {filler}: {count}, {log:?}");
                if answer.body.split('\u{1e}').any(|packet| packet == "2") {
                    client.post("3").await;
                }
                count += answer.body.matches("transmission_started").count();
            }
        }
    }
    assert_eq!(app.metrics().await.value(ANSWER_LOST), 0);
}
