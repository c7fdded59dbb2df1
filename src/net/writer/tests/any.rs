//! Any writes of the library, any kernel, any answers of the observer, and any frames of the lane in between.

use proptest::prelude::*;

use super::super::super::drain_rate::{MOST, START};
use super::super::super::frame_start::FrameStart;
use super::*;

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

/// What happens next.
#[derive(Debug, Clone)]
enum AnyStep {
    /// The library gives so many bytes more.
    Write(usize),
    /// The library asks whether what it gave has left.
    Flush,
    /// The kernel takes so many bytes in one of its next calls.
    Allow(usize),
    /// Of so many payload bytes.
    Offer(usize),
    Push(usize),
    FlushLane,
    /// The kernel may take something.
    Pump,
}

fn any_step() -> impl Strategy<Value = AnyStep> {
    prop_oneof![
        6 => prop_oneof![3 => 1_usize..60, 1 => 60_usize..20_000].prop_map(AnyStep::Write),
        1 => Just(AnyStep::Flush),
        4 => prop_oneof![1 => Just(0_usize), 3 => 1_usize..50, 3 => 50_usize..20_000].prop_map(AnyStep::Allow),
        5 => prop_oneof![4 => 4_usize..300, 2 => 4_usize..30_000].prop_map(AnyStep::Offer),
        1 => (4_usize..200).prop_map(AnyStep::Push),
        3 => Just(AnyStep::FlushLane),
        4 => Just(AnyStep::Pump),
    ]
}

/// A writer, and what it must have done by now.
struct LaneModel {
    rig: WriterRig,
    /// What the library has not given yet.
    rest: Vec<u8>,
    /// The library waits for its waker.
    waits: bool,
    /// An observer has ended the connection.
    ended: bool,
    /// Payloads of the frames of the lane that were taken.
    offered: Vec<Vec<u8>>,
    /// A flush of the lane is up to us.
    flush_due: bool,
    /// There was no capacity, and we were not notified since.
    wanted: bool,
    drained: usize,
    /// So many bytes that went out are known to be whole frames, and the head before them.
    parsed: usize,
}

impl LaneModel {
    fn new(given: &[Given]) -> Self {
        Self {
            rig: WriterRig::upgraded(),
            rest: given.iter().flat_map(bytes_of).collect(),
            waits: false,
            ended: false,
            offered: Vec::new(),
            flush_due: false,
            wanted: false,
            drained: 0,
            parsed: UPGRADE.len(),
        }
    }

    fn step(&mut self, step: &AnyStep) {
        match *step {
            AnyStep::Write(len) => self.write(len),
            AnyStep::Flush => {
                if !self.waits {
                    self.waits = self
                        .rig
                        .poll(|cx| self.rig.writer.poll_flush(cx))
                        .is_pending();
                }
            }
            AnyStep::Allow(taken) => self.rig.socket.allow([taken]),
            AnyStep::Offer(len) => self.offer(len, true),
            AnyStep::Push(len) => self.offer(len, false),
            AnyStep::FlushLane => {
                self.flush_due = false;
                self.rig.flush_lane();
            }
            AnyStep::Pump => {
                if self.rig.writer.is_blocked() {
                    self.rig.pump();
                }
            }
        }
        self.check();
    }

    fn write(&mut self, len: usize) {
        let piece = &self.rest[..len.min(self.rest.len())];
        if piece.is_empty() || self.ended || self.waits && !self.is_woken() {
            return;
        }
        self.waits = false;
        match self.rig.poll_write(piece) {
            Poll::Pending => self.waits = true,
            Poll::Ready(Ok(written)) => {
                assert!((1..=piece.len()).contains(&written));
                self.rest.drain(..written);
            }
            Poll::Ready(Err(error)) => {
                assert!(matches!(error, WriterError::Close("judge")), "{error:?}");
                self.ended = true;
            }
        }
    }

    fn is_woken(&self) -> bool {
        self.rig.woken.0.load(Ordering::Relaxed)
    }

    fn offer(&mut self, len: usize, within_budget: bool) {
        let number = u32::try_from(self.offered.len()).unwrap();
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(len, b'.');
        let frame = frame_of(BINARY, &payload);
        let record = Some(RecordStamp {
            event: number,
            timestamp: 1,
        });
        let frame = LaneFrame::new(frame, record);
        let queued = self.rig.queued().len();
        let blocked = self.rig.writer.is_blocked();
        let answer = if within_budget {
            self.rig.writer.offer_frame(&frame)
        } else {
            self.rig.writer.push_frame(&frame)
        };
        match answer {
            LaneOffer::FirstQueued => {
                assert!(!self.flush_due && !blocked);
                self.flush_due = true;
            }
            LaneOffer::Queued => assert!(self.flush_due || blocked),
            LaneOffer::Full => {
                assert!(within_budget && queued > 0);
                assert!(blocked || queued + frame.bytes().len() > START);
                self.wanted = true;
                return;
            }
            LaneOffer::Closed => {
                assert!(self.rig.writer.with(|state| state.intake.is_closed()));
                return;
            }
        }
        let fits = queued == 0 || queued + frame.bytes().len() <= MOST;
        assert!(fits || !within_budget, "{queued}");
        self.offered.push(payload);
    }

