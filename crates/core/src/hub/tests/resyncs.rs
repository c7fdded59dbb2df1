//! A resync for all is an epoch: whatever happens first to a connection, the resync comes before it.

use super::*;

/// Offsets below 50 are lost; no connection is visited, and no turn is run.
fn gap(rig: &mut Rig) {
    let gap = Feed::Gap {
        partition: 0,
        next: 50,
    };
    rig.hub.apply(gap, rig.now);
    rig.next[0] = 50;
}

/// A record for room 1, and nothing else.
fn publish(rig: &mut Rig) {
    let publication = rig.publication(0, "o1", &["1"], 4, None);
    rig.hub.apply(
        Feed::Publication {
            partition: 0,
            publication,
        },
        rig.now,
    );
}

const RESYNC: Seen = Seen::Resync(ResyncReason::Gap);

#[test]
fn no_event_overtakes_a_resync_that_a_connection_was_not_visited_for() {
    let mut rig = Rig::new(1);
    let mut visited = rig.live(&["1"]);
    let mut other = rig.live(&["1"]);
    gap(&mut rig);
    rig.hub.visit(1, rig.now);
    publish(&mut rig);
    assert_eq!(visited.read(), []);
    assert_eq!(other.read(), [], "an event behind the hole");
    rig.turns();
    for client in [&mut visited, &mut other] {
        let seen = client.read();
        assert_eq!(seen[0], RESYNC);
        assert_eq!(rig.position(&client.cursor, 0), Some(51));
    }
    while rig.hub.visit(1, rig.now) {}
    rig.turns();
    publish(&mut rig);
    for client in [&mut visited, &mut other] {
        assert_eq!(client.read(), [Record(0, 51)], "resynced once");
    }
}

#[test]
fn a_connection_that_is_cut_before_its_notice_is_resynced_where_it_returns() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    publish(&mut rig);
    assert_eq!(client.read(), [Record(0, 0)]);
    gap(&mut rig);
    publish(&mut rig);
    // What it was sent by now is all that it has.
    assert_eq!(client.read(), []);
    rig.hub.close(client.key);
    let inspection = rig.inspect("o1", &client.cursor);
    assert_eq!(inspection, Inspection::Resync(ResyncReason::Gap));
}

#[test]
fn a_connection_that_is_cut_behind_its_notice_is_resumed() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    gap(&mut rig);
    publish(&mut rig);
    rig.turns();
    assert_eq!(client.read(), [RESYNC]);
    publish(&mut rig);
    rig.hub.close(client.key);
    let mut back = rig.resumed(&["1"], &client.cursor);
    rig.turns();
    let expected = [Welcome(Resumption::Resumed, 60), Record(0, 51)];
    assert_eq!(back.read(), expected);
    while rig.hub.visit(1, rig.now) {}
    rig.turns();
    assert_eq!(back.read(), [], "it came behind the resync");
}

#[test]
fn whatever_is_done_with_a_connection_first_the_resync_comes_before_it() {
    type Act = fn(&mut Rig, &Client);
    let acts: [(Act, &[Seen]); 6] = [
        (|rig, it| rig.hub.cursor(it.key, rig.now), &[Seen::Cursor]),
        (|rig, it| assert!(rig.subscribe(it, "2")), &[]),
        (
            |rig, it| assert_eq!(rig.subscribe_latest(it, "2"), 0),
            &[Seen::Cursor],
        ),
        (
            |rig, it| {
                let reason = RevokeReason::Policy;
                (rig.hub).revoke(it.key, &[room("o1", "1")], reason, rig.now);
            },
            &[Seen::Revoked(vec![])],
        ),
        (
            |rig, it| assert_eq!(rig.hub.join(it.key, &[room("o1", "2")], rig.now), 1),
            &[Seen::Granted(vec![])],
        ),
        (|rig, it| rig.hub.end_of_log(it.key, 0, 50, rig.now), &[]),
    ];
    for (nth, (act, expected)) in acts.into_iter().enumerate() {
        let mut rig = Rig::new(1);
        let mut client = rig.live(&["1"]);
        gap(&mut rig);
        act(&mut rig, &client);
        rig.turns();
        let seen = client.read();
        assert_eq!(seen[0], RESYNC, "act {nth}: {seen:?}");
        let same = |(seen, expected): (&Seen, &Seen)| {
            std::mem::discriminant(seen) == std::mem::discriminant(expected)
        };
        assert!(
            seen.len() == expected.len() + 1 && seen[1..].iter().zip(expected).all(same),
            "act {nth}: {seen:?}"
        );
    }
}

#[test]
fn resyncs_are_forgotten_when_all_connections_have_been_visited() {
    let mut rig = Rig::new(1);
    let mut clients: Vec<_> = (0..4).map(|_| rig.live(&["1"])).collect();
    gap(&mut rig);
    rig.hub.visit(2, rig.now);
    // Another one, in the middle of the round.
    let next = 60;
    let gap = Feed::Gap { partition: 0, next };
    rig.hub.apply(gap, rig.now);
    rig.next[0] = next;
    assert_eq!(rig.hub.resyncs.len(), 1, "the same for all");
    while rig.hub.visit(1, rig.now) {}
    assert_eq!(rig.hub.resyncs.len(), 0);
    rig.turns();
    for client in &mut clients {
        assert_eq!(client.read(), [RESYNC], "both in one");
    }
    publish(&mut rig);
    for client in &mut clients {
        assert_eq!(client.read(), [Record(0, 60)]);
    }
}

#[test]
fn an_event_that_asks_many_is_offered_to_some_at_once_and_each_gets_it_once() {
    const MEMBERS: usize = 600;
    let mut rig = Rig::new(1);
    let mut clients: Vec<_> = (0..MEMBERS).map(|_| rig.live(&["1"])).collect();
    let mut publication = rig.publication(0, "o1", &["1"], 4, None);
    publication.ack = true;
    let asking = Feed::Publication {
        partition: 0,
        publication,
    };
    let looked_at = (MEMBERS as u64 - 256) / 8;
    assert_eq!(rig.hub.apply(asking, rig.now), 256 + looked_at);
    assert_eq!(rig.hub.statistics(rig.now).lagging, MEMBERS - 256);
    assert_eq!(rig.hub.statistics(rig.now).counts.slowed, 0);
    // Members leave, so that others take their places, before and between turns, and the next event comes.
    for at in [0, 100, 255, 256, 599] {
        rig.hub.unsubscribe(clients[at].key, &room("o1", "1"));
    }
    for _ in 0..50 {
        rig.hub.turn(rig.now);
    }
    rig.hub.unsubscribe(clients[300].key, &room("o1", "1"));
    publish(&mut rig);
    rig.turns();
    for (at, client) in clients.iter_mut().enumerate() {
        let expected: &[(i32, i64)] = match at {
            0 | 100 | 255 => &[(0, 0)],
            256 | 599 => &[],
            300 => continue,
            _ => &[(0, 0), (0, 1)],
        };
        assert_eq!(client.records(), expected, "client {at}");
    }
}
