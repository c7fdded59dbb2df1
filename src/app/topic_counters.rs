//! What became of the records of each topic. The profile's own topics have counters of their own; of those that a pattern finds only
//! so many, since their number is unknown, and a series that is there stays.

use std::collections::HashMap;
use std::sync::Arc;

use fleetcast_core::domain::route::RouteTable;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::TopicMetrics;

/// Topics found by patterns that have counters of their own.
const MAX_FOUND: usize = 500;

/// The label of all the others. No topic can be called so.
const OTHER: &str = "(other)";

pub(super) struct TopicCounters {
    by_topic: HashMap<Arc<str>, TopicMetrics>,
    /// How many of them a pattern has found.
    found: usize,
    /// Of those for which there was no space.
    other: Option<TopicMetrics>,
    metrics: Metrics,
}

impl TopicCounters {
    pub(super) fn new(metrics: &Metrics, table: &RouteTable) -> Self {
        let mut counters = Self {
            by_topic: HashMap::new(),
            found: 0,
            other: None,
            metrics: metrics.clone(),
        };
        counters.learn(table);
        counters
    }

    /// Adds the topics that a profile names, at zero. Those of the one before keep what was counted.
    pub(super) fn learn(&mut self, table: &RouteTable) {
        for topic in table.topics() {
            if !self.by_topic.contains_key(topic) {
                let counters = self.metrics.topic(topic);
                self.by_topic.insert(Arc::from(topic), counters);
            }
        }
    }

    /// Those that a record of this topic adds to.
    pub(super) fn of(&mut self, topic: &Arc<str>) -> &TopicMetrics {
        let metrics = &self.metrics;
        if !self.by_topic.contains_key(topic) {
            if self.found >= MAX_FOUND {
                return self.other.get_or_insert_with(|| metrics.topic(OTHER));
            }
            self.found += 1;
            self.by_topic.insert(topic.clone(), metrics.topic(topic));
        }
        &self.by_topic[topic]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Profile;
    use crate::telemetry::labels::RecordOutcome;

    /// Of one that names these topics, besides a pattern.
    fn table(named: &[&str]) -> RouteTable {
        let named = named.join("\", \"");
        let text = format!(
            "name = \"some\"\ntopics = [\"{named}\", {{ pattern = 'found.*' }}]\norganisation = \"o1\"\nevent = [\"event\"]\n\
             [[routes]]\nevents = [\"told\"]\nrooms = [{{ kind = \"org\" }}]\n"
        );
        let profile = Profile::parse(&text, "some.toml", "", 1000, &[]).expect("good");
        Arc::into_inner(profile.routes).expect("the only handle")
    }

    #[test]
    fn topics_that_patterns_find_have_series_up_to_a_bound_and_named_ones_always() {
        let metrics = Metrics::new();
        let mut counters = TopicCounters::new(&metrics, &table(&["named"]));
        let count = |counters: &mut TopicCounters, topic: &str| {
            let topic = Arc::from(topic);
            counters.of(&topic).increment(RecordOutcome::Routed);
        };
        let routed = |topic: &str| {
            let series =
                format!("fleetcast_records_total{{topic=\"{topic}\",outcome=\"routed\"}} ");
            let text = metrics.render();
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            value.map(|value| value.parse::<u64>().expect("a count"))
        };
        for number in 0..MAX_FOUND {
            count(&mut counters, &format!("found-{number}"));
        }
        assert_eq!(routed(&format!("found-{}", MAX_FOUND - 1)), Some(1));
        assert_eq!(routed(OTHER), None);
        for topic in ["found-more", "found-yet-more", "found-more"] {
            count(&mut counters, topic);
        }
        assert_eq!((routed(OTHER), routed("found-more")), (Some(3), None));
        count(&mut counters, "found-0");
        count(&mut counters, "named");
        assert_eq!((routed("found-0"), routed("named")), (Some(2), Some(1)));
        // Named from now on: its own from here.
        counters.learn(&table(&["new", "found-more"]));
        assert_eq!((routed("new"), routed("found-more")), (Some(0), Some(0)));
        count(&mut counters, "found-more");
        assert_eq!((routed("found-more"), routed(OTHER)), (Some(1), Some(3)));
    }
}
