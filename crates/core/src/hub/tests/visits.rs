//! Visits: news for all connections reaches each, a few at a time.

use super::*;

fn lose_contact(rig: &mut Rig) {
    rig.hub.apply(Feed::Contact { up: false }, rig.now);
}

/// How many are notified that contact was lost.
fn stale_of(clients: &mut [Client]) -> usize {
    let mut stale = 0;
    for client in clients {
        stale += usize::from(client.read() == [Stale(true)]);
    }
    stale
}

#[test]
fn a_slice_visits_so_many_connections_and_no_more() {
    let mut rig = Rig::new(1);
    let mut clients: Vec<_> = (0..10).map(|_| rig.live(&["1"])).collect();
    assert!(!rig.hub.visit(4, rig.now), "no news");
    lose_contact(&mut rig);
    assert!(rig.hub.has_work());
    for (more, expected) in [(true, 4), (true, 4), (false, 2), (false, 0)] {
        assert_eq!(rig.hub.visit(4, rig.now), more);
        assert_eq!(stale_of(&mut clients), expected);
    }
    assert!(!rig.hub.has_work());
}

#[test]
fn news_during_a_round_reaches_all_and_does_not_start_it_over() {
    let mut rig = Rig::new(1);
    let mut clients: Vec<_> = (0..10).map(|_| rig.live(&["1"])).collect();
    // A tick comes before each slice: the last ones must be visited all the same.
    for _ in 0..5 {
        rig.hub.tick(rig.now);
        lose_contact(&mut rig);
        assert!(rig.hub.visit(4, rig.now), "a second round");
    }
    assert_eq!(stale_of(&mut clients), 10);
    // The second round has what came after the first one.
    rig.hub.apply(Feed::Contact { up: true }, rig.now);
    while rig.hub.visit(4, rig.now) {}
    for client in &mut clients {
        assert_eq!(client.read(), [Stale(false)]);
    }
}

#[test]
fn connections_that_come_and_go_during_a_round_do_not_disturb_it() {
    let mut rig = Rig::new(1);
    let mut clients: Vec<_> = (0..4).map(|_| rig.live(&["1"])).collect();
    lose_contact(&mut rig);
    rig.hub.visit(2, rig.now);
    for client in clients.drain(1..3) {
        rig.hub.close(client.key);
    }
    let mut newcomer = rig.connect("o1", &["1"], Start::Fresh);
    rig.turns();
    while rig.hub.visit(1, rig.now) {}
    assert_eq!(stale_of(&mut clients), 2);
    let expected = [Welcome(Resumption::Fresh, 60), Stale(true)];
    assert_eq!(newcomer.read(), expected);
}

#[test]
fn what_was_read_at_once_is_not_evicted_at_once() {
    const ENTRIES: usize = 10_000;
    let mut rig = Rig::new(1);
    for _ in 0..ENTRIES {
        rig.publish(0, "o1", &["1"]);
    }
    rig.now.monotonic += KEPT_MS;
    rig.now.wall += KEPT_MS;
    let entries = |rig: &Rig| rig.hub.statistics(rig.now).window_entries;
    rig.hub.tick(rig.now);
    let after_tick = entries(&rig);
    assert!((1..ENTRIES).contains(&after_tick), "{after_tick} are left");
    let mut slices = 0;
    while rig.hub.visit(1, rig.now) {
        slices += 1;
    }
    assert_eq!((entries(&rig), slices), (0, 1), "and one that ends it");
    assert!(!rig.hub.has_work());
}
