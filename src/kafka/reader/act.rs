//! What the reader does about a report of the scout.

use std::sync::Arc;

use fleetcast_core::hub::feed::Feed;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use tracing::debug;

use super::super::lanes::{Identified, Lane, TopicId, Verdict};
use super::super::offsets::{Bounds, Place};
use super::super::scout::{Found, Report};
use super::{Reader, add, end_of};
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

impl Reader {
    pub(super) fn act_on(&mut self, mut report: Report) {
        let now_ms = clock::monotonic_ms();
        report
            .ids
            .retain(|topic, id| !self.lanes.was_replaced(topic, id));
        if let Some(problem) = &report.error {
            self.status.last_error = Some(problem.clone());
        }
        if let Some(trouble) = &report.trouble
            && self.status.trouble.as_ref() != Some(trouble)
        {
            events::kafka_refused(&self.metrics, trouble);
        }
        self.status.trouble.clone_from(&report.trouble);
        self.contact
            .look(report.answered, report.asked_ms, now_ms, self.pace.silence);
        for place in &report.gone {
            if self.close(place) {
                self.restart("a topic is gone");
            }
        }
        for place in &report.unwanted {
            self.leave(place);
        }
        for (topic, id) in &report.ids {
            self.identify(topic, *id, &report);
        }
        self.open(&report.found, &report);
        for (place, bounds) in &report.bounds {
            self.judge(place, *bounds, &report, now_ms);
        }
        if report.answered {
            self.contact.aim(report.asked_ms, || {
                let goal = |lane: &Lane| {
                    let place = (Arc::clone(&lane.topic), lane.number);
                    Some((lane.index, report.bounds.get(&place)?.high))
                };
                self.lanes.iter().filter_map(goal).collect()
            });
            self.status.missing = report.missing;
            self.status.leaderless = report.leaderless;
            self.answered = report.number;
        }
        self.found_all |= report.answered && report.complete;
    }

    /// Takes in which topic stands behind a name. Another one than before: its log begins anew, and so does its reading.
    fn identify(&mut self, topic: &Arc<str>, topic_id: TopicId, report: &Report) {
        let Identified { learned, others } = self.lanes.identify(topic, topic_id);
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
        self.restart("a topic was made anew");
        // The bounds of this report may still be those of the old log; a new one begins at 0.
        let anew = |place| Found {
            place,
            start: 0,
            bounds: Bounds { low: 0, high: 0 },
            early: false,
        };
        let found: Vec<_> = others.into_iter().map(anew).collect();
        self.open(&found, report);
    }

    fn open(&mut self, found: &[Found], report: &Report) {
        if found.is_empty() {
            return;
        }
        let mut positions = TopicPartitionList::new();
        for found in found {
            let topic_id = report.ids.get(&found.place.0).copied();
            let now_ms = clock::monotonic_ms();
            let lane = self.lanes.open(found, topic_id, report.asked_ms, now_ms);
            debug!(
                topic = &*lane.topic,
                partition = lane.number,
                start = lane.start,
                "reading"
            );
            self.batch.push(Feed::Partition {
                index: lane.index,
                topic: Arc::clone(&lane.topic),
                number: lane.number,
                topic_id: lane.topic_id,
                start: lane.start,
            });
            add(&mut positions, &lane.topic, lane.number, lane.start);
        }
        if let Some(source) = &self.source
            && let Err(problem) = source.consumer().incremental_assign(&positions)
        {
            let context = "cannot add partitions";
            events::fault(&self.metrics, Component::Kafka, context, &problem);
            self.restart("adding partitions failed");
        }
    }

    fn close(&mut self, place: &Place) -> bool {
        self.end(place, |partition| Feed::Gone { partition })
    }

    fn end(&mut self, place: &Place, told: impl FnOnce(u32) -> Feed) -> bool {
        let Some(lane) = self.lanes.close(place) else {
            return false;
        };
        events::partition_gone(&lane.topic, lane.number);
        self.batch.push(told(lane.index));
        true
    }

    /// Ends a partition on purpose: of its topic nothing is wanted any more.
    fn leave(&mut self, place: &Place) {
        if let Some(partition) = self.lanes.leave(place) {
            events::partition_unwanted(&place.0, place.1);
            self.batch.push(Feed::Unwanted { partition });
            self.restart("a topic is not wanted any more");
        }
    }

    fn judge(&mut self, place: &Place, bounds: Bounds, report: &Report, now_ms: u64) {
        let Some(lane) = self.lanes.get(&place.0, place.1) else {
            return;
        };
        let verdict = lane.judge(bounds, report.asked_ms, now_ms, self.pace.stall);
        if lane.stuck_for(now_ms) >= self.pace.stall / 3 {
            // The scout gets through, the reader does not: "now" is not read up to.
            self.contact.lose(now_ms);
        }
        match verdict {
            Verdict::Fine => {}
            Verdict::Suspicious => {
                self.shared.ask();
            }
            Verdict::AtEnd => {
                lane.end(lane.next, now_ms);
                self.batch.push(end_of(lane));
            }
            Verdict::Gap(next) => {
                let (topic, lost) = (&lane.topic, next - lane.next);
                events::gap(&self.metrics, topic, lane.number, next, lost);
                lane.skip_to(next, now_ms);
                self.batch.push(Feed::Gap {
                    partition: lane.index,
                    next,
                });
                self.restart("records were deleted before they were read");
            }
            Verdict::Anew(start) => {
                // The same topic: its end was cut off, and what is left was read.
                let cut = lane.is_still(report.ids.get(&place.0));
                let start = if cut { bounds.high } else { start };
                let (topic, number, position) = (&lane.topic, lane.number, lane.next);
                events::log_cut(&self.metrics, topic, number, position, bounds.high);
                if start > 0 {
                    self.end(place, |partition| Feed::Cut { partition });
                } else {
                    self.close(place);
                }
                // First without the client: the new lane must not be added beside the old one.
                self.restart("a log was made anew or cut");
                self.open(
                    &[Found {
                        place: place.clone(),
                        start,
                        bounds,
                        early: false,
                    }],
                    report,
                );
            }
            Verdict::Restart => {
                let context = "a partition does not move on";
                events::fault(&self.metrics, Component::Kafka, context, &lane.topic);
                self.restart(context);
            }
        }
    }
}
