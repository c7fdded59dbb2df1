//! Each verdict, on histories of a few records.

use super::check::{Fault, Faults, Permit, Rules, Spread, Verdict, judge};
use super::history::ClientHistory;
use super::ledger::{Fate, Ledger};
use super::record::Stamp;

const SECOND: u64 = 1_000_000_000;
const OWN: u16 = 10;
const CHANNEL: u16 = 3;
const OTHER: u16 = 5;

/// One client of organisation `lg0` that holds its own room and one channel, and one topic with two partitions.
/// Record `n` is sent at second `n`.
struct Case {
    ledger: Ledger,
    client: ClientHistory,
    rules: Rules,
    faults: Vec<Fault>,
    sent: Vec<(u16, u16, u32, u32)>,
}

impl Case {
    fn new() -> Self {
        let mut ledger = Ledger::default();
        ledger.add_lane("t", 0);
        ledger.add_lane("t", 1);
        let mut client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
        client.opened(false);
        client.welcomed("fresh", 0);
        client.subscribed(CHANNEL, 0);
        Self {
            ledger,
            client,
            rules: Rules {
                window_ns: 100 * SECOND,
                permits: Vec::new(),
            },
            faults: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Sends a record and gives its number.
    fn send(&mut self, lane: u16, room: u16, fate: Fate) -> usize {
        let at = (self.sent.len() as u64 + 1) * SECOND;
        let (order, sequence) = self.ledger.send(lane, room, at, fate);
        self.sent.push((lane, room, order, sequence));
        self.sent.len()
    }

    fn sent(&mut self, lane: u16, room: u16) -> usize {
        self.send(lane, room, Fate::Acknowledged(0))
    }

    fn stamp(&self, number: usize) -> (Stamp<'static>, u16) {
        let (lane, room, order, sequence) = self.sent[number - 1];
        let stamp = Stamp {
            organisation: "lg0",
            channel: None,
            run: "r",
            lane,
            order,
            sequence,
            sent_ns: number as u64 * SECOND,
        };
        (stamp, room)
    }

    fn receive(&mut self, numbers: &[usize]) {
        for number in numbers {
            let (stamp, room) = self.stamp(*number);
            self.client.received(&stamp, Some(room), stamp.sent_ns);
        }
    }

    fn verdict(&self) -> Verdict {
        let client = std::slice::from_ref(&self.client);
        judge(&self.ledger, client, &self.faults, &self.rules)
    }

    fn faults(&self) -> Faults {
        self.verdict().faults
    }
}

fn only(change: impl FnOnce(&mut Faults)) -> Faults {
    let mut faults = Faults::default();
    change(&mut faults);
    faults
}

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
    assert_eq!(verdict.faults, Faults::default(), "{:?}", verdict.samples);
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
        assert_eq!(case.faults(), Faults::default());
    }
    let mut case = Case::new();
    case.send(0, CHANNEL, Fate::Aborted);
    assert_eq!(case.faults(), Faults::default());
    case.receive(&[1]);
    assert_eq!(case.faults(), only(|it| it.unexpected = 1));
}

#[test]
fn repeats_and_disorder_are_told_apart() {
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
fn a_record_that_nobody_sent_is_unexpected() {
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
fn what_was_sent_before_the_subscription_may_come_but_then_without_a_hole() {
    let late = |received: &[usize]| {
        let mut case = Case::new();
        case.client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
        case.client.welcomed("fresh", 0);
        for _ in 0..4 {
            case.sent(0, CHANNEL);
        }
        case.client.subscribed(CHANNEL, 3 * SECOND);
        case.receive(received);
        case.faults()
    };
    assert_eq!(late(&[4]), Faults::default());
    assert_eq!(late(&[2, 3, 4]), Faults::default());
    assert_eq!(late(&[2, 4]), only(|it| it.lost = 1));
    assert_eq!(late(&[]), only(|it| it.lost = 1));
}

#[test]
fn events_may_come_before_the_acknowledgement_of_their_subscription() {
    let mut case = Case::new();
    case.client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
    case.client.welcomed("fresh", 0);
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1]);
    case.client.subscribed(CHANNEL, 2 * SECOND);
    case.receive(&[3]);
    assert_eq!(
        case.faults(),
        only(|it| it.lost = 1),
        "no hole between them"
    );
}

#[test]
fn a_room_that_was_left_is_not_owed_and_nothing_of_it_may_come() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1]);
    case.client.asked(CHANNEL, false);
    case.receive(&[2]);
    case.client.unsubscribed(CHANNEL);
    assert_eq!(case.faults(), Faults::default());
    case.receive(&[3]);
    assert_eq!(case.faults(), only(|it| it.unexpected = 1));
}

#[test]
fn a_room_that_is_held_again_is_owed_from_then_on() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.receive(&[1]);
    case.client.asked(CHANNEL, false);
    case.client.unsubscribed(CHANNEL);
    case.sent(0, CHANNEL);
    case.client.asked(CHANNEL, true);
    case.client.subscribed(CHANNEL, 2 * SECOND);
    case.sent(0, CHANNEL);
    assert_eq!(case.faults(), only(|it| it.lost = 1));
    case.receive(&[3]);
    assert_eq!(case.faults(), Faults::default());
}

