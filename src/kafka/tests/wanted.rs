//! Which topics are read, by pattern and while running.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::{ConsumerSettings, TopicSelection};
use super::rig::{
    KafkaRig, MockBroker, STOP, beginning, mock_broker, named, produce, producer, values,
};

/// One partition of each.
fn with_topics(topics: &[&str]) -> (MockBroker, ConsumerSettings) {
    let topics: Vec<_> = topics.iter().map(|topic| (*topic, 1)).collect();
    mock_broker(&topics)
}

fn topics_of(rig: &KafkaRig) -> Vec<&str> {
    let read = rig.indexes.values().filter(|seen| !seen.unwanted);
    let mut topics: Vec<_> = read.map(|seen| seen.topic.as_str()).collect();
    topics.sort_unstable();
    topics
}

#[test]
fn topics_that_match_are_read_also_when_they_are_created_later() {
    let (cluster, settings) = with_topics(&["fleet-north", "other", "incident"]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "fleet-north", 0, &values("old", 3));
    let topics = TopicSelection {
        names: named(&["incident"]).names,
        ..beginning("fleet-")
    };
    let mut rig = KafkaRig::with_topics(&settings, topics, 64);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert_eq!(topics_of(&rig), ["fleet-north", "incident"]);
    assert!(rig.has_exactly("fleet-north", &values("old", 3)));

    cluster.create_topic("fleet-south", 1, 1).unwrap();
    produce(&producer, "fleet-south", 0, &values("new", 4));
    // `until` fails after 30 s, which is the promise.
    rig.until("from its beginning", |rig| {
        rig.has_exactly("fleet-south", &values("new", 4))
    });
    assert!(rig.status().missing.is_empty());
}

#[test]
fn the_selected_topics_change_while_running() {
    let (cluster, mut settings) = with_topics(&["fleet-north", "fleet-south", "incident", "task"]);
    // Only the change itself has the brokers asked.
    settings.intervals.look = Duration::from_mins(10);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    for topic in ["fleet-north", "fleet-south", "incident", "task"] {
        produce(&producer, topic, 0, &values(topic, 3));
    }
    let mut rig = KafkaRig::with_topics(&settings, beginning("fleet-n"), 64);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert_eq!(topics_of(&rig), ["fleet-north"]);

    rig.handle.set_topics(beginning("fleet-"));
    rig.until("one more", |rig| {
        topics_of(rig) == ["fleet-north", "fleet-south"]
    });
    let south = values("fleet-south", 3);
    rig.until("its records", |rig| rig.has_exactly("fleet-south", &south));
    rig.handle
        .set_topics(named(&["incident", "task", "nowhere"]));
    rig.until("others", |rig| topics_of(rig) == ["incident", "task"]);
    assert!(rig.has_exactly("fleet-south", &south));
    rig.until("records", |rig| {
        rig.has_exactly("incident", &values("incident", 3))
            && rig.has_exactly("task", &values("task", 3))
    });
    assert_eq!(rig.status().missing.len(), 1);
    // What is not wanted is neither deleted nor lost, and no client notices the change.
    assert!(rig.indexes.values().all(|seen| !seen.deleted));
    assert_eq!(rig.contacts, [true]);

    // And back again, without a record twice (`has_exactly` sees to it).
    rig.handle.set_topics(beginning("fleet-south"));
    produce(&producer, "fleet-south", 0, &values("more", 2));
    let all = [south, values("more", 2)].concat();
    rig.until("only what is new", |rig| {
        rig.has_exactly("fleet-south", &all)
    });
}

#[test]
fn topics_are_listed_once_a_second_and_a_request_waits_for_the_next_list() {
    let (cluster, mut settings) = with_topics(&["fleet-north"]);
    settings.intervals.look = Duration::from_mins(10);
    let listed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&listed);
    let topics = TopicSelection {
        names: Vec::new(),
        // Asked about every topic of every list.
        wanted: Some(Arc::new(move |topic| {
            seen.lock().unwrap().push(topic.to_owned());
            topic.starts_with("fleet-")
        })),
    };
    let mut rig = KafkaRig::with_topics(&settings, topics, 64);
    rig.until("caught up", |rig| rig.status().caught_up);
    listed.lock().unwrap().clear();
    let begin = Instant::now();
    for n in 0..5 {
        let new = format!("fleet-{n}");
        cluster.create_topic(&new, 1, 1).unwrap();
        assert!(rig.refreshed());
        assert!(listed.lock().unwrap().contains(&new), "{new}");
        let status = rig.status();
        assert!(status.partitions.iter().any(|known| *known.topic == new));
    }
    let listed = listed.lock().unwrap();
    let lists = listed
        .iter()
        .filter(|topic| *topic == "fleet-north")
        .count();
    let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
    assert!(lists <= seconds + 2, "{lists} lists in {seconds} s");
}

#[test]
fn brokers_without_topic_ids_delay_nothing() {
    let (_cluster, settings) = with_topics(&["incident"]);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert!(rig.indexes[&0].topic_id.is_none());
    let unidentified = &rig.status().unidentified;
    assert_eq!(unidentified.len(), 1);
    assert!(rig.stop() < STOP);
}
