use std::sync::atomic::AtomicUsize;

use fleetcast_core::hub::{NAMED_PARTITIONS, Settings};
use socketioxide::TransportType::{Polling, Websocket};

use super::*;

const MAX_PAYLOAD: usize = 1_000;

fn way(websocket: bool) -> Way {
    way_of(websocket, MAX_PAYLOAD)
}

fn way_of(websocket: bool, max_payload: usize) -> Way {
    let settings = Settings {
        window_ms: 60_000,
        window_bytes: 1_000_000,
        latest_bytes: 1_000_000,
        named_partitions: NAMED_PARTITIONS,
    };
    let slot = Slot::counted(Arc::new(AtomicUsize::new(1)));
    Way::new(SharedHub::new(settings), slot, websocket, max_payload)
}

/// How many packets of this size fit.
fn fill(way: &Way, size: usize, transport: TransportType) -> usize {
    (0..10_000)
        .take_while(|_| way.take(size, transport, None))
        .count()
}

fn on_its_way(way: &Way) -> (usize, usize) {
    let state = way.lock();
    (state.noted.len(), state.bytes)
}

#[test]
fn packets_and_bytes_are_bounded_and_an_empty_way_takes_any_one() {
    for (transport, size, expected) in [
        (Polling, 1, POLLING_PACKETS),
        (Polling, 100, 7),
        (Polling, 750, 1),
        (Polling, 5_000, 1),
        (Websocket, 1, WEBSOCKET_PACKETS),
        (Websocket, 64, 1024),
        (Websocket, 1024, 64),
        (Websocket, 2048, 32),
        (Websocket, 2 * 1024 * 1024, 1),
    ] {
        let way = way(transport == Websocket);
        assert!(way.has_room(transport));
        let what = format!("{transport:?} of {size} bytes");
        assert_eq!(fill(&way, size, transport), expected, "{what}");
        assert_eq!(on_its_way(&way), (expected, expected * size), "{what}");
        way.settle(1);
        assert!(way.take(size, transport, None), "{what}: room for one");
        assert!(!way.take(size, transport, None), "{what}");
    }
}

#[test]
fn what_has_left_is_settled_in_the_order_in_which_it_was_noted() {
    let way = way(true);
    for size in [1, 20, 300] {
        assert!(way.take(size, Websocket, None));
    }
    way.note(4_000, Websocket);
    for expected in [(3, 4_320), (2, 4_300), (1, 4_000), (0, 0), (0, 0)] {
        way.frame_written(TEXT, b"42[\"a\"]", 7);
        assert_eq!(on_its_way(&way), expected);
    }
}

#[test]
fn what_the_library_did_not_take_is_taken_back() {
    let way = way(true);
    way.note(1, Websocket);
    way.note(20, Websocket);
    way.take_back();
    assert_eq!(on_its_way(&way), (1, 1));
    way.take_back();
    way.take_back();
    assert_eq!(on_its_way(&way), (0, 0));
}

#[test]
fn only_events_and_acknowledgements_count() {
    let way = way(true);
    let frames: [(u8, &[u8], usize); 9] = [
        (TEXT, b"2", 0),
        (TEXT, b"3probe", 0),
        (TEXT, b"6", 0),
        (TEXT, b"40{\"sid\":", 0),
        (TEXT, b"44{\"message", 0),
        (2, b"42[\"binary", 0),
        (TEXT, b"", 0),
        (TEXT, b"42/ws,[\"a", 1),
        (TEXT, b"4317[{}]", 1),
    ];
    for (opcode, head, expected) in frames {
        way.note(1, Websocket);
        let before = on_its_way(&way).0;
        way.frame_written(opcode, head, head.len());
        assert_eq!(before - on_its_way(&way).0, expected, "{head:?}");
    }
}

