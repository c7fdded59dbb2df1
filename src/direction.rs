//! Which module may know which. The compiler holds what `crates/core` may not know; this holds the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// May be known by all: they say what happens, when, and for how long, and how an HTTP client receives it.
const BASE: [&str; 4] = ["clock", "lifecycle", "problem", "telemetry"];

/// What each module may know besides [`BASE`]. A module that is missing here fails the test: say where it stands.
const MAY_KNOW: [(&str, &[&str]); 16] = [
    ("clock", &[]),
    ("lifecycle", &[]),
    ("telemetry", &[]),
    ("problem", &[]),
    // It fills in the settings that parts declare: `auth` says what a token must be and tries the keys, `kafka` which of
    // librdkafka's properties may be set, `limits` what is limited, `bus` which Redis can be used.
    ("settings", &["auth", "bus", "kafka", "limits"]),
    ("net", &[]),
    ("limits", &[]),
    ("bus", &[]),
    ("auth", &[]),
    // Events leave by the lane of a connection, whatever transport frames them.
    ("session", &["auth", "limits", "net"]),
    ("socketio", &["auth", "limits", "net", "session"]),
    ("api", &["auth", "session"]),
    ("kafka", &[]),
    ("demo", &[]),
    // The operator's tools (topics, produce, check) ask brokers without an app around them; the demo's secret is a setting.
    ("cli", &["app", "auth", "bus", "demo", "kafka", "settings"]),
    (
        "app",
        &[
            "api", "auth", "bus", "demo", "kafka", "limits", "net", "session", "settings",
            "socketio",
        ],
    ),
];

/// Tests that serve what the code under test asks for.
const TESTS_KNOW: [(&str, &str); 1] = [("auth/rotation_tests.rs", "net")];

/// Libraries that show through nowhere else.
const CONFINED: [(&str, &[&str]); 4] = [
    ("rdkafka", &["kafka", "demo"]),
    ("rdkafka_sys", &["kafka"]),
    ("redis", &["bus"]),
    ("socketioxide", &["socketio"]),
];

/// The only places with unsafe code: calls of librdkafka that its crate lacks, two of the kernel, and one of the allocator.
const UNSAFE: [&str; 3] = ["kafka/ffi/", "net/send_queue.rs", "lifecycle/heap.rs"];

struct Source {
    /// Below `src`, or below the repository for other crates.
    path: String,
    /// Without comments and without what stands in strings.
    code: String,
}

fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources are here") {
            let path: PathBuf = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let below = path.strip_prefix(root).expect("it was found below");
                found.push(Source {
                    path: below.to_string_lossy().into_owned(),
                    code: code_of(&text),
                });
            }
        }
    }
    assert!(!found.is_empty(), "nothing below {}", root.display());
    found
}

/// Line by line: enough for code that rustfmt has formatted and that has no block comments.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let mut quoted = line.split('"');
        while let Some(part) = quoted.next() {
            if let Some((before, _)) = part.split_once("// ") {
                code.push_str(before);
                break;
            }
            code.push_str(part);
            quoted.next();
        }
        code.push('\n');
    }
    code
}

/// The product's sources below `root`: without modules and files that only tests compile. Modules of tests come last in a file.
fn product(root: &Path) -> Vec<Source> {
    let mut sources = sources(root);
    let mut of_tests = Vec::new();
    for source in &mut sources {
        let code = source.code.clone();
        let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let name = file.strip_suffix(".rs").unwrap_or(file);
        let folder = match name {
            "mod" | "lib" | "main" => folder.to_owned(),
            _ => format!("{folder}/{name}"),
        };
        for (at, _) in code.match_indices("#[cfg(test)]\n") {
            let item = code[at..].lines().nth(1).unwrap_or_default();
            let module = item.split("mod ").nth(1).unwrap_or_default();
            if let Some(name) = module.strip_suffix(';') {
                of_tests.push(format!("{folder}/{name}"));
            } else if module.ends_with('{') {
                source.code.truncate(at);
                break;
            }
        }
    }
    sources.retain(|source| {
        let path = format!("/{}", source.path);
        !path.contains("/tests/")
            && !of_tests.iter().any(|module| {
                let below = path
                    .trim_start_matches('/')
                    .strip_prefix(module.trim_start_matches('/'));
                below.is_some_and(|below| below == ".rs" || below.starts_with('/'))
            })
    });
    sources
}

