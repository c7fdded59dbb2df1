//! Events without a position in any log: offered once, and nothing of a connection moves with them.

use super::*;

fn presence() -> Seen {
    Seen::Ephemeral("presence".to_owned())
}

/// What an ephemeral event must not change: the cursor that was handed out last and when, live or lagging, what waits.
fn state_of(rig: &Rig, client: &Client) -> String {
    let connection = &rig.hub.connections[client.key];
    format!(
        "{:?} {:?} {} {:?} {:?} {:?}",
        connection.details.last,
        connection.details.started_after,
        connection.last_at,
        connection.state,
        connection.details.controls,
        connection.schedule,
    )
}

#[test]
fn an_ephemeral_event_reaches_the_members_of_its_rooms_now() {
    let mut rig = Rig::new(1);
    let (mut one, mut other) = (rig.live(&["one"]), rig.live(&["other"]));
    let mut stranger = rig.connect("o2", &["one"], Start::Fresh);
    rig.turns();
    stranger.read();
    assert_eq!(rig.ephemeral("o1", &["one"]), 1);
    assert_eq!(one.read(), [presence()]);
    assert_eq!(other.read(), []);
    assert_eq!(stranger.read(), []);
    assert_eq!(rig.ephemeral("o3", &["one"]), 0, "unknown organisation");
    assert_eq!(rig.ephemeral("o1", &["empty"]), 0, "unknown room");
    // It is not kept: a later member, and a client that resumes, do not get it.
    assert!(rig.subscribe(&other, "one"));
    rig.turns();
    let mut resumed = rig.resumed(&["one"], &one.cursor.clone());
    rig.turns();
    assert_eq!(other.read(), []);
    assert_eq!(
        resumed.read(),
        [Welcome(Resumption::Resumed, WINDOW_MS / 1000)]
    );
}

#[test]
fn an_ephemeral_event_is_offered_once_although_several_rooms_match() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["one", "two", "*"]);
    assert_eq!(rig.ephemeral("o1", &["one", "two"]), 1);
    assert_eq!(client.read(), [presence()]);
    // A publication between two ephemeral events neither hides one nor is hidden.
    let offset = rig.publish(0, "o1", &["one", "two"]);
    rig.ephemeral("o1", &["two", "one"]);
    assert_eq!(client.read(), [Record(0, offset), presence()]);
}

#[test]
fn an_ephemeral_event_is_not_offered_before_the_welcome() {
    let mut rig = Rig::new(1);
    let mut early = rig.connect("o1", &["one"], Start::Fresh);
    let mut resync = rig.connect("o1", &["one"], Start::Resync(ResyncReason::CursorExpired));
    let mut blocked = rig.connect("o1", &["one"], Start::Fresh);
    blocked.set_capacity(0);
    assert_eq!(rig.ephemeral("o1", &["one"]), 0);
    rig.turns();
    assert_eq!(early.read(), [Welcome(Resumption::Fresh, WINDOW_MS / 1000)]);
    assert_eq!(
        resync.read(),
        [
            Welcome(
                Resumption::Resync(ResyncReason::CursorExpired),
                WINDOW_MS / 1000
            ),
            Seen::Resync(ResyncReason::CursorExpired)
        ]
    );
    // The outlet of the third one is free now, but its welcome has not gone out.
    blocked.set_capacity(NO_LIMIT);
    assert_eq!(rig.ephemeral("o1", &["one"]), 2);
    assert_eq!((early.read(), blocked.read()), (vec![presence()], vec![]));
    rig.ready(&blocked);
    rig.ephemeral("o1", &["one"]);
    assert_eq!(
        blocked.read(),
        [Welcome(Resumption::Fresh, WINDOW_MS / 1000), presence()]
    );
    assert_eq!(rig.hub.counts.volatile_dropped, 0);
}

#[test]
fn a_lagging_connection_is_offered_an_ephemeral_event_at_once() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["one"]);
    client.set_capacity(1);
    let (first, second) = (
        rig.publish(0, "o1", &["one"]),
        rig.publish(0, "o1", &["one"]),
    );
    assert!(!rig.hub.connections[client.key].is_live());
    assert_eq!(client.read(), [Record(0, first)]);
    let before = state_of(&rig, &client);
    assert_eq!(rig.ephemeral("o1", &["one"]), 1);
    assert_eq!(state_of(&rig, &client), before);
    assert_eq!(client.read(), [presence()], "ahead of what it is owed");
    rig.ready(&client);
    assert_eq!(client.read(), [Record(0, second)]);
    assert!(rig.hub.connections[client.key].is_live());
}

#[test]
fn a_full_outlet_drops_an_ephemeral_event_and_it_is_counted() {
    let mut rig = Rig::new(1);
    let mut live = rig.live(&["one"]);
    let mut lagging = rig.live(&["one"]);
    for client in [&live, &lagging] {
        client.set_capacity(1);
    }
    let first = rig.publish(0, "o1", &["one"]);
    live.read();
    let second = rig.publish(0, "o1", &["one"]);
    assert!(rig.hub.connections[live.key].is_live());
    assert!(!rig.hub.connections[lagging.key].is_live());
    let before = (state_of(&rig, &live), state_of(&rig, &lagging));
    rig.now.monotonic += 500;
    assert_eq!(rig.ephemeral("o1", &["one"]), 0);
    assert_eq!(rig.hub.statistics(rig.now).counts.volatile_dropped, 2);
    assert_eq!((state_of(&rig, &live), state_of(&rig, &lagging)), before);
    // It is not offered again, and the log goes on where it stood.
    assert_eq!(live.read(), [Record(0, second)]);
    assert_eq!(lagging.read(), [Record(0, first)]);
    rig.ready(&live);
    rig.ready(&lagging);
    assert_eq!(live.read(), []);
    assert_eq!(lagging.read(), [Record(0, second)]);
    assert_eq!(rig.hub.counts.slowed, 1, "of the publications alone");
}

#[test]
fn ephemeral_events_alone_do_not_keep_a_quiet_connection_from_its_newer_cursor() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["one"]);
    let welcome = client.cursor.clone();
    let mut cursors = 0;
    // A whole window of nothing else.
    for _ in 0..WINDOW_MS / 1_000 {
        rig.pass(1_000);
        rig.ephemeral("o1", &["one"]);
        cursors += client
            .read()
            .iter()
            .filter(|seen| **seen == Seen::Cursor)
            .count();
    }
    assert_eq!(cursors, 4, "one in each quarter of the window");
    assert_ne!(client.cursor, welcome);
    let resumed = client.cursor.clone();
    let missed = rig.publish(0, "o1", &["one"]);
    let mut resumed = rig.resumed(&["one"], &resumed);
    rig.turns();
    assert_eq!(resumed.records(), [(0, missed)]);
}
