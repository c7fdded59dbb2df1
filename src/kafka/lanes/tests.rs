use super::super::status::Status;
use super::*;

const STALL: Duration = Duration::from_secs(15);

fn lane(lanes: &mut Lanes, next: i64) -> &mut Lane {
    let bounds = Bounds { low: 0, high: next };
    let found = Found {
        place: (Arc::from("incident"), 0),
        start: next,
        bounds,
        early: true,
    };
    lanes.open(&found, None, 0, 0)
}

#[test]
fn what_was_read_is_not_handed_over_again() {
    let mut lanes = Lanes::default();
    let lane = lane(&mut lanes, 5);
    assert!(!lane.record(4, 1));
    assert!(lane.record(5, 1));
    assert!(!lane.record(5, 2));
    assert!(lane.record(9, 3));
    assert_eq!(lane.next, 10);
}

#[test]
fn the_end_lies_behind_control_records() {
    let mut lanes = Lanes::default();
    let lane = lane(&mut lanes, 5);
    assert!(lane.record(5, 1));
    lane.end(8, 2);
    assert_eq!((lane.next, lane.reached), (8, true));
}

#[test]
fn an_answer_older_than_the_last_record_proves_only_that_all_of_it_was_read() {
    let mut lanes = Lanes::default();
    let lane = lane(&mut lanes, 5);
    assert!(lane.record(99, 50));
    let old = Bounds { low: 0, high: 10 };
    for _ in 0..3 {
        assert_eq!(lane.judge(old, 50, 60, STALL), Verdict::AtEnd);
    }
    let longer = Bounds { low: 0, high: 200 };
    assert_eq!(lane.judge(longer, 50, 60, STALL), Verdict::Fine);
}

#[test]
fn a_shorter_log_is_believed_the_second_time() {
    for (low, start) in [(0, 0), (7, 10)] {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 50);
        let cut = Bounds { low, high: 10 };
        assert_eq!(lane.judge(cut, 1, 2, STALL), Verdict::Suspicious);
        assert_eq!(lane.judge(cut, 3, 4, STALL), Verdict::Anew(start));
    }
}

#[test]
fn a_lost_lane_is_judged_by_the_first_answer_after_the_loss() {
    let cases = [
        (Bounds { low: 80, high: 90 }, Verdict::Gap(80)),
        (Bounds { low: 0, high: 10 }, Verdict::Anew(0)),
        // It was cut and has grown past what was read.
        (Bounds { low: 0, high: 90 }, Verdict::Anew(90)),
        (Bounds { low: 7, high: 50 }, Verdict::Anew(50)),
    ];
    for (bounds, verdict) in cases {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 50);
        lane.lost(10);
        assert_eq!(lane.judge(bounds, 10, 11, STALL), Verdict::Fine);
        assert_eq!(lane.judge(bounds, 11, 12, STALL), verdict);
    }
}

#[test]
fn a_lost_lane_stays_lost_until_it_is_judged() {
    let mut lanes = Lanes::default();
    let lane = lane(&mut lanes, 50);
    lane.lost(10);
    // The client was made anew for another partition's sake.
    lane.restarted();
    assert!(lane.is_lost());
    let bounds = Bounds { low: 80, high: 90 };
    assert_eq!(lane.judge(bounds, 11, 12, STALL), Verdict::Gap(80));
    lane.skip_to(80, 12);
    assert!(!lane.is_lost());
}

#[test]
fn a_lane_that_does_not_follow_its_log_is_a_stall_unless_the_reader_itself_waited() {
    let mut lanes = Lanes::default();
    let lane = lane(&mut lanes, 5);
    let ahead = Bounds { low: 0, high: 6 };
    assert_eq!(lane.judge(ahead, 1, 1_000, STALL), Verdict::Fine);
    assert_eq!(lane.judge(ahead, 2, 15_999, STALL), Verdict::Fine);
    lane.excuse();
    assert_eq!(lane.judge(ahead, 3, 16_000, STALL), Verdict::Fine);
    assert_eq!(lane.judge(ahead, 4, 31_000, STALL), Verdict::Restart);
}

#[test]
fn the_end_is_confirmed_by_each_of_the_brokers_answers() {
    let mut lanes = Lanes::default();
    let lane = lane(&mut lanes, 5);
    let same = Bounds { low: 0, high: 5 };
    assert_eq!(lane.judge(same, 1, 2, STALL), Verdict::AtEnd);
    lane.end(5, 3);
    assert_eq!(lane.judge(same, 4, 5, STALL), Verdict::AtEnd);
    assert_eq!(lane.confirmed(), Some(4));
}

