//! Which of Fleetcast's own topics exist, and what is missing without the others.

use std::fmt::Write;

use crate::kafka::admin::Cluster;
use crate::settings::KafkaSettings;

/// The lines, and whether a start would become ready with the topics that there are.
pub(super) fn report(kafka: &KafkaSettings, cluster: &Cluster) -> (String, bool) {
    let (mut text, mut is_complete) = (String::new(), true);
    for (variable, topic) in &kafka.service_topics {
        let existing = cluster.topics.get(topic);
        let line = if let Some(existing) = existing {
            let partitions = existing.partitions;
            format!("service topic: {topic} ({variable}, {partitions} partitions)")
        } else if kafka.create_topics {
            format!("service topic: {topic} ({variable}) does not exist: the start makes it")
        } else {
            let missing = format!("no topic is called {topic} ({variable})");
            if let Some(lack) = without(variable) {
                format!(
                    "warning: {missing}: {lack} until there is one; `fleetcast topics apply` makes it"
                )
            } else {
                is_complete = false;
                format!(
                    "missing: {missing}: the server admits no client until there is one; `fleetcast topics apply` or KAFKA_CREATE_TOPICS=true makes it"
                )
            }
        };
        writeln!(text, "{line}").expect("writing to a string cannot fail");
    }
    (text, is_complete)
}

/// `None`: the start waits for it.
fn without(variable: &str) -> Option<&'static str> {
    match variable {
        "PUBLISH_TOPIC" => Some("nothing can be published"),
        "GRANTS_TOPIC" | "REVOCATIONS_TOPIC" => None,
        _ => Some("its records are lost"),
    }
}
