//! Producers stamp records with whatever time they like, and the start of an instance goes by that. While cursors name all
//! partitions nothing is lost or doubled by it.

use super::*;
use crate::domain::protocol::ResyncReason::CursorExpired;

fn rig(now: Now, starts: &[i64]) -> Rig {
    rig_that_names(starts.len(), now, starts)
}

fn rig_that_names(named_partitions: usize, now: Now, starts: &[i64]) -> Rig {
    let settings = HubSettings {
        window_ms: WINDOW_MS,
        window_bytes: NO_LIMIT,
        latest_bytes: NO_LIMIT,
        named_partitions,
    };
    let mut rig = Rig {
        hub: Hub::new(settings),
        now,
        next: starts.to_vec(),
    };
    for (index, start) in (0..).zip(starts) {
        rig.apply(Feed::Partition {
            index,
            topic: TOPIC.into(),
            number: index.cast_signed(),
            topic_id: None,
            start: *start,
        });
    }
    rig
}

fn loaded(mut rig: Rig) -> Rig {
    rig.confirm();
    rig.hub.loaded();
    rig
}

fn begin() -> Now {
    Rig::new(0).now
}

#[test]
fn a_record_stamped_an_hour_ago_is_not_lost_silently() {
    let mut early = loaded(rig(begin(), &[0, 0]));
    let mut client = early.live(&["1"]);
    early.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 0)]);
    early.hub.close(client.key);
    // The first record of its partition.
    early.publish(1, "o1", &["1"]);
    let mut back = early.resumed(&["1"], &client.cursor);
    early.turns();
    assert_eq!(back.records(), [(1, 0)]);
    // By its stamp it lies before what an instance that starts now begins with.
    let mut late = rig(early.now, &[0, 1]);
    late.publish(0, "o1", &["1"]);
    let late = loaded(late);
    let inspection = late.inspect("o1", &client.cursor);
    assert_eq!(inspection, Inspection::Resync(CursorExpired));
}

#[test]
fn a_record_stamped_in_the_future_is_not_sent_twice() {
    let mut early = loaded(rig(begin(), &[0, 0]));
    let mut client = early.live(&["1"]);
    early.publish(1, "o1", &["1"]);
    assert_eq!(client.records(), [(1, 0)]);
    early.pass(MEMORY_MS + 1_000);
    early.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 0)]);
    early.hub.close(client.key);
    // By its stamp it is young, however long ago it was written.
    let mut late = rig(early.now, &[0, 0]);
    late.publish(1, "o1", &["1"]);
    late.publish(0, "o1", &["1"]);
    let mut late = loaded(late);
    let mut back = late.resumed(&["1"], &client.cursor);
    late.turns();
    assert_eq!(back.records(), []);
}

#[test]
fn a_partition_that_was_added_since_is_resumed_only_from_its_beginning() {
    let mut early = loaded(rig(begin(), &[0]));
    let mut client = early.live(&["1"]);
    early.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 0)]);
    for (start, told) in [(0, false), (1, true)] {
        let late = loaded(rig(early.now, &[0, start]));
        let inspection = late.inspect("o1", &client.cursor);
        let expired = inspection == Inspection::Resync(CursorExpired);
        assert_eq!(expired, told, "{start}: {inspection:?}");
    }
}

/// Its issuer knows more partitions than cursors name, so one in which nothing happens is not named.
#[test]
fn a_quiet_partition_that_was_there_long_before_the_cursor_is_no_reason_for_a_resync() {
    for (began_long_before, told) in [(true, false), (false, true)] {
        let mut early = loaded(rig_that_names(1, begin(), &[0, 0]));
        let mut late = loaded(rig(begin(), &[0, 1]));
        let mut client = early.live(&["1"]);
        for rig in [&mut early, &mut late] {
            rig.pass(MEMORY_MS + 1_000);
        }
        if !began_long_before {
            late = loaded(rig(early.now, &[0, 1]));
        }
        for rig in [&mut early, &mut late] {
            rig.publish(0, "o1", &["1"]);
        }
        assert_eq!(client.records(), [(0, 0)]);
        assert_eq!(early.position(&client.cursor, 1), None);
        let inspection = late.inspect("o1", &client.cursor);
        let expired = inspection == Inspection::Resync(CursorExpired);
        assert_eq!(expired, told, "{began_long_before}: {inspection:?}");
    }
}

/// The same of one that was read from its beginning, where records were lost long before.
#[test]
fn a_quiet_partition_with_a_gap_of_long_ago_is_no_reason_for_a_resync() {
    let mut early = loaded(rig_that_names(1, begin(), &[0, 0]));
    let mut late = loaded(rig_that_names(2, begin(), &[0, 0]));
    let mut client = early.live(&["1"]);
    for rig in [&mut early, &mut late] {
        rig.apply(Feed::Gap {
            partition: 1,
            next: 5,
        });
        client.read();
        rig.pass(MEMORY_MS + 1_000);
        rig.publish(0, "o1", &["1"]);
    }
    client.read();
    assert_eq!(early.position(&client.cursor, 1), None);
    let inspection = late.inspect("o1", &client.cursor);
    assert!(
        matches!(inspection, Inspection::Resume(_)),
        "{inspection:?}"
    );
}
