//! The operator's tools in the same binary: profiles explained, records sent, clients followed, topics made.

mod check;
mod produce_and_client;
mod profile;
mod token;
mod topics;

use std::io::Write;
use std::process::{Command, Output, Stdio};

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

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn completions_and_the_configuration_page_are_printed() {
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
