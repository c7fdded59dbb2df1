use fleetcast_core::hub::{HubSettings, NAMED_PARTITIONS};
use socketioxide::TransportType::{Polling, Websocket};

use super::*;
use crate::telemetry::Metrics;

const MAX_PAYLOAD: usize = 1_000;

fn budget(websocket: bool) -> SendBudget {
    budget_of(websocket, MAX_PAYLOAD)
}

fn budget_of(websocket: bool, max_payload: usize) -> SendBudget {
    let slot = AdmissionSlot::take(&Arc::default(), 1).expect("a free slot");
    budget_with(slot, websocket, max_payload)
}

fn budget_with(slot: AdmissionSlot, websocket: bool, max_payload: usize) -> SendBudget {
    let settings = HubSettings {
        window_ms: 60_000,
        window_bytes: 1_000_000,
        latest_bytes: 1_000_000,
        named_partitions: NAMED_PARTITIONS,
    };
    SendBudget::new(
        SharedHub::new(settings),
        DeliveryStamps::new(Metrics::new().delivery_times.clone()),
        Arc::new(slot),
        websocket,
        max_payload,
    )
}

/// Whether the library may have a packet of this size; it takes it.
fn take(
    budget: &SendBudget,
    size: usize,
    transport: TransportType,
    waiter: Option<ConnectionKey>,
) -> bool {
    let reservation = budget.reserve(size, transport, waiter);
    reservation.map(Reservation::commit).is_some()
}

fn take_answer(budget: &SendBudget, size: usize, transport: TransportType) {
    budget.reserve_answer(size, transport).commit();
}

/// How many packets of this size fit.
fn fill(budget: &SendBudget, size: usize, transport: TransportType) -> usize {
    (0..10_000)
        .take_while(|_| take(budget, size, transport, None))
        .count()
}

fn frame(opcode: u8, head: &[u8]) -> FrameHead<'_> {
    FrameHead {
        opcode,
        head,
        payload_len: head.len(),
    }
}

fn in_flight(budget: &SendBudget) -> (usize, usize) {
    let state = budget.lock();
    (state.in_flight.len(), state.bytes)
}

#[test]
fn packets_and_bytes_are_bounded_and_an_empty_budget_takes_any_one() {
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
        let budget = budget(transport == Websocket);
        assert!(budget.has_capacity(transport));
        let what = format!("{transport:?} of {size} bytes");
        assert_eq!(fill(&budget, size, transport), expected, "{what}");
        assert_eq!(in_flight(&budget), (expected, expected * size), "{what}");
        budget.settle(1);
        assert!(take(&budget, size, transport, None), "{what}: one fits");
        assert!(!take(&budget, size, transport, None), "{what}");
    }
}

#[test]
fn packets_are_settled_in_the_order_in_which_they_were_reserved() {
    let budget = budget(true);
    for size in [1, 20, 300] {
        assert!(take(&budget, size, Websocket, None));
    }
    take_answer(&budget, 4_000, Websocket);
    for expected in [(3, 4_320), (2, 4_300), (1, 4_000), (0, 0), (0, 0)] {
        budget.frame_written(frame(TEXT, b"42[\"a\"]"));
        assert_eq!(in_flight(&budget), expected);
    }
}

#[test]
fn reservation_is_released_unless_the_library_takes_the_packet() {
    let budget = budget(true);
    take_answer(&budget, 1, Websocket);
    let reservation = budget.reserve_answer(20, Websocket);
    assert_eq!(in_flight(&budget), (2, 21), "it counts at once");
    let sent = reservation.send(|| Err::<(), _>("closed"));
    assert_eq!((sent, in_flight(&budget)), (Err("closed"), (1, 1)));
    let sent = budget
        .reserve_answer(20, Websocket)
        .send(|| Ok::<_, ()>("taken"));
    assert_eq!((sent, in_flight(&budget)), (Ok("taken"), (2, 21)));
    drop(budget.reserve(300, Websocket, None));
    assert_eq!(in_flight(&budget), (2, 21));
}

