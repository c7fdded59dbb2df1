//! The settings file and `check`, as an operator's shell sees them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Background, Kafka, SECRET};

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_fleetcast"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("it ended by itself");
    (code, text(output.stdout), text(output.stderr))
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleetcast.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn s4_08_every_mistake_of_file_and_environment_is_reported_at_once() {
    let (_directory, path) = file("prot = 80\nport = \"80a\"\n[jwt]\nsecret = \"hush\"\n");
    let path = path.to_str().unwrap();
    for (arguments, variables) in [
        (&["serve", "--config", path][..], &[][..]),
        (&["--config", path], &[]),
        (&["check", "--config", path], &[]),
        (&["check"], &[("FLEETCAST_CONFIG", path)]),
        // The command line wins.
        (
            &["check", "--config", path],
            &[("FLEETCAST_CONFIG", "/nowhere")],
        ),
    ] {
        let mut variables = variables.to_vec();
        variables.push(("PING_INTERVAL", "0"));
        let (code, _, told) = run(arguments, &variables);
        assert_eq!(code, 78, "{arguments:?}: {told}");
        for expected in [
            "5 problems in the settings",
            "fleetcast.toml:1: unknown setting prot: did you mean port?",
            "fleetcast.toml:2: cannot use port=\"80a\": expected port from 0 to 65535",
            "fleetcast.toml:4: cannot use jwt.secret: it has 4 bytes",
            "cannot use PING_INTERVAL=\"0\": must be more than 0",
            "KAFKA_BOOTSTRAP_SERVERS is required",
        ] {
            assert!(told.contains(expected), "{expected} is missing in {told}");
        }
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn show_says_line_variable_or_default_and_every_subcommand_reads_the_file() {
    let text = format!(
        "port = 8005\nmax_rooms = 7\n[jwt]\nsecret = \"{SECRET}\"\n[kafka]\nbootstrap_servers = [\"a:1\", \"b:1\"]\n\
         [kafka.properties]\n\"sasl.password\" = \"hush\"\n"
    );
    let (_directory, path) = file(&text);
    let path = path.to_str().unwrap();
    let arguments = ["check", "--show", "--offline", "--config", path];
    let (code, shown, told) = run(&arguments, &[("MAX_ROOMS", "9")]);
    assert_eq!(code, 0, "{told}");
    let words: Vec<String> = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for expected in [
        format!("PORT 8005 {path}:1"),
        "MAX_ROOMS 9 env MAX_ROOMS".to_owned(),
        "PING_INTERVAL 25 default".to_owned(),
        format!("JWT_SECRET ******** {path}:4"),
        format!("KAFKA_BOOTSTRAP_SERVERS a:1,b:1 {path}:6"),
        format!("KAFKA_PROPERTIES_SASL_PASSWORD ******** {path}:8"),
        format!("FLEETCAST_CONFIG {path} --config"),
    ] {
        assert!(
            words.contains(&expected),
            "{expected} is missing in {shown}"
        );
    }
    assert!(
        !shown.contains("hush") && !shown.contains(SECRET),
        "{shown}"
    );
    let mint = [
        "token", "mint", "--sub", "u1", "--org", "o1", "--config", path,
    ];
    let (code, token, told) = run(&mint, &[]);
    assert_eq!(code, 0, "{told}");
    let inspect = ["token", "inspect", token.trim_end()];
    assert_eq!(run(&inspect, &[("JWT_SECRET", SECRET)]).0, 0);
}

#[test]
fn the_printed_example_is_a_good_file() {
    let (code, example, _) = run(&["config", "example"], &[]);
    assert_eq!(code, 0);
    let (_directory, path) = file(&example);
    let arguments = ["check", "--offline", "--config", path.to_str().unwrap()];
    let needed = [
        ("JWT_SECRET", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let (code, said, told) = run(&arguments, &needed);
    assert_eq!((code, told.as_str()), (0, ""), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

/// Answers every command so.
async fn redis(answer: &'static str) -> (String, Background) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = Background::start(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            for _ in 0..=text.matches("\r\n*").count() {
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    (format!("redis://:hush-hush@{address}"), task)
}

#[tokio::test]
async fn check_asks_redis_too_and_names_what_is_wrong_without_the_password() {
    let kafka = Kafka::mock(&[("incident", 1)]).await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let (good, _good) = redis("+PONG\r\n").await;
    let (wrong, _wrong) = redis("-WRONGPASS invalid username-password pair\r\n").await;
    let (old, _old) = redis("-ERR unknown command `HELLO`, with args: `hush-hush`\r\n").await;
    for (url, code, expected) in [
        (good.as_str(), 0, "answers"),
        // The server starts all the same, and uses it when it can.
        (&wrong, 0, "warning: redis: user or password rejected"),
        (&old, 0, "warning: redis: it does not speak RESP3"),
        (
            &format!("redis://:hush-hush@{address}"),
            0,
            "warning: redis: it cannot be reached: ",
        ),
    ] {
        let (url, brokers) = (url.to_owned(), kafka.address.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let variables = [
                ("JWT_SECRET", SECRET),
                ("KAFKA_BOOTSTRAP_SERVERS", brokers.as_str()),
                ("REDIS_URL", url.as_str()),
            ];
            run(&["check"], &variables)
        });
        let (ended, said, told) = checked.await.unwrap();
        let all = said + &told;
        assert_eq!(ended, code, "{all}");
        assert!(all.contains(expected), "{expected} is missing in {all}");
        assert!(
            all.contains("kafka: brokers"),
            "Kafka is asked all the same"
        );
        assert!(!all.contains("hush"), "{all}");
    }
}
