//! What a profile says about routing, as it was written, and the check that turns it into a [`RouteTable`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::decode::{BODY, Fields, MAX_FIELDS, Slot};
use super::protocol::is_reserved_event;
use super::publication::Class;
use super::room::Kind;
use super::route::{
    Guard, Names, RoomId, RoomRoute, Route, RouteTable, TopicPattern, Topics, normalise,
};

/// Everything that a table is made of. Public fields: any value is fine here, [`TableSpec::build`] judges.
#[derive(Debug, Clone, Default)]
pub struct TableSpec {
    /// Put in front of each topic.
    pub topic_prefix: String,
    pub topics: Vec<TopicSpec>,
    /// Full names of our own topics, which no pattern matches.
    pub service_topics: Vec<String>,
    pub event: SourceSpec,
    pub organisation: SourceSpec,
    /// Another name of an event -> its own.
    pub aliases: BTreeMap<String, String>,
    pub routes: Vec<RouteSpec>,
    /// Bytes of a record's value.
    pub max_event_bytes: usize,
}

/// What is read: a name, or the names that one topic may have, of which all that exist are read, or all topics that a
/// pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicSpec {
    Names(Vec<String>),
    /// A regular expression for whole names, less the prefix.
    Pattern(String),
}

impl<'de> Deserialize<'de> for TopicSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;

        impl<'de> Visitor<'de> for Entry {
            type Value = TopicSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a topic's name, a list of its names, or { pattern = \"...\" }")
            }

            fn visit_str<E>(self, name: &str) -> Result<TopicSpec, E> {
                Ok(TopicSpec::Names(vec![name.to_owned()]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, names: S) -> Result<TopicSpec, S::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(TopicSpec::Names)
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<TopicSpec, M::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Table {
                    pattern: String,
                }

                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TopicSpec::Pattern(table.pattern))
            }
        }

        deserializer.deserialize_any(Entry)
    }
}

/// Where in a record a name is found: headers first, then fields, in this order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    #[serde(default)]
    pub headers: Vec<String>,
    #[serde(default)]
    pub fields: Vec<String>,
}

/// Events that share their rooms and their class.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    pub events: Vec<String>,
    pub rooms: Vec<RoomSpec>,
    pub class: Class,
    /// Fields, the first that is there; required for class `latest`, senseless otherwise.
    #[serde(default)]
    pub latest_of: Vec<String>,
    #[serde(default)]
    pub ack: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomSpec {
    pub kind: String,
    /// Fields, the first that is there. None for the kind `org`: it is the record's organisation.
    #[serde(default)]
    pub id: Vec<String>,
    /// Without an id the room is left out; else the record is refused.
    #[serde(default)]
    pub optional: bool,
}

/// Which part of the profile a problem is about, so that the reader of the file can name its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Topics,
    Event,
    Organisation,
    Alias(String),
    /// Index into [`TableSpec::routes`].
    Route(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub part: Part,
    pub message: String,
}

/// Kafka's own limit for the name of a topic, in bytes.
const MAX_TOPIC: usize = 249;
/// Bytes of an event's, a field's or a header's name.
const MAX_NAME: usize = 64;

impl TableSpec {
    /// Fails with all that is wrong, not only the first.
    pub fn build(self) -> Result<RouteTable, Vec<Problem>> {
        let mut builder = Builder::default();
        let (groups, patterns) = builder.topics(&self.topic_prefix, &self.topics);
        let guard = Guard::new(&self.topic_prefix, &self.service_topics);
        let event = builder.source(&Part::Event, &self.event, Place::TopOnly);
        let organisation = builder.source(&Part::Organisation, &self.organisation, Place::BodyToo);
        let mut index = HashMap::new();
        let routes = builder.routes(&self.routes, &mut index);
        builder.aliases(&self.aliases, &mut index);
        if !builder.problems.is_empty() {
            return Err(builder.problems);
        }
        Ok(RouteTable::new(
            Topics::new(groups, patterns, guard),
            builder.fields,
            (event, organisation),
            (routes, index),
            self.max_event_bytes,
        ))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    TopOnly,
    BodyToo,
}

#[derive(Default)]
struct Builder {
    fields: Fields,
    problems: Vec<Problem>,
}

impl Builder {
    fn complain(&mut self, part: &Part, message: impl Into<String>) {
        self.problems.push(Problem {
            part: part.clone(),
            message: message.into(),
        });
    }

