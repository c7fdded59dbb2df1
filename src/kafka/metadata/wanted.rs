//! Which topics are looked at: those that are named, and those that exist and match.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::super::TopicSelection;
use super::super::client::Context;

pub(super) struct WantedTopics {
    topics: Arc<TopicSelection>,
    /// The named ones, each once.
    named: BTreeSet<Arc<str>>,
    /// What `topics.wanted` has matched.
    matched: BTreeSet<Arc<str>>,
    /// Every topic of the last list.
    listed: Option<HashSet<String>>,
    /// When that was, in monotonic milliseconds.
    listed_ms: u64,
    /// The list is older than what is wanted.
    stale: bool,
}

impl WantedTopics {
    /// All topics of a cluster may be many: they are listed so often, and on request.
    const LIST_MS: u64 = 10_000;
    /// Not more often on request: each client with an unknown cursor requests it.
    const LIST_AGAIN_MS: u64 = 1_000;

    pub(super) fn new(topics: Arc<TopicSelection>) -> Self {
        Self {
            named: named(&topics),
            topics,
            matched: BTreeSet::new(),
            listed: None,
            listed_ms: 0,
            stale: true,
        }
    }

    /// Takes up what is wanted from now on. True if that is news.
    pub(super) fn change(&mut self, topics: &Arc<TopicSelection>) -> bool {
        if Arc::ptr_eq(&self.topics, topics) {
            return false;
        }
        self.topics = Arc::clone(topics);
        self.named = named(topics);
        let wanted = self.topics.wanted.as_ref();
        self.matched
            .retain(|topic| wanted.is_some_and(|wanted| wanted(topic)));
        self.stale = true;
        true
    }

    /// Full names, each once.
    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        self.named.union(&self.matched).cloned().collect()
    }

    /// Whether it is asked for by its name, also when it does not exist.
    pub(super) fn is_named(&self, topic: &str) -> bool {
        self.named.contains(topic)
    }

    /// It was deleted, and no route names it. Should it be in the next list, it has appeared, and is read from its beginning.
    pub(super) fn forget(&mut self, topic: &str) {
        self.matched.remove(topic);
        if let Some(listed) = &mut self.listed {
            listed.remove(topic);
        }
    }

    /// How long a request made now has to wait until the topics are listed, in milliseconds. 0: not at all, or they need not be.
    pub(super) fn wait_ms(&self, now_ms: u64) -> u64 {
        if self.stale || self.topics.wanted.is_none() {
            return 0;
        }
        let again_ms = self.listed_ms.saturating_add(Self::LIST_AGAIN_MS);
        again_ms.saturating_sub(now_ms)
    }

    /// Lists the topics of the cluster if it is time and anything but names is wanted. The answer has those that match and
    /// were not there at the last list.
    pub(super) fn list(
        &mut self,
        client: &BaseConsumer<Context>,
        called: bool,
        now_ms: u64,
        timeout: Duration,
    ) -> Result<Vec<Arc<str>>, KafkaError> {
        let Some(wanted) = self.topics.wanted.clone() else {
            self.listed = None;
            return Ok(Vec::new());
        };
        let due = now_ms.saturating_sub(self.listed_ms) >= Self::LIST_MS;
        if !(self.stale || due || called) {
            return Ok(Vec::new());
        }
        let metadata = client.fetch_metadata(None, timeout)?;
        let is_there = |name: &&str| !name.starts_with("__");
        let names = metadata.topics().iter();
        let names = names
            .filter(|topic| topic.error().is_none())
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(is_there);
        let listed: HashSet<String> = names.map(str::to_owned).collect();
        let mut appeared = Vec::new();
        for name in &listed {
            if self.named.contains(name.as_str()) || !wanted(name) {
                continue;
            }
            let name: Arc<str> = Arc::from(name.as_str());
            let was_there = |before: &HashSet<String>| before.contains(&*name);
            if self
                .listed
                .as_ref()
                .is_some_and(|before| !was_there(before))
            {
                appeared.push(Arc::clone(&name));
            }
            self.matched.insert(name);
        }
        self.listed = Some(listed);
        self.listed_ms = now_ms;
        self.stale = false;
        Ok(appeared)
    }
}

fn named(topics: &TopicSelection) -> BTreeSet<Arc<str>> {
    topics.names.iter().flatten().cloned().collect()
}
