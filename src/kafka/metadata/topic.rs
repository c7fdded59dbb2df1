//! What the brokers say of one topic: which partitions it has, and which were deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleetcast_core::domain::record::TopicPartition;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use super::{MetadataPoller, Report};

/// A broker that has just started may not know all topics yet. What looks deleted is believed after so many answers.
const MISSES: u32 = 3;

impl MetadataPoller {
    pub(super) fn look_at_topic(
        &mut self,
        topic: &Arc<str>,
        report: &mut Report,
        new: &mut Vec<(TopicPartition, bool)>,
        led: &mut Vec<TopicPartition>,
    ) -> Result<(), KafkaError> {
        let metadata = self
            .client
            .consumer()
            .fetch_metadata(Some(topic), self.timeout)?;
        let Some(answer) = metadata
            .topics()
            .iter()
            .find(|answer| answer.name() == &**topic)
        else {
            report.complete = false;
            return Ok(());
        };
        match answer.error() {
            None => {}
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
            ) => {
                self.first_counts.entry(Arc::clone(topic)).or_insert(0);
                self.missed(topic, &BTreeSet::new(), report);
                if self.wanted.is_named(topic) {
                    report.missing.push(Arc::clone(topic));
                } else if !self.known.keys().any(|(known, _)| known == topic) {
                    // A pattern found it, and it was deleted: no route names it.
                    self.wanted.forget(topic);
                    self.first_counts.remove(topic);
                }
                return Ok(());
            }
            Some(error @ RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                // Not "appeared later" once it is allowed: no definite answer yet.
                report.missing.push(Arc::clone(topic));
                report.error = Some(format!(
                    "topic {topic}: {}",
                    KafkaError::MetadataFetch(error.into())
                ));
                return Ok(());
            }
            Some(error) => {
                // Usually "leader not available", for a moment after a topic was made.
                report.complete = false;
                report.error = Some(format!(
                    "topic {topic}: {}",
                    KafkaError::MetadataFetch(error.into())
                ));
                return Ok(());
            }
        }
        // Only after the error check: of a topic with an error rust-rdkafka would make a slice from a null pointer.
        let partitions = answer.partitions();
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let first_count = *self.first_counts.entry(Arc::clone(topic)).or_insert(count);
        let mut seen = BTreeSet::new();
        for partition in partitions {
            let place = (Arc::clone(topic), partition.id());
            seen.insert(partition.id());
            if partition.leader() < 0 {
                report.leaderless.push(place);
                continue;
            }
            if !self.known.contains_key(&place) {
                new.push((place.clone(), partition.id() < first_count));
            }
            led.push(place);
        }
        self.missed(topic, &seen, report);
        Ok(())
    }

    /// Counts the partitions that the answer about a topic does not name, and reports those as deleted that were missed too often.
    fn missed(&mut self, topic: &Arc<str>, seen: &BTreeSet<i32>, report: &mut Report) {
        let mut deleted = Vec::new();
        for (place, misses) in &mut self.known {
            if place.0 != *topic {
                continue;
            }
            *misses = if seen.contains(&place.1) {
                0
            } else {
                *misses + 1
            };
            if *misses >= MISSES {
                deleted.push(place.clone());
            }
        }
        for place in deleted {
            self.known.remove(&place);
            // Should it come back, it is another log.
            self.first_counts.insert(Arc::clone(topic), 0);
            report.deleted.push(place);
        }
    }

    /// Reports the partitions of topics that are not wanted any more, and removes them: if wanted again, they are treated as at the start.
    pub(super) fn drop_unwanted(&mut self, report: &mut Report) {
        let wanted: BTreeSet<_> = self.wanted.topics().into_iter().collect();
        self.known.retain(|place, _| {
            let keep = wanted.contains(&place.0);
            if !keep {
                report.unwanted.push(place.clone());
            }
            keep
        });
        self.first_counts.retain(|topic, _| wanted.contains(topic));
    }
}
