//! Snapshots for subscriptions: the newest record of each key, past the window too.

use super::*;

/// Beside the records: what else was read.
fn newest(read: Vec<Seen>) -> Vec<i64> {
    read.into_iter()
        .filter_map(|seen| match seen {
            Snapshot(_, offset) => Some(offset),
            _ => None,
        })
        .collect()
}

#[test]
fn a_subscription_gets_the_snapshot_first_and_then_what_is_appended() {
    let mut rig = Rig::new(1);
    for of in ["a", "b", "a", "c", "b"] {
        rig.update(0, "o1", &["1"], of);
    }
    rig.publish(0, "o1", &["1"]);
    rig.update(0, "o1", &["2"], "a");
    rig.update(0, "o2", &["1"], "a");
    let mut client = rig.live(&["9"]);
    assert_eq!(rig.subscribe_latest(&client, "1"), 3);
    rig.update(0, "o1", &["1"], "c");
    rig.turns();
    // The old `c` was replaced before its turn: the new one comes as an event.
    let expected = [Snapshot(0, 2), Snapshot(0, 4), Seen::Cursor, Record(0, 8)];
    assert_eq!(client.read(), expected);
    rig.update(0, "o1", &["1"], "a");
    assert_eq!(client.read(), [Record(0, 9)], "live again");
}

/// Of one key there is something in three rooms; two were asked for, and by the third the connection was given a newer one.
#[test]
fn no_older_record_follows_one_that_was_sent_by_another_room_and_then_replaced() {
    let mut rig = Rig::new(1);
    for name in ["1", "2", "3"] {
        rig.update(0, "o1", &[name], "a");
    }
    let mut client = rig.live(&["3"]);
    client.set_capacity(1);
    rig.subscribe_latest(&client, "1");
    rig.subscribe_latest(&client, "2");
    rig.turns();
    assert_eq!(client.read(), [Snapshot(0, 2)]);
    rig.update(0, "o1", &["3"], "a");
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read(), [Seen::Cursor, Record(0, 3)]);
}

#[test]
fn snapshots_outlive_the_window_and_do_not_move_the_cursor() {
    let mut rig = Rig::new(1);
    rig.update(0, "o1", &["1"], "a");
    rig.update(0, "o1", &["1"], "b");
    rig.pass(KEPT_MS * 3);
    let snapshot = rig.hub.statistics(rig.now);
    assert_eq!((snapshot.window_entries, snapshot.latest_records), (0, 2));
    let mut client = rig.live(&["9"]);
    client.set_capacity(1);
    rig.subscribe_latest(&client, "1");
    rig.turns();
    let mut cursors = Vec::new();
    for expected in [vec![Snapshot(0, 0)], vec![Snapshot(0, 1)]] {
        assert_eq!(client.read(), expected);
        cursors.push(rig.position(&client.cursor, 0));
        rig.publish(0, "o1", &["9"]);
        rig.ready(&client);
    }
    assert_eq!(client.read(), [Seen::Cursor]);
    cursors.push(rig.position(&client.cursor, 0));
    let before = rig.position(&client.cursor, 0);
    assert!(cursors.iter().all(|position| *position == before));
    rig.ready(&client);
    client.set_capacity(NO_LIMIT);
    let mut came = client.records();
    rig.ready(&client);
    came.extend(client.records());
    assert_eq!(came, [(0, 2), (0, 3)]);
}

#[test]
fn a_snapshot_of_a_hundred_thousand_keys_is_sent_at_the_rate_of_the_client() {
    let mut rig = Rig::new(1);
    for key in 0..10_000 {
        let of = key.to_string();
        rig.update(0, "o1", &[&of], &of);
    }
    let mut client = rig.live(&[]);
    client.set_capacity(100);
    assert_eq!(rig.subscribe_latest(&client, "*"), 10_000);
    let mut other = rig.live(&["5"]);
    let mut came = Vec::new();
    for round in 0..105 {
        rig.ready(&client);
        assert!(client.pipe.borrow().taken.len() <= 100);
        came.extend(newest(client.read()));
        if round == 50 {
            rig.update(0, "o1", &["5"], "5");
            assert_eq!(other.records(), [(0, 10_000)], "others are not held up");
        }
    }
    assert!(came.is_sorted());
    assert_eq!(came.len(), 10_000);
    assert_eq!(rig.hub.statistics(rig.now).lagging, 0);
}

