//! `fleetcast topics apply`, against real brokers.

use super::{code, contains, err, out, run_beside};
use crate::harness::{Kafka, eventually};

#[tokio::test]
#[ignore = "real Kafka"]
async fn s0_09_topics_are_made_widened_and_set_and_never_shrunk() {
    let kafka = Kafka::real(&[]).await;
    let (events, alerts) = (kafka.topic("dept.1.events"), kafka.topic("system.alerts"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let apply = async |yaml: String, more: &[&str]| {
        std::fs::write(&file, yaml).unwrap();
        let mut arguments: Vec<String> = ["topics", "apply", "-f", &path, "-b", &kafka.address]
            .map(str::to_owned)
            .into();
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        run_beside(&arguments, &[]).await
    };
    let yaml = |partitions, retention| {
        format!(
            "topics:\n  - name: {events}\n    partitions: {partitions}\n    replication_factor: 1\n    config:\n      retention.ms: {retention}\n      cleanup.policy: delete\n  - name: {alerts}\n    partitions: 1\n    config: {{max.message.bytes: 2000000}}\n"
        )
    };
    let dry = apply(yaml(3, 604_800_000_u64), &["--dry-run"]).await;
    assert_eq!(code(&dry), 0, "{}{}", out(&dry), err(&dry));
    contains(
        &out(&dry),
        &["nothing was done", &format!("to create  {events}")],
    );
    let made = apply(yaml(3, 604_800_000), &[]).await;
    assert_eq!(code(&made), 0, "{}", out(&made));
    contains(
        &out(&made),
        &[
            "created ",
            "3 partitions; 1 replicas",
            "message.timestamp.type=LogAppendTime",
            "2 created",
        ],
    );
    eventually("the brokers know of it", async || {
        let again = apply(yaml(3, 604_800_000), &[]).await;
        (code(&again) == 0 && out(&again).contains("0 created, 0 changed, 2 unchanged"))
            .then_some(())
    })
    .await;
    let wider = apply(yaml(5, 3_600_000), &[]).await;
    assert_eq!(code(&wider), 0, "{}", out(&wider));
    contains(
        &out(&wider),
        &[
            "partitions 3 -> 5; retention.ms 604800000 -> 3600000",
            "1 changed, 1 unchanged",
        ],
    );
    eventually("it is as wide", async || {
        let again = apply(yaml(5, 3_600_000), &[]).await;
        out(&again).contains("2 unchanged").then_some(())
    })
    .await;
    // What the file does not name stays: the timestamps' type was set when the topic was made.
    let kept = format!(
        "topics: [{{name: {events}, config: {{message.timestamp.type: LogAppendTime, cleanup.policy: delete}}}}]"
    );
    contains(&out(&apply(kept, &[]).await), &["1 unchanged"]);
    let shrunk = apply(yaml(2, 3_600_000), &[]).await;
    assert_eq!(code(&shrunk), 1);
    contains(&out(&shrunk), &["REFUSED", "it has 5 partitions, not 2"]);
    for (wrong, words) in [
        ("retention.sm: 1", "the brokers know no retention.sm"),
        ("cleanup.policy: nonsense", "did not take it"),
        ("retention.ms: soon", "did not take it"),
    ] {
        let yaml = format!("topics: [{{name: {events}, config: {{{wrong}}}}}]");
        let output = apply(yaml, &[]).await;
        assert_eq!(code(&output), 1, "{wrong}: {}", out(&output));
        contains(&out(&output), &["FAILED", words]);
    }
    let made = format!(
        "topics: [{{name: {}, config: {{retention.sm: 1}}}}]",
        kafka.topic("new")
    );
    let output = apply(made, &[]).await;
    assert_eq!(code(&output), 1, "{}", out(&output));
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn without_a_file_service_topics_and_those_of_the_profile_are_made() {
    let kafka = Kafka::real(&[("incidents", 1)]).await;
    let (publish, revoked) = (kafka.topic("publish"), kafka.topic("revoked"));
    let variables = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.address.as_str()),
        ("KAFKA_TOPIC_PREFIX", kafka.prefix()),
        ("PUBLISH_TOPIC", publish.as_str()),
        ("REVOCATIONS_TOPIC", revoked.as_str()),
    ];
    let arguments = ["topics".to_owned(), "apply".to_owned()];
    let made = run_beside(&arguments, &variables).await;
    assert_eq!(code(&made), 0, "{}{}", out(&made), err(&made));
    let text = out(&made);
    contains(
        &text,
        &[
            "6 created, 0 changed",
            "6 partitions",
            "cleanup.policy=compact",
            &kafka.topic("alert"),
        ],
    );
    assert!(
        !text.contains("incident"),
        "one of its names exists: {text}"
    );
    eventually("nothing is left to do", async || {
        let again = run_beside(&arguments, &variables).await;
        out(&again)
            .contains("2 topics: 0 created, 0 changed, 2 unchanged")
            .then_some(())
    })
    .await;
}
