//! What a profile says about routing, as it was written, and the check that turns it into a [`RouteTable`].

mod builder;
mod place;
mod routing;
mod source;
mod topic;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decode::Format;
use super::publication::Class;
use super::route::RouteTable;
pub use place::{At, SpecProblem, Step};
pub use source::{FieldSpec, KeyPart, KeySpec, OrganisationSpec, SourceSpec};
pub use topic::{TopicChoice, TopicSpec};

/// Everything that a table is made of. Public fields: any value is fine here, [`TableSpec::build`] judges.
#[derive(Debug, Clone, Default)]
pub struct TableSpec {
    /// Put in front of each topic.
    pub topic_prefix: String,
    pub topics: Vec<TopicSpec>,
    /// Full names of our own topics, which no pattern matches.
    pub service_topics: Vec<String>,
    /// Of topics that say nothing else.
    pub format: Format,
    /// May be left out where every route names its event by the topic.
    pub event: Option<SourceSpec>,
    pub organisation: OrganisationSpec,
    /// Another name of an event -> its own.
    pub aliases: BTreeMap<String, String>,
    pub routes: Vec<RouteSpec>,
    /// Bytes of a record's value, less what frames it.
    pub max_event_bytes: usize,
}

/// Events that share their rooms and their class.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// By the names that records give.
    #[serde(default)]
    pub events: Vec<String>,
    /// What every record of the route's topics is, instead.
    #[serde(default)]
    pub event: Option<String>,
    /// `None`: all of the profile's.
    #[serde(default)]
    pub topics: Option<Vec<TopicSpec>>,
    /// Of the route's topics.
    #[serde(default)]
    pub format: Option<Format>,
    /// Headers that a record must have, with their values.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    /// What clients get; `None`: the whole value.
    #[serde(default)]
    pub payload: Option<FieldSpec>,
    pub rooms: Vec<RoomSpec>,
    #[serde(default = "each")]
    pub class: Class,
    /// What class `latest` is the latest of: required there, senseless otherwise.
    #[serde(default, alias = "latest_of")]
    pub key: SourceSpec,
    #[serde(default)]
    pub ack: bool,
}

fn each() -> Class {
    Class::Event
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomSpec {
    pub kind: String,
    /// None for the kind `org`: it is the record's organisation.
    #[serde(default)]
    pub id: SourceSpec,
    /// Without an id the room is left out; else the record is refused.
    #[serde(default)]
    pub optional: bool,
}

impl TableSpec {
    /// Fails with all that is wrong, not only the first.
    pub fn build(self) -> Result<RouteTable, Vec<SpecProblem>> {
        builder::build(&self)
    }
}

#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod tests;
