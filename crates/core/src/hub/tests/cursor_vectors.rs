//! Cursors of connections that came from an instance with other positions, and of changing tables of partitions.

use super::*;
use crate::domain::cursor::CursorError;

/// Two instances that have read the same log in another order: `left` has partition 0, `right` partition 1.
fn apart() -> (Rig, Rig) {
    let (mut left, mut right) = (Rig::new(2), Rig::new(2));
    for _ in 0..5 {
        left.publish(0, "o1", &["1"]);
        right.publish(1, "o1", &["1"]);
    }
    (left, right)
}

#[test]
fn a_merging_connection_never_gets_the_instances_own_cursor() {
    let (mut left, mut right) = apart();
    let mut client = left.live(&["1"]);
    left.publish(0, "o1", &["1"]);
    client.read();
    let mut moved = right.resumed(&["1"], &client.cursor);
    right.turns();
    let came: Vec<_> = moved.pipe.borrow_mut().taken.drain(..).collect();
    assert_eq!(came.len(), 6, "the welcome and five of partition 1");
    for (nth, (seen, cursor)) in (0..).zip(&came) {
        let (zero, one) = (right.position(cursor, 0), right.position(cursor, 1));
        assert_eq!(
            zero,
            Some(6),
            "{seen:?}: it has seen so much of partition 0"
        );
        assert!(one.unwrap_or(0) <= nth, "{seen:?}: {one:?}");
    }
    // A cursor while the instance is still behind.
    right.hub.cursor(moved.key, right.now);
    right.pass(20_000);
    let read = moved.read();
    assert!(
        !read.is_empty() && read.iter().all(|seen| *seen == Seen::Cursor),
        "{read:?}"
    );
    assert_eq!(right.position(&moved.cursor, 0), Some(6));
    assert_eq!(right.hub.statistics(right.now).lagging, 1, "still merging");

    for _ in 0..7 {
        right.publish(0, "o1", &["1"]);
        right.turns();
    }
    assert_eq!(moved.records(), [(0, 6)], "what it had is not repeated");
    assert_eq!(right.hub.statistics(right.now).lagging, 0);
    let mut fresh = right.live(&["1"]);
    right.publish(1, "o1", &["1"]);
    moved.read();
    fresh.read();
    assert_eq!(moved.cursor, fresh.cursor, "shared again");
}

#[test]
fn moving_between_instances_repeats_nothing() {
    let (mut left, mut right) = apart();
    let mut client = left.live(&["1"]);
    left.publish(0, "o1", &["1"]);
    client.read();
    let mut moved = right.resumed(&["1"], &client.cursor);
    moved.set_capacity(3);
    right.turns();
    assert_eq!(moved.records(), [(1, 0), (1, 1)]);
    let mut back = left.resumed(&["1"], &moved.cursor);
    for _ in 0..4 {
        left.publish(1, "o1", &["1"]);
    }
    left.turns();
    assert_eq!(back.records(), [(1, 2), (1, 3)]);
}

#[test]
fn a_change_of_partitions_is_spelled_out_for_a_window_and_old_tables_still_decode() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    let unknown = |text: &str| Cursor::decode(text, |_, _| None) == Err(CursorError::UnknownTable);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let old = client.cursor.clone();
    assert!(unknown(&old), "short form");

    rig.add_partition();
    rig.publish(2, "o1", &["1"]);
    client.read();
    assert!(
        !unknown(&client.cursor),
        "long form: others may not know the new table"
    );
    let mut back = rig.resumed(&["1"], &old);
    rig.turns();
    assert_eq!(back.records(), [(2, 0)]);

    rig.pass(WINDOW_MS - 1_000);
    rig.publish(0, "o1", &["1"]);
    client.read();
    assert!(!unknown(&client.cursor));
    rig.pass(1_000);
    rig.publish(0, "o1", &["1"]);
    client.read();
    assert!(unknown(&client.cursor), "settled");
    assert_eq!(rig.position(&old, 0), Some(1));
}

#[test]
fn an_instance_that_finds_the_new_partition_later_reads_the_cursor_then() {
    let (mut early, mut late) = (Rig::new(1), Rig::new(1));
    early.add_partition();
    let mut client = early.live(&["1"]);
    early.publish(1, "o1", &["1"]);
    client.read();
    assert_eq!(late.inspect("o1", &client.cursor), Inspection::Unknown);
    late.add_partition();
    let mut moved = late.resumed(&["1"], &client.cursor);
    for _ in 0..2 {
        late.publish(1, "o1", &["1"]);
    }
    late.turns();
    assert_eq!(moved.records(), [(1, 1)]);
}

