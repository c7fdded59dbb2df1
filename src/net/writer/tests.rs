//! The writer over a kernel that takes what the test says.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::super::frames::{FrameStart, frame_of};
use super::super::memory::MemorySocket;
use super::super::observer::{FrameAnswer, FrameHead, HEAD_BYTES, MOST_INSPECTED};
use super::*;

const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
const ALL: usize = usize::MAX;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// A frame as it is reported.
type Seen = (u8, Vec<u8>, usize);

fn seen(opcode: u8, payload: &[u8]) -> Seen {
    let head = payload[..payload.len().min(HEAD_BYTES)].to_vec();
    (opcode, head, payload.len())
}

/// Wants CONNECT, `CONNECT_ERROR` and the Engine.IO close packet; replaces the first, closes at the last.
#[derive(Default)]
struct Judge {
    bytes: AtomicUsize,
    written: Mutex<Vec<Seen>>,
    inspected: Mutex<Vec<Vec<u8>>>,
}

impl Judge {
    fn written(&self) -> Vec<Seen> {
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

struct Rig {
    socket: Arc<MemorySocket>,
    writer: FrameWriter,
    judge: Judge,
    /// The stall clock makes timers.
    runtime: Runtime,
}

impl Rig {
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

#[test]
fn whole_frames_that_the_kernel_takes_cost_one_call_and_nothing_is_kept() {
    let rig = Rig::upgraded();
    for frames in [
        frame_of(TEXT, b"42[\"a\"]"),
        [
            frame_of(TEXT, b"2"),
            frame_of(BINARY, &vec![7; 70_000]),
            frame_of(9, b""),
        ]
        .concat(),
    ] {
        let before = rig.socket.writes();
        rig.socket.allow([ALL]);
        assert_eq!(rig.write_once(&frames), Some(frames.len()));
        assert!(rig.flush() && !rig.writer.is_blocked());
        assert_eq!(rig.socket.writes() - before, 1);
        assert!(rig.frames_out().ends_with(&frames));
    }
    assert_eq!(rig.judge.written().len(), 4);
    assert!(rig.judge.inspected().is_empty());
}

#[test]
fn half_frame_counts_as_written_and_its_rest_goes_first() {
    let rig = Rig::upgraded();
    let (first, second) = (
        frame_of(TEXT, b"42[\"first\"]"),
        frame_of(TEXT, b"42[\"second\"]"),
    );
    let both = [first.clone(), second.clone()].concat();
    rig.socket.allow([5]);
    assert_eq!(rig.write_once(&both), Some(first.len()));
    assert!(rig.writer.is_blocked() && rig.at_boundary());
    assert_eq!(rig.queued(), first[5..]);
    assert!(rig.judge.written().is_empty());
    assert_eq!(rig.write_once(&second), None, "it waits behind the rest");
    assert!(!rig.flush());
    rig.socket.allow([3]);
    assert!(!rig.flush());
    assert!(rig.writer.is_blocked());
    rig.socket.allow([ALL]);
    assert!(rig.flush() && !rig.writer.is_blocked());
    assert_eq!(rig.frames_out(), first);
    assert_eq!(rig.judge.written(), [seen(TEXT, b"42[\"first\"]")]);
    rig.socket.allow([ALL]);
    assert_eq!(rig.write_once(&second), Some(second.len()));
    assert_eq!(rig.frames_out(), both);
}

#[test]
fn write_that_is_cut_between_two_frames_keeps_nothing() {
    let rig = Rig::upgraded();
    let (first, second) = (frame_of(TEXT, b"42[1]"), frame_of(TEXT, b"42[2]"));
    rig.socket.allow([first.len()]);
    let both = [first.clone(), second].concat();
    assert_eq!(rig.write_once(&both), Some(first.len()));
    assert!(rig.queued().is_empty() && !rig.writer.is_blocked());
}

#[test]
fn nothing_follows_a_close_frame() {
    let close = frame_of(CLOSE, &[3, 232]);
    let event = frame_of(TEXT, b"42[]");
    for cut in 1..=close.len() {
        let rig = Rig::upgraded();
        rig.socket.allow([event.len() + cut]);
        let all = [event.clone(), close.clone(), event.clone()].concat();
        assert_eq!(rig.write_once(&all), Some(event.len() + close.len()));
        rig.socket.allow([ALL, ALL, ALL]);
        assert!(rig.flush());
        assert_eq!(rig.write_once(&event), Some(event.len()), "it is dropped");
        assert!(rig.flush() && !rig.offer(event.clone()));
        assert_eq!(rig.frames_out(), all[..event.len() + close.len()]);
    }
}

#[test]
fn close_answer_ends_the_connection_behind_what_went_before() {
    let rig = Rig::upgraded();
    let event = frame_of(TEXT, b"42[]");
    let all = [event.clone(), frame_of(TEXT, b"1"), frame_of(CLOSE, b"")].concat();
    rig.socket.allow([ALL]);
    assert_eq!(rig.write_once(&all), Some(event.len()));
    let written = rig.poll_write(&all[event.len()..]);
    assert!(matches!(
        written,
        Poll::Ready(Err(WriterError::Close("judge")))
    ));
    assert_eq!(rig.frames_out(), event);
}

#[test]
fn replaced_frame_is_reported_as_it_goes_out() {
    let rig = Rig::upgraded();
    rig.socket.allow([ALL; 4]);
    let payload = [b"40{\"sid\":\"".as_slice(), &[b'x'; 112], b"\"}"].concat();
    let frame = frame_of(TEXT, &payload);
    assert_eq!(frame[1], 124);
    assert_eq!(rig.write_once(&frame), Some(frame.len()));
    let expected = replaced(&payload);
    assert_eq!(rig.frames_out(), frame_of(TEXT, &expected));
    assert_eq!(rig.judge.written(), [seen(TEXT, &expected)]);
    assert_eq!(rig.judge.inspected(), [payload]);
}

#[test]
fn wanted_frame_above_the_limit_passes_unseen() {
    let rig = Rig::upgraded();
    rig.socket.allow([ALL; 4]);
    for (len, inspected) in [(MOST_INSPECTED, 1), (MOST_INSPECTED + 1, 1)] {
        let mut payload = b"44".to_vec();
        payload.resize(len, b'x');
        let frame = frame_of(TEXT, &payload);
        assert_eq!(rig.write_once(&frame), Some(frame.len()));
        assert_eq!(rig.judge.inspected().len(), inspected);
        assert!(rig.frames_out().ends_with(&frame));
    }
}

#[test]
fn frame_is_held_back_until_its_kind_is_known() {
    let rig = Rig::upgraded();
    let frame = frame_of(TEXT, &[b'x'; 300]);
    // Header and head.
    let (start, rest) = frame.split_at(4 + HEAD_BYTES);
    rig.socket.allow([ALL; 40]);
    for byte in &start[..start.len() - 1] {
        assert_eq!(rig.write_once(&[*byte]), Some(1));
        assert!(rig.flush(), "there is nothing to wait for");
        assert!(rig.frames_out().is_empty() && rig.at_boundary());
    }
    assert_eq!(rig.write_once(&start[start.len() - 1..]), Some(1));
    assert_eq!(rig.frames_out(), start);
    assert!(!rig.at_boundary(), "the library owes the rest");
    assert!(!rig.offer(frame_of(BINARY, b"other")));
    assert_eq!(rig.write_once(rest), Some(rest.len()));
    assert!(rig.at_boundary() && rig.offer(frame_of(BINARY, b"other")));
}

#[test]
fn before_the_upgrade_everything_goes_straight_through() {
    let rig = Rig::new();
    let frame = frame_of(TEXT, b"1");
    for taken in [1, 2] {
        rig.socket.allow([taken]);
        assert_eq!(rig.write_once(&frame), Some(taken), "not a byte is kept");
    }
    assert!(rig.flush());
    assert_eq!(rig.judge.bytes.load(Ordering::Relaxed), 3);
    assert!(rig.judge.written().is_empty() && rig.judge.inspected().is_empty());
}

#[test]
fn abort_drops_the_queue_and_a_blocked_connection_is_reset() {
    let frame = frame_of(TEXT, b"42[\"half\"]");
    for (taken, reset) in [(3, true), (ALL, false)] {
        let rig = Rig::upgraded();
        rig.socket.allow([taken]);
        assert_eq!(rig.write_once(&frame), Some(frame.len()));
        rig.writer.abort().unwrap();
        assert_eq!(rig.socket.shut(), Some(Shutdown::Both));
        assert!(rig.queued().is_empty());
        let written = rig.poll_write(&frame);
        assert!(matches!(written, Poll::Ready(Err(WriterError::Aborted))));
        assert!(rig.flush() && !rig.offer(frame.clone()));
        rig.writer.detach();
        assert_eq!(rig.socket.is_reset(), reset);
        assert_eq!(
            Arc::strong_count(&rig.socket),
            1,
            "nothing pins the descriptor"
        );
        let written = rig.poll_write(&frame);
        assert!(matches!(written, Poll::Ready(Err(WriterError::Aborted))));
    }
}

#[test]
fn shutdown_waits_for_the_queue() {
    let rig = Rig::upgraded();
    let frame = frame_of(TEXT, b"42[\"half\"]");
    rig.socket.allow([3]);
    assert_eq!(rig.write_once(&frame), Some(frame.len()));
    let shut_down = || {
        let _guard = rig.runtime.enter();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        rig.writer.poll_shutdown(cx, Some(&rig.judge)).is_ready()
    };
    assert!(!shut_down());
    assert_eq!(rig.socket.shut(), None);
    rig.socket.allow([ALL]);
    assert!(shut_down());
    assert_eq!(rig.socket.shut(), Some(Shutdown::Write));
    assert_eq!(rig.frames_out(), frame);
}

/// As the library gives it: first byte and payload.
type Given = (u8, Vec<u8>);

fn bytes_of((first, payload): &Given) -> Vec<u8> {
    let mut bytes = frame_of(first & 0x0f, payload);
    bytes[0] = *first;
    bytes
}

/// What is to go out, and whether an observer ends the connection behind it.
fn expected(given: &[Given]) -> (Vec<Given>, bool) {
    let mut out = Vec::new();
    for (first, payload) in given {
        let wanted = *first == 0x81 && payload.len() <= MOST_INSPECTED;
        if wanted && payload == b"1" {
            return (out, true);
        }
        let payload = if wanted && payload.starts_with(b"40") {
            replaced(payload)
        } else {
            payload.clone()
        };
        out.push((*first, payload));
        if *first == 0x88 {
            break;
        }
    }
    (out, false)
}

/// The frames in these bytes, and whether nothing is behind the last.
fn parsed(mut bytes: &[u8]) -> (Vec<Given>, bool) {
    let mut frames = Vec::new();
    while let Some(start) = FrameStart::parse(bytes) {
        let total = usize::try_from(start.total()).unwrap();
        if total > bytes.len() {
            break;
        }
        let (frame, rest) = bytes.split_at(total);
        frames.push((start.first(), start.payload(frame).to_vec()));
        bytes = rest;
    }
    (frames, bytes.is_empty())
}

fn any_frame() -> impl Strategy<Value = Given> {
    let text = |payload: Vec<u8>| (0x81, payload);
    let filled = |prefix: &'static str, len: usize| {
        let mut payload = prefix.as_bytes().to_vec();
        payload.resize(len.max(prefix.len()), b'.');
        payload
    };
    prop_oneof![
        6 => (0_usize..40).prop_map(move |len| text(filled("42[", len))),
        2 => (100_usize..300).prop_map(move |len| text(filled("43", len))),
        3 => (0_usize..200).prop_map(move |len| text(filled("40{", len))),
        1 => (4_080_usize..4_110).prop_map(move |len| text(filled("40", len))),
        1 => (0_usize..30).prop_map(move |len| text(filled("44", len))),
        2 => Just(text(b"2".to_vec())),
        1 => Just(text(Vec::new())),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|payload| (0x8a, payload)),
        // A fragment: never asked about.
        1 => Just((0x01, b"40".to_vec())),
    ]
}

/// The frames of the library, with an end of its own now and then.
fn any_frames() -> impl Strategy<Value = Vec<Given>> {
    let end = prop_oneof![
        4 => Just(None),
        1 => Just(Some((0x81, b"1".to_vec()))),
        1 => Just(Some((0x88, vec![3, 232]))),
    ];
    let more = prop::collection::vec(any_frame(), 0..3);
    (prop::collection::vec(any_frame(), 0..14), end, more)
        .prop_map(|(frames, end, more)| frames.into_iter().chain(end).chain(more).collect())
}

proptest! {
    #[test]
    fn any_writes_over_any_kernel_give_every_frame_once_whole_and_in_order(
        given in any_frames(),
        pieces in prop::collection::vec(prop_oneof![3 => 1_usize..60, 1 => 60_usize..20_000], 1..12),
        takes in prop::collection::vec(prop_oneof![1 => Just(0_usize), 3 => 1_usize..50, 2 => 50_usize..20_000], 1..12),
        flushes in prop::collection::vec(any::<bool>(), 1..8),
        offers in prop::collection::vec(prop::bool::weighted(0.2), 1..20),
    ) {
        let rig = Rig::upgraded();
        let bytes: Vec<u8> = given.iter().flat_map(bytes_of).collect();
        // Both get on now and then, or a case would take too long.
        let mut kernel = takes.iter().copied().chain([2_000]).cycle();
        let (mut pieces, mut flushes) = (pieces.iter().copied().chain([500]).cycle(), flushes.iter().cycle());
        let mut offers = offers.iter().cycle();
        let (mut rest, mut offered, mut ended) = (&bytes[..], 0_u32, false);
        while !rest.is_empty() && !ended {
            let piece = &rest[..pieces.next().unwrap().min(rest.len())];
            rig.socket.allow(kernel.next());
            match rig.poll_write(piece) {
                Poll::Pending => {}
                Poll::Ready(Ok(written)) => {
                    prop_assert!((1..=piece.len()).contains(&written));
                    rest = &rest[written..];
                }
                Poll::Ready(Err(error)) => {
                    prop_assert!(matches!(error, WriterError::Close("judge")), "{error:?}");
                    ended = true;
                }
            }
            if *flushes.next().unwrap() {
                while !rig.flush() {
                    rig.socket.allow([1, kernel.next().unwrap()]);
                }
                prop_assert!(rig.queued().is_empty());
            }
            // With what is queued the stream stands between two frames, unless the library stands inside one.
            let stream = [rig.frames_out(), rig.queued()].concat();
            prop_assert_eq!(parsed(&stream).1, rig.at_boundary());
            prop_assert!(rig.writer.is_blocked() || rig.queued().is_empty());
            // Not without end: they go before what the library writes.
            let offers = !ended && offered < 40 && *offers.next().unwrap();
            if offers && rig.offer(frame_of(BINARY, &offered.to_be_bytes())) {
                offered += 1;
            }
        }
        while !rig.flush() {
            rig.socket.allow([ALL]);
        }
        let (frames, whole) = parsed(&rig.frames_out());
        prop_assert!(whole && !rig.writer.is_blocked());
        let (others, library): (Vec<_>, Vec<_>) =
            frames.iter().cloned().partition(|(first, _)| *first == 0x80 | BINARY);
        let (expected, ends) = expected(&given);
        prop_assert_eq!(library, expected);
        prop_assert_eq!(ended, ends);
        let offered: Vec<_> = (0..offered).map(|number| number.to_be_bytes().to_vec()).collect();
        prop_assert_eq!(others.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), offered);
        // Each is reported once, as it went out.
        let reported: Vec<_> = frames.iter().map(|(first, payload)| seen(first & 0x0f, payload)).collect();
        prop_assert_eq!(rig.judge.written(), reported);
        let all = rig.socket.written().len();
        prop_assert_eq!(rig.judge.bytes.load(Ordering::Relaxed), all);
    }
}
