//! Which cursors can be resumed, which not, and why.

use super::*;
use crate::domain::cursor::{Table, organisation_hash};
use crate::domain::protocol::ResyncReason::{
    Clock, CursorExpired, CursorForeign, CursorInvalid, Evicted, Gap, TopicRecreated,
};

/// The text of a cursor of `o1` in the long form, by partition.
pub(super) fn text(issued: u64, positions: &[(i32, i64)]) -> String {
    let marks = positions.iter().map(|(number, next)| mark(*number, *next));
    let mut marks: Vec<_> = marks.collect();
    marks.sort_unstable_by_key(|mark| mark.hash);
    let cursor = Cursor {
        issued,
        organisation: organisation_hash(&id("o1")),
        marks,
    };
    cursor.encode(None).to_string()
}

#[test]
fn a_reconnecting_client_gets_each_missed_record_once() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    rig.hub.close(client.key);
    rig.publish(1, "o1", &["1"]);
    rig.publish(0, "o1", &["2"]);
    rig.publish(0, "o1", &["1"]);
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.publish(1, "o1", &["1"]);
    rig.turns();
    rig.publish(0, "o1", &["1"]);
    let expected = [
        Welcome(Resumption::Resumed, 60),
        Record(1, 0),
        Record(0, 2),
        Record(1, 1),
        Record(0, 3),
    ];
    assert_eq!(back.read(), expected);
}

#[test]
fn the_welcome_of_a_resumed_connection_carries_the_cursor_that_it_resumes_from() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    rig.publish(0, "o1", &["1"]);
    let mut back = rig.resumed(&["1"], &client.cursor);
    back.set_capacity(1);
    rig.turns();
    assert_eq!(back.read(), [Welcome(Resumption::Resumed, 60)]);
    assert_eq!(rig.position(&back.cursor, 0), Some(1));
}

#[test]
fn each_kind_of_cursor_is_resumed_or_resynced() {
    let mut rig = Rig::new(2);
    rig.publish(0, "o1", &["1"]);
    rig.pass(200_000);
    let now = rig.now.wall;
    let at = [(0, 1), (1, 0)];
    let of_o2 = Cursor {
        issued: now,
        organisation: organisation_hash(&id("o2")),
        marks: vec![mark(0, 1)],
    };
    let mut damaged = text(now, &at);
    damaged.replace_range(
        8..9,
        if damaged.contains("v1.AAAAA") {
            "B"
        } else {
            "A"
        },
    );
    let foreign = of_o2.encode(None);
    let unknown_table = Cursor {
        marks: vec![Mark {
            hash: 5,
            ..mark(0, 5)
        }],
        ..of_o2
    }
    .encode(Some(&Table::new(vec![
        (5, Tag::UNKNOWN),
        (6, Tag::UNKNOWN),
    ])));
    for (what, given, expected) in [
        ("empty", String::new(), Err(CursorInvalid)),
        ("not a cursor", "v1.!".to_owned(), Err(CursorInvalid)),
        ("damaged", damaged, Err(CursorInvalid)),
        ("foreign", foreign.to_string(), Err(CursorForeign)),
        ("now", text(now, &at), Ok(true)),
        ("names nothing", text(now, &[]), Ok(true)),
        ("at the window's edge", text(now - WINDOW_MS, &at), Ok(true)),
        (
            "older",
            text(now - WINDOW_MS - 2_100, &at),
            Err(CursorExpired),
        ),
        ("of a clock ahead", text(now + 10_000, &at), Ok(true)),
        ("of another time", text(now + 10_100, &at), Err(Clock)),
        ("an unknown partition", text(now, &[(77, 0)]), Ok(false)),
        ("an unknown table", unknown_table.to_string(), Ok(false)),
        ("ahead", text(now, &[(0, 900)]), Ok(true)),
    ] {
        let inspection = rig.inspect("o1", &given);
        match expected {
            Ok(true) => assert!(
                matches!(inspection, Inspection::Resume(_)),
                "{what}: {inspection:?}"
            ),
            Ok(false) => assert_eq!(inspection, Inspection::Unknown, "{what}"),
            Err(reason) => assert_eq!(inspection, Inspection::Resync(reason), "{what}"),
        }
    }
}

