use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::super::OwnTopic;
use super::rig::{KafkaRig, SOON, STOP, eventually, mock_broker, produce, producer, values};

#[test]
fn existing_records_are_loaded_and_new_ones_follow_in_order() {
    let (cluster, settings) = mock_broker(&[("incident", 3), ("task", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let mut all = Vec::new();
    for partition in 0..3 {
        let old = values(&format!("old{partition}"), 50);
        produce(&producer, "incident", partition, &old);
        all.extend(old);
    }
    let mut rig = KafkaRig::start(&settings, &["incident", "task"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    assert!(rig.has_exactly("incident", &all));
    assert_eq!(rig.contacts, [true]);
    assert_eq!((rig.status().loaded, rig.status().to_load), (150, 150));
    // `task` is empty and has the same partition number: its end is its own.
    let task = rig
        .indexes
        .values()
        .find(|seen| seen.topic == "task")
        .unwrap();
    assert!(!task.ends.is_empty() && task.ends.iter().all(|end| *end == 0));

    let new = values("new", 20);
    produce(&producer, "incident", 1, &new);
    all.extend(new.clone());
    rig.until("live records", |rig| rig.has_exactly("incident", &all));
    let partition = rig
        .indexes
        .values()
        .find(|seen| (seen.topic.as_str(), seen.number) == ("incident", 1))
        .unwrap();
    assert_eq!(partition.values[50..], new);
    rig.until("no lag", |rig| {
        rig.status()
            .partitions
            .iter()
            .map(|partition| partition.position)
            .sum::<i64>()
            == 170
    });
    assert!(
        rig.status()
            .partitions
            .iter()
            .all(|partition| partition.lag == 0)
    );
    assert!(rig.stop() < STOP);
}

#[test]
fn invalid_records_do_not_stop_the_reader() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let mixed: Vec<String> = ["a", "poison", "b", "poison", "poison"]
        .map(str::to_owned)
        .into();
    produce(&producer, "incident", 0, &mixed);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    let seen = &rig.indexes[&0];
    assert_eq!(seen.values, ["a", "b"]);
    assert_eq!(seen.passed, [1, 3, 4]);
    assert_eq!(seen.ends.last(), Some(&5));
}

#[test]
fn a_record_has_its_key_headers_and_timestamp() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "a",
            value: Some("1"),
        })
        .insert(Header {
            key: "bytes",
            value: Some(b"\xff\0"),
        })
        .insert(Header {
            key: "empty",
            value: Some(""),
        })
        .insert(Header {
            key: "null",
            value: None::<&str>,
        })
        .insert(Header {
            key: "a",
            value: Some("2"),
        });
    let full = BaseRecord::to("incident")
        .partition(0)
        .key("k")
        .payload("v");
    let bare = BaseRecord::<(), str>::to("incident")
        .partition(0)
        .payload("");
    let tombstone = BaseRecord::<str, ()>::to("incident").partition(0).key("k");
    producer
        .send(full.timestamp(1_234_567_890_123).headers(headers))
        .unwrap();
    producer.send(bare.timestamp(77)).unwrap();
    producer.send(tombstone).unwrap();
    producer.flush(SOON).unwrap();
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    let seen = &rig.indexes[&0];
    assert_eq!(seen.values, ["v", ""]);
    assert_eq!(
        seen.others,
        [
            (
                Some(1_234_567_890_123),
                Some("k".to_owned()),
                r"a=1,bytes=\xff\x00,empty=,a=2".to_owned()
            ),
            (Some(77), None, String::new())
        ]
    );
    assert_eq!(rig.indexes[&0].passed.len(), 1, "the tombstone");
}

#[test]
fn a_topic_that_appears_later_is_read_from_its_beginning() {
    let (cluster, mut settings) = mock_broker(&[("incident", 1)]);
    // The regular look is far away: only asking for one finds the topic.
    settings.intervals.look = Duration::from_mins(10);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let mut rig = KafkaRig::start(&settings, &["incident", "task"]);
    rig.until("caught up without it", |rig| rig.status().caught_up);
    assert_eq!(rig.status().missing.len(), 1);

    cluster.create_topic("task", 2, 1).unwrap();
    let all = values("early", 10);
    produce(&producer, "task", 1, &all);
    assert!(rig.refreshed());
    rig.until("its partitions", |rig| rig.indexes.len() == 3);
    rig.until("its records", |rig| rig.has_exactly("task", &all));
    rig.until("none missing", |rig| rig.status().missing.is_empty());
    assert_eq!(rig.contacts, [true]);
}

#[test]
fn each_metadata_poll_confirms_the_end() {
    let (cluster, mut settings) = mock_broker(&[("incident", 1)]);
    settings.intervals.look = Duration::from_mins(10);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "incident", 0, &values("x", 3));
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    let before = rig.indexes[&0].ends.len();
    assert!(rig.refreshed());
    rig.until("an end more", |rig| rig.indexes[&0].ends.len() > before);
    assert_eq!(rig.indexes[&0].ends.last(), Some(&3));
}

#[test]
fn an_unreachable_broker_loses_contact_but_no_record() {
    let (cluster, settings) = mock_broker(&[("incident", 2)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let mut all = values("before", 10);
    produce(&producer, "incident", 0, &all);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);

    for (round, edges) in [
        (1, [true, false, true].as_slice()),
        (2, &[true, false, true, false, true]),
    ] {
        cluster.broker_down(-1).unwrap();
        rig.until("no contact", |rig| rig.contacts == edges[..edges.len() - 1]);
        rig.until("shown", |rig| !rig.status().contact);
        cluster.broker_up(-1).unwrap();
        let new = values(&format!("after{round}"), 10);
        produce(&producer, "incident", 1, &new);
        all.extend(new);
        rig.until("contact", |rig| rig.contacts == edges);
        rig.until("all", |rig| rig.has_exactly("incident", &all));
    }
    assert!(rig.status().caught_up);
    assert!(rig.status().last_error.is_some());
}

#[test]
fn the_reader_waits_for_a_broker_that_starts_later() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    cluster.broker_down(-1).unwrap();
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("an error", |rig| rig.status().last_error.is_some());
    assert!(rig.indexes.is_empty() && rig.contacts.is_empty() && !rig.status().caught_up);
    cluster.broker_up(-1).unwrap();
    rig.until("caught up", |rig| rig.status().caught_up);
    rig.until("contact", |rig| rig.contacts == [true]);
}

