use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::ReportKind::{Connected, Disconnected, UserOffline, UserOnline};
use super::*;

const DEBOUNCE: u64 = 10_000;

fn user(name: &str) -> ConnectedUser {
    ConnectedUser {
        organisation: Id::parse("o1").expect("an id"),
        user: UserId::parse(name).expect("a user"),
    }
}

fn at(monotonic: u64) -> ReportTime {
    ReportTime {
        monotonic,
        wall: 1_000_000 + monotonic,
    }
}

fn join(events: &mut ConnectionEvents, name: &str, id: &str, now: u64) -> Vec<ConnectionReport> {
    events.connected(&user(name), &id.into(), "websocket", at(now))
}

fn leave(events: &mut ConnectionEvents, name: &str, id: &str, now: u64) -> Vec<ConnectionReport> {
    events.disconnected(&user(name), id, CloseReason::ClientLeft, at(now))
}

/// Kind and connection of each.
fn short(reports: &[ConnectionReport]) -> Vec<(ReportKind, &str)> {
    let short = reports
        .iter()
        .map(|report| (report.kind, &*report.connection_id));
    short.collect()
}

#[test]
fn first_and_last_connection_make_a_user_online_and_offline() {
    let mut events = ConnectionEvents::new(DEBOUNCE, 100);
    let reports = join(&mut events, "u1", "a", 0);
    assert_eq!(short(&reports), [(Connected, "a"), (UserOnline, "a")]);
    let reports = join(&mut events, "u1", "b", 1);
    assert_eq!(short(&reports), [(Connected, "b")]);
    assert_eq!(leave(&mut events, "u1", "a", 2), []);
    assert_eq!(leave(&mut events, "u1", "b", 3), []);
    assert_eq!(leave(&mut events, "u1", "b", 3), [], "it has ended before");
    assert_eq!(events.due(DEBOUNCE + 1, 10), []);
    let reports = events.due(DEBOUNCE + 3, 10);
    let expected = [(Disconnected, "a"), (Disconnected, "b"), (UserOffline, "b")];
    assert_eq!(short(&reports), expected);
    let times: Vec<_> = reports.iter().map(|report| report.at - 1_000_000).collect();
    assert_eq!(times, [2, 3, 3], "when it happened");
    assert_eq!(reports[0].reason, Some(CloseReason::ClientLeft));
}

#[test]
fn a_reconnect_within_the_debounce_is_not_reported_and_keeps_the_id_that_was() {
    let mut events = ConnectionEvents::new(DEBOUNCE, 100);
    join(&mut events, "u1", "a", 0);
    leave(&mut events, "u1", "a", 100);
    let reports = join(&mut events, "u2", "z", 5_000);
    assert_eq!(
        short(&reports),
        [(Connected, "z"), (UserOnline, "z")],
        "another user"
    );
    assert_eq!(join(&mut events, "u1", "b", DEBOUNCE + 99), []);
    assert_eq!(events.due(u64::MAX, 10), []);
    leave(&mut events, "u1", "b", 50_000);
    let reports = events.due(50_000 + DEBOUNCE, 10);
    assert_eq!(short(&reports), [(Disconnected, "a"), (UserOffline, "a")]);
    assert_eq!(reports[0].at, 1_050_000);
    let reports = join(&mut events, "u1", "c", 60_001);
    assert_eq!(short(&reports), [(Connected, "c"), (UserOnline, "c")]);
}

#[test]
fn an_end_beyond_the_bound_has_the_oldest_reported_before_its_time() {
    let mut events = ConnectionEvents::new(DEBOUNCE, 2);
    for (name, id) in [("u1", "a"), ("u2", "b"), ("u3", "c")] {
        join(&mut events, name, id, 0);
    }
    assert_eq!(leave(&mut events, "u1", "a", 1), []);
    assert_eq!(leave(&mut events, "u2", "b", 2), []);
    let reports = leave(&mut events, "u3", "c", 3);
    assert_eq!(short(&reports), [(Disconnected, "a"), (UserOffline, "a")]);
    assert_eq!(events.held(), 2);
}

#[test]
fn an_instance_that_stops_reports_every_end() {
    let mut events = ConnectionEvents::new(DEBOUNCE, 100);
    for (name, id) in [("u1", "a"), ("u1", "b"), ("u2", "c"), ("u3", "d")] {
        join(&mut events, name, id, 0);
    }
    leave(&mut events, "u3", "d", 1);
    let reports = events.stop_holding();
    assert_eq!(short(&reports), [(Disconnected, "d"), (UserOffline, "d")]);
    let reports = leave(&mut events, "u2", "c", 2);
    assert_eq!(short(&reports), [(Disconnected, "c"), (UserOffline, "c")]);
    let reports = events.end_all(CloseReason::Draining, 7);
    let expected = [(Disconnected, "a"), (Disconnected, "b"), (UserOffline, "b")];
    assert_eq!(short(&reports), expected);
    assert_eq!(leave(&mut events, "u1", "a", 8), [], "it was reported");
}