#[test]
fn a_poll_settles_what_its_body_holds() {
    for (body, expected, stays) in [
        ("", 0, true),
        ("2", 0, true),
        ("42[\"a\"]", 1, true),
        (
            "42[\"a\"]\u{1e}2\u{1e}431[]\u{1e}40{}\u{1e}42/ws,[\"b\"]",
            3,
            true,
        ),
        // A separator cannot stand in JSON, which escapes it; a payload that speaks of packets is one packet.
        ("42[\"a\",\"\\u001e42[]\"]", 1, true),
        ("42[\"a\"]\u{1e}1", 1, false),
        ("1", 0, false),
    ] {
        let way = way(false);
        for _ in 0..5 {
            way.note(10, Polling);
        }
        assert_eq!(way.polled(body.as_bytes()), stays, "{body:?}");
        assert_eq!(on_its_way(&way).0, 5 - expected, "{body:?}");
    }
}

#[test]
fn goodbye_is_forbidden_and_nothing_else() {
    let way = way(true);
    assert_eq!(way.forbids(TEXT, b"1", 1), Some(LIBRARY_CLOSES));
    for (opcode, head) in [
        (TEXT, b"2".as_slice()),
        (TEXT, b"1x"),
        (8, b"1"),
        (TEXT, b""),
    ] {
        assert_eq!(way.forbids(opcode, head, head.len()), None);
    }
}

#[test]
fn nothing_leaves_while_the_transport_changes() {
    // What the library says, how long it has taken, and how much fits then.
    let late = UPGRADE_TIMEOUT + Duration::from_secs(1);
    for (library, taken, still, expected) in [
        (Polling, Duration::ZERO, true, 0),
        (Websocket, Duration::ZERO, false, WEBSOCKET_PACKETS),
        (Polling, late, false, POLLING_PACKETS),
    ] {
        let way = way(false);
        way.upgrading();
        let since = Instant::now().checked_sub(taken).expect("up for longer");
        way.lock().transport = Transport::Upgrading { since };
        assert_eq!(way.still_upgrading(library), still, "{library:?}");
        assert_eq!(way.has_room(library), expected > 0, "{library:?}");
        assert_eq!(fill(&way, 1, library), expected, "{library:?}");
    }
    let way = way(false);
    way.upgrading();
    assert!(!way.take(1, Polling, None), "not even into an empty way");
    way.upgrade_failed();
    assert_eq!(fill(&way, 1, Polling), POLLING_PACKETS);
}

#[test]
fn whoever_is_hungry_is_told_once_when_half_of_it_has_left() {
    let way = way(true);
    let key = Some(ConnectionKey::default());
    let hungry = || way.lock().hungry.len();
    assert_eq!(fill(&way, 1, Websocket), WEBSOCKET_PACKETS);
    for _ in 0..3 {
        assert!(!way.take(1, Websocket, key));
    }
    assert_eq!(hungry(), 1);
    way.settle(WEBSOCKET_PACKETS / 2 - 1);
    assert_eq!(hungry(), 1, "not yet");
    way.settle(1);
    assert_eq!(hungry(), 0);
    assert!(way.take(1, Websocket, key));
    assert_eq!(hungry(), 0, "it got what it wanted");
}

/// As if it had been so long ago that something went on its way.
fn busy_for(way: &Way, long: Duration) {
    let mut state = way.lock();
    let begin = Instant::now().checked_sub(long).expect("up for longer");
    state.pace = Pace::new(begin);
}

#[test]
fn a_fast_client_may_have_much_on_its_way_and_a_slow_one_what_it_took() {
    const SIZE: usize = 10 * 1024;
    let fast = way(true);
    let mut rounds = Vec::new();
    for _ in 0..7 {
        let taken = fill(&fast, SIZE, Websocket);
        rounds.push(taken);
        fast.settle(taken);
    }
    // 64 KiB, and then what it has taken so far.
    assert_eq!(rounds, [6, 6, 12, 24, 48, 76, 76]);

    let slow = way(true);
    fill(&slow, SIZE, Websocket);
    busy_for(&slow, Duration::from_secs(3));
    slow.settle(2);
    assert_eq!(
        fill(&slow, SIZE, Websocket),
        0,
        "it took two, and four wait"
    );
    slow.settle(1);
    assert_eq!(fill(&slow, SIZE, Websocket), 0);
    slow.settle(1);
    assert_eq!(fill(&slow, SIZE, Websocket), 2, "four and four");
}