#[test]
fn shutdown_is_quick_when_the_broker_is_away() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    cluster.broker_down(-1).unwrap();
    rig.until("no contact", |rig| rig.contacts == [true, false]);
    let took = rig.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_full_feed_blocks_the_reader_and_loses_nothing() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let all = values("x", 3_000);
    produce(&producer, "incident", 0, &all);
    let mut rig = KafkaRig::with_feed_of(&settings, &["incident"], 1);
    let routed = Arc::clone(&rig.routed);
    eventually("the first records", || routed.load(Ordering::Relaxed) > 0);
    // One batch waits in the channel, one in the reader's hand.
    assert!(routed.load(Ordering::Relaxed) <= 3 * 256);
    rig.until("all", |rig| rig.has_exactly("incident", &all));

    // Held up again, it still ends at once.
    produce(&producer, "incident", 0, &values("y", 3_000));
    eventually("more records", || routed.load(Ordering::Relaxed) > 3_000);
    assert!(rig.stop() < STOP);
}

#[test]
fn a_stalled_client_is_recreated() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| {
        rig.status().caught_up && rig.contacts == [true]
    });
    // The metadata poller's questions are answered, every fetch fails in a way that librdkafka keeps to itself.
    let failures = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 100_000];
    cluster.request_errors(RDKafkaApiKey::Fetch, &failures);
    let all = values("x", 10);
    produce(&producer, "incident", 0, &all);
    rig.until("no contact", |rig| rig.contacts == [true, false]);
    rig.until("a new client", |rig| rig.status().restarts > 0);
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    rig.until("all", |rig| rig.has_exactly("incident", &all));
    rig.until("contact", |rig| rig.contacts == [true, false, true]);
}

#[test]
fn the_reader_ends_when_the_feed_is_dropped() {
    let (_cluster, settings) = mock_broker(&[("incident", 1)]);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("caught up", |rig| rig.status().caught_up);
    rig.drop_feed();
    rig.until("the end", KafkaRig::has_ended);
}

#[test]
fn a_log_that_was_truncated_and_has_grown_again_is_another_log() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "incident", 0, &values("old", 20));
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("read", |rig| {
        rig.status().caught_up && rig.values("incident").len() == 20
    });
    // By the time the metadata poller looks, the log reaches as far as before.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE];
    cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
    rig.until("another log", |rig| rig.indexes.len() == 2);
    assert!(rig.indexes[&0].truncated);
    assert_eq!(rig.indexes[&1].start, 20);
    produce(&producer, "incident", 0, &values("new", 5));
    rig.until("what comes then", |rig| {
        rig.indexes[&1].values == values("new", 5)
    });
}

#[test]
fn a_leader_change_loses_no_record() {
    let (cluster, settings) = mock_broker(&[("incident", 1)]);
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    let mut all = values("old", 20);
    produce(&producer, "incident", 0, &all);
    let mut rig = KafkaRig::start(&settings, &["incident"]);
    rig.until("read", |rig| {
        rig.status().caught_up && rig.values("incident").len() == 20
    });
    for (number, refused) in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ]
    .into_iter()
    .enumerate()
    {
        cluster.request_errors(RDKafkaApiKey::Fetch, &[refused; 3]);
        let new = values(&format!("new{number}"), 5);
        produce(&producer, "incident", 0, &new);
        all.extend(new);
        rig.until("all", |rig| rig.has_exactly("incident", &all));
    }
    let seen = &rig.indexes[&0];
    assert!(rig.indexes.len() == 1 && !seen.truncated && seen.gaps.is_empty());
    assert_eq!(rig.status().restarts, 0);
}

#[test]
fn a_topic_of_our_own_that_may_not_be_read_is_missing_and_all_else_goes_on() {
    let (cluster, mut settings) = mock_broker(&[("publish", 1)]);
    let own = OwnTopic {
        name: Arc::from("publish"),
        further: Duration::from_mins(5),
    };
    settings.own = Some(own.clone());
    let producer = producer(&cluster.bootstrap_servers(), &[]);
    produce(&producer, "publish", 0, &values("old", 3));
    let refused = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 100_000];
    cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
    let mut rig = KafkaRig::start(&settings, &["publish"]);
    rig.until("caught up without it", |rig| {
        rig.status().caught_up && rig.contacts == [true]
    });
    assert_eq!(rig.status().missing, [own.name]);
    assert!(rig.status().partitions.is_empty());
    assert!(rig.indexes.values().all(|seen| seen.unwanted));
    // Longer than a stall may last.
    let later = Instant::now() + settings.intervals.stall * 3 / 2;
    rig.until("no stall", |_| Instant::now() > later);
    assert_eq!((rig.status().restarts, &rig.contacts[..]), (1, &[true][..]));
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    rig.until("all of it", |rig| {
        rig.has_exactly("publish", &values("old", 3)) && rig.status().missing.is_empty()
    });
    rig.until("its end", |rig| {
        let status = rig.status();
        status.partitions.iter().all(|partition| partition.reached)
    });
    assert_eq!((rig.status().restarts, &rig.contacts[..]), (1, &[true][..]));
}