#[test]
fn reservations_may_be_released_in_any_order() {
    let budget = budget(true);
    let first = budget.reserve_answer(1, Websocket);
    let second = budget.reserve_answer(20, Websocket);
    take_answer(&budget, 300, Websocket);
    drop(first);
    assert_eq!(in_flight(&budget), (2, 320));
    drop(second);
    assert_eq!(in_flight(&budget), (1, 300));
}

#[test]
fn only_events_and_acknowledgements_count() {
    let budget = budget(true);
    let frames: [(u8, &[u8], usize); 10] = [
        (TEXT, b"2", 0),
        (TEXT, b"3probe", 0),
        (TEXT, b"6", 0),
        (TEXT, b"40{\"sid\":", 0),
        (TEXT, b"44{\"message", 0),
        (2, b"42[\"binary", 0),
        (TEXT, b"", 0),
        (TEXT, b"41/ws,", 1),
        (TEXT, b"42/ws,[\"a", 1),
        (TEXT, b"4317[{}]", 1),
    ];
    for (opcode, head, expected) in frames {
        take_answer(&budget, 1, Websocket);
        let before = in_flight(&budget).0;
        budget.frame_written(frame(opcode, head));
        assert_eq!(before - in_flight(&budget).0, expected, "{head:?}");
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
        let budget = budget(false);
        for _ in 0..5 {
            take_answer(&budget, 10, Polling);
        }
        assert_eq!(budget.polled(body.as_bytes()), stays, "{body:?}");
        assert_eq!(in_flight(&budget).0, 5 - expected, "{body:?}");
    }
}

#[test]
fn a_fence_stands_until_what_the_library_was_given_has_left() {
    let budget = budget(true);
    assert!(budget.lift_fence(), "nothing is on its way");
    take_answer(&budget, 10, Websocket);
    take_answer(&budget, 10, Websocket);
    assert!(budget.has_capacity(Websocket), "nothing waits for the lane");
    assert!(!budget.lift_fence());
    assert!(!budget.has_capacity(Websocket), "answers wait for the lane");
    for (head, lifted) in [
        (b"2".as_slice(), false),
        (b"40/ws,{\"sid\":", false),
        (b"42[\"connection_", false),
        (b"3", false),
        (b"431[{}]", true),
    ] {
        budget.frame_written(frame(TEXT, head));
        assert_eq!(budget.has_capacity(Websocket), lifted, "{head:?}");
    }
    assert!(budget.lift_fence());
}

#[test]
fn a_fence_that_stands_too_long_is_noticed() {
    let budget = budget(true);
    take_answer(&budget, 10, Websocket);
    assert!(!budget.lift_fence() && !budget.is_fence_stuck());
    let long_ago = Instant::now().checked_sub(FENCE_TIMEOUT + Duration::from_millis(1));
    budget.lock().fence_since = long_ago;
    assert!(!budget.lift_fence(), "asking again does not start over");
    assert!(budget.is_fence_stuck());
    budget.frame_written(frame(TEXT, b"42[\"a\"]"));
    assert!(!budget.is_fence_stuck());
}

#[test]
fn nothing_leaves_during_an_upgrade() {
    // What the library says, how long it has taken, and how much fits then.
    let late = UPGRADE_TIMEOUT + Duration::from_secs(1);
    for (library, taken, still, expected) in [
        (Polling, Duration::ZERO, true, 0),
        (Websocket, Duration::ZERO, false, WEBSOCKET_PACKETS),
        (Polling, late, false, POLLING_PACKETS),
    ] {
        let budget = budget(false);
        budget.upgrading();
        let since = Instant::now().checked_sub(taken).expect("up for longer");
        budget.lock().transport = TransportPhase::Upgrading { since };
        assert_eq!(budget.still_upgrading(library), still, "{library:?}");
        assert_eq!(budget.has_capacity(library), expected > 0, "{library:?}");
        assert_eq!(fill(&budget, 1, library), expected, "{library:?}");
    }
    let budget = budget(false);
    budget.upgrading();
    assert!(
        !take(&budget, 1, Polling, None),
        "not even with nothing in flight"
    );
    budget.upgrade_failed();
    assert_eq!(fill(&budget, 1, Polling), POLLING_PACKETS);
}

