//! Topics of our own: what each is like, made at the start where that is asked for, and those that must be compacted checked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use super::client_settings;
use crate::kafka::admin::{Action, Admin, CleanupPolicy, Topic};
use crate::settings::KafkaSettings;
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events};

/// For one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(2);

/// Between two looks: at first, while the start still waits for something, and afterwards: a topic may be made again by others.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(5),
    Duration::from_mins(1),
];

/// So many looks have the short pause.
const FIRST_LOOKS: u32 = 20;

/// The setting of a topic is asked for so often before the start goes on without it.
const TRIES: u32 = 2;

/// As the contract has them, of the variables that are set.
pub fn service_topics(names: &BTreeMap<&'static str, String>) -> Vec<Topic> {
    type Row<'a> = (&'a str, i32, &'a [(&'a str, String)]);
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let kept = |days: u64| [("retention.ms", (days * DAY).to_string())];
    let compacted = [("cleanup.policy", "compact".to_owned())];
    let rows: [Row<'_>; 7] = [
        ("PUBLISH_TOPIC", 6, &kept(1)),
        ("DEAD_LETTER_TOPIC", 1, &kept(30)),
        ("RECEIPTS_TOPIC", 3, &kept(30)),
        ("REVOCATIONS_TOPIC", 1, &compacted),
        ("GRANTS_TOPIC", 1, &compacted),
        ("AUDIT_TOPIC", 3, &kept(90)),
        ("CONNECTIONS_TOPIC", 3, &kept(7)),
    ];
    rows.into_iter()
        .filter_map(|(variable, partitions, config)| {
            let name = names.get(variable)?;
            Some(new_topic(name, Some(partitions), config))
        })
        .collect()
}

/// The replicas are the brokers' default.
pub fn new_topic(name: &str, partitions: Option<i32>, config: &[(&str, String)]) -> Topic {
    Topic {
        name: name.to_owned(),
        partitions,
        replication_factor: None,
        config: config
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        config_when_made: when_made(),
    }
}

/// The start of the window is found by the records' times, so they had better be the brokers'.
pub fn when_made() -> BTreeMap<String, String> {
    BTreeMap::from([(
        "message.timestamp.type".to_owned(),
        "LogAppendTime".to_owned(),
    )])
}

