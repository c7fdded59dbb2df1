//! From what was written to a table, or to all that is wrong with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::decode::{BODY, Field, Fields, MAX_PATH, MAX_PLACES};
use super::super::id::Id;
use super::super::route::{
    EventRoutes, KeyRule, Organisation, PatternGuard, Plans, ProfileTopics, RouteSource,
    RouteTable, Sources, TopicEntry, TopicMatch, TopicPattern,
};
use super::super::topic_name::{TOPIC_NAME_RULE, is_topic_name};
use super::TableSpec;
use super::place::{At, SpecProblem};
use super::routing::Routing;
use super::source::{FieldSpec, KeySpec, SourceSpec};
use super::topic::{TopicChoice, TopicSpec};

/// Bytes of an event's, a field's or a header's name.
pub(super) const MAX_NAME: usize = 64;

pub(super) fn build(spec: &TableSpec) -> Result<RouteTable, Vec<SpecProblem>> {
    let mut builder = Builder {
        prefix: &spec.topic_prefix,
        ..Builder::default()
    };
    builder.topics(&spec.topics);
    let event = match &spec.event {
        Some(event) => builder.source(&At::key("event"), event, Of::Event),
        None => Sources::default(),
    };
    let organisation = &spec.organisation.0;
    let organisation = Organisation {
        agree: organisation.agree,
        by: builder.source(&At::key("organisation"), organisation, Of::Organisation),
    };
    let Routing {
        routes,
        claims,
        events,
        index,
    } = Routing::of(&mut builder, spec);
    if !builder.problems.is_empty() {
        return Err(builder.problems);
    }
    let patterns = builder
        .entries
        .iter()
        .flat_map(|entry| &entry.topics.patterns);
    let topics = ProfileTopics::new(
        builder.groups,
        patterns.cloned().collect(),
        PatternGuard::new(&spec.topic_prefix, &spec.service_topics),
    );
    Ok(RouteTable {
        topics,
        plans: Plans::new(builder.entries, claims, spec.format),
        fields: builder.fields,
        event,
        organisation,
        routes,
        events,
        index,
        max_event_bytes: spec.max_event_bytes,
    })
}

/// What a source says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The name of the event, which belongs to the envelope: never looked for in the body.
    Event,
    /// Whose the record is.
    Organisation,
    /// An id of a room, or what class latest is the latest of.
    Id,
}

#[derive(Default)]
pub(super) struct Builder<'s> {
    prefix: &'s str,
    pub(super) groups: Vec<Vec<Arc<str>>>,
    pub(super) entries: Vec<TopicEntry>,
    fields: Fields,
    pub(super) problems: Vec<SpecProblem>,
}

