//! Makes topics, widens them, and sets their settings. Nothing is ever deleted or shrunk: what cannot be brought about that way is
//! reported instead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{
    AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::types::RDKafkaErrorCode;

use super::{Admin, AdminError, Cluster, Existing, UNANSWERED};

/// The brokers' own default, for counts that are not given.
const BROKERS_DEFAULT: i32 = -1;

/// Another client has made it meanwhile.
pub(super) const EXISTS: &str = "the topic exists by now";

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// At least so many; `None`: the brokers' default where the topic is made, and whatever there is where it exists.
    pub partitions: Option<i32>,
    /// The same.
    pub replication_factor: Option<i32>,
    /// Kafka's names: `retention.ms`. Settings of the topic that are not named stay as they are.
    pub config: BTreeMap<String, String>,
    /// Settings for a topic that is made now; `config` wins.
    pub config_when_made: BTreeMap<String, String>,
}

/// What became of a topic, or what would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub name: String,
    pub action: Action,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Created,
    Changed,
    Unchanged,
    /// Something could not be brought about without deleting or moving data; the rest was done.
    Refused,
    /// The brokers said no.
    Failed,
}

/// Names that occur twice: the second would undo the first.
pub fn repeated(topics: &[Topic]) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    let names = topics.iter().map(|topic| topic.name.as_str());
    names.filter(|name| !seen.insert(*name)).collect()
}

