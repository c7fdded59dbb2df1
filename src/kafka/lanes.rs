//! What is known of each partition that is read, and what a report about it means. Values in, verdicts out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::offsets::{Bounds, Place};
use super::scout::Found;
use super::status::PartitionStatus;

/// One partition under one index. A topic that was made anew gets a new lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) index: u32,
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) start: i64,
    /// The next offset to come: everything below was handed over, or is told as a gap.
    pub(super) next: i64,
    pub(super) early: bool,
    /// The end of the log when the lane was made.
    first_high: i64,
    high: i64,
    /// The end of the log as the brokers last told it, and when they were asked (monotonic milliseconds).
    heard: (i64, u64),
    /// When `next` last changed, in monotonic milliseconds.
    moved_ms: u64,
    /// The end was reached once.
    pub(super) reached: bool,
    /// Since when the log has been ahead of a reading that does not move.
    behind_ms: Option<u64>,
    /// Reports in a row that put the end of the log below `next`.
    beyond: u32,
    /// librdkafka has stopped reading: the broker says that `next` is outside the log. Since when.
    lost_ms: Option<u64>,
}

/// What a report means for one lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Everything that the log held when the brokers were asked has been read.
    AtEnd,
    /// The log may be shorter than what was read: ask once more.
    Suspicious,
    /// Everything from the lane's `next` up to this offset is gone.
    Gap(i64),
    /// The log is shorter than what was read: it is another one, or was cut. To be read from here.
    Anew(i64),
    /// Reading had stopped without a reason that still holds, or does not move: make the client anew.
    Restart,
}

impl Lane {
    /// Takes note of a record. False: it is below what was read already, and must not be handed over again.
    pub(super) fn record(&mut self, offset: i64, now_ms: u64) -> bool {
        if offset < self.next {
            return false;
        }
        self.next = offset + 1;
        self.moved(now_ms);
        true
    }

    /// Takes note of the end, which may lie behind control records that were never shown.
    pub(super) fn end(&mut self, next: i64, now_ms: u64) {
        if next > self.next {
            self.next = next;
            self.moved(now_ms);
        }
        self.reached = true;
    }

    /// The latest moment (monotonic milliseconds) at which the log is known to have held no more than what was read. An
    /// event of the end alone proves nothing about time: it may have waited in the queue while the process was stopped.
    pub(super) fn confirmed(&self) -> Option<u64> {
        let (end, asked_ms) = self.heard;
        (self.next >= end && self.lost_ms.is_none()).then_some(asked_ms)
    }

    /// Takes note that librdkafka has given the partition up because `next` is outside the log.
    pub(super) fn lost(&mut self, now_ms: u64) {
        self.lost_ms.get_or_insert(now_ms);
    }

    /// Goes on behind a hole.
    pub(super) fn skip_to(&mut self, next: i64, now_ms: u64) {
        self.next = next;
        self.moved(now_ms);
    }

    /// Reading starts over at `next` in a new client.
    pub(super) fn restarted(&mut self) {
        self.lost_ms = None;
        self.behind_ms = None;
    }

    /// The reader itself stood still, waiting for the hub: that is no stall of the client.
    pub(super) fn excuse(&mut self) {
        self.behind_ms = None;
    }

    fn moved(&mut self, now_ms: u64) {
        self.moved_ms = now_ms;
        self.behind_ms = None;
        self.beyond = 0;
        self.high = self.high.max(self.next);
    }

    /// Has not moved although the log has, for so long.
    pub(super) fn stuck_for(&self, now_ms: u64) -> Duration {
        self.behind_ms.map_or(Duration::ZERO, |since| {
            Duration::from_millis(now_ms.saturating_sub(since))
        })
    }

    /// Whether the brokers' answer to a question asked at `asked_ms` fits what was read.
    pub(super) fn judge(
        &mut self,
        bounds: Bounds,
        asked_ms: u64,
        now_ms: u64,
        stall: Duration,
    ) -> Verdict {
        self.high = bounds.high.max(self.next);
        self.heard = (bounds.high, asked_ms);
        if asked_ms <= self.moved_ms || self.lost_ms.is_some_and(|since| asked_ms <= since) {
            // The answer may be older than what has been read since.
            let read_it_all = self.next >= bounds.high && self.lost_ms.is_none();
            return if read_it_all {
                Verdict::AtEnd
            } else {
                Verdict::Fine
            };
        }
        if bounds.high < self.next {
            self.beyond += 1;
            if self.beyond < 2 && self.lost_ms.is_none() {
                return Verdict::Suspicious;
            }
            // A log that was made anew begins at 0 and is wholly new. One that has lost its first records to retention was
            // cut short by an election instead: what is left of it was read, and must not be delivered a second time. Only
            // the topic's id could tell a young log that was cut; it will, once it is asked for.
            return Verdict::Anew(if bounds.low == 0 { 0 } else { bounds.high });
        }
        self.beyond = 0;
        if self.lost_ms.is_some() {
            return if self.next < bounds.low {
                Verdict::Gap(bounds.low)
            } else {
                Verdict::Restart
            };
        }
        if self.next == bounds.high {
            self.behind_ms = None;
            return Verdict::AtEnd;
        }
        self.behind_ms.get_or_insert(now_ms);
        if self.stuck_for(now_ms) >= stall {
            Verdict::Restart
        } else {
            Verdict::Fine
        }
    }

    /// How much of what was there at first has been read, and how much that was.
    pub(super) fn loading(&self) -> (u64, u64) {
        let all = self.first_high.saturating_sub(self.start);
        let read = self.next.saturating_sub(self.start).min(all);
        (read.max(0).unsigned_abs(), all.max(0).unsigned_abs())
    }

