//! Links between the pages.

use std::path::Path;

/// A link that leads nowhere is found when it is needed.
#[test]
fn links_between_the_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for from in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/protocol.md",
        "docs/operations.md",
        "docs/routes.md",
    ] {
        let text = std::fs::read_to_string(root.join(from)).expect(from);
        let folder = root.join(from);
        let folder = folder.parent().expect("a file has a folder");
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap_or_default();
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                root.join(from)
            } else {
                folder.join(file)
            };
            assert!(path.exists(), "{from} links to {target}");
            if !anchor.is_empty() {
                let page = std::fs::read_to_string(&path).expect(target);
                assert!(
                    page.lines().any(|line| is_heading_of(line, anchor)),
                    "{from} links to {target}"
                );
            }
        }
    }
}

/// As forges make anchors: lower case, spaces to hyphens, other signs left out.
fn is_heading_of(line: &str, anchor: &str) -> bool {
    let title = line.trim_start_matches('#');
    let made: String = title
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|sign| match sign {
            ' ' => Some('-'),
            sign if sign.is_alphanumeric() || "-_".contains(sign) => Some(sign),
            _ => None,
        })
        .collect();
    title.len() < line.len() && made == anchor
}
