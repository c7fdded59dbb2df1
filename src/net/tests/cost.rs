//! What the lane costs, printed.

use super::super::frame_start::frame_of;
use super::super::{LaneFlush, LaneFrame};
use super::library::{HEAD, over};
use super::*;

const TEXT: u8 = 1;

/// What a delivery costs, printed: `cargo test --release --lib cost_of_the_lane -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "measures"]
async fn cost_of_the_lane() {
    const ROUNDS: u32 = 200_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    server.set_nodelay(true).unwrap();
    let (mut stream, guard) = over(Arc::new(server), LONG);
    stream.write_all(HEAD).await.unwrap();
    let mut reader = client.into_std().unwrap();
    reader.set_nonblocking(false).unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut buf = vec![0; 1 << 20];
        while let Ok(1..) = std::io::Read::read(&mut reader, &mut buf) {}
    });
    let frame = LaneFrame::new(frame_of(TEXT, &[b'x'; 500]), None);
    for in_flight in [1, 8] {
        let start = Instant::now();
        for _ in 0..ROUNDS / in_flight {
            for _ in 0..in_flight {
                guard.offer_frame(&frame);
            }
            guard.flush_lane(&mut LaneFlush::new(1));
            while guard.write_blocked() {
                tokio::task::yield_now().await;
            }
        }
        let each = start.elapsed() / ROUNDS;
        println!("{in_flight} in flight: {each:?} per frame, its part of the flush included");
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        drop(frame.clone());
    }
    println!("clone alone: {:?}", start.elapsed() / ROUNDS);
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS / 100 {
        let start = Instant::now();
        for _ in 0..100 {
            guard.offer_frame(&frame);
        }
        took += start.elapsed();
        guard.flush_lane(&mut LaneFlush::new(1));
        while guard.write_blocked() {
            tokio::task::yield_now().await;
        }
    }
    println!("offer alone: {:?}", took / ROUNDS);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        guard.flush_lane(&mut LaneFlush::new(1));
    }
    println!("flush of nothing: {:?}", start.elapsed() / ROUNDS);
    println!("size of a guard: {} bytes", size_of::<Guard>());
    drop(stream);
    reading.await.unwrap();
}
