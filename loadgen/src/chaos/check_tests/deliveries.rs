//! What must come, what may, what may not; which clients are served; how long it took.

use anyhow::anyhow;

use crate::client::{Ended, Sight};
use crate::socket::BrokenFrame;

use super::super::history::ClientHistory;
use super::super::ledger::{Fate, Ledger};
use super::super::record::{self, ORGANISATION_EVENT, Stamp};
use super::super::recovery::{Fault, Spread};
use super::super::verdict::ChaosFaults;
use super::{CHANNEL, Case, OTHER, OWN, SECOND, WINDOW, only};

#[test]
fn what_was_sent_and_received_is_clean_and_other_rooms_do_not_count() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
        case.sent(1, OWN);
        case.sent(0, OTHER);
    }
    // Partitions may be interleaved in any way.
    case.receive(&[2, 1, 5, 8, 4, 7]);
    let verdict = case.verdict();
    assert_eq!(
        verdict.faults,
        ChaosFaults::default(),
        "{:?}",
        verdict.samples
    );
    assert_eq!((verdict.checked, verdict.received), (6, 6));
}

#[test]
fn an_acknowledged_record_that_did_not_come_is_lost_wherever_it_stood() {
    for missing in 1..=3 {
        let mut case = Case::new();
        for _ in 0..3 {
            case.sent(0, CHANNEL);
        }
        let rest: Vec<usize> = (1..=3).filter(|number| *number != missing).collect();
        case.receive(&rest);
        assert_eq!(case.faults(), only(|it| it.lost = 1), "{missing}");
        assert!(case.verdict().samples[0].contains("lost t/0/"));
    }
}

#[test]
fn what_was_never_acknowledged_may_come_or_not_and_what_was_aborted_may_not() {
    for fate in [Fate::Unknown, Fate::Open] {
        let mut case = Case::new();
        case.send(0, CHANNEL, fate);
        case.send(0, CHANNEL, fate);
        case.receive(&[2]);
        assert_eq!(case.faults(), ChaosFaults::default());
    }
    let mut case = Case::new();
    case.send(0, CHANNEL, Fate::Aborted);
    assert_eq!(case.faults(), ChaosFaults::default());
    case.receive(&[1]);
    assert_eq!(case.faults(), only(|it| it.unexpected = 1));
}

#[test]
fn repeats_and_disorder_are_distinguished() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1, 2, 3, 1]);
    assert_eq!(case.faults(), only(|it| it.duplicated = 1));

    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1, 3, 2]);
    assert_eq!(case.faults(), only(|it| it.reordered = 1));
}

#[test]
fn order_holds_over_the_rooms_of_a_partition() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.sent(0, OWN);
    case.receive(&[2, 1]);
    assert_eq!(case.faults(), only(|it| it.reordered = 1));
}

#[test]
fn records_of_others_are_leaks_or_unexpected() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.sent(0, OTHER);
    let (stamp, room) = case.stamp(1);
    let foreign = Stamp {
        organisation: "lg1",
        ..stamp
    };
    case.client.received(&foreign, Some(room), 0);
    assert_eq!(case.faults(), only(|it| (it.leaked, it.lost) = (1, 1)));
    case.receive(&[1, 2]);
    let older = Stamp { run: "q", ..stamp };
    case.client.received(&older, Some(room), 0);
    case.client.received(&stamp, None, 0);
    assert_eq!(
        case.faults(),
        only(|it| (it.leaked, it.unexpected) = (1, 3))
    );
}

#[test]
fn a_record_that_was_never_sent_is_unexpected() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.receive(&[1]);
    let (stamp, room) = case.stamp(1);
    let invented = Stamp {
        order: 7,
        sequence: 7,
        ..stamp
    };
    case.client.received(&invented, Some(room), 0);
    assert_eq!(case.faults(), only(|it| it.unexpected = 1));
    let absurd = Stamp {
        sequence: u32::MAX,
        ..stamp
    };
    case.client.received(&absurd, Some(room), 0);
    assert_eq!(case.faults(), only(|it| it.unexpected = 2));
}

