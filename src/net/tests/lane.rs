//! The lane over a running connection: the pump, and how both end.

use std::net::Shutdown;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use super::super::frame_start::frame_of;
use super::super::memory::MemorySocket;
use super::super::socket::Socket;
use super::super::{ConnectionEnd, LaneFlush, LaneFrame, LaneOffer, RecordStamp};
use super::library::{HEAD, connect, library, over, over_memory, websocket};
use super::*;
use crate::clock;

const TEXT: u8 = 1;

fn text(payload: &str) -> LaneFrame {
    LaneFrame::new(frame_of(TEXT, payload.as_bytes()), None)
}

fn send(guard: &Arc<Guard>, frame: &LaneFrame) {
    assert_ne!(guard.push_frame(frame), LaneOffer::Closed);
    guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
}

#[derive(Default)]
struct DrainWatch {
    drained: Notify,
}

impl Observer for DrainWatch {
    fn lane_drained(&self) {
        self.drained.notify_one();
    }
}

/// Both roads to a client that reads late and slowly, with pings of its own in between.
#[tokio::test]
async fn frames_of_both_kinds_reach_a_narrow_client_each_in_their_order() {
    const FRAMES: usize = 600;
    let (router, opened, _) = library();
    let patient = NetSettings {
        slow_client_timeout: LONG,
        ..settings()
    };
    let net = TestNet::start(router, patient);
    let mut client = connect(&net, &opened).await;
    let socket = opened.sockets.lock().unwrap()[0].clone();
    let guard = opened.guards.lock().unwrap()[0].clone();
    let watch = Arc::new(DrainWatch::default());
    guard.set_observer(watch.clone());
    let sending = net.tracker.spawn(async move {
        let mut full = 0;
        for number in 0..FRAMES {
            let payload = format!(
                "42[\"lane\",{number},\"{}\"]",
                "x".repeat(number * 37 % 3_000)
            );
            let record = RecordStamp {
                event: u32::try_from(number).unwrap(),
                timestamp: 0,
            };
            let frame = LaneFrame::new(frame_of(TEXT, payload.as_bytes()), Some(record));
            while guard.offer_frame(&frame) == LaneOffer::Full {
                full += 1;
                guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
                timeout(LONG, watch.drained.notified())
                    .await
                    .expect("it is notified");
            }
            if number % 3 == 0 {
                guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
            }
            if number % 40 == 0 {
                socket.emit("library", &number).unwrap();
                tokio::task::yield_now().await;
            }
        }
        guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
        (guard, full)
    });
    let (mut lane, mut from_library, mut pongs) = (0, 0, 0);
    while lane < FRAMES || from_library < FRAMES / 40 || pongs < 3 {
        match timeout(LONG, client.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Pong(_) => pongs += 1,
            Message::Text(text) if text.as_str() == "2" => {}
            Message::Text(text) if text.starts_with("42[\"lane\"") => {
                assert!(text.starts_with(&format!("42[\"lane\",{lane},")), "{lane}");
                lane += 1;
            }
            Message::Text(text) => {
                assert_eq!(
                    text.as_str(),
                    format!("42[\"library\",{}]", from_library * 40)
                );
                from_library += 1;
            }
            other => panic!("{other:?}"),
        }
        if lane % 20 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        if lane % 200 == 100 {
            client.send(Message::Ping("ping".into())).await.unwrap();
        }
    }
    let (guard, full) = timeout(LONG, sending).await.unwrap().unwrap();
    assert!(full > 0, "the client was never too slow");
    eventually("nothing waits", || !guard.write_blocked()).await;
    assert_eq!(net.records.0.load(Ordering::Relaxed), FRAMES);
    assert!(net.table.stats().lane_writes > 0);
    net.finish().await;
}

#[tokio::test]
async fn peer_that_takes_nothing_of_the_lane_is_closed_at_the_deadline() {
    let (router, opened, _) = library();
    let net = TestNet::start(router, settings());
    let client = connect(&net, &opened).await;
    let guard = opened.guards.lock().unwrap()[0].clone();
    let frame = text(&"x".repeat(4_000_000));
    assert_eq!(guard.offer_frame(&frame), LaneOffer::FirstQueued);
    assert!(!guard.write_blocked(), "queued is not blocked");
    guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
    assert!(guard.write_blocked());
    eventually("disconnected", || {
        opened.disconnected.load(Ordering::SeqCst) == 1
    })
    .await;
    eventually("closed", || net.table.is_empty()).await;
    assert_eq!(net.closed("write_stall"), 1);
    assert_eq!(guard.offer_frame(&frame), LaneOffer::Closed);
    drop(client);
    net.finish().await;
}

