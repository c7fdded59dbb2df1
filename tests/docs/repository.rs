//! Files beside the code that say what it is and how it runs.

use std::path::Path;

use crate::section;

pub(crate) fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

#[test]
fn the_licence_is_the_one_that_the_packages_name() {
    for manifest in ["Cargo.toml", "deny.toml", "client-tests/js/package.json"] {
        assert!(file(manifest).contains("\"Apache-2.0\""), "{manifest}");
    }
    let text = file("LICENSE");
    assert!(text.trim_start().starts_with("Apache License"));
    assert!(text.contains("Version 2.0, January 2004"));
    assert!(text.contains("END OF TERMS AND CONDITIONS"));
}

/// The texts in backticks of a cell of the table.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn names_that_the_changelog_says_were_renamed_are_named_so_in_the_pages() {
    let changelog = file("CHANGELOG.md");
    let renamed = section(&changelog, "### Renamed");
    let pages = [
        "docs/operations.md",
        "docs/protocol.md",
        "loadgen/README.md",
    ]
    .map(file)
    .concat();
    let mut rows = 0;
    for row in renamed.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, what, before, now, _] = cells[..] else {
            panic!("not three cells: {row}");
        };
        // These texts are in the log, and on no page.
        if what.starts_with("`why`") {
            continue;
        }
        for name in quoted(now) {
            assert!(pages.contains(name), "no page has {name}");
        }
        for message in quoted(before).filter(|before| before.contains(' ')) {
            let is_part_of_the_new_one = quoted(now).any(|now| now.contains(message));
            let gone = is_part_of_the_new_one || !pages.contains(message);
            assert!(gone, "a page still has {message}");
        }
        rows += 1;
    }
    assert!(rows > 15, "{rows}");
}