#[test]
fn waiter_is_notified_once_when_half_of_the_budget_is_free() {
    let budget = budget(true);
    let key = Some(ConnectionKey::default());
    let waiters = || budget.lock().waiters.len();
    assert_eq!(fill(&budget, 1, Websocket), WEBSOCKET_PACKETS);
    for _ in 0..3 {
        assert!(!take(&budget, 1, Websocket, key));
    }
    assert_eq!(waiters(), 1);
    budget.settle(WEBSOCKET_PACKETS / 2 - 1);
    assert_eq!(waiters(), 1, "not yet");
    budget.settle(1);
    assert_eq!(waiters(), 0);
    assert!(take(&budget, 1, Websocket, key));
    assert_eq!(waiters(), 0, "it got what it wanted");
}

#[test]
fn events_that_are_offered_once_do_not_keep_a_waiter_waiting() {
    let budget = budget(true);
    let key = Some(ConnectionKey::default());
    fill(&budget, 1, Websocket);
    assert!(!take(&budget, 1, Websocket, key));
    // Each packet that leaves would be replaced at once.
    for _ in 0..WEBSOCKET_PACKETS / 2 {
        budget.settle(1);
        take(&budget, 1, Websocket, None);
    }
    assert!(budget.lock().waiters.is_empty(), "it was notified");
    assert!(take(&budget, 1, Websocket, None), "and nothing waits now");
}

#[test]
fn slot_is_released_with_the_websocket_of_the_session_and_no_other_connection() {
    for (phase, released) in [
        (TransportPhase::WebSocket, true),
        (TransportPhase::Polling, false),
        (
            TransportPhase::Upgrading {
                since: Instant::now(),
            },
            false,
        ),
    ] {
        let admitted = Arc::default();
        let slot = AdmissionSlot::take(&admitted, 1).expect("a free slot");
        let budget = budget_with(slot, false, MAX_PAYLOAD);
        budget.lock().transport = phase;
        budget.closed();
        let free = AdmissionSlot::take(&admitted, 1).is_some();
        assert_eq!(free, released, "{phase:?}");
        drop(budget);
        assert!(AdmissionSlot::take(&admitted, 1).is_some(), "{phase:?}");
    }
}

/// As if something had been in flight for so long.
fn busy_for(budget: &SendBudget, long: Duration) {
    let mut state = budget.lock();
    let begin = Instant::now().checked_sub(long).expect("up for longer");
    state.drain_rate = DrainRate::new(begin);
}

#[test]
fn in_flight_bytes_follow_the_rate_of_the_client() {
    const SIZE: usize = 10 * 1024;
    let fast = budget(true);
    let mut rounds = Vec::new();
    for _ in 0..7 {
        let taken = fill(&fast, SIZE, Websocket);
        rounds.push(taken);
        fast.settle(taken);
    }
    // 64 KiB, and then what it has taken so far.
    assert_eq!(rounds, [6, 6, 12, 24, 48, 76, 76]);

    let slow = budget(true);
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
fn polling_client_gets_answers_that_it_can_fetch_in_time() {
    const SIZE: usize = 30 * 1024;
    let budget = budget_of(false, 1_000_000);
    let poll = |budget: &SendBudget, packets: usize| {
        let body = ["42[]"; POLLING_PACKETS][..packets].join("\u{1e}");
        assert!(budget.polled(body.as_bytes()));
    };
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let taken = fill(&budget, SIZE, Polling);
        rounds.push(taken);
        poll(&budget, taken);
    }
    assert_eq!(rounds, [2, 2, 4, 8, POLLING_PACKETS], "a fast one");
    busy_for(&budget, Duration::from_secs(30));
    assert_eq!(
        fill(&budget, SIZE, Polling),
        2,
        "one that was away for long"
    );
}

