use super::super::status::ConsumerStatus;
use super::*;

const STALL: Duration = Duration::from_secs(15);

fn partition(partitions: &mut ReadPartitions, next: i64) -> &mut ReadPartition {
    let bounds = Bounds { low: 0, high: next };
    let found = FoundPartition {
        place: (Arc::from("incident"), 0),
        start: next,
        read_from: next,
        bounds,
        early: true,
    };
    partitions.open(&found, None, 0, 0)
}

#[test]
fn records_are_handed_over_once() {
    let mut partitions = ReadPartitions::default();
    let partition = partition(&mut partitions, 5);
    assert!(!partition.record(4, 1));
    assert!(partition.record(5, 1));
    assert!(!partition.record(5, 2));
    assert!(partition.record(9, 3));
    assert_eq!(partition.next, 10);
}

#[test]
fn the_end_lies_behind_control_records() {
    let mut partitions = ReadPartitions::default();
    let partition = partition(&mut partitions, 5);
    assert!(partition.record(5, 1));
    partition.end(8, 2);
    assert_eq!((partition.next, partition.reached), (8, true));
}

#[test]
fn an_answer_older_than_the_last_record_proves_only_that_all_of_it_was_read() {
    let mut partitions = ReadPartitions::default();
    let partition = partition(&mut partitions, 5);
    assert!(partition.record(99, 50));
    let old = Bounds { low: 0, high: 10 };
    for _ in 0..3 {
        assert_eq!(partition.judge(old, 50, 60, STALL), PartitionVerdict::AtEnd);
    }
    let longer = Bounds { low: 0, high: 200 };
    assert_eq!(
        partition.judge(longer, 50, 60, STALL),
        PartitionVerdict::Fine
    );
}

#[test]
fn a_shorter_log_counts_when_it_is_reported_twice() {
    for (low, start) in [(0, 0), (7, 10)] {
        let mut partitions = ReadPartitions::default();
        let partition = partition(&mut partitions, 50);
        let cut = Bounds { low, high: 10 };
        assert_eq!(
            partition.judge(cut, 1, 2, STALL),
            PartitionVerdict::Suspicious
        );
        assert_eq!(
            partition.judge(cut, 3, 4, STALL),
            PartitionVerdict::Replaced(start)
        );
    }
}

#[test]
fn a_lost_partition_is_judged_by_the_first_answer_after_the_loss() {
    let cases = [
        (Bounds { low: 80, high: 90 }, PartitionVerdict::Gap(80)),
        (Bounds { low: 0, high: 10 }, PartitionVerdict::Replaced(0)),
        // It was cut and has grown past what was read.
        (Bounds { low: 0, high: 90 }, PartitionVerdict::Replaced(90)),
        (Bounds { low: 7, high: 50 }, PartitionVerdict::Replaced(50)),
    ];
    for (bounds, verdict) in cases {
        let mut partitions = ReadPartitions::default();
        let partition = partition(&mut partitions, 50);
        partition.lost(10);
        assert_eq!(
            partition.judge(bounds, 10, 11, STALL),
            PartitionVerdict::Fine
        );
        assert_eq!(partition.judge(bounds, 11, 12, STALL), verdict);
    }
}

#[test]
fn a_lost_partition_stays_lost_until_it_is_judged() {
    let mut partitions = ReadPartitions::default();
    let partition = partition(&mut partitions, 50);
    partition.lost(10);
    // The client was recreated because of another partition.
    partition.restarted();
    assert!(partition.is_lost());
    let bounds = Bounds { low: 80, high: 90 };
    assert_eq!(
        partition.judge(bounds, 11, 12, STALL),
        PartitionVerdict::Gap(80)
    );
    partition.skip_to(80, 12);
    assert!(!partition.is_lost());
}

#[test]
fn a_partition_that_does_not_follow_its_log_is_a_stall_unless_the_reader_itself_waited() {
    let mut partitions = ReadPartitions::default();
    let partition = partition(&mut partitions, 5);
    let ahead = Bounds { low: 0, high: 6 };
    assert_eq!(
        partition.judge(ahead, 1, 1_000, STALL),
        PartitionVerdict::Fine
    );
    assert_eq!(
        partition.judge(ahead, 2, 15_999, STALL),
        PartitionVerdict::Fine
    );
    partition.excuse();
    assert_eq!(
        partition.judge(ahead, 3, 16_000, STALL),
        PartitionVerdict::Fine
    );
    assert_eq!(
        partition.judge(ahead, 4, 31_000, STALL),
        PartitionVerdict::Restart
    );
}

#[test]
fn the_end_is_confirmed_by_each_of_the_brokers_answers() {
    let mut partitions = ReadPartitions::default();
    let partition = partition(&mut partitions, 5);
    let same = Bounds { low: 0, high: 5 };
    assert_eq!(partition.judge(same, 1, 2, STALL), PartitionVerdict::AtEnd);
    partition.end(5, 3);
    assert_eq!(partition.judge(same, 4, 5, STALL), PartitionVerdict::AtEnd);
    assert_eq!(partition.confirmed(), Some(4));
}

#[test]
fn where_a_log_ends_counts_from_when_the_brokers_were_asked() {
    let end = |partitions: &ReadPartitions, since_ms| {
        let partitions = partitions.iter().map(ReadPartition::status).collect();
        let status = ConsumerStatus {
            partitions,
            ..ConsumerStatus::default()
        };
        assert_eq!(status.end(1, since_ms), None, "there is no such partition");
        status.end(0, since_ms)
    };
    let mut partitions = ReadPartitions::default();
    partition(&mut partitions, 5);
    // Looks may come and go: while the partition has no leader, they have no word of it.
    assert_eq!((end(&partitions, 0), end(&partitions, 1)), (Some(5), None));
    let partition = partitions.get("incident", 0).unwrap();
    partition.judge(Bounds { low: 0, high: 9 }, 7, 8, STALL);
    assert_eq!(
        [6, 7, 8].map(|since_ms| end(&partitions, since_ms)),
        [Some(9), Some(9), None]
    );
}

