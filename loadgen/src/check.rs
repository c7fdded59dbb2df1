//! Exactly once, in order, and only its own: what each client keeps of what it got, and the verdict over all.
//!
//! One bit per client, room and record, so that millions of deliveries cost little memory and a late duplicate is
//! seen as surely as an early one.

use std::ops::AddAssign;

use serde::Serialize;

use crate::bitmap::Bitmap;
use crate::record::{Payload, Stamp};

/// What was produced into one room.
#[derive(Debug, Default, Clone)]
pub(crate) struct RoomLedger {
    /// Handed to the Kafka client, acknowledged or not.
    pub(crate) produced: Bitmap,
    pub(crate) acknowledged: Bitmap,
}

/// What was wrong, summed over clients. All zero is a clean run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Acknowledged by the broker and never received.
    pub(crate) lost: u64,
    /// Received again.
    pub(crate) duplicated: u64,
    /// Received after a later record of the same room. A room is one key, so one partition: order is offset order.
    pub(crate) out_of_order: u64,
    /// Of another organisation or of a room that the client did not subscribe to.
    pub(crate) foreign: u64,
    /// Of our making, but not byte for byte as produced.
    pub(crate) altered: u64,
    /// Events that this run did not cause: other names, other runs' records, sequence numbers never produced.
    pub(crate) unexpected: u64,
}

impl Faults {
    pub(crate) fn is_clean(&self) -> bool {
        let Self {
            lost,
            duplicated,
            out_of_order,
            foreign,
            altered,
            unexpected: _,
        } = self;
        // Unexpected events are shown but do not fail a run: another program may produce to the same topics.
        lost + duplicated + out_of_order + foreign + altered == 0
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
        self.altered += other.altered;
        self.unexpected += other.unexpected;
    }
}

/// What one client is entitled to and what it got.
#[derive(Debug)]
pub(crate) struct ClientCheck {
    organisation: String,
    run: String,
    /// Channel number (from 1) -> place in `rooms`.
    slots: Vec<Option<u16>>,
    rooms: Vec<RoomCheck>,
    faults: Faults,
    /// The first few faults in words.
    samples: Vec<String>,
}

#[derive(Debug)]
struct RoomCheck {
    /// The room's index in the run.
    room: usize,
    seen: Bitmap,
    /// One more than the highest sequence seen.
    next: u32,
}

const SAMPLES: usize = 5;

impl ClientCheck {
    /// `rooms`: (index in the run, channel number); `bound`: more sequence numbers than any room gets.
    pub(crate) fn new(organisation: &str, run: &str, rooms: &[(usize, usize)], bound: u32) -> Self {
        let highest = rooms.iter().map(|(_, channel)| *channel).max().unwrap_or(0);
        let mut slots = vec![None; highest + 1];
        for (slot, (_, channel)) in (0u16..).zip(rooms) {
            slots[*channel] = Some(slot);
        }
        let rooms = rooms
            .iter()
            .map(|(room, _)| RoomCheck {
                room: *room,
                seen: Bitmap::with_bound(bound),
                next: 0,
            })
            .collect();
        Self {
            organisation: organisation.to_owned(),
            run: run.to_owned(),
            slots,
            rooms,
            faults: Faults::default(),
            samples: Vec::new(),
        }
    }