#[test]
fn floors_show_what_the_window_has_evicted() {
    // Evicted at once: offsets 0 to 3 of partition 0, over the cap.
    let mut rig = Rig::with_bytes(2, 12_000);
    rig.publish_sized(1, "o1", &["1"], 100);
    rig.pass(50_000);
    for _ in 0..5 {
        rig.publish_sized(0, "o1", &["1"], 10_000);
    }
    rig.confirm();
    let now = rig.now.wall;
    for (what, given, expected) in [
        ("named, before", text(now, &[(0, 3)]), false),
        ("named, after", text(now, &[(0, 4), (1, 1)]), true),
        ("the other partition", text(now, &[(0, 4), (1, 0)]), false),
        // A partition without a name carried nothing until the cursor was issued.
        (
            "not named, issued before",
            text(now - 45_000, &[(1, 1)]),
            false,
        ),
        (
            "not named, within the skew",
            text(now + 5_000, &[(1, 1)]),
            false,
        ),
        ("not named, old floor", text(now, &[(0, 4)]), true),
    ] {
        let inspection = rig.inspect("o1", &given);
        if expected {
            assert!(
                matches!(inspection, Inspection::Resume(_)),
                "{what}: {inspection:?}"
            );
        } else {
            assert_eq!(inspection, Inspection::Resync(Evicted), "{what}");
        }
    }
}

/// Twenty records of 1,000 bytes, of which the window holds about half. The client has all but the last `missed`, and its way
/// out takes nothing until five more have come.
fn window_moves_before_the_welcome(missed: usize, subscribes: bool) -> (Vec<Seen>, i64) {
    let mut rig = Rig::with_bytes(1, 15_000);
    let mut client = rig.live(&["1"]);
    let mut known = 0;
    for number in 0..20 {
        known = rig.publish_sized(0, "o1", &["1"], 1_000);
        if number + missed < 20 {
            client.read();
        }
    }
    let known = known + 1 - i64::try_from(missed).unwrap();
    let mut back = rig.resumed(&["1"], &client.cursor);
    back.set_capacity(0);
    for _ in 0..5 {
        rig.publish_sized(0, "o1", &["1"], 1_000);
        rig.turns();
    }
    if subscribes {
        rig.subscribe(&back, "2");
    }
    back.set_capacity(NO_LIMIT);
    rig.ready(&back);
    (back.read(), known)
}

#[test]
fn eviction_before_the_first_turn_matters_only_if_the_client_missed_the_record() {
    for subscribes in [false, true] {
        let (seen, known) = window_moves_before_the_welcome(1, subscribes);
        let mut expected = vec![Welcome(Resumption::Resumed, 0)];
        expected.extend((known..known + 6).map(|offset| Record(0, offset)));
        assert_eq!(seen, expected, "{subscribes}");

        let (seen, _) = window_moves_before_the_welcome(9, subscribes);
        let told = [
            Welcome(Resumption::Resync(Evicted), 0),
            Seen::Resync(Evicted),
        ];
        assert_eq!(seen[..2], told, "{subscribes}");
    }
}

#[test]
fn a_record_that_expires_before_the_first_turn_was_not_missed() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.pass(KEPT_MS - 1_000);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let mut back = rig.resumed(&["1"], &client.cursor);
    back.set_capacity(0);
    rig.pass(1_000);
    back.set_capacity(NO_LIMIT);
    rig.ready(&back);
    assert_eq!(back.read(), [Welcome(Resumption::Resumed, 60)]);
}