#[test]
fn a_member_of_a_whole_kind_and_of_a_room_of_it_gets_each_event_once() {
    let mut rig = Rig::new(1);
    rig.update(0, "o1", &["1"], "a");
    let mut live = rig.live(&["*", "1"]);
    let mut asked = rig.live(&[]);
    rig.hub
        .subscribe_latest(asked.key, &room("o1", "*"), rig.now);
    assert_eq!(rig.subscribe_latest(&asked, "1"), 1);
    rig.publish(0, "o1", &["1", "2"]);
    rig.publish(0, "o1", &["3"]);
    rig.publish(0, "o2", &["3"]);
    rig.turns();
    assert_eq!(live.records(), [(0, 1), (0, 2)]);
    let expected = [Snapshot(0, 0), Seen::Cursor, Record(0, 1), Record(0, 2)];
    assert_eq!(asked.read(), expected);

    let cursor = live.cursor.clone();
    rig.hub.close(live.key);
    rig.publish(0, "o1", &["1"]);
    rig.publish(0, "o1", &["4"]);
    let mut resumed = rig.resumed(&["1", "*"], &cursor);
    rig.turns();
    assert_eq!(resumed.records(), [(0, 4), (0, 5)]);
    rig.hub.unsubscribe(resumed.key, &room("o1", "*"));
    rig.publish(0, "o1", &["1"]);
    rig.publish(0, "o1", &["4"]);
    assert_eq!(resumed.records(), [(0, 6)]);
}

#[test]
fn no_older_record_follows_a_newer_one() {
    let mut rig = Rig::new(1);
    rig.update(0, "o1", &["1", "2"], "a");
    rig.update(0, "o1", &["1"], "a");
    let mut both = rig.live(&["1"]);
    rig.subscribe_latest(&both, "2");
    rig.turns();
    // The newest in room 2 is older than what may be seen by room 1.
    assert_eq!(newest(both.read()), [1]);
    let mut one = rig.live(&[]);
    rig.subscribe_latest(&one, "2");
    rig.turns();
    assert_eq!(
        newest(one.read()),
        [0],
        "a client outside room 1 must not see the newer one"
    );
}

#[test]
fn a_repeated_snapshot_includes_records_that_were_sent_early() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.update(0, "o1", &["1"], "a");
    rig.update(0, "o1", &["1"], "b");
    client.records();
    assert_eq!(rig.subscribe_latest(&client, "1"), 2);
    assert_eq!(rig.subscribe_latest(&client, "1"), 2);
    rig.turns();
    assert_eq!(newest(client.read()), [0, 1]);

    client.set_capacity(1);
    rig.publish(0, "o1", &["1"]);
    rig.update(0, "o1", &["1"], "a");
    rig.publish(0, "o1", &["1"]);
    rig.update(0, "o1", &["1"], "a");
    assert_eq!(client.records(), [(0, 2)]);
    rig.ready(&client);
    assert_eq!(client.records(), [(0, 5)], "before its turn");
    client.set_capacity(NO_LIMIT);
    rig.subscribe_latest(&client, "1");
    rig.ready(&client);
    assert_eq!(client.records(), [(0, 1), (0, 4), (0, 5)]);
}

#[test]
fn leaving_a_room_cancels_its_snapshot_and_a_resync_does_not() {
    let mut rig = Rig::new(1);
    for key in 0..5 {
        rig.update(0, "o1", &["1", "2"], &key.to_string());
    }
    let mut client = rig.live(&[]);
    client.set_capacity(2);
    rig.subscribe_latest(&client, "1");
    rig.turns();
    assert_eq!(newest(client.read()), [0, 1]);
    rig.apply(Feed::Gap {
        partition: 0,
        next: 100,
    });
    rig.next[0] = 100;
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    let read = client.read();
    assert_eq!(read[0], Seen::Resync(ResyncReason::Gap));
    assert_eq!(read.last(), Some(&Seen::Cursor));
    assert_eq!(newest(read), [2, 3, 4]);

    client.set_capacity(2);
    rig.subscribe_latest(&client, "2");
    rig.turns();
    client.read();
    rig.hub.unsubscribe(client.key, &room("o1", "2"));
    rig.ready(&client);
    assert_eq!(client.read(), [Seen::Cursor]);
}

#[test]
fn a_snapshot_after_a_resume_includes_what_the_cursor_vector_covers() {
    // `there` has read more than `here`.
    let (mut here, mut there) = (Rig::new(1), Rig::new(1));
    for rig in [&mut here, &mut there] {
        rig.update(0, "o1", &["1"], "a");
        rig.update(0, "o1", &["1"], "b");
    }
    there.update(0, "o1", &["1"], "a");
    there.publish(0, "o1", &["1"]);
    let mut client = there.live(&["9"]);
    there.hub.cursor(client.key, there.now);
    client.read();
    let cursor = client.cursor.clone();

    let mut client = here.resumed(&["9"], &cursor);
    assert_eq!(here.subscribe_latest(&client, "1"), 2);
    here.turns();
    let read = client.read();
    assert!(
        !read.contains(&Seen::Cursor),
        "it is not complete: {read:?}"
    );
    assert_eq!(read[1..], [Snapshot(0, 0), Snapshot(0, 1)]);
    here.update(0, "o1", &["1"], "a");
    here.publish(0, "o1", &["1"]);
    here.turns();
    let expected = [Record(0, 2), Seen::Cursor];
    assert_eq!(client.read(), expected, "but no old events");
    assert_eq!(here.position(&client.cursor, 0), Some(4));
}