    pub(super) fn status(&self) -> PartitionStatus {
        PartitionStatus {
            index: self.index,
            topic: Arc::clone(&self.topic),
            number: self.number,
            position: self.next,
            high: self.high,
            lag: self.high.saturating_sub(self.next).max(0).unsigned_abs(),
        }
    }
}

/// The lanes that are read now.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_topic: HashMap<Arc<str>, Vec<Lane>>,
    next_index: u32,
}

impl Lanes {
    /// A new lane, under an index that none had before.
    pub(super) fn open(&mut self, found: &Found, asked_ms: u64, now_ms: u64) -> &mut Lane {
        let (topic, number) = &found.place;
        let index = self.next_index;
        self.next_index += 1;
        let lanes = self.by_topic.entry(Arc::clone(topic)).or_default();
        lanes.push(Lane {
            index,
            topic: Arc::clone(topic),
            number: *number,
            start: found.start,
            next: found.start,
            early: found.early,
            first_high: found.bounds.high,
            high: found.bounds.high.max(found.start),
            heard: (found.bounds.high, asked_ms),
            moved_ms: now_ms,
            reached: false,
            behind_ms: None,
            beyond: 0,
            lost_ms: None,
        });
        let last = lanes.len() - 1;
        &mut lanes[last]
    }

    pub(super) fn close(&mut self, (topic, number): &Place) -> Option<Lane> {
        let lanes = self.by_topic.get_mut(topic)?;
        let at = lanes.iter().position(|lane| lane.number == *number)?;
        Some(lanes.swap_remove(at))
    }

    pub(super) fn get(&mut self, topic: &str, number: i32) -> Option<&mut Lane> {
        self.by_topic
            .get_mut(topic)?
            .iter_mut()
            .find(|lane| lane.number == number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.by_topic.values().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.by_topic.values_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(15);

    fn lane(lanes: &mut Lanes, next: i64) -> &mut Lane {
        let bounds = Bounds { low: 0, high: next };
        let found = Found {
            place: (Arc::from("incident"), 0),
            start: next,
            bounds,
            early: true,
        };
        lanes.open(&found, 0, 0)
    }

    #[test]
    fn what_was_read_is_not_handed_over_again() {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 5);
        assert!(!lane.record(4, 1));
        assert!(lane.record(5, 1));
        assert!(!lane.record(5, 2));
        assert!(lane.record(9, 3));
        assert_eq!(lane.next, 10);
    }

    #[test]
    fn the_end_lies_behind_control_records() {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 5);
        assert!(lane.record(5, 1));
        lane.end(8, 2);
        assert_eq!((lane.next, lane.reached), (8, true));
    }

    #[test]
    fn an_answer_older_than_the_last_record_proves_only_that_all_of_it_was_read() {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 5);
        assert!(lane.record(99, 50));
        let old = Bounds { low: 0, high: 10 };
        for _ in 0..3 {
            assert_eq!(lane.judge(old, 50, 60, STALL), Verdict::AtEnd);
        }
        let longer = Bounds { low: 0, high: 200 };
        assert_eq!(lane.judge(longer, 50, 60, STALL), Verdict::Fine);
    }

    #[test]
    fn a_shorter_log_is_believed_the_second_time() {
        for (low, start) in [(0, 0), (7, 10)] {
            let mut lanes = Lanes::default();
            let lane = lane(&mut lanes, 50);
            let cut = Bounds { low, high: 10 };
            assert_eq!(lane.judge(cut, 1, 2, STALL), Verdict::Suspicious);
            assert_eq!(lane.judge(cut, 3, 4, STALL), Verdict::Anew(start));
        }
    }

    #[test]
    fn a_lost_lane_is_judged_by_the_first_answer_after_the_loss() {
        let cases = [
            (Bounds { low: 80, high: 90 }, Verdict::Gap(80)),
            (Bounds { low: 0, high: 10 }, Verdict::Anew(0)),
            (Bounds { low: 0, high: 90 }, Verdict::Restart),
        ];
        for (bounds, verdict) in cases {
            let mut lanes = Lanes::default();
            let lane = lane(&mut lanes, 50);
            lane.lost(10);
            assert_eq!(lane.judge(bounds, 10, 11, STALL), Verdict::Fine);
            assert_eq!(lane.judge(bounds, 11, 12, STALL), verdict);
        }
    }

    #[test]
    fn a_lane_that_does_not_follow_its_log_is_a_stall_unless_the_reader_itself_waited() {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 5);
        let ahead = Bounds { low: 0, high: 6 };
        assert_eq!(lane.judge(ahead, 1, 1_000, STALL), Verdict::Fine);
        assert_eq!(lane.judge(ahead, 2, 15_999, STALL), Verdict::Fine);
        lane.excuse();
        assert_eq!(lane.judge(ahead, 3, 16_000, STALL), Verdict::Fine);
        assert_eq!(lane.judge(ahead, 4, 31_000, STALL), Verdict::Restart);
    }

    #[test]
    fn the_end_is_confirmed_by_each_of_the_brokers_answers() {
        let mut lanes = Lanes::default();
        let lane = lane(&mut lanes, 5);
        let same = Bounds { low: 0, high: 5 };
        assert_eq!(lane.judge(same, 1, 2, STALL), Verdict::AtEnd);
        lane.end(5, 3);
        assert_eq!(lane.judge(same, 4, 5, STALL), Verdict::AtEnd);
        assert_eq!(lane.confirmed(), Some(4));
    }

    #[test]
    fn an_index_is_never_used_again() {
        let mut lanes = Lanes::default();
        lane(&mut lanes, 0);
        assert_eq!(lanes.close(&(Arc::from("incident"), 0)).unwrap().index, 0);
        assert_eq!(lane(&mut lanes, 0).index, 1);
    }
}
