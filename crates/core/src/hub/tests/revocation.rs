//! Rooms that are revoked.

use super::*;
use crate::domain::protocol::GrantReason;

impl Rig {
    fn grant(&mut self, client: &Client, names: &[&str]) {
        let rooms: Vec<Room> = names.iter().map(|name| room("o1", name)).collect();
        let reason = GrantReason::Granted;
        self.hub.grant(client.key, &rooms, reason, self.now);
        self.turns();
    }

    fn ungrant(&mut self, client: &Client, names: &[&str]) {
        let rooms: Vec<Room> = names.iter().map(|name| room("o1", name)).collect();
        self.hub.ungrant(client.key, |room| rooms.contains(room));
    }

    fn revoke(&mut self, client: &Client, names: &[&str]) -> usize {
        let rooms: Vec<Room> = names.iter().map(|name| room("o1", name)).collect();
        let count = self
            .hub
            .revoke(client.key, &rooms, RevokeReason::Policy, self.now);
        self.turns();
        count
    }
}

impl Rig {
    fn revoke_for(&mut self, reason: RevokeReason, client: &Client, name: &str) {
        self.hub
            .revoke(client.key, &[room("o1", name)], reason, self.now);
    }
}

fn granted(names: &[&str]) -> Seen {
    Seen::Granted(names.iter().map(|&name| name.to_owned()).collect())
}

fn revoked(names: &[&str]) -> Seen {
    Seen::Revoked(names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn a_live_connection_is_notified_at_once_and_keeps_its_other_rooms() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2", "3"]);
    rig.publish(0, "o1", &["1"]);
    assert_eq!(rig.revoke(&client, &["1", "3", "9"]), 2, "9 was not held");
    rig.publish(0, "o1", &["1"]);
    rig.publish(0, "o1", &["1", "2"]);
    rig.publish(0, "o1", &["3"]);
    rig.turns();
    assert_eq!(
        client.read(),
        [Record(0, 0), revoked(&["1", "3"]), Record(0, 2)]
    );
    assert_eq!(rig.hub.rooms(client.key), [room("o1", "2")]);
    assert_eq!(rig.hub.statistics(rig.now).lagging, 0);
}

#[test]
fn revoking_rooms_that_are_not_held_sends_nothing() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    assert_eq!(rig.revoke(&client, &["9"]), 0);
    assert_eq!(client.read(), []);
}

#[test]
fn a_slow_connection_gets_nothing_of_a_revoked_room_and_everything_of_the_others() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2"]);
    client.set_capacity(1);
    for nth in 0..6 {
        rig.publish(0, "o1", &[["1", "2"][nth % 2]]);
    }
    assert_eq!(rig.revoke(&client, &["1"]), 1);
    // A second time, before it could be told of the first.
    rig.subscribe(&client, "1");
    assert_eq!(rig.revoke(&client, &["1"]), 1);
    assert_eq!(client.read(), [Record(0, 0)]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [revoked(&["1"]), Record(0, 1), Record(0, 3), Record(0, 5)]
    );
    // Told once.
    rig.revoke(&client, &["2"]);
    assert_eq!(client.read(), [revoked(&["2"])]);
}

#[test]
fn before_the_welcome_a_revocation_changes_its_rooms_and_is_announced_behind_it() {
    let mut rig = Rig::new(1);
    let mut client = rig.connect("o1", &["1", "2"], Start::Fresh);
    rig.revoke(&client, &["1"]);
    let welcome = Welcome(Resumption::Fresh, WINDOW_MS / 1000);
    assert_eq!(client.read(), [welcome, revoked(&["1"])]);
}

#[test]
fn a_resync_keeps_a_pending_revocation_and_the_cursor_covers_only_what_was_sent() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2"]);
    client.set_capacity(0);
    rig.publish(0, "o1", &["2"]);
    rig.revoke(&client, &["1"]);
    rig.apply(Feed::Gap {
        partition: 0,
        next: 5,
    });
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [Seen::Resync(ResyncReason::Gap), revoked(&["1"])]
    );

    let mut client = rig.live(&["1", "2"]);
    client.set_capacity(1);
    rig.next[0] = 5;
    rig.publish(0, "o1", &["2"]);
    rig.publish(0, "o1", &["2"]);
    rig.revoke(&client, &["1"]);
    assert_eq!(client.read(), [Record(0, 5)]);
    rig.ready(&client);
    assert_eq!(client.read(), [revoked(&["1"])]);
    assert_eq!(rig.position(&client.cursor.clone(), 0), Some(6));
}

