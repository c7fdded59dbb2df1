//! The TOML file: where settings may stand below the environment. Its keys are the variables' names in another spelling, and its
//! values become the texts that the variables would have, so everything behind this is the same for both.

use std::fmt;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Problem, key_meant, key_named};
use super::table::{PROPERTIES, VARIABLES, Variable};
use super::values::{Kind, Wrong};

/// A file of this size holds no settings. Bytes.
const LARGEST: u64 = 1024 * 1024;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    path: Arc<str>,
    line: usize,
}

impl Place {
    pub(super) fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.path, self.line)
    }
}

/// A value, as the text that the environment would have for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<N> {
    /// Whose value it is.
    pub name: N,
    /// As it was written, with its tables: `kafka.topic_prefix`.
    pub key: String,
    pub text: String,
    pub place: Place,
}

/// What stands in the file.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub values: Vec<Entry<&'static Variable>>,
    /// By librdkafka's names.
    pub properties: Vec<Entry<String>>,
    /// What hides values: it cannot be read, is no TOML, or has a value of a wrong type.
    pub broken: Vec<Problem>,
    pub unknown: Vec<Problem>,
    /// It is the first of `broken`, and the only one.
    pub unreadable: bool,
    /// Anybody on this machine may read it.
    pub open_to_all: bool,
}

impl Written {
    pub(super) fn read(path: &str) -> Self {
        let read = || {
            let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
            // A device or pipe might never end.
            if !meta.is_file() || meta.len() > LARGEST {
                return Err(format!("it is no file of at most {LARGEST} bytes"));
            }
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            Ok((text, meta.permissions().mode() & 0o004 != 0))
        };
        match read() {
            Ok((text, open_to_all)) => Self {
                open_to_all,
                ..Self::parse(&text, path)
            },
            Err(why) => Self {
                broken: vec![Problem(
                    format!("cannot read the settings in {path}: {why}"),
                    None,
                )],
                unreadable: true,
                ..Self::default()
            },
        }
    }

    /// `path` is what messages call the text.
    pub(super) fn parse(text: &str, path: &str) -> Self {
        let mut walk = Walk {
            text,
            path: path.into(),
            written: Self::default(),
        };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = walk.place(&error.span().unwrap_or_default());
            let problem = format!("{place}: {}", error.message());
            let problem = Problem(problem, Some(place.line));
            walk.written.broken.push(problem);
        }
        walk.table(root.get_ref(), "");
        walk.written
    }
}

struct Walk<'a> {
    text: &'a str,
    path: Arc<str>,
    written: Written,
}

impl Walk<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or_default();
        Place {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
        }
    }

    fn table(&mut self, table: &DeTable<'_>, outer: &str) {
        for (key, value) in table {
            let place = self.place(&key.span());
            let key = joined(outer, key.get_ref());
            let own = |variable: &&Variable| variable.key().is_some_and(|own| own == key);
            if key == PROPERTIES {
                self.properties(value, &key, "", place);
            } else if let Some(variable) = VARIABLES.iter().find(own) {
                self.value(variable, key, value.get_ref(), place);
            } else if let DeValue::Table(inner) = value.get_ref()
                && is_table(&key)
            {
                self.table(inner, &key);
            } else {
                // `[redis] url` for `redis_url`: not every name with an underscore has a table.
                let below = || match value.get_ref() {
                    DeValue::Table(inner) => {
                        (inner.keys()).find_map(|name| key_named(&joined(&key, name.get_ref())))
                    }
                    _ => None,
                };
                let hint = below()
                    .or_else(|| key_meant(&key))
                    .map_or(String::new(), |meant| format!(": did you mean {meant}?"));
                let problem = format!("{place}: unknown setting {key}{hint}");
                let problem = Problem(problem, Some(place.line));
                self.written.unknown.push(problem);
            }
        }
    }

    fn value(
        &mut self,
        variable: &'static Variable,
        key: String,
        value: &DeValue<'_>,
        place: Place,
    ) {
        match text_of(value, variable.kind) {
            Ok(text) => self.written.values.push(Entry {
                name: variable,
                key,
                text,
                place,
            }),
            Err(why) => self.wrong_type(&key, &place, &why),
        }
    }

    /// `"sasl.username" = "reader"`, and also `sasl.username = "reader"`, which to TOML is a table in a table.
    fn properties(&mut self, value: &Spanned<DeValue<'_>>, key: &str, name: &str, place: Place) {
        if let DeValue::Table(table) = value.get_ref() {
            for (inner, value) in table {
                let place = self.place(&inner.span());
                let name = joined(name, inner.get_ref());
                self.properties(value, &joined(key, inner.get_ref()), &name, place);
            }
            return;
        }
        if name.is_empty() {
            return self.wrong_type(key, &place, "it must be a table of librdkafka's properties");
        }
        let text = match value.get_ref() {
            DeValue::Boolean(on) => Ok(on.to_string()),
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            DeValue::Integer(_) => text_of(value.get_ref(), Kind::Count),
            other => text_of(other, Kind::Text),
        };
        match text {
            Ok(text) => self.written.properties.push(Entry {
                name: name.to_owned(),
                key: key.to_owned(),
                text,
                place,
            }),
            Err(why) => self.wrong_type(key, &place, &why),
        }
    }

    fn wrong_type(&mut self, key: &str, place: &Place, why: &str) {
        let problem = format!("{place}: cannot use {key}: {why}");
        let problem = Problem(problem, Some(place.line));
        self.written.broken.push(problem);
    }
}

