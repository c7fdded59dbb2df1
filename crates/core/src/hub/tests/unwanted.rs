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
fn a_topic_that_is_not_wanted_any_more_simply_stops() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    let mut slow = rig.live(&["1"]);
    slow.room_for(0);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let before = client.cursor.clone();
    rig.publish(0, "o1", &["1"]);
    client.read();
    rig.apply(Feed::Unwanted { partition: 0 });
    rig.turns();
    assert_eq!(client.read(), [], "nobody is told to resync");
    // What was read is owed all the same.
    slow.room_for(NO_LIMIT);
    rig.ready(&slow);
    assert_eq!(slow.records(), [(0, 0), (0, 1)]);
    let mut back = rig.resumed(&["1"], &before);
    rig.turns();
    assert_eq!(back.records(), [(0, 1)]);
    // And it does not come twice to who has it.
    rig.publish(1, "o1", &["1"]);
    client.read();
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.records(), []);
}

#[test]
fn what_is_not_wanted_any_more_makes_no_cursor_old() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.apply(Feed::Unwanted { partition: 0 });
    // Nobody confirms its end from now on.
    for _ in 0..2 * WINDOW_MS / 1000 {
        rig.now.monotonic += 1_000;
        rig.now.wall += 1_000;
        let (next, asked) = (rig.next[1], rig.now.wall);
        rig.apply(Feed::End {
            partition: 1,
            next,
            asked,
        });
        rig.hub.tick(rig.now);
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
fn a_topic_that_is_wanted_again_goes_on_where_it_ended() {
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