#[test]
fn an_expiring_token_is_announced_once_in_the_feed_and_moves_no_cursor() {
    let mut rig = Rig::new(1);
    let mut client = rig.connect("o1", &["1"], Start::Fresh);
    rig.hub.token_expiring(client.key, rig.now);
    rig.turns();
    let welcome = Welcome(Resumption::Fresh, WINDOW_MS / 1000);
    assert_eq!(client.read(), [welcome, Seen::TokenExpiring]);

    client.set_capacity(1);
    rig.publish(0, "o1", &["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.hub.token_expiring(client.key, rig.now);
    rig.hub.token_expiring(client.key, rig.now);
    assert_eq!(client.read(), [Record(0, 0)]);
    // A resync does not swallow it.
    rig.apply(Feed::Gap {
        partition: 0,
        next: 5,
    });
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [Seen::Resync(ResyncReason::Gap), Seen::TokenExpiring]
    );
}

#[test]
fn a_token_that_is_renewed_in_time_is_not_announced_as_expiring() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(1);
    rig.publish(0, "o1", &["1"]);
    rig.hub.token_expiring(client.key, rig.now);
    rig.hub.token_renewed(client.key);
    assert_eq!(client.read(), [Record(0, 0)]);
    rig.ready(&client);
    assert_eq!(client.read(), []);
    rig.publish(0, "o1", &["1"]);
    rig.turns();
    assert_eq!(client.read(), [Record(0, 1)]);
}

#[test]
fn a_room_that_is_joined_again_before_the_notice_is_not_announced_as_lost() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2"]);
    client.set_capacity(1);
    rig.publish(0, "o1", &["2"]);
    rig.publish(0, "o1", &["2"]);
    rig.revoke(&client, &["1", "2"]);
    rig.subscribe(&client, "1");
    assert_eq!(rig.hub.revoked_rooms(client.key), 1);
    assert_eq!(client.read(), [Record(0, 0)]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read(), [revoked(&["2"])]);

    client.set_capacity(0);
    rig.revoke(&client, &["1"]);
    rig.subscribe(&client, "1");
    assert_eq!(rig.hub.revoked_rooms(client.key), 0);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    rig.publish(0, "o1", &["1"]);
    rig.turns();
    assert_eq!(client.read(), [Record(0, 2)]);
}

#[test]
fn rooms_that_were_lost_for_different_reasons_are_announced_by_reason() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2", "3"]);
    client.set_capacity(0);
    rig.revoke_for(RevokeReason::Policy, &client, "1");
    rig.revoke_for(RevokeReason::TokenChanged, &client, "2");
    rig.revoke_for(RevokeReason::Policy, &client, "3");
    // A resync keeps both.
    rig.apply(Feed::Gap {
        partition: 0,
        next: 5,
    });
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [
            Seen::Resync(ResyncReason::Gap),
            revoked(&["1", "3"]),
            revoked(&["2"])
        ]
    );
}

#[test]
fn a_grant_is_announced_and_joins_nothing() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.grant(&client, &["2", "3"]);
    rig.publish(0, "o1", &["2"]);
    rig.publish(0, "o1", &["1"]);
    rig.turns();
    assert_eq!(client.read(), [granted(&["2", "3"]), Record(0, 1)]);
    assert_eq!(rig.hub.rooms(client.key), [room("o1", "1")]);
    rig.subscribe(&client, "2");
    rig.publish(0, "o1", &["2"]);
    assert!(client.read().contains(&Record(0, 2)));
}

/// The last notice of a room is how it is, however slow the client was.
#[test]
fn a_slow_client_receives_the_last_state_of_each_room() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2"]);
    client.set_capacity(0);
    rig.grant(&client, &["2", "3"]);
    rig.revoke(&client, &["2"]);
    rig.ungrant(&client, &["2"]);
    rig.grant(&client, &["4"]);
    rig.ungrant(&client, &["4"]);
    rig.revoke(&client, &["1"]);
    rig.grant(&client, &["1"]);
    // A resync keeps both.
    rig.apply(Feed::Gap {
        partition: 0,
        next: 5,
    });
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.read(),
        [
            Seen::Resync(ResyncReason::Gap),
            revoked(&["2", "1"]),
            granted(&["3", "1"])
        ]
    );
    client.set_capacity(0);
    rig.grant(&client, &["5"]);
    rig.ungrant(&client, &["5"]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read(), []);
}
