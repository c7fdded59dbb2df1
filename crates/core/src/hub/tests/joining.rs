//! Rooms that a connection joins without having asked.

use super::*;

impl Rig {
    fn join(&mut self, client: &Client, names: &[&str]) -> usize {
        let rooms: Vec<Room> = names.iter().map(|name| room("o1", name)).collect();
        let count = self.hub.join(client.key, &rooms, self.now);
        self.turns();
        count
    }
}

fn joined(names: &[&str]) -> Seen {
    Seen::Granted(names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn a_live_connection_is_notified_before_anything_of_the_rooms() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["2"]);
    assert_eq!(rig.join(&client, &["1", "2", "3"]), 2, "1 was held");
    rig.publish(0, "o1", &["2"]);
    rig.publish(0, "o1", &["3", "1"]);
    rig.turns();
    assert_eq!(
        client.read(),
        [joined(&["2", "3"]), Record(0, 1), Record(0, 2)]
    );
    assert_eq!(rig.join(&client, &["3"]), 0);
    assert_eq!(client.read(), []);
}

/// It joins from its own position on, which is behind what it was not sent yet.
#[test]
fn a_slow_connection_is_notified_first_and_misses_nothing() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(1);
    for _ in 0..3 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.join(&client, &["2"]);
    rig.publish(0, "o1", &["2"]);
    rig.join(&client, &["3"]);
    assert_eq!(client.read(), [Record(0, 0)]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [
            joined(&["2", "3"]),
            Record(0, 1),
            Record(0, 2),
            Record(0, 3)
        ]
    );
}

#[test]
fn a_resync_keeps_the_notice() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(0);
    rig.join(&client, &["2"]);
    rig.apply(Feed::Gap {
        partition: 0,
        next: 5,
    });
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [Seen::Resync(ResyncReason::Gap), joined(&["2"])]
    );
}

/// However slow the client was, it is notified of rooms that it holds.
#[test]
fn a_room_that_is_left_before_the_notice_is_not_announced_as_joined() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(0);
    rig.join(&client, &["2", "3"]);
    assert!(rig.hub.unsubscribe(client.key, &room("o1", "2")));
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read(), [joined(&["3"])]);
    client.set_capacity(0);
    rig.join(&client, &["4"]);
    let reason = RevokeReason::TakenOut;
    rig.hub
        .revoke(client.key, &[room("o1", "4")], reason, rig.now);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read(), [Seen::Revoked(vec!["4".to_owned()])]);
    // Joined again before it was told of the loss: it knows of the room by the newer notice alone.
    client.set_capacity(0);
    rig.hub
        .revoke(client.key, &[room("o1", "3")], reason, rig.now);
    rig.join(&client, &["3"]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read(), [joined(&["3"])]);
}
