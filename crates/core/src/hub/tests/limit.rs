//! A limit of the window that is set while the hub runs.

use super::*;
use crate::domain::memory_limit::WindowLimit;
use crate::hub::window::OrganisationLog;

const SPARED_MS: u64 = 10_000;

impl Rig {
    /// Sets the limit, and leaves its visits to do.
    fn limit(&mut self, bytes: usize) {
        let kept_ms = SPARED_MS;
        self.hub.limit_window(WindowLimit { bytes, kept_ms });
    }

    /// The same, and does the visits.
    fn evict_to(&mut self, bytes: usize, kept_ms: u64) {
        self.hub.limit_window(WindowLimit { bytes, kept_ms });
        while self.hub.visit(1, self.now) {}
    }

    /// How many entries an organisation has in the window.
    fn entries_of(&self, organisation: &str) -> usize {
        let logs = self.hub.organisations.values();
        let mut of = logs.filter(|log| log.id == id(organisation));
        of.next().map_or(0, OrganisationLog::len)
    }

    fn entries(&self) -> usize {
        self.hub.statistics(self.now).window_entries
    }
}

#[test]
fn lower_limit_evicts_the_oldest_in_slices_and_clients_behind_it_are_resynced() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    rig.publish(0, "o1", &["1"]);
    client.read();
    let old = client.cursor.clone();
    for _ in 0..10_000 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.pass(SPARED_MS);
    rig.publish(0, "o1", &["1"]);
    assert_eq!(client.records().len(), 10_001, "the live are not concerned");
    let young = client.cursor.clone();
    rig.limit(1_000_000);
    let mut slices = vec![rig.entries()];
    while rig.hub.visit(1, rig.now) {
        slices.push(rig.entries());
    }
    let [all, first, .., last] = slices[..] else {
        panic!("{slices:?}")
    };
    assert_eq!((all, first), (10_002, 10_002 - 4_096));
    let left = rig.hub.statistics(rig.now);
    assert!(left.window_entries <= last && left.window_bytes <= 1_000_000);
    assert!(left.window_bytes > 900_000, "no more than it must");
    assert_eq!(left.window_limit, 1_000_000);
    assert_eq!(
        rig.inspect("o1", &old),
        Inspection::Resync(ResyncReason::Evicted)
    );
    assert!(matches!(rig.inspect("o1", &young), Inspection::Resume(_)));
    let mut late = rig.connect("o1", &["1"], Start::Fresh);
    rig.turns();
    let shorter = SPARED_MS / 1_000;
    assert_eq!(late.read(), [Welcome(Resumption::Fresh, shorter)]);
}

#[test]
fn a_lagging_connection_that_the_limit_passes_by_is_resynced_before_the_next_event() {
    let mut rig = Rig::new(1);
    let mut client = rig.live(&["1"]);
    client.set_capacity(0);
    for _ in 0..100 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.pass(SPARED_MS);
    rig.limit(0);
    while rig.hub.visit(1, rig.now) {}
    assert_eq!(rig.entries(), 0);
    client.set_capacity(NO_LIMIT);
    rig.ready(&client);
    rig.publish(0, "o1", &["1"]);
    let mut read = client.read();
    read.retain(|seen| *seen != Seen::Cursor);
    assert_eq!(read, [Seen::Resync(ResyncReason::Evicted), Record(0, 100)]);
}

#[test]
fn what_is_too_young_stays_until_it_is_older_and_costs_no_visit_meanwhile() {
    let mut rig = Rig::with_bytes(1, 200_000);
    rig.publish(0, "o1", &["1"]);
    rig.pass(5_000);
    for _ in 0..100 {
        rig.publish(0, "o1", &["1"]);
    }
    rig.limit(10_000);
    while rig.hub.visit(1, rig.now) {}
    assert_eq!(rig.entries(), 101);
    assert!(rig.hub.window_use(rig.now).is_at_minimum);
    rig.hub.apply(
        Feed::End {
            partition: 0,
            next: 101,
            asked: rig.now.wall,
        },
        rig.now,
    );
    rig.publish(0, "o1", &["1"]);
    assert!(!rig.hub.visits_waiting(), "it would find nothing");
    rig.pass(5_000);
    assert_eq!(rig.hub.window_use(rig.now).age_ms, 5_000);
    rig.pass(6_000);
    let left = rig.hub.window_use(rig.now);
    assert!(left.bytes <= 10_000 && !left.is_at_minimum, "{left:?}");
    // The cap of the settings spares nothing.
    for _ in 0..600 {
        rig.publish(0, "o1", &["1"]);
        assert!(rig.hub.window_use(rig.now).bytes <= 200_000);
    }
}

#[test]
fn window_stays_within_its_limit_as_more_comes_and_grows_again_when_it_may() {
    let mut rig = Rig::new(1);
    rig.limit(120_000);
    for _ in 0..60 {
        rig.pass(1_000);
        for _ in 0..10 {
            rig.publish(0, "o1", &["1"]);
            assert!(rig.hub.window_use(rig.now).bytes <= 120_000);
        }
    }
    let short = rig.hub.window_use(rig.now);
    assert!(short.age_ms >= SPARED_MS - 1_000, "{short:?}");
    rig.limit(NO_LIMIT);
    for _ in 0..30 {
        rig.pass(1_000);
        for _ in 0..10 {
            rig.publish(0, "o1", &["1"]);
        }
    }
    let grown = rig.hub.window_use(rig.now);
    assert_eq!(grown.age_ms, short.age_ms + 30_000);
}

/// Each has the same share of the limit, and what is over it is evicted: of the flood once its last seconds are not spared.
#[test]
fn a90_flood_of_one_organisation_costs_the_others_no_more_than_what_is_over_their_share() {
    // By the number of other organisations and of the entries of each: the limit, in entries, and what each keeps.
    for (others, each, limit, kept) in [
        (1, 40, 60, 30),
        (1, 20, 60, 20),
        (10, 10, 99, 9),
        (10, 10, 120, 10),
        (10, 10, 0, 0),
    ] {
        let case = format!("{others} with {each}, {limit} may stay");
        let mut rig = Rig::new(1);
        let names: Vec<String> = (0..others).map(|nth| format!("quiet{nth}")).collect();
        for name in names.iter().flat_map(|name| vec![name; each]) {
            rig.publish_sized(0, name, &["1"], 1_000);
        }
        let entry = rig.hub.window_use(rig.now).bytes / (others * each);
        rig.pass(30_000);
        for _ in 0..156 {
            rig.publish_sized(0, "flood1", &["1"], 1_000);
        }
        // Down to 63 of 64 parts of it; some entries take a few bytes more.
        let limit_bytes = (limit * entry + entry / 2) * 64 / 63;
        rig.evict_to(limit_bytes, SPARED_MS);
        for _ in 0..3 {
            for name in &names {
                assert_eq!(rig.entries_of(name), kept, "{case}");
            }
            assert_eq!(rig.entries_of("flood1"), 156, "{case}");
            assert!(rig.hub.window_use(rig.now).is_at_minimum, "{case}");
            rig.pass(1_000);
        }
        rig.evict_to(limit_bytes, 0);
        for name in &names {
            assert_eq!(rig.entries_of(name), kept, "{case}");
        }
        assert_eq!(rig.entries_of("flood1"), limit - others * kept, "{case}");
        assert!(!rig.hub.window_use(rig.now).is_at_minimum, "{case}");
    }
}
