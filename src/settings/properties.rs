//! `KAFKA_PROPERTIES_…`: what passes through to librdkafka, and what would break a promise and so does not.

/// The `name.with.dots` that a suffix such as `SASL_USERNAME` stands for. Empty: nothing follows the prefix.
pub(super) fn property_name(suffix: &str) -> String {
    suffix.to_ascii_lowercase().replace('_', ".")
}

/// Properties that Fleetcast sets itself, and what they would break.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "set KAFKA_BOOTSTRAP_SERVERS instead"),
    (
        "metadata.broker.list",
        "set KAFKA_BOOTSTRAP_SERVERS instead",
    ),
    ("group.id", "set KAFKA_GROUP_ID instead"),
    ("group.instance.id", "instances do not share a group"),
    ("enable.auto.commit", "positions are not committed"),
    ("auto.commit.enable", "positions are not committed"),
    ("enable.auto.offset.store", "positions are not stored"),
    (
        "auto.offset.reset",
        "a hole in the log must be told to clients, not skipped",
    ),
    ("enable.partition.eof", "readiness is judged by it"),
    ("topic.blacklist", "routed topics must be read"),
    (
        "allow.auto.create.topics",
        "a reader must not create topics",
    ),
    ("plugin.library.paths", "no foreign code is loaded"),
    ("test.mock.num.brokers", "the demo has a broker of its own"),
];

/// Why this property may not be set so.
pub(super) fn refusal(name: &str, value: &str) -> Option<&'static str> {
    if name == "isolation.level" && !value.eq_ignore_ascii_case("read_committed") {
        return Some("what an aborted transaction wrote must not reach clients");
    }
    OURS.iter()
        .find(|(ours, _)| *ours == name)
        .map(|(_, why)| *why)
}

/// What an operator should think about twice.
pub(super) fn warning(name: &str, value: &str) -> Option<&'static str> {
    match (name, value.to_ascii_lowercase().as_str()) {
        ("enable.ssl.certificate.verification", "false" | "0" | "f") => {
            Some("whoever sits between here and the brokers can read and change records")
        }
        ("debug", _) => Some("librdkafka's debug lines are many and may show what records hold"),
        _ => None,
    }
}

/// May this value be shown?
pub(super) fn is_secret(name: &str) -> bool {
    [
        "password",
        "secret",
        "key",
        "token",
        "sasl.oauthbearer.config",
        "jaas",
    ]
    .iter()
    .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_dots() {
        assert_eq!(property_name("SASL_USERNAME"), "sasl.username");
        assert_eq!(property_name("SSL_CA_LOCATION"), "ssl.ca.location");
    }

    #[test]
    fn what_breaks_a_promise_is_refused_and_the_rest_passes() {
        for (name, value) in [
            ("group.id", "x"),
            ("enable.auto.commit", "true"),
            ("auto.offset.reset", "latest"),
            ("enable.partition.eof", "false"),
            ("isolation.level", "read_uncommitted"),
            ("bootstrap.servers", "x:1"),
        ] {
            assert!(refusal(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("isolation.level", "read_committed"),
        ] {
            assert_eq!(refusal(name, value), None, "{name}");
        }
    }

    #[test]
    fn passwords_and_keys_are_secret() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
        ] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("sasl.username") && !is_secret("security.protocol"));
    }
}
