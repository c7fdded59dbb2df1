//! Which event a record is, whose it is, and who may hear it. The table is data from a profile; see `profiles/`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::decode::{self, Decoded, Fields, Slot};
use super::id::{Id, InvalidId};
use super::protocol::is_reserved_event;
use super::publication::{Class, Publication};
use super::record::Record;
use super::room::{Kind, Room};
pub use super::skip::Skip;

/// Longer names of events are unknown without being looked at.
const MAX_EVENT_NAME: usize = 128;

/// How records of a profile's topics become publications. Built by [`TableSpec::build`](super::spec::TableSpec::build),
/// which lets no bad one through; immutable after that.
#[derive(Debug)]
pub struct RouteTable {
    topics: Vec<Vec<Arc<str>>>,
    topic_names: HashSet<Arc<str>>,
    fields: Fields,
    event: Names,
    organisation: Names,
    routes: Vec<Route>,
    /// Name, usual spelling or alias -> index into `routes`.
    index: HashMap<Box<str>, usize>,
    max_event_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Names {
    pub(super) headers: Vec<Box<str>>,
    pub(super) fields: Vec<Slot>,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) event: Arc<str>,
    pub(super) rooms: Vec<RoomRoute>,
    pub(super) class: Class,
    pub(super) latest_of: Vec<Slot>,
    pub(super) ack: bool,
}

#[derive(Debug, Clone)]
pub(super) struct RoomRoute {
    pub(super) kind: Kind,
    pub(super) id: RoomId,
}

#[derive(Debug, Clone)]
pub(super) enum RoomId {
    Organisation,
    Field { names: Vec<Slot>, required: bool },
}

impl RouteTable {
    pub(super) fn new(
        topics: Vec<Vec<Arc<str>>>,
        fields: Fields,
        (event, organisation): (Names, Names),
        (routes, index): (Vec<Route>, HashMap<Box<str>, usize>),
        max_event_bytes: usize,
    ) -> Self {
        Self {
            topic_names: topics.iter().flatten().cloned().collect(),
            topics,
            fields,
            event,
            organisation,
            routes,
            index,
            max_event_bytes,
        }
    }