impl Admin {
    /// Makes the topics as they should be, in their order. With `dry_run` the brokers check what they would make, and nothing is done.
    pub async fn apply(&self, topics: &[Topic], dry_run: bool) -> Result<Vec<Outcome>, AdminError> {
        let cluster = self.cluster()?;
        let configs = self.configs(topics, &cluster).await?;
        let mut outcomes = Vec::with_capacity(topics.len());
        for topic in topics {
            let outcome = match cluster.topics.get(&topic.name) {
                None => self.create(topic, dry_run).await,
                Some(existing) => {
                    let config = configs.get(&topic.name);
                    self.adapt(topic, *existing, config, dry_run).await
                }
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// The settings of those topics that exist and are to have some.
    async fn configs(
        &self,
        topics: &[Topic],
        cluster: &Cluster,
    ) -> Result<BTreeMap<String, ConfigResource>, AdminError> {
        let wanted: Vec<ResourceSpecifier<'_>> = topics
            .iter()
            .filter(|topic| !topic.config.is_empty() && cluster.topics.contains_key(&topic.name))
            .map(|topic| ResourceSpecifier::Topic(&topic.name))
            .collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let options = self.options(false);
        let answer = self.within(self.client.describe_configs(&wanted, &options));
        let resources = answer.await.map_err(|why| AdminError::Refused {
            what: "read the settings of the topics",
            why,
        })?;
        let mut configs = BTreeMap::new();
        for resource in resources {
            let resource = resource.map_err(|code| AdminError::Refused {
                what: "read the settings of a topic",
                why: code.to_string(),
            })?;
            if let OwnedResourceSpecifier::Topic(name) = &resource.specifier {
                configs.insert(name.clone(), resource);
            }
        }
        Ok(configs)
    }

    pub(super) async fn create(&self, topic: &Topic, dry_run: bool) -> Outcome {
        let partitions = topic.partitions.unwrap_or(BROKERS_DEFAULT);
        let replication = topic.replication_factor.unwrap_or(BROKERS_DEFAULT);
        let mut config = topic.config_when_made.clone();
        config.extend(topic.config.clone());
        let mut new = NewTopic::new(
            &topic.name,
            partitions,
            TopicReplication::Fixed(replication),
        );
        for (name, value) in &config {
            new = new.set(name, value);
        }
        let options = self.options(dry_run);
        let answer = self.within(self.client.create_topics([&new], &options));
        let mut notes = vec![match topic.partitions {
            Some(partitions) => format!("{partitions} partitions"),
            None => "as many partitions as the brokers' default".to_owned(),
        }];
        notes.extend(
            topic
                .replication_factor
                .map(|factor| format!("{factor} replicas")),
        );
        notes.extend(config.iter().map(|(name, value)| format!("{name}={value}")));
        let action = match first(answer.await) {
            Ok(()) => Action::Created,
            Err(why) => {
                notes.push(why);
                Action::Failed
            }
        };
        Outcome {
            name: topic.name.clone(),
            action,
            notes,
        }
    }

    async fn adapt(
        &self,
        topic: &Topic,
        existing: Existing,
        config: Option<&ConfigResource>,
        dry_run: bool,
    ) -> Outcome {
        let mut notes = Vec::new();
        let mut action = Action::Unchanged;
        let has = existing.partitions;
        if let Some(partitions) = topic.partitions.filter(|wanted| *wanted > has) {
            match self.widen(&topic.name, partitions, dry_run).await {
                Ok(()) => {
                    notes.push(format!("partitions {has} -> {partitions}"));
                    action = worse(action, Action::Changed);
                }
                Err(why) => {
                    notes.push(format!("partitions {has} -> {partitions}: {why}"));
                    action = worse(action, Action::Failed);
                }
            }
        } else if let Some(partitions) = topic.partitions.filter(|wanted| *wanted < has) {
            notes.push(format!(
                "it has {has} partitions, not {partitions}: Kafka cannot take partitions away without deleting the topic"
            ));
            action = worse(action, Action::Refused);
        }
        let replicas = existing.replication_factor;
        if let Some(factor) = topic
            .replication_factor
            .filter(|wanted| *wanted != replicas)
        {
            notes.push(format!(
                "it has {replicas} replicas, not {factor}: moving replicas is left to kafka-reassign-partitions"
            ));
            action = worse(action, Action::Refused);
        }
        let known = |name: &str| config.is_some_and(|config| config.get(name).is_some());
        let unknown: Vec<&str> = (topic.config.keys().map(String::as_str))
            .filter(|name| !known(name))
            .collect();
        if !unknown.is_empty() {
            let names = unknown.join(", ");
            // Nothing at all is shown without permission to ask: rust-rdkafka drops that error as well.
            let hidden = config.is_none_or(|config| config.entries.is_empty());
            notes.push(if hidden {
                "the brokers do not show its settings (is DescribeConfigs allowed?): none was changed"
                    .to_owned()
            } else {
                format!("the brokers know no {names}: no setting was changed")
            });
            return Outcome {
                name: topic.name.clone(),
                action: Action::Failed,
                notes,
            };
        }
        let differing: Vec<(&str, &str, String)> = topic
            .config
            .iter()
            .filter_map(|(name, value)| {
                let is = config.and_then(|config| config.get(name));
                let is = is.and_then(|entry| entry.value.clone()).unwrap_or_default();
                (is != *value).then_some((name.as_str(), value.as_str(), is))
            })
            .collect();
        if !differing.is_empty() {
            let set = self.configure(topic, config, dry_run).await;
            for (name, value, is) in differing {
                notes.push(format!("{name} {is} -> {value}"));
            }
            action = worse(action, Action::Changed);
            if let Err(why) = set {
                notes.push(why);
                action = Action::Failed;
            }
        }
        Outcome {
            name: topic.name.clone(),
            action,
            notes,
        }
    }

    async fn widen(&self, name: &str, partitions: i32, dry_run: bool) -> Result<(), String> {
        let count = usize::try_from(partitions).map_err(|error| error.to_string())?;
        let new = NewPartitions::new(name, count);
        let options = self.options(dry_run);
        first(
            self.within(self.client.create_partitions([&new], &options))
                .await,
        )
    }

    /// The old form of this request, the only one that rust-rdkafka has, replaces all settings of the topic. So those that were
    /// set on the topic itself go along; what another one sets in the milliseconds between is lost.
    ///
    /// And rust-rdkafka 0.39 drops what the brokers say about the topic: every answer is `Ok`. So they are asked afterwards.
    async fn configure(
        &self,
        topic: &Topic,
        is: Option<&ConfigResource>,
        dry_run: bool,
    ) -> Result<(), String> {
        let kept = is.into_iter().flat_map(|config| &config.entries);
        let kept = kept.filter(|entry| matches!(entry.source, ConfigSource::DynamicTopic));
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in kept {
            match &entry.value {
                Some(value) => all.insert(&entry.name, value),
                None => {
                    return Err(format!(
                        "{} is not shown by the brokers, so it would be lost: nothing is set",
                        entry.name
                    ));
                }
            };
        }
        for (name, value) in &topic.config {
            all.insert(name, value);
        }
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
        for (name, value) in all {
            change = change.set(name, value);
        }
        let options = self.options(dry_run);
        let answer = self.within(self.client.alter_configs([&change], &options));
        answer.await?;
        if dry_run {
            return Ok(());
        }
        self.confirm(topic).await
    }

    /// A broker may show the old settings for a moment.
    async fn confirm(&self, topic: &Topic) -> Result<(), String> {
        const TRIES: u32 = 20;
        const PAUSE: Duration = Duration::from_millis(100);
        for _ in 0..TRIES {
            let resources = [ResourceSpecifier::Topic(&topic.name)];
            let options = self.options(false);
            let answer = self.within(self.client.describe_configs(&resources, &options));
            let shown = answer.await?.pop();
            let shown = shown.ok_or("the brokers do not show the settings")?;
            let shown = shown.map_err(|code| code.to_string())?;
            let is_set = |(name, value): (&String, &String)| {
                let entry = shown.get(name);
                entry.is_some_and(|entry| entry.value.as_ref() == Some(value))
            };
            if topic.config.iter().all(is_set) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("the brokers did not take it: is the value allowed?".to_owned())
    }
}

fn first(answer: Result<Vec<rdkafka::admin::TopicResult>, String>) -> Result<(), String> {
    match answer?.pop() {
        Some(Ok(_)) => Ok(()),
        Some(Err((_, RDKafkaErrorCode::OperationTimedOut))) => Err(UNANSWERED.to_owned()),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Err(EXISTS.to_owned()),
        Some(Err((_, code))) => Err(format!("the brokers refuse: {code}")),
        None => Err("the brokers do not say what became of it".to_owned()),
    }
}

/// A failure outranks a refusal, that a change, and that nothing at all.
fn worse(one: Action, other: Action) -> Action {
    let rank = |action| match action {
        Action::Unchanged => 0,
        Action::Created | Action::Changed => 1,
        Action::Refused => 2,
        Action::Failed => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}
