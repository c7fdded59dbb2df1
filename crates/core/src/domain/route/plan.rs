//! What a table does with the records of one topic: worked out once, not for each record.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::super::decode::Format;
use super::topics::TopicPattern;

/// Topics that patterns match and whose plans are kept. Beyond that they are worked out for each record, which is slow and right.
const MOST_KEPT: usize = 4096;

/// What holds for all records of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicPlan {
    pub(super) format: Format,
    /// Routes that are for this topic.
    routes: Vec<bool>,
    /// Of those, the ones that take a record without asking it for its event's name; in the order of the file.
    pub(super) fixed: Vec<usize>,
    /// What the named groups of the topic's patterns matched.
    groups: Vec<(Box<str>, Box<str>)>,
}

impl TopicPlan {
    pub(super) fn has(&self, route: usize) -> bool {
        self.routes.get(route).copied().unwrap_or(false)
    }

    pub(super) fn group(&self, name: &str) -> Option<&str> {
        let found = self.groups.iter().find(|(group, _)| **group == *name);
        found.map(|(_, text)| &**text)
    }
}

/// The topics that a route is for.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct TopicMatch {
    /// Full names, each with the other names of the same topic.
    pub(in crate::domain) names: Vec<Arc<str>>,
    pub(in crate::domain) patterns: Vec<TopicPattern>,
}

impl TopicMatch {
    pub(in crate::domain) fn matches(&self, topic: &str) -> bool {
        self.names.iter().any(|name| **name == *topic)
            || self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    /// A topic that both are for, as far as one can tell without asking the brokers.
    pub(in crate::domain) fn meets(&self, other: &Self) -> Option<String> {
        let named = self.names.iter().find(|name| other.matches(name));
        let named = named.or_else(|| other.names.iter().find(|name| self.matches(name)));
        if let Some(name) = named {
            return Some(format!("topic {name:?}"));
        }
        let is_ours = |other: &TopicPattern| self.patterns.iter().any(|own| own.is(other));
        let same = other.patterns.iter().find(|pattern| is_ours(pattern));
        same.map(|pattern| format!("pattern {:?}", pattern.to_string()))
    }
}

/// A route, as far as topics go.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Claim {
    /// `None`: all of the profile's.
    pub(in crate::domain) topics: Option<TopicMatch>,
    pub(in crate::domain) format: Option<Format>,
    /// The event is the route's, whatever the record says.
    pub(in crate::domain) fixed: bool,
}

/// Entries of the profile's topics that say more than names.
#[derive(Debug, Clone)]
pub(in crate::domain) struct TopicEntry {
    pub(in crate::domain) topics: TopicMatch,
    pub(in crate::domain) format: Option<Format>,
}

/// All plans of a table.
#[derive(Debug, Default)]
pub(in crate::domain) struct Plans {
    entries: Vec<TopicEntry>,
    claims: Vec<Claim>,
    default: Format,
    named: HashMap<Arc<str>, Arc<TopicPlan>>,
    /// Of topics that only patterns match.
    met: RwLock<HashMap<Box<str>, Arc<TopicPlan>>>,
}

impl Plans {
    pub(in crate::domain) fn new(
        entries: Vec<TopicEntry>,
        claims: Vec<Claim>,
        default: Format,
    ) -> Self {
        let mut plans = Self {
            entries,
            claims,
            default,
            ..Self::default()
        };
        let names = plans.entries.iter().flat_map(|entry| &entry.topics.names);
        let named = names.map(|name| (Arc::clone(name), Arc::new(plans.work_out(name))));
        plans.named = named.collect();
        plans
    }

    /// Of a topic that the profile names, or that was met before.
    pub(super) fn known(&self, topic: &str) -> Option<Arc<TopicPlan>> {
        let named = self.named.get(topic);
        named.cloned().or_else(|| {
            let met = self.met.read().unwrap_or_else(PoisonError::into_inner);
            met.get(topic).cloned()
        })
    }

    /// Of a topic that a pattern matches.
    pub(super) fn met(&self, topic: &str) -> Arc<TopicPlan> {
        let plan = Arc::new(self.work_out(topic));
        let mut met = self.met.write().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MOST_KEPT {
            met.insert(topic.into(), Arc::clone(&plan));
        }
        plan
    }

    fn work_out(&self, topic: &str) -> TopicPlan {
        let is_for = |claim: &Claim| match &claim.topics {
            None => true,
            Some(topics) => topics.matches(topic),
        };
        let claims = || {
            self.claims
                .iter()
                .enumerate()
                .filter(|(_, claim)| is_for(claim))
        };
        let entries = || {
            self.entries
                .iter()
                .filter(|entry| entry.topics.matches(topic))
        };
        let by_route = claims().find_map(|(_, claim)| claim.format);
        let format = by_route.or_else(|| entries().find_map(|entry| entry.format));
        let mut groups: Vec<(Box<str>, Box<str>)> = Vec::new();
        let of_entries = entries().map(|entry| &entry.topics);
        let of_routes = claims().filter_map(|(_, claim)| claim.topics.as_ref());
        for pattern in of_entries
            .chain(of_routes)
            .flat_map(|topics| &topics.patterns)
        {
            for (group, text) in pattern.groups(topic) {
                if groups.iter().all(|(known, _)| **known != *group) {
                    groups.push((group.into(), text.into()));
                }
            }
        }
        TopicPlan {
            format: format.unwrap_or(self.default),
            routes: self.claims.iter().map(is_for).collect(),
            fixed: claims()
                .filter(|(_, claim)| claim.fixed)
                .map(|(number, _)| number)
                .collect(),
            groups,
        }
    }
}
