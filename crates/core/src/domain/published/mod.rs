//! Events that are published over HTTP, as records of a topic of our own: event, organisation and rooms stand in headers, and the
//! value is what clients receive, byte for byte. Routing of that topic is fixed; profiles have no say in it.
//!
//! Such a record is of class `event`: it enters no keyed state, asks for no acknowledgement and grants nothing.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod recent;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::decode::is_too_deep;
use super::id::Id;
use super::protocol::is_reserved_event;
use super::publication::{Class, Publication};
use super::record::Record;
use super::room::{InvalidRoomName, Room, Which};
use super::skip::Skip;
pub use recent::{Occurrence, RecentKeys};

/// Rooms of one message.
pub const MAX_ROOMS: usize = 100;

/// Characters of an event's name.
const MAX_EVENT_NAME: usize = 64;

const EVENT: &str = "fleetcast.event";
const ORGANISATION: &str = "fleetcast.organization_id";
/// A JSON list of names.
const ROOMS: &str = "fleetcast.rooms";
/// 32 hexadecimal digits. Absent: the message may come any number of times.
const IDEMPOTENCY: &str = "fleetcast.idempotency";

/// What is to be published. Checked: [`route`] takes the record that it makes.
#[derive(Debug, Clone)]
pub struct Message {
    pub event: Arc<str>,
    pub organisation: Id,
    /// All of `organisation`, each once, at least one.
    pub rooms: Vec<Room>,
    pub data: Box<RawValue>,
    /// Of the record: messages of one key stay in order.
    pub key: String,
    /// A retry has the same.
    pub idempotency: Option<u128>,
}

/// What is wrong with a message, for the one who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("event is 1 to 64 characters of A-Z, a-z, 0-9, _ . : and -")]
    EventName,
    #[error("event is a name that belongs to Socket.IO or to this server")]
    ReservedEvent,
    #[error("rooms names at least 1 and at most 100 rooms")]
    RoomCount,
    #[error("rooms[{0}]: {1}")]
    Room(usize, InvalidRoomName),
    #[error(
        "rooms[{0}]: all rooms of a kind cannot be named: name each, or send to all of the organisation"
    )]
    Whole(usize),
    #[error("rooms[{0}]: the profile has no rooms of this kind")]
    UnknownKind(usize),
    /// A text could pass for a cursor.
    #[error("data is an object or a list")]
    NotAnObject,
    #[error("data is larger than MAX_EVENT_BYTES ({0})")]
    TooLarge(usize),
    #[error("data is nested deeper than 128")]
    TooDeep,
}

/// The name of an event that may be published.
pub fn event_name(text: &str) -> Result<Arc<str>, BadMessage> {
    let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || b"_.:-".contains(&sign);
    if !(1..=MAX_EVENT_NAME).contains(&text.len()) || !text.bytes().all(is_sign) {
        return Err(BadMessage::EventName);
    }
    if is_reserved_event(text) {
        return Err(BadMessage::ReservedEvent);
    }
    Ok(Arc::from(text))
}

/// Rooms by their names, of kinds that the profile knows.
pub fn rooms(
    organisation: &Id,
    names: &[String],
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<Room>, BadMessage> {
    if !(1..=MAX_ROOMS).contains(&names.len()) {
        return Err(BadMessage::RoomCount);
    }
    let mut rooms = Vec::with_capacity(names.len());
    let mut seen = HashSet::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let room =
            Room::named(organisation, name).map_err(|wrong| BadMessage::Room(place, wrong))?;
        if room.which == Which::All {
            return Err(BadMessage::Whole(place));
        }
        let own = room.kind.is_organisation() || room.kind.is_user();
        if !own && !is_known(room.kind.as_str()) {
            return Err(BadMessage::UnknownKind(place));
        }
        if seen.insert(room.clone()) {
            rooms.push(room);
        }
    }
    Ok(rooms)
}

/// What clients receive as their argument.
pub fn data(data: &RawValue, max_bytes: usize) -> Result<(), BadMessage> {
    let text = data.get();
    if text.len() > max_bytes {
        return Err(BadMessage::TooLarge(max_bytes));
    }
    if !text.starts_with(['{', '[']) {
        return Err(BadMessage::NotAnObject);
    }
    if is_too_deep(text.as_bytes()) {
        return Err(BadMessage::TooDeep);
    }
    Ok(())
}

impl Message {
    /// Of its record.
    pub fn headers(&self) -> Vec<(String, String)> {
        let names: Vec<String> = self.rooms.iter().map(Room::name).collect();
        let names = serde_json::to_string(&names).expect("texts are plain data");
        let mut headers = vec![
            (EVENT.to_owned(), self.event.to_string()),
            (ORGANISATION.to_owned(), self.organisation.to_string()),
            (ROOMS.to_owned(), names),
        ];
        if let Some(key) = self.idempotency {
            headers.push((IDEMPOTENCY.to_owned(), format!("{key:032x}")));
        }
        headers
    }
}

/// A record of our topic as a publication, with what a retry of it would have in common with it.
pub fn route(
    record: &Record<'_>,
    topic: &Arc<str>,
    max_bytes: usize,
) -> Result<(Publication, Option<u128>), Skip> {
    let value = record.value.ok_or(Skip::Tombstone)?;
    let event = header(record, EVENT)?.ok_or(Skip::NoEvent)?;
    let event = event_name(event).map_err(|wrong| match wrong {
        BadMessage::ReservedEvent => Skip::ReservedEvent,
        _ => Skip::UnknownEvent,
    })?;
    let organisation = header(record, ORGANISATION)?.ok_or(Skip::NoOrganisation)?;
    let organisation = Id::parse(organisation).map_err(|_| Skip::BadOrganisation)?;
    let names = header(record, ROOMS)?.ok_or(Skip::NoRoom)?;
    let names: Vec<String> = serde_json::from_str(names).map_err(|_| Skip::BadId)?;
    // A kind that the profile does not know (any more) has no members.
    let rooms = rooms(&organisation, &names, |_| true).map_err(|wrong| match wrong {
        BadMessage::RoomCount => Skip::NoRoom,
        _ => Skip::BadId,
    })?;
    let text = std::str::from_utf8(value).map_err(|_| Skip::NotUtf8)?;
    let payload: &RawValue = serde_json::from_str(text).map_err(|_| Skip::NotJson)?;
    data(payload, max_bytes).map_err(|wrong| match wrong {
        BadMessage::TooLarge(_) => Skip::TooLarge,
        BadMessage::TooDeep => Skip::TooDeep,
        _ => Skip::NoPayload,
    })?;
    let idempotency = header(record, IDEMPOTENCY)?
        .map(|digits| u128::from_str_radix(digits, 16))
        .transpose()
        .map_err(|_| Skip::BadId)?;
    let publication = Publication {
        topic: Arc::clone(topic),
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.map(Arc::from),
        event,
        organisation,
        rooms,
        class: Class::Event,
        latest_of: None,
        ack: false,
        payload: payload.to_owned(),
    };
    Ok((publication, idempotency))
}

/// One that stands there twice may mean either.
fn header<'a>(record: &Record<'a>, name: &str) -> Result<Option<&'a str>, Skip> {
    let mut found = record.headers.iter().filter(|(known, _)| *known == name);
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        return Err(Skip::AmbiguousField);
    }
    first
        .map(|(_, value)| std::str::from_utf8(value).map_err(|_| Skip::NotUtf8))
        .transpose()
}

#[cfg(test)]
mod tests;
