//! What is wrong with the settings: all of it at once, with what was probably meant.

use std::fmt;

use toml::de::DeValue;

use super::KafkaSettings;
use super::file::FileLine;
use super::properties;
use super::table::{KAFKA_PROPERTIES, PREFIX, Variable, bare, find_alias, variables};

/// Everything that stops the start. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// Those of the file by their lines, then the others.
    pub all: Vec<SettingProblem>,
    /// What was noticed beside them: a slip in a name is often why something required is missing.
    pub notices: Vec<Notice>,
}

/// One thing that stops the start, as a sentence that names the variable, and its line in the file of settings if it stands
/// there. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem(pub String, pub Option<usize>);

/// Something to look at; the start goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// As it was written.
    pub name: String,
    pub what: NoticeKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeKind {
    /// The part that would act on it is not in this version.
    WithoutEffect,
    Warning(String),
}

impl Problems {
    pub(super) fn new(mut all: Vec<SettingProblem>, notices: Vec<Notice>) -> Self {
        all.sort_by_key(|problem| problem.1.unwrap_or(usize::MAX));
        Self { all, notices }
    }

    /// A Redis that can never be used.
    pub fn of_redis(why: &str) -> Self {
        let problem = SettingProblem(format!("cannot use REDIS_URL: {why}"), None);
        Self::new(vec![problem], Vec::new())
    }

    /// What the whole of Kafka's settings is refused for, with the variables that it speaks of.
    pub fn of_kafka(why: &str, kafka: &KafkaSettings) -> Self {
        let named: Vec<String> = kafka
            .properties
            .0
            .keys()
            .filter(|property| why.contains(property.as_str()))
            .map(|property| properties::variable_name(property))
            .collect();
        let place = if named.is_empty() {
            "the settings of Kafka".to_owned()
        } else {
            named.join(" and ")
        };
        let problem = SettingProblem(format!("cannot use {place}: {why}"), None);
        Self::new(vec![problem], Vec::new())
    }
}

impl SettingProblem {
    pub(super) fn at(line: &FileLine, problem: &str) -> Self {
        Self(format!("{line}: {problem}"), Some(line.line))
    }
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.all.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(formatter, "{count} {noun} in the settings")?;
        for problem in &self.all {
            write!(formatter, "\n  {problem}")?;
        }
        for notice in &self.notices {
            write!(formatter, "\n  warning: {notice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            NoticeKind::WithoutEffect => {
                write!(formatter, "{} has no effect in this version", self.name)
            }
            NoticeKind::Warning(warning) => write!(formatter, "{}: {warning}", self.name),
        }
    }
}

/// Edits up to which a name is taken for a misspelt one.
const MISSPELT: usize = 2;

/// Up to this length two edits make another word (`HOME` is no misspelt `HOST`), so one is the limit.
const SHORT_NAME: usize = 5;

/// The known name that differs from `unknown` by the fewest edits, if these are no more than `allowed` for it.
pub(super) fn nearest<T: AsRef<str> + Ord>(
    unknown: &str,
    known: impl Iterator<Item = T>,
    allowed: impl Fn(&str) -> usize,
) -> Option<T> {
    known
        .map(|name| (strsim::damerau_levenshtein(unknown, name.as_ref()), name))
        .filter(|(edits, name)| *edits <= allowed(name.as_ref()))
        .min()
        .map(|(_, name)| name)
}

/// `: did you mean PORT?`, or nothing.
pub(super) fn did_you_mean(name: Option<impl fmt::Display>) -> String {
    name.map_or(String::new(), |name| format!(": did you mean {name}?"))
}

fn plain_names() -> impl Iterator<Item = &'static str> {
    variables().flat_map(|variable| std::iter::once(variable.name).chain(variable.alias))
}

/// The declared name that an unknown `FLEETCAST_…` name probably means. A third of the letters wrong is still a misspelling here:
/// the prefix shows that one of ours was meant.
pub(super) fn meant(unknown: &str) -> Option<String> {
    let unknown = bare(unknown);
    let allowed = MISSPELT.max(unknown.len() / 3);
    let meant = nearest(unknown, plain_names().map(bare), |_| allowed)?;
    Some(format!("{PREFIX}{meant}"))
}

