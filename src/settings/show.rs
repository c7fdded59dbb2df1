//! `check --show`: every setting as it holds, and where it comes from. Secrets are masked.

use std::collections::BTreeMap;

use super::input::{Input, SettingSource, SettingText};
use super::table::{Availability, CONFIG_ARGUMENT, variables};
use super::values::MASK;
use super::{Presets, properties};
use crate::kafka;

/// A setting for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub name: String,
    /// Masked when secret; `-` when unset.
    pub value: String,
    /// `default`, `env NAME`, `FILE:LINE`, `--config`, `demo`, or `not set`.
    pub origin: String,
    /// False: the part that acts on it is not in this version.
    pub served: bool,
}

const NOT_SET: &str = "not set";

impl Shown {
    /// False: it has neither a value nor a default.
    pub fn is_set(&self) -> bool {
        self.origin != NOT_SET
    }
}

/// All settings in the order of the table, then librdkafka's properties. Works with wrong settings too.
pub fn effective(environment: &BTreeMap<String, String>, presets: &Presets) -> Vec<Shown> {
    let input = Input::collect(environment, presets);
    let variables = variables().map(|variable| {
        let (value, origin) = match (input.get(variable.name), variable.default_text()) {
            (Some(found), _) => (
                quote_if_needed(&variable.kind.masked(&found.text)),
                origin(found),
            ),
            (None, Some(text)) => (quote_if_needed(text), "default".to_owned()),
            (None, None) => ("-".to_owned(), NOT_SET.to_owned()),
        };
        Shown {
            name: variable.name.to_owned(),
            value,
            origin,
            served: variable.availability == Availability::Available,
        }
    });
    let properties = input.properties.iter().map(|(name, found)| Shown {
        name: properties::variable_name(name),
        value: if kafka::properties::is_secret(name) {
            MASK.to_owned()
        } else {
            quote_if_needed(&found.text)
        },
        origin: origin(found),
        served: true,
    });
    variables.chain(properties).collect()
}

fn origin(found: &SettingText) -> String {
    match &found.source {
        SettingSource::Argument => CONFIG_ARGUMENT.to_owned(),
        SettingSource::Environment(name) => format!("env {name}"),
        SettingSource::File { line, .. } => line.to_string(),
        SettingSource::Preset => "demo".to_owned(),
    }
}

/// Control characters must not reach a terminal, and an empty text must be seen.
fn quote_if_needed(text: &str) -> String {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        format!("{text:?}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pairs: &[(&str, &str)]) -> Vec<Shown> {
        let environment = pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let presets = Presets::from([("HOST", "127.0.0.1".to_owned())]);
        effective(&environment, &presets)
    }

    #[test]
    fn each_setting_says_where_it_comes_from() {
        let all = show(&[("FLEETCAST_PORT", "9000"), ("JWT_SECRET_KEY", "hush")]);
        let line = |name: &str| {
            let shown = all.iter().find(|shown| shown.name == name).unwrap();
            (shown.value.as_str(), shown.origin.as_str())
        };
        assert_eq!(line("PORT"), ("9000", "env FLEETCAST_PORT"));
        assert_eq!(line("HOST"), ("127.0.0.1", "demo"));
        assert_eq!(line("PING_INTERVAL"), ("25", "default"));
        assert_eq!(line("JWT_SECRET"), (MASK, "env JWT_SECRET_KEY"));
        assert_eq!(line("JWT_ISSUER"), ("-", "not set"));
        assert_eq!(line("KAFKA_TOPIC_PREFIX"), ("\"\"", "default"));
    }

    #[test]
    fn no_secret_is_shown() {
        let all = show(&[
            ("JWT_SECRET", "hush-1"),
            ("INTERNAL_TOKEN", "hush-2"),
            ("GITHUB_WEBHOOK_SECRET", "hush-3"),
            (
                "REDIS_URL",
                "redis://me:hush-4@redis:6379/0?password=hush-5",
            ),
            ("KAFKA_PROPERTIES_SASL_PASSWORD", "hush-6"),
            ("FLEETCAST_KAFKA_PROPERTIES_SSL_KEY_PEM", "hush-7"),
            ("KAFKA_PROPERTIES_SASL_USERNAME", "reader"),
        ]);
        let text = format!("{all:?}");
        assert!(!text.contains("hush"), "{text}");
        for expected in [
            "redis://********@redis:6379/0",
            "KAFKA_PROPERTIES_SASL_PASSWORD",
            "reader",
        ] {
            assert!(text.contains(expected), "{expected} is missing in {text}");
        }
    }
}
