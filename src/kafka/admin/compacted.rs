//! Whether a topic keeps the newest record of each key for good.

use rdkafka::admin::ResourceSpecifier;

use super::apply::EXISTS;
use super::{Action, Admin, Outcome, Topic};

/// The setting of a topic that says so.
const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";

/// What the brokers say of a topic's `cleanup.policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// `compact` and nothing else.
    Compact,
    /// Records are deleted by their age or by the size of the log, perhaps beside compaction.
    Other(String),
    /// The brokers do not show it, or do not answer.
    Unknown(String),
}

impl Admin {
    /// Asked of a topic that exists.
    pub async fn cleanup_policy(&self, topic: &str) -> CleanupPolicy {
        let resources = [ResourceSpecifier::Topic(topic)];
        let options = self.options(false);
        let answer = self.within(self.client.describe_configs(&resources, &options));
        let shown = match answer.await {
            Ok(mut shown) => shown.pop(),
            Err(why) => return CleanupPolicy::Unknown(why),
        };
        let shown = match shown {
            Some(Ok(shown)) => shown,
            Some(Err(code)) => return CleanupPolicy::Unknown(code.to_string()),
            None => return CleanupPolicy::Unknown("the brokers do not show it".to_owned()),
        };
        let value = shown
            .get(CLEANUP_POLICY)
            .and_then(|entry| entry.value.clone());
        match value {
            Some(value) if value.trim() == COMPACT => CleanupPolicy::Compact,
            Some(value) => CleanupPolicy::Other(value),
            // rust-rdkafka drops the error.
            None => CleanupPolicy::Unknown(
                "the brokers do not show it (is DescribeConfigs allowed?)".to_owned(),
            ),
        }
    }

    /// Makes topics that do not exist. One that another instance makes meanwhile counts as unchanged.
    pub async fn create_missing(&self, topics: &[Topic]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(topics.len());
        for topic in topics {
            let mut outcome = self.create(topic, false).await;
            if outcome.notes.last().is_some_and(|note| note == EXISTS) {
                outcome.action = Action::Unchanged;
            }
            outcomes.push(outcome);
        }
        outcomes
    }
}
