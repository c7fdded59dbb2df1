//! What a delivery by the lane costs, as counts: allocations of the thread that serves, and writes.
//!
//! The server runs in this process, on this thread; the clients and the producer have threads of their own, and so has the consumer. An
//! allocator counts what this thread allocates.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper fails the test, as the test itself would"
)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use fleetcast::app::{self, Mode};
use fleetcast::clock;
use fleetcast::demo::broker::Broker;
use fleetcast::lifecycle::Lifecycle;
use fleetcast::settings::{Presets, Settings};
use fleetcast::telemetry::Metrics;
use jsonwebtoken::{EncodingKey, Header};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

const SECRET: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";
const TOPIC: &str = "transmission";

/// All hold one channel, the first of them another one too.
const MEMBERS: usize = 1_000;
const FEW: usize = 100;
const ALL_CHANNEL: &str = "7";
const FEW_CHANNEL: &str = "8";

/// Before and after this the connections are the same: what they keep for later is there.
const WARM_UP: u64 = 16;
const PUBLICATIONS: u64 = 48;

/// What a publication may cost whatever it is delivered to: to be taken over from the consumer, routed and encoded, to grow the list of
/// lanes that are to be flushed, and what else the thread does meanwhile.
const OF_A_PUBLICATION: u64 = 60;

const PATIENCE: Duration = Duration::from_mins(2);
const IDLE: Duration = Duration::from_millis(1);

#[test]
fn delivery_by_the_lane_allocates_nothing_and_writes_once() {
    let broker = Broker::start().unwrap();
    broker.create_topic(TOPIC, 1).unwrap();
    let [address, internal] = [(); 2].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (metrics, lifecycle) = (Metrics::new(), Lifecycle::new());
    serve(&runtime, &broker, [address, internal], &metrics, &lifecycle);
    let crowd = Crowd::default();
    std::thread::scope(|scope| {
        let (produce, rounds) = sync_channel(1);
        let _over = Over(&crowd.over);
        scope.spawn(|| crowd.read(address));
        let (crowd, broker) = (&crowd, &broker);
        scope.spawn(move || crowd.produce(broker, &rounds));
        // Engine.IO's open packet and first ping, CONNECT, welcome.
        crowd.until(&runtime, 4 * MEMBERS as u64);
        let measure = |round: Round| {
            let members = if round.channel == FEW_CHANNEL {
                FEW
            } else {
                MEMBERS
            };
            let deliveries = round.publications * members as u64;
            let target = crowd.frames.load(Ordering::SeqCst) + deliveries;
            let writes = lane_writes(&runtime, internal);
            produce.send(round).unwrap();
            let counted = allocation_counter::measure(|| crowd.until(&runtime, target));
            let writes = lane_writes(&runtime, internal) - writes;
            (counted.count_total, deliveries, writes)
        };
        for channel in [FEW_CHANNEL, ALL_CHANNEL] {
            for together in [1, 8] {
                measure(Round::new(channel, WARM_UP, together));
                let of_few = measure(Round::new(channel, PUBLICATIONS, together));
                check(channel, together, of_few);
            }
        }
    });
    lifecycle.stopping().cancel();
    runtime.shutdown_background();
}

fn check(channel: &str, together: u64, (allocations, deliveries, writes): (u64, u64, u64)) {
    let what = format!("channel {channel}, {together} at a time, {deliveries} deliveries");
    #[expect(clippy::print_stdout, reason = "the counts are what one wants to see")]
    {
        println!("{what}: {allocations} allocations, {writes} writes");
    }
    // With a thousand members that is less than a tenth for each delivery: none of them has one of its own.
    let most = PUBLICATIONS * OF_A_PUBLICATION;
    assert!(allocations <= most, "{what}: {allocations} of {most}");
    // One for each connection that a publication goes to, or that eight which are ready together go to.
    assert!(
        writes >= deliveries / 8,
        "{what}: {writes} writes, so not by the lane"
    );
    let most = if together == 1 {
        deliveries
    } else {
        deliveries / 2
    };
    assert!(writes <= most, "{what}: {writes} writes of {most}");
}

/// As `/metrics` shows it.
fn lane_writes(runtime: &Runtime, internal: SocketAddr) -> u64 {
    let text = runtime.block_on(async {
        let mut stream = tokio::net::TcpStream::connect(internal).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    });
    let line = |line: &str| {
        line.strip_prefix("fleetcast_lane_writes_total ")?
            .parse()
            .ok()
    };
    text.lines().find_map(line).unwrap()
}

