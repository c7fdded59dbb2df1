//! The routes of a profile: which events they are for, on which topics, and that no two claim the same records.

use std::collections::BTreeMap;

use super::super::decode::Format;
use super::super::protocol::is_reserved_event;
use super::super::publication::Class;
use super::super::room::Kind;
use super::super::route::{
    Claim, EventRoutes, RoomId, RoomRoute, Route, Sources, TopicMatch, normalise,
};
use super::builder::{Builder, Events, Index, MAX_NAME, Of};
use super::place::At;
use super::source::SourceSpec;
use super::{KeySpec, RoomSpec, RouteSpec, TableSpec};

/// What the routes become.
#[derive(Default)]
pub(super) struct Routing {
    pub(super) routes: Vec<Route>,
    pub(super) claims: Vec<Claim>,
    pub(super) events: Events,
    pub(super) index: Index,
}

impl Routing {
    pub(super) fn of(builder: &mut Builder<'_>, spec: &TableSpec) -> Self {
        let mut routing = Self::default();
        let at = At::key("routes");
        if spec.routes.is_empty() {
            builder.complain(&at, "there is no route");
        }
        for (number, route) in spec.routes.iter().enumerate() {
            routing.add(builder, &at.item(number), route);
        }
        check_names(builder, spec);
        routing.check_overlaps(builder, &spec.routes);
        routing.check_formats(builder);
        routing.check_topics(builder);
        routing.check_groups(builder, spec);
        routing.aliases(builder, &spec.aliases);
        routing
    }

    fn add(&mut self, builder: &mut Builder<'_>, at: &At, spec: &RouteSpec) {
        let topics = spec.topics.as_ref();
        let topics = topics.map(|entries| builder.some_topics(&at.then("topics"), entries));
        for (name, value) in &spec.when {
            if name.is_empty() || value.is_empty() {
                builder.complain(&at.then("when"), "a header has a name and a value");
            }
        }
        let number = self.routes.len();
        let route = Route {
            fixed: self.events(builder, at, spec, number),
            when: (spec.when.iter())
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            payload: (spec.payload.as_ref())
                .and_then(|payload| builder.payload(&at.then("payload"), payload)),
            rooms: rooms(builder, at, &spec.rooms),
            class: spec.class,
            key: key(builder, at, spec),
            ack: spec.ack,
        };
        self.claims.push(Claim {
            topics,
            format: spec.format,
            fixed: route.fixed.is_some(),
        });
        self.routes.push(route);
    }

    /// Enters the events of a route; gives the one that its topics alone name.
    fn events(
        &mut self,
        builder: &mut Builder<'_>,
        at: &At,
        spec: &RouteSpec,
        route: usize,
    ) -> Option<usize> {
        match (&spec.event, spec.events.as_slice()) {
            (None, []) => builder.complain(at, "a route has no event"),
            (Some(_), [_, ..]) => builder.complain(
                &at.then("event"),
                "either events, which records name, or one event, which the topics name",
            ),
            _ => {}
        }
        for (number, name) in spec.events.iter().enumerate() {
            let at = at.then("events").item(number);
            if let Err(message) = check_event(name) {
                builder.complain(&at, message);
                continue;
            }
            let Some(event) = self.event(name) else {
                builder.complain(
                    &at,
                    format!(
                        "event {name:?} is routed twice: it is another spelling of one before it"
                    ),
                );
                continue;
            };
            let routes = &mut self.events[event].routes;
            if routes.contains(&route) {
                builder.complain(&at, format!("event {name:?} is routed twice"));
            } else {
                routes.push(route);
            }
        }
        let name = spec.event.as_ref()?;
        let at = at.then("event");
        if spec.topics.is_none() {
            builder.complain(
                &at,
                "an event that no record names needs the topics that it stands for",
            );
        }
        if let Err(message) = check_event(name) {
            builder.complain(&at, message);
            return None;
        }
        let event = self.event(name);
        if event.is_none() {
            builder.complain(
                &at,
                format!("event {name:?} is routed twice: it is another spelling of one before it"),
            );
        }
        event
    }

