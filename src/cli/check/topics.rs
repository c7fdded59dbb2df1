//! What Kafka has of what the profile reads, and which events may come on it.

use std::collections::BTreeMap;

use fleetcast_core::domain::route::RouteTable;

use crate::kafka::admin::{Cluster, present};

/// So many names are shown of a long list.
const SHOWN: usize = 20;

pub(super) fn report(routes: &RouteTable, cluster: &Cluster) -> String {
    let brokers = cluster.brokers.join(", ");
    let count = cluster.topics.len();
    let mut lines = vec![format!("kafka: brokers {brokers}; {count} topics")];
    let groups = present(routes.topic_groups(), cluster);
    for (names, found) in &groups {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        if found.is_empty() {
            lines.push(format!(
                "missing: no topic is called {}",
                names.join(" or ")
            ));
            continue;
        }
        lines.push(format!("topic: {}", sized(found, cluster)));
        if found.len() > 1 {
            let all = found.join(" and ");
            lines.push(format!(
                "warning: {all} are names of one topic and carry the same events: all are read, and order holds within each only"
            ));
        }
    }
    for pattern in routes.patterns() {
        let matched: Vec<&str> = wanted(routes, cluster)
            .filter(|topic| pattern.matches(topic))
            .collect();
        lines.push(if matched.is_empty() {
            format!("missing: pattern /{pattern}/ matches no topic")
        } else {
            format!("pattern: /{pattern}/ matches {}", sized(&matched, cluster))
        });
    }
    lines.extend(events(routes, cluster, &groups));
    let missing = groups.iter().filter(|(_, found)| found.is_empty()).count();
    if missing > 0 {
        lines.push(format!(
            "{missing} of the profile's topics do not exist: they are read once they do; `fleetcast topics apply` makes them"
        ));
    }
    lines.join("\n") + "\n"
}

fn wanted<'a>(routes: &'a RouteTable, cluster: &'a Cluster) -> impl Iterator<Item = &'a str> {
    let names = cluster.topics.keys().map(String::as_str);
    names.filter(|topic| routes.wants(topic))
}

/// Topics that the same events may come on, and a warning where some events come on several, but not on all: their routes say
/// so. Events of a profile whose routes name no topics may come on any, which is not reported.
fn events(
    routes: &RouteTable,
    cluster: &Cluster,
    groups: &[(&[std::sync::Arc<str>], Vec<&str>)],
) -> Vec<String> {
    let mut by_events: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    let mut by_event: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for topic in wanted(routes, cluster) {
        let events = routes.events_on(topic);
        for event in &events {
            by_event.entry(event).or_default().push(topic);
        }
        by_events.entry(events).or_default().push(topic);
    }
    let mut lines: Vec<String> = by_events
        .iter()
        .map(|(events, topics)| {
            let (events, topics) = (shortened(events), shortened(topics));
            format!("routes: on {topics}: {events}")
        })
        .collect();
    if by_events.len() < 2 {
        return lines;
    }
    let all = wanted(routes, cluster).count();
    let mut shared: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for (event, topics) in by_event {
        // Names of one topic were warned of already.
        let one = groups
            .iter()
            .any(|(_, found)| topics.iter().all(|topic| found.contains(topic)));
        if topics.len() > 1 && topics.len() < all && !one {
            shared.entry(topics).or_default().push(event);
        }
    }
    lines.extend(shared.iter().map(|(topics, events)| {
        let (topics, events) = (shortened(topics), shortened(events));
        format!("warning: {topics} carry the same events ({events}): order holds within each only")
    }));
    lines
}

fn sized(topics: &[&str], cluster: &Cluster) -> String {
    let sized: Vec<String> = topics
        .iter()
        .map(|name| {
            let partitions = cluster
                .topics
                .get(*name)
                .map_or(0, |topic| topic.partitions);
            format!("{name} ({partitions} partitions)")
        })
        .collect();
    shortened(&sized)
}

fn shortened<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::admin::Existing;
    use crate::settings::Profile;

    fn cluster(topics: &[(&str, i32)]) -> Cluster {
        let existing = |partitions| Existing {
            partitions,
            replication_factor: 1,
        };
        Cluster {
            brokers: vec!["a:1".to_owned()],
            topics: topics
                .iter()
                .map(|(name, partitions)| ((*name).to_owned(), existing(*partitions)))
                .collect(),
        }
    }

    fn lines(profile: &Profile, topics: &[(&str, i32)]) -> Vec<String> {
        let text = report(&profile.routes, &cluster(topics));
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn two_names_of_one_topic_that_both_exist_are_warned_of_and_missing_ones_are_named() {
        let profile = Profile::builtin("dispatch", "", 1000).unwrap();
        let lines = lines(&profile, &[("incident", 2), ("incidents", 1), ("other", 1)]);
        for expected in [
            "kafka: brokers a:1; 3 topics",
            "topic: incident (2 partitions), incidents (1 partitions)",
            "warning: incident and incidents are names of one topic and carry the same events: all are read, and order holds within each only",
            "missing: no topic is called task or tasks",
            "4 of the profile's topics do not exist: they are read once they do; `fleetcast topics apply` makes them",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected} is missing in {lines:#?}"
            );
        }
        let routes = lines.iter().filter(|line| line.starts_with("routes: "));
        let routes: Vec<_> = routes.collect();
        assert_eq!(routes.len(), 1, "any event on any topic");
        assert!(routes[0].starts_with("routes: on incident, incidents: transmission_started, "));
        let warnings = lines.iter().filter(|line| line.starts_with("warning"));
        assert_eq!(warnings.count(), 1);
    }

    #[test]
    fn routes_that_name_topics_are_listed_by_topic_with_what_they_share() {
        let text = r#"
name = "metrics"
topics = ["alert", { pattern = 'dept\.[0-9]+\.metrics' }, { pattern = 'x.*' }]
[event]
fields = ["type"]
[organisation]
fields = ["organization_id"]
[[routes]]
events = ["alert_created"]
topics = ["alert"]
rooms = [{ kind = "org" }]
[[routes]]
event = "metrics"
topics = [{ pattern = 'dept\.[0-9]+\.metrics' }]
rooms = [{ kind = "org" }]
"#;
        let profile = Profile::parse(text, "f.toml", "", 1000, &[])
            .unwrap_or_else(|errors| panic!("{errors}"));
        let lines = lines(
            &profile,
            &[
                ("alert", 1),
                ("dept.1.metrics", 3),
                ("dept.2.metrics", 3),
                ("other", 1),
            ],
        );
        for expected in [
            "pattern: /dept\\.[0-9]+\\.metrics/ matches dept.1.metrics (3 partitions), dept.2.metrics (3 partitions)",
            "missing: pattern /x.*/ matches no topic",
            "routes: on alert: alert_created",
            "routes: on dept.1.metrics, dept.2.metrics: metrics",
            "warning: dept.1.metrics, dept.2.metrics carry the same events (metrics): order holds within each only",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected} is missing in {lines:#?}"
            );
        }
    }
}