/// As for the library's bytes: the kernel does not call the socket writable for so little.
#[tokio::test]
async fn peer_that_reads_its_last_just_after_the_lane_was_blocked_is_not_given_the_time_twice() {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (router, opened, _) = library();
    let patient = NetSettings {
        slow_client_timeout: PATIENCE,
        ..settings()
    };
    let net = TestNet::start(router, patient);
    let mut client = connect(&net, &opened).await;
    let guard = opened.guards.lock().unwrap()[0].clone();
    send(&guard, &text(&"x".repeat(4_000_000)));
    assert!(guard.write_blocked());
    sleep(PATIENCE / 20).await;
    let written = guard.writer().written();
    client.get_mut().read_exact(&mut [0; 3000]).await.unwrap();
    let start = Instant::now();
    eventually("it took something", || guard.writer().written() > written).await;
    eventually("closed", || net.table.is_empty()).await;
    let took = start.elapsed();
    assert!(took > PATIENCE.mul_f32(0.8), "{took:?}");
    assert!(took < PATIENCE.mul_f32(1.8), "{took:?}");
    drop(client);
    net.finish().await;
}

#[tokio::test]
async fn peer_that_takes_a_byte_of_the_lane_now_and_then_is_not_closed() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let socket = MemorySocket::new();
    let (mut stream, guard) = over(socket.clone(), PATIENCE);
    socket.allow([HEAD.len(), 3]);
    stream.write_all(HEAD).await.unwrap();
    send(&guard, &text("42[\"lane\"]"));
    for _ in 0..4 {
        // Two looks fail each time.
        sleep(PATIENCE.mul_f32(0.45)).await;
        socket.allow([1]);
    }
    assert_eq!(guard.close_reason(), None);
    eventually("the last", || socket.written().len() == HEAD.len() + 7).await;
    eventually("closed", || guard.close_reason().is_some()).await;
    assert_eq!(guard.close_reason(), Some(ConnectionEnd::WriteStall));
    drop(stream);
}

