//! `KAFKA_PROPERTIES_…`: the names of what passes through to librdkafka. [`crate::kafka::properties`] says what may.

use super::table::KAFKA_PROPERTIES;

/// The `name.with.dots` that a suffix such as `SASL_USERNAME` stands for. Empty: nothing follows the prefix.
pub(super) fn property_name(suffix: &str) -> String {
    suffix.to_ascii_lowercase().replace('_', ".")
}

/// The variable that sets a property.
pub(super) fn variable_name(property: &str) -> String {
    let suffix = property.to_ascii_uppercase().replace('.', "_");
    format!("{KAFKA_PROPERTIES}{suffix}")
}

/// How messages call a property; that of brokers has a variable of its own.
pub(super) fn name_of(property: &str) -> String {
    match property {
        "bootstrap.servers" => "KAFKA_BOOTSTRAP_SERVERS".to_owned(),
        other => other.to_owned(),
    }
}

/// What an operator should think about twice.
pub(super) fn warning(name: &str, value: &str) -> Option<&'static str> {
    match (name, value.to_ascii_lowercase().as_str()) {
        ("enable.ssl.certificate.verification", "false" | "0" | "f") => {
            Some("anyone between this server and the brokers can read and change records")
        }
        ("debug", _) => Some("librdkafka's debug lines are many and may show what records hold"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_names_convert_to_dots_and_back() {
        for (suffix, property) in [
            ("SASL_USERNAME", "sasl.username"),
            ("SSL_CA_LOCATION", "ssl.ca.location"),
        ] {
            assert_eq!(property_name(suffix), property);
            assert_eq!(
                variable_name(property),
                format!("KAFKA_PROPERTIES_{suffix}")
            );
        }
    }
}