/// What is known of the topics that must be compacted.
#[derive(Default)]
pub(super) struct PolicyChecks(Mutex<BTreeMap<String, PolicyCheck>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum PolicyCheck {
    Compacted,
    /// The brokers have been asked and do not say.
    Unknown(String),
    /// It is not any more: its policy.
    Other(String),
}

impl PolicyChecks {
    /// Whether the start may go on.
    pub(super) fn is_settled(&self, topic: &str) -> bool {
        self.lock().contains_key(topic)
    }

    /// What an operator should know.
    pub(super) fn remark(&self, topic: &str) -> Option<String> {
        match self.lock().get(topic)? {
            PolicyCheck::Compacted | PolicyCheck::Other(_) => None,
            PolicyCheck::Unknown(why) => Some(format!(
                "whether {topic} has cleanup.policy=compact is not known: {why}"
            )),
        }
    }

    /// What is wrong with a topic that was compacted at the start, or seemed to be.
    pub(super) fn problem(&self, topic: &str) -> Option<String> {
        match self.lock().get(topic)? {
            PolicyCheck::Compacted | PolicyCheck::Unknown(_) => None,
            PolicyCheck::Other(policy) => Some(not_compacted(topic, policy)),
        }
    }

    /// Whether this is news.
    fn note(&self, topic: &str, check: PolicyCheck) -> bool {
        let before = self.lock().insert(topic.to_owned(), check.clone());
        before != Some(check)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PolicyCheck>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_compacted(topic: &str, policy: &str) -> String {
    format!("{topic} has cleanup.policy={policy}: set it to compact")
}

/// Makes what is missing and checks what must be compacted.
pub(super) struct TopicKeeper {
    admin: Arc<Admin>,
    /// Those to be made. Empty: none is made.
    wanted: Vec<Topic>,
    /// Those that must be compacted, and by which variable they are named.
    compacted: Vec<(&'static str, String)>,
    /// How often a topic was there, and its policy was not shown.
    unknown: BTreeMap<String, u32>,
    checks: Arc<PolicyChecks>,
    metrics: Metrics,
}

impl TopicKeeper {
    /// `None`: there is nothing to do. Asks no broker yet.
    pub(super) fn new(
        kafka: &KafkaSettings,
        checks: Arc<PolicyChecks>,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Self>> {
        let topics = &kafka.service_topics;
        // The embedded broker has them already, and knows no settings of topics.
        let wanted = if kafka.create_topics && !kafka.mock {
            service_topics(topics)
        } else {
            Vec::new()
        };
        let compacted: Vec<_> = ["REVOCATIONS_TOPIC", "GRANTS_TOPIC"]
            .into_iter()
            .filter_map(|variable| Some((variable, topics.get(variable)?.clone())))
            .collect();
        if kafka.mock {
            let unknown = |(_, topic): &(_, String)| {
                let why = "the embedded broker keeps everything".to_owned();
                (topic.clone(), PolicyCheck::Unknown(why))
            };
            checks.lock().extend(compacted.iter().map(unknown));
            return Ok(None);
        }
        if wanted.is_empty() && compacted.is_empty() {
            return Ok(None);
        }
        let admin = Admin::new(&client_settings(kafka), ANSWER)?;
        Ok(Some(Self {
            admin: Arc::new(admin),
            wanted,
            compacted,
            unknown: BTreeMap::new(),
            checks,
            metrics: metrics.clone(),
        }))
    }

    /// Until `stop`. An error: a topic that must be compacted is not, and the start waits for that.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut looks = 0_u32;
        while !self.wanted.is_empty() || !self.compacted.is_empty() {
            let Some(looked) = stop.run_until_cancelled(self.look()).await else {
                return Ok(());
            };
            looked?;
            let is_started = |(_, topic): &(_, String)| self.checks.is_settled(topic);
            let pause = if self.wanted.is_empty() && self.compacted.iter().all(is_started) {
                PAUSES[2]
            } else if looks < FIRST_LOOKS {
                PAUSES[0]
            } else {
                PAUSES[1]
            };
            looks = looks.saturating_add(1);
            if stop
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return Ok(());
            }
        }
        stop.cancelled().await;
        Ok(())
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let admin = self.admin.clone();
        let cluster = match tokio::task::spawn_blocking(move || admin.cluster()).await? {
            Ok(cluster) => cluster,
            Err(error) => {
                let context = "cannot ask the brokers for the service topics, trying again";
                events::fault(&self.metrics, Component::Kafka, context, &error);
                return Ok(());
            }
        };
        self.wanted
            .retain(|topic| !cluster.topics.contains_key(&topic.name));
        self.create().await;
        for (variable, topic) in &self.compacted {
            if !cluster.topics.contains_key(topic) {
                continue;
            }
            let settled = self.checks.is_settled(topic);
            match self.admin.cleanup_policy(topic).await {
                CleanupPolicy::Compact => {
                    self.checks.note(topic, PolicyCheck::Compacted);
                }
                CleanupPolicy::Other(policy) if !settled => bail!(
                    "topic {topic} ({variable}) has cleanup.policy={policy}, expected compact alone"
                ),
                CleanupPolicy::Other(policy) => {
                    if (self.checks).note(topic, PolicyCheck::Other(policy.clone())) {
                        events::not_compacted(&self.metrics, topic, &policy);
                    }
                }
                CleanupPolicy::Unknown(why) => {
                    let times = self.unknown.entry(topic.clone()).or_default();
                    *times += 1;
                    if *times >= TRIES && !settled {
                        events::policy_unknown(topic, &why);
                        self.checks.note(topic, PolicyCheck::Unknown(why));
                    }
                }
            }
        }
        Ok(())
    }

    async fn create(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let outcomes = self.admin.create_missing(&self.wanted).await;
        for outcome in outcomes {
            let notes = outcome.notes.join("; ");
            match outcome.action {
                Action::Created => events::topic_made(&outcome.name, &notes),
                Action::Changed | Action::Unchanged => {}
                Action::Refused | Action::Failed => {
                    let context = "cannot make a service topic, trying again";
                    let fault = format!("{}: {notes}", outcome.name);
                    events::fault(&self.metrics, Component::Kafka, context, &fault);
                    continue;
                }
            }
            self.wanted.retain(|topic| topic.name != outcome.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_topics_are_those_of_the_contract() {
        let names = [
            ("PUBLISH_TOPIC", "fleetcast.publish"),
            ("DEAD_LETTER_TOPIC", "dead"),
            ("REVOCATIONS_TOPIC", "revoked"),
            ("GRANTS_TOPIC", "granted"),
            ("AUDIT_TOPIC", "audit"),
            ("CONNECTIONS_TOPIC", "connections"),
        ];
        let names = names.map(|(variable, name)| (variable, name.to_owned()));
        let topics = service_topics(&names.into());
        let shown: Vec<_> = topics
            .iter()
            .map(|topic| {
                let config: Vec<_> = topic.config.values().map(String::as_str).collect();
                (topic.name.as_str(), topic.partitions, config.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("fleetcast.publish", Some(6), "86400000".to_owned()),
                ("dead", Some(1), "2592000000".to_owned()),
                ("revoked", Some(1), "compact".to_owned()),
                ("granted", Some(1), "compact".to_owned()),
                ("audit", Some(3), "7776000000".to_owned()),
                ("connections", Some(3), "604800000".to_owned()),
            ]
        );
    }
}
