//! Brokers that want TLS and a password. `scripts/kafka.sh run --secure` starts such a one, and says where it listens.

use std::process::Output;

use serde_json::json;

use crate::harness::{Client, Kafka, SECRET, TestApp, auth, eventually, transmission};
use crate::tools::run_beside;

/// What `scripts/kafka.sh` says of its secure listeners.
#[expect(
    clippy::disallowed_methods,
    reason = "the addresses of the tests' broker"
)]
fn of_the_script(name: &str) -> String {
    let name = format!("FLEETCAST_TEST_KAFKA_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is set by scripts/kafka.sh --secure"))
}

/// A variable of the program and its value.
type Variables = Vec<(&'static str, String)>;

fn variables(listener: &str, authority: &str, password: &str) -> Variables {
    vec![
        ("KAFKA_BOOTSTRAP_SERVERS", of_the_script(listener)),
        ("KAFKA_PROPERTIES_SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
        (
            "KAFKA_PROPERTIES_SASL_MECHANISM",
            "SCRAM-SHA-512".to_owned(),
        ),
        ("KAFKA_PROPERTIES_SASL_USERNAME", of_the_script("USER")),
        ("KAFKA_PROPERTIES_SASL_PASSWORD", password.to_owned()),
        ("KAFKA_PROPERTIES_SSL_CA_LOCATION", of_the_script(authority)),
    ]
}

/// Everything right.
fn good() -> Variables {
    variables("SECURE", "CA", &of_the_script("PASSWORD"))
}

const WRONG_PASSWORD: &str = "hunter2-and-more";

/// One thing wrong each, and what must be said of it.
fn bad() -> [(Variables, &'static str); 4] {
    let password = of_the_script("PASSWORD");
    [
        (
            variables("SECURE", "CA", WRONG_PASSWORD),
            "the brokers refuse the credentials",
        ),
        (
            variables("SECURE", "OTHER_CA", &password),
            "signed by an authority that is not trusted here",
        ),
        (
            variables("EXPIRED", "CA", &password),
            "the brokers' certificate has expired",
        ),
        (
            variables("MISNAMED", "CA", &password),
            "the brokers' certificate is for another host name",
        ),
    ]
}

fn borrowed(variables: &Variables) -> Vec<(&str, &str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

async fn tool(arguments: &[&str], variables: &Variables) -> (Option<i32>, String) {
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    let mut variables = borrowed(variables);
    variables.push(("JWT_SECRET", SECRET));
    let Output {
        status,
        stdout,
        stderr,
    } = run_beside(&arguments, &variables).await;
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn records_come_and_go_over_tls_with_a_password() {
    let kafka = Kafka::real(&[("transmission", 1)]).await;
    let variables = good();
    let app = TestApp::start_with(&kafka, &borrowed(&variables)).await;
    let mut client = Client::connect(app.public, &auth("u1", "o1", &["channel:7"])).await;
    let topic = kafka.topic("transmission");
    let value = transmission("o1", "7", 0, 1, "").to_string();
    let (code, text) = tool(&["produce", "-t", &topic, "--value", &value], &variables).await;
    assert_eq!((code, text), (Some(0), format!("{topic}/0/0\n")));
    let event = client.expect("transmission_started").await;
    assert_eq!(event.args[0]["data"]["n"], 1);
    let (code, text) = tool(&["check"], &variables).await;
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn check_says_what_is_wrong_and_keeps_the_secret() {
    for (variables, expected) in bad() {
        let (code, text) = tool(&["check"], &variables).await;
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(expected), "{expected:?} is not in {text}");
        let (_, shown) = tool(&["check", "--show", "--offline"], &variables).await;
        for text in [text, shown] {
            assert!(!text.contains(WRONG_PASSWORD), "{text}");
            assert!(!text.contains(&of_the_script("PASSWORD")), "{text}");
        }
    }
}

#[tokio::test]
#[ignore = "real Kafka"]
async fn a_server_that_is_refused_says_why_and_is_not_ready() {
    for (variables, expected) in bad() {
        let kafka = Kafka::real(&[("transmission", 1)]).await;
        let mut variables = borrowed(&variables);
        variables.push(("LOG_LEVEL", "debug"));
        let app = TestApp::launch(&kafka, &variables).await;
        let shown = eventually("/ready says why", async || {
            let answer = app.get("/ready").await;
            assert_eq!(answer.status, 503);
            let kafka = answer.json()["components"]["kafka"].clone();
            let reason = kafka["reason"].as_str()?;
            reason.contains(expected).then_some(kafka)
        })
        .await;
        assert_eq!(shown["status"], json!("failing"));
        let log = app.stop();
        let told = |line: &&String| line.contains(expected) && line.contains("\"ERROR\"");
        assert_eq!(
            log.iter().filter(told).count(),
            1,
            "once, while it stays so"
        );
        for secret in [WRONG_PASSWORD, &of_the_script("PASSWORD")] {
            assert!(!log.iter().any(|line| line.contains(secret)));
        }
    }
}