fn serve(
    runtime: &Runtime,
    broker: &Broker,
    [address, internal]: [SocketAddr; 2],
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) {
    let environment = [
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", address.port().to_string()),
        ("INTERNAL_PORT", internal.port().to_string()),
        ("JWT_SECRET", SECRET.to_owned()),
        ("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap().to_owned()),
        ("KAFKA_PROPERTIES_FETCH_WAIT_MAX_MS", "10".to_owned()),
        ("PING_INTERVAL", "1h".to_owned()),
        // The first ping is not answered.
        ("PING_TIMEOUT", "1h".to_owned()),
    ];
    let environment: BTreeMap<_, _> = environment
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let settings = Settings::from_map(&environment, &Presets::new());
    let settings = settings.unwrap_or_else(|problems| panic!("{problems}"));
    let reread = Arc::new(|_: &Settings| unreachable!("nothing is read again"));
    let app = app::run(
        settings,
        Mode::Serve,
        reread,
        metrics.clone(),
        lifecycle.clone(),
    );
    let _runtime = runtime.enter();
    lifecycle.critical("app", app);
}

/// Ends the other threads, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Records to be produced.
struct Round {
    channel: &'static str,
    publications: u64,
    /// So many are on their way at once.
    together: u64,
}

impl Round {
    fn new(channel: &'static str, publications: u64, together: u64) -> Self {
        Self {
            channel,
            publications,
            together,
        }
    }
}

/// The clients, and what has come to all of them together.
#[derive(Default)]
struct Crowd {
    frames: AtomicU64,
    over: AtomicBool,
}

impl Crowd {
    /// Serves until the clients have so many frames.
    fn until(&self, runtime: &Runtime, frames: u64) {
        let began = Instant::now();
        runtime.block_on(async {
            while self.frames.load(Ordering::SeqCst) < frames {
                let came = || self.frames.load(Ordering::SeqCst);
                assert!(began.elapsed() < PATIENCE, "{} of {frames} frames", came());
                tokio::time::sleep(IDLE).await;
            }
        });
        assert_eq!(self.frames.load(Ordering::SeqCst), frames);
    }

    fn read(&self, address: SocketAddr) {
        let mut clients: Vec<_> = (0..MEMBERS)
            .map(|number| FrameCount::connect(address, number))
            .collect();
        let mut buffer = vec![0; 64 * 1024];
        while !self.over.load(Ordering::SeqCst) {
            let frames: u64 = clients.iter_mut().map(|it| it.read(&mut buffer)).sum();
            self.frames.fetch_add(frames, Ordering::SeqCst);
            if frames == 0 {
                park_timeout(IDLE);
            }
        }
    }

    fn produce(&self, broker: &Broker, rounds: &Receiver<Round>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap());
        // What is produced together is one batch.
        config.set("linger.ms", "5");
        let producer: BaseProducer = config.create().unwrap();
        while let Ok(round) = rounds.recv() {
            let members = if round.channel == FEW_CHANNEL {
                FEW
            } else {
                MEMBERS
            };
            let mut frames = self.frames.load(Ordering::SeqCst);
            let mut left = round.publications;
            while left > 0 {
                let together = round.together.min(left);
                left -= together;
                for _ in 0..together {
                    let value = value(round.channel);
                    let record = BaseRecord::<(), str>::to(TOPIC).payload(&value);
                    producer.send(record).map_err(|(error, _)| error).unwrap();
                }
                producer.flush(PATIENCE).unwrap();
                frames += together * members as u64;
                while self.frames.load(Ordering::SeqCst) < frames {
                    if self.over.load(Ordering::SeqCst) {
                        return;
                    }
                    park_timeout(IDLE);
                }
            }
        }
    }
}

fn value(channel: &str) -> String {
    let filler = "x".repeat(400);
    json!({
        "event_type": "transmission_started",
        "organization_id": "o1",
        "timestamp": "2026-01-01T00:00:00Z",
        "data": { "channel_id": channel, "filler": filler },
    })
    .to_string()
}

/// A client that counts WebSocket frames.
struct FrameCount {
    stream: TcpStream,
    header: Vec<u8>,
    /// Bytes of its payload still to come.
    left: u64,
}

impl FrameCount {
    fn connect(address: SocketAddr, number: usize) -> Self {
        let began = Instant::now();
        let mut stream = loop {
            if let Ok(stream) = Self::upgrade(address) {
                break stream;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not get ready");
            park_timeout(50 * IDLE);
        };
        let few = [ALL_CHANNEL, FEW_CHANNEL].map(|channel| format!("channel:{channel}"));
        let rooms = if number < FEW { &few[..] } else { &few[..1] };
        let claims = json!({
            "sub": format!("u{number}"),
            "organization_id": "o1",
            "roles": ["dispatcher"],
            "exp": clock::wall_ms() / 1000 + 3600,
        });
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        let packet = format!("40{}", json!({ "token": token, "rooms": rooms }));
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        // A text whose length stands in two bytes, masked with zeros.
        let header = [0x81, 0xfe, length[0], length[1], 0, 0, 0, 0];
        stream.write_all(&header).unwrap();
        stream.write_all(packet.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            header: Vec::new(),
            left: 0,
        }
    }

    fn upgrade(address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if head.starts_with(b"HTTP/1.1 101") {
            Ok(stream)
        } else {
            Err(ErrorKind::ConnectionRefused.into())
        }
    }

    /// Reads what there is. Returns how many frames have ended.
    fn read(&mut self, buffer: &mut [u8]) -> u64 {
        let length = match self.stream.read(buffer) {
            Ok(0) => panic!("the server has closed a connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("{error}"),
        };
        let mut frames = 0;
        let mut bytes = &buffer[..length];
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = bytes.len().min(usize::try_from(self.left).unwrap());
                bytes = &bytes[here..];
                self.left -= here as u64;
                frames += u64::from(self.left == 0);
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            match (self.header.len(), self.header.get(1)) {
                (2, Some(&length @ 1..126)) => self.left = length.into(),
                (4, Some(126)) => {
                    self.left = u16::from_be_bytes([self.header[2], self.header[3]]).into();
                }
                (5.., _) => panic!("a frame of more than 64 KiB: {:?}", self.header),
                _ => continue,
            }
            assert_eq!(self.header[0], 0x81, "a whole text");
            self.header.clear();
        }
        frames
    }
}