#[test]
fn cursors_are_as_old_as_what_is_read() {
    let mut rig = Rig::new(2);
    let client = rig.live(&["1"]);
    assert_eq!(rig.decode(&client.cursor).issued, EPOCH);
    rig.pass(5_000);
    // Partition 1 is not confirmed any more.
    for step in 1..=10_u64 {
        rig.now.wall += 1_000;
        rig.now.monotonic += 1_000;
        rig.apply(Feed::End {
            partition: 0,
            next: 0,
            asked: rig.now.wall,
        });
        assert_eq!(rig.hub.read_up_to(rig.now), EPOCH + 5_000, "{step}");
        assert_eq!(rig.hub.statistics(rig.now).behind_ms, step * 1_000);
    }
    let mut other = rig.live(&["1"]);
    rig.hub.cursor(other.key, rig.now);
    other.read();
    assert_eq!(rig.decode(&other.cursor).issued, EPOCH + 5_000);
}

#[test]
fn cursors_omit_partitions_that_were_silent_for_long() {
    let mut rig = Rig::new(3);
    let mut client = rig.live(&["1"]);
    rig.publish(1, "o1", &["1"]);
    rig.publish(2, "o2", &["1"]);
    client.read();
    let named = |rig: &Rig, text: &str| {
        (0..3)
            .map(|n| rig.position(text, n).is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(named(&rig, &client.cursor), [false, true, false]);
    rig.pass(MEMORY_MS - 10_000);
    client.read();
    assert_eq!(named(&rig, &client.cursor), [false, true, false]);
    rig.pass(30_000);
    client.read();
    assert_eq!(named(&rig, &client.cursor), [false, false, false]);
}

#[test]
fn a_partition_that_was_read_from_the_middle_is_named_until_enough_of_it_is_known() {
    let mut rig = Rig::new(0);
    for (index, start) in [(0, 0), (1, 500)] {
        rig.next.push(start);
        rig.apply(Feed::Partition {
            index,
            topic: TOPIC.into(),
            number: index.cast_signed(),
            topic_id: None,
            start,
        });
    }
    rig.confirm();
    // Another instance may still hold an old record of partition 1 that it read late.
    let mut client = rig.live(&["1"]);
    assert_eq!(rig.position(&client.cursor, 0), None);
    assert_eq!(rig.position(&client.cursor, 1), Some(500));
    rig.pass(KEPT_MS + 20_000);
    client.read();
    assert_eq!(rig.position(&client.cursor, 1), None);
}

/// Two instances read a quiet partition late, and one of them so long ago that its cursors do not name it any more.
#[test]
fn a_record_that_two_instances_read_late_is_not_sent_twice() {
    let (mut early, mut late) = (Rig::new(2), Rig::new(2));
    for rig in [&mut early, &mut late] {
        rig.pass(WINDOW_MS);
    }
    let mut client = early.live(&["1"]);
    early.publish(1, "o1", &["1"]);
    early.pass(MEMORY_MS);
    late.pass_unconfirmed(MEMORY_MS);
    // Quiet enough to be forgotten; the other has still to read it.
    early.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(1, 0), (0, 0)]);
    assert_eq!(early.position(&client.cursor, 1), None);
    let unread = late.inspect("o1", &client.cursor);
    late.publish(0, "o1", &["1"]);
    late.publish(1, "o1", &["1"]);
    late.confirm();
    let just_read = late.inspect("o1", &client.cursor);
    let expired = Inspection::Resync(ResyncReason::CursorExpired);
    assert_eq!((&unread, &just_read), (&expired, &expired));
}

#[test]
fn a_record_that_all_instances_read_late_is_new_to_a_client_that_left_before() {
    let mut rig = Rig::new(2);
    rig.pass(WINDOW_MS);
    let client = rig.live(&["1"]);
    rig.pass_unconfirmed(MEMORY_MS - KEPT_MS);
    rig.publish(0, "o1", &["1"]);
    rig.publish(1, "o1", &["1"]);
    rig.confirm();
    assert_eq!(rig.decode(&client.cursor).marks, []);
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.records(), [(0, 0), (1, 0)]);
}

/// Two instances stopped reading a topic at different offsets, so a client that moves between them merges for good.
#[test]
fn a_quiet_connection_that_merges_for_long_gets_newer_cursors() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.publish(1, "o1", &["1"]);
    client.read();
    rig.hub.close(client.key);
    let mut cursor = rig.decode(&client.cursor);
    for mark in &mut cursor.marks {
        if mark.hash == partition_hash(TOPIC, 1) {
            mark.next += 5;
        }
    }
    rig.apply(Feed::Unwanted { partition: 1 });
    let mut back = rig.resumed(&["1"], &cursor.encode(None));
    rig.turns();
    back.read();
    for _ in 0..2 * WINDOW_MS / 1_000 {
        rig.pass_unconfirmed(1_000);
        let asked = rig.now.wall;
        rig.apply(Feed::End {
            partition: 0,
            next: rig.next[0],
            asked,
        });
        rig.publish(0, "o1", &["elsewhere"]);
        rig.turns();
    }
    assert!(back.read().contains(&Seen::Cursor));
    let age = rig.now.wall - rig.decode(&back.cursor).issued;
    assert!(age < WINDOW_MS / 3, "{age} ms");
}
