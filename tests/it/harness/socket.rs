//! A small Socket.IO client over WebSocket. It reads only when it is asked to, so a test decides how slow it is.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Event, Packet, Tally, TestApp};

/// Longer than the promise of 30 s for new topics and partitions.
const PATIENCE: Duration = Duration::from_secs(35);

type WebSocket = WebSocketStream<TcpStream>;

/// How a client comes in.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    /// Bytes; the kernel's choice if `None`.
    pub(crate) receive_buffer: Option<u32>,
    /// The address of loopback that it comes from; the kernel's choice if `None`.
    pub(crate) source: Option<[u8; 4]>,
}

impl From<SocketAddr> for Way {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/socket.io/",
            receive_buffer: None,
            source: None,
        }
    }
}

impl Way {
    /// From this address of loopback.
    pub(crate) fn of(source: [u8; 4], app: &TestApp) -> Self {
        Self {
            source: Some(source),
            ..app.public.into()
        }
    }
}

/// A handshake that is not expected to succeed: the status of its answer and `Retry-After`.
pub(crate) async fn handshake(
    address: SocketAddr,
    transport: &str,
    headers: &[(&str, &str)],
) -> (u16, Option<String>) {
    let mut all = headers.to_vec();
    if transport == "websocket" {
        all.extend([
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
    }
    let target = format!("/socket.io/?EIO=4&transport={transport}");
    let answer = super::request(address, "GET", &target, &all, "")
        .await
        .unwrap();
    (answer.status, answer.header("retry-after").map(Into::into))
}

/// A WebSocket on which nothing has been read yet.
pub(crate) async fn open_websocket(way: Way, sid: Option<&str>) -> WebSocket {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = way.receive_buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    if let Some(source) = way.source {
        socket.bind((source, 0).into()).unwrap();
    }
    let stream = socket.connect(way.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
    let Way { address, path, .. } = way;
    let url = format!("ws://{address}{path}?EIO=4&transport=websocket{sid}");
    client_async(url, stream).await.unwrap().0
}

pub(crate) struct Client {
    websocket: WebSocket,
    next_ack: u64,
    /// What came while an acknowledgement was waited for.
    held: VecDeque<Packet>,
    /// The last one of each namespace.
    cursors: BTreeMap<String, String>,
    /// `data` of `connection_established` in `/`.
    pub(crate) welcome: Value,
    /// How long it takes over each packet.
    pub(crate) pace: Duration,
    /// Pings that it has answered.
    pub(crate) pings: usize,
}

impl Client {
    /// In `/`, welcomed.
    pub(crate) async fn connect(way: impl Into<Way>, auth: &Value) -> Self {
        let mut client = Self::open(way).await;
        client.welcome = client.enter("/", auth).await;
        client
    }

    /// An Engine.IO session without a socket.
    pub(crate) async fn open(way: impl Into<Way>) -> Self {
        let mut client = Self::over(open_websocket(way.into(), None).await);
        let first = client.packet().await;
        assert!(matches!(first, Some(Packet::Open(_))), "{first:?}");
        client
    }

    pub(crate) fn over(websocket: WebSocket) -> Self {
        Self {
            websocket,
            next_ack: 0,
            held: VecDeque::new(),
            cursors: BTreeMap::new(),
            welcome: Value::Null,
            pace: Duration::ZERO,
            pings: 0,
        }
    }

    /// Connects to a namespace; the data of its welcome.
    pub(crate) async fn enter(&mut self, namespace: &str, auth: &Value) -> Value {
        match self.try_enter(namespace, auth).await {
            Ok(welcome) => welcome,
            Err(message) => panic!("refused: {message}"),
        }
    }

    /// The error is the message of `connect_error`.
    pub(crate) async fn try_enter(
        &mut self,
        namespace: &str,
        auth: &Value,
    ) -> Result<Value, String> {
        self.send(&format!("40{}{auth}", prefix(namespace))).await;
        loop {
            match self.packet().await.expect("closed before it was admitted") {
                Packet::Connect { namespace: of } if of == namespace => break,
                Packet::ConnectError {
                    namespace: of,
                    message,
                } if of == namespace => return Err(message),
                other => self.held.push_back(other),
            }
        }
        loop {
            match self.packet().await.expect("closed before it was welcomed") {
                Packet::Event(event) if event.namespace == namespace => {
                    assert_eq!(event.name, "connection_established", "it comes first");
                    self.learn(&event);
                    return Ok(event.args[0]["data"].clone());
                }
                other => self.held.push_back(other),
            }
        }
    }

    /// A packet as text; an error is a connection that is gone.
    pub(crate) async fn try_send(&mut self, text: &str) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.websocket.send(Message::text(text))).await;
        sent.map_err(|_| "the server does not read".to_owned())?
            .map_err(|error| error.to_string())
    }

    /// A packet as a message in two fragments.
    pub(crate) async fn send_fragments(&mut self, first: &str, second: &str) {
        let fragment = |text: &str, code, last| {
            Message::Frame(Frame::message(text.to_owned(), OpCode::Data(code), last))
        };
        let frames = [
            fragment(first, Data::Text, false),
            fragment(second, Data::Continue, true),
        ];
        for frame in frames {
            self.websocket.send(frame).await.unwrap();
        }
    }

    pub(crate) async fn send_binary(&mut self, bytes: &'static [u8]) {
        let message = Message::Binary(bytes.into());
        self.websocket.send(message).await.unwrap();
    }

    /// A ping of the WebSocket's own, which no stock client sends.
    pub(crate) async fn try_ping(&mut self, bytes: usize) -> Result<(), String> {
        let ping = Message::Ping(vec![b'p'; bytes].into());
        let sent = timeout(PATIENCE, self.websocket.send(ping)).await;
        sent.map_err(|_| "the server does not read".to_owned())?
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn try_pong(&mut self) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.websocket.send(Message::Pong("".into()))).await;
        sent.map_err(|_| "the server does not read".to_owned())?
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.try_send(text).await.unwrap();
    }

    /// A command in `/`, and its acknowledgement. Events that come before it are kept.
    pub(crate) async fn command(&mut self, event: &str, payload: &Value) -> Value {
        self.command_in("/", event, payload).await
    }

    pub(crate) async fn command_in(
        &mut self,
        namespace: &str,
        event: &str,
        payload: &Value,
    ) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        let packet = json!([event, payload]);
        self.send(&format!("42{}{id}{packet}", prefix(namespace)))
            .await;
        loop {
            match self.packet().await.expect("closed before it was answered") {
                Packet::Ack { id: of, answer, .. } if of == id => return answer,
                other => self.held.push_back(other),
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, room: &str) {
        let answer = self.command("subscribe", &json!({ "room": room })).await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// The next event of any namespace; `None` when the connection is closed.
    pub(crate) async fn try_event(&mut self) -> Option<Event> {
        loop {
            let packet = match self.held.pop_front() {
                Some(packet) => packet,
                None => self.packet().await?,
            };
            match packet {
                Packet::Event(event) => {
                    self.learn(&event);
                    return Some(event);
                }
                Packet::Close | Packet::Disconnect => {
                    panic!("a packet after which stock clients never come back: {packet:?}")
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn event(&mut self) -> Event {
        self.try_event().await.expect("the connection is closed")
    }

    /// The next event that is not a mere `cursor`.
    pub(crate) async fn record(&mut self) -> Event {
        loop {
            let event = self.event().await;
            if event.name != "cursor" {
                return event;
            }
        }
    }

    /// The next event but `cursor` must be this one.
    pub(crate) async fn expect(&mut self, name: &str) -> Event {
        let event = self.record().await;
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The next event but `cursor` must be of this namespace.
    pub(crate) async fn expect_in(&mut self, namespace: &str) -> Event {
        let event = self.record().await;
        assert_eq!(event.namespace, namespace, "{event:?}");
        event
    }

    /// Reads until the tally has `count` records.
    pub(crate) async fn read_until(&mut self, tally: &mut Tally, count: usize) {
        while tally.count < count {
            let event = self.event().await;
            assert_ne!(event.name, "resync_required", "{event:?}");
            tally.note(&event);
        }
    }

    /// Reads until the transport closes; no close packet may come.
    pub(crate) async fn read_to_end(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.try_event().await {
            events.push(event);
        }
        events
    }

    /// Of the last event in `/` that was handed out.
    pub(crate) fn cursor(&self) -> String {
        self.cursor_in("/")
    }

    pub(crate) fn cursor_in(&self, namespace: &str) -> String {
        self.cursors[namespace].clone()
    }

    /// Ends it as a lost phone signal does: a reset without a close packet.
    pub(crate) fn cut(self) {
        let stream = self.websocket.get_ref();
        SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// See [`vanish`].
    pub(crate) fn vanish(&self) {
        vanish(self.websocket.get_ref());
    }

    /// The next packet; pings are answered.
    pub(crate) async fn packet(&mut self) -> Option<Packet> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !self.pace.is_zero() {
                sleep(self.pace).await;
            }
            let message = timeout_at(deadline, self.websocket.next())
                .await
                .expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => match Packet::parse(&text) {
                    // It may be closing: then the next read says so.
                    Packet::Ping => {
                        self.pings += 1;
                        drop(self.try_send("3").await);
                    }
                    packet => return Some(packet),
                },
                // Of a ping that the test has sent.
                Some(Ok(Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("no text: {other:?}"),
            }
        }
    }

    fn learn(&mut self, event: &Event) {
        if let Some(cursor) = event.cursor() {
            self.cursors
                .insert(event.namespace.clone(), cursor.to_owned());
        }
    }
}

/// From now on the kernel throws away every segment that comes for this socket, before TCP sees it: nothing is acknowledged,
/// and no side closes. It is what a machine that has lost its power looks like.
pub(crate) fn vanish(stream: &TcpStream) {
    /// `BPF_RET | BPF_K`: so many bytes of the packet are kept.
    const RETURN: u16 = 0x06;
    let nothing = SockFilter::new(RETURN, 0, 0, 0);
    SockRef::from(stream).attach_filter(&[nothing]).unwrap();
}

fn prefix(namespace: &str) -> String {
    match namespace {
        "/" => String::new(),
        other => format!("{other},"),
    }
}
