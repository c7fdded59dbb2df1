//! Why a record goes where it goes, and not elsewhere.
//!
//! There is one walk through the table, and it reports its steps to a `Trace`. [`RouteTable::route`] walks without keeping notes,
//! [`RouteTable::explain`] keeps them. So an explanation cannot say something else than what happens.

use std::sync::Arc;

use serde::Serialize;

use super::publication::Publication;
use super::record::Record;
use super::route::{RouteTable, Skip, Stage, StepVerdict, Trace};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedStep {
    pub stage: Stage,
    pub verdict: StepVerdict,
    /// For people. Quotes the record, which is not trusted: to be made harmless before it is shown on a terminal.
    pub note: String,
}

/// The steps up to the end, and what [`RouteTable::route`] would have returned.
#[derive(Debug)]
pub struct Explanation {
    pub steps: Vec<ExplainedStep>,
    pub outcome: Result<Publication, Skip>,
}

impl RouteTable {
    /// Does what [`RouteTable::route`] does and keeps a note of each step.
    pub fn explain(&self, record: &Record<'_>, topic: &Arc<str>) -> Explanation {
        let mut steps = Vec::new();
        let outcome = self.walk(record, topic, &mut steps);
        Explanation { steps, outcome }
    }
}

impl Trace for Vec<ExplainedStep> {
    fn note(&mut self, stage: Stage, verdict: StepVerdict, text: impl FnOnce() -> String) {
        self.push(ExplainedStep {
            stage,
            verdict,
            note: text(),
        });
    }
}

#[cfg(test)]
mod tests;
