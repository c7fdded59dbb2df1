//! What only a real broker does.

use rdkafka::producer::{FutureRecord, Producer};
use serde_json::json;

use crate::harness::{
    Client, Kafka, Proxy, SOON, Stream, Tally, TestApp, auth, eventually, record, transmission,
};

#[tokio::test]
#[ignore = "real Kafka"]
async fn new_partitions_are_read_from_their_beginning() {
    let kafka = Kafka::real(&[("transmission", 2)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut tally = Tally::default();
    kafka.grow_topic("transmission", 5).await;
    let begin = tokio::time::Instant::now();
    Stream::new(&kafka, 5, 50).produce(&kafka, 100).await;
    client.read_until(&mut tally, 100).await;
    assert!(begin.elapsed().as_secs() < 30);
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn transactions_are_delivered_when_they_are_committed() {
    let kafka = Kafka::real(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let producer = kafka.transactional();
    let topic = kafka.topic("transmission");
    let mut number = 0;
    for (size, commit) in [(3, true), (3, false), (2, true), (1, false), (4, true)] {
        producer.begin_transaction().unwrap();
        for offset in 0..size {
            // What is aborted would be out of order.
            let number = if commit { number + offset } else { 1000 };
            let value = transmission("o1", "7", 0, number, "").to_string();
            let record = FutureRecord::<(), String>::to(&topic).payload(&value);
            producer
                .send(record, SOON)
                .await
                .map_err(|(error, _)| error)
                .unwrap();
        }
        if commit {
            producer.commit_transaction(SOON).unwrap();
            number += size;
        } else {
            producer.abort_transaction(SOON).unwrap();
        }
    }
    let mut tally = Tally::default();
    client.read_until(&mut tally, 9).await;
    let before = client.cursor();
    client.cut();
    // Control records are no hole: a resume behind them works.
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(before);
    let mut client = Client::connect(app.public, &resume).await;
    assert_eq!(client.welcome["resume"], "resumed");
    kafka
        .produce("transmission", transmission("o1", "7", 0, 9, ""))
        .await;
    client.read_until(&mut tally, 10).await;
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn records_deleted_before_they_were_read_cause_a_resync() {
    let kafka = Kafka::real(&[("transmission", 1)]).await;
    let wire = Proxy::to_broker(&kafka.address).await;
    let address = wire.address.to_string();
    let app = TestApp::start_with(&kafka, &[("KAFKA_BOOTSTRAP_SERVERS", &address)]).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 1, 50);
    stream.produce(&kafka, 5).await;
    client.read_until(&mut Tally::default(), 5).await;
    let before = client.cursor();
    wire.cut();
    app.wait_for_status("degraded").await;
    client.expect("stale").await;
    stream.produce(&kafka, 10).await;
    kafka.delete_records("transmission", 12).await;
    wire.restore();
    let mut told = false;
    for expected in 12..15 {
        loop {
            let event = client.record().await;
            match event.name.as_str() {
                "stale" => {}
                "resync_required" => {
                    assert_eq!(event.args[0]["data"]["reason"], "gap", "{event:?}");
                    told = true;
                }
                _ => {
                    assert!(told, "before the next live event");
                    assert_eq!(event.args[0]["data"]["n"], expected);
                    break;
                }
            }
        }
    }
    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(before);
    let mut late = Client::connect(app.public, &resume).await;
    assert_eq!(late.welcome["resume"], "resync");
    late.expect("resync_required").await;
}

/// Deleted and absent for a while, with more records afterwards than before.
#[tokio::test]
#[ignore = "real Kafka"]
async fn a_topic_recreated_later_causes_a_resync_and_is_read() {
    recreated(30, true).await;
}

/// Recreated at once: its end lies below what was read.
#[tokio::test]
#[ignore = "real Kafka"]
async fn a_topic_recreated_at_once_causes_a_resync_and_is_read() {
    recreated(5, false).await;
}

async fn recreated(records: usize, absent_for_a_while: bool) {
    let mut kafka = Kafka::real(&[("incident", 1), ("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let mut stream = Stream::new(&kafka, 1, 50);
    stream.produce(&kafka, 20).await;
    client.read_until(&mut Tally::default(), 20).await;
    let before = client.cursor();
    kafka.delete_topic("transmission").await;
    if absent_for_a_while {
        let topic = json!(kafka.topic("transmission"));
        eventually("it is missed", async || {
            let stats = app.get("/stats").await.json();
            let missing = stats["kafka"]["missing_topics"].as_array()?.clone();
            missing.contains(&topic).then_some(())
        })
        .await;
        client.expect("resync_required").await;
    }
    kafka.create_topic("transmission", 1).await;
    Stream::new(&kafka, 1, 50).produce(&kafka, records).await;
    if !absent_for_a_while {
        client.expect("resync_required").await;
    }
    client.read_until(&mut Tally::default(), records).await;

    let mut resume = auth("u1", "o1", &["channel:7"]);
    resume["cursor"] = json!(before);
    let mut late = Client::connect(app.public, &resume).await;
    assert_eq!(late.welcome["resume"], "resync");
    late.expect("resync_required").await;
    kafka
        .produce("incident", record("incident_created", "o1", &json!({})))
        .await;
    late.expect("incident_created").await;
}

/// Recreated at once, and longer than what was read of the old one before the next look: only its id tells.
#[tokio::test]
#[ignore = "real Kafka"]
async fn a_recreated_topic_that_outgrows_the_old_one_loses_nothing_in_silence() {
    let mut kafka = Kafka::real(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    Stream::new(&kafka, 1, 50).produce(&kafka, 10).await;
    client.read_until(&mut Tally::default(), 10).await;
    let before = client.cursor();

    kafka.delete_topic("transmission").await;
    kafka.create_topic("transmission", 1).await;
    Stream::new(&kafka, 1, 50).produce(&kafka, 300).await;
    // Whatever came of it under the old position came before the notice; behind it everything comes.
    let event = loop {
        let event = client.record().await;
        if event.name != "transmission_started" {
            break event;
        }
    };
    assert_eq!(event.name, "resync_required", "{event:?}");
    assert_eq!(event.args[0]["data"]["reason"], "topic_recreated");
    client.read_until(&mut Tally::default(), 300).await;

    // The old cursor is below the end of the new log. Neither who saw the change resumes it, nor who started afterwards.
    let other = TestApp::start(&kafka).await;
    let mut resume = auth("u1", "o1", &["channel:7"]);
    for app in [&app, &other] {
        resume["cursor"] = json!(before);
        let mut late = Client::connect(app.public, &resume).await;
        assert_eq!(late.welcome["resume"], "resync");
        let event = late.expect("resync_required").await;
        assert_eq!(event.args[0]["data"]["reason"], "topic_recreated");
        // And one of the new topic is good on both.
        resume["cursor"] = json!(client.cursor());
        let back = Client::connect(app.public, &resume).await;
        assert_eq!(back.welcome["resume"], "resumed");
    }
    let ids = other.get("/ready").await.json()["components"]["topic_ids"].clone();
    assert_eq!(ids, json!({ "status": "ok" }));
}
