//! What the hub keeps and hands out: one event for the members of some rooms.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::id::Id;
use super::room::Room;

/// How an event is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Never conflated, never shed.
    Critical,
    Event,
    /// A newer one of the same key may take its place while a client lags.
    Latest,
}

/// A routed record, ready to be appended to the window. Shared by all connections that receive it.
#[derive(Debug)]
pub struct Publication {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the Unix epoch, from Kafka.
    pub timestamp: Option<i64>,
    /// The record's key: any bytes. A tombstone with the same bytes deletes the record.
    pub key: Option<Arc<[u8]>>,
    pub event: Arc<str>,
    pub organisation: Id,
    /// All of `organisation`, each once, at least one.
    pub rooms: Vec<Room>,
    pub class: Class,
    /// What `Class::Latest` is the latest of, unique within event and organisation.
    pub latest_of: Option<Arc<str>>,
    /// The route wants each client's Socket.IO acknowledgement.
    pub ack: bool,
    /// JSON text exactly as the producer wrote it.
    pub payload: Box<RawValue>,
}

impl Publication {
    /// `topic/partition/offset`, the same on every instance.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }

    /// The key, if it is text.
    pub fn key_text(&self) -> Option<&str> {
        self.key.as_deref().and_then(key_text)
    }

    /// Every room that receives it: its own, and the whole of each kind among them. Each once.
    pub fn audience(&self) -> impl Iterator<Item = Cow<'_, Room>> {
        audience(&self.rooms)
    }

    /// How many rooms [`audience`](Self::audience) gives.
    pub fn audience_len(&self) -> usize {
        self.rooms.len() + first_of_whole_kinds(&self.rooms).count()
    }

    /// For class `latest`: what it is the newest of, within its organisation.
    pub fn latest_key(&self) -> Option<(&Arc<str>, &Arc<str>)> {
        let of = self.latest_of.as_ref()?;
        (self.class == Class::Latest).then_some((&self.event, of))
    }
}

/// Arguments of an [`Ephemeral`] that comes by Redis, from an emitter or from another instance, at most.
pub const MAX_ARGUMENTS: usize = 16;

/// An event without a position in any log, such as presence: delivered to the members of its rooms at that moment, or dropped.
#[derive(Debug)]
pub struct Ephemeral {
    pub event: Arc<str>,
    pub organisation: Id,
    /// All of `organisation`, each once, at least one.
    pub rooms: Vec<Room>,
    /// What clients receive before the `null` at the end; may be empty. JSON texts of objects and lists: a client that looks for a
    /// cursor among the arguments must not find one here.
    pub arguments: Vec<Box<RawValue>>,
}

impl Ephemeral {
    /// Bytes of all arguments together.
    pub fn size(&self) -> usize {
        self.arguments.iter().map(|one| one.get().len()).sum()
    }

    /// As for a [`Publication`].
    pub fn audience(&self) -> impl Iterator<Item = Cow<'_, Room>> {
        audience(&self.rooms)
    }
}

/// A record's key as text. One with a zero byte is none, although it may be UTF-8: numbers and the frames of a schema registry
/// have such bytes, and whether the rest of a number is UTF-8 too depends on its value.
pub fn key_text(key: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(key).ok();
    text.filter(|text| !text.contains('\0'))
}

fn audience(rooms: &[Room]) -> impl Iterator<Item = Cow<'_, Room>> {
    let wholes = first_of_whole_kinds(rooms).filter_map(Room::whole);
    rooms
        .iter()
        .map(Cow::Borrowed)
        .chain(wholes.map(Cow::Owned))
}

/// One room of each kind that has a whole.
fn first_of_whole_kinds(rooms: &[Room]) -> impl Iterator<Item = &Room> {
    let first = |(at, room): &(usize, &Room)| {
        let same_kind = rooms.iter().position(|other| other.kind == room.kind);
        same_kind == Some(*at) && room.kind.has_whole()
    };
    rooms.iter().enumerate().filter(first).map(|(_, room)| room)
}

#[cfg(test)]
mod tests {
    use super::super::room::{Kind, Which};
    use super::*;

    #[test]
    fn binary_keys_are_no_text_even_where_their_bytes_are_utf8() {
        let uuid = b"\x9f\x86\xd0\x81\x88\x4c\x4d\x65\x9a\x2f\xea\xa0\xc5\x5a\xd0\x15";
        for (key, expected) in [
            (&b"k1"[..], Some("k1")),
            (b"", Some("")),
            (b"\"k1\"", Some("\"k1\"")),
            ("sch\u{f6}n\t".as_bytes(), Some("sch\u{f6}n\t")),
            (&7_i64.to_be_bytes(), None),
            (&200_i64.to_be_bytes(), None),
            (&(-1_i64).to_be_bytes(), None),
            (&7_i32.to_be_bytes(), None),
            (uuid, None),
            (b"\0\0\0\0\x07{\"id\":7}", None),
            (b"k\xff", None),
        ] {
            assert_eq!(key_text(key), expected, "{key:?}");
        }
    }

    #[test]
    fn a_publication_is_for_its_rooms_and_each_whole_kind_once() {
        let organisation = Id::parse("o1").unwrap();
        let room = |(kind, id): &(&str, &str)| Room {
            organisation: organisation.clone(),
            kind: Kind::parse(kind).unwrap(),
            which: Which::parse(id).unwrap(),
        };
        for (rooms, wholes) in [
            (&[("org", "o1")][..], 0),
            (&[("org", "o1"), ("user", "u1")], 0),
            (&[("channel", "1")], 1),
            (&[("channel", "1"), ("channel", "2"), ("user", "u1")], 1),
            (&[("channel", "1"), ("asset", "1"), ("channel", "2")], 2),
        ] {
            let rooms: Vec<_> = rooms.iter().map(room).collect();
            let heard: Vec<Room> = audience(&rooms).map(Cow::into_owned).collect();
            assert_eq!(heard[..rooms.len()], rooms);
            let whole = heard.iter().filter(|room| room.which == Which::All);
            assert_eq!(whole.count(), wholes);
            assert_eq!(heard.len(), rooms.len() + wholes);
            assert_eq!(first_of_whole_kinds(&rooms).count(), wholes);
        }
    }
}
