//! Which event a record is, which organisation it belongs to, and which rooms receive it. The table is data from a profile; see `profiles/`.

mod delivery;
mod event;
mod header;
mod notes;
mod organisation;
mod plan;
mod source;
mod topics;
mod trace;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::decode::{self, Field, Fields};
use super::id::Id;
use super::publication::{Class, Publication};
use super::record::Record;
use super::room::Kind;
pub use super::skip::Skip;
pub(super) use event::{EventRoutes, normalise};
pub(super) use plan::{Claim, Plans, TopicEntry, TopicMatch};
use source::View;
pub(super) use source::{KeyRule, Organisation, RouteSource, Sources};
pub use topics::{MAX_PATTERN, TopicPattern};
pub(super) use topics::{PatternGuard, ProfileTopics};
pub(super) use trace::Trace;
pub use trace::{Stage, StepVerdict};

/// How records of a profile's topics become publications. Built by [`TableSpec::build`](super::spec::TableSpec::build),
/// which lets no bad one through; immutable after that.
#[derive(Debug)]
pub struct RouteTable {
    pub(super) topics: ProfileTopics,
    pub(super) plans: Plans,
    pub(super) fields: Fields,
    pub(super) event: Sources,
    pub(super) organisation: Organisation,
    pub(super) routes: Vec<Route>,
    pub(super) events: Vec<EventRoutes>,
    /// Name, usual spelling or alias -> index into `events`.
    pub(super) index: HashMap<Box<str>, usize>,
    pub(super) max_event_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Route {
    /// Index into the events, where the topic alone names it.
    pub(super) fixed: Option<usize>,
    /// Headers that a record must have, with their values.
    pub(super) when: Vec<(Box<str>, Box<str>)>,
    /// `None`: the whole value.
    pub(super) payload: Option<Field>,
    pub(super) rooms: Vec<RoomRoute>,
    pub(super) class: Class,
    /// What class latest is the latest of.
    pub(super) key: Sources,
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
    Said { by: Sources, required: bool },
}

impl RouteTable {
    /// Full names, the prefix applied, alternatives included. What patterns match is not among them: only the brokers know.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.groups.iter().flatten().map(|name| &**name)
    }

    pub fn patterns(&self) -> impl Iterator<Item = &TopicPattern> {
        self.topics.patterns.iter()
    }

    /// Topics are to be looked for, not only to be read.
    pub fn has_patterns(&self) -> bool {
        !self.topics.patterns.is_empty()
    }

    /// The profile names this topic, or one of its patterns matches it. Full name. Patterns never match topics of our own,
    /// Kafka's internal ones, and those that hold what was set aside (`.dlq`, `-retry`).
    pub fn wants(&self, topic: &str) -> bool {
        self.topics.wants(topic)
    }

    /// Each topic with its alternative names, the preferred one first: what to create where none of them exists.
    pub fn topic_groups(&self) -> impl Iterator<Item = &[Arc<str>]> {
        self.topics.groups.iter().map(Vec::as_slice)
    }

    pub fn events(&self) -> impl Iterator<Item = &str> {
        self.events.iter().map(|event| &*event.name)
    }

    /// Kinds of room that records are sent to, each once.
    pub fn kinds(&self) -> BTreeSet<&str> {
        let rooms = self.routes.iter().flat_map(|route| &route.rooms);
        rooms.map(|room| room.kind.as_str()).collect()
    }

    /// The organisation of records that name none, in a profile that serves one.
    pub fn default_organisation(&self) -> Option<&Id> {
        self.organisation
            .by
            .0
            .iter()
            .find_map(|source| match source {
                RouteSource::Fixed(id) => Some(id),
                _ => None,
            })
    }

    /// Decodes and routes. `topic` is the shared form of the record's topic.
    ///
    /// Unless its routes say otherwise an event is accepted on any topic of the profile, not only on "its own": a topic says
    /// how producers share their load, the event says what happened, and companies split topics in their own ways (alerts
    /// beside incidents, one topic for all). Nothing is at stake: organisation and rooms come from the record either way.
    pub fn route(&self, record: &Record<'_>, topic: &Arc<str>) -> Result<Publication, Skip> {
        self.walk(record, topic, &mut ())
    }

    /// The one walk: [`RouteTable::route`] takes its outcome, an explanation its notes too.
    pub(super) fn walk(
        &self,
        record: &Record<'_>,
        topic: &Arc<str>,
        trace: &mut impl Trace,
    ) -> Result<Publication, Skip> {
        let Some(plan) = self.plan(record.topic) else {
            let text = || self.topics.why_not(record.topic);
            return Err(trace.refuse(Stage::Topic, Skip::UnknownTopic, text));
        };
        trace.found(Stage::Topic, || self.topics.why(record.topic));
        let Some(value) = record.value else {
            let text = || "the record has no value: it deletes its key".to_owned();
            return Err(trace.refuse(Stage::Value, Skip::Tombstone, text));
        };
        let decoded = decode::decode(value, &self.fields, plan.format, self.max_event_bytes);
        let fields = decoded.map_err(|skip| {
            trace.refuse(Stage::Value, skip, || {
                notes::bad_value(skip, value, plan.format, self.max_event_bytes)
            })
        })?;
        trace.found(Stage::Value, || {
            notes::good_value(value.len(), fields.schema)
        });
        let view = View {
            record,
            fields: &fields,
            plan: &plan,
        };
        // The event goes first: an unknown one is none of our business, whatever else it lacks.
        let (event, route) = self.find(view, trace)?;
        let organisation = self.organisation.of(view, trace)?;
        let rooms = delivery::rooms(route, view, &organisation, trace)?;
        let (class, latest_of) = delivery::class(route, view, trace)?;
        let payload = delivery::payload(route, &fields, trace)?;
        trace.found(Stage::Delivery, || {
            notes::delivery(class, route.ack, payload.get().len())
        });
        Ok(Publication {
            topic: Arc::clone(topic),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Arc::from),
            event: Arc::clone(event),
            organisation,
            rooms,
            class,
            latest_of,
            ack: route.ack,
            payload,
        })
    }

    fn plan(&self, topic: &str) -> Option<Arc<plan::TopicPlan>> {
        let known = self.plans.known(topic);
        known.or_else(|| self.wants(topic).then(|| self.plans.met(topic)))
    }
}

#[cfg(test)]
mod shapes;
#[cfg(test)]
pub(super) mod tests;
