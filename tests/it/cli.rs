//! The built binary as an operator's shell sees it: output and exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

const SECRET: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";

/// With an empty environment but for `variables`.
fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetcast"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(arguments, variables).output().unwrap()
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

/// A good start's minimum.
const NEEDED: [(&str, &str); 2] = [
    ("JWT_SECRET", SECRET),
    ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
];

#[test]
fn wrong_settings_end_with_78_and_are_all_reported() {
    for arguments in [&["serve"][..], &[], &["check"]] {
        let output = run(
            arguments,
            &[
                ("PORT", "80a"),
                ("JWT_SECRET", "changeme"),
                ("FLEETCAST_WINDWO", "5"),
            ],
        );
        assert_eq!(code(&output), 78, "{arguments:?}");
        assert_eq!(out(&output), "");
        for expected in [
            "4 problems in the settings",
            "cannot use PORT=\"80a\": expected port from 0 to 65535",
            "cannot use JWT_SECRET: it has 8 bytes",
            "unknown variable FLEETCAST_WINDWO: did you mean FLEETCAST_WINDOW?",
            "KAFKA_BOOTSTRAP_SERVERS is required",
        ] {
            assert!(
                err(&output).contains(expected),
                "{expected} is missing in {}",
                err(&output)
            );
        }
        assert!(
            !err(&output).contains("changeme"),
            "a secret is never quoted"
        );
    }
}

#[test]
fn properties_that_librdkafka_refuses_end_with_78_and_their_variable_is_named() {
    for (name, text) in [
        ("KAFKA_PROPERTIES_SASL_USRNAME", "reader"),
        ("KAFKA_PROPERTIES_SECURITY_PROTOCOL", "SALS_SSL"),
        // Each of these would break a promise.
        ("KAFKA_PROPERTIES_ISOLATION_LEVEL", "read_uncommitted"),
        ("KAFKA_PROPERTIES_GROUP_ID", "mine"),
        ("KAFKA_PROPERTIES_ENABLE_AUTO_COMMIT", "true"),
        ("KAFKA_PROPERTIES_AUTO_OFFSET_RESET", "latest"),
        // Shows only when a client is made.
        ("KAFKA_PROPERTIES_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_PROPERTIES_MESSAGE_MAX_BYTES", "1000000000"),
    ] {
        for arguments in ["serve", "check"] {
            let mut variables = NEEDED.to_vec();
            variables.push((name, text));
            let output = run(&[arguments], &variables);
            assert_eq!(code(&output), 78, "{name}={text}: {}", err(&output));
            assert_eq!(out(&output), "");
            assert!(err(&output).contains(name), "{}", err(&output));
        }
    }
    let mut variables = NEEDED.to_vec();
    variables.push(("KAFKA_PROPERTIES_ISOLATION_LEVEL", "read_committed"));
    let output = run(&["check", "--offline"], &variables);
    assert_eq!(code(&output), 0, "{}", err(&output));
}

#[test]
fn wrong_usage_ends_with_2_and_help_and_version_with_0() {
    for arguments in [
        &["nonsense"][..],
        &["token"],
        &["token", "mint"],
        &["check", "--nonsense"],
        &["serve", "x"],
    ] {
        let output = run(arguments, &[]);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert_eq!(out(&output), "");
    }
    for arguments in [
        &["--help"][..],
        &["help", "serve"],
        &["token", "mint", "--help"],
    ] {
        let output = run(arguments, &[]);
        assert_eq!(code(&output), 0, "{arguments:?}");
        assert!(out(&output).contains("Usage: fleetcast"));
    }
    for arguments in [["version"], ["--version"]] {
        let output = run(&arguments, &[]);
        let version = concat!("fleetcast ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!((code(&output), out(&output).as_str()), (0, version));
    }
}

#[test]
fn check_says_ok_and_warns_of_what_has_no_effect() {
    let mut variables = NEEDED.to_vec();
    variables.extend([
        ("ENVIRONMENT", "production"),
        ("PROT", "1"),
        ("HOME", "/root"),
    ]);
    let output = run(&["check", "--offline"], &variables);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert!(
        text.contains("warning: ENVIRONMENT has no effect in this version"),
        "{text}"
    );
    assert!(
        text.contains("did you mean PORT?") && !text.contains("HOME"),
        "{text}"
    );
    assert!(text.ends_with("ok: the settings are complete and fit together\n"));
}

#[test]
fn check_show_masks_secrets_and_names_origins() {
    let mut variables = NEEDED.to_vec();
    variables.extend([
        ("FLEETCAST_PORT", "8123"),
        ("GITHUB_WEBHOOK_SECRET", "hush-hush"),
        ("KAFKA_PROPERTIES_SASL_PASSWORD", "hush-hush"),
    ]);
    let output = run(&["check", "--show", "--offline"], &variables);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    let words = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(words("PORT"), "PORT 8123 env FLEETCAST_PORT");
    assert_eq!(words("JWT_SECRET"), "JWT_SECRET ******** env JWT_SECRET");
    assert_eq!(words("PING_INTERVAL"), "PING_INTERVAL 25 default");
    assert_eq!(
        words("BIND_SID"),
        "BIND_SID false default (not in this version)"
    );
    assert!(!text.contains("hush") && !text.contains(SECRET), "{text}");
}

/// Answers one request with `answer` and returns what was asked.
fn one_answer(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own thread, joined below"
    )]
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let count = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    (port, server)
}

