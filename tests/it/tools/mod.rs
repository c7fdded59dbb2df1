//! The operator's tools in the same binary: profiles explained, records sent, clients followed, topics made.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Kafka, Proxy, SECRET, TestApp, dispatcher, eventually, transmission};

/// Runs to its end, without an environment but for `variables`.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// The same beside the test's own tasks.
pub(crate) async fn run_beside(arguments: &[String], variables: &[(&str, &str)]) -> Output {
    let arguments = arguments.to_vec();
    let variables: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        run(&arguments, &variables, "")
    });
    output.await.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn profile_check_explains_ten_records() {
    let position =
        json!({"type": "AssetPositionUpdated", "organization_id": "o1", "data": {"asset_id": 9}});
    let flat = json!({"event": "task.assigned", "organization_id": "o1", "assignee_id": "u1"});
    let headers = json!({"ce_type": "alert_created", "organization_id": "o2"});
    let ten: [(Value, i32, &[&str]); 10] = [
        (
            json!({"topic": "incident", "value": {"event_type": "incident_created", "organization_id": "o1", "data": {"id": 5}}}),
            0,
            &[
                "incident:5:org:o1: incident_id is neither",
                "but id in data is 5",
                "= incident_created to org:o1, incident:5:org:o1; class event",
            ],
        ),
        (
            json!({"topic": "assets", "value": position}),
            0,
            &[
                "\"AssetPositionUpdated\" is written \"asset_position_updated\" here",
                "= asset_position_updated to asset:9:org:o1; class latest of 9",
            ],
        ),
        (
            json!({"topic": "task", "value": flat}),
            0,
            &[
                "there is no header event_type",
                "user:u1:org:o1: assigned_to is neither in data nor at the top",
                "but assignee_id at the top is \"u1\"",
            ],
        ),
        (
            json!({"topic": "alert", "headers": headers, "value": {"organization_id": "o1"}}),
            0,
            &[
                "header organization_id says \"o2\"",
                "= alert_created to org:o2; class critical, acknowledged",
            ],
        ),
        (
            json!({"topic": "wether", "value": {}}),
            1,
            &[
                "! topic",
                "\"wether\" is none of the profile's topics",
                "outcome unknown_topic, passed over",
            ],
        ),
        (
            json!({"topic": "incident", "value": {"type": "incident_craeted", "organization_id": "o1"}}),
            1,
            &[
                "no route is for \"incident_craeted\"",
                "outcome unknown_event, passed over",
                "hint: did you mean incident_created?",
            ],
        ),
        (
            json!({"topic": "transmission", "value": {"type": "transmission_started", "organization_id": "o1"}}),
            1,
            &[
                "channel: channel_id is neither",
                "and the route requires this room",
                "outcome no_room, a dead letter",
            ],
        ),
        (
            json!({"topic": "incident", "value": {"type": "incident_created", "organization_id": "a:org:b"}}),
            1,
            &["! organisation", "outcome bad_organisation, a dead letter"],
        ),
        (
            json!({"topic": "incident", "value": "{\"type\": incident}"}),
            1,
            &[
                "the value is not JSON",
                "hint: expected value at line 1 column 10",
                "outcome not_json",
            ],
        ),
        (
            json!({"topic": "incident", "value": null}),
            1,
            &["the record has no value", "outcome tombstone, passed over"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec![
        "profile".to_owned(),
        "check".to_owned(),
        "dispatch".to_owned(),
    ];
    for (number, (sample, expected, parts)) in ten.iter().enumerate() {
        let path = folder.path().join(format!("{number}.json"));
        std::fs::write(&path, sample.to_string()).unwrap();
        let path = path.to_str().unwrap();
        let output = run(&["profile", "check", "dispatch", "--record", path], &[], "");
        assert_eq!(code(&output), *expected, "{}", out(&output));
        contains(&out(&output), parts);
        arguments.extend(["--record".to_owned(), path.to_owned()]);
    }
    arguments.push("--json".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = run(&arguments, &[], "");
    assert_eq!(code(&all), 1);
    let all: Value = serde_json::from_str(&out(&all)).unwrap();
    let outcomes: Vec<&str> = all["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["outcome"].as_str().unwrap())
        .collect();
    let routed = ["routed"; 4];
    let refused = [
        "unknown_topic",
        "unknown_event",
        "no_room",
        "bad_organisation",
        "not_json",
        "tombstone",
    ];
    assert_eq!(outcomes, [&routed[..], &refused].concat());
    assert_eq!(
        all["records"][0]["rooms"],
        json!(["org:o1", "incident:5:org:o1"])
    );
}

#[test]
fn profile_check_takes_bare_values_and_tells_lines_of_mistakes() {
    let value = r#"{"organization_id":"o1","channel_id":7}"#;
    let output = run(
        &[
            "profile",
            "check",
            "dispatch",
            "--topic",
            "x.transmission",
            "--topic-prefix",
            "x.",
            "--header",
            "event_type=transmission_started",
            "--record",
            "-",
            "--json",
        ],
        &[],
        value,
    );
    assert_eq!(code(&output), 0, "{}", err(&output));
    let document: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document["records"][0]["rooms"], json!(["channel:7:org:o1"]));

    let shown = run(&["profile", "show", "dispatch"], &[], "");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let text = out(&shown).replacen("class = \"latest\"", "class = \"newest\"", 1);
    let line = text
        .split("\"newest\"")
        .next()
        .unwrap()
        .matches('\n')
        .count()
        + 1;
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["profile", "check", path][..],
        &["profile", "check", path, "--json"],
    ] {
        let output = run(arguments, &[], "");
        assert_eq!(code(&output), 78);
        let told = out(&output) + &err(&output);
        contains(&told, &[&format!("mine.toml:{line}: "), "newest"]);
    }
    contains(
        &out(&run(&["profile", "list"], &[], "")),
        &["dispatch  5 topics, 14 events"],
    );
    assert_eq!(code(&run(&["profile", "show", "dispatsh"], &[], "")), 2);
    assert_eq!(
        code(&run(
            &["profile", "check", "dispatch", "--record", "/nowhere"],
            &[],
            ""
        )),
        1
    );
}

#[test]
fn what_it_says_about_itself() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef fleetcast"),
        ("fish", "complete -c fleetcast"),
    ] {
        let output = run(&["completion", shell], &[], "");
        assert_eq!(code(&output), 0);
        contains(&out(&output), &[word, "profile"]);
    }
    let page = run(&["config", "doc"], &[], "");
    contains(
        &out(&page),
        &["KAFKA_BOOTSTRAP_SERVERS", "FLEETCAST_WINDOW"],
    );
    for command in ["check", "produce", "client"] {
        contains(
            &out(&run(&[command, "--help"], &[], "")),
            &["Exit codes: 0", "Examples:"],
        );
    }
}

#[test]
fn brokers_that_do_not_answer_are_told_and_are_no_bad_settings() {
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
    contains(&err(&output), &["record 1 for a: not delivered"]);
}

#[tokio::test]
async fn check_tells_what_kafka_has_of_the_profile() {
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
async fn records_are_sent_by_hand_and_seen_by_a_client() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let token = dispatcher("u1", "o1");
    let url = format!("http://{}", app.public);
    let arguments = |more: &[&str]| -> Vec<String> {
        ["client", "--url", &url, "--token", &token, "--json"]
            .iter()
            .chain(more)
            .map(|text| (*text).to_owned())
            .collect()
    };
    let following = arguments(&["--room", "channel:7", "--count", "3", "--for", "20s"]);
    let following = run_beside(&following, &[]);
    let topic = kafka.topic("transmission");
    let values: Vec<String> = (0..3)
        .map(|number| transmission("o1", "7", 0, number, "").to_string())
        .collect();
    let producing = async {
        eventually("the client is there", async || {
            let metrics = app.metrics().await;
            (metrics.sum("fleetcast_commands_total") > 0).then_some(())
        })
        .await;
        let lines = values.join("\n");
        let (topic, address) = (topic.clone(), kafka.address.clone());
        let sent = tokio::task::spawn_blocking(move || {
            run(
                &["produce", "-t", &topic, "-k", "k", "-b", &address],
                &[],
                &lines,
            )
        });
        sent.await.unwrap()
    };
    let (followed, sent) = tokio::join!(following, producing);
    assert_eq!(code(&sent), 0, "{}", err(&sent));
    let places: Vec<String> = (0..3).map(|offset| format!("{topic}/0/{offset}")).collect();
    assert_eq!(out(&sent).lines().collect::<Vec<_>>(), places);

    assert_eq!(code(&followed), 0, "{}", out(&followed));
    let lines: Vec<Value> = out(&followed)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["connected", "subscribe", "event", "event", "event", "end"]
    );
    assert_eq!(lines[2]["id"], json!(places[0]));
    assert_eq!(
        lines[2]["data"].to_string(),
        serde_json::from_str::<Value>(&values[0])
            .unwrap()
            .to_string()
    );
    let cursor = lines[5]["cursor"].as_str().unwrap().to_owned();
    assert!(cursor.starts_with("v1."));

    // From a cursor there is nothing to catch up; a room that is left is left; a foreign one is refused.
    let resumed = run_beside(
        &arguments(&[
            "--resume",
            &cursor,
            "--room",
            "channel:7",
            "--leave",
            "channel:7@300ms",
            "--for",
            "2s",
        ]),
        &[],
    )
    .await;
    assert_eq!(code(&resumed), 0, "{}", out(&resumed));
    contains(
        &out(&resumed),
        &[
            "\"resume\":\"resumed\"",
            "caught up with 0 events",
            "\"type\":\"unsubscribe\"",
        ],
    );
    let refused = run_beside(
        &arguments(&["--room", "channel:7:org:o2", "--for", "1s"]),
        &[],
    )
    .await;
    assert_eq!(code(&refused), 1);
    contains(
        &out(&refused),
        &["subscribe channel:7:org:o2 refused: forbidden"],
    );
    let stranger: Vec<String> = [
        "client", "--url", &url, "--token", "no-token", "--for", "5s",
    ]
    .map(str::to_owned)
    .into();
    let stranger = run_beside(&stranger, &[]).await;
    assert_eq!(code(&stranger), 1);
    contains(&out(&stranger), &["!! refused: token_invalid"]);
    assert!(
        !out(&stranger).contains('\u{1b}'),
        "no colours off a terminal"
    );
}

