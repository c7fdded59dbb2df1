//! Which messages were published lately: a retry is delivered once.
//!
//! Every instance decides alike, by the log alone: a record is a repetition if a record of the same key stands before it in the log and
//! their times lie no further apart than the span. So what is decided of a record needs nothing that is older than the span before
//! it, and an instance that starts reads that much further back.

use std::collections::{HashMap, VecDeque};

/// What is to become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    First,
    /// Its message has been delivered: it is dropped.
    Repeated,
    /// The first one, as far as is known: keys had to be dropped to keep this one.
    FirstOfTooMany,
}

/// The keys of the last records. Bounded: when it is full the oldest keys go, so publishers are to be refused before.
#[derive(Debug)]
pub struct RecentKeys {
    span_ms: u64,
    kept_ms: i64,
    most: usize,
    last: HashMap<Key, LastRecord>,
    /// Of each partition every record that was noted, in the order of reading. Each expires by its own times: while the log is
    /// loaded, one partition may be read hours ahead of another.
    partitions: HashMap<i32, VecDeque<NotedRecord>>,
    noted: usize,
}

/// As bytes: a `u128` is aligned to 16, and there are many.
type Key = [u8; 16];

#[derive(Debug, Clone, Copy)]
struct LastRecord {
    time: i64,
    offset: i64,
    partition: i32,
    repeated: bool,
}

#[derive(Debug, Clone, Copy)]
struct NotedRecord {
    key: Key,
    /// By which it expires: of a record from the future the time at which it was read.
    time: i64,
    offset: i64,
}

impl RecentKeys {
    /// `kept_ms`: how long a key is remembered, the span and how far clocks may be apart. `most`: records.
    pub fn new(span_ms: u64, kept_ms: u64, most: usize) -> Self {
        Self {
            span_ms,
            kept_ms: i64::try_from(kept_ms).unwrap_or(i64::MAX),
            most,
            last: HashMap::new(),
            partitions: HashMap::new(),
            noted: 0,
        }
    }

    /// Notes a record of this key at `(partition, offset)`. `time` is the record's, `now` the wall clock's; milliseconds.
    pub fn note(
        &mut self,
        key: u128,
        (partition, offset): (i32, i64),
        time: i64,
        now: i64,
    ) -> Occurrence {
        let key = key.to_be_bytes();
        // A record of the future must not make all others old.
        self.expire_of(partition, time.min(now));
        let before = self.last.get(&key).copied();
        if let Some(before) = before.filter(|it| (it.partition, it.offset) == (partition, offset)) {
            // The same record, read again.
            return if before.repeated {
                Occurrence::Repeated
            } else {
                Occurrence::First
            };
        }
        let repeated = before.is_some_and(|before| before.time.abs_diff(time) <= self.span_ms);
        let mut seen = if repeated {
            Occurrence::Repeated
        } else {
            Occurrence::First
        };
        if self.noted >= self.most {
            self.expire(now);
        }
        if self.noted >= self.most {
            self.drop_one();
            if !repeated {
                seen = Occurrence::FirstOfTooMany;
            }
        }
        let record = LastRecord {
            time,
            offset,
            partition,
            repeated,
        };
        self.last.insert(key, record);
        let noted = NotedRecord {
            key,
            time: time.min(now),
            offset,
        };
        self.partitions
            .entry(partition)
            .or_default()
            .push_back(noted);
        self.noted = self.noted.saturating_add(1);
        seen
    }

    /// Records that are noted.
    pub fn len(&self) -> usize {
        self.noted
    }

    pub fn is_empty(&self) -> bool {
        self.noted == 0
    }

