//! Entries of the setting, and the channels that they stand for.

use super::*;

#[test]
fn an_entry_names_an_organisation_and_perhaps_a_key() {
    for (text, kind, key) in [
        ("node:o1", EmitterKind::Node, "socket.io"),
        ("node:o1:jobs", EmitterKind::Node, "jobs"),
        ("node:o1:a:b", EmitterKind::Node, "a:b"),
        ("python:o1", EmitterKind::Python, "socketio"),
        ("python:o1:jobs", EmitterKind::Python, "jobs"),
    ] {
        let emitter = emitter(text);
        assert_eq!((emitter.kind, emitter.key.as_str()), (kind, key), "{text}");
        assert_eq!(emitter.organisation.as_str(), "o1");
        assert_eq!(Emitter::parse(&emitter.to_string()), Ok(emitter));
    }
    let long = format!("node:o1:{}", "x".repeat(129));
    for wrong in [
        "",
        "node",
        "o1",
        "ruby:o1",
        "Node:o1",
        "node:",
        "node::jobs",
        "node:o 1",
        "node:*",
        "node:o1:",
        "node:o1:a b",
        "node:o1:a\n",
        &long,
    ] {
        assert!(Emitter::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn h2_a_channel_belongs_to_one_emitter() {
    let parsed = |entries: &[&str]| Emitter::parse_all(entries.iter().copied());
    for good in [
        &["node:o1", "python:o1"][..],
        &["node:o1", "node:o2:o2"],
        &["node:o1:a", "node:o2:ab"],
        &["python:o1:a", "python:o2:ab"],
        &["python:o1:a", "node:o2:a"],
    ] {
        assert_eq!(
            parsed(good).map(|all| all.len()),
            Ok(good.len()),
            "{good:?}"
        );
    }
    for shared in [
        ["node:o1", "node:o2"],
        ["node:o1", "node:o2:socket.io"],
        ["python:o1", "python:o2"],
        ["node:o1:a", "node:o2:a#b"],
        ["node:o1:a#b", "node:o2:a"],
        ["node:o1:a", "node:o1:a#b"],
        ["node:o1:a", "node:o2:a-request"],
        ["node:o1:a-request", "node:o2:a"],
        ["node:o1:a", "python:o2:a#/#"],
        ["python:o2:a-request#", "node:o1:a"],
    ] {
        let expected = InvalidEmitter::Shared(
            emitter(shared[0]).to_string(),
            emitter(shared[1]).to_string(),
        );
        assert_eq!(parsed(&shared), Err(vec![expected]));
    }
    let twice = parsed(&["node:o1", "node:o1:socket.io"]).unwrap_err();
    assert_eq!(twice[0].to_string(), "node:o1:socket.io is named twice");
    let all = parsed(&[
        "ruby:o1",
        "python:o1",
        "python:o 2",
        "python:o3",
        "node:o1:",
    ]);
    assert_eq!(all.unwrap_err().len(), 4, "everything that is wrong");
}

#[test]
fn channels_are_subscribed_to_without_a_meaning_of_their_own() {
    let patterns = |text| emitter(text).channels();
    let pattern = |text: &str| EmitterChannel::Pattern(text.to_owned());
    assert_eq!(
        patterns("node:o1"),
        [pattern("socket.io#*"), pattern("socket.io-request#*")]
    );
    assert_eq!(
        patterns(r"node:o1:a*?[b]\"),
        [
            pattern(r"a\*\?\[b\]\\#*"),
            pattern(r"a\*\?\[b\]\\-request#*")
        ]
    );
    let exact = EmitterChannel::Exact("a*".to_owned());
    assert_eq!(patterns("python:o1:a*"), [exact]);
    for (text, channel, expected) in [
        ("node:o1", "socket.io#/#", true),
        ("node:o1", "socket.io#/#channel:7#", true),
        ("node:o1", "socket.io-request#/#", true),
        ("node:o1", "socket.io-response#/#", false),
        ("node:o1", "socket.io", false),
        ("node:o1", "xsocket.io#/#", false),
        ("python:o1", "socketio", true),
        ("python:o1", "socketio2", false),
        ("python:o1", "socketi", false),
    ] {
        assert_eq!(
            emitter(text).receives(channel.as_bytes()),
            expected,
            "{channel}"
        );
    }
}