    fn topics(
        &mut self,
        prefix: &str,
        entries: &[TopicSpec],
    ) -> (Vec<Vec<Arc<str>>>, Vec<TopicPattern>) {
        if entries.is_empty() {
            self.complain(&Part::Topics, "there is no topic");
        }
        let (mut groups, mut patterns) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                TopicSpec::Names(names) => {
                    let group = self.topic(prefix, names, &groups);
                    groups.push(group);
                }
                TopicSpec::Pattern(text) => match TopicPattern::parse(prefix, text) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(message) => self.complain(&Part::Topics, message),
                },
            }
        }
        (groups, patterns)
    }

    /// One topic by all of its names.
    fn topic(&mut self, prefix: &str, names: &[String], others: &[Vec<Arc<str>>]) -> Vec<Arc<str>> {
        if names.is_empty() {
            self.complain(&Part::Topics, "a topic has no name");
        }
        let mut group: Vec<Arc<str>> = Vec::new();
        for name in names {
            let full: Arc<str> = format!("{prefix}{name}").into();
            if !is_topic(&full) || name.is_empty() {
                let message = format!(
                    "{full:?} cannot be a topic: 1 to {MAX_TOPIC} characters of A-Z, a-z, 0-9, ., _ and -"
                );
                self.complain(&Part::Topics, message);
            }
            if group.contains(&full) || others.iter().flatten().any(|topic| *topic == full) {
                self.complain(&Part::Topics, format!("topic {full:?} is listed twice"));
            }
            group.push(full);
        }
        group
    }

    fn source(&mut self, part: &Part, source: &SourceSpec, place: Place) -> Names {
        if source.headers.is_empty() && source.fields.is_empty() {
            self.complain(part, "neither a header nor a field is named");
        }
        for header in &source.headers {
            if !(1..=MAX_NAME).contains(&header.len()) {
                self.complain(part, format!("{header:?} cannot be a header"));
            }
        }
        Names {
            headers: source
                .headers
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            fields: self.fields(part, &source.fields, place),
        }
    }

    fn fields(&mut self, part: &Part, names: &[String], place: Place) -> Vec<Slot> {
        let mut slots = Vec::new();
        for name in names {
            if name == BODY || !(1..=MAX_NAME).contains(&name.len()) {
                self.complain(part, format!("{name:?} cannot be a field for routing"));
                continue;
            }
            match self.fields.want(name, place == Place::BodyToo) {
                Some(slot) if slots.contains(&slot) => {
                    self.complain(part, format!("field {name:?} is named twice"));
                }
                Some(slot) => slots.push(slot),
                None => self.complain(
                    part,
                    format!("field {name:?} is one more than the {MAX_FIELDS} that a profile may ask for"),
                ),
            }
        }
        slots
    }

    fn routes(&mut self, specs: &[RouteSpec], index: &mut HashMap<Box<str>, usize>) -> Vec<Route> {
        let mut routes = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            let part = Part::Route(number);
            if spec.events.is_empty() {
                self.complain(&part, "a route has no event");
            }
            let rooms = self.rooms(&part, &spec.rooms);
            if (spec.class == Class::Latest) == spec.latest_of.is_empty() {
                self.complain(
                    &part,
                    "latest_of belongs to class latest, and class latest needs it",
                );
            }
            let latest_of = self.fields(&part, &spec.latest_of, Place::BodyToo);
            for event in &spec.events {
                if let Err(message) = check_event(event) {
                    self.complain(&part, message);
                    continue;
                }
                if !insert(index, event, routes.len()) {
                    self.complain(&part, format!("event {event:?} is routed twice"));
                }
                routes.push(Route {
                    event: event.as_str().into(),
                    rooms: rooms.clone(),
                    class: spec.class,
                    latest_of: latest_of.clone(),
                    ack: spec.ack,
                });
            }
        }
        if specs.is_empty() {
            self.complain(&Part::Topics, "there is no route");
        }
        routes
    }

    fn rooms(&mut self, part: &Part, specs: &[RoomSpec]) -> Vec<RoomRoute> {
        if specs.is_empty() {
            self.complain(part, "a route has no room, so nobody would hear of it");
        }
        let mut rooms = Vec::new();
        for spec in specs {
            let Ok(kind) = Kind::parse(&spec.kind) else {
                self.complain(part, format!("{:?} cannot be a kind of room", spec.kind));
                continue;
            };
            let id = if kind == Kind::organisation() {
                if !spec.id.is_empty() || spec.optional {
                    self.complain(part, "the room org takes neither id nor optional");
                }
                RoomId::Organisation
            } else {
                if spec.id.is_empty() {
                    self.complain(part, format!("room {kind} names no field for its id"));
                }
                RoomId::Field {
                    names: self.fields(part, &spec.id, Place::BodyToo),
                    required: !spec.optional,
                }
            };
            rooms.push(RoomRoute { kind, id });
        }
        rooms
    }

    fn aliases(
        &mut self,
        aliases: &BTreeMap<String, String>,
        index: &mut HashMap<Box<str>, usize>,
    ) {
        for (alias, event) in aliases {
            let part = Part::Alias(alias.clone());
            if let Err(message) = check_event(alias) {
                self.complain(&part, message);
                continue;
            }
            let Some(&route) = index.get(event.as_str()) else {
                self.complain(
                    &part,
                    format!("alias {alias:?} stands for {event:?}, which has no route"),
                );
                continue;
            };
            if !insert(index, alias, route) {
                self.complain(
                    &part,
                    format!("alias {alias:?} is an event or alias already"),
                );
            }
        }
    }
}