#[test]
fn healthcheck_answers_with_its_exit_code() {
    for (answer, arguments, path, expected) in [
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            &["healthcheck"][..],
            "GET /health ",
            0,
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            &["healthcheck", "--ready"],
            "GET /ready ",
            1,
        ),
        ("SSH-2.0-not-http\r\n", &["healthcheck"], "GET /health ", 1),
        ("", &["healthcheck"], "GET /health ", 1),
    ] {
        let (port, server) = one_answer(answer);
        // As in a container: the rest of the environment is not looked at.
        let output = run(arguments, &[("PORT", &port)]);
        assert_eq!(code(&output), expected, "{answer:?}: {}", err(&output));
        assert!(server.join().unwrap().starts_with(path));
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let output = run(&["healthcheck", "--timeout", "200ms"], &[("PORT", &port)]);
    assert_eq!(code(&output), 1, "no answer");
    drop(silent);
    assert_eq!(
        code(&run(&["healthcheck"], &[("PORT", &port)])),
        1,
        "nothing listens"
    );
    assert_eq!(
        code(&run(&["healthcheck"], &[("PORT", "0")])),
        1,
        "which port?"
    );
}

fn signal(child: &std::process::Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_signal_stops_the_server_with_0_and_the_log_is_json() {
    let mut variables = NEEDED.to_vec();
    variables.extend([
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("INTERNAL_PORT", "0"),
        ("DRAIN_SECONDS", "0"),
        ("LOG_LEVEL", "debug"),
        ("ENVIRONMENT", "production"),
        ("FLEETCAST_SERVICE_HOST", "10.0.0.1"),
        ("FLEETCAST_TEST_KAFKA_CLUSTER", "/tmp/cluster"),
    ]);
    for name in ["-TERM", "-INT"] {
        let mut child = command(&["serve"], &variables)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = Vec::new();
        let mut until = |text: &str| {
            for line in lines.by_ref() {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                let found = line["message"].as_str().unwrap().contains(text);
                log.push(line);
                if found {
                    return;
                }
            }
            panic!("{text} is not in {log:#?}");
        };
        until("are ignored");
        until("no effect");
        until("starting");
        signal(&child, name);
        until("stopping");
        until("stopped");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{log:#?}");
        assert!(
            log.iter()
                .any(|line| line["name"] == "ENVIRONMENT" && line["level"] == "WARN")
        );
    }
}

#[test]
fn a_safety_setting_of_a_later_part_stops_the_start_with_78() {
    for (name, text) in [
        ("BIND_SID", "true"),
        ("FLEETCAST_TLS_CERT_FILE", "cert.pem"),
        ("PROXY_PROTOCOL", "true"),
        ("DEAD_LETTER_TOPIC", "dead"),
        ("KAFKA_PROPERTIES_SASL_MECHANISM", "OAUTHBEARER"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092;b:9092"),
    ] {
        let mut variables = NEEDED.to_vec();
        variables.push((name, text));
        let output = command(&["serve"], &variables).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{name}: {error}");
        assert!(
            error.contains("1 problem in the settings"),
            "{name}: {error}"
        );
    }
}