#[test]
fn a_record_that_is_not_byte_for_byte_what_was_produced_is_altered() {
    let mut case = Case::new();
    case.sent(0, OWN);
    let mut payload = String::new();
    record::write(&case.stamp(1).0, 300, &mut payload);
    for (payload, altered) in [(payload.clone(), 0), (payload.replacen("xx", "xy", 1), 1)] {
        let mut case = Case::new();
        case.sent(0, OWN);
        case.see(&Sight::Record {
            name: ORGANISATION_EVENT,
            payload: &payload,
            has_cursor: true,
        });
        assert_eq!(case.faults(), only(|it| it.altered = altered));
    }
}

#[test]
fn a_subscription_that_was_never_acknowledged_is_a_fault() {
    let mut case = Case::new();
    case.client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
    case.client.welcomed("fresh", WINDOW, 0);
    assert_eq!(case.faults(), only(|it| it.never_subscribed = 1));
}

#[test]
fn a_packet_that_dismisses_is_a_fault() {
    let mut case = Case::new();
    let ended = Ended::Dismissed("DISCONNECT");
    case.see(&Sight::Closed(&ended));
    case.client.welcomed("resumed", WINDOW, u64::MAX);
    assert_eq!(case.faults(), only(|it| it.dismissed = 1));
}

#[test]
fn a_connection_that_ends_with_a_broken_frame_is_a_fault_and_one_that_is_lost_is_none() {
    let mut case = Case::new();
    let broken = BrokenFrame("a binary frame".to_owned()).into();
    for ended in [broken, anyhow!("reset by peer")] {
        case.see(&Sight::Closed(&Ended::Lost(ended)));
        case.client.welcomed("resumed", WINDOW, u64::MAX);
    }
    assert_eq!(case.faults(), only(|it| it.broken = 1));
}

#[test]
fn how_long_clients_were_away_is_put_down_to_the_fault() {
    let mut case = Case::new();
    for _ in 0..9 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1]);
    case.faults.push(Fault {
        name: "kill -9".to_owned(),
        begin_ns: 2 * SECOND,
        end_ns: 5 * SECOND,
        epoch: 1,
    });
    case.client.closed(false, 2 * SECOND);
    case.client.opened(true);
    case.client.welcomed("resumed", WINDOW, 3 * SECOND);
    case.receive(&[2, 3, 4]);
    let (stamp, room) = case.stamp(5);
    case.client.received(&stamp, Some(room), 6 * SECOND);
    case.client.first_after.push((2, 6 * SECOND));
    case.client.catch_up(5 * SECOND, 6 * SECOND);
    case.client.catch_up(5 * SECOND, 7 * SECOND);
    case.receive(&[6, 7, 8, 9]);
    let verdict = case.verdict();
    assert_eq!(verdict.faults, ChaosFaults::default());
    let recovery = &verdict.recoveries[0];
    let one = |ms| Spread {
        count: 1,
        p50: ms,
        p99: ms,
        max: ms,
    };
    // The first event after the return was stamped with second 2, when it was sent.
    assert_eq!(recovery.back_after_ms, one(0));
    assert_eq!(recovery.event_after_ms, one(1_000));
    assert_eq!(recovery.caught_up_after_ms, one(2_000));
}

#[test]
fn percentiles_are_those_of_the_nearest_rank() {
    let spread = Spread::of((1..=200).map(|ms| ms * 1_000_000).collect());
    assert_eq!(
        (spread.count, spread.p50, spread.p99, spread.max),
        (200, 100, 198, 200)
    );
    assert_eq!(Spread::of(Vec::new()), Spread::default());
}

#[test]
fn offsets_that_fall_while_orders_rise_spoil_the_ledger() {
    let mut ledger = Ledger::default();
    let lane = ledger.add_lane("t", 0);
    for _ in 0..3 {
        ledger.send(lane, CHANNEL, 0, Fate::Unknown);
    }
    ledger.acknowledge(lane, 0, 5, 1);
    ledger.acknowledge(lane, 1, 6, 1);
    assert_eq!(ledger.misplaced(), 0);
    ledger.acknowledge(lane, 2, 4, 1);
    assert_eq!(ledger.misplaced(), 1);
}
