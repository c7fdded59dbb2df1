//! The writer over a kernel that takes what the test says.

mod any;
mod cases;
mod lane;

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::task::{Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

use super::super::frame_start::frame_of;
use super::super::lane::{RecordObserver, RecordStamp};
use super::super::lane_flush::LaneFlush;
use super::super::memory::MemorySocket;
use super::super::observer::{FrameAnswer, FrameHead, HEAD_BYTES, MOST_INSPECTED};
use super::*;

const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
const ALL: usize = usize::MAX;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// When the lane is flushed.
const NOW_MS: u64 = 1_700_000_000_000;

/// A frame as it is reported.
type SeenFrame = (u8, Vec<u8>, usize);

fn seen(opcode: u8, payload: &[u8]) -> SeenFrame {
    let head = payload[..payload.len().min(HEAD_BYTES)].to_vec();
    (opcode, head, payload.len())
}

/// Wants CONNECT, `CONNECT_ERROR` and the Engine.IO close packet; replaces the first, closes at the last.
#[derive(Default)]
struct Judge {
    bytes: AtomicUsize,
    written: Mutex<Vec<SeenFrame>>,
    inspected: Mutex<Vec<Vec<u8>>>,
    records: Mutex<Vec<RecordStamp>>,
    drained: AtomicUsize,
}

impl Judge {
    fn written(&self) -> Vec<SeenFrame> {
        self.written.lock().unwrap().clone()
    }

    fn inspected(&self) -> Vec<Vec<u8>> {
        self.inspected.lock().unwrap().clone()
    }

    fn records(&self) -> Vec<RecordStamp> {
        self.records.lock().unwrap().clone()
    }

    fn drained(&self) -> usize {
        self.drained.load(Ordering::Relaxed)
    }
}

impl Observer for Judge {
    fn bytes_written(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn frame_written(&self, frame: FrameHead<'_>) {
        let seen = (frame.opcode, frame.head.to_vec(), frame.payload_len);
        self.written.lock().unwrap().push(seen);
    }

    fn lane_drained(&self) {
        self.drained.fetch_add(1, Ordering::Relaxed);
    }

    fn wants(&self, frame: FrameHead<'_>) -> bool {
        assert!(frame.payload_len <= MOST_INSPECTED);
        assert_eq!(frame.head.len(), frame.payload_len.min(HEAD_BYTES));
        frame.opcode == TEXT
            && (frame.head == b"1"
                || frame.head.starts_with(b"40")
                || frame.head.starts_with(b"44"))
    }

    fn inspect(&self, _opcode: u8, payload: &[u8]) -> FrameAnswer {
        self.inspected.lock().unwrap().push(payload.to_vec());
        if payload == b"1" {
            FrameAnswer::Close("judge")
        } else if payload.starts_with(b"40") {
            FrameAnswer::Replace(replaced(payload))
        } else {
            FrameAnswer::Pass
        }
    }
}

impl RecordObserver for Judge {
    fn records_written(&self, record: RecordStamp, count: u64, wall_ms: u64) {
        assert!(wall_ms >= NOW_MS);
        let mut records = self.records.lock().unwrap();
        records.extend((0..count).map(|_| record));
    }
}

/// Longer, so that the form of the length changes for some.
fn replaced(payload: &[u8]) -> Vec<u8> {
    [payload, b",\"pid\":\"p1\"".as_slice()].concat()
}

/// Whether a task was woken.
#[derive(Default)]
struct WokenFlag(AtomicBool);

impl Wake for WokenFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct WriterRig {
    socket: Arc<MemorySocket>,
    writer: FrameWriter,
    judge: Arc<Judge>,
    /// Of the library's task, since it last had to wait.
    woken: Arc<WokenFlag>,
    /// The stall clock of HTTP makes timers.
    runtime: Runtime,
}

impl WriterRig {
    fn new() -> Self {
        let socket = MemorySocket::new();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let judge = Arc::new(Judge::default());
        let context = {
            let _guard = runtime.enter();
            WriterContext::new(
                Duration::from_mins(1),
                Arc::new(AtomicU64::new(0)),
                judge.clone(),
                TaskTracker::new(),
            )
        };
        let writer = FrameWriter::new(socket.clone(), context);
        writer.observe(|| Some(judge.clone()));
        Self {
            writer,
            socket,
            judge,
            woken: Arc::default(),
            runtime,
        }
    }

    fn upgraded() -> Self {
        let rig = Self::new();
        rig.writer.expect_upgrade();
        rig.socket.allow([ALL]);
        assert_eq!(rig.write_once(UPGRADE), Some(UPGRADE.len()));
        rig
    }

    /// As the library's task does something.
    fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let _guard = self.runtime.enter();
        self.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(self.woken.clone());
        poll(&mut Context::from_waker(&waker))
    }

    fn poll_write(&self, buf: &[u8]) -> Poll<Result<usize, WriterError>> {
        self.poll(|cx| self.writer.poll_write(cx, &[IoSlice::new(buf)]))
    }

    /// None: it has to wait.
    fn write_once(&self, buf: &[u8]) -> Option<usize> {
        match self.poll_write(buf) {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    /// As the library, after a turn of the pump if there is one. False: it has to wait.
    fn flush(&self) -> bool {
        if self.writer.is_blocked() {
            self.pump();
        }
        self.poll(|cx| self.writer.poll_flush(cx)).is_ready()
    }

    fn pump(&self) -> PumpTurn {
        self.writer.pump(false).unwrap()
    }

    fn flush_with(&self, flush: &mut LaneFlush) -> Result<(), WriterError> {
        self.writer.flush_lane(flush)
    }

    fn flush_lane(&self) {
        self.flush_with(&mut LaneFlush::new(NOW_MS)).unwrap();
    }

    /// What is behind the `101`.
    fn frames_out(&self) -> Vec<u8> {
        self.socket.written().split_off(UPGRADE.len())
    }

    fn queued(&self) -> Vec<u8> {
        self.writer.with(|state| state.queue.all_bytes())
    }

    fn at_boundary(&self) -> bool {
        self.writer.with(|state| state.intake.at_boundary())
    }

    fn lane_writes(&self) -> u64 {
        self.writer.context().lane_writes.load(Ordering::Relaxed)
    }
}

fn lane_frame(opcode: u8, payload: &[u8]) -> LaneFrame {
    LaneFrame::new(frame_of(opcode, payload), None)
}
