//! `fleetcast check`, and what every tool says of brokers that do not answer.

use std::time::Duration;

use super::{code, contains, err, out, run, run_beside};
use crate::harness::{Kafka, SECRET};

#[test]
fn brokers_that_do_not_answer_are_reported_and_are_no_bad_settings() {
    let variables = [
        ("JWT_SECRET", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let begin = std::time::Instant::now();
    let output = run(&["check"], &variables, "");
    assert_eq!(code(&output), 1);
    assert!(begin.elapsed() < Duration::from_secs(15));
    contains(&out(&output), &["ok: the settings are complete"]);
    contains(&err(&output), &["no answer from 127.0.0.1:1 within 5 s"]);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "topics: [{name: a, partitions: 0}]").unwrap();
    let path = file.path().to_str().unwrap();
    let output = run(
        &["topics", "apply", "-f", path, "-b", "127.0.0.1:1"],
        &[],
        "",
    );
    assert_eq!(code(&output), 78);
    contains(&err(&output), &["partitions is 0", "nothing was done"]);
    std::fs::write(&file, "topics: [{name: a}]").unwrap();
    let output = run(
        &[
            "topics",
            "apply",
            "-f",
            path,
            "-b",
            "127.0.0.1:1",
            "--timeout",
            "500ms",
        ],
        &[],
        "",
    );
    assert_eq!(code(&output), 1, "{}", err(&output));
    let output = run(
        &[
            "produce",
            "-t",
            "a",
            "--value",
            "{}",
            "-b",
            "127.0.0.1:1",
            "--timeout",
            "500ms",
        ],
        &[],
        "",
    );
    assert_eq!(code(&output), 1);
    contains(
        &err(&output),
        &[
            "record 1 for a: not delivered in time",
            "no answer from 127.0.0.1:1 within 0.5 s",
        ],
    );
}

#[tokio::test]
async fn a_broker_that_cannot_make_topics_is_said_not_to_answer() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "topics: [{name: other, partitions: 1}]").unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = [
        "topics",
        "apply",
        "-f",
        path,
        "-b",
        &kafka.address,
        "--timeout",
        "1s",
    ]
    .map(str::to_owned);
    let output = run_beside(&arguments, &[]).await;
    assert_eq!(code(&output), 1, "{}", err(&output));
    contains(
        &out(&output),
        &["FAILED", "do not answer this request in time"],
    );
}

#[tokio::test]
async fn check_reports_which_topics_of_the_profile_kafka_has() {
    let kafka = Kafka::mock(&[("incident", 2), ("incidents", 1), ("alert", 3)]).await;
    let variables = [
        ("JWT_SECRET", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.address.as_str()),
        ("KAFKA_TOPIC_PREFIX", kafka.prefix()),
    ];
    let output = run_beside(&["check".to_owned()], &variables).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    let (incident, incidents) = (kafka.topic("incident"), kafka.topic("incidents"));
    contains(
        &out(&output),
        &[
            &format!("kafka: brokers {}; 3 topics", kafka.address),
            &format!("topic: {incident} (2 partitions), {incidents} (1 partitions)"),
            &format!("warning: {incident} and {incidents} are names of one topic"),
            &format!("missing: no topic is called {} or", kafka.topic("task")),
            "3 of the profile's topics do not exist",
        ],
    );
}

#[tokio::test]
async fn check_fails_where_the_server_would_wait_for_a_topic_of_its_own() {
    let kafka = Kafka::mock(&[("incident", 1), ("revoked", 1)]).await;
    let topics = ["granted", "revoked", "publish", "receipts"].map(|name| kafka.topic(name));
    let [granted, revoked, publish, receipts] = &topics;
    let check = async |more: &[(&str, &str)]| {
        let mut variables = vec![
            ("JWT_SECRET", SECRET),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.address.as_str()),
            ("KAFKA_TOPIC_PREFIX", kafka.prefix()),
            ("REVOCATIONS_TOPIC", revoked.as_str()),
            ("PUBLISH_TOPIC", publish.as_str()),
            ("RECEIPTS_TOPIC", receipts.as_str()),
        ];
        variables.extend(more);
        run_beside(&["check".to_owned()], &variables).await
    };
    let output = check(&[]).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    contains(
        &out(&output),
        &[
            &format!("service topic: {revoked} (REVOCATIONS_TOPIC, 1 partitions)"),
            &format!("warning: no topic is called {publish} (PUBLISH_TOPIC): nothing can be"),
            &format!("warning: no topic is called {receipts} (RECEIPTS_TOPIC): its records are"),
        ],
    );

    let grants = ("GRANTS_TOPIC", granted.as_str());
    let output = check(&[grants]).await;
    assert_eq!(code(&output), 1, "{}", out(&output));
    contains(
        &out(&output),
        &[
            &format!("missing: no topic is called {granted} (GRANTS_TOPIC): the server admits no"),
            "`fleetcast topics apply` or KAFKA_CREATE_TOPICS=true makes it",
        ],
    );

    let output = check(&[grants, ("KAFKA_CREATE_TOPICS", "true")]).await;
    assert_eq!(code(&output), 0, "{}", out(&output));
    let made = format!("{granted} (GRANTS_TOPIC) does not exist: the start makes it");
    contains(&out(&output), &[&made]);
}
