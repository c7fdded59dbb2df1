//! Topics that are deleted and recreated at once, which only their ids tell.

use std::time::Duration;

use super::real::{Real, unique};
use super::rig::{KafkaRig, named, produce, values};

#[test]
#[ignore = "real Kafka"]
fn ids_are_learned_at_the_start_without_delaying_the_reader() {
    let real = Real::connect();
    let topic = unique("known");
    real.create(&topic, 3);
    let mut rig = KafkaRig::start(&real.settings(), &[&topic]);
    rig.until("ids", |rig| {
        rig.indexes.len() == 3 && rig.indexes.values().all(|seen| seen.topic_id.is_some())
    });
    let first = rig.indexes[&0].topic_id;
    assert!(rig.indexes.values().all(|seen| seen.topic_id == first));
    rig.until("shown", |rig| rig.status().unidentified.is_empty());
}

/// The new log is longer than what was read of the old one, so that no offset tells.
#[test]
#[ignore = "real Kafka"]
fn a_recreated_topic_that_outgrows_the_old_one_is_read_from_its_beginning() {
    let real = Real::connect();
    let topic = unique("outgrown");
    real.create(&topic, 2);
    produce(&real.producer(), &topic, 0, &values("first", 10));
    let mut settings = real.settings();
    // No look falls between deletion and growth: only the question for ids finds out.
    settings.intervals.look = Duration::from_secs(4);
    settings.intervals.retry = Duration::from_secs(4);
    let mut rig = KafkaRig::start(&settings, &[&topic]);
    rig.until("caught up", |rig| rig.status().caught_up);
    rig.until("ids", |rig| {
        rig.indexes.values().all(|seen| seen.topic_id.is_some())
    });
    real.delete(&topic);
    real.create(&topic, 2);
    let second = values("second", 200);
    produce(&real.producer(), &topic, 0, &second);
    rig.until("the new log", |rig| {
        let recreated = |seen: &super::rig::SeenPartition| !seen.deleted && seen.values == second;
        rig.indexes.values().any(recreated)
    });
    let old: Vec<_> = rig.indexes.values().filter(|seen| seen.deleted).collect();
    let new: Vec<_> = rig.indexes.values().filter(|seen| !seen.deleted).collect();
    assert_eq!((old.len(), new.len()), (2, 2));
    assert!(new.iter().all(|seen| seen.start == 0));
    assert!(new.iter().all(|seen| seen.topic_id != old[0].topic_id));
}

#[test]
#[ignore = "real Kafka"]
fn a_topic_that_is_routed_again_continues_where_it_stopped_on_kafka() {
    let real = Real::connect();
    let (kept, other) = (unique("kept"), unique("other"));
    real.create(&kept, 1);
    real.create(&other, 1);
    let producer = real.producer();
    let mut all = values("before", 5);
    produce(&producer, &other, 0, &all);
    let mut rig = KafkaRig::start(&real.settings(), &[&kept, &other]);
    rig.until("caught up", |rig| rig.status().caught_up);
    rig.handle.set_topics(named(&[&kept]));
    rig.until("let go", |rig| {
        rig.indexes.values().any(|seen| seen.unwanted)
    });
    // Written while no route wanted it, and young enough to be in the window.
    let meanwhile = values("meanwhile", 5);
    produce(&producer, &other, 0, &meanwhile);
    produce(&producer, &kept, 0, &values("kept", 1));
    rig.until("the other goes on", |rig| rig.values(&kept).len() == 1);
    rig.handle.set_topics(named(&[&kept, &other]));
    all.extend(meanwhile);
    rig.until("all, once", |rig| rig.has_exactly(&other, &all));
    assert_eq!(rig.indexes[&2].start, 5);
    assert_eq!(rig.contacts, [true]);
}
