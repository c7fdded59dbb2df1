//! What the walk through the table reports of its steps, and to whom.

use serde::Serialize;

use super::super::skip::Skip;

/// What the walk looks at, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Topic,
    Value,
    Event,
    Organisation,
    Room,
    /// Of what a record of class `latest` is the newest.
    Key,
    Payload,
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
            Self::Key => "key",
            Self::Payload => "payload",
            Self::Delivery => "delivery",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    /// Not there: the walk looks further.
    Absent,
    Found,
    /// Not used, and nothing is lost by it.
    LeftOut,
    /// Here the record ends.
    Refused,
}

/// Observes the walk. A note is a closure: an observer that keeps no notes never calls it, so it costs the consumer nothing.
pub(in crate::domain) trait Trace {
    fn note(&mut self, stage: Stage, verdict: StepVerdict, text: impl FnOnce() -> String);

    fn found(&mut self, stage: Stage, text: impl FnOnce() -> String) {
        self.note(stage, StepVerdict::Found, text);
    }

    fn refuse(&mut self, stage: Stage, skip: Skip, text: impl FnOnce() -> String) -> Skip {
        self.note(stage, StepVerdict::Refused, text);
        skip
    }
}

/// Keeps no notes: how [`RouteTable::route`](super::RouteTable::route) walks.
impl Trace for () {
    #[inline]
    fn note(&mut self, _: Stage, _: StepVerdict, _: impl FnOnce() -> String) {}
}