/// What happens to the connections of one instance.
#[derive(Debug, Clone)]
enum ConnectionStep {
    Join(u8),
    /// One of those that are open.
    Leave(usize),
    Pass(u64),
    StopHolding,
}

fn step() -> impl Strategy<Value = ConnectionStep> {
    prop_oneof![
        6 => (0..4_u8).prop_map(ConnectionStep::Join),
        6 => any::<usize>().prop_map(ConnectionStep::Leave),
        4 => (0..DEBOUNCE * 3 / 2).prop_map(ConnectionStep::Pass),
        1 => Just(ConnectionStep::StopHolding),
    ]
}

/// A consumer of the reports, who trusts nothing.
#[derive(Default)]
struct Consumer {
    connected: BTreeMap<String, BTreeSet<String>>,
    online: BTreeSet<String>,
    ever: BTreeSet<String>,
    last: BTreeMap<String, u64>,
}

impl Consumer {
    fn take(&mut self, reports: Vec<ConnectionReport>) {
        for report in reports {
            let name = report.user.user.as_str().to_owned();
            let id = report.connection_id.to_string();
            let last = self.last.entry(name.clone()).or_default();
            assert!(report.at >= *last, "the order of their times");
            *last = report.at;
            let open = self.connected.entry(name.clone()).or_default();
            assert_eq!(
                report.reason.is_some(),
                matches!(report.kind, Disconnected | UserOffline)
            );
            match report.kind {
                Connected => {
                    assert!(
                        open.insert(id.clone()) && self.ever.insert(id),
                        "connected once"
                    );
                }
                Disconnected => assert!(open.remove(&id), "of one that is connected"),
                UserOnline => {
                    assert_eq!(open.len(), 1, "behind the first");
                    assert!(self.online.insert(name));
                }
                UserOffline => {
                    assert!(open.is_empty(), "behind the last");
                    assert!(self.online.remove(&name));
                }
            }
        }
        for (name, open) in &self.connected {
            assert_eq!(self.online.contains(name), !open.is_empty(), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn reports_are_consistent_whatever_happens(
        steps in proptest::collection::vec(step(), 0..200),
        debounce in prop_oneof![Just(0), Just(DEBOUNCE)],
        most_held in prop_oneof![Just(1_usize), Just(3), Just(1_000)],
    ) {
        let mut events = ConnectionEvents::new(debounce, most_held);
        let mut consumer = Consumer::default();
        let mut open: Vec<(String, String)> = Vec::new();
        let mut now = 1;
        for (nth, step) in steps.into_iter().enumerate() {
            match step {
                ConnectionStep::Join(who) => {
                    let (name, id) = (format!("u{who}"), format!("c{nth}"));
                    consumer.take(join(&mut events, &name, &id, now));
                    open.push((name, id));
                }
                ConnectionStep::Leave(which) if !open.is_empty() => {
                    let (name, id) = open.swap_remove(which % open.len());
                    consumer.take(leave(&mut events, &name, &id, now));
                }
                ConnectionStep::Leave(_) => {}
                ConnectionStep::Pass(time) => {
                    now += time;
                    consumer.take(events.due(now, usize::MAX));
                }
                ConnectionStep::StopHolding => {
                    consumer.take(events.stop_holding());
                    prop_assert_eq!(events.held(), 0);
                }
            }
            prop_assert!(events.held() <= most_held);
            for (name, _) in &open {
                prop_assert!(consumer.online.contains(name), "{} has a connection", name);
            }
            // As many are reported as there are, and those that are held.
            let reported: usize = consumer.connected.values().map(BTreeSet::len).sum();
            prop_assert_eq!(reported, open.len() + events.held());
        }
        consumer.take(events.due(now + DEBOUNCE, usize::MAX));
        prop_assert_eq!(events.held(), 0);
        for name in &consumer.online {
            prop_assert!(open.iter().any(|(of, _)| of == name), "{} has none", name);
        }
        consumer.take(events.end_all(CloseReason::Draining, 1_000_000 + now + DEBOUNCE));
        prop_assert!(consumer.online.is_empty());
        prop_assert!(events.users.is_empty() && events.held.is_empty());
    }
}
