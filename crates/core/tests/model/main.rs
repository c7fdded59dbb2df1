//! The real hub against a model of the world: several instances with clocks of their own read the same log in different
//! interleavings, stall, lose contact, restart, run out of space and find new partitions at different times, while clients
//! read slowly, join and leave rooms, are cut off and come back to any of them. Each record of a client's rooms must arrive
//! exactly once, or the client must have been resynced. Of class `latest` the newest of each key must arrive, never an older
//! one behind it, and a client that asks for a snapshot must get all of it.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "offsets and partitions of the model are small numbers"
)]

mod client;
mod log;
mod newest;
mod pipe;
mod world;

use world::{ModelOutcome, World};

fn play(seeds: std::ops::Range<u64>) -> ModelOutcome {
    let mut total = ModelOutcome::default();
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.settle();
        total.received += world.outcome.received;
        total.resumed += world.outcome.resumed;
        total.resyncs += world.outcome.resyncs;
        total.refused += world.outcome.refused;
        total.slowed += world.outcome.slowed;
        total.joined += world.outcome.joined;
        total.left += world.outcome.left;
        total.asked += world.outcome.asked;
        total.given += world.outcome.given;
        total.conflated += world.outcome.conflated;
        total.unknown += world.outcome.unknown;
        total.not_found += world.outcome.not_found;
        total.stale += world.outcome.stale;
        total.outages += world.outcome.outages;
        total.gaps += world.outcome.gaps;
        total.limited += world.outcome.limited;
        total.learned += world.outcome.learned;
        for (reason, count) in world.outcome.by_reason {
            *total.by_reason.entry(reason).or_default() += count;
        }
    }
    total
}

#[test]
fn each_record_arrives_once_or_the_client_is_resynced() {
    let total = play(0..300);
    // The model must have exercised what it claims to check.
    assert!(total.received > 40_000, "{total:?}");
    assert!(total.resumed > 10_000, "{total:?}");
    assert!(total.refused > 200 && total.resyncs > 1_000, "{total:?}");
    assert!(total.slowed > 300, "{total:?}");
    assert!(total.joined > 1_000 && total.left > 1_000, "{total:?}");
    assert!(total.asked > 1_000 && total.given > 3_000, "{total:?}");
    assert!(total.conflated > 300, "{total:?}");
    assert!(total.unknown > 30 && total.not_found > 10, "{total:?}");
    assert!(total.stale > 500 && total.outages > 100, "{total:?}");
    assert!(total.limited > 1_000, "{total:?}");
    assert!(total.learned > 300 && total.gaps > 300, "{total:?}");
    assert!(
        total.refused * 4 < total.resumed,
        "most cursors can be resumed: {total:?}"
    );
}

/// Ten times as many where the compiler has optimised: that takes two minutes.
const MANY: std::ops::Range<u64> = 300..if cfg!(debug_assertions) { 900 } else { 6_000 };

#[test]
#[ignore = "takes long"]
fn each_record_arrives_once_in_many_more_worlds() {
    let fails = |seed: &u64| std::panic::catch_unwind(|| play(*seed..*seed + 1)).is_err();
    let failed: Vec<_> = MANY.filter(fails).collect();
    assert!(failed.is_empty(), "seeds {failed:?}");
}
