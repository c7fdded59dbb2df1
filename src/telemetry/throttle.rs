//! Log lines that repeat are bounded: one in a period for each key, and the next one says how many were suppressed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two lines of one key, if nothing else is said.
const PERIOD: Duration = Duration::from_secs(1);

/// Distinct keys. Beyond that, lines of further keys are suppressed and not counted.
const MAX_KEYS: usize = 128;

/// What the line is about and its reason. Both are words of ours, never input, so the map stays small.
pub type LogKey = (&'static str, &'static str);

/// Which lines were written when, by key.
#[derive(Debug)]
pub struct Throttle<K> {
    period_ms: u64,
    lines: Mutex<BTreeMap<K, LastLine>>,
}

#[derive(Debug)]
struct LastLine {
    written_ms: u64,
    /// Lines since then.
    suppressed: u64,
}

impl<K: Ord + Clone> Throttle<K> {
    pub fn new(period: Duration) -> Self {
        Self {
            period_ms: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
            lines: Mutex::default(),
        }
    }

    /// May a line of this key be written at `now_ms` (monotonic)? If so, how many were suppressed since the one before.
    pub fn allow<Q>(&self, key: &Q, now_ms: u64) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = lines.get_mut(key) else {
            if lines.len() >= MAX_KEYS {
                return None;
            }
            let first = LastLine {
                written_ms: now_ms,
                suppressed: 0,
            };
            lines.insert(key.to_owned(), first);
            return Some(0);
        };
        if now_ms.saturating_sub(last.written_ms) < self.period_ms {
            last.suppressed += 1;
            return None;
        }
        last.written_ms = now_ms;
        Some(std::mem::take(&mut last.suppressed))
    }

    /// Keys whose storm has passed without a line that says how many were suppressed, with that number.
    pub fn take_suppressed(&self, now_ms: u64) -> Vec<(K, u64)> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter_mut()
            .filter(|(_, last)| {
                last.suppressed > 0 && now_ms.saturating_sub(last.written_ms) >= self.period_ms
            })
            .map(|(key, last)| {
                last.written_ms = now_ms;
                (key.clone(), std::mem::take(&mut last.suppressed))
            })
            .collect()
    }
}

/// One line a second.
impl<K: Ord + Clone> Default for Throttle<K> {
    fn default() -> Self {
        Self::new(PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: LogKey = ("refused", "token_invalid");
    const OTHER: LogKey = ("refused", "origin");

    #[test]
    fn one_line_a_second_for_each_reason_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        assert_eq!(throttle.allow(&BAD, 0), Some(0));
        for now in 1..=999 {
            assert_eq!(throttle.allow(&BAD, now), None);
        }
        assert_eq!(throttle.allow(&OTHER, 500), Some(0));
        assert_eq!(throttle.allow(&BAD, 1_000), Some(999));
        assert_eq!(throttle.allow(&BAD, 2_000), Some(0));
    }

    #[test]
    fn the_end_of_a_storm_is_reported_once() {
        let throttle = Throttle::default();
        throttle.allow(&BAD, 0);
        throttle.allow(&BAD, 1);
        assert_eq!(throttle.take_suppressed(999), []);
        assert_eq!(throttle.take_suppressed(1_000), [(BAD, 1)]);
        assert_eq!(throttle.take_suppressed(9_000), []);
    }

    #[test]
    fn keys_are_bounded_and_known_ones_go_on() {
        let throttle: Throttle<String> = Throttle::new(Duration::from_secs(10));
        for number in 0..MAX_KEYS {
            assert_eq!(throttle.allow(&*number.to_string(), 0), Some(0));
        }
        assert_eq!(throttle.allow("one more", 0), None);
        assert_eq!(throttle.allow("7", 9_999), None);
        assert_eq!(throttle.allow("7", 10_000), Some(1));
    }
}
