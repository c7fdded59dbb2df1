//! The TOML file: where settings may stand below the environment. Its keys are the variables' names in another spelling, and its
//! values become the texts that the variables would have, so everything behind this is the same for both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::input::{SettingSource, SettingText};
use super::issuers::{FIELDS, ISSUERS, IssuerText};
use super::report::{SettingProblem, did_you_mean, key_meant, nearest};
use super::table::{PROPERTIES, Variable, variables};
use super::values::{MASK, Shape, ValueKind, Wrong};
use crate::kafka::properties::is_secret;

/// A file of this size holds no settings. Bytes.
const LARGEST: u64 = 1024 * 1024;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileLine {
    path: Arc<str>,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for FileLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.path, self.line)
    }
}

/// What stands in the file.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    pub values: Vec<(&'static Variable, SettingText)>,
    /// By librdkafka's names.
    pub properties: Vec<(String, SettingText)>,
    /// Lines that are not TOML, and values of a wrong type: what they should set is not known.
    pub broken: Vec<SettingProblem>,
    pub issuers: Vec<IssuerText>,
    /// Variables whose values have a wrong type: set, and not missing.
    pub mistyped: Vec<&'static str>,
    pub unknown: Vec<SettingProblem>,
    /// Keys of values that are not shown.
    pub secrets: Vec<String>,
    pub world_readable: bool,
}

impl SettingsFile {
    pub(super) fn read(path: &str) -> Result<Self, SettingProblem> {
        let read = || {
            let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
            // A device or pipe might never end.
            if !meta.is_file() || meta.len() > LARGEST {
                return Err(format!("expected a file of at most {LARGEST} bytes"));
            }
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            Ok((text, meta.permissions().mode() & 0o004 != 0))
        };
        match read() {
            Ok((text, world_readable)) => Ok(Self {
                world_readable,
                ..Self::parse(&text, path)
            }),
            Err(why) => {
                let problem = format!("cannot read the settings in {path}: {why}");
                Err(SettingProblem(problem, None))
            }
        }
    }

    /// `path` is what messages call the text.
    pub(super) fn parse(text: &str, path: &str) -> Self {
        // Some editors begin a file with it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut parser = Parser {
            text,
            path: path.into(),
            not_toml: BTreeSet::new(),
            file: Self::default(),
        };
        let (root, errors) = DeTable::parse_recoverable(text);
        // Of what the parser says about one line only the first is the operator's mistake; the rest follows from it.
        for error in errors {
            let line = parser.line(&error.span().unwrap_or_default());
            if parser.not_toml.insert(line.line) {
                let problem = SettingProblem::at(&line, error.message());
                parser.file.broken.push(problem);
            }
        }
        parser.table(root.get_ref(), "");
        parser.file
    }
}

struct Parser<'a> {
    text: &'a str,
    path: Arc<str>,
    /// Lines with a mistake of syntax, which is reported: what was read of them is a guess.
    not_toml: BTreeSet<usize>,
    file: SettingsFile,
}

