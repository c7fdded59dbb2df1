//! What one record, tombstone or turn costs: it must not grow with what was deleted, nor with what other organisations have.

use super::*;

/// Topic `job-{number}` with one partition.
fn job(number: u32, index: u32, start: i64) -> Feed {
    Feed::Partition {
        index,
        topic: format!("job-{number}").into(),
        number: 0,
        topic_id: None,
        start,
    }
}

#[test]
fn deleted_topics_cost_no_work() {
    const MANY: u32 = 2_000;
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    for index in 1..=MANY {
        // Every third began before it was read, every fifth is not wanted any more before it goes.
        rig.next.push(i64::from(index % 3));
        rig.apply(job(index, index, i64::from(index % 3)));
        rig.publish(index, "o1", &["1"]);
        if index % 5 == 0 {
            rig.apply(Feed::Unwanted { partition: index });
        }
        rig.apply(Feed::TopicDeleted { partition: index });
        if index % 100 == 0 {
            rig.turns();
            client.read();
        }
    }
    let log = rig.hub.organisations.values().next().unwrap();
    assert_eq!(log.touched.len(), 0);
    assert_eq!(rig.hub.positions.sizes(), ([1, 1, 1, 1, 0], MANY as usize));
    rig.publish(0, "o1", &["1"]);
    client.read();
    assert_eq!(rig.decode(&client.cursor).marks, [mark(0, 1)]);

    for _ in 0..3 {
        rig.pass(KEPT_MS);
        rig.publish(0, "o1", &["1"]);
    }
    assert_eq!(rig.hub.positions.sizes(), ([1, 1, 1, 1, 0], 0));
    let log = rig.hub.organisations.values().next().unwrap();
    assert!(log.floor(1).is_none());
}

#[test]
fn read_up_to_is_that_of_the_slowest_partition_that_exists_and_is_wanted() {
    let mut rig = Rig::new(3);
    rig.now.wall += 100;
    let mut end = |partition, asked: u64| {
        let asked = EPOCH + asked;
        rig.apply(Feed::End {
            partition,
            next: 0,
            asked,
        });
        rig.hub.read_up_to(rig.now) - EPOCH
    };
    assert_eq!(end(0, 10), 0);
    assert_eq!(end(1, 20), 0);
    assert_eq!(end(2, 15), 10);
    assert_eq!(end(2, 5), 10, "old news");
    assert_eq!(end(0, 40), 15);
    rig.apply(Feed::TopicDeleted { partition: 2 });
    assert_eq!(rig.hub.read_up_to(rig.now), EPOCH + 20);
    rig.apply(Feed::Unwanted { partition: 1 });
    assert_eq!(rig.hub.read_up_to(rig.now), EPOCH + 40);
    let asked = EPOCH + 30;
    rig.apply(Feed::End {
        partition: 1,
        next: 0,
        asked,
    });
    assert_eq!(rig.hub.read_up_to(rig.now), EPOCH + 40, "still not wanted");
    rig.apply(Feed::TopicDeleted { partition: 0 });
    assert_eq!(rig.hub.read_up_to(rig.now), rig.now.wall);
}

/// Each entry of the index stands for one record, and the tables hold no other: all records here have keys.
fn in_step(rig: &Rig) -> usize {
    let (records, organisations) = rig.hub.record_index.sizes();
    assert_eq!(records, rig.hub.statistics(rig.now).latest_records);
    assert_eq!(organisations, rig.hub.organisations.len());
    records
}

impl Rig {
    fn delete(&mut self, partition: u32, key: &str) {
        let offset = self.next[partition as usize];
        self.next[partition as usize] += 1;
        self.apply(Feed::Tombstone {
            partition,
            offset,
            key: key.as_bytes().into(),
        });
    }
}

