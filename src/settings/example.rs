//! A settings file with everything in it, written from the table: `config example`.

use std::collections::BTreeMap;

use super::table::{Availability, Variable, variables};
use super::values::Shape;

const HEAD: &str = "\
# Settings of Fleetcast: fleetcast serve --config fleetcast.toml, or FLEETCAST_CONFIG=fleetcast.toml.
# The environment wins over this file. What is commented out shows the default, or an example where there is none.
# `fleetcast check --config fleetcast.toml` reports what is wrong; docs/configuration.md explains more.
";

/// Wide enough for a sentence, narrow enough for a terminal.
const WIDTH: usize = 110;

const PROPERTIES: &str = r#"
# Passed through to librdkafka, by its own names.
[kafka.properties]
#"security.protocol" = "SASL_SSL"
#"sasl.mechanism" = "SCRAM-SHA-512"
#"sasl.username" = "fleetcast"
#"sasl.password" = "…"
#"ssl.ca.location" = "/etc/kafka/ca.pem"
"#;

/// The file. Nothing in it is set: each setting is a comment.
pub fn toml() -> String {
    let mut top = HEAD.to_owned();
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    for variable in variables().filter(|one| one.availability == Availability::Available) {
        let Some(key) = variable.key() else {
            continue;
        };
        let (settings, key) = match key.split_once('.') {
            Some((table, key)) => (tables.entry(table.to_owned()).or_default(), key),
            None => (&mut top, key.as_str()),
        };
        settings.push_str(&setting(variable, key));
    }
    for (table, settings) in tables {
        top.extend(["\n[", &table, "]\n", settings.trim_start()]);
    }
    top + PROPERTIES
}

fn setting(variable: &Variable, key: &str) -> String {
    let text = variable.default_text().unwrap_or_else(|| example(variable));
    let is_plain = match variable.kind.shape {
        Shape::Switch => true,
        Shape::Number => text.parse::<u64>().is_ok(),
        _ => false,
    };
    let quote = if is_plain { "" } else { "\"" };
    format!(
        "\n{}#{key} = {quote}{text}{quote}\n",
        comment(variable.meaning)
    )
}

/// For what has no default.
fn example(variable: &Variable) -> &'static str {
    match variable.name {
        "KAFKA_BOOTSTRAP_SERVERS" => "kafka-1:9092,kafka-2:9092",
        "CORS_ORIGINS" => "https://app.example.com",
        "JWT_JWKS" => "https://auth.example.com/.well-known/jwks.json",
        "JWT_ISSUER" => "https://auth.example.com",
        "JWT_MAX_LIFETIME" => "0",
        _ => "",
    }
}

fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + word.len() >= WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::file::SettingsFile;
    use super::super::table::Fallback;
    use super::*;

    #[test]
    fn the_example_sets_nothing_and_uncommented_it_sets_every_default() {
        let page = toml();
        let written = SettingsFile::parse(&page, "example");
        assert_eq!((written.broken, written.unknown), (vec![], vec![]));
        assert!(written.values.is_empty());
        assert_eq!(written.properties, []);

        let uncommented: Vec<&str> = page
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => setting,
                _ => line,
            })
            .collect();
        let written = SettingsFile::parse(&uncommented.join("\n"), "example");
        assert_eq!((written.broken, written.unknown), (vec![], vec![]));
        let found: BTreeMap<&str, &str> = (written.values.iter())
            .map(|(variable, found)| (variable.name, found.text.as_str()))
            .collect();
        for variable in variables() {
            let served =
                variable.availability == Availability::Available && variable.key().is_some();
            assert_eq!(
                found.contains_key(variable.name),
                served,
                "{}",
                variable.name
            );
            if let (true, Fallback::Value(text)) = (served, variable.default) {
                assert_eq!(found[variable.name], text, "{}", variable.name);
            }
            if let Some(text) = found.get(variable.name).filter(|text| !text.is_empty()) {
                assert!((variable.kind.canonical)(text).is_ok(), "{}", variable.name);
            }
        }
        assert_eq!(written.properties.len(), 5);
    }
}
