//! Seeded bugs, one at a time: a checker that does not find them proves nothing.

use super::report::Report;
use super::scenario::Scenario;
use super::verdict::Faults;

/// A bug of the binary that is built with the feature `failpoints`, and what must come to light.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tooth {
    /// As the variable `SEEDED_BUG` names it; `None`: the same binary without a bug, which must be found clean.
    pub(crate) bug: Option<&'static str>,
    /// Under which it shows.
    pub(crate) scenario: Scenario,
    finds: &'static str,
    found: fn(&Faults) -> u64,
}

pub(crate) const TEETH: [Tooth; 9] = [
    Tooth {
        bug: Some("drop-emit"),
        scenario: Scenario::Cuts,
        finds: "lost",
        found: |faults| faults.lost,
    },
    Tooth {
        bug: Some("cursor-first"),
        scenario: Scenario::Slow,
        finds: "lost",
        found: |faults| faults.lost,
    },
    Tooth {
        bug: Some("skip-overlap"),
        scenario: Scenario::Slow,
        finds: "lost",
        found: |faults| faults.lost,
    },
    Tooth {
        bug: Some("own-cursor"),
        scenario: Scenario::Pause,
        finds: "duplicated",
        found: |faults| faults.duplicated,
    },
    Tooth {
        bug: Some("ignore-floor"),
        scenario: Scenario::Crowded,
        finds: "lost",
        found: |faults| faults.lost,
    },
    Tooth {
        bug: Some("drop-newest"),
        scenario: Scenario::Cuts,
        finds: "stale",
        found: |faults| faults.stale,
    },
    Tooth {
        bug: Some("foreign"),
        scenario: Scenario::Cuts,
        finds: "leaked",
        found: |faults| faults.leaked,
    },
    Tooth {
        bug: Some("goodbye"),
        scenario: Scenario::Rolling,
        finds: "dismissed",
        found: |faults| faults.dismissed,
    },
    Tooth {
        bug: None,
        scenario: Scenario::Pause,
        finds: "nothing",
        found: |_| 0,
    },
];

impl Tooth {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.bug.unwrap_or("no-bug"), self.scenario.name())
    }

    /// Whether the checker has found what it should, and a line about it.
    pub(crate) fn bites(&self, report: &Report) -> (bool, String) {
        let found = (self.found)(&report.faults);
        let bites = match self.bug {
            Some(_) => found > 0,
            None => report.is_clean(),
        };
        let scenario = self.scenario.name();
        let line = match self.bug {
            Some(bug) => format!(
                "{bug:<14} under {scenario:<8} {found} {} in {} deliveries: {}",
                self.finds,
                report.deliveries_checked,
                if bites { "found" } else { "NOT FOUND" }
            ),
            None => format!(
                "{:<14} under {scenario:<8} {} deliveries: {}",
                "no bug",
                report.deliveries_checked,
                if bites { "CLEAN" } else { "NOT CLEAN" }
            ),
        };
        (bites, line)
    }
}