#[test]
fn asking_for_a_room_that_is_held_changes_nothing() {
    let mut case = Case::new();
    case.client.asked(CHANNEL, true);
    case.sent(0, CHANNEL);
    case.client.subscribed(CHANNEL, 2 * SECOND);
    assert_eq!(case.faults(), only(|it| it.lost = 1));
    case.receive(&[1]);
    case.client.asked(CHANNEL, false);
    case.client.unsubscribed(CHANNEL);
    case.sent(0, CHANNEL);
    assert_eq!(case.faults(), Faults::default());
}

/// Received 1, missed 2 and 3, was told at second 203, goes on with 4.
fn resynced(reason: &str) -> Case {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1]);
    case.client.closed(true, SECOND);
    case.client.opened(true);
    case.client.welcomed("resync", 203 * SECOND);
    case.client.resync(reason, 203 * SECOND);
    let at = case
        .ledger
        .send(0, CHANNEL, 204 * SECOND, Fate::Acknowledged(0));
    case.sent.push((0, CHANNEL, at.0, at.1));
    case.receive(&[4]);
    case
}

#[test]
fn a_resync_outside_the_window_excuses_what_was_missed() {
    let case = resynced("cursor_expired");
    assert_eq!(case.faults(), Faults::default());
    assert_eq!((case.verdict().resyncs, case.verdict().checked), (1, 2));
}

#[test]
fn a_resync_excuses_no_hole_before_it_and_nothing_after_it() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1, 3]);
    case.client.resync("gap", 200 * SECOND);
    assert_eq!(case.faults(), only(|it| it.lost = 1));
    case.ledger
        .send(0, CHANNEL, 201 * SECOND, Fate::Acknowledged(0));
    assert_eq!(case.faults(), only(|it| it.lost = 2));
}

#[test]
fn a_resync_within_the_window_is_false_unless_the_nemesis_has_made_it_so() {
    let mut case = resynced("gap");
    case.rules.window_ns = 300 * SECOND;
    assert_eq!(case.faults(), only(|it| it.false_resyncs = 1));
    let permit = |reason, from_ns, least_ns| Permit {
        from_ns,
        until_ns: u64::MAX,
        reasons: reason,
        least_ns,
    };
    case.rules.permits = vec![
        permit(&["evicted"], 0, 0),
        permit(&["gap"], 204 * SECOND, 0),
        permit(&["gap"], 0, 203 * SECOND),
    ];
    assert_eq!(case.faults(), only(|it| it.false_resyncs = 1));
    case.rules
        .permits
        .push(permit(&["gap"], 100 * SECOND, 202 * SECOND));
    assert_eq!(case.faults(), Faults::default());
}

#[test]
fn what_comes_again_after_a_resync_is_shown_and_no_fault() {
    let mut case = Case::new();
    for _ in 0..2 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1, 2]);
    case.client.resync("cursor_expired", 200 * SECOND);
    case.receive(&[2]);
    let verdict = case.verdict();
    assert_eq!(verdict.faults, Faults::default());
    assert_eq!(verdict.repeated_after_resync, 1);
    case.receive(&[2]);
    assert_eq!(case.faults(), only(|it| it.duplicated = 1));
}

#[test]
fn an_event_before_the_notice_is_untold() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.client.closed(true, 0);
    case.client.opened(true);
    case.client.welcomed("resync", 200 * SECOND);
    case.receive(&[1]);
    assert_eq!(case.faults(), only(|it| it.untold = 1));
}

#[test]
fn a_cursor_that_is_passed_over_without_a_word_is_a_false_resync() {
    let mut case = Case::new();
    case.client.closed(true, 0);
    case.client.opened(true);
    case.client.welcomed("fresh", SECOND);
    assert_eq!(case.faults(), only(|it| it.false_resyncs = 1));
}

#[test]
fn a_resumed_client_is_owed_what_it_missed_and_one_that_stays_away_is_missed() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1]);
    case.client.closed(false, SECOND);
    let lost_and_away = only(|it| (it.lost, it.never_back) = (2, 1));
    assert_eq!(case.faults(), lost_and_away);
    case.client.opened(true);
    case.client.welcomed("resumed", 2 * SECOND);
    case.receive(&[2, 3]);
    assert_eq!(case.faults(), Faults::default());
}

#[test]
fn one_that_has_stopped_reading_for_good_is_owed_no_more_than_it_took() {
    let mut case = Case::new();
    for _ in 0..4 {
        case.sent(0, CHANNEL);
    }
    case.client.gone = true;
    case.receive(&[1, 3]);
    assert_eq!(case.faults(), only(|it| it.lost = 1));
}

#[test]
fn a_subscription_that_was_never_acknowledged_is_a_fault() {
    let mut case = Case::new();
    case.client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
    case.client.welcomed("fresh", 0);
    assert_eq!(case.faults(), only(|it| it.never_subscribed = 1));
}

#[test]
fn a_packet_that_dismisses_is_a_fault() {
    let mut case = Case::new();
    case.client
        .offend(|| "DISCONNECT".to_owned(), |it| it.dismissed += 1);
    assert_eq!(case.faults(), only(|it| it.dismissed = 1));
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
    case.client.welcomed("resumed", 3 * SECOND);
    case.receive(&[2, 3, 4]);
    let (stamp, room) = case.stamp(5);
    case.client.received(&stamp, Some(room), 6 * SECOND);
    case.client.first_after.push((2, 6 * SECOND));
    case.client.catch_up(5 * SECOND, 6 * SECOND);
    case.client.catch_up(5 * SECOND, 7 * SECOND);
    case.receive(&[6, 7, 8, 9]);
    let verdict = case.verdict();
    assert_eq!(verdict.faults, Faults::default());
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