    /// Full names, the prefix applied, alternatives included.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().flatten().map(|name| &**name)
    }

    /// Each topic with its alternative names, the preferred one first: what to create where none of them exists.
    pub fn topic_groups(&self) -> impl Iterator<Item = &[Arc<str>]> {
        self.topics.iter().map(Vec::as_slice)
    }

    pub fn events(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| &*route.event)
    }

    /// Kinds of room that records are sent to, each once.
    pub fn kinds(&self) -> std::collections::BTreeSet<&str> {
        let rooms = self.routes.iter().flat_map(|route| &route.rooms);
        rooms.map(|room| room.kind.as_str()).collect()
    }

    /// Decodes and routes. `topic` is the shared form of the record's topic.
    ///
    /// An event is accepted on any topic of the profile, not only on "its own": a topic says how producers share their
    /// load, the event says what happened, and companies split topics in their own ways (alerts beside incidents, one
    /// topic for all). Nothing is at stake: organisation and rooms come from the record either way.
    pub fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Result<Publication, Skip> {
        if !self.topic_names.contains(record.topic) {
            return Err(Skip::UnknownTopic);
        }
        let value = record.value.ok_or(Skip::Tombstone)?;
        let fields = decode::decode(value, &self.fields, self.max_event_bytes)?;
        // The event goes first: an unknown one is none of our business, whatever else it lacks.
        let route = self.find(record.headers, &fields)?;
        let organisation = self.organisation(record.headers, &fields)?;
        let rooms = route.rooms(&fields, &organisation)?;
        let latest_of = optional_id(&fields, &route.latest_of)?;
        Ok(Publication {
            topic: Arc::clone(topic),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record
                .key
                .and_then(|key| std::str::from_utf8(key).ok())
                .map(Arc::from),
            event: Arc::clone(&route.event),
            organisation,
            rooms,
            class: match route.class {
                // Nothing tells what it would be the latest of, so none may take its place.
                Class::Latest if latest_of.is_none() => Class::Event,
                class => class,
            },
            latest_of: latest_of.map(Arc::from),
            ack: route.ack,
            payload: payload(value)?,
        })
    }

    /// By the first source that names an event. A source that is there but makes no name (not UTF-8, not a string) is
    /// not passed over: the next one may be about something else.
    fn find(&self, headers: &[(&str, &[u8])], fields: &Decoded<'_>) -> Result<&Route, Skip> {
        let name = self.event.headers.iter().find_map(|name| {
            // Kafka's own rule for a header that repeats: the last one counts.
            let (_, value) = headers.iter().rfind(|(header, _)| *header == &**name)?;
            Some(std::str::from_utf8(value).ok().map(Cow::Borrowed))
        });
        let name = name.or_else(|| {
            let mut values = self.event.fields.iter();
            values.find_map(|&slot| fields.at_top(slot).map(decode::text))
        });
        let name = name.ok_or(Skip::NoEvent)?.ok_or(Skip::UnknownEvent)?;
        if name.len() > MAX_EVENT_NAME {
            return Err(Skip::UnknownEvent);
        }
        if let Some(route) = self.index.get(&*name) {
            return self.routes.get(*route).ok_or(Skip::UnknownEvent);
        }
        let usual = normalise(&name);
        if is_reserved_event(&name) || is_reserved_event(&usual) {
            return Err(Skip::ReservedEvent);
        }
        let route = self.index.get(usual.as_str());
        route
            .and_then(|&route| self.routes.get(route))
            .ok_or(Skip::UnknownEvent)
    }

    /// The first source that is there decides: headers before the body before the top. A source that is there but is no
    /// organisation refuses the record; it is not passed over for one that is about somebody else.
    fn organisation(&self, headers: &[(&str, &[u8])], fields: &Decoded<'_>) -> Result<Id, Skip> {
        let in_headers = self.organisation.headers.iter().find_map(|name| {
            let mut values = headers
                .iter()
                .filter(|(header, _)| *header == &**name)
                .map(|(_, value)| *value);
            let first = values.next()?;
            // Kafka lets a header repeat. Two that differ are two organisations, and either could be the wrong one.
            Some(if values.any(|other| other != first) {
                Err(Skip::AmbiguousField)
            } else {
                std::str::from_utf8(first)
                    .map_err(|_| InvalidId)
                    .and_then(Id::parse)
                    .map_err(|_| Skip::BadOrganisation)
            })
        });
        let in_fields = || {
            self.organisation.fields.iter().find_map(|&slot| {
                fields
                    .in_body(slot)
                    .or_else(|| fields.at_top(slot))
                    .map(|value| decode::id(value).map_err(|_| Skip::BadOrganisation))
            })
        };
        in_headers.or_else(in_fields).ok_or(Skip::NoOrganisation)?
    }
}

impl Route {
    /// A bad id refuses the whole record: to deliver it to the rooms that are left would be a loss for the members of
    /// the one that is not, and nobody would ever learn of it.
    fn rooms(&self, fields: &Decoded<'_>, organisation: &Id) -> Result<Vec<Room>, Skip> {
        let mut rooms: Vec<Room> = Vec::with_capacity(self.rooms.len());
        for room in &self.rooms {
            let id = match &room.id {
                RoomId::Organisation => organisation.clone(),
                RoomId::Field { names, required } => match optional_id(fields, names)? {
                    Some(id) => id,
                    None if *required => return Err(Skip::NoRoom),
                    None => continue,
                },
            };
            let room = Room {
                organisation: organisation.clone(),
                kind: room.kind.clone(),
                id,
            };
            if !rooms.contains(&room) {
                rooms.push(room);
            }
        }
        if rooms.is_empty() {
            return Err(Skip::NoRoom);
        }
        Ok(rooms)
    }
}

fn optional_id(fields: &Decoded<'_>, names: &[Slot]) -> Result<Option<Id>, Skip> {
    let value = fields.first(names);
    value
        .map(|value| decode::id(value).map_err(|_| Skip::BadId))
        .transpose()
}

/// `incident.created`, `incident-created`, `IncidentCreated` and `incidentCreated` become `incident_created`.
pub(super) fn normalise(name: &str) -> String {
    let mut usual = String::with_capacity(name.len() + 4);
    let mut after_word = false;
    for character in name.chars() {
        match character {
            '.' | '-' => usual.push('_'),
            'A'..='Z' => {
                if after_word {
                    usual.push('_');
                }
                usual.push(character.to_ascii_lowercase());
            }
            _ => usual.push(character),
        }
        after_word = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    usual
}

/// The record as it came, less any white space around it. The type remembers that it was found to be JSON.
fn payload(value: &[u8]) -> Result<Box<RawValue>, Skip> {
    let payload: &RawValue = serde_json::from_slice(value).map_err(|_| Skip::NotJson)?;
    Ok(payload.to_owned())
}

#[cfg(test)]
mod tests;
