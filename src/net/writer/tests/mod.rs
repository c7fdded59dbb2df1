//! The writer over a kernel that takes what the test says.

mod any;
mod cases;

use std::sync::atomic::AtomicUsize;

use tokio::runtime::{Builder, Runtime};

use super::super::frame_start::frame_of;
use super::super::memory::MemorySocket;
use super::super::observer::{FrameAnswer, FrameHead, HEAD_BYTES, MOST_INSPECTED};
use super::*;

const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
const ALL: usize = usize::MAX;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

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
}

impl Judge {
    fn written(&self) -> Vec<SeenFrame> {
        self.written.lock().unwrap().clone()
    }

    fn inspected(&self) -> Vec<Vec<u8>> {
        self.inspected.lock().unwrap().clone()
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

/// Longer, so that the form of the length changes for some.
fn replaced(payload: &[u8]) -> Vec<u8> {
    [payload, b",\"pid\":\"p1\"".as_slice()].concat()
}

struct WriterRig {
    socket: Arc<MemorySocket>,
    writer: FrameWriter,
    judge: Judge,
    /// The stall clock makes timers.
    runtime: Runtime,
}

impl WriterRig {
    fn new() -> Self {
        let socket = MemorySocket::new();
        Self {
            writer: FrameWriter::new(socket.clone(), Duration::from_mins(1)),
            socket,
            judge: Judge::default(),
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
        }
    }

    fn upgraded() -> Self {
        let rig = Self::new();
        rig.writer.expect_upgrade();
        rig.socket.allow([ALL]);
        assert_eq!(rig.write_once(UPGRADE), Some(UPGRADE.len()));
        rig
    }

    fn poll_write(&self, buf: &[u8]) -> Poll<Result<usize, WriterError>> {
        let _guard = self.runtime.enter();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        self.writer
            .poll_write(cx, &[IoSlice::new(buf)], Some(&self.judge))
    }

    /// None: it has to wait.
    fn write_once(&self, buf: &[u8]) -> Option<usize> {
        match self.poll_write(buf) {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    /// False: it has to wait.
    fn flush(&self) -> bool {
        let _guard = self.runtime.enter();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        match self.writer.poll_flush(cx, Some(&self.judge)) {
            Poll::Ready(flushed) => flushed.map(|()| true).unwrap(),
            Poll::Pending => false,
        }
    }

    /// What is behind the `101`.
    fn frames_out(&self) -> Vec<u8> {
        self.socket.written().split_off(UPGRADE.len())
    }

    fn queued(&self) -> Vec<u8> {
        self.writer
            .with(|state| state.queue.iter().flatten().copied().collect())
    }

    fn at_boundary(&self) -> bool {
        self.writer.with(|state| state.intake.at_boundary())
    }

    /// Another writer's finished frame, as the lane will queue it. False: not now, or never.
    fn offer(&self, frame: Vec<u8>) -> bool {
        self.writer.with(|state| {
            if !state.intake.at_boundary() || state.intake.is_closed() || !state.outflow.is_open() {
                return false;
            }
            state.queue.push_back(frame.into());
            state.send_queue(Some(&self.judge)).unwrap();
            true
        })
    }
}
