//! The stock library on top: what the guard promises must hold through hyper, tungstenite and socketioxide.

use std::net::Shutdown;

use futures_util::{SinkExt, StreamExt};
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use std::sync::atomic::AtomicU64;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::super::frame_start::frame_of;
use super::super::head_deadline::HeadDeadline;
use super::super::memory::MemorySocket;
use super::super::socket::Socket;
use super::super::stream::GuardedStream;
use super::super::writer::FrameWriter;
use super::super::{ConnectionEnd, FrameAnswer};
use super::*;

#[derive(Default)]
pub(super) struct OpenedSockets {
    pub(super) guards: Mutex<Vec<Arc<Guard>>>,
    pub(super) sockets: Mutex<Vec<SocketRef>>,
    pub(super) disconnected: AtomicU64,
}

pub(super) fn library() -> (Router, Arc<OpenedSockets>, Arc<Recorder>) {
    let (opened, recorder) = (
        Arc::new(OpenedSockets::default()),
        Arc::new(Recorder::default()),
    );
    // Long pings: what ends a connection in these tests is not the heartbeat.
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(4096)
        .ping_interval(Duration::from_mins(1))
        .build_layer();
    let (of_handler, observer) = (opened.clone(), recorder.clone());
    io.ns("/", async move |socket: SocketRef| {
        let guard = socket
            .req_parts()
            .extensions
            .get::<Arc<Guard>>()
            .unwrap()
            .clone();
        guard.set_observer(observer);
        let gone = of_handler.clone();
        socket.on_disconnect(async move || {
            gone.disconnected.fetch_add(1, Ordering::SeqCst);
        });
        of_handler.sockets.lock().unwrap().push(socket);
        of_handler.guards.lock().unwrap().push(guard);
    });
    (Router::new().layer(layer), opened, recorder)
}

pub(super) async fn connect(net: &TestNet, opened: &OpenedSockets) -> WebSocketStream<TcpStream> {
    let stream = net.connect_narrow().await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", net.address);
    let (mut client, _) = client_async(url, stream).await.unwrap();
    let open = next_text(&mut client).await;
    assert!(open.starts_with("0{"), "{open}");
    client.send(Message::text("40")).await.unwrap();
    assert!(next_text(&mut client).await.starts_with("40{"));
    eventually("connected", || !opened.sockets.lock().unwrap().is_empty()).await;
    client
}

/// The first ping of the library comes right after the open packet, at any place between others.
async fn next_text(client: &mut WebSocketStream<TcpStream>) -> String {
    loop {
        let message = timeout(LONG, client.next()).await.unwrap().unwrap();
        let text = message.unwrap().into_text().unwrap();
        if text.as_str() != "2" {
            return text.to_string();
        }
    }
}

#[tokio::test]
async fn frames_of_the_library_are_observed() {
    let (router, opened, recorder) = library();
    let net = TestNet::start(router, settings());
    let mut client = connect(&net, &opened).await;
    let socket = opened.sockets.lock().unwrap()[0].clone();
    let long = "x".repeat(70_000);
    for data in ["short", &"y".repeat(300), &long] {
        socket.emit("event", data).unwrap();
        assert!(
            next_text(&mut client)
                .await
                .ends_with(&format!("{data}\"]"))
        );
    }
    eventually("three frames", || recorder.frames().len() >= 3).await;
    let events: Vec<_> = recorder
        .frames()
        .into_iter()
        .filter(|(_, head, _)| head.starts_with(b"42[\"event\""))
        .collect();
    let lengths: Vec<usize> = events.iter().map(|event| event.2).collect();
    assert_eq!(lengths, [14 + 5, 14 + 300, 14 + 70_000]);
    assert!(events.iter().all(|event| event.0 == 1));
    // Open and CONNECT came before the observer; the ping comes before or between.
    assert!(recorder.frames().len() >= 3);
    drop(socket);
    net.finish().await;
}

