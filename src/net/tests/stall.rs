//! Peers that do not read, after an upgrade and before.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::*;

const UPGRADE_REQUEST: &[u8] =
    b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// More than all buffers on the way hold.
const PLENTY: usize = 8 * 1024 * 1024;

/// Enough for a write to be taken, and not enough for the kernel to say so.
const LAST: usize = 3000;

async fn big() -> Body {
    Body::from(vec![b'x'; PLENTY])
}

/// What comes in goes out.
async fn echo(peer: TokioIo<Upgraded>) {
    let (mut read, mut write) = tokio::io::split(peer);
    tokio::io::copy(&mut read, &mut write).await.ok();
}

/// The same, but it reads on while nothing goes out, for longer than any peer should be able to make it.
async fn echo_tirelessly(peer: TokioIo<Upgraded>) {
    let (mut read, mut write) = tokio::io::split(peer);
    let (came, mut waits) = mpsc::channel(PLENTY);
    let reading = async move {
        let mut buf = [0; 4096];
        while let Ok(bytes @ 1..) = read.read(&mut buf).await {
            came.send(buf[..bytes].to_vec()).await.ok();
        }
    };
    let writing = async move {
        while let Some(bytes) = waits.recv().await {
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(reading, writing);
}

/// `serve` has the connection after the upgrade.
fn upgrading<S, F>(serve: S, tracker: TaskTracker, recorder: Arc<Recorder>) -> Router
where
    S: Fn(TokioIo<Upgraded>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let upgrade = async move |mut request: Request| -> Response {
        let serve = serve.clone();
        guard_of(&request).set_observer(recorder.clone());
        let upgraded = hyper::upgrade::on(&mut request);
        tracker.spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            serve(TokioIo::new(upgraded)).await;
        });
        let headers = [(CONNECTION, "upgrade"), (UPGRADE, "echo")];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    };
    Router::new()
        .route("/upgrade", any(upgrade))
        .route("/big", get(big))
}

fn plain() -> Router {
    Router::new().route("/big", get(big))
}