#[test]
fn a_tombstone_costs_work_only_for_organisations_that_have_the_record() {
    let mut rig = Rig::new(2);
    for nth in 0..1_000 {
        let organisation = format!("o{nth}");
        rig.update(0, &organisation, &["1"], &format!("key-{nth}"));
        rig.update(1, &organisation, &["1"], "shared");
    }
    let found = |rig: &Rig, partition, key: &str| {
        rig.hub
            .record_index
            .of(partition, &key.as_bytes().into())
            .len()
    };
    assert_eq!(found(&rig, 0, "key-7"), 1);
    assert_eq!(found(&rig, 0, "key-"), 0);
    assert_eq!(found(&rig, 0, "shared"), 0);
    assert_eq!(found(&rig, 1, "shared"), 1_000);
    let bytes = rig.hub.statistics(rig.now).latest_bytes;
    rig.delete(0, "key-7");
    assert_eq!(in_step(&rig), 1_999);
    assert!(rig.hub.statistics(rig.now).latest_bytes < bytes);
    rig.delete(0, "shared");
    assert_eq!(in_step(&rig), 1_999, "in another partition");
    rig.delete(1, "shared");
    assert_eq!(in_step(&rig), 999);
}

#[test]
fn the_record_index_follows_the_snapshots() {
    let mut rig = Rig::with_space(3, NO_LIMIT, 60_000);
    for nth in 0..600_u32 {
        let organisation = format!("o{}", nth % 3);
        let rooms: &[&str] = [&["1"][..], &["2"], &["1", "2"]][nth as usize / 3 % 3];
        rig.update(nth % 2, &organisation, rooms, &format!("{}", nth % 50));
        in_step(&rig);
    }
    assert!(rig.hub.statistics(rig.now).counts.latest_evicted > 0);
    for key in 0..25 {
        rig.delete(0, &key.to_string());
        rig.delete(1, &key.to_string());
        in_step(&rig);
    }
    rig.apply(Feed::TopicDeleted { partition: 1 });
    assert!(in_step(&rig) > 0);
    rig.apply(Feed::TopicDeleted { partition: 0 });
    assert_eq!(in_step(&rig), 0);
    assert_eq!(rig.hub.statistics(rig.now).latest_bytes, 0);
    rig.pass(3 * KEPT_MS);
    assert_eq!(rig.hub.record_index.sizes(), (0, 0));
}

#[test]
fn keys_that_moved_between_many_rooms_have_their_share_of_a_turn() {
    for (held, most) in [(200, 6), (2_000, 1)] {
        let mut rig = Rig::new(1);
        let names: Vec<String> = (0..held).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut client = rig.live(&names);
        for key in &names[1..=100] {
            rig.update(0, "o1", &["0"], key);
            rig.update(0, "o1", &[key], key);
        }
        client.read();
        assert_eq!(rig.subscribe_latest(&client, "0"), 100);
        let mut given = Vec::new();
        while rig.hub.turn(rig.now) {
            given.push(client.records().len());
        }
        assert_eq!(given.iter().sum::<usize>(), 100);
        // `most` times the rooms held is what a turn may look at: 1,024.
        assert!(given.iter().all(|given| *given <= most), "{given:?}");
        assert!(given.len() < 110, "each turn brings something: {given:?}");
    }
}

#[test]
fn what_a_fan_out_reads_of_a_connection_is_at_most_88_bytes() {
    /// As large as the server's: a lane with its format, the hub, and a boxed transport.
    type ServerOutlet = [usize; 5];
    // With the version of its key.
    let slot = size_of::<crate::hub::Connection<ServerOutlet>>() + 4;
    assert!(slot <= 88, "{slot} bytes");
}

/// A slice of the driver ends by the work that was done, so members that take nothing must count too.
#[test]
fn members_and_records_that_are_looked_at_in_vain_are_work() {
    let mut rig = Rig::new(2);
    let clients: Vec<_> = (0..80).map(|_| rig.live(&["1", "2"])).collect();
    let work = |rig: &mut Rig, rooms: &[&str]| {
        let publication = rig.publication(0, "o1", rooms, 4, None);
        let feed = Feed::Publication {
            partition: 0,
            publication,
        };
        rig.hub.apply(feed, rig.now)
    };
    assert_eq!(work(&mut rig, &["1"]), 80);
    assert_eq!(work(&mut rig, &["1", "2"]), 80 + 10, "of two rooms");
    for client in &clients {
        client.set_capacity(0);
    }
    for _ in 0..2 {
        assert_eq!(work(&mut rig, &["1"]), 10, "full, then lagging");
    }
    for record in 0..160 {
        rig.update(0, "o1", &["1"], &record.to_string());
    }
    for feed in [
        Feed::Truncated { partition: 1 },
        Feed::TopicDeleted { partition: 0 },
    ] {
        assert_eq!(rig.hub.apply(feed, rig.now), 20);
    }
}
