//! What is asked of brokers beside records: which topics there are, to make them as they should be (`apply.rs`), and whether they are
//! compacted (`compacted.rs`).

mod apply;
mod compacted;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::ConsumerSettings;
use super::client::{self, ClientError, Context};
use super::diagnose::{NO_BROKER, diagnose};

pub use apply::{Action, Outcome, Topic, repeated};
pub use compacted::CleanupPolicy;

/// Topics as they are.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub brokers: Vec<String>,
    pub topics: BTreeMap<String, Existing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    pub partitions: i32,
    pub replication_factor: i32,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no answer from {servers} within {} s: {why}", .within.as_secs_f32())]
    Unreachable {
        servers: String,
        within: Duration,
        why: String,
    },
    /// Nothing that waiting cures.
    #[error("no connection to {servers}: {why}")]
    Diagnosed { servers: String, why: String },
    #[error("cannot {what}: {why}")]
    Refused { what: &'static str, why: String },
}

impl AdminError {
    /// The settings are to blame, or the brokers' certificates.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Diagnosed { .. })
    }
}

/// Asked only of brokers that have just said which topics they have.
const UNANSWERED: &str =
    "the brokers do not answer this request in time (the demo's broker never does)";

pub struct Admin {
    client: AdminClient<Context>,
    settings: ConsumerSettings,
    timeout: Duration,
}

impl Admin {
    /// Sends no request yet. Each question takes at most `timeout`.
    pub fn new(settings: &ConsumerSettings, timeout: Duration) -> Result<Self, AdminError> {
        let config = client::common(settings)?;
        let client = config
            .create_with_context(Context::new(settings))
            .map_err(ClientError::from)?;
        Ok(Self {
            client,
            settings: settings.clone(),
            timeout,
        })
    }

    /// All topics and brokers that the cluster shows us. Blocks for at most the time-out.
    pub fn cluster(&self) -> Result<Cluster, AdminError> {
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, self.timeout)
            .map_err(|error| self.unreachable(&error))?;
        let brokers = metadata.brokers().iter();
        let topics = metadata.topics().iter();
        Ok(Cluster {
            brokers: brokers
                .map(|broker| format!("{}:{}", broker.host(), broker.port()))
                .collect(),
            topics: topics
                .filter(|topic| topic.error().is_none())
                .map(|topic| {
                    let partitions = topic.partitions();
                    let replicas = partitions.iter().map(|one| one.replicas().len()).min();
                    let existing = Existing {
                        partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                        replication_factor: replicas
                            .and_then(|count| i32::try_from(count).ok())
                            .unwrap_or_default(),
                    };
                    (topic.name().to_owned(), existing)
                })
                .collect(),
        })
    }

    /// Why no broker answers.
    fn unreachable(&self, error: &KafkaError) -> AdminError {
        let servers = self.settings.bootstrap_servers.clone();
        match diagnose(&self.settings, self.timeout) {
            Some(why) => AdminError::Diagnosed { servers, why },
            None => AdminError::Unreachable {
                servers,
                within: self.timeout,
                why: match error {
                    KafkaError::MetadataFetch(
                        RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                    ) => NO_BROKER.to_owned(),
                    error => self.masked(error),
                },
            },
        }
    }

    fn options(&self, validate_only: bool) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
            .validate_only(validate_only)
    }

    /// librdkafka has its own time-outs; this one holds whatever it does.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, KafkaError>>,
    ) -> Result<T, String> {
        let most = self.timeout + Duration::from_secs(1);
        match tokio::time::timeout(most, answer).await {
            Ok(answer) => answer.map_err(|error| match error {
                KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut) => UNANSWERED.to_owned(),
                error => self.masked(&error),
            }),
            Err(_) => Err(format!("no answer within {} s", most.as_secs())),
        }
    }

    fn masked(&self, error: &KafkaError) -> String {
        self.client.inner().context().masked(&error.to_string())
    }
}

/// Which topics of each group exist; an empty list: none of them does.
pub fn present<'a>(
    groups: impl Iterator<Item = &'a [std::sync::Arc<str>]>,
    cluster: &Cluster,
) -> Vec<(&'a [std::sync::Arc<str>], Vec<&'a str>)> {
    groups
        .map(|group| {
            let names = group.iter().map(|name| &**name);
            let found = names.filter(|name| cluster.topics.contains_key(*name));
            (group, found.collect())
        })
        .collect()
}
