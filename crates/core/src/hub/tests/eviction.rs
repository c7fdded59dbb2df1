//! Eviction: what leaves the window, which organisation loses it, and that nothing grows for ever.

use super::*;

#[test]
fn age_evicts_after_the_window_and_the_skew_of_clocks() {
    let mut rig = Rig::new(1);
    rig.publish(0, "o1", &["1"]);
    rig.pass(KEPT_MS - 1_000);
    assert_eq!(rig.hub.statistics(rig.now).window_entries, 1);
    rig.pass(1_000);
    let snapshot = rig.hub.statistics(rig.now);
    assert_eq!((snapshot.window_entries, snapshot.window_bytes), (0, 0));
    assert_eq!(snapshot.counts.evicted_early, 0);
    assert_eq!(rig.live(&["1"]).read(), [], "the promise is the window's");
}

#[test]
fn bytes_evict_from_the_largest_organisation_only() {
    let mut rig = Rig::with_bytes(2, 100_000);
    let mut quiet = rig.connect("o2", &["1"], Start::Fresh);
    rig.turns();
    quiet.read();
    rig.publish(1, "o2", &["1"]);
    let mut noisy = rig.live(&["1"]);
    for _ in 0..500 {
        rig.publish_sized(0, "o1", &["1"], 1000);
        assert!(rig.hub.statistics(rig.now).window_bytes <= 100_000);
    }
    rig.pass(10_000);
    assert!(rig.hub.statistics(rig.now).counts.evicted_early > 300);
    assert_eq!(noisy.records().len(), 500, "the live are not concerned");
    assert_eq!(
        rig.inspect("o1", &rig.cursor_before(0, "o1")),
        Inspection::Resync(ResyncReason::Evicted)
    );
    quiet.read();
    let mut back = rig.connect("o2", &["1"], Start::Fresh);
    rig.turns();
    assert_eq!(back.read(), [Welcome(Resumption::Fresh, 60)]);
    let cursor = rig.cursor_before(1, "o2");
    assert!(matches!(rig.inspect("o2", &cursor), Inspection::Resume(_)));
}

#[test]
fn the_welcome_states_the_window_that_is_left() {
    let mut rig = Rig::with_bytes(1, 20_000);
    rig.publish_sized(0, "o1", &["1"], 15_000);
    rig.pass(20_000);
    rig.publish_sized(0, "o1", &["1"], 15_000);
    rig.pass(5_000);
    let mut client = rig.connect("o1", &["1"], Start::Fresh);
    rig.turns();
    // The first one, of 25 s ago, was evicted: a client that left before is not resumed.
    assert_eq!(client.read(), [Welcome(Resumption::Fresh, 25)]);
    rig.pass(200_000);
    let mut client = rig.connect("o1", &["1"], Start::Fresh);
    rig.turns();
    assert_eq!(client.read(), [Welcome(Resumption::Fresh, 60)]);
}

#[test]
fn a_connection_that_is_overtaken_by_eviction_is_resynced_at_the_head() {
    // Whether the evicted records were of its rooms decides.
    for (name, expected) in [
        (
            "1",
            vec![Seen::Resync(ResyncReason::Evicted), Record(0, 300)],
        ),
        ("2", vec![Record(0, 299), Record(0, 300)]),
    ] {
        let mut rig = Rig::with_bytes(1, 30_000);
        let mut client = rig.live(&["1"]);
        client.set_capacity(0);
        rig.publish(0, "o1", &["1"]);
        client.set_capacity(NO_LIMIT);
        rig.ready(&client);
        client.read();
        client.set_capacity(0);
        rig.subscribe(&client, "3");
        rig.hub.cursor(client.key, rig.now);
        for _ in 0..298 {
            rig.publish(0, "o1", &[name]);
        }
        rig.publish(0, "o1", &["3"]);
        client.set_capacity(NO_LIMIT);
        rig.ready(&client);
        rig.publish(0, "o1", &["3"]);
        let mut read = client.read();
        read.retain(|seen| *seen != Seen::Cursor);
        assert_eq!(read, expected, "room {name}");
    }
}

