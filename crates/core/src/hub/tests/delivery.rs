//! What reaches a connection, in which order, and at which pace.

use super::*;

#[test]
fn several_rooms_of_one_publication_deliver_it_once() {
    let mut rig = Rig::new(1);
    let mut live = rig.live(&["1", "2", "3"]);
    let mut lagging = rig.connect("o1", &["3", "1", "2"], Start::Fresh);
    rig.publish(0, "o1", &["1", "2", "3"]);
    rig.publish(0, "o1", &["2", "3"]);
    rig.publish(0, "o1", &["9"]);
    rig.turns();
    for client in [&mut live, &mut lagging] {
        assert_eq!(client.records(), [(0, 0), (0, 1)]);
    }
}

#[test]
fn nothing_of_another_organisation_arrives() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o2", &["1"]);
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 1)]);
}

#[test]
fn records_come_in_the_order_of_the_log_live_and_replayed() {
    let mut rig = Rig::new(3);
    let mut live = rig.live(&["1", "2"]);
    let mut slow = rig.live(&["1", "2"]);
    slow.set_capacity(1);
    for nth in 0..60_u32 {
        rig.publish(nth % 3, "o1", &[["1", "2"][(nth / 5 % 2) as usize]]);
    }
    let mut came = Vec::new();
    for _ in 0..200 {
        came.extend(slow.records());
        rig.ready(&slow);
    }
    assert_eq!(came, live.records());
    for partition in 0..3 {
        let offsets = came.iter().filter(|(of, _)| *of == partition);
        assert!(offsets.map(|(_, offset)| *offset).eq(0..20), "{partition}");
    }
}

#[test]
fn a_record_that_is_read_again_is_not_delivered_again() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.next[0] = 0;
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 0)]);
    assert_eq!(rig.hub.statistics(rig.now).counts.repeated, 1);
}

#[test]
fn a_connection_with_a_full_outlet_lags_and_catches_up_without_a_loss() {
    let mut rig = Rig::new(2);
    let mut client = rig.live(&["1"]);
    client.set_capacity(3);
    for nth in 0..10 {
        rig.publish(nth % 2, "o1", &["1"]);
    }
    assert_eq!(client.records().len(), 3);
    assert_eq!(rig.hub.statistics(rig.now).lagging, 1);
    assert_eq!(
        client.pipe.borrow().refused,
        1,
        "asked once, then left alone"
    );

    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(
        client.records(),
        (3..10)
            .map(|nth| (nth % 2, i64::from(nth / 2)))
            .collect::<Vec<_>>()
    );
    assert_eq!(rig.hub.statistics(rig.now).lagging, 0);
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.records(), [(0, 5)], "live again");
    assert_eq!(rig.hub.statistics(rig.now).counts.slowed, 1);
}

#[test]
fn every_delivery_is_counted_once() {
    let mut rig = Rig::new(1);
    let mut clients: Vec<_> = (0..7).map(|_| rig.live(&["1"])).collect();
    clients[0].set_capacity(300);
    for _ in 0..1000 {
        rig.publish(0, "o1", &["1"]);
    }
    clients[0].set_capacity(NO_LIMIT);
    rig.ready(&clients[0]);
    for client in &mut clients {
        assert_eq!(client.records().len(), 1000);
    }
    let counts = rig.hub.statistics(rig.now).counts;
    assert_eq!(counts.deliveries["incident_updated"], 7000);
}

