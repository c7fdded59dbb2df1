//! Which event a record is, whose it is, and who may hear it. The table is data from a profile; see `profiles/`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::decode::{self, Decoded, Fields, Place, Slot};
use super::explain::{self, Stage, Trace, Verdict};
use super::id::{Id, InvalidId};
use super::protocol::is_reserved_event;
use super::publication::{Class, Publication};
use super::record::Record;
use super::room::{Kind, Room, Which};
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
        self.walk(record, topic, &mut ())
    }

    /// The one walk, for [`RouteTable::route`] and for [`RouteTable::explain`].
    pub(super) fn walk(
        &self,
        record: &Record<'_>,
        topic: &Arc<str>,
        trace: &mut impl Trace,
    ) -> Result<Publication, Skip> {
        if !self.topic_names.contains(record.topic) {
            return Err(trace.refuse(Stage::Topic, Skip::UnknownTopic, || {
                let known: Vec<&str> = self.topics().collect();
                let (topic, known) = (record.topic, known.join(", "));
                format!("{topic:?} is none of the profile's topics, which are {known}")
            }));
        }
        trace.found(Stage::Topic, || {
            format!("{:?} is a topic of the profile", record.topic)
        });
        let Some(value) = record.value else {
            let text = || "the record has no value: it deletes its key".to_owned();
            return Err(trace.refuse(Stage::Value, Skip::Tombstone, text));
        };
        let fields = decode::decode(value, &self.fields, self.max_event_bytes).map_err(|skip| {
            trace.refuse(Stage::Value, skip, || {
                explain::bad_value(skip, value.len(), self.max_event_bytes)
            })
        })?;
        trace.found(Stage::Value, || {
            format!("an object of JSON, {} bytes", value.len())
        });
        // The event goes first: an unknown one is none of our business, whatever else it lacks.
        let route = self.find(record.headers, &fields, trace)?;
        let organisation = self.organisation(record.headers, &fields, trace)?;
        let rooms = self.rooms(route, &fields, &organisation, trace)?;
        let (class, latest_of) = self.class(route, &fields, trace)?;
        let payload = payload(value)?;
        trace.found(Stage::Delivery, || {
            explain::delivery(class, route.ack, payload.get().len())
        });
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
            class,
            latest_of: latest_of.map(Arc::from),
            ack: route.ack,
            payload,
        })
    }

    fn find(
        &self,
        headers: &[(&str, &[u8])],
        fields: &Decoded<'_>,
        trace: &mut impl Trace,
    ) -> Result<&Route, Skip> {
        let name = self.event_name(headers, fields, trace)?;
        if name.len() > MAX_EVENT_NAME {
            return Err(trace.refuse(Stage::Event, Skip::UnknownEvent, || {
                let bytes = name.len();
                format!("a name of {bytes} bytes is longer than any event's ({MAX_EVENT_NAME})")
            }));
        }
        let routed = |name: &str| self.index.get(name).and_then(|&at| self.routes.get(at));
        if let Some(route) = routed(&name) {
            trace.found(Stage::Event, || {
                explain::event_named(&name, &normalise(&name), &route.event)
            });
            return Ok(route);
        }
        let usual = normalise(&name);
        if is_reserved_event(&name) || is_reserved_event(&usual) {
            return Err(trace.refuse(Stage::Event, Skip::ReservedEvent, || {
                format!("{name:?} belongs to Socket.IO or to the protocol: a record must not pose as the server")
            }));
        }
        let Some(route) = routed(&usual) else {
            return Err(trace.refuse(Stage::Event, Skip::UnknownEvent, || {
                if *name == *usual {
                    format!("no route is for {name:?}")
                } else {
                    format!("no route is for {name:?}, nor for {usual:?}, its usual spelling")
                }
            }));
        };
        trace.found(Stage::Event, || {
            explain::event_named(&name, &usual, &route.event)
        });
        Ok(route)
    }

    /// By the first source that names an event. A source that is there but makes no name (not UTF-8, not a string) is
    /// not passed over: the next one may be about something else.
    fn event_name<'a>(
        &self,
        headers: &[(&str, &'a [u8])],
        fields: &Decoded<'a>,
        trace: &mut impl Trace,
    ) -> Result<Cow<'a, str>, Skip> {
        for name in &self.event.headers {
            // Kafka's own rule for a header that repeats: the last one counts.
            let Some((_, value)) = headers.iter().rfind(|(header, _)| *header == &**name) else {
                trace.note(Stage::Event, Verdict::Absent, || {
                    format!("there is no header {name}")
                });
                continue;
            };
            let text = std::str::from_utf8(value).map_err(|_| {
                trace.refuse(Stage::Event, Skip::UnknownEvent, || {
                    format!("header {name} is not UTF-8")
                })
            })?;
            trace.found(Stage::Event, || {
                format!("header {name} says {:?}", explain::shortened(text))
            });
            return Ok(Cow::Borrowed(text));
        }
        for &slot in &self.event.fields {
            let name = self.fields.name(slot);
            let Some(value) = fields.at_top(slot) else {
                trace.note(Stage::Event, Verdict::Absent, || {
                    format!("there is no field {name} at the top")
                });
                continue;
            };
            let shown = || explain::shortened(value.get());
            let text = decode::text(value).ok_or_else(|| {
                trace.refuse(Stage::Event, Skip::UnknownEvent, || {
                    format!("field {name} is {}, which is no text", shown())
                })
            })?;
            trace.found(Stage::Event, || format!("field {name} says {}", shown()));
            return Ok(text);
        }
        Err(trace.refuse(Stage::Event, Skip::NoEvent, || {
            "nothing names the event".to_owned()
        }))
    }

    /// The first source that is there decides: headers before the body before the top. A source that is there but is no
    /// organisation refuses the record; it is not passed over for one that is about somebody else.
    fn organisation(
        &self,
        headers: &[(&str, &[u8])],
        fields: &Decoded<'_>,
        trace: &mut impl Trace,
    ) -> Result<Id, Skip> {
        const STAGE: Stage = Stage::Organisation;
        for name in &self.organisation.headers {
            let mut values = headers
                .iter()
                .filter(|(header, _)| *header == &**name)
                .map(|(_, value)| *value);
            let Some(first) = values.next() else {
                trace.note(STAGE, Verdict::Absent, || {
                    format!("there is no header {name}")
                });
                continue;
            };
            // Kafka lets a header repeat. Two that differ are two organisations, and either could be the wrong one.
            if values.any(|other| other != first) {
                return Err(trace.refuse(STAGE, Skip::AmbiguousField, || {
                    format!("header {name} is there more than once, with different values")
                }));
            }
            let id = std::str::from_utf8(first)
                .map_err(|_| InvalidId)
                .and_then(Id::parse);
            let shown = || explain::shortened(&String::from_utf8_lossy(first));
            return match id {
                Ok(id) => {
                    trace.found(STAGE, || format!("header {name} says {id}"));
                    Ok(id)
                }
                Err(rule) => Err(trace.refuse(STAGE, Skip::BadOrganisation, || {
                    format!("header {name} says {:?}: {rule}", shown())
                })),
            };
        }
        for &slot in &self.organisation.fields {
            let Some((place, value)) = fields.either(slot) else {
                trace.note(STAGE, Verdict::Absent, || {
                    explain::not_there(&self.fields, &[slot])
                });
                continue;
            };
            let says = || explain::field_says(&self.fields, &[], slot, place, value.get());
            return match decode::id(value) {
                Ok(id) => {
                    trace.found(STAGE, says);
                    Ok(id)
                }
                Err(rule) => Err(trace.refuse(STAGE, Skip::BadOrganisation, || {
                    format!("{}: {rule}", says())
                })),
            };
        }
        Err(trace.refuse(STAGE, Skip::NoOrganisation, || {
            "nothing names the organisation".to_owned()
        }))
    }

    /// A bad id refuses the whole record: to deliver it to the rooms that are left would be a loss for the members of
    /// the one that is not, and nobody would ever learn of it.
    fn rooms(
        &self,
        route: &Route,
        fields: &Decoded<'_>,
        organisation: &Id,
        trace: &mut impl Trace,
    ) -> Result<Vec<Room>, Skip> {
        const STAGE: Stage = Stage::Room;
        let mut rooms: Vec<Room> = Vec::with_capacity(route.rooms.len());
        for RoomRoute { kind, id } in &route.rooms {
            let (id, why) = match id {
                RoomId::Organisation => (organisation.clone(), None),
                RoomId::Field { names, required } => match fields.first(names) {
                    Some(found) => (
                        self.id(names, found, (STAGE, kind.as_str()), trace)?,
                        Some((names, found)),
                    ),
                    None if *required => {
                        return Err(trace.refuse(STAGE, Skip::NoRoom, || {
                            let why = explain::not_there(&self.fields, names);
                            format!("{kind}: {why}, and the route requires this room")
                        }));
                    }
                    None => {
                        trace.note(STAGE, Verdict::LeftOut, || {
                            let why = explain::not_there(&self.fields, names);
                            format!("{kind}: {why}; the room is optional")
                        });
                        continue;
                    }
                },
            };
            let room = Room {
                organisation: organisation.clone(),
                kind: kind.clone(),
                which: Which::One(id),
            };
            let because = || match why {
                Some((names, (slot, place, value))) => {
                    explain::field_says(&self.fields, names, slot, place, value.get())
                }
                None => "everybody of the organisation".to_owned(),
            };
            if rooms.contains(&room) {
                trace.note(STAGE, Verdict::LeftOut, || {
                    format!("{room}: {}, but this room is named already", because())
                });
            } else {
                trace.found(STAGE, || format!("{room}: {}", because()));
                rooms.push(room);
            }
        }
        if rooms.is_empty() {
            return Err(trace.refuse(STAGE, Skip::NoRoom, || {
                "no room of the route is left".to_owned()
            }));
        }
        Ok(rooms)
    }

    /// The class, and what it is the latest of.
    fn class(
        &self,
        route: &Route,
        fields: &Decoded<'_>,
        trace: &mut impl Trace,
    ) -> Result<(Class, Option<Id>), Skip> {
        if route.latest_of.is_empty() {
            return Ok((route.class, None));
        }
        let names = &route.latest_of;
        let Some(found) = fields.first(names) else {
            // Nothing tells what it would be the latest of, so none may take its place.
            trace.note(Stage::LatestOf, Verdict::LeftOut, || {
                let why = explain::not_there(&self.fields, names);
                format!("{why}, so it is delivered as class event")
            });
            return Ok((Class::Event, None));
        };
        let id = self.id(names, found, (Stage::LatestOf, "the latest"), trace)?;
        trace.found(Stage::LatestOf, || {
            let (slot, place, value) = found;
            explain::field_says(&self.fields, names, slot, place, value.get())
        });
        Ok((route.class, Some(id)))
    }

    fn id(
        &self,
        names: &[Slot],
        (slot, place, value): (Slot, Place, &RawValue),
        (stage, of): (Stage, &str),
        trace: &mut impl Trace,
    ) -> Result<Id, Skip> {
        decode::id(value).map_err(|rule| {
            trace.refuse(stage, Skip::BadId, || {
                let says = explain::field_says(&self.fields, names, slot, place, value.get());
                format!("{of}: {says}: {rule}")
            })
        })
    }
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
pub(super) mod tests;
