//! The stock library on top: what the guard promises must hold through hyper, tungstenite and socketioxide.

use futures_util::{SinkExt, StreamExt};
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

#[derive(Default)]
struct Room {
    guards: Mutex<Vec<Arc<Guard>>>,
    sockets: Mutex<Vec<SocketRef>>,
    disconnected: AtomicU64,
}

fn library() -> (Router, Arc<Room>, Arc<Recorder>) {
    let (room, recorder) = (Arc::new(Room::default()), Arc::new(Recorder::default()));
    // Long pings: what ends a connection in these tests is not the heartbeat.
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(4096)
        .ping_interval(Duration::from_mins(1))
        .build_layer();
    let (of_handler, observer) = (room.clone(), recorder.clone());
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
    (Router::new().layer(layer), room, recorder)
}

async fn connect(net: &TestNet, room: &Room) -> WebSocketStream<TcpStream> {
    let stream = net.connect_narrow().await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", net.address);
    let (mut client, _) = client_async(url, stream).await.unwrap();
    let open = next_text(&mut client).await;
    assert!(open.starts_with("0{"), "{open}");
    client.send(Message::text("40")).await.unwrap();
    assert!(next_text(&mut client).await.starts_with("40{"));
    eventually("connected", || !room.sockets.lock().unwrap().is_empty()).await;
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
    let (router, room, recorder) = library();
    let net = TestNet::start(router, settings());
    let mut client = connect(&net, &room).await;
    let socket = room.sockets.lock().unwrap()[0].clone();
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
    // Open, CONNECT and ping came before or between.
    assert!(room.guards.lock().unwrap()[0].frames_out() >= 5);
    drop(socket);
    net.finish().await;
}

/// Fills everything between the library's queue and a client that does not read.
async fn fill(room: &Room) -> Arc<Guard> {
    let socket = room.sockets.lock().unwrap()[0].clone();
    let guard = room.guards.lock().unwrap()[0].clone();
    let data = "x".repeat(10_000);
    for _ in 0..1000 {
        socket.emit("event", &data).unwrap();
    }
    eventually("blocked", || guard.write_blocked()).await;
    guard
}

#[tokio::test]
async fn a_kick_runs_the_disconnect_handler_though_the_window_is_full() {
    let (router, room, _) = library();
    let patient = NetSettings {
        slow_client_timeout: LONG * 6,
        ..settings()
    };
    let net = TestNet::start(router, patient);
    let client = connect(&net, &room).await;
    let guard = fill(&room).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(room.disconnected.load(Ordering::SeqCst), 0);
    let start = Instant::now();
    guard.kick("slow_client");
    eventually("disconnected", || {
        room.disconnected.load(Ordering::SeqCst) == 1
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
    let (router, room, _) = library();
    let net = TestNet::start(router, settings());
    let client = connect(&net, &room).await;
    fill(&room).await;
    eventually("disconnected", || {
        room.disconnected.load(Ordering::SeqCst) == 1
    })
    .await;
    eventually("closed", || net.table.is_empty()).await;
    assert_eq!(net.closed("write_stall"), 1);
    drop(client);
    net.finish().await;
}