impl Parser<'_> {
    fn line(&self, span: &Range<usize>) -> FileLine {
        FileLine {
            path: self.path.clone(),
            line: line_of(self.text, span),
        }
    }

    /// `outer` are the tables around this one.
    fn table(&mut self, table: &DeTable<'_>, outer: &str) {
        for (name, value) in table {
            let key = match outer {
                "" => name.to_string(),
                outer => format!("{outer}.{name}"),
            };
            self.entry(&key, value.get_ref(), self.line(&name.span()));
        }
    }

    fn entry(&mut self, key: &str, value: &DeValue<'_>, line: FileLine) {
        let below = format!("{key}.");
        let mut keys = variables().filter_map(Variable::key);
        let variable = variables().find(|variable| variable.key().is_some_and(|own| own == key));
        let rest = key.strip_prefix(PROPERTIES);
        // `"sasl.username" = "reader"`, and also `sasl.username = "reader"`, which to TOML is a table in a table.
        let property = rest.and_then(|rest| rest.strip_prefix('.'));
        if self.not_toml.contains(&line.line) && value.as_table().is_none() {
            let named = variable.map(|variable| variable.name);
            self.file.mistyped.extend(named);
        } else if let Some(variable) = variable {
            let is_secret = |text: &str| variable.kind.masked(text).contains(MASK);
            match self.text(key, value, line, Some(variable.kind), is_secret) {
                Some(found) => self.file.values.push((variable, found)),
                None => self.file.mistyped.push(variable.name),
            }
        } else if key == ISSUERS {
            self.issuers(value, &line);
        } else if let DeValue::Table(inner) = value
            && (rest == Some("") || property.is_some() || keys.any(|key| key.starts_with(&below)))
        {
            self.table(inner, key);
        } else if let Some(name) = property {
            let is_secret = |text: &str| is_secret(name) && !text.is_empty();
            if let Some(found) = self.text(key, value, line, None, is_secret) {
                self.file.properties.push((name.to_owned(), found));
            }
        } else if rest == Some("") {
            self.wrong_type(key, &line, "expected a table of librdkafka's properties");
        } else {
            let hint = did_you_mean(key_meant(key, value));
            let problem = format!("unknown setting {key}{hint}");
            self.file.unknown.push(SettingProblem::at(&line, &problem));
        }
    }

    fn issuers(&mut self, value: &DeValue<'_>, line: &FileLine) {
        let DeValue::Array(entries) = value else {
            self.file.mistyped.push(ISSUERS);
            return self.wrong_type(
                ISSUERS,
                line,
                "expected a list of tables, each [[jwt.issuers]]",
            );
        };
        for entry in entries {
            let line = self.line(&entry.span());
            let Some(table) = entry.get_ref().as_table() else {
                self.file.mistyped.push(ISSUERS);
                self.wrong_type(
                    ISSUERS,
                    &line,
                    "expected a list of tables, each [[jwt.issuers]]",
                );
                continue;
            };
            let issuer = self.issuer(table, line);
            self.file.issuers.push(issuer);
        }
    }

    fn issuer(&mut self, table: &DeTable<'_>, line: FileLine) -> IssuerText {
        let mut issuer = IssuerText {
            line,
            fields: BTreeMap::new(),
            broken: false,
        };
        for (name, value) in table {
            let line = self.line(&name.span());
            let key = format!("{ISSUERS}.{name}");
            let Some(field) = FIELDS.iter().find(|field| field.name == name.get_ref()) else {
                let allowed = |meant: &str| meant.len() / 3;
                let meant = nearest(
                    name.get_ref(),
                    FIELDS.iter().map(|field| field.name),
                    allowed,
                );
                let problem = format!("unknown setting {key}{}", did_you_mean(meant));
                self.file.unknown.push(SettingProblem::at(&line, &problem));
                issuer.broken = true;
                continue;
            };
            match text_of(value.get_ref(), Some(field.kind)) {
                Ok(text) => drop(
                    issuer
                        .fields
                        .insert(field.name, (text.trim().to_owned(), line)),
                ),
                Err(why) => {
                    self.wrong_type(&key, &line, &why);
                    issuer.broken = true;
                }
            }
        }
        issuer
    }

    fn text(
        &mut self,
        key: &str,
        value: &DeValue<'_>,
        line: FileLine,
        kind: Option<ValueKind>,
        is_secret: impl Fn(&str) -> bool,
    ) -> Option<SettingText> {
        let text = match text_of(value, kind) {
            Ok(text) => text,
            Err(why) => {
                self.wrong_type(key, &line, &why);
                return None;
            }
        };
        let key = key.to_owned();
        if is_secret(&text) {
            self.file.secrets.push(key.clone());
        }
        let source = SettingSource::File { key, line };
        Some(SettingText { text, source })
    }

    fn wrong_type(&mut self, key: &str, line: &FileLine, why: &str) {
        let problem = SettingProblem::at(line, &format!("cannot use {key}: {why}"));
        self.file.broken.push(problem);
    }
}