#[test]
fn deliveries_of_events_that_were_not_named_are_counted_as_one() {
    let mut rig = Rig::new(1);
    let client = rig.live(&["1"]);
    for number in 0..1_500 {
        let mut publication = rig.publication(0, "o1", &["1"], 10, None);
        publication.event = format!("published_{number}").into();
        rig.apply(Feed::Publication {
            partition: 0,
            publication,
        });
    }
    rig.hub.name_events(["incident_closed"].into_iter());
    rig.publish(0, "o1", &["1"]);
    drop(client);
    let counts = rig.hub.statistics(rig.now).counts.deliveries;
    let counts: Vec<_> = counts.iter().map(|(event, n)| (&**event, *n)).collect();
    let expected = [
        ("(other)", 1_500),
        ("incident_closed", 0),
        ("incident_updated", 1),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn a_turn_is_short_and_live_offers_go_first() {
    // Bytes of each record, and how many of them one turn hands out.
    for (bytes, expected) in [
        (4, 64),
        (1024, 64),
        (4096, 16),
        (40 * 1024, 2),
        (200 * 1024, 1),
    ] {
        let mut rig = Rig::new(1);
        let mut slow = rig.live(&["1"]);
        slow.set_capacity(0);
        for _ in 0..200 {
            rig.publish_sized(0, "o1", &["1"], bytes);
        }
        slow.set_capacity(NO_LIMIT);
        rig.hub.ready(slow.key);
        assert!(rig.hub.turn(rig.now));
        assert_eq!(slow.records().len(), expected, "{bytes} bytes");
        assert!(rig.hub.has_work(), "it asks for another turn");

        let mut live = rig.live_beside(&["1"]);
        let mut first = rig.connect("o1", &["1"], Start::Fresh);
        rig.publish_sized(0, "o1", &["1"], bytes);
        assert_eq!(live.records(), [(0, 200)]);
        assert_eq!(slow.records(), [], "not in between");
        rig.turns();
        assert_eq!(first.records(), [(0, 200)]);
        assert_eq!(slow.records().last(), Some(&(0, 200)));
    }
}

impl Rig {
    /// A live client, while turns of another connection are queued and stay so.
    fn live_beside(&mut self, rooms: &[&str]) -> Client {
        let mut client = self.connect("o1", rooms, Start::Fresh);
        let mut turns = std::mem::take(&mut self.hub.turns);
        assert_eq!(turns.pop_back(), Some(client.key));
        self.hub.turns.push_back(client.key);
        self.turns();
        self.hub.turns = turns;
        assert_eq!(client.read().len(), 1);
        client
    }
}

#[test]
fn the_welcome_comes_first_and_a_resync_before_any_event() {
    let mut rig = Rig::new(1);
    let mut fresh = rig.connect("o1", &["1"], Start::Fresh);
    let mut missed = rig.connect("o1", &["1"], Start::Resync(ResyncReason::CursorExpired));
    rig.publish(0, "o1", &["1"]);
    rig.turns();
    assert_eq!(fresh.read(), [Welcome(Resumption::Fresh, 60), Record(0, 0)]);
    let expected = [
        Welcome(Resumption::Resync(ResyncReason::CursorExpired), 60),
        Seen::Resync(ResyncReason::CursorExpired),
        Record(0, 0),
    ];
    assert_eq!(missed.read(), expected);
}

#[test]
fn the_resync_of_a_gap_comes_before_any_later_cursor() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    let mut unwelcome = rig.connect("o1", &["1"], Start::Fresh);
    client.set_capacity(1);
    rig.publish(0, "o1", &["1"]);
    rig.publish(0, "o1", &["1"]);
    rig.hub.cursor(client.key, rig.now);
    rig.apply(Feed::Contact { up: false });
    rig.apply(Feed::Gap {
        partition: 0,
        next: 50,
    });
    rig.next[0] = 50;
    rig.publish(0, "o1", &["1"]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    let expected = [
        Record(0, 0),
        Seen::Resync(ResyncReason::Gap),
        Stale(true),
        Record(0, 50),
    ];
    assert_eq!(client.read(), expected);
    // It has seen nothing, so it has missed nothing.
    let expected = [Welcome(Resumption::Fresh, 60), Stale(true), Record(0, 50)];
    assert_eq!(unwelcome.read(), expected);
}

#[test]
fn a_cursor_is_an_item_of_the_feed_and_never_overtakes_it() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    let before = client.cursor.clone();
    rig.hub.cursor(client.key, rig.now);
    assert_eq!(client.read(), [Seen::Cursor]);

    client.set_capacity(2);
    for _ in 0..4 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.hub.cursor(client.key, rig.now);
    assert_eq!(client.read(), [Record(0, 0), Record(0, 1)]);
    rig.ready(&client);
    assert_eq!(client.read(), [Seen::Cursor, Record(0, 2)]);
    assert_ne!(before, client.cursor);
    assert_eq!(rig.position(&client.cursor, 0), Some(3));
}

#[test]
fn a_cursor_in_a_backlog_covers_exactly_what_was_sent() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(2);
    for _ in 0..4 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.hub.cursor(client.key, rig.now);
    assert_eq!(client.records(), [(0, 0), (0, 1)]);
    client.set_capacity(1);
    rig.ready(&client);
    assert_eq!(client.read(), [Seen::Cursor]);
    assert_eq!(rig.position(&client.cursor, 0), Some(2));
    rig.hub.close(client.key);
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    assert_eq!(back.records(), [(0, 2), (0, 3)]);
}