#[test]
fn organisations_and_rooms_without_members_are_freed() {
    let mut rig = Rig::new(4);
    for nth in 0..10_000_u32 {
        let organisation = format!("o{nth}");
        let mut client = rig.connect(&organisation, &["1", "2"], Start::Fresh);
        rig.hub.turn(rig.now);
        let own = room(&organisation, &format!("r{nth}"));
        rig.hub.subscribe(client.key, &own, rig.now);
        if nth % 3 == 0 {
            rig.publish(nth % 4, &organisation, &["1", &format!("r{nth}")]);
        }
        if nth % 2 == 0 {
            rig.hub.unsubscribe(client.key, &own);
        }
        client.read();
        rig.hub.close(client.key);
        if nth % 500 == 0 {
            rig.pass(1_000);
        }
    }
    rig.pass(MEMORY_MS + 2_000);
    let hub = &rig.hub;
    assert_eq!(
        (
            hub.organisations.len(),
            hub.by_id.len(),
            hub.connections.len()
        ),
        (0, 0, 0)
    );
    assert_eq!((hub.turns.len(), hub.bytes), (0, 0));
}

#[test]
fn an_organisation_that_stays_keeps_neither_rooms_nor_floors() {
    let mut rig = Rig::new(4);
    let mut client = rig.live(&["1"]);
    for nth in 0..1_000_u32 {
        let name = format!("r{nth}");
        rig.publish(nth % 4, "o1", &[&name]);
        assert!(rig.subscribe(&client, &name));
        rig.hub.unsubscribe(client.key, &room("o1", &name));
    }
    rig.pass(MEMORY_MS + 2_000);
    let log = rig.hub.organisations.values().next().unwrap();
    assert_eq!(log.rooms.keys().collect::<Vec<_>>(), [&room("o1", "1")]);
    assert!((0..4).all(|partition| log.floor(partition).is_none()));
    rig.hub.cursor(client.key, rig.now);
    client.read();
    assert_eq!(rig.decode(&client.cursor).marks, []);
}

impl Rig {
    /// A cursor of an organisation from before everything in this partition, issued now.
    fn cursor_before(&self, partition: i32, organisation: &str) -> String {
        let cursor = Cursor {
            issued: self.now.wall,
            organisation: crate::domain::cursor::organisation_hash(&id(organisation)),
            marks: vec![mark(partition, 0)],
        };
        cursor.encode(None).to_string()
    }
}

#[test]
fn a_noisy_organisation_leaves_the_others_their_fair_share_and_floors_show_what_each_lost() {
    let mut rig = Rig::with_bytes(2, 100_000);
    // Three organisations: a third is 33 kB, less what is evicted ahead. Each quiet one takes nearly that.
    let mut quiet = [0; 2];
    while rig.hub.statistics(rig.now).window_bytes < 62_000 {
        for (at, count) in quiet.iter_mut().enumerate() {
            rig.publish_sized(0, &format!("o{at}"), &["1"], 200);
            *count += 1;
        }
    }
    let old = rig.connect("noisy", &["1"], Start::Fresh);
    let mut others: Vec<_> = (0..2)
        .map(|at| rig.connect(&format!("o{at}"), &["1"], Start::Fresh))
        .collect();
    rig.turns();
    for client in &mut others {
        client.read();
    }
    let mut noisy = old;
    noisy.read();
    for _ in 0..500 {
        rig.publish_sized(1, "noisy", &["1"], 300);
        assert!(rig.hub.statistics(rig.now).window_bytes <= 100_000);
    }
    // By a cursor from before anything, what the window has lost shows.
    for at in 0..2 {
        let organisation = format!("o{at}");
        let cursor = others[at].cursor.clone();
        assert!(
            matches!(rig.inspect(&organisation, &cursor), Inspection::Resume(_)),
            "{organisation} has lost nothing"
        );
        let text = rig.cursor_before(0, &organisation);
        let Inspection::Resume(cursor) = rig.inspect(&organisation, &text) else {
            panic!("{organisation} has lost something");
        };
        let mut all = rig.connect(&organisation, &["1"], Start::Resume(cursor, text.into()));
        rig.turns();
        assert_eq!(all.records().len(), quiet[at], "{organisation}");
    }
    assert_eq!(
        rig.inspect("noisy", &noisy.cursor),
        Inspection::Resync(ResyncReason::Evicted)
    );
    // Now the quiet one grows beyond its share, and pays for it itself.
    for _ in 0..300 {
        rig.publish_sized(0, "o0", &["1"], 200);
    }
    let Inspection::Resume(_) = rig.inspect("o1", &others[1].cursor) else {
        panic!("o1 has lost something");
    };
    assert_eq!(
        rig.inspect("o0", &others[0].cursor),
        Inspection::Resync(ResyncReason::Evicted)
    );
}