    /// The number of an event, known or new, under its name and its usual spelling. `None`: the spelling stands for another.
    fn event(&mut self, name: &str) -> Option<usize> {
        if let Some(&event) = self.index.get(name) {
            return (*self.events[event].name == *name).then_some(event);
        }
        let event = self.events.len();
        if !insert(&mut self.index, name, event) {
            return None;
        }
        self.events.push(EventRoutes {
            name: name.into(),
            routes: Vec::new(),
        });
        Some(event)
    }

    fn aliases(&mut self, builder: &mut Builder<'_>, aliases: &BTreeMap<String, String>) {
        for (alias, event) in aliases {
            let at = At::key("aliases").then(alias);
            if let Err(message) = check_event(alias) {
                builder.complain(&at, message);
                continue;
            }
            let Some(&route) = self.index.get(event.as_str()) else {
                let message = format!("alias {alias:?} stands for {event:?}, which has no route");
                builder.complain(&at, message);
                continue;
            };
            if !insert(&mut self.index, alias, route) {
                builder.complain(&at, format!("alias {alias:?} is an event or alias already"));
            }
        }
    }

    /// No record may have two routes. Routes with `when` are taken in the order of the file, so they may overlap what follows.
    fn check_overlaps(&self, builder: &mut Builder<'_>, specs: &[RouteSpec]) {
        for (later, spec) in specs.iter().enumerate() {
            for (earlier, before) in specs.iter().enumerate().take(later) {
                // What comes first may be narrower: what it leaves goes on.
                if !before.when.is_empty() || before.topics.is_some() && spec.topics.is_none() {
                    continue;
                }
                let Some(shared) = self.shared(earlier, later) else {
                    continue;
                };
                let at = At::key("routes").item(later);
                if before.event.is_some() {
                    let event = before.event.as_deref().unwrap_or_default();
                    builder.complain(
                        &at.then("topics"),
                        format!("every record of {shared} is {event:?} already, by a route before this one"),
                    );
                    continue;
                }
                if spec.event.is_some() {
                    if before.topics.is_some() {
                        builder.complain(
                            &at.then("topics"),
                            format!("a route before this one is for events of {shared}, and this one would take all of them"),
                        );
                    }
                    continue;
                }
                for (number, event) in spec.events.iter().enumerate() {
                    if before.events.contains(event) {
                        builder.complain(
                            &at.then("events").item(number),
                            format!("event {event:?} is routed twice on {shared}"),
                        );
                    }
                }
            }
        }
    }

    /// The topics that two routes are both for, for people.
    fn shared(&self, one: usize, other: usize) -> Option<String> {
        let topics = |route: usize| {
            self.claims
                .get(route)
                .and_then(|claim| claim.topics.as_ref())
        };
        match (topics(one), topics(other)) {
            (Some(one), Some(other)) => one.meets(other),
            (None, None) => Some("all topics".to_owned()),
            _ => Some("the topics that the other names".to_owned()),
        }
    }

    /// A topic has one format.
    fn check_formats(&self, builder: &mut Builder<'_>) {
        let names: Vec<_> = builder.groups.iter().flatten().cloned().collect();
        for name in names {
            let is_for = |topics: &Option<TopicMatch>| {
                topics.as_ref().is_none_or(|topics| topics.matches(&name))
            };
            let mut said: Option<Format> = builder
                .entries
                .iter()
                .filter(|entry| entry.topics.matches(&name))
                .find_map(|entry| entry.format);
            for (number, claim) in self.claims.iter().enumerate() {
                let Some(format) = claim.format.filter(|_| is_for(&claim.topics)) else {
                    continue;
                };
                match said {
                    Some(before) if before != format => {
                        let at = At::key("routes").item(number).then("format");
                        let message = format!("topic {name:?} is of format {before} already");
                        builder.complain(&at, message);
                    }
                    _ => said = Some(format),
                }
            }
        }
    }

    /// Records of a topic that no route is for would be read and dropped.
    fn check_topics(&self, builder: &mut Builder<'_>) {
        if self.claims.is_empty() || self.claims.iter().any(|claim| claim.topics.is_none()) {
            return;
        }
        let routed = |name: &str| {
            let topics = self.claims.iter().filter_map(|claim| claim.topics.as_ref());
            topics.clone().any(|topics| topics.matches(name))
        };
        let entries = builder.entries.iter().enumerate();
        let lost: Vec<_> = entries
            .filter_map(|(number, entry)| {
                let name = entry.topics.names.iter().find(|name| !routed(name))?;
                Some((number, format!("no route is for topic {name:?}")))
            })
            .collect();
        for (number, message) in lost {
            builder.complain(&At::key("topics").item(number), message);
        }
    }

