//! Log lines that an outsider can cause are bounded: one a second for each reason, and the next one says how many were left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Milliseconds between two lines of one key.
const PERIOD_MS: u64 = 1_000;

/// What the line is about and its reason. Both are words of ours, never input, so the map stays small.
pub type Key = (&'static str, &'static str);

#[derive(Debug, Default)]
pub struct Throttle {
    keys: Mutex<BTreeMap<Key, State>>,
}

#[derive(Debug)]
struct State {
    last_ms: u64,
    left_out: u64,
}

impl Throttle {
    /// May a line of this key be written at `now_ms` (monotonic)? If so, how many were left out since the one before.
    pub fn allow(&self, key: Key, now_ms: u64) -> Option<u64> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = keys.get_mut(&key) else {
            let last_ms = now_ms;
            keys.insert(
                key,
                State {
                    last_ms,
                    left_out: 0,
                },
            );
            return Some(0);
        };
        if now_ms.saturating_sub(state.last_ms) < PERIOD_MS {
            state.left_out += 1;
            return None;
        }
        state.last_ms = now_ms;
        Some(std::mem::take(&mut state.left_out))
    }

    /// Keys whose storm has passed without a line that says how many were left out, with that number.
    pub fn settle(&self, now_ms: u64) -> Vec<(Key, u64)> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter_mut()
            .filter(|(_, state)| {
                state.left_out > 0 && now_ms.saturating_sub(state.last_ms) >= PERIOD_MS
            })
            .map(|(key, state)| {
                state.last_ms = now_ms;
                (*key, std::mem::take(&mut state.left_out))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Key = ("refused", "token_invalid");
    const OTHER: Key = ("refused", "origin");

    #[test]
    fn one_line_a_second_for_each_reason_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        assert_eq!(throttle.allow(BAD, 0), Some(0));
        for now in 1..=999 {
            assert_eq!(throttle.allow(BAD, now), None);
        }
        assert_eq!(throttle.allow(OTHER, 500), Some(0));
        assert_eq!(throttle.allow(BAD, 1_000), Some(999));
        assert_eq!(throttle.allow(BAD, 2_000), Some(0));
    }

    #[test]
    fn the_end_of_a_storm_is_told_once() {
        let throttle = Throttle::default();
        throttle.allow(BAD, 0);
        throttle.allow(BAD, 1);
        assert_eq!(throttle.settle(999), []);
        assert_eq!(throttle.settle(1_000), [(BAD, 1)]);
        assert_eq!(throttle.settle(9_000), []);
    }
}
