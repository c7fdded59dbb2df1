//! The table in docs/performance.md, with the machine that it was measured on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::clock::Clock;

const BEGIN: &str = "<!-- bench: written by make bench -->\n";
const END: &str = "<!-- end of bench -->";

/// With more than this, taken by other processes or machines, the times at least mean nothing. In percent.
const QUIET_PERCENT: f64 = 5.0;

/// Puts the text between the page's markers.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let page =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = replaced(&page, text)
        .with_context(|| format!("{} has no markers for the table", path.display()))?;
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", text.trim()))
}

/// When, on what, and how often it was measured.
///
/// `others`, `stolen`: percent of the servers' core that other processes took, and other machines.
pub(crate) fn heading(rounds: u32, seconds: u64, others: f64, stolen: f64) -> String {
    let date = Clock::start().rfc3339();
    let date = date.split('T').next().unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = cpus
        .lines()
        .filter(|line| line.starts_with("model name"))
        .collect();
    let model = models.first().and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{date}: {model}, {} cores, Linux {}. Medians of {rounds} rounds, {seconds} s for each measurement.\n\
         Other processes took {others:.1} % of the servers' core, and other machines {stolen:.1} %{}.",
        models.len().max(1),
        kernel.trim(),
        if others.max(stolen) > QUIET_PERCENT {
            ": **the machine was not quiet, measure again**"
        } else {
            ""
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_too_makes_a_machine_not_quiet() {
        let quiet = |others, stolen| !heading(1, 1, others, stolen).contains("not quiet");
        assert!(quiet(4.0, 4.0));
        assert!(!quiet(6.0, 0.0));
        assert!(!quiet(0.0, 6.0));
    }

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let page = format!("# Title\n\n{BEGIN}old\n{END}\n\nmore\n");
        let new = replaced(&page, "table\n").expect("it has markers");
        assert_eq!(new, format!("# Title\n\n{BEGIN}\ntable\n\n{END}\n\nmore\n"));
        assert_eq!(replaced(&new, "table").as_ref(), Some(&new));
        assert_eq!(replaced("no markers", "table"), None);
    }
}
