//! One behaviour each.

use super::super::super::observer::MOST_INSPECTED;
use super::*;

#[test]
fn whole_frames_that_the_kernel_takes_cost_one_call_and_nothing_is_kept() {
    let rig = WriterRig::upgraded();
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
    let rig = WriterRig::upgraded();
    let (first, second) = (
        frame_of(TEXT, b"42[\"first\"]"),
        frame_of(TEXT, b"42[\"second\"]"),
    );
    let both = [first.clone(), second.clone()].concat();
    rig.socket.allow([5]);
    assert_eq!(rig.write_once(&both), Some(first.len()));
    assert!(rig.writer.is_blocked() && rig.at_boundary());
    assert!(rig.writer.needs_pump() && !rig.writer.needs_pump());
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
    let rig = WriterRig::upgraded();
    let (first, second) = (frame_of(TEXT, b"42[1]"), frame_of(TEXT, b"42[2]"));
    rig.socket.allow([first.len()]);
    let both = [first.clone(), second].concat();
    assert_eq!(rig.write_once(&both), Some(first.len()));
    assert!(rig.queued().is_empty() && !rig.writer.is_blocked());
}

#[test]
fn held_start_of_a_frame_is_sent_when_the_observer_is_dropped() {
    let frame = frame_of(TEXT, b"40{\"sid\":\"a\"}");
    for cut in 1..frame.len() {
        let rig = WriterRig::upgraded();
        rig.socket.allow([ALL, ALL, ALL]);
        let (start, rest) = frame.split_at(cut);
        assert_eq!(rig.write_once(start), Some(cut), "held");
        assert!(rig.frames_out().is_empty());
        rig.writer.observe(|| None);
        let mut left = rest;
        while !left.is_empty() {
            let written = rig.poll_write(left);
            let Poll::Ready(Ok(written @ 1..)) = written else {
                panic!("{cut}: {written:?}");
            };
            left = &left[written..];
        }
        assert_eq!(rig.frames_out(), frame, "{cut}");
    }
}

#[test]
fn nothing_follows_a_close_frame() {
    let close = frame_of(CLOSE, &[3, 232]);
    let event = frame_of(TEXT, b"42[]");
    for cut in 1..=close.len() {
        let rig = WriterRig::upgraded();
        rig.socket.allow([event.len() + cut]);
        let all = [event.clone(), close.clone(), event.clone()].concat();
        assert_eq!(rig.write_once(&all), Some(event.len() + close.len()));
        rig.socket.allow([ALL, ALL, ALL]);
        assert!(rig.flush());
        assert_eq!(rig.write_once(&event), Some(event.len()), "it is dropped");
        assert!(rig.flush());
        let offered = rig.writer.offer_frame(&lane_frame(TEXT, b"42[]"));
        assert_eq!(offered, LaneOffer::Closed);
        assert_eq!(rig.frames_out(), all[..event.len() + close.len()]);
    }
}

#[test]
fn close_answer_ends_the_connection_behind_what_went_before() {
    let rig = WriterRig::upgraded();
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
    let rig = WriterRig::upgraded();
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
    let rig = WriterRig::upgraded();
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
    let rig = WriterRig::upgraded();
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
    let other = lane_frame(BINARY, b"other");
    assert_eq!(rig.writer.offer_frame(&other), LaneOffer::FirstQueued);
    rig.flush_lane();
    assert_eq!(rig.frames_out(), start);
    assert!(!rig.writer.is_blocked());
    assert_eq!(rig.write_once(rest), Some(rest.len()));
    assert!(rig.at_boundary() && rig.queued().is_empty());
    let expected = [frame, other.bytes().to_vec()].concat();
    assert_eq!(rig.frames_out(), expected, "it goes out with the rest");
}

#[test]
fn before_the_upgrade_everything_goes_straight_through() {
    let rig = WriterRig::new();
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
        let rig = WriterRig::upgraded();
        rig.socket.allow([taken]);
        assert_eq!(rig.write_once(&frame), Some(frame.len()));
        rig.writer.abort().unwrap();
        assert_eq!(rig.socket.shut(), Some(Shutdown::Both));
        assert!(rig.queued().is_empty());
        let written = rig.poll_write(&frame);
        assert!(matches!(written, Poll::Ready(Err(WriterError::Aborted))));
        assert!(rig.flush());
        let offered = rig.writer.offer_frame(&lane_frame(TEXT, b"42[]"));
        assert_eq!(offered, LaneOffer::Closed);
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
    let rig = WriterRig::upgraded();
    let frame = frame_of(TEXT, b"42[\"half\"]");
    rig.socket.allow([3]);
    assert_eq!(rig.write_once(&frame), Some(frame.len()));
    let shut_down = || rig.poll(|cx| rig.writer.poll_shutdown(cx)).is_ready();
    assert!(!shut_down());
    assert_eq!(rig.socket.shut(), None);
    let offered = rig.writer.offer_frame(&lane_frame(TEXT, b"42[]"));
    assert_eq!(offered, LaneOffer::Closed);
    rig.socket.allow([ALL]);
    assert_eq!(rig.pump(), PumpTurn::Done);
    assert!(rig.woken.0.load(Ordering::Relaxed) && shut_down());
    assert_eq!(rig.socket.shut(), Some(Shutdown::Write));
    assert_eq!(rig.frames_out(), frame);
}