#[test]
fn records_that_were_never_read_are_a_gap_for_every_older_cursor() {
    let mut rig = Rig::new(2);
    let before = text(rig.now.wall, &[(0, 3)]);
    let unnamed = text(rig.now.wall, &[]);
    rig.pass(5_000);
    rig.apply(Feed::Gap {
        partition: 0,
        next: 10,
    });
    rig.next[0] = 10;
    rig.pass(20_000);
    let after = text(rig.now.wall, &[(0, 10)]);
    let later = text(rig.now.wall, &[]);
    for (given, expected) in [
        (&before, true),
        (&unnamed, true),
        (&after, false),
        (&later, false),
    ] {
        let gap = rig.inspect("o1", given) == Inspection::Resync(Gap);
        assert_eq!(gap, expected, "{given}");
    }
}

#[test]
fn records_from_before_the_start_are_a_gap() {
    let mut rig = Rig::new(0);
    rig.next.push(100);
    rig.apply(Feed::Partition {
        index: 0,
        topic: TOPIC.into(),
        number: 0,
        topic_id: None,
        start: 100,
    });
    rig.confirm();
    let at = |next| text(rig.now.wall, &[(0, next)]);
    assert_eq!(
        rig.inspect("o1", &at(99)),
        Inspection::Resync(CursorExpired)
    );
    assert!(matches!(rig.inspect("o1", &at(100)), Inspection::Resume(_)));
}

#[test]
fn a_recreated_topic_invalidates_cursors_of_the_former_one() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    rig.apply(Feed::TopicDeleted { partition: 0 });
    rig.turns();
    assert_eq!(client.read(), [Seen::Resync(TopicRecreated)]);
    let old = text(rig.now.wall, &[(0, 1)]);
    assert_eq!(rig.inspect("o1", &old), Inspection::Unknown, "gone");
    // The old index is silent for ever.
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.read(), []);

    rig.apply(Feed::Partition {
        index: 1,
        topic: TOPIC.into(),
        number: 0,
        topic_id: None,
        start: 0,
    });
    rig.next = vec![2, 0];
    assert_eq!(rig.inspect("o1", &old), Inspection::Resync(TopicRecreated));
    rig.pass(11_000);
    let new = text(rig.now.wall, &[(0, 0)]);
    assert!(matches!(rig.inspect("o1", &new), Inspection::Resume(_)));
}

#[test]
fn a_record_that_the_cursor_vector_covers_is_skipped_when_it_is_read() {
    let mut rig = Rig::new(2);
    let ahead = text(rig.now.wall, &[(0, 3)]);
    let Inspection::Resume(cursor) = rig.inspect("o1", &ahead) else {
        panic!("being ahead is no hole");
    };
    assert_eq!(rig.hub.ahead(&cursor), [0]);
    let mut client = rig.connect("o1", &["1"], Start::Resume(cursor, ahead.as_str().into()));
    rig.turns();
    assert_eq!(client.read(), [Welcome(Resumption::Resumed, 60)]);
    for partition in [0, 0, 1, 0, 0] {
        rig.publish(partition, "o1", &["1"]);
        rig.turns();
    }
    assert_eq!(client.records(), [(1, 0), (0, 3)]);
    assert_eq!(rig.hub.statistics(rig.now).lagging, 0);
}

#[test]
fn records_of_a_deleted_topic_are_not_replayed() {
    let mut rig = Rig::new(2);
    let mut slow = rig.live(&["1"]);
    slow.set_capacity(0);
    let nothing = text(rig.now.wall, &[]);
    rig.publish(0, "o1", &["1"]);
    rig.publish(1, "o1", &["1"]);
    rig.apply(Feed::TopicDeleted { partition: 0 });
    slow.set_capacity(NO_LIMIT);
    rig.ready(&slow);
    assert_eq!(slow.read(), [Seen::Resync(TopicRecreated)]);
    let mut back = rig.resumed(&["1"], &nothing);
    rig.turns();
    assert_eq!(back.records(), [(1, 0)]);
}