#[tokio::test]
async fn pump_writes_when_the_kernel_takes_more_and_does_not_ask_before() {
    let socket = MemorySocket::new();
    let (websocket, guard) = websocket(&socket).await;
    socket.allow([3]);
    let frames = [text("42[\"first\"]"), text("42[\"second\"]")];
    send(&guard, &frames[0]);
    assert!(guard.write_blocked());
    sleep(Duration::from_millis(50)).await;
    let attempts = socket.attempts();
    assert_eq!(guard.offer_frame(&frames[1]), LaneOffer::Queued);
    guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(socket.attempts(), attempts, "it waits");
    for _ in 0..6 {
        socket.allow([2]);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(socket.written().len(), HEAD.len() + 3 + 12);
    socket.allow([usize::MAX]);
    eventually("all of it", || !guard.write_blocked()).await;
    let expected = frames.each_ref().map(LaneFrame::bytes).concat();
    assert_eq!(socket.written()[HEAD.len()..], expected);
    // The next one is written at once, and the next pump is another.
    socket.allow([usize::MAX, 1]);
    send(&guard, &frames[0]);
    assert!(!guard.write_blocked());
    send(&guard, &frames[1]);
    assert!(guard.write_blocked());
    socket.allow([usize::MAX]);
    eventually("all of it", || !guard.write_blocked()).await;
    drop(websocket);
    eventually("no pump", || Arc::strong_count(&socket) == 1).await;
}

#[tokio::test]
async fn library_behind_the_lane_is_woken_when_its_turn_has_come() {
    let socket = MemorySocket::new();
    let (mut websocket, guard) = websocket(&socket).await;
    socket.allow([3]);
    let frame = text("42[\"lane\"]");
    send(&guard, &frame);
    let tracker = TaskTracker::new();
    let sending = tracker.spawn(async move {
        for text in ["2", "42[\"library\"]"] {
            websocket.send(Message::text(text)).await.unwrap();
        }
        websocket
    });
    sleep(Duration::from_millis(50)).await;
    assert!(!sending.is_finished());
    guard.push_frame(&frame);
    socket.allow([usize::MAX; 8]);
    let websocket = timeout(LONG, sending).await.unwrap().unwrap();
    let (lane, expected) = (
        frame.bytes(),
        [frame_of(TEXT, b"2"), frame_of(TEXT, b"42[\"library\"]")],
    );
    let expected = [lane, &expected[0], lane, &expected[1]].concat();
    assert_eq!(socket.written()[HEAD.len()..], expected);
    drop(websocket);
}

#[tokio::test]
async fn shutdown_waits_for_the_lane() {
    let socket = MemorySocket::new();
    let (mut stream, guard) = over_memory(&socket);
    socket.allow([HEAD.len(), 3]);
    stream.write_all(HEAD).await.unwrap();
    send(&guard, &text("42[]"));
    let tracker = TaskTracker::new();
    let shutting = tracker.spawn(async move {
        stream.shutdown().await.unwrap();
        stream
    });
    sleep(Duration::from_millis(50)).await;
    assert!(socket.shut().is_none() && !shutting.is_finished());
    assert_eq!(guard.offer_frame(&text("42[]")), LaneOffer::Closed);
    socket.allow([usize::MAX]);
    timeout(LONG, shutting).await.unwrap().unwrap();
    assert_eq!(socket.shut(), Some(Shutdown::Write));
    assert_eq!(socket.written()[HEAD.len()..], *text("42[]").bytes());
}

#[tokio::test]
async fn kick_or_drop_of_a_blocked_connection_ends_its_pump_and_resets_it() {
    for kicked in [true, false] {
        let socket = MemorySocket::new();
        let (mut websocket, guard) = websocket(&socket).await;
        socket.allow([3]);
        send(&guard, &text("42[\"lane\"]"));
        // The pump waits.
        sleep(Duration::from_millis(20)).await;
        assert!(Arc::strong_count(&socket) > 2 && Arc::strong_count(&guard) > 2);
        if kicked {
            guard.kick("test");
            let read = timeout(LONG, websocket.next()).await.unwrap().unwrap();
            read.unwrap_err();
        }
        drop(websocket);
        eventually("no pump", || {
            Arc::strong_count(&socket) == 1 && Arc::strong_count(&guard) == 1
        })
        .await;
        assert!(socket.is_reset());
        assert_eq!(guard.offer_frame(&text("42[]")), LaneOffer::Closed);
        guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
        assert_eq!(socket.written().len(), HEAD.len() + 3);
    }
}

/// By the flush itself, or by the pump.
#[tokio::test]
async fn failed_write_of_the_lane_ends_the_connection() {
    for pumped in [false, true] {
        let socket = MemorySocket::new();
        let (mut websocket, guard) = websocket(&socket).await;
        if pumped {
            socket.allow([3]);
            send(&guard, &text("42[\"lane\"]"));
        }
        // Every write fails from now on; nothing is woken by that.
        socket.shut_down(Shutdown::Write).unwrap();
        if pumped {
            socket.allow([1]);
        } else {
            guard.flush_lane(&mut LaneFlush::new(clock::wall_ms()));
            assert_eq!(guard.close_reason(), None, "there is nothing to write");
            send(&guard, &text("42[]"));
        }
        let read = timeout(LONG, websocket.next()).await.unwrap().unwrap();
        read.unwrap_err();
        assert_eq!(guard.close_reason(), Some(ConnectionEnd::Peer));
        assert_eq!(guard.offer_frame(&text("42[]")), LaneOffer::Closed);
        drop(websocket);
        eventually("no pump", || Arc::strong_count(&socket) == 1).await;
    }
}

#[tokio::test]
async fn flush_from_a_thread_without_a_runtime_starts_the_pump() {
    let socket = MemorySocket::new();
    let (websocket, guard) = websocket(&socket).await;
    socket.allow([3]);
    let flusher = guard.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| send(&flusher, &text("42[\"lane\"]")));
    });
    assert!(guard.write_blocked());
    socket.allow([usize::MAX]);
    eventually("all of it", || !guard.write_blocked()).await;
    drop(websocket);
}