fn joined(outer: &str, key: &str) -> String {
    if outer.is_empty() {
        key.to_owned()
    } else {
        format!("{outer}.{key}")
    }
}

fn is_table(key: &str) -> bool {
    let below = format!("{key}.");
    VARIABLES
        .iter()
        .filter_map(Variable::key)
        .any(|key| key.starts_with(&below))
}

/// What the environment would have. TOML has types, so a value of the wrong one is told rather than guessed at.
fn text_of(value: &DeValue<'_>, kind: Kind) -> Result<String, Wrong> {
    let is_list = matches!(kind, Kind::Origins | Kind::Brokers | Kind::List);
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(on) if kind == Kind::Bool => Ok(on.to_string()),
        DeValue::Integer(number) if kind.is_number() => {
            u64::from_str_radix(number.as_str(), number.radix())
                .map(|number| number.to_string())
                .map_err(|_| "it is no whole number from 0 on".to_owned())
        }
        DeValue::Array(items) if is_list => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) if !text.contains(',') => Ok(&**text),
                _ => Err("each of the list must be text in quotes, without a comma".to_owned()),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        DeValue::Boolean(_) => Err("it cannot be true or false".to_owned()),
        DeValue::Array(_) => Err("it cannot be a list".to_owned()),
        DeValue::Table(_) => Err("it cannot be a table".to_owned()),
        DeValue::Float(_) if kind.is_number() => {
            Err("a number with a fraction is not taken: 0.5 s is \"500ms\"".to_owned())
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => {
            Err("it must be text in quotes".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(written: &Written) -> Vec<(String, String)> {
        let entry = |entry: &Entry<&Variable>| (entry.name.name.to_owned(), entry.text.clone());
        written.values.iter().map(entry).collect()
    }

    fn problems(text: &str) -> Vec<String> {
        let written = Written::parse(text, "f.toml");
        let all = written.broken.into_iter().chain(written.unknown);
        all.map(|problem| problem.0).collect()
    }

    #[test]
    fn values_become_the_texts_of_their_variables() {
        let written = Written::parse(
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
        assert_eq!(written.broken, []);
        assert_eq!(written.unknown, []);
        let expected = [
            ("CORS_ORIGINS", "https://a.example,https://b.example"),
            ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,b:9092"),
            ("PORT", "8002"),
            ("QA_PAGE", "true"),
            ("FLEETCAST_WINDOW", "5m"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(texts(&written), expected);
        let port = written.values.iter().find(|entry| entry.key == "port");
        assert_eq!(port.unwrap().place.to_string(), "f.toml:2");
        let properties: Vec<_> = (written.properties.iter())
            .map(|entry| (entry.name.as_str(), entry.text.as_str(), entry.place.line))
            .collect();
        assert_eq!(
            properties,
            [
                ("enable.ssl.certificate.verification", "true", 11),
                ("fetch.wait.max.ms", "100", 12),
                ("sasl.username", "reader", 9),
                ("security.protocol", "SASL_SSL", 10),
            ]
        );
    }

    #[test]
    fn unknown_settings_are_told_with_their_line_and_what_was_probably_meant() {
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
    fn every_line_that_is_no_toml_and_every_wrong_type_is_told() {
        for (text, problem) in [
            (
                "port = true",
                "f.toml:1: cannot use port: it cannot be true or false",
            ),
            (
                "port = -1",
                "f.toml:1: cannot use port: it is no whole number from 0 on",
            ),
            (
                "\n[port]\n",
                "f.toml:2: cannot use port: it cannot be a table",
            ),
            (
                "ping_interval = 0.5",
                "f.toml:1: cannot use ping_interval: a number with a fraction is not taken",
            ),
            (
                "kafka.group_id = 5",
                "f.toml:1: cannot use kafka.group_id: it must be text in quotes",
            ),
            (
                "cors_origins = [1]",
                "f.toml:1: cannot use cors_origins: each of the list must be text",
            ),
            (
                "host = [\"a\"]",
                "f.toml:1: cannot use host: it cannot be a list",
            ),
            (
                "kafka.properties = 5",
                "f.toml:1: cannot use kafka.properties: it must be a table",
            ),
            (
                "[kafka.properties]\nx = [1]",
                "f.toml:2: cannot use kafka.properties.x: it cannot be a list",
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
