//! What one record, deletion or turn costs: it must not grow with what is gone, nor with what others have. Everybody waits
//! for it.

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
fn topics_that_are_gone_are_not_gone_through() {
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
        rig.apply(Feed::Gone { partition: index });
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
fn what_is_read_up_to_is_that_of_the_slowest_that_is_there_and_wanted() {
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
    rig.apply(Feed::Gone { partition: 2 });
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
    rig.apply(Feed::Gone { partition: 0 });
    assert_eq!(rig.hub.read_up_to(rig.now), rig.now.wall);
}
