//! Whose messages are accepted from Redis.

use super::*;

const REDIS: (&str, &str) = ("REDIS_URL", "redis://redis:6379");

#[test]
fn emitters_are_read_from_the_environment_and_the_file() {
    let shown = |settings: &Settings| {
        let emitters = settings.redis_emitters.iter();
        emitters.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&good(&[REDIS])), [""; 0]);
    let expected = ["node:o1:socket.io", "python:o2:jobs"];
    let written = ("REDIS_EMITTERS", " node:o1, python:o2:jobs ");
    assert_eq!(shown(&good(&[REDIS, written])), expected);
    let needed = [
        ("JWT_SECRET", SECRET),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        REDIS,
    ];
    let text = r#"redis_emitters = ["node:o1", "python:o2:jobs"]"#;
    let settings = with_file(text, &needed).expect("a good file");
    assert_eq!(shown(&settings), expected);
}

#[test]
fn h2_everything_wrong_with_emitters_stops_the_start_at_once() {
    let told = problem(&[
        REDIS,
        ("REDIS_EMITTERS", "ruby:o1,python:o1,python:o2,node:o 3"),
    ]);
    for expected in [
        "cannot use REDIS_EMITTERS=",
        "ruby:o1: expected node:ORGANISATION",
        "python:o1:socketio and python:o2:socketio share channels",
        "node:o 3: an organisation is",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let told = problem(&[REDIS, ("REDIS_EMITTERS", ",")]);
    assert!(told.contains("expected at least one emitter"), "{told}");
    let told = problem(&[("REDIS_EMITTERS", "node:o1")]);
    assert!(
        told.starts_with("REDIS_EMITTERS requires REDIS_URL"),
        "{told}"
    );
}

#[test]
fn h2_an_emitter_has_no_channel_between_instances() {
    for (prefix, emitter) in [
        ("fleetcast", "python:o1:fleetcast:control"),
        ("fleetcast", "python:o1:fleetcast:o:o1"),
        ("fleetcast", "node:o1:fleetcast:o"),
        // Its channels begin with less than those of instances, and cover them all.
        ("a#b", "node:o1:a"),
    ] {
        let told = problem(&[
            REDIS,
            ("REDIS_PREFIX", prefix),
            ("REDIS_EMITTERS", &format!("python:o2,{emitter}")),
        ]);
        let expected = format!("{emitter} has channels that begin with {prefix}:");
        assert!(told.contains(&expected), "{emitter}: {told}");
        assert!(!told.contains("python:o2"), "{told}");
    }
    for emitter in ["python:o1:fleetcast", "node:o1:fleetcast", "node:o1:fleet"] {
        good(&[REDIS, ("REDIS_EMITTERS", emitter)]);
    }
}