async fn ask(peer: &mut TcpStream) {
    peer.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_closed_at_the_deadline() {
    let net = TestNet::start(plain(), settings());
    let mut peer = net.connect_narrow().await;
    let guard = net.only_guard().await;
    let recorder = Arc::new(Recorder::default());
    guard.set_observer(recorder.clone());
    ask(&mut peer).await;
    eventually("blocked", || guard.write_blocked()).await;
    let start = Instant::now();
    eventually("closed", || net.table.is_empty()).await;
    assert!(
        start.elapsed() > Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(net.closed("write_stall"), 1);
    assert!(recorder.bytes() > 0 && recorder.bytes() < PLENTY);
    assert!(recorder.frames().is_empty(), "HTTP has none");
    net.finish().await;
}

/// The kernel calls the socket writable only when much more of its buffer is free than that, so no waker is called.
#[tokio::test]
async fn a_peer_that_reads_its_last_just_after_a_write_began_to_wait_is_not_given_the_time_twice() {
    const PATIENCE: Duration = Duration::from_secs(3);
    let net = TestNet::start(
        plain(),
        NetSettings {
            slow_client_timeout: PATIENCE,
            ..settings()
        },
    );
    let mut peer = net.connect_narrow().await;
    ask(&mut peer).await;
    let guard = net.only_guard().await;
    eventually("blocked", || guard.write_blocked()).await;
    peer.read_exact(&mut [0; LAST]).await.unwrap();
    let start = Instant::now();
    eventually("closed", || net.table.is_empty()).await;
    let took = start.elapsed();
    assert!(took > PATIENCE.mul_f32(0.8), "{took:?}");
    assert!(took < PATIENCE.mul_f32(1.8), "{took:?}");
    assert_eq!(net.closed("write_stall"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_peer_that_reads_slowly_is_not_closed() {
    let patient = NetSettings {
        slow_client_timeout: Duration::from_secs(1),
        ..settings()
    };
    let net = TestNet::start(plain(), patient);
    let mut peer = net.connect_narrow().await;
    ask(&mut peer).await;
    let guard = net.only_guard().await;
    let mut buf = [0; 1024];
    for _ in 0..40 {
        let read = peer.read_exact(&mut buf).await;
        assert!(read.is_ok(), "{read:?}, {guard:?}");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(guard.close_reason(), None);
    drop(peer);
    eventually("gone", || net.table.is_empty()).await;
    assert_eq!(net.closed("peer"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_peer_that_sends_without_reading_is_closed_long_before_the_deadline() {
    let patient = NetSettings {
        slow_client_timeout: LONG * 2,
        ..settings()
    };
    let (tracker, recorder) = (TaskTracker::new(), Arc::new(Recorder::default()));
    let net = TestNet::start(upgrading(echo_tirelessly, tracker, recorder), patient);
    let mut peer = net.connect_narrow().await;
    peer.write_all(UPGRADE_REQUEST).await.unwrap();
    let plenty = vec![b'x'; PLENTY];
    let sent = timeout(LONG, peer.write_all(&plenty)).await;
    sent.expect("it is closed").unwrap_err();
    eventually("closed", || net.table.is_empty()).await;
    assert_eq!(net.closed("one_sided"), 1);
    net.finish().await;
}

#[tokio::test]
async fn a_kick_ends_a_blocked_write_and_frees_the_socket() {
    let patient = NetSettings {
        slow_client_timeout: LONG,
        ..settings()
    };
    let net = TestNet::start(plain(), patient);
    let mut peer = net.connect_narrow().await;
    ask(&mut peer).await;
    let guard = net.only_guard().await;
    eventually("blocked", || guard.write_blocked()).await;
    let start = Instant::now();
    guard.kick("draining");
    guard.kick("second");
    eventually("closed", || net.table.is_empty()).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(net.closed("draining"), 1);
    assert_eq!(guard.close_reason().unwrap().label(), "draining");
    read_to_close(&mut peer).await;
    net.finish().await;
}

#[tokio::test]
async fn frames_are_counted_after_an_upgrade_and_an_idle_one_lives_on() {
    let (tracker, recorder) = (TaskTracker::new(), Arc::new(Recorder::default()));
    let net = TestNet::start(upgrading(echo, tracker, recorder.clone()), settings());
    let mut peer = net.connect().await;
    peer.write_all(UPGRADE_REQUEST).await.unwrap();
    let guard = net.only_guard().await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, peer.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    assert!(guard.upgraded());
    assert!(recorder.frames().is_empty());
    // Longer than every deadline of the listener.
    sleep(Duration::from_millis(700)).await;
    peer.write_all(b"\x81\x03abc\x89\x00\x82").await.unwrap();
    // The start of the third is held back until it tells its kind.
    peer.read_exact(&mut [0; 7]).await.unwrap();
    eventually("two frames", || recorder.frames().len() == 2).await;
    peer.write_all(b"\x012345678901234567890").await.unwrap();
    peer.read_exact(&mut [0; 3]).await.unwrap();
    eventually("three frames", || recorder.frames().len() == 3).await;
    let expected = [
        (1, b"abc".to_vec(), 3),
        (9, Vec::new(), 0),
        (2, b"2".to_vec(), 1),
    ];
    assert_eq!(recorder.frames()[..3], expected);
    drop(peer);
    eventually("gone", || net.table.is_empty()).await;
    assert!(guard.observer().is_none(), "an observer may hold the guard");
    net.finish().await;
}

#[tokio::test]
async fn frames_are_counted_when_the_kernel_takes_them_and_not_when_offered() {
    let (tracker, recorder) = (TaskTracker::new(), Arc::new(Recorder::default()));
    let net = TestNet::start(upgrading(echo, tracker, recorder.clone()), settings());
    let peer = net.connect_narrow().await;
    let (mut read, mut write) = peer.into_split();
    write.write_all(UPGRADE_REQUEST).await.unwrap();
    let guard = net.only_guard().await;
    // 1000 frames of 1 KB, echoed to a peer that does not read.
    let mut frame = vec![0x82, 126, 4, 0];
    frame.resize(4 + 1024, b'z');
    let sender = net.tracker.spawn(async move {
        for _ in 0..1000 {
            write.write_all(&frame).await?;
        }
        Ok::<_, std::io::Error>(write)
    });
    eventually("blocked", || guard.write_blocked()).await;
    let stalled = recorder.frames().len();
    assert!(stalled < 1000, "{stalled}");
    let whole = recorder.bytes() - stalled * 1028;
    assert!(
        whole < 1028 + 200,
        "head and a part of one frame, not {whole} bytes"
    );
    let mut all = vec![0; 1000 * 1028];
    timeout(LONG, read.read_exact(&mut all))
        .await
        .unwrap()
        .unwrap();
    let end = timeout(LONG, read.read(&mut all)).await.unwrap().unwrap();
    assert!(
        end > 0 && end < 200,
        "the head shifts everything by its length: {end}"
    );
    assert_eq!(recorder.frames().len(), 1000);
    drop((read, sender.await.unwrap().unwrap()));
    eventually("gone", || net.table.is_empty()).await;
    net.finish().await;
}
