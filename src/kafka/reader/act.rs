//! What the reader does about a report of the metadata poller.

use std::sync::Arc;

use fleetcast_core::domain::record::TopicPartition;
use fleetcast_core::hub::feed::Feed;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use tracing::debug;

use super::super::ConsumerRole;
use super::super::metadata::{FoundPartition, Report};
use super::super::offsets::Bounds;
use super::super::partitions::{Identified, PartitionVerdict, ReadPartition, TopicId};
use super::{Reader, add, end_of, opened};
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

impl Reader {
    pub(super) fn act_on(&mut self, mut report: Report) {
        let now_ms = clock::monotonic_ms();
        report
            .ids
            .retain(|topic, id| !self.partitions.was_replaced(topic, id));
        if let Some(problem) = &report.error {
            self.status.last_error = Some(problem.clone());
        }
        if let Some(diagnosis) = &report.diagnosis
            && self.status.diagnosis.as_ref() != Some(diagnosis)
        {
            events::kafka_refused(&self.metrics, diagnosis);
        }
        self.status.diagnosis.clone_from(&report.diagnosis);
        self.contact.look(
            report.answered,
            report.asked_ms,
            now_ms,
            self.intervals.silence,
        );
        for place in &report.deleted {
            if self.close(place) || self.partitions.forget_refused(place) {
                self.restart("a topic was deleted");
            }
        }
        for place in &report.unwanted {
            self.leave(place);
            if self.partitions.forget_refused(place) {
                self.restart("a topic that may not be read is not wanted any more");
            }
        }
        for (topic, id) in &report.ids {
            self.identify(topic, *id, &report);
        }
        for (topic, _) in &report.shallow {
            let context = "not read as far back as repeated messages are known";
            events::fault(&self.metrics, Component::Kafka, context, topic);
        }
        self.open(&report.found, &report);
        for (place, bounds) in &report.bounds {
            self.judge(place, *bounds, &report, now_ms);
        }
        if report.answered {
            self.contact.aim(report.asked_ms, || {
                let goal = |partition: &ReadPartition| {
                    let place = (Arc::clone(&partition.topic), partition.number);
                    Some((partition.index, report.bounds.get(&place)?.high))
                };
                self.partitions.iter().filter_map(goal).collect()
            });
            self.status.missing = report.missing;
            self.list_refused();
            self.status.leaderless = report.leaderless;
            self.answered = report.number;
        }
        self.status.complete = report.answered && report.complete;
        self.found_all |= self.status.complete;
    }

    /// Learns which topic stands behind a name. If the topic was recreated, its log starts over, and so does its reading.
    fn identify(&mut self, topic: &Arc<str>, topic_id: TopicId, report: &Report) {
        let Identified { learned, others } = self.partitions.identify(topic, topic_id);
        for partition in learned {
            self.batch.push(Feed::TopicId {
                partition,
                topic_id,
            });
        }
        if others.is_empty() {
            return;
        }
        events::topic_recreated(&self.metrics, topic, others.len());
        for place in &others {
            self.close(place);
        }
        self.restart("a topic was recreated");
        // The bounds of this report may still be those of the old log; a new one begins at 0.
        let recreated = |place| FoundPartition {
            place,
            start: 0,
            read_from: 0,
            bounds: Bounds { low: 0, high: 0 },
            early: false,
        };
        let found: Vec<_> = others.into_iter().map(recreated).collect();
        self.open(&found, report);
    }

    fn open(&mut self, found: &[FoundPartition], report: &Report) {
        if found.is_empty() {
            return;
        }
        let mut positions = TopicPartitionList::new();
        for found in found {
            let topic_id = report.ids.get(&found.place.0).copied();
            let now_ms = clock::monotonic_ms();
            let partition = self
                .partitions
                .open(found, topic_id, report.asked_ms, now_ms);
            debug!(
                topic = &*partition.topic,
                partition = partition.number,
                start = partition.start,
                "reading"
            );
            self.batch.push(opened(partition));
            add(
                &mut positions,
                &partition.topic,
                partition.number,
                partition.next,
            );
        }
        if let Some(source) = &self.source
            && let Err(problem) = source.consumer().incremental_assign(&positions)
        {
            let context = "cannot add partitions";
            events::fault(&self.metrics, Component::Kafka, context, &problem);
            self.restart("adding partitions failed");
        }
    }