#[test]
fn an_index_is_never_used_again() {
    let mut partitions = ReadPartitions::default();
    partition(&mut partitions, 0);
    assert_eq!(
        partitions.close(&(Arc::from("incident"), 0)).unwrap().index,
        0
    );
    assert_eq!(partition(&mut partitions, 0).index, 1);
}

#[test]
fn an_index_that_another_feeder_has_is_not_used() {
    let indices = PartitionIndices::default();
    let mut partitions = ReadPartitions::new(indices.clone());
    assert_eq!(partition(&mut partitions, 0).index, 0);
    assert_eq!(indices.allocate(), 1);
    assert_eq!(partition(&mut partitions, 0).index, 2);
}

#[test]
fn a_partition_learns_the_id_of_its_topic_once() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut partitions = ReadPartitions::default();
    partition(&mut partitions, 5);
    let topic = "incident";
    assert_eq!(partitions.identify(topic, old).learned, [0]);
    let known = partitions.identify(topic, old);
    assert!(known.learned.is_empty() && known.others.is_empty());
    let other = partitions.identify(topic, new);
    assert!(other.learned.is_empty());
    assert_eq!(other.others, [(Arc::from(topic), 0)]);
    assert!(partitions.identify("task", new).learned.is_empty());
}

#[test]
fn an_unrouted_topic_is_continued_if_it_is_still_the_same() {
    let (old, new) = (Some([1; 16]), Some([2; 16]));
    let bounds = Bounds { low: 0, high: 90 };
    for (before, after, bounds, start) in [
        (old, old, bounds, 50),
        (None, old, bounds, 50),
        (old, None, bounds, 50),
        (old, new, bounds, 20),
        (None, None, Bounds { low: 0, high: 30 }, 20),
    ] {
        let mut partitions = ReadPartitions::default();
        let mut found = FoundPartition {
            place: (Arc::from("incident"), 0),
            start: 50,
            read_from: 50,
            bounds,
            early: true,
        };
        partitions.open(&found, before, 0, 0);
        assert_eq!(partitions.leave(&found.place), Some(0));
        assert_eq!(partitions.leave(&found.place), None);
        (found.start, found.read_from) = (20, 20);
        assert_eq!(partitions.open(&found, after, 0, 0).start, start);
    }
}

#[test]
fn a_topic_recreated_while_unrouted_is_recognised_once_its_id_is_known() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut partitions = ReadPartitions::default();
    let found = FoundPartition {
        place: (Arc::from("incident"), 0),
        start: 50,
        read_from: 50,
        bounds: Bounds { low: 0, high: 90 },
        early: true,
    };
    partitions.open(&found, Some(old), 0, 0);
    partitions.leave(&found.place);
    // The brokers have not said yet.
    let partition = partitions.open(&found, None, 0, 0);
    assert_eq!((partition.start, partition.topic_id), (50, Some(old)));
    assert_eq!(partitions.identify("incident", new).others, [found.place]);
}

#[test]
fn a_replaced_topic_is_not_read_again() {
    let (old, new) = ([1; 16], [2; 16]);
    let mut partitions = ReadPartitions::default();
    partition(&mut partitions, 5);
    partitions.identify("incident", old);
    assert!(!partitions.was_replaced("incident", &old));
    partitions.identify("incident", new);
    assert!(
        partitions.was_replaced("incident", &old) && !partitions.was_replaced("incident", &new)
    );
    assert!(!partitions.was_replaced("task", &old));
}

#[test]
fn names_of_closed_topics_do_not_accumulate() {
    let mut partitions = ReadPartitions::default();
    partition(&mut partitions, 5);
    let place = (Arc::from("incident"), 0);
    assert!(partitions.close(&place).is_some());
    assert!(partitions.by_topic.is_empty());
    assert!(partitions.close(&place).is_none());
}

#[test]
fn what_is_read_further_back_is_not_of_the_hub() {
    let mut partitions = ReadPartitions::default();
    let mut found = FoundPartition {
        place: (Arc::from("publish"), 0),
        start: 50,
        read_from: 20,
        bounds: Bounds { low: 0, high: 90 },
        early: true,
    };
    let partition = partitions.open(&found, None, 0, 0);
    assert_eq!((partition.start, partition.next), (50, 20));
    assert!(partition.record(20, 1));
    // What was shown once is not shown again.
    partitions.leave(&found.place);
    found.read_from = 0;
    let partition = partitions.open(&found, None, 0, 0);
    assert_eq!((partition.start, partition.next), (50, 21));
}

#[test]
fn a_refused_partition_goes_on_where_it_was_under_a_new_index() {
    let mut partitions = ReadPartitions::default();
    assert!(partition(&mut partitions, 5).record(7, 1));
    assert_eq!(partitions.refuse("task"), [0_u32; 0]);
    assert_eq!(partitions.refuse("incident"), [0]);
    assert_eq!(partitions.iter().count(), 0);
    assert!(partitions.permit("incident", 1, 2).is_none());
    let permitted = partitions.permit("incident", 0, 2).unwrap();
    let seen = (permitted.index, permitted.start, permitted.next);
    assert_eq!(seen, (1, 8, 8));
    assert!(partitions.permit("incident", 0, 3).is_none());
    partitions.refuse("incident");
    let place = (Arc::from("incident"), 0);
    assert!(partitions.forget_refused(&place) && !partitions.forget_refused(&place));
}
