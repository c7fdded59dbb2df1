//! docs/requirements.md and the code name the same requirements and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::page;

macro_rules! pattern {
    ($text:literal) => {
        LazyLock::new(|| Regex::new($text).expect("a good pattern"))
    };
}

/// A row of the page.
struct Requirement {
    state: String,
    tests: Vec<String>,
}

fn requirements() -> BTreeMap<String, Requirement> {
    static ID: LazyLock<Regex> = pattern!("^(S[0-4]-[0-9]{2}|C[0-9]{1,2}|A[0-9]{2}|H[0-9]{1,2})$");
    let page = page("requirements.md");
    let mut found = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !ID.is_match(cells[0]) {
            continue;
        }
        assert_eq!(cells.len(), 4, "{line}");
        let tests = cells[3].split('`').skip(1).step_by(2);
        let requirement = Requirement {
            state: cells[2].to_owned(),
            tests: tests.map(str::to_owned).collect(),
        };
        let before = found.insert(cells[0].to_owned(), requirement);
        assert!(before.is_none(), "{} is there twice", cells[0]);
    }
    found
}

/// Every source of the repository that is ours, with its text.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    const OTHERS: [&str; 4] = ["node_modules", "target", "vendor", "assets"];
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("names are UTF-8");
        if name.starts_with('.') || OTHERS.contains(&name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "js")
        {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            found.push((name.to_owned(), text));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["client-tests", "crates", "loadgen", "src", "tests", "tools"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        sources(&folder, &mut found);
    }
    assert!(found.len() > 200, "{}", found.len());
    found
}

/// The ids that a text cites: in names (`s4_09_to_12_…`, `a45_a46_…`) and in words (`S4-09`).
fn cited(text: &str) -> BTreeSet<String> {
    static NAME: LazyLock<Regex> = pattern!(
        "(?-u:\\b)(?:s[0-4]_[0-9]{2}|a[0-9]{2}|[ch][0-9]{1,2})_(?:(?:to_)?(?:s[0-4]_[0-9]{2}|[0-9]{2}|a[0-9]{2}|h[0-9]{1,2})_)*"
    );
    static WORD: LazyLock<Regex> = pattern!("(?-u:\\b)S[0-4]-[0-9]{2}(?-u:\\b)");
    let mut ids = BTreeSet::new();
    for found in NAME.find_iter(text) {
        let mut source = String::new();
        for part in found.as_str().split('_') {
            match part.as_bytes() {
                [b's', _] => source = part.to_uppercase(),
                [b'a' | b'c' | b'h', ..] => {
                    ids.insert(part.to_uppercase());
                }
                [b'0'..=b'9', _] => {
                    ids.insert(format!("{source}-{part}"));
                }
                _ => {}
            }
        }
    }
    ids.extend(WORD.find_iter(text).map(|id| id.as_str().to_owned()));
    ids
}

/// Names of the tests in a source. What a JavaScript test is repeated with is `*`.
fn tests_of(text: &str) -> BTreeSet<String> {
    // With an attribute, or in the list of a macro that makes tests.
    static ATTRIBUTE: LazyLock<Regex> = pattern!(
        "#\\[(?:tokio::)?test[^\\]]*\\][ \n]*(?:(?:#\\[[^\\]]*\\]|//[^\n]*)[ \n]*)*(?:async )?fn ([a-z0-9_]+)"
    );
    static LISTED: LazyLock<Regex> = pattern!("\n    ([a-z0-9_]+)\\([^;\n]*\\);");
    static SCRIPT: LazyLock<Regex> = pattern!("(?-u:\\b)test\\([ \n]*(?:\"([^\"]*)\"|`([^`]*)`)");
    let rust = ATTRIBUTE
        .captures_iter(text)
        .chain(LISTED.captures_iter(text));
    let mut names: BTreeSet<String> = rust.map(|found| found[1].to_owned()).collect();
    for found in SCRIPT.captures_iter(text) {
        let title = found.get(1).or_else(|| found.get(2)).expect("one of both");
        let mut name = String::new();
        let mut rest = title.as_str();
        while let Some((before, behind)) = rest.split_once("${") {
            let (_, after) = behind.split_once('}').expect("a closed brace");
            name.extend([before, "*"]);
            rest = after;
        }
        names.insert(name + rest);
    }
    names
}

#[test]
fn every_requirement_that_the_code_cites_is_listed() {
    let known = requirements();
    for (file, text) in all_sources() {
        for id in cited(&text) {
            assert!(known.contains_key(&id), "{file} cites {id}");
        }
    }
}

#[test]
fn what_is_done_has_a_test_and_every_test_that_is_named_exists() {
    let known = requirements();
    assert!(known.len() >= 208, "{}", known.len());
    let tests: BTreeSet<String> = all_sources()
        .iter()
        .flat_map(|(_, text)| tests_of(text))
        .collect();
    for (id, requirement) in &known {
        let state = requirement.state.as_str();
        let said = matches!(state, "done" | "later") || state.starts_with("partly: ");
        assert!(said, "{id} is {state:?}");
        if state == "done" {
            assert!(!requirement.tests.is_empty(), "{id} is done without a test");
        }
        if state == "later" {
            assert!(requirement.tests.is_empty(), "{id} comes later");
        }
        for test in &requirement.tests {
            assert!(tests.contains(test), "{id}: there is no test {test}");
        }
    }
}

#[test]
fn ids_are_found_in_names_and_in_words() {
    let ids = |text| cited(text).into_iter().collect::<Vec<_>>();
    assert_eq!(ids("fn s4_09_to_12_rooms()"), ["S4-09", "S4-12"]);
    assert_eq!(ids("s4_09_to_s4_12_every"), ["S4-09", "S4-12"]);
    assert_eq!(ids("a45_a46_wrong_claims"), ["A45", "A46"]);
    assert_eq!(ids("test(`s3_08_s2_15_views`"), ["S2-15", "S3-08"]);
    assert_eq!(ids("/// As S2-11 says; c10_limits"), ["C10", "S2-11"]);
    assert_eq!(
        ids("a16_h24_only h1_a_key h16_no_2"),
        ["A16", "H1", "H16", "H24"]
    );
    assert_eq!(ids("bs4_09_x aa12_b"), Vec::<String>::new());
}
