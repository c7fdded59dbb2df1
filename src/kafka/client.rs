//! How librdkafka is set up, and where its log lines go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use tracing::debug;

use super::ConsumerSettings;
use super::ffi::RecordSource;
use super::properties::{self, FIXED};
use crate::telemetry::events;
use crate::telemetry::throttle::Throttle;

/// Better for this use than librdkafka's defaults; an operator's property wins.
const PREFERRED: [(&str, &str); 16] = [
    ("client.id", "fleetcast"),
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "10000"),
    ("socket.connection.setup.timeout.ms", "5000"),
    ("reconnect.backoff.ms", "100"),
    // The default cap of 10 s is long for people who wait.
    ("reconnect.backoff.max.ms", "2000"),
    // A broker answers at once when there is something; this is how long it holds an empty answer.
    ("fetch.wait.max.ms", "250"),
    ("fetch.error.backoff.ms", "200"),
    // With the default of 1 s a full local queue would pause a partition for that long while loading.
    ("fetch.queue.backoff.ms", "20"),
    // A low number would make fetches fewer and larger, and hold records up: librdkafka looks at the one queue of all partitions for each
    // of them in turn, so a fetch may leave out a busy partition and wait fetch.wait.max.ms for the quiet ones.
    ("queued.min.messages", "20000"),
    // Bounds of what waits inside librdkafka (of all partitions together), and of one answer.
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.max.bytes", "16777216"),
    // A partition that was just made is unknown to the consumer's own cache until this refresh.
    ("topic.metadata.refresh.interval.ms", "5000"),
    ("topic.metadata.propagation.max.ms", "30000"),
    ("log.connection.close", "false"),
];

/// Why no client can be made from these settings. Nothing about brokers: none was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("Kafka property {0} cannot be used: {1}")]
    Property(String, String),
    #[error("Kafka property {0} is empty")]
    Empty(String),
    #[error(
        "Kafka property security.protocol is {0}, so sasl.mechanism must be set: librdkafka's default needs Kerberos"
    )]
    NoMechanism(String),
    #[error("librdkafka refuses its settings: {0}")]
    Refused(#[from] KafkaError),
    #[error("librdkafka made a consumer without a queue")]
    NoQueue,
}

/// The configuration of every client of ours. A client made from it checks values, not brokers.
pub(super) fn config(settings: &ConsumerSettings) -> Result<ClientConfig, ClientError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.bootstrap_servers);
    // `assign` goes through librdkafka's group code although no group is ever joined: no name, no assignment.
    config.set("group.id", &settings.group_id);
    for (name, value) in PREFERRED {
        config.set(name, value);
    }
    if settings.mock {
        // The mock broker sleeps the whole wait even when a record has come.
        config.set("fetch.wait.max.ms", "10");
    }
    for (name, value) in &settings.properties {
        if value.is_empty() {
            return Err(ClientError::Empty(name.clone()));
        }
        if let Some(why) = properties::refusal(name, value) {
            return Err(ClientError::Property(name.clone(), why));
        }
        config.set(name, value);
    }
    if let Some(protocol) = settings.properties.get("security.protocol")
        && protocol.to_ascii_lowercase().starts_with("sasl")
        && !["sasl.mechanism", "sasl.mechanisms"]
            .iter()
            .any(|name| settings.properties.contains_key(*name))
    {
        return Err(ClientError::NoMechanism(protocol.clone()));
    }
    for fixed in FIXED {
        if let Some(value) = fixed.value {
            config.set(fixed.name, value);
        }
    }
    config.set_log_level(RDKafkaLogLevel::Notice);
    Ok(config)
}

/// The same for clients that do not read: without what only consumers know.
pub(super) fn common(settings: &ConsumerSettings) -> Result<ClientConfig, ClientError> {
    let mut config = config(settings)?;
    let of_readers = |name: &str| {
        name.starts_with("fetch.")
            || name.starts_with("queued.")
            || name == "group.id"
            || FIXED
                .iter()
                .any(|fixed| fixed.value.is_some() && fixed.name == name)
    };
    let names: Vec<String> = (config.config_map().keys())
        .map(|name| (*name).to_owned())
        .collect();
    for name in names.iter().filter(|name| of_readers(name)) {
        config.remove(name);
    }
    Ok(config)
}

/// The client that reads records.
pub(super) fn source(
    config: &ClientConfig,
    context: Context,
) -> Result<RecordSource<Context>, ClientError> {
    let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
    RecordSource::new(consumer).ok_or(ClientError::NoQueue)
}

/// The client that asks: metadata and offsets. Its own connections, so that its answers are independent of how the reader
/// fares, and a slow answer delays no record.
pub(super) fn metadata_client(
    config: &ClientConfig,
    context: Context,
) -> Result<BaseConsumer<Context>, ClientError> {
    let mut config = config.clone();
    // Without a group librdkafka serves its events from the main queue and asks no coordinator.
    config.remove("group.id");
    Ok(config.create_with_context(context)?)
}

/// Receives what librdkafka has to say.
#[derive(Clone)]
pub(super) struct Context {
    log: Arc<ClientLog>,
}

