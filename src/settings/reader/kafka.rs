//! How Kafka is reached, and which topics are ours.

use std::collections::BTreeMap;

use super::super::report::SettingProblem;
use super::super::table::Availability;
use super::super::{KafkaSettings, Masked, Profile, ServiceTopics, addresses, properties, values};
use super::{SERVICE_TOPICS, SettingsReader, declared};
use crate::kafka;

impl SettingsReader {
    pub(in crate::settings) fn kafka(&mut self) -> KafkaSettings {
        let brokers = self.optional("KAFKA_BOOTSTRAP_SERVERS", addresses::brokers);
        let brokers = brokers.unwrap_or_default();
        let properties = self.properties();
        for (name, why) in kafka::properties::conflicts(&brokers, &properties.0) {
            self.input
                .problem(format!("cannot use {}: {why}", properties::name_of(name)));
        }
        let service_topics = self.service_topics();
        KafkaSettings {
            bootstrap_servers: brokers,
            properties,
            topic_prefix: self.value("KAFKA_TOPIC_PREFIX", values::topic_prefix),
            group_id: self.value("KAFKA_GROUP_ID", |text| Ok(text.to_owned())),
            receipts_topic: service_topics.get("RECEIPTS_TOPIC").cloned(),
            connections_topic: service_topics.get("CONNECTIONS_TOPIC").cloned(),
            connections_debounce: self.value("CONNECTIONS_DEBOUNCE", values::duration),
            create_topics: self.value("KAFKA_CREATE_TOPICS", values::boolean),
            publish_topic: service_topics
                .get("PUBLISH_TOPIC")
                .cloned()
                .unwrap_or_default(),
            service_topics,
            mock: false,
        }
    }

    /// Of the parts that this version has. No two may be the same: what one part writes the other would misread.
    fn service_topics(&mut self) -> BTreeMap<&'static str, String> {
        let mut names: BTreeMap<&'static str, String> = BTreeMap::new();
        let available = |name: &&str| declared(name).availability == Availability::Available;
        for name in SERVICE_TOPICS.into_iter().filter(available) {
            let Some(topic) = self.optional(name, values::topic) else {
                continue;
            };
            if let Some((other, _)) = names.iter().find(|(_, named)| **named == topic) {
                let why = format!("{other} names the same topic");
                self.input.wrong(name, &why);
            }
            names.insert(name, topic);
        }
        names
    }

    /// What passes through to librdkafka, unless it would break a promise.
    fn properties(&mut self) -> Masked {
        let properties = std::mem::take(&mut self.input.properties);
        for (property, found) in &properties {
            let (name, text) = (found.source.name(property), found.text.trim());
            let problem = if property.is_empty() {
                Some(format!("{name} names no property of librdkafka"))
            } else {
                let refusal = kafka::properties::refusal(property, text);
                refusal.map(|why| format!("{name} may not set {property}: {why}"))
            };
            if let Some(problem) = problem {
                let problem = SettingProblem(problem, found.source.line());
                self.input.problems.push(problem);
            } else if let Some(warning) = properties::warning(property, text) {
                self.input.warn(&name, warning);
            }
        }
        let texts = properties.into_iter();
        Masked(texts.map(|(name, found)| (name, found.text)).collect())
    }

    /// What decides which topics there should be.
    pub(in crate::settings) fn topics(
        &mut self,
    ) -> Option<(KafkaSettings, Profile, ServiceTopics)> {
        let kafka = self.kafka();
        let mut service = ServiceTopics {
            names: kafka.service_topics.clone(),
            without_effect: Vec::new(),
        };
        for name in SERVICE_TOPICS {
            if declared(name).availability == Availability::Available {
                continue;
            }
            let Some(found) = self.input.get(name) else {
                continue;
            };
            service.without_effect.push(found.source.name(name));
            if let Some(topic) = self.optional(name, values::topic) {
                service.names.insert(name, topic);
            }
        }
        let max_event_bytes = self.value("MAX_EVENT_BYTES", values::buffer);
        let profile = self.profile(&kafka.topic_prefix, max_event_bytes, None)?;
        Some((kafka, profile, service))
    }
}
