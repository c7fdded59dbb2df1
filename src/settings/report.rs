//! What is wrong with the settings: all of it at once, with what was probably meant.

use std::fmt;

use super::KafkaSettings;
use super::properties;
use super::table::{KAFKA_PROPERTIES, PREFIX, VARIABLES, Variable};

/// Everything that stops the start. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// Those of the file by their lines, then the others.
    pub all: Vec<Problem>,
    /// What was noticed beside them: a slip in a name is often why something required is missing.
    pub notices: Vec<Notice>,
}

/// One thing that stops the start, as a sentence that names the variable, and its line in the file of settings if it stands
/// there. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String, pub Option<usize>);

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
    pub(super) fn new(mut all: Vec<Problem>, notices: Vec<Notice>) -> Self {
        all.sort_by_key(|problem| problem.1.unwrap_or(usize::MAX));
        Self { all, notices }
    }

    /// What the whole of Kafka's settings is refused for, with the variables that it speaks of.
    pub fn of_kafka(why: &str, kafka: &KafkaSettings) -> Self {
        let named: Vec<String> = kafka
            .properties
            .keys()
            .filter(|property| why.contains(property.as_str()))
            .map(|property| properties::variable_name(property))
            .collect();
        let place = if named.is_empty() {
            "the settings of Kafka".to_owned()
        } else {
            named.join(" and ")
        };
        let problem = Problem(format!("cannot use {place}: {why}"), None);
        Self::new(vec![problem], Vec::new())
    }
}

impl fmt::Display for Problem {
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

/// Letters apart in which a name is still taken for a slip.
const SLIP: usize = 2;

/// Up to this length two letters make another word (`HOME` is no misspelt `HOST`), so one is the limit.
const SHORT_NAME: usize = 5;

/// The declared name that an unknown `FLEETCAST_…` name probably means.
pub(super) fn suggestion(unknown: &str) -> Option<String> {
    let bare = unknown.strip_prefix(PREFIX).unwrap_or(unknown);
    let names = VARIABLES.iter().flat_map(Variable::plain_names);
    let best = names
        .map(|name| {
            let plain = name.strip_prefix(PREFIX).unwrap_or(name);
            (strsim::damerau_levenshtein(bare, plain), name)
        })
        .min()?;
    // A third of the letters wrong is still a slip here: somebody did mean one of ours.
    (best.0 <= SLIP.max(bare.len() / 3)).then(|| {
        if best.1.starts_with(PREFIX) {
            best.1.to_owned()
        } else {
            format!("{PREFIX}{}", best.1)
        }
    })
}

/// The key of the TOML file, or the table, that an unknown one probably means. The names of the environment are no slips, but
/// what somebody writes who knows only those.
pub(super) fn key_meant(unknown: &str) -> Option<String> {
    if let Some(key) = key_named(unknown) {
        return Some(key);
    }
    let keys = VARIABLES.iter().filter_map(Variable::key);
    let tables = keys
        .clone()
        .filter_map(|key| Some(key.split_once('.')?.0.to_owned()));
    let apart = |key: String| (strsim::damerau_levenshtein(unknown, &key), key);
    let best = keys.chain(tables).map(apart).min()?;
    let allowed = SLIP.min(unknown.len() / 3).max(1).max(unknown.len() / 5);
    (best.0 <= allowed).then_some(best.1)
}

/// The key of the variable whose name this is, in whatever tables.
pub(super) fn key_named(key: &str) -> Option<String> {
    let name = key.replace('.', "_").to_ascii_uppercase();
    let variable = |variable: &&Variable| variable.names().contains(&name);
    VARIABLES.iter().find(variable).and_then(Variable::key)
}

/// Names of others that look like slips of ours: OpenSSL's own.
const OF_OTHERS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The declared name that an unknown plain name is a slip of.
pub(super) fn slip_of(unknown: &str) -> Option<&'static str> {
    let upper = unknown.to_ascii_uppercase();
    if upper.starts_with(KAFKA_PROPERTIES) || OF_OTHERS.contains(&upper.as_str()) {
        return None;
    }
    let names = VARIABLES.iter().flat_map(Variable::plain_names);
    names
        .filter_map(|name| {
            let allowed = if name.len() <= SHORT_NAME { 1 } else { SLIP };
            if name.len().abs_diff(upper.len()) > allowed {
                return None;
            }
            let apart = strsim::damerau_levenshtein(&upper, name);
            (apart <= allowed).then_some((apart, name))
        })
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_of_ours_gets_a_suggestion() {
        for (unknown, meant) in [
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
            assert_eq!(suggestion(unknown).as_deref(), Some(meant));
        }
        assert_eq!(suggestion("FLEETCAST_SOMETHING_ELSE_ALTOGETHER"), None);
    }

    #[test]
    fn plain_names_within_two_letters_are_slips_and_what_every_shell_has_is_not() {
        for (unknown, meant) in [
            ("PROT", "PORT"),
            ("JWT_SECERT", "JWT_SECRET"),
            ("KAKFA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
            ("PING_INTERVALS", "PING_INTERVAL"),
            ("log_level", "LOG_LEVEL"),
        ] {
            assert_eq!(slip_of(unknown), Some(meant));
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
            assert_eq!(slip_of(common), None, "{common}");
        }
    }

    #[test]
    fn names_of_others_are_no_slips_of_ours() {
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "HOME"] {
            assert_eq!(slip_of(name), None, "{name}");
        }
        assert_eq!(slip_of("TSL_CERT_FILE"), Some("TLS_CERT_FILE"));
    }
}
