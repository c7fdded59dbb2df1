//! What the reader does about a report of the scout.

use std::sync::Arc;

use fleetcast_core::hub::feed::Feed;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use tracing::debug;

use super::super::lanes::{Lane, Verdict};
use super::super::offsets::{Bounds, Place};
use super::super::scout::{Found, Report};
use super::{Reader, add, end_of};
use crate::clock;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

impl Reader {
    pub(super) fn act_on(&mut self, report: Report) {
        let now_ms = clock::monotonic_ms();
        if let Some(problem) = &report.error {
            self.status.last_error = Some(problem.clone());
        }
        self.contact
            .look(report.answered, report.asked_ms, now_ms, self.pace.silence);
        for place in &report.gone {
            if self.close(place) {
                self.restart("a topic is gone");
            }
        }
        self.open(&report.found, report.asked_ms);
        for (place, bounds) in &report.bounds {
            self.judge(place, *bounds, report.asked_ms, now_ms);
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

    fn open(&mut self, found: &[Found], asked_ms: u64) {
        if found.is_empty() {
            return;
        }
        let mut positions = TopicPartitionList::new();
        for found in found {
            let lane = self.lanes.open(found, asked_ms, clock::monotonic_ms());
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
                // For DescribeTopics, which tells a topic from one of the same name that was made anew.
                topic_id: None,
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
        let Some(lane) = self.lanes.close(place) else {
            return false;
        };
        events::partition_gone(&lane.topic, lane.number);
        self.batch.push(Feed::Gone {
            partition: lane.index,
        });
        true
    }

    fn judge(&mut self, place: &Place, bounds: Bounds, asked_ms: u64, now_ms: u64) {
        let Some(lane) = self.lanes.get(&place.0, place.1) else {
            return;
        };
        let verdict = lane.judge(bounds, asked_ms, now_ms, self.pace.stall);
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
                let (topic, number, position) = (&lane.topic, lane.number, lane.next);
                events::log_cut(&self.metrics, topic, number, position, bounds.high);
                self.close(place);
                // First without the client: the new lane must not be added beside the old one.
                self.restart("a log was made anew or cut");
                self.open(
                    &[Found {
                        place: place.clone(),
                        start,
                        bounds,
                        early: false,
                    }],
                    asked_ms,
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