    fn close(&mut self, place: &TopicPartition) -> bool {
        self.end(place, |partition| Feed::TopicDeleted { partition })
    }

    fn end(&mut self, place: &TopicPartition, feed: impl FnOnce(u32) -> Feed) -> bool {
        let Some(partition) = self.partitions.close(place) else {
            return false;
        };
        events::partition_ended(&partition.topic, partition.number);
        self.batch.push(feed(partition.index));
        true
    }

    /// Ends a partition on purpose: of its topic nothing is wanted any more.
    fn leave(&mut self, place: &TopicPartition) {
        if let Some(partition) = self.partitions.leave(place) {
            events::partition_unwanted(&place.0, place.1);
            self.batch.push(Feed::Unwanted { partition });
            self.restart("no route wants a topic any more");
        }
    }

    /// The brokers do not let us read this topic, which the server can do without. A new client asks for it from where its reading
    /// ended, and shows by the first event when it may be read.
    pub(super) fn refuse(&mut self, topic: &str) {
        let refused = self.partitions.refuse(topic);
        if refused.is_empty() {
            return;
        }
        events::topic_refused(&self.metrics, topic);
        let unwanted = |partition| Feed::Unwanted { partition };
        self.batch.extend(refused.into_iter().map(unwanted));
        self.list_refused();
        self.restart("a topic may not be read");
    }

    /// Something has come of this partition: it may be read, if it was refused before.
    pub(super) fn permit(&mut self, topic: &str, number: i32) {
        let now_ms = clock::monotonic_ms();
        if let Some(partition) = self.partitions.permit(topic, number, now_ms) {
            events::partition_permitted(topic, number);
            self.batch.push(opened(partition));
        }
    }

    fn list_refused(&mut self) {
        for refused in self.partitions.refused() {
            if !self.status.missing.contains(&refused.topic) {
                self.status.missing.push(Arc::clone(&refused.topic));
            }
        }
    }

    fn judge(&mut self, place: &TopicPartition, bounds: Bounds, report: &Report, now_ms: u64) {
        let Some(partition) = self.partitions.get(&place.0, place.1) else {
            return;
        };
        let verdict = partition.judge(bounds, report.asked_ms, now_ms, self.intervals.stall);
        if partition.stuck_for(now_ms) >= self.intervals.stall / 3 {
            // The metadata poller gets through, the reader does not: "now" is not read up to.
            self.contact.lose(now_ms);
        }
        match verdict {
            PartitionVerdict::Fine => {}
            PartitionVerdict::Suspicious => {
                self.shared.ask();
            }
            PartitionVerdict::AtEnd => {
                partition.end(partition.next, now_ms);
                self.batch.push(end_of(partition));
            }
            PartitionVerdict::Gap(next) => {
                let (topic, lost) = (&partition.topic, next - partition.next);
                events::gap(&self.metrics, topic, partition.number, next, lost);
                partition.skip_to(next, now_ms);
                self.batch.push(Feed::Gap {
                    partition: partition.index,
                    next,
                });
                self.restart("records were deleted before they were read");
            }
            PartitionVerdict::Replaced(start) => {
                let truncated = partition.is_still(report.ids.get(&place.0));
                let (is_cut, start) = match self.role {
                    // The same topic: it was truncated, and what is left was read.
                    ConsumerRole::Log if truncated => (bounds.high > 0, bounds.high),
                    ConsumerRole::Log => (start > 0, start),
                    // Where it was truncated is not known, and its records may be applied twice, but none may be left out.
                    ConsumerRole::Service => (truncated || start > 0, bounds.low),
                };
                let (topic, number, position) =
                    (&partition.topic, partition.number, partition.next);
                events::log_replaced(&self.metrics, topic, number, position, bounds.high);
                if is_cut {
                    self.end(place, |partition| Feed::Truncated { partition });
                } else {
                    self.close(place);
                }
                // First without the client: the new log must not be added beside the old one.
                self.restart("a log was recreated or truncated");
                self.open(
                    &[FoundPartition {
                        place: place.clone(),
                        start,
                        read_from: start,
                        bounds,
                        early: false,
                    }],
                    report,
                );
            }
            PartitionVerdict::Restart => {
                let context = "a partition is stalled";
                events::fault(&self.metrics, Component::Kafka, context, &partition.topic);
                self.restart(context);
            }
        }
    }
}
