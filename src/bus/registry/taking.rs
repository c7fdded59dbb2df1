//! Takes slots from Redis, and stops asking where it does not answer: a connect is not to wait a second each time.

use std::time::{Duration, Instant};

use super::{Registry, lock};
use crate::bus::fault::RedisFault;

/// After so many requests in a row without an answer it is not asked for a while.
const TIME_OUTS: u32 = 3;
const REST: Duration = Duration::from_secs(2);

/// What became of the last requests.
#[derive(Default)]
pub(super) struct Taking {
    fault: Option<RedisFault>,
    time_outs: u32,
    /// Not before this.
    rests_until: Option<Instant>,
}

impl Taking {
    /// Of the last request, unless the connection was lost.
    pub(super) fn fault(&self) -> Option<RedisFault> {
        self.fault.clone().filter(|fault| !fault.is_of_link())
    }

    /// After a rest one asks, and others with it only if that is answered.
    fn may_ask(&mut self, now: Instant) -> bool {
        if self.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        if self.time_outs >= TIME_OUTS {
            self.rests_until = Some(now + REST);
        }
        true
    }

    fn note(&mut self, fault: Option<&RedisFault>, now: Instant) {
        if matches!(fault, Some(RedisFault::TimedOut(_))) {
            self.time_outs = self.time_outs.saturating_add(1);
            if self.time_outs >= TIME_OUTS {
                self.rests_until = Some(now + REST);
            }
        } else {
            (self.time_outs, self.rests_until) = (0, None);
        }
        self.fault = fault.cloned();
    }
}

/// A slot that is asked for: its member, the ranges of its user and its organisation, and how many each may have.
pub(super) struct AskedSlot {
    pub(super) slot: String,
    pub(super) ranges: [(String, String); 2],
    pub(super) limits: [i64; 2],
}

impl Registry {
    /// What the script gives. `None`: it was not asked, or has not answered.
    pub(super) async fn ask_for(&self, asked: AskedSlot) -> Option<i64> {
        if !lock(&self.taking).may_ask(Instant::now()) {
            return None;
        }
        let mut taking = self.scripts.take.prepare_invoke();
        taking
            .arg(&*self.prefix)
            .arg(&*self.instance)
            .arg(asked.slot);
        for (from, to) in asked.ranges {
            taking.arg(from).arg(to);
        }
        taking.arg(&asked.limits[..]);
        let answer = self.link.run::<i64>(&taking).await;
        lock(&self.taking).note(answer.as_ref().err(), Instant::now());
        answer.ok()
    }

    /// If the last request has failed: whether one would succeed now. Nothing is taken: none may be had.
    pub(super) async fn ask_again(&self) {
        if lock(&self.taking).fault.is_some() {
            let empty = || ("[\x01".to_owned(), "(\x01".to_owned());
            let asked = AskedSlot {
                slot: String::new(),
                ranges: [empty(), empty()],
                limits: [0, 0],
            };
            self.ask_for(asked).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_requests_without_an_answer_one_asks_every_two_seconds() {
        let (mut taking, begin) = (Taking::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        let silent = RedisFault::TimedOut(Duration::from_secs(1));
        for second in 0..3 {
            assert!(taking.may_ask(at(second * 1_000)));
            taking.note(Some(&silent), at(second * 1_000 + 1_000));
        }
        assert_eq!(taking.fault(), Some(silent.clone()));
        assert!(!taking.may_ask(at(3_000)) && !taking.may_ask(at(4_999)));
        assert!(taking.may_ask(at(5_000)));
        assert!(!taking.may_ask(at(5_001)), "one asks");
        taking.note(Some(&silent), at(6_000));
        assert!(!taking.may_ask(at(7_999)));
        assert!(taking.may_ask(at(8_000)));
        taking.note(None, at(8_001));
        assert!(taking.may_ask(at(8_002)) && taking.may_ask(at(8_002)));
        assert_eq!(taking.fault(), None);

        // An answer, though a refusal, is one.
        for _ in 0..9 {
            taking.note(Some(&silent), at(9_000));
            taking.note(Some(&RedisFault::Refused("NOPERM".to_owned())), at(9_000));
            assert!(taking.may_ask(at(9_000)));
        }
    }
}