#[test]
fn answer_to_a_command_has_capacity_behind_the_events_of_the_slowest_client() {
    let budget = budget(true);
    let key = Some(ConnectionKey::default());
    assert!(take(&budget, 1000, Websocket, key));
    busy_for(&budget, Duration::from_secs(3));
    assert!(
        !take(&budget, 1000, Websocket, key),
        "it has taken nothing yet"
    );
    assert!(budget.has_capacity(Websocket));
    take_answer(&budget, START, Websocket);
    assert!(
        !budget.has_capacity(Websocket),
        "not for any number of them"
    );
}

#[test]
fn client_limited_by_the_budget_does_not_count_as_idle() {
    let key = Some(ConnectionKey::default());
    for (wants_more, notified, expected) in [
        (false, false, 64),
        // Notified of capacity when the last one left, or before.
        (true, false, 1),
        (true, true, 1),
    ] {
        let budget = budget(true);
        take_answer(&budget, 1, Websocket);
        take_answer(&budget, 1, Websocket);
        busy_for(&budget, Duration::from_secs(3));
        if wants_more {
            assert!(!take(&budget, 1024, Websocket, key));
        }
        if notified {
            budget.wake(budget.lock());
        }
        budget.settle(2);
        assert_eq!(
            fill(&budget, 1024, Websocket),
            expected,
            "{wants_more} {notified}"
        );
    }
}

#[test]
fn poll_notifies_waiters_and_so_does_the_end_of_an_upgrade() {
    let key = Some(ConnectionKey::default());
    for end in [
        (|budget: &SendBudget| assert!(budget.polled(b"42[]"))) as fn(&SendBudget),
        |budget| budget.upgrade_failed(),
        |budget| assert!(!budget.still_upgrading(Websocket)),
    ] {
        let budget = budget(false);
        fill(&budget, 1, Polling);
        assert!(!take(&budget, 1, Polling, key));
        end(&budget);
        assert!(budget.lock().waiters.is_empty());
    }
    let budget = budget(false);
    fill(&budget, 1, Polling);
    budget.upgrading();
    assert!(!take(&budget, 1, Polling, key));
    budget.polled(b"42[]");
    assert_eq!(budget.lock().waiters.len(), 1, "it could not go out yet");
}

#[test]
fn only_a_polling_client_with_packets_in_flight_is_late() {
    let long = Duration::from_mins(1);
    for (websocket, packets, late) in [(false, 1, true), (false, 0, false), (true, 1, false)] {
        let budget = budget(websocket);
        for _ in 0..packets {
            take_answer(&budget, 1, Polling);
        }
        budget.lock().moved = Instant::now().checked_sub(long).expect("up for longer");
        assert_eq!(
            budget.not_fetched_for() >= long,
            late,
            "{websocket} {packets}"
        );
    }
    let budget = budget(false);
    take_answer(&budget, 1, Polling);
    budget.lock().moved = Instant::now().checked_sub(long).expect("up for longer");
    take_answer(&budget, 1, Polling);
    assert!(budget.not_fetched_for() >= long, "a second one is no fetch");
    budget.polled(b"42[]");
    assert!(budget.not_fetched_for() < long, "it fetches");
}

#[tokio::test]
async fn waiting_command_is_notified_or_checks_again() {
    let budget = budget(false);
    let waited = Instant::now();
    budget.capacity().await;
    assert!(waited.elapsed() >= Duration::from_millis(90));
    fill(&budget, 1, Polling);
    let waited = Instant::now();
    let woken = async {
        tokio::task::yield_now().await;
        budget.polled(b"42[]");
    };
    tokio::join!(budget.capacity(), woken);
    assert!(waited.elapsed() < Duration::from_millis(90));
}