/// Fills everything between the library's queue and a client that does not read.
async fn fill(opened: &OpenedSockets) -> Arc<Guard> {
    let socket = opened.sockets.lock().unwrap()[0].clone();
    let guard = opened.guards.lock().unwrap()[0].clone();
    let data = "x".repeat(10_000);
    for _ in 0..1000 {
        socket.emit("event", &data).unwrap();
    }
    eventually("blocked", || guard.write_blocked()).await;
    guard
}

#[tokio::test]
async fn a_kick_runs_the_disconnect_handler_though_the_window_is_full() {
    let (router, opened, _) = library();
    let patient = NetSettings {
        slow_client_timeout: LONG * 6,
        ..settings()
    };
    let net = TestNet::start(router, patient);
    let client = connect(&net, &opened).await;
    let guard = fill(&opened).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(opened.disconnected.load(Ordering::SeqCst), 0);
    let start = Instant::now();
    guard.kick("slow_client");
    eventually("disconnected", || {
        opened.disconnected.load(Ordering::SeqCst) == 1
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    eventually("closed", || net.table.is_empty()).await;
    assert_eq!(net.closed("slow_client"), 1);
    drop(client);
    net.finish().await;
}

#[tokio::test]
async fn a_stalled_client_of_the_library_is_closed_at_the_deadline() {
    let (router, opened, _) = library();
    let net = TestNet::start(router, settings());
    let client = connect(&net, &opened).await;
    fill(&opened).await;
    eventually("disconnected", || {
        opened.disconnected.load(Ordering::SeqCst) == 1
    })
    .await;
    eventually("closed", || net.table.is_empty()).await;
    assert_eq!(net.closed("write_stall"), 1);
    drop(client);
    net.finish().await;
}

/// A server's stream over a kernel that takes what the test says.
pub(super) fn over_memory(socket: &Arc<MemorySocket>) -> (GuardedStream, Arc<Guard>) {
    over(socket.clone(), LONG)
}

pub(super) fn over(socket: Arc<dyn Socket>, deadline: Duration) -> (GuardedStream, Arc<Guard>) {
    let table = ConnectionTable::new(crate::telemetry::Metrics::new().delivery_times.clone());
    let context = table.writers(deadline, TaskTracker::new());
    let writer = FrameWriter::new(socket.clone(), context);
    let guard = table.insert(SocketAddr::from(([127, 0, 0, 1], 1)), writer, None);
    guard.set_upgraded();
    let stream = GuardedStream::new(socket, guard.clone(), table, HeadDeadline::new(LONG, LONG));
    (stream, guard)
}

pub(super) const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

pub(super) async fn websocket(
    socket: &Arc<MemorySocket>,
) -> (WebSocketStream<GuardedStream>, Arc<Guard>) {
    let (mut stream, guard) = over_memory(socket);
    socket.allow([HEAD.len()]);
    stream.write_all(HEAD).await.unwrap();
    let websocket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    (websocket, guard)
}

/// tungstenite takes a write for done once its bytes are with us.
#[tokio::test]
async fn half_frame_of_the_library_goes_out_as_soon_as_the_kernel_has_space() {
    let socket = MemorySocket::new();
    let (mut websocket, guard) = websocket(&socket).await;
    socket.allow([7]);
    let tracker = TaskTracker::new();
    let sending = tracker.spawn(async move {
        websocket.send(Message::text("42[\"half\"]")).await.unwrap();
        websocket
    });
    eventually("half of it", || socket.written().len() == HEAD.len() + 7).await;
    assert!(guard.write_blocked() && !sending.is_finished());
    socket.allow([usize::MAX]);
    let websocket = timeout(LONG, sending).await.unwrap().unwrap();
    let expected = frame_of(1, b"42[\"half\"]");
    assert_eq!(socket.written()[HEAD.len()..], expected);
    assert!(!guard.write_blocked());
    drop(websocket);
    assert_eq!(Arc::strong_count(&socket), 1, "a guard pins no descriptor");
}

/// The library answers a WebSocket ping inside a read, and then waits for more to read.
#[tokio::test]
async fn the_rest_of_a_pong_is_written_while_the_library_only_reads() {
    let socket = MemorySocket::new();
    let (websocket, guard) = websocket(&socket).await;
    let (_sink, mut reads) = websocket.split();
    let tracker = TaskTracker::new();
    let reading = tracker.spawn(async move {
        let ping = reads.next().await.unwrap().unwrap();
        assert_eq!(ping, Message::Ping("ping".into()));
        reads.next().await
    });
    socket.allow([3]);
    // Masked by zeros.
    socket.receive(b"\x89\x84\0\0\0\0ping");
    eventually("half of it", || socket.written().len() == HEAD.len() + 3).await;
    assert!(guard.write_blocked());
    socket.allow([usize::MAX]);
    let pong = frame_of(10, b"ping");
    eventually("all of it", || socket.written()[HEAD.len()..] == pong).await;
    assert!(!guard.write_blocked() && !reading.is_finished());
    guard.kick("test_over");
    assert!(
        timeout(LONG, reading)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_err()
    );
}

struct ClosesAtOne;

impl Observer for ClosesAtOne {
    fn wants(&self, frame: FrameHead<'_>) -> bool {
        frame.head == b"1"
    }

    fn inspect(&self, _opcode: u8, _payload: &[u8]) -> FrameAnswer {
        FrameAnswer::Close("one")
    }
}

/// The connection is ended when the writer's lock is free again.
#[tokio::test]
async fn answer_of_an_observer_closes_the_connection_in_place_of_the_frame() {
    let socket = MemorySocket::new();
    let (mut websocket, guard) = websocket(&socket).await;
    guard.set_observer(Arc::new(ClosesAtOne));
    socket.allow([usize::MAX; 4]);
    websocket.send(Message::text("2")).await.unwrap();
    websocket.send(Message::text("1")).await.unwrap_err();
    assert_eq!(guard.close_reason(), Some(ConnectionEnd::Kicked("one")));
    assert_eq!(socket.shut(), Some(Shutdown::Both));
    assert_eq!(socket.written()[HEAD.len()..], frame_of(1, b"2"));
    assert!(!socket.is_reset() && !guard.write_blocked());
}

/// With a window of a few KB the kernel takes a part of nearly every frame.
#[tokio::test]
async fn every_frame_reaches_a_narrow_client_that_reads_late_and_slowly() {
    const EVENTS: usize = 400;
    let (router, opened, recorder) = library();
    let patient = NetSettings {
        slow_client_timeout: LONG,
        ..settings()
    };
    let net = TestNet::start(router, patient);
    let mut client = connect(&net, &opened).await;
    let socket = opened.sockets.lock().unwrap()[0].clone();
    let guard = opened.guards.lock().unwrap()[0].clone();
    for number in 0..EVENTS {
        // Of all lengths.
        let data = "x".repeat(number * 37 % 5_000);
        socket.emit("event", &(number, data)).unwrap();
        if number % 100 == 50 {
            client.send(Message::Ping("ping".into())).await.unwrap();
        }
    }
    eventually("blocked", || guard.write_blocked()).await;
    sleep(Duration::from_millis(200)).await;
    let (mut events, mut pongs) = (0, 0);
    while events < EVENTS || pongs < 4 {
        match timeout(LONG, client.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Pong(_) => pongs += 1,
            Message::Text(text) if text.as_str() == "2" => {}
            Message::Text(text) => {
                let data = "x".repeat(events * 37 % 5_000);
                assert_eq!(text.as_str(), format!("42[\"event\",{events},\"{data}\"]"));
                events += 1;
            }
            other => panic!("{other:?}"),
        }
        if events % 20 == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    eventually("nothing waits", || !guard.write_blocked()).await;
    let reported = recorder.frames();
    let counted = reported
        .iter()
        .filter(|(_, head, _)| head.starts_with(b"42"));
    assert_eq!(counted.count(), EVENTS);
    drop(socket);
    net.finish().await;
}