    fn check(&mut self) {
        let rig = &self.rig;
        let drained = rig.judge.drained();
        assert!(drained == self.drained || self.wanted && drained == self.drained + 1);
        self.wanted &= drained == self.drained;
        self.drained = drained;
        let (queue, library_end) = rig.writer.with(|state| {
            let sum = state.queue.all_bytes();
            assert_eq!(sum.len(), state.queue.bytes());
            (sum, state.queue.library_end())
        });
        // With what is queued the stream stands between two frames, unless the library stands inside one.
        if rig.at_boundary() {
            let out = rig.socket.written_from(self.parsed);
            assert!(parsed(&[&out[..], &queue].concat()).1);
            if queue.is_empty() {
                self.parsed += out.len();
            }
        }
        assert!(!rig.writer.is_blocked() || !queue.is_empty());
        assert!(
            queue.is_empty() || self.flush_due || rig.writer.is_blocked() || !rig.at_boundary()
        );
        assert!(
            !self.waits || library_end > 0 || self.is_woken(),
            "nothing wakes the library"
        );
        assert!(!queue.is_empty() || !self.wanted, "nothing wakes the hub");
    }

    /// All goes out.
    fn finish(&mut self) {
        while !self.rest.is_empty() && !self.ended {
            for step in [AnyStep::Write(2_000), AnyStep::Allow(ALL), AnyStep::Pump] {
                self.step(&step);
            }
        }
        for step in [
            AnyStep::Allow(ALL),
            AnyStep::Pump,
            AnyStep::Allow(ALL),
            AnyStep::FlushLane,
        ] {
            self.step(&step);
        }
        while !self.rig.queued().is_empty() {
            self.step(&AnyStep::Allow(ALL));
            self.step(&AnyStep::Pump);
        }
        assert!(!self.wanted && !self.rig.writer.is_blocked());
    }
}

proptest! {
    #[test]
    fn any_writes_and_frames_of_the_lane_over_any_kernel_give_every_frame_once_whole_and_in_order(
        given in any_frames(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut model = LaneModel::new(&given);
        for step in &steps {
            model.step(step);
        }
        // Within a frame of its own the library is not left.
        model.finish();
        let rig = &model.rig;
        let (frames, whole) = parsed(&rig.frames_out());
        prop_assert!(whole);
        let (lane, library): (Vec<_>, Vec<_>) =
            frames.iter().cloned().partition(|(first, _)| *first == 0x80 | BINARY);
        let lane: Vec<_> = lane.into_iter().map(|(_, payload)| payload).collect();
        let (expected, ends) = expected(&given);
        prop_assert_eq!(&library, &expected);
        prop_assert_eq!(model.ended, ends);
        if expected.last().is_some_and(|(first, _)| *first == 0x88) {
            prop_assert!(model.offered.starts_with(&lane), "a Close frame drops what is behind it");
            prop_assert_eq!(frames.last().unwrap().0, 0x88);
        } else {
            prop_assert_eq!(&lane, &model.offered);
        }
        // Each is reported once, as it went out.
        let reported: Vec<_> = library.iter().map(|(first, payload)| seen(first & 0x0f, payload)).collect();
        prop_assert_eq!(rig.judge.written(), reported);
        let records: Vec<_> = rig.judge.records().into_iter().map(|record| record.event as usize).collect();
        prop_assert_eq!(records, (0..lane.len()).collect::<Vec<_>>());
        let all = rig.socket.written().len();
        prop_assert_eq!(rig.judge.bytes.load(Ordering::Relaxed), all);
        prop_assert!(rig.lane_writes() <= rig.socket.writes() as u64);
        prop_assert_eq!(rig.lane_writes() > 0, !lane.is_empty());
    }

    #[test]
    fn end_at_any_step_drops_what_waits_wakes_the_library_and_pins_nothing(
        given in any_frames(),
        steps in prop::collection::vec(any_step(), 1..60),
        aborted in any::<bool>(),
    ) {
        let mut model = LaneModel::new(&given);
        for step in &steps {
            model.step(step);
        }
        let rig = &model.rig;
        let (out, blocked) = (rig.frames_out(), rig.writer.is_blocked());
        // What the pump holds.
        let waiting = rig.writer.socket_of_pump();
        prop_assert_eq!(waiting.is_some(), blocked);
        if aborted {
            rig.writer.abort().unwrap();
        } else {
            rig.writer.detach();
        }
        prop_assert!(rig.queued().is_empty() && (!model.waits || model.is_woken()));
        prop_assert_eq!(rig.socket.shut().is_some(), aborted || blocked, "it wakes the pump");
        let frame = lane_frame(BINARY, b"late");
        prop_assert_eq!(rig.writer.offer_frame(&frame), LaneOffer::Closed);
        prop_assert_eq!(rig.writer.push_frame(&frame), LaneOffer::Closed);
        prop_assert!(rig.writer.lane_has_capacity());
        rig.socket.allow([ALL; 4]);
        rig.flush_lane();
        prop_assert_eq!(rig.pump(), PumpTurn::Done);
        prop_assert!(rig.writer.socket_of_pump().is_none());
        prop_assert!(matches!(rig.poll_write(b"x"), Poll::Ready(Err(WriterError::Aborted))));
        prop_assert!(rig.flush());
        prop_assert_eq!(rig.frames_out(), out);
        rig.writer.detach();
        drop(waiting);
        prop_assert_eq!(rig.socket.is_reset(), blocked);
        prop_assert_eq!(Arc::strong_count(&rig.socket), 1);
    }
}
