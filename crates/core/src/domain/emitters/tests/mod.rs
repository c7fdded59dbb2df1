//! Messages of the real senders, as bytes that they wrote: `@socket.io/redis-emitter` 5.1.0, python-socketio 5.13.0 to 5.18.1.

mod configuration;
mod hostile;
mod node;
mod python;

use serde_json::value::RawValue;

use super::*;
use crate::domain::room::Room;

const MAX_EVENT_BYTES: usize = 1_000;

fn emitter(text: &str) -> Emitter {
    Emitter::parse(text).expect(text)
}

/// Of the default channels.
fn decode(emitter: &Emitter, payload: &[u8]) -> Result<Ephemeral, Refused> {
    let channel = match emitter.kind {
        EmitterKind::Node => "socket.io#/#",
        EmitterKind::Python => "socketio",
    };
    decode_of(emitter, channel, payload)
}

fn decode_of(emitter: &Emitter, channel: &str, payload: &[u8]) -> Result<Ephemeral, Refused> {
    let is_known = |kind: &str| kind == "channel";
    emitter.decode(channel.as_bytes(), payload, MAX_EVENT_BYTES, is_known)
}

/// Event, names of the rooms, arguments.
fn shown(event: Result<Ephemeral, Refused>) -> Result<(String, Vec<String>, Vec<String>), Refused> {
    let event = event?;
    assert!(
        event
            .rooms
            .iter()
            .all(|room| room.organisation == event.organisation)
    );
    let text = |argument: &RawValue| argument.get().to_owned();
    Ok((
        event.event.to_string(),
        event.rooms.iter().map(Room::name).collect(),
        event.arguments.iter().map(|one| text(one)).collect(),
    ))
}

/// What [`shown`] gives of a good one.
fn event(name: &str, rooms: &[&str], arguments: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (name.to_owned(), owned(rooms), owned(arguments))
}

#[test]
fn outcomes_are_unique_labels() {
    let labels: std::collections::BTreeSet<_> = Refused::ALL
        .iter()
        .map(|refused| refused.outcome())
        .collect();
    assert_eq!(labels.len(), Refused::ALL.len());
}

#[test]
fn the_organisation_is_that_of_the_configuration_whatever_the_message_says() {
    let message = br#"{"method":"emit","event":"a","data":[{"org_id":"o2"}],"binary":false,"room":"channel:7"}"#;
    let event = decode(&emitter("python:o1"), message).expect("a good message");
    assert_eq!(event.organisation.as_str(), "o1");
    assert_eq!(event.rooms[0].organisation.as_str(), "o1");
    let event = decode(&emitter("python:o2"), message).expect("a good message");
    assert_eq!(event.organisation.as_str(), "o2");
    for foreign in ["channel:7:org:o2", "org:o2"] {
        let message = format!(
            r#"{{"method":"emit","event":"a","data":[],"binary":false,"room":"{foreign}"}}"#
        );
        let refused = decode(&emitter("python:o1"), message.as_bytes());
        assert_eq!(shown(refused), Err(Refused::BadRoom), "{foreign}");
    }
}
