//! From when on, and up to when, a client is owed what.

use super::super::history::ClientHistory;
use super::super::ledger::Fate;
use super::super::verdict::{ChaosFaults, Permit};
use super::{CHANNEL, Case, OWN, SECOND, WINDOW, only};

#[test]
fn what_was_sent_before_the_subscription_may_come_but_then_without_a_hole() {
    let late = |received: &[usize]| {
        let mut case = Case::new();
        case.client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
        case.client.welcomed("fresh", WINDOW, 0);
        for _ in 0..4 {
            case.sent(0, CHANNEL);
        }
        case.client.subscribed(CHANNEL, 3 * SECOND);
        case.receive(received);
        case.faults()
    };
    assert_eq!(late(&[4]), ChaosFaults::default());
    assert_eq!(late(&[2, 3, 4]), ChaosFaults::default());
    assert_eq!(late(&[2, 4]), only(|it| it.lost = 1));
    assert_eq!(late(&[]), only(|it| it.lost = 1));
}

#[test]
fn events_may_come_before_the_acknowledgement_of_their_subscription() {
    let mut case = Case::new();
    case.client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
    case.client.welcomed("fresh", WINDOW, 0);
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
    assert_eq!(case.faults(), ChaosFaults::default());
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
    assert_eq!(case.faults(), ChaosFaults::default());
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
    assert_eq!(case.faults(), ChaosFaults::default());
}

/// Received 1, missed 2 and 3, was notified at second 203, goes on with 4.
fn resynced(reason: &str) -> Case {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sent(0, CHANNEL);
    }
    case.receive(&[1]);
    case.client.closed(true, SECOND);
    case.client.opened(true);
    case.client.welcomed("resync", WINDOW, 203 * SECOND);
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
    assert_eq!(case.faults(), ChaosFaults::default());
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
    for (_, announced_ns) in &mut case.client.windows {
        *announced_ns = 300 * SECOND;
    }
    assert_eq!(case.faults(), only(|it| it.false_resyncs = 1));
    let permit = |reason, from_ns, least_ns| Permit {
        organisation: None,
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
    assert_eq!(case.faults(), ChaosFaults::default());
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
    assert_eq!(verdict.faults, ChaosFaults::default());
    assert_eq!(verdict.repeated_after_resync, 1);
    case.receive(&[2]);
    assert_eq!(case.faults(), only(|it| it.duplicated = 1));
}

#[test]
fn an_event_before_resync_required_is_unannounced() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.client.closed(true, 0);
    case.client.opened(true);
    case.client.welcomed("resync", WINDOW, 200 * SECOND);
    case.receive(&[1]);
    assert_eq!(case.faults(), only(|it| it.unannounced = 1));
}

#[test]
fn an_event_before_the_welcome_of_its_connection_is_unannounced() {
    let mut case = Case::new();
    case.sent(0, CHANNEL);
    case.sent(0, CHANNEL);
    case.client.closed(true, 0);
    case.client.opened(true);
    case.receive(&[1]);
    case.client.welcomed("resumed", WINDOW, SECOND);
    case.receive(&[2]);
    assert_eq!(case.faults(), only(|it| it.unannounced = 1));
}

#[test]
fn a_cursor_that_is_passed_over_without_a_word_is_a_false_resync() {
    let mut case = Case::new();
    case.client.closed(true, 0);
    case.client.opened(true);
    case.client.welcomed("fresh", WINDOW, SECOND);
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
    case.client.welcomed("resumed", WINDOW, 2 * SECOND);
    case.receive(&[2, 3]);
    assert_eq!(case.faults(), ChaosFaults::default());
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