/// A user with the right to create topics that a pattern matches can find such names.
#[test]
fn a_hash_collision_of_partitions_is_a_resync_and_not_a_loss() {
    const TWINS: [&str; 2] = ["fleet.vvekwlpxlsfh", "fleet.duxbdagnvvkn"];
    assert_eq!(partition_hash(TWINS[0], 0), partition_hash(TWINS[1], 0));
    let mut rig = Rig::new(1);
    for (index, topic) in (1..).zip(TWINS) {
        rig.next.push(0);
        rig.apply(Feed::Partition {
            index,
            topic: topic.into(),
            number: 0,
            topic_id: None,
            start: 0,
        });
    }
    rig.pass(WINDOW_MS);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let apart = client.cursor.clone();
    rig.publish(1, "o1", &["1"]);
    rig.publish(2, "o1", &["1"]);
    rig.publish(2, "o1", &["1"]);
    client.read();
    rig.publish(1, "o1", &["1"]);
    let judged = rig.inspect("o1", &client.cursor);
    assert_eq!(judged, Inspection::Resync(CursorInvalid));
    let mut back = rig.resumed(&["1"], &apart);
    rig.turns();
    assert_eq!(back.records(), [(1, 0), (2, 0), (2, 1), (1, 1)]);
}

#[test]
fn cursors_do_not_expire_while_brokers_are_away_for_longer_than_the_window() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    rig.pass(WINDOW_MS);
    rig.turns();
    client.read();
    let cursor = client.cursor.clone();
    rig.hub.close(client.key);
    // Nothing is known of the log, and then there is much to catch up with.
    rig.pass_unconfirmed(WINDOW_MS + 30_000);
    rig.publish(0, "o1", &["1"]);
    rig.pass_unconfirmed(WINDOW_MS / 2);
    rig.publish(1, "o1", &["1"]);
    let mut back = rig.resumed(&["1"], &cursor);
    rig.turns();
    assert_eq!(back.records(), [(0, 1), (1, 0)]);
    // Once all is read again, time counts again.
    rig.pass(WINDOW_MS + 5_000);
    let late = rig.inspect("o1", &cursor);
    assert_eq!(late, Inspection::Resync(CursorExpired));
}

#[test]
fn an_evicted_record_is_missed_however_long_brokers_were_away() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let cursor = client.cursor.clone();
    rig.pass_unconfirmed(WINDOW_MS / 2);
    rig.publish(0, "o1", &["1"]);
    rig.pass_unconfirmed(WINDOW_MS + 20_000);
    assert_eq!(rig.inspect("o1", &cursor), Inspection::Resync(Evicted));
}

#[test]
fn an_instance_younger_than_the_window_expires_cursors_by_the_clock() {
    let mut rig = Rig::new(1);
    let old = text(rig.now.wall - WINDOW_MS - 5_000, &[(0, 0)]);
    rig.pass_unconfirmed(WINDOW_MS / 2);
    assert_eq!(rig.inspect("o1", &old), Inspection::Resync(CursorExpired));
}

#[test]
fn many_resumes_at_once_into_a_full_window_take_a_while_without_a_resync() {
    const BACK: usize = 500;
    /// Some have had their turn within a second, most have not.
    const SERVED: usize = BACK / 3;
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    // Five records a second, for longer than they are kept.
    for _ in 0..KEPT_MS / 1_000 + 10 {
        for _ in 0..5 {
            rig.publish(0, "o1", &["1"]);
        }
        rig.pass(1_000);
    }
    client.read();
    rig.hub.close(client.key);
    let mut back: Vec<_> = (0..BACK)
        .map(|_| rig.resumed(&["1"], &client.cursor))
        .collect();
    for _ in 0..SERVED {
        rig.hub.turn(rig.now);
    }
    // The window evicts something that all of them have, before the others have had their turn.
    rig.pass(1_000);
    for client in &mut back {
        assert_eq!(client.read(), [Welcome(Resumption::Resumed, 60)]);
    }
}
