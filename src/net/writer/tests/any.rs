//! Any writes of the library, any kernel, any answers of the observer, and frames of another writer in between.

use proptest::prelude::*;

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

proptest! {
    #[test]
    fn any_writes_over_any_kernel_give_every_frame_once_whole_and_in_order(
        given in any_frames(),
        pieces in prop::collection::vec(prop_oneof![3 => 1_usize..60, 1 => 60_usize..20_000], 1..12),
        takes in prop::collection::vec(prop_oneof![1 => Just(0_usize), 3 => 1_usize..50, 2 => 50_usize..20_000], 1..12),
        flushes in prop::collection::vec(any::<bool>(), 1..8),
        offers in prop::collection::vec(prop::bool::weighted(0.2), 1..20),
    ) {
        let rig = WriterRig::upgraded();
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
