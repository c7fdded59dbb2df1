//! The listener as a peer sees it: real sockets on loopback, short deadlines.

mod cost;
mod descriptors;
mod http;
mod keep_alive;
mod lane;
mod library;
mod reset;
mod stall;
mod upgrade;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use fleetcast_core::domain::client_address::TrustedProxies;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    BodyLimits, ConnectionTable, FrameHead, Guard, NetSettings, Observer, RecordObserver,
    RecordStamp, Stopping, bind, serve,
};

/// What the tests wait for at most, on a busy machine.
const LONG: Duration = Duration::from_secs(10);

fn settings() -> NetSettings {
    NetSettings {
        header_timeout: Duration::from_millis(200),
        keep_alive: Duration::from_secs(1),
        body: BodyLimits {
            whole: Duration::from_millis(600),
            span: Duration::from_millis(200),
            least: 100,
        },
        slow_client_timeout: Duration::from_millis(500),
        user_timeout: LONG,
        send_buffer: 16 * 1024,
        unsent: 16 * 1024,
        max_connections: 1000,
        reserve: 2,
        peers: None,
        preambles_from: TrustedProxies::default(),
        reserve_paths: &["/health", "/ready"],
    }
}

struct TestNet {
    address: SocketAddr,
    records: Arc<RecordsInOrder>,
    table: Arc<ConnectionTable>,
    tracker: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
}

/// Records that have left by lanes; they are numbered by their events.
#[derive(Default)]
struct RecordsInOrder(AtomicUsize);

impl RecordObserver for RecordsInOrder {
    fn records_written(&self, record: RecordStamp, count: u64, _wall_ms: u64) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!((before, 1), (record.event as usize, count));
    }
}

impl TestNet {
    fn start(router: Router, settings: NetSettings) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self::on(listener, router, settings)
    }

    fn on(listener: TcpListener, router: Router, settings: NetSettings) -> Self {
        let address = listener.local_addr().unwrap();
        let records = Arc::new(RecordsInOrder::default());
        let (table, tracker) = (ConnectionTable::new(records.clone()), TaskTracker::new());
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        tracker.spawn(serve(
            listener,
            router,
            settings,
            table.clone(),
            tracker.clone(),
            Stopping {
                drain: drain.clone(),
                accepting: stop.clone(),
            },
        ));
        Self {
            address,
            records,
            table,
            tracker,
            drain,
            stop,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A peer whose window is full after a few KB.
    async fn connect_narrow(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        // Loopback would use segments of 64 KB, which never fit this window: all would then hang on the kernel's probes.
        SockRef::from(&socket).set_tcp_mss(536).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends all of `input` and returns everything until the server closes.
    async fn exchange(&self, input: &[u8]) -> String {
        let mut peer = self.connect().await;
        peer.write_all(input).await.unwrap();
        read_to_close(&mut peer).await
    }

    fn closed(&self, reason: &str) -> u64 {
        self.table.stats().closed.get(reason).copied().unwrap_or(0)
    }

    async fn only_guard(&self) -> Arc<Guard> {
        eventually("one connection", || self.table.len() == 1).await;
        self.table.snapshot().remove(0)
    }

    /// Whatever the test left open ends, and no task stays behind.
    async fn finish(self) {
        self.stop.cancel();
        for guard in self.table.snapshot() {
            guard.kick("test_over");
        }
        self.tracker.close();
        timeout(LONG, self.tracker.wait())
            .await
            .expect("every connection's task ends");
        // Upgraded ones belong to tasks of the library.
        eventually("all closed", || self.table.is_empty()).await;
    }
}

/// A reset counts as a close; what came before it is kept.
async fn read_to_close(peer: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match timeout(LONG, peer.read(&mut buf))
            .await
            .expect("the server closes")
        {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&all).into_owned(),
            Ok(n) => all.extend_from_slice(&buf[..n]),
        }
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn responses(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

fn guard_of(request: &Request) -> Arc<Guard> {
    request.extensions().get::<Arc<Guard>>().unwrap().clone()
}

#[derive(Default)]
struct Recorder {
    bytes: AtomicUsize,
    frames: Mutex<Vec<(u8, Vec<u8>, usize)>>,
}

impl Recorder {
    fn frames(&self) -> Vec<(u8, Vec<u8>, usize)> {
        self.frames.lock().unwrap().clone()
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Observer for Recorder {
    fn bytes_written(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn frame_written(&self, frame: FrameHead<'_>) {
        let frame = (frame.opcode, frame.head.to_vec(), frame.payload_len);
        self.frames.lock().unwrap().push(frame);
    }
}
