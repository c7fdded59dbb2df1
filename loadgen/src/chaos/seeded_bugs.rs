//! Seeded bugs, one at a time: a checker that does not find them proves nothing.

use super::report::Report;
use super::scenario::Scenario;
use super::verdict::ChaosFaults;

/// A bug of the binary that is built with the patches in `tools/seeded_bugs`, and what must come to light.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeededBug {
    /// As the variable `SEEDED_BUG` names it; `None`: the same binary without a bug, which must be found clean.
    pub(crate) bug: Option<&'static str>,
    /// Under which it shows.
    pub(crate) scenario: Scenario,
    finds: &'static str,
    found: fn(&ChaosFaults) -> u64,
}

pub(crate) const SEEDED_BUGS: [SeededBug; 11] = [
    SeededBug {
        bug: Some("drop-emit"),
        scenario: Scenario::Cuts,
        finds: "lost",
        found: |faults| faults.lost,
    },
    SeededBug {
        bug: Some("cursor-first"),
        scenario: Scenario::Slow,
        finds: "lost",
        found: |faults| faults.lost,
    },
    SeededBug {
        bug: Some("skip-overlap"),
        scenario: Scenario::Slow,
        finds: "lost",
        found: |faults| faults.lost,
    },
    SeededBug {
        bug: Some("own-cursor"),
        scenario: Scenario::Pause,
        finds: "duplicated",
        found: |faults| faults.duplicated,
    },
    SeededBug {
        bug: Some("ignore-floor"),
        scenario: Scenario::Crowded,
        finds: "lost",
        found: |faults| faults.lost,
    },
    SeededBug {
        bug: Some("drop-newest"),
        scenario: Scenario::Cuts,
        finds: "stale",
        found: |faults| faults.stale,
    },
    SeededBug {
        bug: Some("foreign"),
        scenario: Scenario::Cuts,
        finds: "leaked",
        found: |faults| faults.leaked,
    },
    SeededBug {
        bug: Some("disconnect-packet"),
        scenario: Scenario::Rolling,
        finds: "dismissed",
        found: |faults| faults.dismissed,
    },
    SeededBug {
        bug: Some("off-boundary"),
        scenario: Scenario::Slow,
        finds: "broken",
        found: |faults| faults.broken,
    },
    SeededBug {
        bug: Some("fence-ignored"),
        scenario: Scenario::Cuts,
        finds: "unannounced",
        found: |faults| faults.unannounced,
    },
    SeededBug {
        bug: None,
        scenario: Scenario::Pause,
        finds: "nothing",
        found: |_| 0,
    },
];

impl SeededBug {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.bug.unwrap_or("no-bug"), self.scenario.name())
    }

    /// Whether the checker has found what it should, and a line about it.
    pub(crate) fn result(&self, report: &Report) -> (bool, String) {
        let found = (self.found)(&report.faults);
        let result = match self.bug {
            Some(_) => found > 0,
            None => report.is_clean(),
        };
        let scenario = self.scenario.name();
        let line = match self.bug {
            Some(bug) => format!(
                "{bug:<17} under {scenario:<8} {found} {} in {} deliveries: {}",
                self.finds,
                report.deliveries_checked,
                if result { "found" } else { "NOT FOUND" }
            ),
            None => format!(
                "{:<17} under {scenario:<8} {} deliveries: {}",
                "no bug",
                report.deliveries_checked,
                if result { "CLEAN" } else { "NOT CLEAN" }
            ),
        };
        (result, line)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn every_seeded_has_its_patch_and_every_patch_its_seeded() {
        let patches = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/seeded_bugs");
        let files = fs::read_dir(patches).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let patched: BTreeSet<_> = names
            .filter_map(|name| Some(name.strip_suffix(".patch")?.to_owned()))
            .filter(|name| name != "switch")
            .collect();
        let seeded_bugs = SEEDED_BUGS.iter().filter_map(|seeded| seeded.bug);
        assert_eq!(patched, seeded_bugs.map(str::to_owned).collect());
        let switch = fs::read_to_string(format!("{patches}/switch.patch")).unwrap();
        for bug in patched {
            let patch = fs::read_to_string(format!("{patches}/{bug}.patch")).unwrap();
            let quoted = format!("\"{bug}\"");
            assert!(patch.contains(&quoted) && switch.contains(&quoted), "{bug}");
        }
    }
}
