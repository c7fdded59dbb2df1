//! Which cursor a connection has that was live until it turned lagging: it is not written down for each event.

use super::*;

const ALL: [&str; 2] = ["1", "2"];

/// The client's outlet is full, and one more record comes for it. Returns what it is sent when it reads again, with the positions in
/// both partitions: first a `cursor` item, which has the position from before that record.
fn lags(rig: &mut Rig, client: &mut Client) -> Vec<(Seen, [Option<i64>; 2])> {
    client.set_capacity(0);
    let offset = rig.publish(0, "o1", &["1"]);
    rig.hub.cursor(client.key, rig.now);
    client.set_capacity(NO_LIMIT);
    rig.ready(client);
    let taken = client.pipe.borrow().taken.clone();
    let sent: Vec<_> = taken
        .iter()
        .map(|(seen, cursor)| (seen.clone(), [0, 1].map(|it| rig.position(cursor, it))))
        .collect();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(sent[0].0, Seen::Cursor);
    assert_eq!(
        sent[1],
        (Record(0, offset), [Some(offset + 1), sent[0].1[1]])
    );
    client.read();
    sent
}

#[test]
fn it_covers_what_was_appended_before_for_any_room() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.publish(1, "o1", &["2"]);
    assert_eq!(client.read(), [Record(0, 0)]);
    let sent = lags(&mut rig, &mut client);
    assert_eq!(sent[0].1, [Some(1), Some(1)]);
    // The same when the window has evicted what came before.
    rig.publish(1, "o1", &["2"]);
    rig.pass(KEPT_MS + 1_000);
    client.read();
    let sent = lags(&mut rig, &mut client);
    assert_eq!(sent[0].1, [Some(2), Some(2)]);
}

#[test]
fn it_does_not_go_back_behind_a_cursor_that_came_after_the_last_append() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&ALL);
    rig.publish(1, "o1", &["2"]);
    rig.publish(0, "o1", &["1"]);
    for (offset, covered) in [(1, 2), (2, 3)] {
        // Nothing is appended of these, but they are read.
        rig.apply(Feed::Passed {
            partition: 1,
            offset,
        });
        rig.hub.cursor(client.key, rig.now);
        client.read();
        assert_eq!(rig.position(&client.cursor, 1), Some(covered));
        let sent = lags(&mut rig, &mut client);
        assert_eq!(sent[0].1[1], Some(covered), "as far as it was");
    }
}

#[test]
fn a_connection_that_slowed_down_is_resumed_as_late_as_from_its_last_event() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    // Nothing of the organisation for longer than the window: the quiet cursors are what counts, not the last entry.
    rig.pass(3 * WINDOW_MS);
    client.read();
    let sent = lags(&mut rig, &mut client);
    assert_eq!(sent[0].1[0], Some(1));
    rig.hub.close(client.key);
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.read(), [Welcome(Resumption::Resumed, 60)]);
}
