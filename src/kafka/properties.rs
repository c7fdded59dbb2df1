//! Which of librdkafka's properties Fleetcast sets itself, and which hold secrets. Settings asks before anything starts; the
//! client obeys.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

/// A property that is not the operator's to choose.
pub(super) struct Fixed {
    pub(super) name: &'static str,
    /// What it is set to; `None` where another setting has it, or it is left alone.
    pub(super) value: Option<&'static str>,
    /// What another value would break.
    why: &'static str,
}

const fn fixed(name: &'static str, value: &'static str, why: &'static str) -> Fixed {
    Fixed {
        name,
        value: Some(value),
        why,
    }
}

const fn closed(name: &'static str, why: &'static str) -> Fixed {
    Fixed {
        name,
        value: None,
        why,
    }
}

#[rustfmt::skip]
pub(super) const FIXED: &[Fixed] = &[
    fixed("enable.partition.eof", "true", "readiness and the position past control records come from the ends of partitions"),
    fixed("enable.auto.commit", "false", "positions are not committed: every instance reads everything and starts by time"),
    fixed("enable.auto.offset.store", "false", "positions are not stored"),
    fixed("auto.offset.reset", "error", "a gap in the log must be reported to clients, not skipped"),
    fixed("isolation.level", "read_committed", "what an aborted transaction wrote must not reach clients"),
    fixed("allow.auto.create.topics", "false", "a reader must not create topics"),
    closed("auto.commit.enable", "positions are not committed"),
    closed("bootstrap.servers", "set KAFKA_BOOTSTRAP_SERVERS instead"),
    closed("metadata.broker.list", "set KAFKA_BOOTSTRAP_SERVERS instead"),
    closed("group.id", "set KAFKA_GROUP_ID instead"),
    closed("group.instance.id", "instances do not share a group"),
    closed("topic.blacklist", "routed topics must be read"),
    closed("plugin.library.paths", "no foreign code is loaded"),
    closed("test.mock.num.brokers", "the demo has a broker of its own"),
];

/// Why this property may not be set to this value by an operator; `None` when it may.
pub fn refusal(name: &str, value: &str) -> Option<String> {
    if let Some(ours) = FIXED.iter().find(|fixed| fixed.name == name) {
        let equal = |own: &str| own.eq_ignore_ascii_case(value);
        return (!ours.value.is_some_and(equal)).then(|| ours.why.to_owned());
    }
    unfit(name, value)
}

/// What librdkafka has against one property by itself. No client is made.
fn unfit(name: &str, value: &str) -> Option<String> {
    let config = ClientConfig::from_iter([(name.to_owned(), value.to_owned())]);
    match config.create_native_config() {
        Ok(_) => None,
        // The error's own text quotes the value, which may be a secret.
        Err(KafkaError::ClientConfig(_, reason, ..)) if is_secret(name) => Some(format!(
            "librdkafka refuses it: {}",
            reason.replace(value, "***")
        )),
        Err(KafkaError::ClientConfig(_, reason, ..)) => {
            Some(format!("librdkafka refuses it: {reason}"))
        }
        Err(error) => Some(format!("librdkafka refuses it: {error}")),
    }
}

/// What librdkafka accepts property by property, and what then never connects, or connects in another way than was asked for.
pub fn conflicts(
    brokers: &str,
    properties: &BTreeMap<String, String>,
) -> Vec<(&'static str, String)> {
    let value = |name: &str| properties.get(name).map(|text| text.trim());
    let protocol = value("security.protocol").unwrap_or("plaintext");
    let has_sasl = protocol.to_ascii_lowercase().starts_with("sasl");
    let mechanisms = ["sasl.mechanism", "sasl.mechanisms"].map(value);
    let mut found = Vec::new();
    for broker in brokers.split(',') {
        if let Some((scheme, _)) = broker.split_once("://")
            && !scheme.eq_ignore_ascii_case(protocol)
        {
            let why = format!("{broker} differs from the security.protocol, which is {protocol}");
            found.push(("bootstrap.servers", why));
        }
    }
    if let [Some(one), Some(other)] = mechanisms
        && one != other
    {
        let why = format!("sasl.mechanisms is the same property and says {other}");
        found.push(("sasl.mechanism", why));
    }
    let Some(mechanism) = mechanisms.into_iter().flatten().next() else {
        return found;
    };
    if !MECHANISMS.contains(&mechanism) {
        let known = MECHANISMS.join(", ");
        let why = if mechanism.eq_ignore_ascii_case("oauthbearer") {
            format!("nothing here fetches tokens for OAUTHBEARER; this build has {known}")
        } else {
            format!("this build has no mechanism {mechanism}, only {known}")
        };
        found.push(("sasl.mechanism", why));
    } else if !has_sasl {
        let why =
            format!("security.protocol is {protocol}, which uses no mechanism: set it to SASL_SSL");
        found.push(("sasl.mechanism", why));
    }
    found
}