    /// Judges one delivery. Gives room and stamp if it is the first of a record that this client should get.
    pub(crate) fn receive<'a>(&mut self, payload: &Payload<'a>) -> Option<(usize, Stamp<'a>)> {
        let stamp = match *payload {
            Payload::Untouched(stamp) => stamp,
            Payload::Altered(stamp) => {
                self.faults.altered += 1;
                self.sample(|| format!("altered: {stamp:?}"));
                stamp
            }
            Payload::Strange => {
                self.unexpected("a record that this tool did not make");
                return None;
            }
        };
        // Organisation first: also a record of another run must not cross it.
        let slot = stamp
            .channel
            .parse()
            .ok()
            .and_then(|channel: usize| *self.slots.get(channel)?);
        let Some(slot) = slot.filter(|_| stamp.organisation == self.organisation) else {
            self.faults.foreign += 1;
            self.sample(|| format!("foreign: {stamp:?}"));
            return None;
        };
        if stamp.run != self.run {
            self.unexpected("a record of another run");
            return None;
        }
        let room = &mut self.rooms[usize::from(slot)];
        match room.seen.insert(stamp.sequence) {
            None => {
                self.unexpected("a sequence number that no room reaches");
                None
            }
            Some(false) => {
                self.faults.duplicated += 1;
                self.sample(|| format!("duplicated: {stamp:?}"));
                None
            }
            Some(true) => {
                let (index, next) = (room.room, room.next);
                if stamp.sequence < next {
                    self.faults.out_of_order += 1;
                    self.sample(|| format!("out of order: {stamp:?} after {}", next - 1));
                } else {
                    room.next = stamp.sequence + 1;
                }
                Some((index, stamp))
            }
        }
    }

    /// Counts an event that this run did not cause.
    pub(crate) fn unexpected(&mut self, what: &str) {
        self.faults.unexpected += 1;
        self.sample(|| format!("unexpected: {what}"));
    }

    fn sample(&mut self, text: impl FnOnce() -> String) {
        if self.samples.len() < SAMPLES {
            self.samples.push(text());
        }
    }

    /// Records that this client should have got, those that it got, and its faults, with samples.
    pub(crate) fn verdict(mut self, ledgers: &[RoomLedger]) -> Verdict {
        let (mut expected, mut received) = (0, 0);
        for room in std::mem::take(&mut self.rooms) {
            let ledger = &ledgers[room.room];
            expected += ledger.acknowledged.len();
            received += room.seen.len();
            let lost = ledger.acknowledged.count_not_in(&room.seen);
            self.faults.lost += lost;
            if lost > 0 {
                let first: Vec<u32> = ledger.acknowledged.not_in(&room.seen).take(8).collect();
                self.sample(|| format!("lost {lost} in room {}: {first:?}…", room.room));
            }
            let invented = room.seen.count_not_in(&ledger.produced);
            self.faults.unexpected += invented;
            if invented > 0 {
                self.sample(|| {
                    format!(
                        "{invented} sequence numbers never produced in room {}",
                        room.room
                    )
                });
            }
        }
        Verdict {
            expected,
            received,
            faults: self.faults,
            samples: self.samples,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) faults: Faults,
    pub(crate) samples: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(channel: &str, sequence: u32) -> Stamp<'_> {
        Stamp {
            organisation: "lg0",
            channel,
            run: "r",
            sequence,
            sent_ns: 0,
        }
    }

    fn check() -> ClientCheck {
        ClientCheck::new("lg0", "r", &[(0, 1), (4, 5)], 200)
    }

    fn ledgers(counts: [u32; 5]) -> Vec<RoomLedger> {
        counts
            .into_iter()
            .map(|count| {
                let mut ledger = RoomLedger {
                    produced: Bitmap::with_bound(200),
                    acknowledged: Bitmap::with_bound(200),
                };
                for number in 0..count {
                    ledger.produced.insert(number);
                    ledger.acknowledged.insert(number);
                }
                ledger
            })
            .collect()
    }

    fn faults(stamps: &[Stamp<'_>], counts: [u32; 5]) -> Faults {
        let mut check = check();
        for stamp in stamps {
            check.receive(&Payload::Untouched(*stamp));
        }
        check.verdict(&ledgers(counts)).faults
    }

    #[test]
    fn a_clean_run_is_clean_and_other_rooms_do_not_count() {
        let stamps = [stamp("1", 0), stamp("5", 0), stamp("1", 1)];
        assert_eq!(faults(&stamps, [2, 9, 9, 9, 1]), Faults::default());
    }

    #[test]
    fn each_fault_is_distinguished() {
        let other = Stamp {
            organisation: "lg1",
            ..stamp("1", 0)
        };
        let old = Stamp {
            run: "q",
            ..stamp("1", 0)
        };
        let cases: &[(&[Stamp<'_>], [u32; 5], Faults)] = &[
            (
                &[stamp("1", 0)],
                [2, 0, 0, 0, 1],
                Faults {
                    lost: 2,
                    ..Faults::default()
                },
            ),
            (
                &[stamp("1", 0), stamp("1", 0)],
                [1, 0, 0, 0, 0],
                Faults {
                    duplicated: 1,
                    ..Faults::default()
                },
            ),
            (
                &[stamp("1", 1), stamp("1", 0)],
                [2, 0, 0, 0, 0],
                Faults {
                    out_of_order: 1,
                    ..Faults::default()
                },
            ),
            (
                &[other],
                [0; 5],
                Faults {
                    foreign: 1,
                    ..Faults::default()
                },
            ),
            (
                &[stamp("2", 0), stamp("99", 0), stamp("x", 0)],
                [0; 5],
                Faults {
                    foreign: 3,
                    ..Faults::default()
                },
            ),
            (
                &[old, stamp("1", 9), stamp("1", 4_000_000_000)],
                [0; 5],
                Faults {
                    unexpected: 3,
                    ..Faults::default()
                },
            ),
        ];
        for (stamps, counts, expected) in cases {
            assert_eq!(faults(stamps, *counts), *expected, "{stamps:?}");
        }
    }

    #[test]
    fn a_late_duplicate_is_a_duplicate_and_not_out_of_order() {
        let stamps = [stamp("1", 0), stamp("1", 1), stamp("1", 0)];
        assert_eq!(
            faults(&stamps, [2, 0, 0, 0, 0]),
            Faults {
                duplicated: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn what_the_broker_did_not_acknowledge_may_come_or_not() {
        let mut ledgers = ledgers([1, 0, 0, 0, 0]);
        ledgers[0].produced.insert(1);
        let mut check = check();
        check.receive(&Payload::Untouched(stamp("1", 0)));
        check.receive(&Payload::Untouched(stamp("1", 1)));
        let verdict = check.verdict(&ledgers);
        assert_eq!(
            (verdict.expected, verdict.received, verdict.faults),
            (1, 2, Faults::default())
        );
    }

    #[test]
    fn an_altered_payload_is_a_fault_and_still_counts_as_received() {
        let mut check = check();
        assert!(check.receive(&Payload::Altered(stamp("1", 0))).is_some());
        assert!(check.receive(&Payload::Strange).is_none());
        let verdict = check.verdict(&ledgers([1, 0, 0, 0, 0]));
        assert_eq!(
            verdict.faults,
            Faults {
                altered: 1,
                unexpected: 1,
                ..Faults::default()
            }
        );
        assert!(!verdict.faults.is_clean());
    }
}
