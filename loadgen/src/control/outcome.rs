//! What a case has found: figures, what each must be, and which promises did not hold.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Demand {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

impl Demand {
    /// Counts are whole numbers and compared as such.
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Exactly(count) => (value - count).abs() < 0.5,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::Exactly(count) => format!("{count}"),
        }
    }
}

#[derive(Debug)]
struct Finding {
    title: String,
    unit: &'static str,
    value: f64,
    demand: Option<Demand>,
}

/// Of one case.
#[derive(Debug)]
pub(super) struct Outcome {
    case: &'static str,
    findings: Vec<Finding>,
    broken: Vec<String>,
}

impl Outcome {
    pub(super) fn new(case: &'static str) -> Self {
        Self {
            case,
            findings: Vec::new(),
            broken: Vec::new(),
        }
    }

    fn find(&mut self, title: &str, unit: &'static str, value: f64, demand: Option<Demand>) {
        self.findings.push(Finding {
            title: title.to_owned(),
            unit,
            value,
            demand,
        });
    }

    /// A figure that may be anything.
    pub(super) fn show(&mut self, title: &str, unit: &'static str, value: f64) {
        self.find(title, unit, value, None);
    }

    /// A figure that depends on the machine: a miss is shown and breaks nothing.
    pub(super) fn goal(&mut self, title: &str, unit: &'static str, value: f64, demand: Demand) {
        self.find(title, unit, value, Some(demand));
    }

    /// A figure that must be so.
    pub(super) fn promise(&mut self, title: &str, unit: &'static str, value: f64, demand: Demand) {
        self.find(title, unit, value, Some(demand));
        if !demand.is_met(value) {
            let is = format!("{} {unit}", number(value));
            let must_be = demand.text();
            self.broken(format!("{title}: {}, must be {must_be}", is.trim_end()));
        }
    }

    /// A count that must be 0.
    pub(super) fn none(&mut self, title: &str, count: u64) {
        self.promise(
            title,
            "",
            crate::latency::ratio(count, 1),
            Demand::Exactly(0.0),
        );
    }

    pub(super) fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// One line for each broken promise.
    pub(super) fn complaints(&self) -> impl Iterator<Item = String> {
        let complaints = self.broken.iter();
        complaints.map(|broken| format!("{}: BROKEN: {broken}", self.case))
    }

    pub(super) fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "title": finding.title,
                "unit": finding.unit,
                "value": finding.value,
                "must_be": finding.demand.map(Demand::text),
                "met": finding.demand.map(|demand| demand.is_met(finding.value)),
            })
        });
        json!({
            "case": self.case,
            "findings": findings.collect::<Vec<_>>(),
            "broken": self.broken,
        })
    }
}

/// All cases as a table in Markdown.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut text = "| case | figure | | unit | must be | |\n|---|---|---|---|---|---|\n".to_owned();
    for outcome in outcomes {
        for finding in &outcome.findings {
            let verdict = match finding.demand.map(|demand| demand.is_met(finding.value)) {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {verdict} |",
                outcome.case,
                finding.title,
                number(finding.value),
                finding.unit,
                finding.demand.map_or_else(String::new, Demand::text)
            )
            .expect("writing to a String does not fail");
        }
    }
    text
}

/// Whole numbers without a point.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_promise_breaks_the_outcome_and_a_missed_goal_is_only_shown() {
        let mut outcome = Outcome::new("publish");
        outcome.goal("rate", "1/s", 1_900.5, Demand::AtLeast(2_000.0));
        outcome.none("doubled", 0);
        assert!(outcome.is_clean());
        outcome.none("lost", 2);
        let complaints: Vec<String> = outcome.complaints().collect();
        assert_eq!(complaints, ["publish: BROKEN: lost: 2, must be 0"]);
        let text = table(&[outcome]);
        for row in [
            "| publish | rate | 1900.5 | 1/s | >= 2000 | **no** |",
            "| publish | doubled | 0 |  | 0 | yes |",
            "| publish | lost | 2 |  | 0 | **no** |",
        ] {
            assert!(text.contains(row), "{text}");
        }
    }
}
