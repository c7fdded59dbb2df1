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

/// The keys of the last records. Bounded: when it is full the oldest key goes, so publishers are to be refused before.
#[derive(Debug)]
pub struct RecentKeys {
    span_ms: u64,
    most: usize,
    last: HashMap<u128, LastRecord>,
    /// Every record that was noted, in the order of reading.
    order: VecDeque<(u128, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct LastRecord {
    time: i64,
    partition: i32,
    offset: i64,
    repeated: bool,
}

impl RecentKeys {
    pub fn new(span_ms: u64, most: usize) -> Self {
        Self {
            span_ms,
            most,
            last: HashMap::new(),
            order: VecDeque::new(),
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
        // A record of the future must not make all others old.
        self.expire(time.min(now));
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
        if self.order.len() >= self.most {
            self.drop_oldest();
            if !repeated {
                seen = Occurrence::FirstOfTooMany;
            }
        }
        let record = LastRecord {
            time,
            partition,
            offset,
            repeated,
        };
        self.last.insert(key, record);
        self.order.push_back((key, time));
        seen
    }

    /// Records that are noted.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Drops what is so old that no later record can be a repetition of it.
    pub fn expire(&mut self, newest: i64) {
        let span = i64::try_from(self.span_ms).unwrap_or(i64::MAX);
        // Twice, because the times of different partitions may be apart.
        let oldest = newest.saturating_sub(span.saturating_mul(2));
        while self.order.front().is_some_and(|(_, time)| *time < oldest) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((key, time)) = self.order.pop_front() else {
            return;
        };
        if self.last.get(&key).is_some_and(|last| last.time == time) {
            self.last.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = 300_000;

    fn keys(most: usize) -> RecentKeys {
        RecentKeys::new(SPAN, most)
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
    }
}