pub(in crate::settings) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// What the environment would have. TOML has types, so a value of the wrong one is an error. Without `kind`: a property of
/// librdkafka, which may have any type but these of several values.
fn text_of(value: &DeValue<'_>, kind: Option<ValueKind>) -> Result<String, Wrong> {
    let shape = kind.map(|kind| kind.shape);
    let is = |wanted: Shape| shape.is_none_or(|shape| shape == wanted);
    let text = match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) if is(Shape::Switch) => Some(on.to_string()),
        DeValue::Integer(number) if is(Shape::Number) => {
            let number = u64::from_str_radix(number.as_str(), number.radix());
            number.ok().map(|number| number.to_string())
        }
        DeValue::Float(number) if shape.is_none() => Some(number.to_string()),
        DeValue::Array(items) if shape == Some(Shape::List) => items
            .iter()
            .map(|item| item.get_ref().as_str().filter(|text| !text.contains(',')))
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        _ => None,
    };
    text.ok_or_else(|| {
        let expected = match (shape, kind) {
            (Some(Shape::Number | Shape::Switch), Some(kind)) => kind.expected(),
            (Some(Shape::List), _) => {
                "expected text in quotes, or a list of such texts without commas".to_owned()
            }
            _ => "expected text in quotes".to_owned(),
        };
        match value {
            DeValue::Integer(number) => format!("{expected}; found {number}"),
            DeValue::Float(number) => format!("{expected}; found {number}"),
            other => format!("{expected}; found {}", other.type_str()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &SettingsFile) -> Vec<(&str, &str)> {
        let values = file.values.iter();
        values
            .map(|(variable, found)| (variable.name, found.text.as_str()))
            .collect()
    }

    fn line(found: &SettingText) -> String {
        match &found.source {
            SettingSource::File { line, .. } => line.to_string(),
            other => panic!("{other:?} is not the file"),
        }
    }

    fn problems(text: &str) -> Vec<String> {
        let file = SettingsFile::parse(text, "f.toml");
        let all = file.broken.into_iter().chain(file.unknown);
        all.map(|problem| problem.0).collect()
    }

    #[test]
    fn values_become_the_texts_of_their_variables() {
        let file = SettingsFile::parse(
            r#"
port = 8_002
qa_page = true
window = "5m"
cors_origins = ["https://a.example", "https://b.example"]
[kafka]
bootstrap_servers = ["a:9092", "b:9092"]
[kafka.properties]
"sasl.username" = "reader"
security.protocol = "SASL_SSL"
"enable.ssl.certificate.verification" = true
"fetch.wait.max.ms" = 100
"#,
            "f.toml",
        );
        assert_eq!(file.broken, []);
        assert_eq!(file.unknown, []);
        let expected = [
            ("CORS_ORIGINS", "https://a.example,https://b.example"),
            ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,b:9092"),
            ("PORT", "8002"),
            ("QA_PAGE", "true"),
            ("FLEETCAST_WINDOW", "5m"),
        ];
        assert_eq!(texts(&file), expected);
        let port = (file.values.iter()).find(|(variable, _)| variable.name == "PORT");
        assert_eq!(line(&port.unwrap().1), "f.toml:2");
        let properties: Vec<_> = (file.properties.iter())
            .map(|(name, found)| (name.as_str(), found.text.as_str(), line(found)))
            .collect();
        assert_eq!(
            properties,
            [
                (
                    "enable.ssl.certificate.verification",
                    "true",
                    "f.toml:11".to_owned()
                ),
                ("fetch.wait.max.ms", "100", "f.toml:12".to_owned()),
                ("sasl.username", "reader", "f.toml:9".to_owned()),
                ("security.protocol", "SASL_SSL", "f.toml:10".to_owned()),
            ]
        );
    }

    #[test]
    fn unknown_settings_are_reported_with_line_and_suggestion() {
        for (text, problem) in [
            (
                "\nprot = 1",
                "f.toml:2: unknown setting prot: did you mean port?",
            ),
            (
                "[kafka]\nbootstrap_server = \"a:1\"",
                "f.toml:2: unknown setting kafka.bootstrap_server: did you mean kafka.bootstrap_servers?",
            ),
            (
                "[kakfa]\nbootstrap_servers = \"a:1\"",
                "f.toml:1: unknown setting kakfa: did you mean kafka?",
            ),
            (
                "[redis]\nurl = 'x'",
                "f.toml:1: unknown setting redis: did you mean redis_url?",
            ),
            // The names of the environment, and of aliases.
            (
                "KAFKA_GROUP_ID = \"x\"",
                "f.toml:1: unknown setting KAFKA_GROUP_ID: did you mean kafka.group_id?",
            ),
            (
                "jwt_secret_key = \"x\"",
                "f.toml:1: unknown setting jwt_secret_key: did you mean jwt.secret?",
            ),
            (
                "fleetcast_window = 5",
                "f.toml:1: unknown setting fleetcast_window: did you mean window?",
            ),
            (
                "config = \"other.toml\"",
                "f.toml:1: unknown setting config",
            ),
            (
                "[something.altogether]\nelse = 1",
                "f.toml:1: unknown setting something",
            ),
        ] {
            assert_eq!(problems(text), [problem], "{text}");
        }
    }

    #[test]
    fn every_syntax_error_and_every_wrong_type_is_reported() {
        for (text, problem) in [
            (
                "port = true",
                "f.toml:1: cannot use port: expected port from 0 to 65535; found boolean",
            ),
            (
                "port = -1",
                "f.toml:1: cannot use port: expected port from 0 to 65535; found -1",
            ),
            (
                "\n[port]\n",
                "f.toml:2: cannot use port: expected port from 0 to 65535; found table",
            ),
            (
                "ping_interval = 0.5",
                "f.toml:1: cannot use ping_interval: expected seconds, or 500ms, 30s, 5m, 1h; found 0.5",
            ),
            (
                "kafka.group_id = 5",
                "f.toml:1: cannot use kafka.group_id: expected text in quotes; found 5",
            ),
            (
                "cors_origins = [1]",
                "f.toml:1: cannot use cors_origins: expected text in quotes, or a list of such texts without commas; found array",
            ),
            (
                "host = [\"a\"]",
                "f.toml:1: cannot use host: expected text in quotes; found array",
            ),
            (
                "kafka.properties = 5",
                "f.toml:1: cannot use kafka.properties: expected a table of librdkafka's properties",
            ),
            (
                "[kafka.properties]\nx = [1]",
                "f.toml:2: cannot use kafka.properties.x: expected text in quotes; found array",
            ),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(problem), "{text}: {found:?}");
        }
        let found = problems("port = \nhost = 'x\nqa_page = maybe\n");
        for line in ["f.toml:1: ", "f.toml:2: ", "f.toml:3: "] {
            assert!(
                found.iter().any(|problem| problem.starts_with(line)),
                "{line} is missing in {found:?}"
            );
        }
        assert!(problems("port = 1\nport = 2")[0].starts_with("f.toml:2: "));
    }
}
