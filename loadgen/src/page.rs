//! The tables in docs/performance.md, and the machine that they were measured on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::clock::Clock;

/// Puts the text between the markers of a command, such as `bench`, which `make` runs under the same name.
pub(crate) fn write(path: &Path, command: &str, text: &str) -> Result<()> {
    let page =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = replaced(&page, command, text).with_context(|| {
        format!(
            "{} has no markers for the table of {command}",
            path.display()
        )
    })?;
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn replaced(page: &str, command: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- {command}: written by make {command} -->\n");
    let end = format!("<!-- end of {command} -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

/// When, and on what, it was measured.
pub(crate) fn machine() -> String {
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
        "{date}: {model}, {} cores, Linux {}.",
        models.len().max(1),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_of_the_command_changes() {
        let other = "<!-- bench: written by make bench -->\nfigures\n<!-- end of bench -->\n";
        let page = |text: &str| {
            format!(
                "{other}<!-- control: written by make control -->\n{text}<!-- end of control -->\n\nmore\n"
            )
        };
        let new = replaced(&page("old\n"), "control", "table\n").expect("it has markers");
        assert_eq!(new, page("\ntable\n\n"));
        assert_eq!(replaced(&new, "control", "table").as_ref(), Some(&new));
        assert_eq!(replaced(other, "control", "table"), None);
    }
}