#[test]
fn a_polling_client_gets_answers_that_it_can_fetch_in_time() {
    const SIZE: usize = 30 * 1024;
    let way = way_of(false, 1_000_000);
    let poll = |way: &Way, packets: usize| {
        let body = ["42[]"; POLLING_PACKETS][..packets].join("\u{1e}");
        assert!(way.polled(body.as_bytes()));
    };
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let taken = fill(&way, SIZE, Polling);
        rounds.push(taken);
        poll(&way, taken);
    }
    assert_eq!(rounds, [2, 2, 4, 8, POLLING_PACKETS], "a fast one");
    busy_for(&way, Duration::from_secs(30));
    assert_eq!(fill(&way, SIZE, Polling), 2, "one that was away for long");
}

#[test]
fn the_answer_to_a_command_finds_room_behind_the_events_of_the_slowest_client() {
    let way = way(true);
    let key = Some(ConnectionKey::default());
    assert!(way.take(1000, Websocket, key));
    busy_for(&way, Duration::from_secs(3));
    assert!(!way.take(1000, Websocket, key), "it has taken nothing yet");
    assert!(way.has_room(Websocket));
    way.note(START, Websocket);
    assert!(!way.has_room(Websocket), "not for any number of them");
}

#[test]
fn a_client_that_is_kept_short_does_not_pass_for_one_to_whom_nothing_was_sent() {
    let key = Some(ConnectionKey::default());
    for (wants_more, told, expected) in [
        (false, false, 64),
        // Told that there is room when the last one left, or before.
        (true, false, 1),
        (true, true, 1),
    ] {
        let way = way(true);
        way.note(1, Websocket);
        way.note(1, Websocket);
        busy_for(&way, Duration::from_secs(3));
        if wants_more {
            assert!(!way.take(1024, Websocket, key));
        }
        if told {
            way.wake(way.lock());
        }
        way.settle(2);
        assert_eq!(fill(&way, 1024, Websocket), expected, "{wants_more} {told}");
    }
}

#[test]
fn a_poll_wakes_the_hungry_and_so_does_the_end_of_an_upgrade() {
    let key = Some(ConnectionKey::default());
    for end in [
        (|way: &Way| assert!(way.polled(b"42[]"))) as fn(&Way),
        |way| way.upgrade_failed(),
        |way| assert!(!way.still_upgrading(Websocket)),
    ] {
        let way = way(false);
        fill(&way, 1, Polling);
        assert!(!way.take(1, Polling, key));
        end(&way);
        assert!(way.lock().hungry.is_empty());
    }
    let way = way(false);
    fill(&way, 1, Polling);
    way.upgrading();
    assert!(!way.take(1, Polling, key));
    way.polled(b"42[]");
    assert_eq!(way.lock().hungry.len(), 1, "it could not go out yet");
}

#[test]
fn only_a_polling_client_with_something_waiting_is_late() {
    let long = Duration::from_mins(1);
    for (websocket, noted, late) in [(false, 1, true), (false, 0, false), (true, 1, false)] {
        let way = way(websocket);
        for _ in 0..noted {
            way.note(1, Polling);
        }
        way.lock().moved = Instant::now().checked_sub(long).expect("up for longer");
        assert_eq!(way.not_fetched_for() >= long, late, "{websocket} {noted}");
    }
    let way = way(false);
    way.note(1, Polling);
    way.lock().moved = Instant::now().checked_sub(long).expect("up for longer");
    way.note(1, Polling);
    assert!(way.not_fetched_for() >= long, "a second one is no fetch");
    way.polled(b"42[]");
    assert!(way.not_fetched_for() < long, "it fetches");
}

#[tokio::test]
async fn a_command_that_waits_for_room_is_woken_or_looks_again() {
    let way = way(false);
    let waited = Instant::now();
    way.room().await;
    assert!(waited.elapsed() >= Duration::from_millis(90));
    fill(&way, 1, Polling);
    let waited = Instant::now();
    let woken = async {
        tokio::task::yield_now().await;
        way.polled(b"42[]");
    };
    tokio::join!(way.room(), woken);
    assert!(waited.elapsed() < Duration::from_millis(90));
}
