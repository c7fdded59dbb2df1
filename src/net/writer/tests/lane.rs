//! The lane, one behaviour each.

use super::super::super::drain_rate::START;
use super::super::budget::MOST_FRAMES;
use super::*;

fn frame(number: u32, len: usize) -> LaneFrame {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len.max(4), b'.');
    let record = RecordStamp {
        event: number,
        timestamp: 1,
    };
    LaneFrame::new(frame_of(BINARY, &payload), Some(record))
}

#[test]
fn frames_that_are_queued_leave_with_one_call_and_do_not_block_before() {
    let rig = WriterRig::upgraded();
    let (offered, calls) = (
        [frame(0, 500), frame(1, 500), frame(2, 500)],
        rig.socket.writes(),
    );
    let answers = offered.each_ref().map(|it| rig.writer.offer_frame(it));
    let first = [LaneOffer::FirstQueued, LaneOffer::Queued, LaneOffer::Queued];
    assert_eq!(answers, first);
    assert!(!rig.writer.is_blocked() && !rig.writer.needs_pump() && rig.flush());
    assert_eq!(rig.socket.writes(), calls);
    rig.socket.allow([ALL]);
    rig.flush_lane();
    assert_eq!(
        rig.frames_out(),
        offered.each_ref().map(LaneFrame::bytes).concat()
    );
    assert_eq!((rig.socket.writes() - calls, rig.lane_writes()), (1, 1));
    assert!(!rig.writer.is_blocked() && !rig.writer.needs_pump());
    assert_eq!(rig.judge.records().len(), 3);
    assert!(rig.judge.written().is_empty(), "those are the library's");
    rig.flush_lane();
    assert_eq!(rig.socket.writes() - calls, 1, "there is nothing to write");
    let again = rig.writer.offer_frame(&offered[0]);
    assert_eq!(again, LaneOffer::FirstQueued);
}

#[test]
fn more_than_one_call_takes_leaves_with_several() {
    let rig = WriterRig::upgraded();
    let frames: Vec<_> = (0..150).map(|number| frame(number, 100)).collect();
    for frame in &frames {
        rig.writer.offer_frame(frame);
    }
    rig.socket.allow([ALL; 3]);
    rig.flush_lane();
    assert_eq!((rig.lane_writes(), rig.judge.records().len()), (3, 150));
    let allocated = |rig: &WriterRig| rig.writer.with(|state| state.queue.is_allocated());
    assert!(!allocated(&rig), "a burst leaves nothing behind");
    rig.socket.allow([ALL]);
    rig.writer.offer_frame(&frames[0]);
    assert!(!allocated(&rig), "a connection that keeps up needs nothing");
    rig.flush_lane();
}

#[test]
fn frame_that_leaves_in_parts_is_reported_with_its_last_byte() {
    let rig = WriterRig::upgraded();
    let whole = frame(7, 9_000);
    rig.writer.offer_frame(&whole);
    assert_eq!(rig.writer.with(|state| state.queue.frames()), 1);
    rig.socket.allow([1, 9_002]);
    rig.flush_lane();
    rig.pump();
    assert_eq!(rig.judge.records().len(), 0);
    assert_eq!(rig.queued(), whole.bytes()[9_003..]);
    rig.socket.allow([1]);
    rig.pump();
    assert_eq!(rig.judge.records().len(), 1);
    assert_eq!(rig.frames_out(), whole.bytes());
}

#[test]
fn frame_without_bytes_is_none() {
    let rig = WriterRig::upgraded();
    rig.writer.push_frame(&LaneFrame::new(Vec::new(), None));
    let left = |state: &mut WriterState| (state.queue.len(), state.queue.frames());
    assert_eq!(rig.writer.with(left), (0, 0));
}