/// Under the name itself and under its usual spelling; false when either stands for another event.
fn insert(index: &mut HashMap<Box<str>, usize>, name: &str, route: usize) -> bool {
    let usual = normalise(name);
    let fresh = !index.contains_key(name) && !index.contains_key(usual.as_str());
    index.insert(name.into(), route);
    index.insert(usual.into(), route);
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

fn is_topic(name: &str) -> bool {
    (1..=MAX_TOPIC).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn names(texts: &[&str]) -> TopicSpec {
        TopicSpec::Names(strings(texts))
    }

    fn room(kind: &str, id: &[&str]) -> RoomSpec {
        RoomSpec {
            kind: kind.to_owned(),
            id: strings(id),
            optional: false,
        }
    }

    fn good() -> TableSpec {
        TableSpec {
            topic_prefix: "city.".to_owned(),
            topics: vec![names(&["asset", "assets"])],
            service_topics: vec!["receipts-of-ours".to_owned()],
            event: SourceSpec {
                headers: vec![],
                fields: strings(&["event_type"]),
            },
            organisation: SourceSpec {
                headers: vec![],
                fields: strings(&["organization_id"]),
            },
            aliases: BTreeMap::from([("gps".to_owned(), "asset_moved".to_owned())]),
            routes: vec![RouteSpec {
                events: strings(&["asset_moved"]),
                rooms: vec![room("asset", &["asset_id", "id"])],
                class: Class::Latest,
                latest_of: strings(&["asset_id", "id"]),
                ack: false,
            }],
            max_event_bytes: 1000,
        }
    }

    /// A mistake made in a good table, the part it is reported for, and words of the message.
    type Case = (fn(&mut TableSpec), Part, &'static str);

    fn alias(spec: &mut TableSpec, alias: &str, event: &str) {
        spec.aliases.insert(alias.to_owned(), event.to_owned());
    }

    #[test]
    fn a_good_table_has_its_topics_with_the_prefix() {
        let table = good().build().expect("good");
        assert_eq!(
            table.topics().collect::<Vec<_>>(),
            ["city.asset", "city.assets"]
        );
        assert_eq!(table.events().collect::<Vec<_>>(), ["asset_moved"]);
    }

    #[test]
    fn a_pattern_is_wanted_beside_the_names() {
        let mut spec = good();
        assert!(!spec.clone().build().expect("good").has_patterns());
        spec.topics
            .push(TopicSpec::Pattern("receipts.*|unit.*".to_owned()));
        spec.service_topics = vec!["city.unit.audit".to_owned()];
        let table = spec.build().expect("good");
        assert!(table.has_patterns());
        let shown: Vec<_> = table.patterns().map(ToString::to_string).collect();
        assert_eq!(shown, ["receipts.*|unit.*"]);
        assert_eq!(
            table.topics().count(),
            2,
            "only the brokers know the others"
        );
        for (topic, wanted) in [
            ("city.asset", true),
            ("city.unit.moved", true),
            ("city.unit.moved.dlq", false),
            ("city.unit.audit", false),
            ("unit.moved", false),
        ] {
            assert_eq!(table.wants(topic), wanted, "{topic}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_part() {
        let of_alias = |name: &str| Part::Alias(name.to_owned());
        let cases: Vec<Case> = vec![
            (|s| s.topics.clear(), Part::Topics, "no topic"),
            (|s| s.topics.push(names(&[])), Part::Topics, "no name"),
            (
                |s| s.topics.push(names(&["a/b"])),
                Part::Topics,
                "cannot be a topic",
            ),
            (|s| s.topics.push(names(&["asset"])), Part::Topics, "twice"),
            (
                |s| s.topics.push(TopicSpec::Pattern("a(".to_owned())),
                Part::Topics,
                "pattern \"a(\" is no regular expression",
            ),
            (
                |s| s.topic_prefix = "ü".to_owned(),
                Part::Topics,
                "cannot be a topic",
            ),
            (|s| s.event.fields.clear(), Part::Event, "neither"),
            (|s| s.event.headers = strings(&[""]), Part::Event, "header"),
            (
                |s| s.organisation.fields = strings(&["data"]),
                Part::Organisation,
                "data",
            ),
            (
                |s| s.organisation.fields = (0..40).map(|n| format!("f{n}")).collect(),
                Part::Organisation,
                "one more",
            ),
            (|s| s.routes.clear(), Part::Topics, "no route"),
            (|s| s.routes[0].events.clear(), Part::Route(0), "no event"),
            (
                |s| s.routes[0].events = strings(&["connect"]),
                Part::Route(0),
                "reserved",
            ),
            (
                |s| s.routes[0].events = strings(&["resync-required"]),
                Part::Route(0),
                "reserved",
            ),
            (
                |s| s.routes[0].events = strings(&["a b"]),
                Part::Route(0),
                "cannot be an event",
            ),
            (
                |s| s.routes[0].events.push("AssetMoved".to_owned()),
                Part::Route(0),
                "twice",
            ),
            (|s| s.routes[0].rooms.clear(), Part::Route(0), "no room"),
            (
                |s| s.routes[0].rooms.push(room("a:b", &["id"])),
                Part::Route(0),
                "kind",
            ),
            (
                |s| s.routes[0].rooms.push(room("org", &["id"])),
                Part::Route(0),
                "org",
            ),
            (
                |s| s.routes[0].rooms.push(room("user", &[])),
                Part::Route(0),
                "no field",
            ),
            (
                |s| s.routes[0].rooms.push(room("user", &["u", "u"])),
                Part::Route(0),
                "named twice",
            ),
            (
                |s| s.routes[0].latest_of.clear(),
                Part::Route(0),
                "latest_of",
            ),
            (
                |s| s.routes[0].class = Class::Event,
                Part::Route(0),
                "latest_of",
            ),
            (|s| alias(s, "x", "y"), of_alias("x"), "no route"),
            (
                |s| alias(s, "error", "asset_moved"),
                of_alias("error"),
                "reserved",
            ),
            (
                |s| alias(s, "asset.moved", "asset_moved"),
                of_alias("asset.moved"),
                "already",
            ),
        ];
        for (spoil, part, words) in cases {
            let mut spec = good();
            spoil(&mut spec);
            let problems = spec.build().err().unwrap_or_default();
            assert!(
                problems
                    .iter()
                    .any(|problem| problem.part == part && problem.message.contains(words)),
                "{words}: {problems:?}"
            );
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut spec = good();
        spec.topics.clear();
        spec.event.fields.clear();
        spec.routes[0].rooms.clear();
        assert_eq!(spec.build().expect_err("bad").len(), 3);
    }
}
