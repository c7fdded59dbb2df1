//! Why a record goes where it goes, and not elsewhere.
//!
//! There is one walk through the table, and it tells what it does to a `Trace`. [`RouteTable::route`] walks with `()`, which
//! listens to nothing: its notes are closures that are never called, so they cost the consumer nothing.
//! [`RouteTable::explain`] keeps them. So an explanation cannot say something else than what happens.

use std::sync::Arc;

use serde::Serialize;

use super::decode::{Fields, Place, Slot};
use super::publication::{Class, Publication};
use super::record::Record;
use super::route::{RouteTable, Skip};

/// What the walk looks at, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Topic,
    Value,
    Event,
    Organisation,
    Room,
    LatestOf,
    Delivery,
}

impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Value => "value",
            Self::Event => "event",
            Self::Organisation => "organisation",
            Self::Room => "room",
            Self::LatestOf => "latest_of",
            Self::Delivery => "delivery",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not there: the walk looks further.
    Absent,
    Found,
    /// Not used, and nothing is lost by it.
    LeftOut,
    /// Here the record ends.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub stage: Stage,
    pub verdict: Verdict,
    /// For people. Quotes the record, whoever wrote that: to be made harmless before it is shown on a terminal.
    pub note: String,
}

/// The steps up to the end, and what [`RouteTable::route`] would have returned.
#[derive(Debug)]
pub struct Explanation {
    pub steps: Vec<Step>,
    pub outcome: Result<Publication, Skip>,
}

impl RouteTable {
    /// Does what [`RouteTable::route`] does and tells each step.
    pub fn explain(&self, record: &Record<'_>, topic: &Arc<str>) -> Explanation {
        let mut steps = Vec::new();
        let outcome = self.walk(record, topic, &mut steps);
        Explanation { steps, outcome }
    }
}

/// Who listens to the walk.
pub(super) trait Trace {
    fn note(&mut self, stage: Stage, verdict: Verdict, text: impl FnOnce() -> String);

    fn found(&mut self, stage: Stage, text: impl FnOnce() -> String) {
        self.note(stage, Verdict::Found, text);
    }

    fn refuse(&mut self, stage: Stage, skip: Skip, text: impl FnOnce() -> String) -> Skip {
        self.note(stage, Verdict::Refused, text);
        skip
    }
}

/// Nobody.
impl Trace for () {
    #[inline]
    fn note(&mut self, _: Stage, _: Verdict, _: impl FnOnce() -> String) {}
}

impl Trace for Vec<Step> {
    fn note(&mut self, stage: Stage, verdict: Verdict, text: impl FnOnce() -> String) {
        self.push(Step {
            stage,
            verdict,
            note: text(),
        });
    }
}

/// Why a value cannot be looked into.
pub(super) fn bad_value(skip: Skip, bytes: usize, max_bytes: usize) -> String {
    match skip {
        Skip::Empty => "the value is there but empty".to_owned(),
        Skip::TooLarge => {
            format!("the value has {bytes} bytes, more than MAX_EVENT_BYTES ({max_bytes})")
        }
        Skip::NotUtf8 => "the value is not UTF-8".to_owned(),
        Skip::NotObject => "the value is JSON, but no object".to_owned(),
        Skip::TooDeep => format!(
            "the value is nested deeper than {} levels",
            super::decode::MAX_DEPTH
        ),
        Skip::AmbiguousField => {
            "a field that routing looks at, or data itself, occurs twice in one object: readers disagree which one counts"
                .to_owned()
        }
        _ => "the value is not JSON".to_owned(),
    }
}

/// A name and what it was taken for.
pub(super) fn event_named(name: &str, usual: &str, event: &str) -> String {
    if name == event {
        format!("{event:?} has a route")
    } else if usual == event {
        format!("{name:?} is written {event:?} here, which has a route")
    } else {
        format!("{name:?} is another name of {event:?}, which has a route")
    }
}

/// `incident_id and id are not there`, and where they were looked for.
pub(super) fn not_there(fields: &Fields, names: &[Slot]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!(
        "{} {verb} neither in data nor at the top (null counts as absent)",
        listed(fields, names)
    )
}

/// `channel_id in data is 7`, after what was looked for before it.
pub(super) fn field_says(
    fields: &Fields,
    names: &[Slot],
    slot: Slot,
    place: Place,
    json: &str,
) -> String {
    let before: Vec<Slot> = names
        .iter()
        .copied()
        .take_while(|&name| name != slot)
        .collect();
    let name = fields.name(slot);
    let says = format!("{name} {place} is {}", shortened(json));
    if before.is_empty() {
        says
    } else {
        format!("{}, but {says}", not_there(fields, &before))
    }
}

/// How the event is delivered.
pub(super) fn delivery(class: Class, ack: bool, bytes: usize) -> String {
    let class = match class {
        Class::Critical => "class critical: delivered each, never shed",
        Class::Event => "class event: delivered each",
        Class::Latest => "class latest: a client that cannot keep up gets the newest only",
    };
    let ack = if ack {
        "each client is asked for an acknowledgement"
    } else {
        "no acknowledgement is asked for"
    };
    format!("{class}; {ack}; the payload has {bytes} bytes")
}

pub(super) fn listed(fields: &Fields, names: &[Slot]) -> String {
    let names: Vec<&str> = names.iter().map(|&slot| fields.name(slot)).collect();
    names.join(", ")
}

/// A value of the record may be as large as the record.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