#[test]
fn write_of_both_kinds_is_reported_piece_by_piece() {
    let library = frame_of(TEXT, b"42[\"library\"]");
    let all = library.len() + frame(0, 20).bytes().len() + frame(1, 20).bytes().len();
    for cut in 1..=all {
        let rig = WriterRig::upgraded();
        rig.writer.offer_frame(&frame(0, 20));
        rig.socket.allow([1]);
        rig.flush_lane();
        assert_eq!(
            rig.write_once(&library),
            Some(library.len()),
            "it is queued"
        );
        assert_eq!(rig.write_once(&library), None, "one at a time");
        assert_eq!(rig.writer.offer_frame(&frame(1, 20)), LaneOffer::Queued);
        rig.socket.allow([cut]);
        let turn = rig.pump();
        assert_eq!(turn == PumpTurn::Done, cut + 1 >= all);
        let taken = (cut + 1).min(all);
        let behind_library = frame(0, 20).bytes().len() + library.len();
        assert_eq!(
            rig.judge.written().len(),
            usize::from(taken >= behind_library)
        );
        let records = usize::from(taken >= 22) + usize::from(taken == all);
        assert_eq!(rig.judge.records().len(), records, "{cut}");
        assert_eq!(rig.woken.0.load(Ordering::Relaxed), taken >= behind_library);
    }
}

/// A lane that is never idle must not keep the library's ping.
#[test]
fn library_has_its_turn_behind_what_was_queued_before_it() {
    let rig = WriterRig::upgraded();
    let ping = frame_of(TEXT, b"2");
    let mut number = 0;
    let mut offer = || {
        rig.writer.offer_frame(&frame(number, 1_000));
        number += 1;
    };
    offer();
    rig.socket.allow([10]);
    rig.flush_lane();
    offer();
    assert_eq!(rig.write_once(&ping), Some(ping.len()));
    assert!(!rig.flush());
    for _ in 0..2 {
        offer();
        offer();
        rig.socket.allow([1_005]);
        assert_eq!(rig.pump(), PumpTurn::Progress);
    }
    assert!(rig.writer.is_blocked() && rig.woken.0.load(Ordering::Relaxed));
    assert_eq!(rig.judge.written(), [seen(TEXT, b"2")]);
    assert!(
        rig.poll(|cx| rig.writer.poll_flush(cx)).is_ready(),
        "its own has left"
    );
}

#[test]
fn queue_is_bounded_in_bytes_and_in_frames_and_says_when_half_is_free() {
    for (len, most) in [(1_000, START / 1_004), (10, MOST_FRAMES)] {
        let rig = WriterRig::upgraded();
        let offer = || rig.writer.offer_frame(&frame(0, len));
        let taken = (0..10_000)
            .take_while(|_| offer() != LaneOffer::Full)
            .count();
        assert_eq!(taken, most);
        assert!(rig.writer.lane_has_capacity() == (most < MOST_FRAMES));
        let each = frame(0, len).bytes().len();
        // Over a connection that is blocked, too: its speed is not known yet.
        rig.socket.allow([each / 2]);
        rig.flush_lane();
        assert!(rig.writer.is_blocked());
        let mut left = taken;
        while rig.judge.drained() == 0 {
            rig.socket.allow([each * 8]);
            rig.pump();
            left -= 8;
        }
        assert!(left.abs_diff(taken / 2) <= 8, "{left} of {taken}");
        assert_eq!(offer(), LaneOffer::Queued);
        rig.socket.allow([ALL; 64]);
        assert_eq!(rig.pump(), PumpTurn::Done);
        assert_eq!(rig.judge.drained(), 1, "once");
    }
}

#[test]
fn empty_queue_takes_any_frame_and_answers_are_taken_beyond_the_limit() {
    let rig = WriterRig::upgraded();
    let huge = frame(0, 3_000_000);
    assert_eq!(rig.writer.offer_frame(&huge), LaneOffer::FirstQueued);
    assert_eq!(rig.writer.offer_frame(&frame(1, 4)), LaneOffer::Full);
    assert!(!rig.writer.lane_has_capacity());
    assert_eq!(rig.writer.push_frame(&frame(2, 4)), LaneOffer::Queued);
    rig.socket.allow([ALL]);
    rig.flush_lane();
    assert!(rig.writer.lane_has_capacity());
    assert_eq!((rig.judge.records().len(), rig.judge.drained()), (2, 1));
}

#[test]
fn slow_client_keeps_capacity_for_answers() {
    let rig = WriterRig::upgraded();
    rig.writer.offer_frame(&frame(0, 1_000));
    rig.socket.allow([10]);
    rig.flush_lane();
    // Known to be slow: it has taken ten bytes.
    rig.writer.with(|state| state.set_speed(0));
    assert_eq!(rig.writer.offer_frame(&frame(1, 4)), LaneOffer::Full);
    assert!(rig.writer.lane_has_capacity());
    rig.writer.push_frame(&frame(2, START));
    assert!(!rig.writer.lane_has_capacity());
}