#[test]
fn where_a_log_ends_counts_from_when_the_brokers_were_asked() {
    let end = |lanes: &Lanes, since_ms| {
        let partitions = lanes.iter().map(Lane::status).collect();
        let status = Status {
            partitions,
            ..Status::default()
        };
        assert_eq!(status.end(1, since_ms), None, "there is no such partition");
        status.end(0, since_ms)
    };
    let mut lanes = Lanes::default();
    lane(&mut lanes, 5);
    // Looks may come and go: while nobody leads the partition, they have no word of it.
    assert_eq!((end(&lanes, 0), end(&lanes, 1)), (Some(5), None));
    let lane = lanes.get("incident", 0).unwrap();
    lane.judge(Bounds { low: 0, high: 9 }, 7, 8, STALL);
    assert_eq!(
        [6, 7, 8].map(|since_ms| end(&lanes, since_ms)),
        [Some(9), Some(9), None]
    );
}

#[test]
fn an_index_is_never_used_again() {
    let mut lanes = Lanes::default();
    lane(&mut lanes, 0);
    assert_eq!(lanes.close(&(Arc::from("incident"), 0)).unwrap().index, 0);
    assert_eq!(lane(&mut lanes, 0).index, 1);
}

#[test]
fn a_lane_learns_the_id_of_its_topic_once() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut lanes = Lanes::default();
    lane(&mut lanes, 5);
    let topic = "incident";
    assert_eq!(lanes.identify(topic, old).learned, [0]);
    let known = lanes.identify(topic, old);
    assert!(known.learned.is_empty() && known.others.is_empty());
    let other = lanes.identify(topic, new);
    assert!(other.learned.is_empty());
    assert_eq!(other.others, [(Arc::from(topic), 0)]);
    assert!(lanes.identify("task", new).learned.is_empty());
}

#[test]
fn a_topic_that_was_left_is_taken_up_where_it_was_left_if_it_is_the_same() {
    let (old, new) = (Some([1; 16]), Some([2; 16]));
    let bounds = Bounds { low: 0, high: 90 };
    for (before, after, bounds, start) in [
        (old, old, bounds, 50),
        (None, old, bounds, 50),
        (old, None, bounds, 50),
        (old, new, bounds, 20),
        (None, None, Bounds { low: 0, high: 30 }, 20),
    ] {
        let mut lanes = Lanes::default();
        let mut found = Found {
            place: (Arc::from("incident"), 0),
            start: 50,
            bounds,
            early: true,
        };
        lanes.open(&found, before, 0, 0);
        assert_eq!(lanes.leave(&found.place), Some(0));
        assert_eq!(lanes.leave(&found.place), None);
        found.start = 20;
        assert_eq!(lanes.open(&found, after, 0, 0).start, start);
    }
}

#[test]
fn a_topic_that_was_left_and_made_anew_is_found_out_when_its_id_comes_later() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut lanes = Lanes::default();
    let found = Found {
        place: (Arc::from("incident"), 0),
        start: 50,
        bounds: Bounds { low: 0, high: 90 },
        early: true,
    };
    lanes.open(&found, Some(old), 0, 0);
    lanes.leave(&found.place);
    // The brokers have not said yet.
    let lane = lanes.open(&found, None, 0, 0);
    assert_eq!((lane.start, lane.topic_id), (50, Some(old)));
    assert_eq!(lanes.identify("incident", new).others, [found.place]);
}

#[test]
fn a_topic_that_was_replaced_does_not_come_back() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut lanes = Lanes::default();
    lane(&mut lanes, 5);
    lanes.identify("incident", old);
    assert!(!lanes.was_replaced("incident", &old));
    lanes.identify("incident", new);
    assert!(lanes.was_replaced("incident", &old) && !lanes.was_replaced("incident", &new));
    assert!(!lanes.was_replaced("task", &old));
}

#[test]
fn names_of_topics_that_are_gone_are_let_go_of() {
    let mut lanes = Lanes::default();
    lane(&mut lanes, 5);
    let place = (Arc::from("incident"), 0);
    assert!(lanes.close(&place).is_some());
    assert!(lanes.by_topic.is_empty());
    assert!(lanes.close(&place).is_none());
}
