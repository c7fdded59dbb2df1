//! docs/operations.md lists every log line above `debug` with its level, and no other.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{page, section};

/// A log line as the code writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    level: &'static str,
    /// Everything between the macro's parentheses.
    arguments: String,
}

/// The product's sources, without tests.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources are here") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("names are UTF-8");
        if name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let product = text.split("#[cfg(test)]\nmod tests {").next();
            found.push(product.unwrap_or_default().to_owned());
        }
    }
}

/// From behind an opening parenthesis to the one that closes it. Texts may hold parentheses, too.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, sign) in text.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    panic!("it is never closed: {text}");
}

/// The texts that are arguments of their own, not values of fields.
fn texts(arguments: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = arguments;
    while let Some((before, behind)) = rest.split_once('"') {
        let end = behind.find('"').expect("a text ends");
        let before = before.trim_end();
        if before.is_empty() || before.ends_with(',') {
            texts.push(behind[..end].to_owned());
        }
        rest = &behind[end + 1..];
    }
    texts
}

/// Every line above `debug`, by its message.
fn written() -> BTreeMap<String, Line> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root, &mut found);
    let mut lines = BTreeMap::new();
    for source in &found {
        for (name, level) in [
            ("info!(", "info"),
            ("warn!(", "warn"),
            ("error!(", "error"),
            // The text is an argument, or stands in `context`.
            ("events::fault(", "error"),
            ("let context = \"", "error"),
        ] {
            for (at, _) in source.match_indices(name) {
                let behind = &source[at + name.len()..];
                let (arguments, texts) = if name.starts_with("let") {
                    let text = behind.split('"').next().expect("a text");
                    ("component fault".to_owned(), vec![text.to_owned()])
                } else {
                    let arguments = arguments(behind);
                    let mut texts = texts(arguments);
                    if name.starts_with("events") {
                        texts.truncate(1);
                        ("component fault".to_owned(), texts)
                    } else {
                        (
                            arguments.to_owned(),
                            texts.split_off(texts.len().saturating_sub(1)),
                        )
                    }
                };
                for text in texts {
                    // A text that is inserted as a whole comes from another library, or from an error.
                    if text != "{}" && text != "{context}" {
                        let text = text.replace("{suppressed}", "N");
                        let arguments = arguments.clone();
                        lines.insert(text, Line { level, arguments });
                    }
                }
            }
        }
    }
    lines
}

/// Rows of the page's table: messages, levels, and what the line says.
fn rows(logs: &str) -> Vec<(Vec<String>, Vec<String>, String)> {
    let rows = logs.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let messages = cells[0].split('`').skip(1).step_by(2);
        let levels = cells[1].split(", ");
        (
            messages.map(str::to_owned).collect(),
            levels.map(str::to_owned).collect(),
            cells[2].to_owned(),
        )
    })
    .collect()
}

#[test]
fn s4_20_operations_lists_every_log_line_with_its_level_and_fields() {
    let operations = page("operations.md");
    let mut written = written();
    assert!(written.len() >= 35, "{}: {written:#?}", written.len());
    for (messages, levels, says) in rows(section(&operations, "## Logs")) {
        let mut arguments = String::new();
        for (nth, message) in messages.iter().enumerate() {
            let line = written.remove(message);
            let line = line.unwrap_or_else(|| panic!("no code writes {message:?}"));
            let level = if levels.len() == 1 {
                &levels[0]
            } else {
                &levels[nth]
            };
            assert_eq!(level, line.level, "{message:?}");
            arguments.push_str(&line.arguments);
        }
        let words = says.split('`').skip(1).step_by(2);
        for word in words.filter(|word| {
            word.chars()
                .all(|sign| sign == '_' || sign.is_ascii_lowercase())
        }) {
            assert!(
                arguments.contains(word),
                "{messages:?} have no field {word}"
            );
        }
    }
    assert!(
        written.is_empty(),
        "these are not on the page: {written:#?}"
    );
}