impl Builder<'_> {
    pub(super) fn complain(&mut self, at: &At, message: impl Into<String>) {
        self.problems.push(SpecProblem {
            at: at.clone(),
            message: message.into(),
        });
    }

    fn topics(&mut self, entries: &[TopicSpec]) {
        let at = At::key("topics");
        if entries.is_empty() {
            self.complain(&at, "there is no topic");
        }
        for (number, entry) in entries.iter().enumerate() {
            let at = at.item(number);
            let mut topics = TopicMatch::default();
            match &entry.which {
                TopicChoice::Names(names) => {
                    topics.names = self.topic(&at, names);
                    self.groups.push(topics.names.clone());
                }
                TopicChoice::Pattern(text) => topics.patterns.extend(self.pattern(&at, text)),
            }
            self.entries.push(TopicEntry {
                topics,
                format: entry.format,
            });
        }
    }

    fn pattern(&mut self, at: &At, text: &str) -> Option<TopicPattern> {
        match TopicPattern::parse(self.prefix, text) {
            Ok(pattern) => Some(pattern),
            Err(message) => {
                self.complain(at, message);
                None
            }
        }
    }

    /// One topic by all of its names.
    fn topic(&mut self, at: &At, names: &[String]) -> Vec<Arc<str>> {
        if names.is_empty() {
            self.complain(at, "a topic has no name");
        }
        let mut group: Vec<Arc<str>> = Vec::new();
        for name in names {
            let full: Arc<str> = format!("{}{name}", self.prefix).into();
            if !is_topic_name(&full) || name.is_empty() {
                let message = format!("invalid topic name {full:?}: expected {TOPIC_NAME_RULE}");
                self.complain(at, message);
            }
            if group.contains(&full) || self.groups.iter().flatten().any(|topic| *topic == full) {
                self.complain(at, format!("topic {full:?} is listed twice"));
            }
            group.push(full);
        }
        group
    }

    /// The topics of a route, which are among those of the profile.
    pub(super) fn some_topics(&mut self, at: &At, entries: &[TopicSpec]) -> TopicMatch {
        let mut found = TopicMatch::default();
        if entries.is_empty() {
            self.complain(at, "a route without topics receives no records");
        }
        for (number, entry) in entries.iter().enumerate() {
            let at = at.item(number);
            if entry.format.is_some() {
                self.complain(
                    &at,
                    "the format stands beside the route's topics, not in them",
                );
            }
            match &entry.which {
                TopicChoice::Names(names) => {
                    for name in names {
                        let full = format!("{}{name}", self.prefix);
                        let group = self
                            .groups
                            .iter()
                            .find(|group| group.iter().any(|known| **known == *full));
                        if let Some(group) = group {
                            found.names.extend(group.iter().cloned());
                        } else if self.entries.iter().any(|entry| entry.topics.matches(&full)) {
                            found.names.push(full.into());
                        } else {
                            self.complain(&at, format!("topic {full:?} is none of the profile's"));
                        }
                    }
                }
                TopicChoice::Pattern(text) => {
                    let Some(pattern) = self.pattern(&at, text) else {
                        continue;
                    };
                    let names = self.groups.iter().flatten();
                    let looks_further = self
                        .entries
                        .iter()
                        .any(|entry| !entry.topics.patterns.is_empty());
                    if !looks_further && !names.clone().any(|name| pattern.matches(name)) {
                        let message =
                            format!("pattern {text:?} matches none of the profile's topics");
                        self.complain(&at, message);
                    }
                    // Where it matches one name of a topic it is for the others too.
                    let groups = self.groups.iter();
                    let met = groups.filter(|group| group.iter().any(|name| pattern.matches(name)));
                    found.names.extend(met.flatten().cloned());
                    found.patterns.push(pattern);
                }
            }
        }
        found
    }

    /// `at` is where the sources stand, as a table or as a list of fields.
    pub(super) fn source(&mut self, at: &At, source: &SourceSpec, of: Of) -> Sources {
        if source.is_empty() {
            let message = match of {
                Of::Event => "neither a header nor a field is named",
                Of::Organisation | Of::Id => {
                    "neither a header nor a field is named, nor anything else that would say it"
                }
            };
            self.complain(at, message);
        }
        if source.agree && of != Of::Organisation {
            self.complain(&at.then("agree"), "agree belongs to the organisation");
        }
        let mut sources = Vec::new();
        for (number, header) in source.headers.iter().enumerate() {
            if !is_name(header) {
                let at = at.then("headers").item(number);
                self.complain(&at, format!("{header:?} cannot be a header"));
            }
            sources.push(RouteSource::Header(header.as_str().into()));
        }
        self.source_fields(at, &source.fields, of, &mut sources);
        if let Some(key) = &source.key {
            let at = at.then("key");
            match key {
                _ if of == Of::Event => {
                    self.complain(&at, "the record's key does not name its event");
                }
                KeySpec::Whole => sources.push(RouteSource::Key(KeyRule::Whole)),
                KeySpec::Part(key) => {
                    if !is_name(&key.separator) || key.part == 0 {
                        self.complain(&at, "a part is counted from 1, between separators of at least one character");
                    }
                    self.separator(&at, &key.separator, of);
                    sources.push(RouteSource::Key(KeyRule::Part {
                        separator: key.separator.as_str().into(),
                        number: key.part.saturating_sub(1),
                    }));
                }
            }
        }
        if let Some(group) = &source.topic {
            sources.push(RouteSource::Topic(group.as_str().into()));
        }
        if let Some(default) = &source.default {
            let at = at.then("default");
            match Id::parse(default) {
                _ if of == Of::Event => {
                    self.complain(&at, "an event for all records of a topic is a route's: event = \"...\" with topics");
                }
                Ok(id) => sources.push(RouteSource::Fixed(id)),
                Err(rule) => self.complain(&at, format!("{default:?}: {rule}")),
            }
        }
        Sources(sources)
    }

    /// The key of another organisation's record must not read as one of this.
    fn separator(&mut self, at: &At, separator: &str, of: Of) {
        if of == Of::Organisation && Id::parse(separator).is_ok() {
            let message = format!(
                "separator {separator:?} may stand in ids, so that acme{separator}north{separator}7 could be of acme or of acme{separator}north, which could write what acme hears: take one that is not only of A-Z, a-z, 0-9, _ and -"
            );
            self.complain(&at.then("separator"), message);
        }
    }

    fn source_fields(&mut self, at: &At, specs: &[FieldSpec], of: Of, into: &mut Vec<RouteSource>) {
        let mut fields: Vec<Field> = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            // Written as a table or as a list: the reader of the file finds either.
            let at = at.then("fields").item(number);
            let found = match spec {
                FieldSpec::Name(name) if name == BODY || !is_name(name) => {
                    self.complain(&at, format!("{spec} cannot be a field for routing"));
                    continue;
                }
                FieldSpec::Name(name) => self.fields.named(name, of != Of::Event),
                FieldSpec::Path(keys) => {
                    if !self.is_path(&at, spec) {
                        continue;
                    }
                    self.fields.path(keys)
                }
            };
            match found {
                Some(field) if fields.contains(&field) => {
                    self.complain(&at, format!("field {spec} is named twice"));
                }
                Some(field) => fields.push(field),
                None => self.too_many(&at, spec),
            }
        }
        into.extend(fields.into_iter().map(RouteSource::Field));
    }

    /// What clients get.
    pub(super) fn payload(&mut self, at: &At, spec: &FieldSpec) -> Option<Field> {
        let keys = match spec {
            FieldSpec::Name(name) => std::slice::from_ref(name),
            FieldSpec::Path(keys) => keys,
        };
        if !self.is_path(at, &FieldSpec::Path(keys.to_vec())) {
            return None;
        }
        let field = self.fields.path(keys);
        if field.is_none() {
            self.too_many(at, spec);
        }
        field
    }

    fn is_path(&mut self, at: &At, spec: &FieldSpec) -> bool {
        let FieldSpec::Path(keys) = spec else {
            return true;
        };
        let fits = (1..=MAX_PATH).contains(&keys.len()) && keys.iter().all(|key| is_name(key));
        if !fits {
            let message =
                format!("{spec} cannot be a path: 1 to {MAX_PATH} keys of 1 to {MAX_NAME} bytes");
            self.complain(at, message);
        }
        fits
    }

    fn too_many(&mut self, at: &At, spec: &FieldSpec) {
        let message = format!(
            "field {spec} is one more than a profile may ask for: {MAX_PLACES} places in a record, and a name takes two, in data and at the top"
        );
        self.complain(at, message);
    }

    /// Groups that sources ask topics for must be groups of some pattern.
    pub(super) fn check_group(
        &mut self,
        at: &At,
        group: Option<&String>,
        more: Option<&TopicMatch>,
    ) {
        let Some(group) = group else { return };
        let of_entries = self.entries.iter().flat_map(|entry| &entry.topics.patterns);
        let mut patterns = of_entries.chain(more.into_iter().flat_map(|topics| &topics.patterns));
        if !patterns.any(|pattern| pattern.group_names().any(|name| name == group)) {
            let at = at.then("topic");
            self.complain(
                &at,
                format!("no pattern has a group {group:?}: (?<{group}>...)"),
            );
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
}

pub(super) type Index = HashMap<Box<str>, usize>;
pub(super) type Events = Vec<EventRoutes>;