#[test]
fn deleted_keys_and_topics_leave_the_snapshot() {
    let mut rig = Rig::new(2);
    for of in ["a", "b"] {
        rig.update(0, "o1", &["1"], of);
        rig.update(0, "o2", &["1"], of);
        rig.update(1, "o1", &["2"], of);
    }
    let deleted = Feed::Tombstone {
        partition: 0,
        offset: rig.next[0],
        key: b"a"[..].into(),
    };
    rig.next[0] += 1;
    rig.apply(deleted);
    assert_eq!(rig.hub.statistics(rig.now).latest_records, 4);
    let mut client = rig.live(&[]);
    assert_eq!(rig.subscribe_latest(&client, "1"), 1);
    rig.turns();
    assert_eq!(newest(client.read()), [2]);
    rig.apply(Feed::TopicDeleted { partition: 1 });
    assert_eq!(rig.subscribe_latest(&client, "2"), 0);
    rig.apply(Feed::TopicDeleted { partition: 0 });
    let snapshot = rig.hub.statistics(rig.now);
    assert_eq!((snapshot.latest_records, snapshot.latest_bytes), (0, 0));
}

#[test]
fn a_tombstone_deletes_the_record_of_the_same_bytes_and_no_other() {
    let keys: [&[u8]; 9] = [
        b"7",
        b"\"7\"",
        b"",
        &7_i64.to_be_bytes(),
        &200_i64.to_be_bytes(),
        &201_i64.to_be_bytes(),
        b"\0\0\0\0\x01\"7\"",
        "\u{FFFD}".as_bytes(),
        b"\xff",
    ];
    for deleted in keys {
        let mut rig = Rig::new(1);
        for (key, of) in keys.iter().zip(0..) {
            rig.update_keyed(0, key, &format!("{of}"));
        }
        let long = [0xff; 5_000];
        rig.update_keyed(0, &long, "long");
        let offset = rig.next[0];
        rig.next[0] += 1;
        rig.apply(Feed::Tombstone {
            partition: 0,
            offset,
            key: deleted.into(),
        });
        let mut client = rig.live(&[]);
        assert_eq!(
            rig.subscribe_latest(&client, "1"),
            keys.len(),
            "{deleted:?}"
        );
        rig.turns();
        let at = keys.iter().position(|key| *key == deleted).unwrap();
        let left = (0..=keys.len()).filter(|offset| *offset != at);
        let left: Vec<i64> = left.map(|offset| i64::try_from(offset).unwrap()).collect();
        assert_eq!(newest(client.read()), left, "{deleted:?}");
    }
}

#[test]
fn the_largest_snapshot_evicts_the_keys_updated_longest_ago() {
    let mut rig = Rig::with_space(1, NO_LIMIT, 100_000);
    for key in 0..20 {
        rig.update(0, "quiet", &["1"], &key.to_string());
    }
    let share = rig.hub.statistics(rig.now).latest_bytes;
    assert!(share < 50_000, "less than half");
    for key in 0..5_000 {
        rig.update(0, "o1", &["1"], &key.to_string());
        assert!(rig.hub.statistics(rig.now).latest_bytes <= 100_000);
    }
    let mut quiet = rig.connect("quiet", &[], Start::Fresh);
    let keys = rig
        .hub
        .subscribe_latest(quiet.key, &room("quiet", "1"), rig.now);
    rig.turns();
    assert_eq!((keys, newest(quiet.read()).len()), (20, 20));
    let mut noisy = rig.live(&[]);
    let kept = rig.subscribe_latest(&noisy, "1");
    rig.turns();
    let came = newest(noisy.read());
    let last = i64::from(u32::try_from(kept).unwrap());
    assert_eq!(came, (5_020 - last..5_020).collect::<Vec<_>>());
    let counts = rig.hub.statistics(rig.now).counts;
    assert_eq!(counts.latest_evicted, 5_000 - kept as u64);
}

#[test]
fn with_a_cap_of_zero_nothing_is_kept_and_all_is_delivered() {
    let mut rig = Rig::with_space(1, NO_LIMIT, 0);
    let mut client = rig.live(&["1"]);
    client.set_capacity(0);
    for _ in 0..5 {
        rig.update(0, "o1", &["1"], "a");
    }
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.records().len(), 5);
    assert_eq!(rig.subscribe_latest(&client, "1"), 0);
    assert_eq!(rig.hub.statistics(rig.now).latest_bytes, 0);
}