/// What librdkafka can do as it is built here, in its own spelling.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// May the value of this property not be shown?
pub fn is_secret(name: &str) -> bool {
    [
        "password",
        "passphrase",
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
    fn properties_that_fleetcast_sets_may_be_repeated_but_not_changed() {
        for fixed in FIXED {
            assert!(refusal(fixed.name, "x").is_some(), "{}", fixed.name);
            if let Some(value) = fixed.value {
                assert_eq!(refusal(fixed.name, value), None, "{}", fixed.name);
            }
        }
        assert_eq!(refusal("isolation.level", "READ_COMMITTED"), None);
        assert_eq!(refusal("security.protocol", "SASL_SSL"), None);
    }

    #[test]
    fn librdkafka_checks_names_and_values_and_its_errors_contain_no_secrets() {
        let unknown = refusal("sasl.usrname", "x").expect("there is no such property");
        assert!(unknown.contains("librdkafka refuses it"), "{unknown}");
        let wrong = refusal("security.protocol", "SALS").expect("there is no such protocol");
        assert!(wrong.contains("security.protocol"), "{wrong}");
        let hidden = refusal("ssl.key.pasword", "hush").expect("there is no such property");
        assert!(!hidden.contains("hush"), "{hidden}");
    }

    #[test]
    fn properties_that_cannot_connect_are_rejected_without_a_broker() {
        let found = |brokers: &str, pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let properties = pairs.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            let found = conflicts(brokers, &properties.collect());
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let ssl = ("security.protocol", "sasl_ssl");
        let (user, password) = (("sasl.username", "u"), ("sasl.password", "p"));
        for (brokers, pairs) in [
            ("a:9092", vec![]),
            ("PLAINTEXT://a:9092,b:9092", vec![]),
            ("ssl://a:9093", vec![("security.protocol", "SSL")]),
            (
                "SASL_SSL://a:9093",
                vec![ssl, ("sasl.mechanism", "PLAIN"), user, password],
            ),
            (
                "a",
                vec![ssl, ("sasl.mechanisms", "SCRAM-SHA-512"), user, password],
            ),
        ] {
            assert_eq!(found(brokers, &pairs), [""; 0], "{brokers} {pairs:?}");
        }
        for (brokers, pairs) in [
            ("SSL://a:9093", vec![]),
            (
                "a:9092,SASL_SSL://b:9093",
                vec![("security.protocol", "ssl")],
            ),
        ] {
            assert_eq!(
                found(brokers, &pairs),
                ["bootstrap.servers"],
                "{brokers} {pairs:?}"
            );
        }
        for mechanism in [
            "OAUTHBEARER",
            "oauthbearer",
            "GSSAPI",
            "AWS_MSK_IAM",
            "plain",
            "SCRAM",
        ] {
            for pairs in [vec![ssl, user, password], vec![]] {
                let pairs = [pairs, vec![("sasl.mechanism", mechanism)]].concat();
                assert_eq!(found("a", &pairs), ["sasl.mechanism"], "{pairs:?}");
            }
        }
        for pairs in [
            vec![("sasl.mechanism", "PLAIN"), user, password],
            vec![
                ssl,
                ("sasl.mechanism", "PLAIN"),
                ("sasl.mechanisms", "SCRAM-SHA-256"),
                user,
                password,
            ],
        ] {
            assert_eq!(found("a", &pairs), ["sasl.mechanism"], "{pairs:?}");
        }
    }

    /// Records with a codec that is not built in cannot be read, and a mechanism that is not cannot be used.
    #[test]
    fn librdkafka_is_built_with_all_codecs_and_with_the_mechanisms_that_are_listed() {
        let config = ClientConfig::new().create_native_config().unwrap();
        let features = config.get("builtin.features").unwrap();
        let features: Vec<&str> = features.split(',').map(str::trim).collect();
        for needed in [
            "gzip",
            "snappy",
            "lz4",
            "zstd",
            "ssl",
            "sasl_plain",
            "sasl_scram",
        ] {
            assert!(features.contains(&needed), "{needed}: {features:?}");
        }
        assert!(!features.contains(&"sasl_gssapi"), "{features:?}");
        for (name, value) in [
            ("sasl.oauthbearer.method", "oidc"),
            ("plugin.library.paths", "x.so"),
            ("enable.auto.commit", "true"),
            ("group.id", "x"),
            ("metadata.broker.list", "a:9092"),
        ] {
            assert!(refusal(name, value).is_some(), "{name}");
        }
    }

    #[test]
    fn passwords_and_keys_are_secret() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
        ] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("sasl.username") && !is_secret("security.protocol"));
    }
}
