//! Links and tables of contents. A broken link is otherwise found only by a reader.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A page longer than this needs a table of contents.
const LINES_WITHOUT_CONTENTS: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Every page of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "loadgen"] {
        let folder = root().join(folder);
        let files = std::fs::read_dir(&folder).expect("a folder of the repository");
        let paths = files.map(|file| file.expect("a readable entry").path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    assert!(pages.len() >= 9, "{pages:?}");
    pages
}

/// The page without its fenced code: neither `#` nor `](` means anything in there.
fn prose(text: &str) -> String {
    let mut in_fence = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            prose.extend([line, "\n"]);
        }
    }
    prose
}

/// Where the page's links lead.
fn links(prose: &str) -> Vec<&str> {
    let ends = prose.split("](").skip(1);
    ends.map(|rest| rest.split(')').next().unwrap_or_default())
        .collect()
}

/// As forges make anchors: lower case, spaces to hyphens, other punctuation removed.
fn anchor(title: &str) -> String {
    let lower = title.trim().to_lowercase();
    lower
        .chars()
        .filter_map(|sign| match sign {
            ' ' => Some('-'),
            sign if sign.is_alphanumeric() || "-_".contains(sign) => Some(sign),
            _ => None,
        })
        .collect()
}

/// The anchors of the page's headings of these ranks.
fn anchors(prose: &str, ranks: std::ops::RangeInclusive<usize>) -> BTreeSet<String> {
    let headings = prose.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        let rank = line.len() - title.len();
        (ranks.contains(&rank) && title.starts_with(' ')).then(|| anchor(title))
    });
    headings.collect()
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    for from in pages() {
        let text = prose(&read(&from));
        let folder = from.parent().expect("a file has a folder");
        for target in links(&text) {
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => from.clone(),
                file => folder.join(file),
            };
            assert!(path.exists(), "{} links to {target}", from.display());
            if !anchor.is_empty() {
                let known = anchors(&prose(&read(&path)), 1..=6);
                assert!(
                    known.contains(anchor),
                    "{} links to {target}; there are {known:?}",
                    from.display()
                );
            }
        }
    }
}

#[test]
fn long_pages_begin_with_a_table_of_contents_that_lists_every_section() {
    for page in pages() {
        let text = read(&page);
        // A changelog is a list of versions, read from its top.
        if text.lines().count() <= LINES_WITHOUT_CONTENTS || page.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = prose(&text);
        let (contents, _) = text.split_once("\n## ").expect("a long page has sections");
        let listed: BTreeSet<&str> = links(contents)
            .into_iter()
            .filter_map(|target| target.strip_prefix('#'))
            .collect();
        for section in anchors(&text, 2..=2) {
            assert!(
                listed.contains(section.as_str()),
                "{}: the table of contents lacks #{section}",
                page.display()
            );
        }
    }
}

/// Files below this folder that are sources.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for file in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = file.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn pages_that_code_and_error_texts_name_exist_with_their_sections() {
    let mut files = Vec::new();
    for folder in ["src", "crates", "loadgen/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut named = 0;
    for file in files {
        let text = read(&file);
        for rest in text.split("docs/").skip(1) {
            let is_part = |sign: char| sign.is_ascii_alphanumeric() || "-_.#".contains(sign);
            let end = rest.find(|sign| !is_part(sign)).unwrap_or(rest.len());
            let Some((name, rest)) = rest[..end].split_once(".md") else {
                continue;
            };
            named += 1;
            let path = root().join("docs").join(format!("{name}.md"));
            assert!(path.exists(), "{} names docs/{name}.md", file.display());
            if let Some(wanted) = rest.strip_prefix('#') {
                let known = anchors(&prose(&read(&path)), 1..=6);
                let wanted = wanted.trim_end_matches('.');
                assert!(known.contains(wanted), "{}: {wanted}", file.display());
            }
        }
    }
    assert!(named > 5, "{named}");
}
