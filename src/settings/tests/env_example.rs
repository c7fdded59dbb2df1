//! `.env.example` is true.

use super::*;

/// `NAME=value` of every line of .env.example, also of those that are commented out.
fn env_example() -> Vec<(String, String, bool)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| {
            let (active, line) = match line.strip_prefix('#') {
                Some(rest) => (false, rest),
                None => (true, line),
            };
            let (name, value) = line.split_once('=')?;
            let is_name = name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            (is_name && !name.is_empty()).then(|| (name.to_owned(), value.to_owned(), active))
        })
        .collect()
}

#[test]
fn the_example_file_starts_once_its_secret_is_replaced() {
    let lines = env_example();
    let active: BTreeMap<String, String> = lines
        .iter()
        .filter(|(_, _, active)| *active)
        .map(|(name, value, _)| (name.clone(), value.clone()))
        .collect();
    let problems = Settings::from_map(&active, &Presets::new()).unwrap_err();
    assert_eq!(problems.all.len(), 1, "{problems}");
    assert!(
        problems
            .to_string()
            .contains("cannot use JWT_SECRET: it is a placeholder"),
        "{problems}"
    );

    let mut everything: BTreeMap<String, String> = lines
        .into_iter()
        .map(|(name, value, _)| (name, value))
        .collect();
    everything.insert("JWT_SECRET".to_owned(), SECRET.to_owned());
    let settings = Settings::from_map(&everything, &Presets::new()).unwrap();
    assert_eq!(
        settings.notices,
        [],
        "every line of the example has an effect"
    );
}

#[test]
fn the_example_file_has_only_names_that_there_are() {
    for (name, text, _) in env_example() {
        let named = |variable: &&table::Variable| variable.names().contains(&name);
        if let Some(variable) = variables().find(named) {
            assert_eq!(variable.availability, Availability::Available, "{name}");
            continue;
        }
        let suffix = name.strip_prefix(table::KAFKA_PROPERTIES).expect(&name);
        let property = properties::property_name(suffix);
        let refusal = crate::kafka::properties::refusal(&property, &text);
        assert_eq!(refusal, None, "{name}");
    }
}

#[test]
fn the_example_file_names_what_is_required() {
    let lines = env_example();
    for variable in variables() {
        if variable.default == table::Fallback::Required {
            assert!(
                lines
                    .iter()
                    .any(|(name, _, active)| name == variable.name && *active)
            );
        }
    }
}