    fn check_groups(&self, builder: &mut Builder<'_>, spec: &TableSpec) {
        if let Some(event) = &spec.event {
            builder.check_group(&At::key("event"), event.topic.as_ref(), None);
        }
        let organisation = &spec.organisation.0;
        builder.check_group(&At::key("organisation"), organisation.topic.as_ref(), None);
        for (number, (route, claim)) in spec.routes.iter().zip(&self.claims).enumerate() {
            let at = At::key("routes").item(number);
            let more = claim.topics.as_ref();
            builder.check_group(&at.then("key"), route.key.topic.as_ref(), more);
            for (number, room) in route.rooms.iter().enumerate() {
                let at = at.then("rooms").item(number).then("id");
                builder.check_group(&at, room.id.topic.as_ref(), more);
            }
        }
    }
}

/// Events that records name are found where the profile says.
fn check_names(builder: &mut Builder<'_>, spec: &TableSpec) {
    let named = spec
        .routes
        .iter()
        .position(|route| !route.events.is_empty());
    if let (Some(route), None) = (named, &spec.event) {
        builder.complain(
            &At::key("routes").item(route).then("events"),
            "records name these events, but there is no [event] to say where",
        );
    }
}

fn rooms(builder: &mut Builder<'_>, at: &At, specs: &[RoomSpec]) -> Vec<RoomRoute> {
    let at = at.then("rooms");
    if specs.is_empty() {
        builder.complain(
            &at,
            "route has no rooms, so no client would receive its events",
        );
    }
    let mut rooms = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let at = at.item(number);
        let Ok(kind) = Kind::parse(&spec.kind) else {
            let message = format!("{:?} cannot be a kind of room", spec.kind);
            builder.complain(&at.then("kind"), message);
            continue;
        };
        let id = if kind == Kind::organisation() {
            if !spec.id.is_empty() || spec.optional {
                builder.complain(&at, "the room org takes neither id nor optional");
            }
            RoomId::Organisation
        } else if spec.id.is_empty() {
            builder.complain(&at, format!("room {kind} names no field for its id"));
            continue;
        } else {
            if kind.is_user() && matches!(spec.id.key, Some(KeySpec::Part(_))) {
                let message = "a user's name may hold the separator, so that a part of the key could name another user: take a field, a header or the whole key";
                builder.complain(&at.then("id").then("key"), message);
            }
            RoomId::Said {
                by: builder.source(&at.then("id"), &spec.id, Of::Id),
                required: !spec.optional,
            }
        };
        rooms.push(RoomRoute { kind, id });
    }
    rooms
}

fn key(builder: &mut Builder<'_>, at: &At, spec: &RouteSpec) -> Sources {
    let at = at.then("key");
    if (spec.class == Class::Latest) == spec.key.is_empty() {
        builder.complain(
            &at,
            "key belongs to class latest, and class latest needs it",
        );
    }
    if spec.key.is_empty() {
        return Sources::default();
    }
    if let SourceSpec {
        default: Some(_), ..
    } = spec.key
    {
        builder.complain(&at, "all records would be the latest of one thing");
    }
    builder.source(&at, &spec.key, Of::Id)
}

/// Under the name itself and under its usual spelling; false when either stands for another event.
fn insert(index: &mut Index, name: &str, event: usize) -> bool {
    let usual = normalise(name);
    let fresh = !index.contains_key(name) && !index.contains_key(usual.as_str());
    if fresh {
        index.insert(name.into(), event);
        index.insert(usual.into(), event);
    }
    fresh
}

fn check_event(name: &str) -> Result<(), String> {
    let fits = (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
    if !fits {
        return Err(format!(
            "{name:?} cannot be an event: 1 to {MAX_NAME} characters of A-Z, a-z, 0-9, _, -, . and :"
        ));
    }
    if is_reserved_event(name) || is_reserved_event(&normalise(name)) {
        return Err(format!(
            "event {name:?} is reserved for the protocol or for Socket.IO"
        ));
    }
    Ok(())
}