#[tokio::test]
async fn a_client_that_was_cut_says_how_much_it_caught_up() {
    let kafka = Kafka::mock(&[("transmission", 1)]).await;
    let app = TestApp::start(&kafka).await;
    let proxy = Proxy::to(app.public).await;
    let url = format!("http://{}", proxy.address);
    let token = dispatcher("u1", "o1");
    let arguments: Vec<String> = [
        "client",
        "--url",
        &url,
        "--token",
        &token,
        "--room",
        "channel:7",
        "--resume",
        "--count",
        "4",
        "--for",
        "30s",
    ]
    .map(str::to_owned)
    .into();
    let produce = async |number| {
        kafka
            .produce("transmission", transmission("o1", "7", 0, number, ""))
            .await;
    };
    let cutting = async {
        eventually("the client is there", async || {
            let metrics = app.metrics().await;
            (metrics.sum("fleetcast_commands_total") > 0).then_some(())
        })
        .await;
        produce(0).await;
        eventually("it was delivered", async || {
            let metrics = app.metrics().await;
            (metrics.sum("fleetcast_deliveries_total") > 0).then_some(())
        })
        .await;
        proxy.cut();
        produce(1).await;
        produce(2).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.restore();
        eventually("it is back", async || {
            let metrics = app.metrics().await;
            (metrics.value("fleetcast_resumes_total{outcome=\"resumed\"}") > 0).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        produce(3).await;
    };
    let (output, ()) = tokio::join!(run_beside(&arguments, &[]), cutting);
    assert_eq!(code(&output), 0, "{}", out(&output));
    contains(
        &out(&output),
        &[
            "!! the connection was ",
            "resumed, connection",
            "caught up with 2 events",
            "end: 4 events",
        ],
    );
}

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
