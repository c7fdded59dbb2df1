//! Topics that the operator takes off the list, and puts on it again.

use super::*;

fn again(index: u32, start: i64) -> Feed {
    Feed::Partition {
        index,
        topic: TOPIC.into(),
        number: 0,
        topic_id: None,
        start,
    }
}

#[test]
fn an_unrouted_topic_stops_without_a_resync() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    let mut slow = rig.live(&["1"]);
    slow.set_capacity(0);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let before = client.cursor.clone();
    rig.publish(0, "o1", &["1"]);
    client.read();
    rig.apply(Feed::Unwanted { partition: 0 });
    rig.turns();
    assert_eq!(client.read(), [], "no resync");
    // What was read is owed all the same.
    slow.set_capacity(NO_LIMIT);
    rig.ready(&slow);
    assert_eq!(slow.records(), [(0, 0), (0, 1)]);
    let mut back = rig.resumed(&["1"], &before);
    rig.turns();
    assert_eq!(back.records(), [(0, 1)]);
    // And a client that has it does not get it twice.
    rig.publish(1, "o1", &["1"]);
    client.read();
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.records(), []);
}

#[test]
fn an_unrouted_topic_expires_no_cursor() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.apply(Feed::Unwanted { partition: 0 });
    // Its end is not confirmed from now on.
    for _ in 0..2 * WINDOW_MS / 1000 {
        rig.now.monotonic += 1_000;
        rig.now.wall += 1_000;
        let (next, asked) = (rig.next[1], rig.now.wall);
        rig.apply(Feed::End {
            partition: 1,
            next,
            asked,
        });
        rig.tick();
        rig.turns();
    }
    client.read();
    assert_eq!(rig.hub.read_up_to(rig.now), rig.now.wall);
    assert!(matches!(
        rig.inspect("o1", &client.cursor),
        Inspection::Resume(_)
    ));
}

#[test]
fn a_topic_that_is_routed_again_continues_where_it_stopped() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let before = client.cursor.clone();
    rig.apply(Feed::Unwanted { partition: 0 });
    rig.apply(again(2, 2));
    rig.next.push(2);
    rig.turns();
    assert_eq!(client.read(), []);
    rig.publish(2, "o1", &["1"]);
    // The rig numbers partitions by their index.
    assert_eq!(client.records(), [(2, 2)]);
    assert_eq!(rig.position(&client.cursor, 0), Some(3));
    for (cursor, missed) in [(&before, vec![(2, 2)]), (&client.cursor, vec![])] {
        let mut back = rig.resumed(&["1"], cursor);
        rig.turns();
        assert_eq!(back.records(), missed);
    }
}

/// Of topic `other`, whose partitions come behind those of the rig.
fn other(first: u32, count: u32) -> impl Iterator<Item = Feed> {
    (0..count).map(move |number| Feed::Partition {
        index: first + number,
        topic: "other".into(),
        number: number.cast_signed(),
        topic_id: None,
        start: 0,
    })
}

#[test]
fn earlier_cursors_stay_readable_while_many_partitions_come_and_go() {
    const MANY: u32 = 100;
    let mut rig = Rig::new(1);
    rig.pass(WINDOW_MS);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    assert!(
        Cursor::decode(&client.cursor, |_, _| None).is_err(),
        "it is of the short form"
    );
    for feed in other(1, MANY) {
        rig.apply(feed);
        rig.next.push(0);
    }
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.records(), []);
    rig.pass(WINDOW_MS);
    rig.publish(0, "o1", &["1"]);
    client.read();
    for partition in 1..=MANY {
        rig.apply(Feed::Unwanted { partition });
    }
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.records(), []);
}

#[test]
fn a_key_deleted_after_its_topic_is_routed_again_leaves_the_snapshot() {
    let mut rig = Rig::new(1);
    rig.update(0, "o1", &["1"], "a");
    rig.update(0, "o1", &["1"], "b");
    rig.apply(Feed::Unwanted { partition: 0 });
    rig.apply(again(1, 2));
    rig.apply(Feed::Tombstone {
        partition: 1,
        offset: 2,
        key: b"a"[..].into(),
    });
    let mut client = rig.live(&[]);
    assert_eq!(rig.subscribe_latest(&client, "1"), 1);
    rig.turns();
    assert_eq!(client.read(), [Snapshot(0, 1), Seen::Cursor]);
}

/// The topic is recreated while it is unwanted, or after it is wanted again; its id is known, or only where it begins.
#[test]
fn a_recreated_topic_ends_what_was_read_of_it_under_every_index() {
    const OLD: [u8; 16] = [1; 16];
    const NEW: [u8; 16] = [2; 16];
    for (wanted_before, known) in [(false, false), (false, true), (true, false), (true, true)] {
        let id = |id| known.then_some(id);
        let at = |index, topic_id, start| Feed::Partition {
            index,
            topic: TOPIC.into(),
            number: 0,
            topic_id,
            start,
        };
        let mut rig = Rig::new(0);
        rig.next.push(0);
        rig.apply(at(0, id(OLD), 0));
        rig.pass(WINDOW_MS);
        let mut client = rig.live(&["1"]);
        for _ in 0..5 {
            rig.publish(0, "o1", &["1"]);
        }
        rig.update(0, "o1", &["1"], "a");
        client.read();
        rig.apply(Feed::Unwanted { partition: 0 });
        let mut index = 1;
        if wanted_before {
            rig.apply(at(1, id(OLD), 6));
            rig.next.push(6);
            rig.apply(Feed::TopicDeleted { partition: 1 });
            index = 2;
        }
        rig.apply(at(index, id(NEW), 0));
        rig.next.push(0);
        rig.turns();
        let told = [Seen::Resync(ResyncReason::TopicRecreated)];
        assert_eq!(client.read(), told);
        // A client that gets a cursor long after that is behind nothing.
        rig.pass(WINDOW_MS / 2);
        rig.publish(index, "o1", &["1"]);
        client.read();
        assert_eq!(rig.position(&client.cursor, 0), Some(1));
        rig.publish(index, "o1", &["1"]);
        let mut back = rig.resumed(&["1"], &client.cursor);
        rig.turns();
        assert_eq!(back.records(), [(index.cast_signed(), 1)]);
        let fresh = rig.live(&[]);
        assert_eq!(rig.subscribe_latest(&fresh, "1"), 0);
    }
}

/// It comes from an instance that still reads the topic.
#[test]
fn a_connection_that_is_ahead_in_an_unrouted_topic_still_gets_its_cursor() {
    let mut rig = Rig::new(2);
    rig.pass(WINDOW_MS);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.update(1, "o1", &["2"], "a");
    client.read();
    let mut cursor = rig.decode(&client.cursor);
    let ahead = (cursor.marks.iter_mut()).find(|mark| mark.hash == partition_hash(TOPIC, 0));
    ahead.unwrap().next = 50;
    rig.apply(Feed::Unwanted { partition: 0 });
    let mut back = rig.resumed(&["1"], &cursor.encode(None));
    rig.turns();
    back.read();
    assert_eq!(rig.subscribe_latest(&back, "2"), 1);
    rig.turns();
    assert_eq!(back.read(), [Snapshot(1, 0), Seen::Cursor]);
    // Not ahead of it, and not behind.
    assert_eq!(rig.position(&back.cursor, 0), Some(50));
}