#[test]
fn subscribing_to_a_room_that_is_held_changes_nothing() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    assert!(!rig.subscribe(&client, "1"));
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.read(), [Record(0, 0)]);
    assert_eq!(rig.hub.rooms(client.key), [room("o1", "1")]);
    rig.hub.unsubscribe(client.key, &room("o1", "1"));
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.read(), []);
}

#[test]
fn a_live_connection_joins_from_now_on() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["2"]);
    assert!(rig.subscribe(&client, "2"));
    rig.hub.cursor(client.key, rig.now);
    rig.publish(0, "o1", &["2"]);
    assert_eq!(client.read(), [Seen::Cursor, Record(0, 1)]);
}

#[test]
fn a_lagging_connection_joins_at_its_own_position() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["2"]);
    client.set_capacity(1);
    for name in ["1", "2", "1", "2", "1"] {
        rig.publish(0, "o1", &[name]);
    }
    assert!(rig.subscribe(&client, "2"));
    assert_eq!(client.records(), [(0, 1)]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    // It was full at offset 3: what was in room 2 before that belongs to its past.
    assert_eq!(client.records(), [(0, 3), (0, 4), (0, 5)]);
}

#[test]
fn joining_when_the_own_position_is_no_longer_in_the_window_is_a_resync() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(0);
    rig.publish(0, "o1", &["1"]);
    rig.pass(KEPT_MS + 1_000);
    assert!(rig.subscribe(&client, "2"));
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    assert_eq!(client.read()[0], Seen::Resync(ResyncReason::Evicted));
}

#[test]
fn no_events_of_a_room_arrive_after_leaving_it_while_lagging() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1", "2"]);
    client.set_capacity(1);
    for name in ["1", "2", "1", "2"] {
        rig.publish(0, "o1", &[name]);
    }
    assert!(rig.hub.unsubscribe(client.key, &room("o1", "2")));
    assert!(!rig.hub.unsubscribe(client.key, &room("o1", "2")));
    assert_eq!(client.records(), [(0, 0)]);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    rig.publish(0, "o1", &["2"]);
    assert_eq!(client.records(), [(0, 2)]);
}

#[test]
fn a_closed_connection_gets_nothing_and_late_calls_for_it_are_ignored() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    let mut queued = rig.connect("o1", &["1"], Start::Fresh);
    rig.hub.close(client.key);
    rig.hub.close(queued.key);
    rig.publish(0, "o1", &["1"]);
    rig.hub.ready(client.key);
    rig.hub.cursor(client.key, rig.now);
    rig.hub.close(client.key);
    assert!(!rig.subscribe(&client, "2"));
    assert!(!rig.hub.unsubscribe(client.key, &room("o1", "1")));
    assert_eq!(rig.hub.rooms(client.key), []);
    rig.turns();
    assert_eq!((client.read(), queued.read()), (vec![], vec![]));
    assert_eq!(rig.hub.statistics(rig.now).connections, 0);
}

#[test]
fn quiet_connections_get_a_cursor_and_busy_ones_do_not() {
    let mut rig = Rig::new(1);
    let mut quiet = rig.live(&["1"]);
    let mut busy = rig.live(&["2"]);
    for _ in 0..14 {
        rig.pass(1_000);
        rig.publish(0, "o1", &["2"]);
    }
    assert_eq!(quiet.read(), []);
    rig.pass(1_000);
    assert_eq!(quiet.read(), [Seen::Cursor]);
    assert_eq!(rig.position(&quiet.cursor, 0), Some(14));
    assert_eq!(busy.read().len(), 14, "records only");
    rig.pass(14_000);
    assert_eq!(quiet.read(), []);
    rig.pass(1_000);
    assert_eq!(quiet.read(), [Seen::Cursor]);
}

#[test]
fn lost_contact_is_announced_once_and_to_new_connections_too() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    let mut slow = rig.live(&["1"]);
    slow.set_capacity(0);
    for up in [true, false, false] {
        rig.apply(Feed::Contact { up });
    }
    rig.turns();
    assert_eq!(client.read(), [Stale(true)]);
    let mut newcomer = rig.connect("o1", &["1"], Start::Fresh);
    rig.turns();
    assert_eq!(
        newcomer.read(),
        [Welcome(Resumption::Fresh, 60), Stale(true)]
    );
    rig.apply(Feed::Contact { up: true });
    rig.turns();
    assert_eq!(client.read(), [Stale(false)]);
    slow.set_capacity(NO_LIMIT);
    rig.ready(&slow);
    assert_eq!(slow.read(), [Stale(false)], "only how it stands now");
}
