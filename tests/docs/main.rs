//! What docs/ says about names and numbers is what the code has: a list that grows in one place only fails here.

mod deployment;
mod facts;
mod links;
mod logs;
mod operations;
mod protocol;
mod repository;
mod requirements;
mod routes;

use std::collections::BTreeSet;
use std::path::Path;

/// A page of docs/.
pub(crate) fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The text between this heading and the next one of its rank or above.
pub(crate) fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let rank = heading.chars().take_while(|sign| *sign == '#').count();
    let (_, rest) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading:?}"));
    let end = (1..=rank)
        .filter_map(|rank| rest.find(&format!("\n{} ", "#".repeat(rank))))
        .min();
    &rest[..end.unwrap_or(rest.len())]
}

/// What stands in backticks in the first cell of each row of the section's tables.
pub(crate) fn first_cells(section: &str) -> BTreeSet<&str> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(cell, _)| cell)
        .collect()
}