/// The key of the TOML file, or the table, that an unknown one with this value probably means. Names of the environment are what
/// an operator writes who knows only those, and `[redis] url` stands for `redis_url`: not every name with `_` has a table.
pub(super) fn key_meant(unknown: &str, value: &DeValue<'_>) -> Option<String> {
    let named = |key: &str| find_alias(&key.replace('.', "_").to_ascii_uppercase())?.key();
    let inner = value.as_table().into_iter().flat_map(|table| table.keys());
    let mut inner = inner.map(|key| format!("{unknown}.{}", key.get_ref()));
    let keys = variables().filter_map(Variable::key);
    let tables = keys
        .clone()
        .filter_map(|key| Some(key.split_once('.')?.0.to_owned()));
    let allowed = MISSPELT
        .min(unknown.len() / 3)
        .max(1)
        .max(unknown.len() / 5);
    inner
        .find_map(|key| named(&key))
        .or_else(|| named(unknown))
        .or_else(|| nearest(unknown, keys.chain(tables), |_| allowed))
}

/// Names of others that look like misspelt ones of ours: OpenSSL's own.
const OF_OTHERS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The declared name that an unknown plain name is a misspelling of.
pub(super) fn misspelt(unknown: &str) -> Option<&'static str> {
    let upper = unknown.to_ascii_uppercase();
    if upper.starts_with(KAFKA_PROPERTIES) || OF_OTHERS.contains(&upper.as_str()) {
        return None;
    }
    nearest(&upper, plain_names(), |name| {
        if name.len() <= SHORT_NAME {
            1
        } else {
            MISSPELT
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_prefixed_name_gets_a_suggestion() {
        for (unknown, expected) in [
            ("FLEETCAST_PROT", "FLEETCAST_PORT"),
            ("FLEETCAST_WINDWO", "FLEETCAST_WINDOW"),
            (
                "FLEETCAST_KAFKA_BOOTSTRAP_SERVER",
                "FLEETCAST_KAFKA_BOOTSTRAP_SERVERS",
            ),
            (
                "FLEETCAST_KAFKA_BROKER_SERVERS",
                "FLEETCAST_KAFKA_BOOTSTRAP_SERVERS",
            ),
            ("FLEETCAST_JWT_SECERT", "FLEETCAST_JWT_SECRET"),
        ] {
            assert_eq!(meant(unknown).as_deref(), Some(expected));
        }
        assert_eq!(meant("FLEETCAST_SOMETHING_ELSE_ALTOGETHER"), None);
    }

    #[test]
    fn plain_names_within_two_edits_are_misspelt_and_those_of_every_shell_are_not() {
        for (unknown, expected) in [
            ("PROT", "PORT"),
            ("JWT_SECERT", "JWT_SECRET"),
            ("KAKFA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
            ("PING_INTERVALS", "PING_INTERVAL"),
            ("log_level", "LOG_LEVEL"),
        ] {
            assert_eq!(misspelt(unknown), Some(expected));
        }
        for common in [
            "HOME",
            "PATH",
            "PWD",
            "OLDPWD",
            "USER",
            "SHELL",
            "TERM",
            "LANG",
            "LC_ALL",
            "SHLVL",
            "HOSTNAME",
            "MAIL",
            "DISPLAY",
            "LOGNAME",
            "TMPDIR",
            "TZ",
            "_",
            "RUST_LOG",
            "CARGO_HOME",
            "http_proxy",
            "KAFKA_HEAP_OPTS",
            "EDITOR",
            "PAGER",
            "KUBERNETES_PORT",
            "REDIS_PORT",
            "CI",
            "JAVA_HOME",
            "POD_IP",
            "NODE_ENV",
            "COLUMNS",
        ] {
            assert_eq!(misspelt(common), None, "{common}");
        }
    }

    #[test]
    fn names_of_other_programs_are_not_misspelt() {
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "HOME"] {
            assert_eq!(misspelt(name), None, "{name}");
        }
        assert_eq!(misspelt("TSL_CERT_FILE"), Some("TLS_CERT_FILE"));
    }
}