#[test]
fn failed_write_ends_the_lane() {
    let rig = WriterRig::upgraded();
    rig.writer.offer_frame(&frame(0, 100));
    rig.socket.shut_down(Shutdown::Write).unwrap();
    let flushed = rig.flush_with(&mut LaneFlush::new(NOW_MS));
    assert!(matches!(flushed, Err(WriterError::Io(_))), "{flushed:?}");
    assert_eq!(rig.writer.offer_frame(&frame(1, 4)), LaneOffer::Closed);
    rig.flush_lane();
    assert!(rig.writer.socket_of_pump().is_none());
}

#[test]
fn before_the_upgrade_there_is_no_lane_and_before_its_head_frames_wait() {
    let rig = WriterRig::new();
    assert_eq!(rig.writer.offer_frame(&frame(0, 4)), LaneOffer::Closed);
    rig.writer.expect_upgrade();
    assert_eq!(rig.writer.offer_frame(&frame(1, 4)), LaneOffer::FirstQueued);
    rig.socket.allow([UPGRADE.len() - 1]);
    rig.flush_lane();
    assert!(rig.socket.written().is_empty());
    assert_eq!(rig.write_once(UPGRADE), Some(UPGRADE.len() - 1));
    assert!(!rig.queued().is_empty());
    rig.socket.allow([1, ALL]);
    assert_eq!(rig.write_once(&UPGRADE[UPGRADE.len() - 1..]), Some(1));
    assert_eq!(rig.frames_out(), frame(1, 4).bytes());
}

/// Whether a burst is joined or not, each connection gets its own frames.
#[test]
fn bursts_of_one_flush_reach_each_connection_as_they_were_offered() {
    let frames: Vec<_> = (0..6).map(|number| frame(number, 40)).collect();
    let bursts: [&[usize]; 9] = [
        &[0, 1, 2],
        &[0, 1, 2],
        &[0, 1, 2],
        &[0, 3, 2],
        &[0, 1],
        &[4],
        &[5, 4, 3],
        &[5, 4, 3],
        &[0, 1, 2],
    ];
    let mut flush = LaneFlush::new(NOW_MS);
    for burst in bursts {
        let rig = WriterRig::upgraded();
        for at in burst {
            rig.writer.offer_frame(&frames[*at]);
        }
        rig.socket.allow([ALL]);
        rig.flush_with(&mut flush).unwrap();
        let expected: Vec<_> = burst.iter().map(|at| frames[*at].bytes()).collect();
        assert_eq!(rig.frames_out(), expected.concat(), "{burst:?}");
        assert_eq!((rig.lane_writes(), rig.queued().len()), (1, 0));
    }
}

#[test]
fn joined_burst_that_the_kernel_takes_in_parts_goes_on_where_it_stopped() {
    let frames = [frame(0, 40), frame(1, 40), frame(2, 40)];
    let all = frames.each_ref().map(LaneFrame::bytes).concat();
    for cut in 1..all.len() {
        let mut flush = LaneFlush::new(NOW_MS);
        for _ in 0..3 {
            let rig = WriterRig::upgraded();
            for frame in &frames {
                rig.writer.offer_frame(frame);
            }
            rig.socket.allow([cut]);
            rig.flush_with(&mut flush).unwrap();
            assert_eq!(rig.queued(), all[cut..]);
            rig.socket.allow([ALL]);
            assert_eq!(rig.pump(), PumpTurn::Done);
            assert_eq!(rig.frames_out(), all);
        }
    }
}

#[test]
fn deliveries_of_one_flush_are_reported_together_and_in_order() {
    let rig = WriterRig::upgraded();
    let numbers = [1, 1, 2, 1, 3, 4, 5, 6, 7, 8, 9, 9, 1];
    for number in numbers {
        rig.writer.offer_frame(&frame(number, 20));
    }
    rig.socket.allow([ALL]);
    let mut flush = LaneFlush::new(NOW_MS);
    rig.flush_with(&mut flush).unwrap();
    let reported = |rig: &WriterRig| -> Vec<u32> {
        let records = rig.judge.records();
        records.iter().map(|record| record.event).collect()
    };
    let full = [1, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(reported(&rig), full, "only so many are kept apart");
    drop(flush);
    assert_eq!(reported(&rig), [&full[..], &[9, 9, 1]].concat());
}
