//! Which messages have come: what may read them in Redis may send them once more.

use std::collections::HashMap;

use super::instance::InstanceId;
use super::outgoing::WAITING;

/// Senders that are remembered. Only instances that know the secret are.
const MAX_SENDERS: usize = 4_096;

/// So far a message may come behind a later one: more than wait to be sent at a time.
const REACH: u64 = WORDS as u64 * 64;
const _: () = assert!(REACH > WAITING as u64);
/// Of 64 bits, one for each number within reach.
const WORDS: usize = 128;

/// A message that is older, or newer, was not sent now, or one of the clocks is wrong. Senders are remembered for longer than this.
const FRESH_MS: u64 = 300_000;

/// Why a message does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotNew {
    Repeated,
    Stale,
}

#[derive(Default)]
pub(super) struct Senders(HashMap<InstanceId, SeenNumbers>);

struct SeenNumbers {
    highest: u64,
    /// A bit for each of the last numbers, by the number's remainder.
    seen: Box<[u64; WORDS]>,
    last_seen_ms: u64,
}

impl Senders {
    /// Notes a message that was signed, of this number, sent and received at these times.
    pub(super) fn note(
        &mut self,
        sender: InstanceId,
        number: u64,
        sent_ms: u64,
        now_ms: u64,
    ) -> Result<(), NotNew> {
        if sent_ms.abs_diff(now_ms) > FRESH_MS {
            return Err(NotNew::Stale);
        }
        if !self.0.contains_key(&sender) && self.0.len() >= MAX_SENDERS {
            let silent = self.0.iter().min_by_key(|(_, seen)| seen.last_seen_ms);
            let silent = silent.map(|(sender, _)| *sender);
            silent.and_then(|sender| self.0.remove(&sender));
        }
        let seen = self.0.entry(sender).or_insert_with(|| SeenNumbers {
            highest: 0,
            seen: Box::new([0; WORDS]),
            last_seen_ms: now_ms,
        });
        seen.last_seen_ms = now_ms;
        if seen.note(number) {
            Ok(())
        } else {
            Err(NotNew::Repeated)
        }
    }
}

impl SeenNumbers {
    /// Whether it is the first of this number.
    fn note(&mut self, number: u64) -> bool {
        if number > self.highest {
            if number - self.highest >= REACH {
                self.seen.fill(0);
            } else {
                for passed in self.highest + 1..number {
                    let (word, bit) = place(passed);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = number;
        } else {
            let (word, bit) = place(number);
            if self.highest - number >= REACH || self.seen[word] & bit != 0 {
                return false;
            }
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        true
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % REACH;
    let word = usize::try_from(at / 64).unwrap_or_default();
    (word, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn each_number_of_a_sender_counts_once_in_whatever_order() {
        let mut senders = Senders::default();
        let (one, other) = (InstanceId([1; 16]), InstanceId([2; 16]));
        let mut note = |sender, number| senders.note(sender, number, NOW, NOW);
        let again = Err(NotNew::Repeated);
        for (sender, number, expected) in [
            (one, 1, Ok(())),
            (one, 1, again),
            (other, 1, Ok(())),
            (one, 3, Ok(())),
            (one, 2, Ok(())),
            (one, 2, again),
            (one, 3, again),
            (one, 8_194, Ok(())),
            (one, 3, again),
            (one, 2, again),
            (one, 4, Ok(())),
            (one, 4, again),
            (one, 8_193, Ok(())),
            (one, 50_000, Ok(())),
            (one, 8_193, again),
            (one, 49_999, Ok(())),
            (one, u64::MAX, Ok(())),
            (one, u64::MAX, again),
            (one, 0, again),
        ] {
            assert_eq!(note(sender, number), expected, "{sender:?} {number}");
        }
    }

    #[test]
    fn what_was_recorded_long_ago_does_not_count() {
        let mut senders = Senders::default();
        let one = InstanceId([1; 16]);
        for sent in [NOW - FRESH_MS - 1, NOW + FRESH_MS + 1, 0, u64::MAX] {
            assert_eq!(senders.note(one, 7, sent, NOW), Err(NotNew::Stale));
        }
        assert_eq!(senders.note(one, 7, NOW - FRESH_MS, NOW), Ok(()));
    }

    #[test]
    fn the_one_that_was_silent_for_longest_is_forgotten_for_a_new_one() {
        let mut senders = Senders::default();
        let sender = |number: usize| InstanceId((number as u128).to_be_bytes());
        for (number, at) in (0..=MAX_SENDERS).zip(NOW..) {
            assert_eq!(senders.note(sender(number), 1, at, at), Ok(()));
        }
        assert_eq!(senders.0.len(), MAX_SENDERS);
        assert!(!senders.0.contains_key(&sender(0)));
        let (last, now) = (sender(MAX_SENDERS), NOW + 5_000);
        assert_eq!(senders.note(last, 1, now, now), Err(NotNew::Repeated));
    }
}
