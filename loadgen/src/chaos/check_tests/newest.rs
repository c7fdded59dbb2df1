//! Class `latest`: in the end a client has the newest of each key.

use super::super::ledger::Fate;
use super::super::verdict::ChaosFaults;
use super::{Case, POSITIONS, SECOND, WINDOW, only};

/// A client that follows positions from the start, and records 1 to `count` of a key in partition 0.
fn case(count: usize) -> Case {
    let mut case = Case::new();
    case.client.asked(POSITIONS, true);
    case.client.subscribed(POSITIONS, 0);
    for _ in 0..count {
        case.moved(0, 7);
    }
    case
}

impl Case {
    fn shown(&mut self, key: u32, numbers: &[usize]) {
        for number in numbers {
            let (stamp, room) = self.stamp(*number);
            self.client.moved(&stamp, key, Some(room), stamp.sent_ns);
        }
    }

    fn back(&mut self, resume: &str) {
        self.client.closed(true, SECOND);
        self.client.opened(true);
        self.client.welcomed(resume, WINDOW, 2 * SECOND);
    }
}

#[test]
fn older_ones_may_be_skipped_and_the_newest_may_not() {
    for (shown, stale) in [
        (&[1, 2, 3][..], 0),
        (&[3], 0),
        (&[1, 3], 0),
        (&[1, 2], 1),
        (&[], 1),
    ] {
        let mut case = case(3);
        case.shown(7, shown);
        let verdict = case.verdict();
        assert_eq!(verdict.faults, only(|it| it.stale = stale), "{shown:?}");
        assert_eq!(verdict.checked, 1);
    }
}

#[test]
fn each_key_is_looked_at() {
    let mut case = case(2);
    case.moved(1, 8);
    case.moved(1, 9);
    case.shown(7, &[2]);
    case.shown(9, &[4]);
    assert_eq!(case.faults(), only(|it| it.stale = 1));
    assert!(case.verdict().samples[0].contains("of key 8 it was given None"));
}

#[test]
fn an_older_one_behind_a_newer_one_is_disorder_until_the_client_is_resumed() {
    let mut live = case(3);
    live.shown(7, &[1, 3, 3]);
    assert_eq!(
        live.faults(),
        ChaosFaults::default(),
        "a repeat does no harm"
    );
    live.shown(7, &[2]);
    assert_eq!(live.faults(), only(|it| (it.reordered, it.stale) = (1, 1)));

    let mut resumed = case(3);
    resumed.shown(7, &[3]);
    resumed.back("resumed");
    resumed.shown(7, &[2]);
    assert_eq!(
        resumed.faults(),
        only(|it| it.stale = 1),
        "not the last word"
    );
    resumed.shown(7, &[3]);
    assert_eq!(resumed.faults(), ChaosFaults::default());
}

#[test]
fn what_was_sent_before_the_subscription_or_a_resync_is_not_owed() {
    let mut late = Case::new();
    late.moved(0, 7);
    late.client.asked(POSITIONS, true);
    late.client.subscribed(POSITIONS, SECOND);
    assert_eq!(late.faults(), ChaosFaults::default());
    late.moved(0, 7);
    assert_eq!(late.faults(), only(|it| it.stale = 1));

    let mut resynced = case(2);
    resynced.back("resync");
    resynced
        .client
        .resync("cursor_expired", 2 * SECOND + WINDOW);
    assert_eq!(resynced.faults(), ChaosFaults::default());
}

#[test]
fn what_was_never_acknowledged_may_come_or_not() {
    let mut case = case(1);
    let at = case
        .ledger
        .send_latest(0, POSITIONS, 7, 2 * SECOND, Fate::Unknown);
    case.sent.push((0, POSITIONS, at.0, at.1));
    case.shown(7, &[1]);
    assert_eq!(case.faults(), ChaosFaults::default());
    case.shown(7, &[2]);
    assert_eq!(case.faults(), ChaosFaults::default());
}

#[test]
fn a_position_of_another_or_unknown_key_is_a_fault() {
    let mut case = case(1);
    case.shown(7, &[1]);
    let (stamp, room) = case.stamp(1);
    let foreign = super::super::record::Stamp {
        organisation: "lg1",
        ..stamp
    };
    case.client.moved(&foreign, 7, Some(room), 0);
    case.client.moved(&stamp, 7, Some(room + 1), 0);
    assert_eq!(
        case.faults(),
        only(|it| (it.leaked, it.unexpected) = (1, 1))
    );
    case.client.moved(&stamp, 8, Some(room), 0);
    assert_eq!(
        case.faults(),
        only(|it| (it.leaked, it.unexpected) = (1, 2))
    );
}