impl Context {
    pub(super) fn new(settings: &ConsumerSettings) -> Self {
        Self {
            log: Arc::new(ClientLog {
                secrets: secrets(&settings.properties),
                throttle: Throttle::new(ClientLog::PERIOD),
            }),
        }
    }

    /// What may be shown to people of `text`: no secret of the configuration, and short.
    pub(super) fn masked(&self, text: &str) -> String {
        mask(text, &self.log.secrets)
    }

    /// One line of librdkafka, at most one per facility and ten seconds.
    pub(super) fn line(&self, level: i32, facility: &str, text: &str) {
        // Syslog's 4 is "warning". A broker away is one such line per connection and try; the reader logs the change itself.
        if level > 4 {
            debug!(target: "librdkafka", facility, "{}", self.masked(text));
        } else {
            events::librdkafka(&self.log.throttle, facility, || self.masked(text));
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.line(level as i32, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", "{error}: {}", self.masked(reason));
    }
}

impl ConsumerContext for Context {}

struct ClientLog {
    secrets: Vec<String>,
    /// By facility; librdkafka has some dozens.
    throttle: Throttle<String>,
}

impl ClientLog {
    /// Between two lines of one facility.
    const PERIOD: Duration = Duration::from_secs(10);
}

fn secrets(properties: &BTreeMap<String, String>) -> Vec<String> {
    properties
        .iter()
        .filter(|(name, _)| properties::is_secret(name))
        .map(|(_, value)| value.clone())
        .filter(|value| !value.is_empty())
        .collect()
}

fn mask(text: &str, secrets: &[String]) -> String {
    const LONGEST: usize = 300;
    let masked = secrets
        .iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
    masked.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(properties: &[(&str, &str)]) -> Result<ClientConfig, ClientError> {
        config(&ConsumerSettings {
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..ConsumerSettings::new("127.0.0.1:1")
        })
    }

    #[test]
    fn properties_that_the_reader_requires_cannot_be_changed() {
        for fixed in FIXED {
            let refused = with(&[(fixed.name, "x")]);
            let named =
                matches!(&refused, Err(ClientError::Property(name, _)) if name == fixed.name);
            assert!(named, "{}", fixed.name);
        }
        let config = with(&[("isolation.level", "read_committed")]).unwrap();
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
    }

    #[test]
    fn properties_of_the_operator_win_over_preferences() {
        let config = with(&[("fetch.wait.max.ms", "77")]).unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("77"));
        assert_eq!(config.get("reconnect.backoff.max.ms"), Some("2000"));
    }

    #[test]
    fn the_group_is_that_of_the_settings() {
        let settings = ConsumerSettings {
            group_id: "mine".to_owned(),
            ..ConsumerSettings::new("127.0.0.1:1")
        };
        let config = config(&settings).unwrap();
        assert_eq!(config.get("group.id"), Some("mine"));
    }

    #[test]
    fn librdkafka_takes_our_settings() {
        let settings = ConsumerSettings::new("127.0.0.1:1");
        let config = config(&settings).unwrap();
        source(&config, Context::new(&settings)).unwrap();
        metadata_client(&config, Context::new(&settings)).unwrap();
    }

    #[test]
    fn clients_that_do_not_read_have_nothing_of_readers() {
        let config = common(&ConsumerSettings::new("127.0.0.1:1")).unwrap();
        let mut names: Vec<_> = config.config_map().keys().copied().collect();
        names.sort_unstable();
        assert!(names.contains(&"bootstrap.servers") && names.contains(&"client.id"));
        for reader in ["fetch.wait.max.ms", "group.id", "isolation.level"] {
            assert!(!names.contains(&reader), "{reader}");
        }
    }

    #[test]
    fn sasl_needs_a_mechanism_and_empty_values_are_named() {
        assert!(matches!(
            with(&[("security.protocol", "SASL_SSL")]),
            Err(ClientError::NoMechanism(_))
        ));
        assert!(
            with(&[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", "PLAIN")
            ])
            .is_ok()
        );
        assert!(matches!(
            with(&[("ssl.ca.location", "")]),
            Err(ClientError::Empty(_))
        ));
    }

    #[test]
    fn a_wrong_property_is_refused_without_a_broker() {
        let settings = ConsumerSettings {
            properties: BTreeMap::from([("no.such.property".to_owned(), "1".to_owned())]),
            ..ConsumerSettings::new("127.0.0.1:1")
        };
        assert!(super::super::check(&settings).is_err());
    }

    #[test]
    fn secrets_are_masked_and_long_texts_shortened() {
        let secrets = secrets(&BTreeMap::from([(
            "sasl.password".to_owned(),
            "hunter2".to_owned(),
        )]));
        assert_eq!(mask("no hunter2 here", &secrets), "no *** here");
        assert_eq!(mask(&"x".repeat(5000), &[]).len(), 300);
    }

    #[test]
    fn a_facility_gets_one_line_in_ten_seconds_and_says_how_many_were_suppressed() {
        let throttle = Throttle::<String>::new(ClientLog::PERIOD);
        assert_eq!(throttle.allow("FAIL", 0), Some(0));
        assert_eq!(throttle.allow("FAIL", 5_000), None);
        assert_eq!(throttle.allow("ERROR", 5_000), Some(0));
        assert_eq!(throttle.allow("FAIL", 10_000), Some(1));
    }
}
