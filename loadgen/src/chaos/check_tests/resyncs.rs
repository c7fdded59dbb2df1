//! What servers may say of the window that has too few bytes.

use super::super::verdict::{ChaosFaults, Permit};
use super::{CHANNEL, Case, SECOND, WINDOW, only};

const LEAST: u64 = 6 * SECOND;

/// A client of `lg0` that had everything up to second 20 and receives `resync_required` (`evicted`) `missed` seconds later. The welcome says
/// that the window is 5 seconds.
fn evicted(missed: u64) -> Case {
    let mut case = Case::new();
    for _ in 0..20 {
        case.sent(0, CHANNEL);
    }
    case.receive(&(1..=20).collect::<Vec<_>>());
    case.rules.permits = vec![Permit {
        organisation: None,
        from_ns: 0,
        until_ns: u64::MAX,
        reasons: &["evicted"],
        least_ns: LEAST,
    }];
    case.client.closed(true, 20 * SECOND);
    case.client.opened(true);
    let at = (20 + missed) * SECOND;
    case.client.welcomed("resync", 5 * SECOND, at);
    case.client.resync("evicted", at);
    case
}

#[test]
fn a_client_that_missed_less_than_the_window_holds_must_be_resumed() {
    assert_eq!(evicted(6).faults(), ChaosFaults::default());
    assert_eq!(evicted(5).faults(), only(|it| it.false_resyncs = 1));
}

#[test]
fn what_a_server_was_behind_by_comes_on_top() {
    // Sent at second 18 and there at second 21: the cursor of second 20 may have been from before that.
    let behind = |sent, came| {
        let mut case = evicted(5);
        case.client.late.note(sent * SECOND, came * SECOND);
        case.faults()
    };
    assert_eq!(behind(18, 21), ChaosFaults::default());
    assert_eq!(
        behind(18, 19),
        only(|it| it.false_resyncs = 1),
        "long before"
    );
    assert_eq!(behind(21, 24), only(|it| it.false_resyncs = 1), "after it");
    // The other server read what was sent at second 19 only when it had read what was sent at second 14.
    let mut case = evicted(3);
    case.client.late.note(19 * SECOND, 21 * SECOND);
    assert_eq!(
        case.faults(),
        only(|it| (it.false_resyncs, it.wrong_window) = (1, 1))
    );
    case.client.late.note(14 * SECOND, 20 * SECOND);
    assert_eq!(case.faults(), only(|it| it.wrong_window = 1));
}

#[test]
fn only_connected_clients_show_that_a_server_was_behind() {
    let mut case = Case::new();
    case.client.took(SECOND, 4 * SECOND);
    assert_eq!(case.client.late.reach(3 * SECOND), SECOND);
    let mut case = Case::new();
    case.client.closed(true, 0);
    case.client.welcomed("resumed", WINDOW, 3 * SECOND);
    case.client.took(SECOND, 4 * SECOND);
    assert_eq!(case.client.late.reach(3 * SECOND), 3 * SECOND);
}

#[test]
fn a_noisy_organisation_shortens_only_its_own_window() {
    for (whose, allowed) in [("lg0", true), ("lg1", false)] {
        let mut case = evicted(6);
        case.rules.permits[0].organisation = Some(whose.to_owned());
        let expected = only(|it| {
            it.false_resyncs = u64::from(!allowed);
            // A short one was announced.
            it.wrong_window = u64::from(!allowed);
        });
        assert_eq!(case.faults(), expected, "{whose}");
    }
}

#[test]
fn a_welcome_tells_the_window_that_there_is() {
    let announced = |window| {
        let mut case = evicted(6);
        let (at, _) = case.client.windows[1];
        case.client.windows[1] = (at, window);
        case.client.resyncs[0].promised_ns = Some(window);
        case.faults()
    };
    assert_eq!(announced(6 * SECOND), ChaosFaults::default());
    assert_eq!(
        announced(7 * SECOND),
        only(|it| it.wrong_window = 1),
        "it was evicted"
    );
    assert_eq!(
        announced(WINDOW),
        only(|it| it.wrong_window = 1),
        "as before"
    );
    assert_eq!(
        announced(WINDOW + SECOND),
        only(|it| it.wrong_window = 2),
        "too long"
    );
    let mut unsaid = Case::new();
    unsaid.client.windows[0].1 = 0;
    assert_eq!(unsaid.faults(), only(|it| it.wrong_window = 1));
}