/// The words of the code, with what precedes each.
fn words(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_word)?;
        let end = code[start..]
            .find(|letter| !is_word(letter))
            .map_or(code.len(), |length| start + length);
        at = end;
        Some((&code[..start], &code[start..end]))
    })
}

/// Modules of the top level `root` that this code names: `root::a`, and `super::…::a` as far as it leads out of the module.
fn known(source: &Source, root: &str, modules: &BTreeSet<&str>) -> BTreeSet<String> {
    let depth = source.path.matches('/').count() + usize::from(!source.path.ends_with("mod.rs"));
    let out = "super::".repeat(depth);
    words(&source.code)
        .filter(|(before, word)| {
            before.ends_with(root) || (before.ends_with(&out) && modules.contains(word))
        })
        .map(|(_, word)| word.to_owned())
        .collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn module_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

#[test]
fn no_module_knows_more_than_it_may() {
    let may_know: BTreeMap<_, _> = MAY_KNOW.into_iter().collect();
    let modules: BTreeSet<_> = may_know.keys().copied().collect();
    let mut wrong = Vec::new();
    for source in sources(&src()) {
        let (module, path) = (module_of(&source.path), source.path.as_str());
        if ["lib", "main", "direction"].contains(&module) {
            continue;
        }
        let allowed = may_know
            .get(module)
            .unwrap_or_else(|| panic!("say in {} what {module} may know", file!()));
        if source.code.contains("crate::{") {
            wrong.push(format!("{path}: one `use` for each module, to be seen"));
        }
        for known in known(&source, "crate::", &modules) {
            let known = known.as_str();
            let base = known == module || BASE.contains(&known);
            if !base && !allowed.contains(&known) && !TESTS_KNOW.contains(&(path, known)) {
                wrong.push(format!("{path} may not know {known}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A module that is known by another does not know it in turn, by however many steps.
fn assert_one_direction<'a>(mut left: BTreeMap<&'a str, BTreeSet<&'a str>>) {
    while !left.is_empty() {
        let before = left.len();
        let known: BTreeSet<_> = left.keys().copied().collect();
        left.retain(|_, may_know| may_know.iter().any(|module| known.contains(module)));
        assert!(left.len() < before, "a circle: {left:?}");
    }
}

#[test]
fn modules_know_each_other_in_one_direction() {
    let may_know = MAY_KNOW.iter();
    assert_one_direction(
        may_know
            .map(|(module, known)| (*module, known.iter().copied().collect()))
            .collect(),
    );
}

/// So `explain` observes the walk of `route`, which does not know that it is explained.
#[test]
fn modules_of_the_domain_know_each_other_in_one_direction() {
    let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/src/domain");
    let sources = product(&domain);
    let modules = sources.iter().map(|source| module_of(&source.path));
    let modules: BTreeSet<&str> = modules.filter(|module| *module != "mod").collect();
    let mut knows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &sources {
        let module = module_of(&source.path);
        let found = known(source, "domain::", &modules);
        let found = modules.iter().filter(|other| found.contains(**other));
        let others = found.filter(|other| **other != module);
        knows.entry(module).or_default().extend(others);
    }
    assert!(knows["explain"].contains("route"));
    assert!(!knows["route"].contains("explain"));
    assert_one_direction(knows);
}

/// Associated types have the names that traits give them, of libraries and the hub's `Outlet`.
const ASSOCIATED: [&str; 6] = ["Data", "Error", "Instant", "Key", "Shared", "Value"];

/// Two types of one name can be distinguished by their paths only, in code and in talk. Tests count too: they are read beside it.
#[test]
fn a_type_name_is_defined_in_one_file() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in ["src", "crates"] {
        for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let names = defined(&source.code).filter(|name| !ASSOCIATED.contains(name));
            for name in names {
                let path = format!("{folder}/{}", source.path);
                files.entry(name.to_owned()).or_default().insert(path);
            }
        }
    }
    files.retain(|_, files| files.len() > 1);
    let count = files.len();
    assert!(
        files.is_empty(),
        "{count} names of types are defined in two or more files: {files:#?}"
    );
}

/// The structs, enums, traits and aliases that this code defines, also by the macros that make closed lists.
fn defined(code: &str) -> impl Iterator<Item = &str> {
    let first_word = |text| words(text).next().map(|(_, word)| word);
    let mut in_list = false;
    code.lines().filter_map(move |line| {
        // Attributes stand between the macro and the name.
        if in_list && !line.starts_with("#[") {
            in_list = false;
            return first_word(line);
        }
        in_list |= ["labels! {", "codes! {"].contains(&line);
        let item = match line.strip_prefix("pub(") {
            Some(restricted) => restricted.split_once(") ")?.1,
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let (keyword, rest) = item.split_once(' ')?;
        let is_type = ["struct", "enum", "trait", "type"].contains(&keyword);
        // A `$name` is one of a macro's definition.
        (is_type && !rest.starts_with('$')).then(|| first_word(rest))?
    })
}

#[test]
fn libraries_stay_where_they_belong() {
    for source in sources(&src()) {
        let module = module_of(&source.path);
        // The transport's own tests serve the library, because that is what it must carry.
        if module == "direction" || source.path == "net/tests/library.rs" {
            continue;
        }
        for (library, homes) in CONFINED {
            let used = words(&source.code).any(|(before, word)| {
                word == library && !before.ends_with("::") && !before.ends_with('.')
            });
            assert!(
                !used || homes.contains(&module),
                "{}: {library}",
                source.path
            );
        }
    }
}

#[test]
fn unsafe_code_is_in_few_places() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "crates", "loadgen", "tools"] {
        for source in sources(&root.join(folder)) {
            let is_unsafe = words(&source.code).any(|(_, word)| word == "unsafe");
            let listed = UNSAFE.iter().any(|place| source.path.starts_with(place));
            let expected = folder == "src" && listed;
            assert_eq!(is_unsafe, expected, "{folder}/{}", source.path);
        }
    }
}

#[test]
fn definitions_are_found_and_tests_are_not_part_of_the_product() {
    let code = code_of(
        "pub(in crate::a) struct One;\npub enum Two {\n}\nlet x = Three;\n// struct Four;\ncodes! {\n#[expect(a)]\nFive {\n}\n}\n",
    );
    assert_eq!(defined(&code).collect::<Vec<_>>(), ["One", "Two", "Five"]);
    let product = product(&src());
    let has = |path: &str| product.iter().any(|source| source.path == path);
    assert!(has("kafka/reader/act.rs") && has("lifecycle/mod.rs"));
    assert!(!has("lifecycle/tests.rs") && !has("kafka/tests/rig.rs") && !has("direction.rs"));
}

#[test]
fn the_checks_find_what_they_forbid() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        code: code_of(text),
    };
    let modules = BTreeSet::from(["kafka", "net"]);
    for (path, text, expected) in [
        ("net/a.rs", "use crate::kafka::X;", true),
        ("net/a.rs", "    let x = crate::kafka::x();", true),
        ("net/a.rs", "use super::super::kafka::X;", true),
        ("net/mod.rs", "use super::kafka::X;", true),
        ("net/a/b.rs", "use super::super::kafka::X;", false),
        ("net/a.rs", "// use crate::kafka::X;", false),
        ("net/a.rs", "let x = \"crate::kafka\";", false),
        ("net/a.rs", "use kafka::X;", false),
    ] {
        let known = known(&source(path, text), "crate::", &modules).contains("kafka");
        assert_eq!(known, expected, "{path}: {text}");
    }
}