    /// Drops what is so old that no record of after `newest` can be a repetition of it.
    pub fn expire(&mut self, newest: i64) {
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.expire_of(partition, newest);
        }
    }

    fn expire_of(&mut self, partition: i32, newest: i64) {
        let oldest = newest.saturating_sub(self.kept_ms);
        let is_old = |records: &VecDeque<NotedRecord>| {
            records.front().is_some_and(|record| record.time < oldest)
        };
        while self.partitions.get(&partition).is_some_and(is_old) {
            self.drop_oldest(partition);
        }
    }

    /// The oldest of the partition with most.
    fn drop_one(&mut self) {
        let fullest = self
            .partitions
            .iter()
            .max_by_key(|(_, records)| records.len());
        if let Some(partition) = fullest.map(|(partition, _)| *partition) {
            self.drop_oldest(partition);
        }
    }

    fn drop_oldest(&mut self, partition: i32) {
        let Some(records) = self.partitions.get_mut(&partition) else {
            return;
        };
        let Some(NotedRecord { key, offset, .. }) = records.pop_front() else {
            return;
        };
        if records.is_empty() {
            // With the memory that it had at its fullest.
            self.partitions.remove(&partition);
        }
        self.noted = self.noted.saturating_sub(1);
        let is_last = |last: &LastRecord| (last.partition, last.offset) == (partition, offset);
        if self.last.get(&key).is_some_and(is_last) {
            self.last.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = 300_000;
    const KEPT: u64 = 330_000;

    fn keys(most: usize) -> RecentKeys {
        RecentKeys::new(SPAN, KEPT, most)
    }

    #[test]
    fn h20_a_record_is_repeated_if_one_of_its_key_stands_within_the_span_before_it() {
        let mut keys = keys(100);
        for (key, offset, time, expected) in [
            (1, 0, 0, Occurrence::First),
            (2, 1, 0, Occurrence::First),
            (1, 2, 300_000, Occurrence::Repeated),
            // Counted from the one before, repeated or not: so all that an instance must know is a span long.
            (1, 3, 600_000, Occurrence::Repeated),
            (1, 4, 900_001, Occurrence::First),
            // The same record again, after the client was recreated.
            (1, 4, 900_001, Occurrence::First),
            (1, 5, 900_000, Occurrence::Repeated),
            (1, 5, 900_000, Occurrence::Repeated),
        ] {
            let seen = keys.note(key, (0, offset), time, time);
            assert_eq!(seen, expected, "{key} at {offset}");
        }
    }

    /// Instances that start at any time decide alike of everything that is a span behind their start.
    #[test]
    fn h20_instances_agree_however_late_they_start() {
        let records: Vec<(u128, i64, i64)> = (0..60_i32)
            .map(|n| {
                let time = i64::from(n) * 90_000 + i64::from(n % 7) * 11_000;
                let key = u128::from((n * n % 5).unsigned_abs());
                (key, i64::from(n), time)
            })
            .collect();
        let decide = |from: usize| {
            let mut keys = keys(1000);
            let read = records.iter().skip(from);
            read.map(|(key, offset, time)| keys.note(*key, (0, *offset), *time, i64::MAX))
                .collect::<Vec<_>>()
        };
        let all = decide(0);
        for (from, (_, _, start)) in records.iter().enumerate() {
            let expected = records.iter().zip(&all).skip(from);
            for (seen, ((_, offset, time), expected)) in decide(from).iter().zip(expected) {
                if time - start > SPAN.cast_signed() {
                    assert_eq!(seen, expected, "{offset} from {from}");
                }
            }
        }
        assert!(all.contains(&Occurrence::Repeated));
    }

    #[test]
    fn old_keys_go_and_a_full_table_says_so() {
        let mut keys = keys(3);
        for offset in 0..3_u32 {
            let seen = keys.note(offset.into(), (0, offset.into()), 0, 0);
            assert_eq!(seen, Occurrence::First);
        }
        assert_eq!(keys.note(7, (0, 7), 0, 0), Occurrence::FirstOfTooMany);
        assert_eq!(keys.len(), 3);
        // A record of the far future makes no key old.
        assert_eq!(
            keys.note(8, (0, 8), i64::MAX, 0),
            Occurrence::FirstOfTooMany
        );
        assert_eq!(keys.note(7, (0, 9), 0, 0), Occurrence::Repeated);
        let later = 3 * SPAN.cast_signed();
        assert_eq!(keys.note(9, (0, 10), later, later), Occurrence::First);
        assert_eq!(keys.len(), 1);
    }

    /// At a steady rate it holds what came within the time that keys are kept, and no more.
    #[test]
    fn h20_a_key_is_kept_no_longer_than_it_is_needed() {
        let mut keys = keys(10_000);
        for n in 0..2_000_u32 {
            let time = i64::from(n) * 1_000;
            let place = ((n % 3).cast_signed(), n.into());
            assert_eq!(keys.note(n.into(), place, time, time), Occurrence::First);
            assert!(keys.len() <= 336, "{} after {n} s", keys.len());
        }
    }

    /// One that is stamped ahead of its time goes with those that were read when it was.
    #[test]
    fn h20_a_record_of_the_future_does_not_keep_those_behind_it() {
        let mut keys = keys(10_000);
        let ahead = 3_600_000;
        assert_eq!(keys.note(0, (0, 0), ahead, 0), Occurrence::First);
        assert_eq!(keys.note(0, (0, 1), ahead, 1), Occurrence::Repeated);
        for n in 2..2_000_u32 {
            let time = i64::from(n) * 1_000;
            assert_eq!(
                keys.note(n.into(), (0, n.into()), time, time),
                Occurrence::First
            );
        }
        assert!(keys.len() <= 332, "{}", keys.len());
        keys.expire(i64::MAX);
        assert!(keys.is_empty() && keys.last.is_empty());
    }

    /// A key goes with the last record that has it, also if an earlier one has the same time.
    #[test]
    fn h20_what_goes_is_told_by_its_place() {
        let mut keys = keys(2);
        assert_eq!(keys.note(1, (0, 0), 0, 0), Occurrence::First);
        assert_eq!(keys.note(1, (0, 1), 0, 0), Occurrence::Repeated);
        assert_eq!(keys.note(2, (0, 2), 0, 0), Occurrence::FirstOfTooMany);
        assert_eq!(keys.note(1, (0, 3), 0, 0), Occurrence::Repeated);
    }

    /// While the log is loaded partitions are read side by side, and one may be far ahead.
    #[test]
    fn h20_a_partition_that_is_read_ahead_makes_no_key_of_another_old() {
        let (now, old) = (10_000_000, 5_000_000);
        let mut keys = keys(100);
        assert_eq!(keys.note(1, (0, 0), old, now), Occurrence::First);
        assert_eq!(keys.note(2, (1, 0), now, now), Occurrence::First);
        assert_eq!(keys.note(1, (0, 1), old + 1_000, now), Occurrence::Repeated);
    }
}
