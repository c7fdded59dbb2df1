//! Conflation: which records a lagging connection is not sent, and which it is.

use super::*;

/// A client of these rooms that is full; what comes from now on waits.
fn full(rig: &mut Rig, rooms: &[&str]) -> Client {
    let client = rig.live(rooms);
    client.set_capacity(0);
    rig.publish(0, "o1", &["1"]);
    client
}

fn caught_up(rig: &mut Rig, client: &mut Client) -> Vec<i64> {
    client.set_capacity(NO_LIMIT);
    rig.ready(client);
    let records = client.records().into_iter();
    records.map(|(_, offset)| offset).collect()
}

#[test]
fn a_lagging_connection_gets_the_newest_of_each_key_in_the_place_of_the_first() {
    let mut rig = Rig::new(1);
    let mut live = rig.live(&["1"]);
    let mut client = full(&mut rig, &["1"]);
    for of in ["a", "b", "a", "c", "a", "b"] {
        rig.update(0, "o1", &["1"], of);
    }
    rig.publish(0, "o1", &["1"]);
    assert_eq!(caught_up(&mut rig, &mut client), [0, 5, 6, 4, 7]);
    assert_eq!(live.records().len(), 8, "who keeps up gets all");
    assert_eq!(rig.hub.statistics(rig.now).counts.conflated, 3);
    rig.update(0, "o1", &["1"], "a");
    rig.update(0, "o1", &["1"], "a");
    assert_eq!(client.records(), [(0, 8), (0, 9)]);
}

#[test]
fn other_classes_are_never_conflated() {
    let mut rig = Rig::new(1);
    let mut client = full(&mut rig, &["1"]);
    for nth in 0..10 {
        rig.publish(0, "o1", &["1"]);
        rig.update(0, "o1", &["1"], if nth < 9 { "a" } else { "b" });
    }
    let came = caught_up(&mut rig, &mut client);
    let events = came
        .iter()
        .filter(|offset| *offset % 2 == 1 || **offset == 0);
    assert_eq!(events.count(), 11);
}

#[test]
fn conflation_uses_only_records_that_the_connection_may_see() {
    let mut rig = Rig::new(1);
    let mut one = full(&mut rig, &["1"]);
    let mut whole = full(&mut rig, &["*"]);
    rig.update(0, "o1", &["1", "2"], "a");
    rig.update(0, "o1", &["2"], "a");
    rig.update(0, "o2", &["1"], "a");
    assert_eq!(caught_up(&mut rig, &mut one)[2..], [2]);
    assert_eq!(caught_up(&mut rig, &mut whole)[1..], [3]);
}

#[test]
fn conflation_requires_a_newer_record_in_every_held_room() {
    let mut rig = Rig::new(1);
    let mut client = full(&mut rig, &["1", "2"]);
    rig.update(0, "o1", &["1", "2"], "a");
    rig.update(0, "o1", &["1"], "a");
    client.set_capacity(2);
    rig.ready(&client);
    rig.hub.unsubscribe(client.key, &room("o1", "1"));
    assert_eq!(caught_up(&mut rig, &mut client), [0, 1]);
}

#[test]
fn a_record_that_is_sent_early_carries_the_connections_own_cursor_and_is_sent_again_after_a_resume()
{
    let mut rig = Rig::new(1);
    let mut client = full(&mut rig, &["1"]);
    rig.update(0, "o1", &["1"], "a");
    rig.publish(0, "o1", &["1"]);
    rig.update(0, "o1", &["1"], "a");
    client.set_capacity(2);
    rig.ready(&client);
    assert_eq!(client.records(), [(0, 0), (0, 3)]);
    assert_eq!(rig.position(&client.cursor, 0), Some(1));

    rig.hub.close(client.key);
    let cursor = client.cursor.clone();
    let mut client = rig.resumed(&["1"], &cursor);
    rig.turns();
    assert_eq!(client.records(), [(0, 3), (0, 2)]);
    assert_eq!(
        rig.position(&client.cursor, 0),
        Some(3),
        "again not behind it"
    );
    rig.hub.cursor(client.key, rig.now);
    client.read();
    assert_eq!(rig.position(&client.cursor, 0), Some(4));
}

#[test]
fn a_key_that_changes_faster_than_the_client_reads_is_not_deferred() {
    let mut rig = Rig::new(1);
    let mut client = full(&mut rig, &["1"]);
    client.set_capacity(1);
    let mut hot = 0;
    for round in 0..200 {
        // Twice as much as the client takes, half of it of one key.
        rig.update(0, "o1", &["1"], "hot");
        rig.update(0, "o1", &["1"], &format!("{}", round % 50));
        rig.ready(&client);
        for (_, offset) in client.records() {
            hot += usize::from(offset % 2 == 1);
        }
    }
    assert!(hot >= 3, "{hot} of 200");
    let last = caught_up(&mut rig, &mut client);
    assert!(last.contains(&399), "the newest of all: {last:?}");
}

#[test]
fn keys_beyond_the_limit_of_early_records_are_sent_in_their_own_place() {
    let mut rig = Rig::new(1);
    let mut client = full(&mut rig, &["1"]);
    for _ in 0..3 {
        for key in 0..300 {
            rig.update(0, "o1", &["1"], &key.to_string());
        }
    }
    let mut came = caught_up(&mut rig, &mut client);
    came.sort_unstable();
    let newest = std::iter::once(0).chain(601..=900);
    assert_eq!(came, newest.collect::<Vec<_>>());
}

/// The sockets of everybody wait while one connection has its turn.
#[test]
fn conflated_entries_count_towards_the_budget_of_a_turn() {
    let mut rig = Rig::new(1);
    let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut slow = rig.live(&names);
    slow.set_capacity(0);
    for n in 0..4_000 {
        let rooms = [names[n % 200], names[(n + 1) % 200], names[(n + 7) % 200]];
        rig.update(0, "o1", &rooms, names[n % 200]);
    }
    slow.set_capacity(NO_LIMIT);
    rig.hub.ready(slow.key);
    let turns = (0..100).take_while(|_| rig.hub.turn(rig.now)).count();
    assert!((10..20).contains(&turns), "{turns}");
    assert_eq!(slow.records().len(), 200);
}
