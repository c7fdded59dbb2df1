//! Counts what the clients of a measurement receive, and checks it by the numbers in each event.
//!
//! Each client is in one room, and all events of a room are in one partition, so their sequence numbers must come one after
//! the other: a hole is lost, or reordered if it is filled later; a number that came before is duplicated. Payloads are
//! not compared byte by byte and cursors are not read: `loadgen run` and `loadgen chaos` do that.

use hdrhistogram::Histogram;

use super::event::Stamp;

/// Events that may be in flight in a closed loop.
const RING: usize = 1 << 20;
const HIGHEST_US: u64 = 600_000_000;

/// One delivery, where each is to be looked at later. Times in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) client: usize,
    pub(crate) number: u64,
    pub(crate) sent_ns: u64,
    pub(crate) now_ns: u64,
}

impl Seen {
    pub(crate) fn took_ns(&self) -> u64 {
        self.now_ns.saturating_sub(self.sent_ns)
    }
}

/// What must not be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

struct Progress {
    room: usize,
    next: u64,
    missing: Vec<u64>,
}

pub(crate) struct Tally {
    clients: Vec<Progress>,
    /// Events of each room that were published.
    published: Vec<u64>,
    members: Vec<u32>,
    /// By number: deliveries that are still to come.
    outstanding: Vec<u32>,
    /// Events in flight in a closed loop.
    pub(crate) in_flight: usize,
    pub(crate) deliveries: u64,
    pub(crate) answered: u64,
    pub(crate) commands: u64,
    faults: Faults,
    pub(crate) latencies: Histogram<u64>,
    /// While there is one, deliveries are noted in it and not in `latencies`.
    pub(crate) log: Option<Vec<Seen>>,
}

impl Tally {
    /// `rooms_of`: the room of each client.
    pub(crate) fn new(rooms_of: impl Iterator<Item = usize>, rooms: usize) -> Self {
        let mut members = vec![0; rooms];
        let clients = rooms_of.map(|room| {
            members[room] += 1;
            Progress {
                room,
                next: 0,
                missing: Vec::new(),
            }
        });
        Self {
            clients: clients.collect(),
            published: vec![0; rooms],
            members,
            outstanding: vec![0; RING],
            in_flight: 0,
            deliveries: 0,
            answered: 0,
            commands: 0,
            faults: Faults::default(),
            latencies: Histogram::new_with_bounds(1, HIGHEST_US, 3)
                .expect("constant bounds are valid"),
            log: None,
        }
    }

    /// The next sequence number of a room. `tracked`: every member is there, and the event counts as in flight until it
    /// has reached them all.
    pub(crate) fn publish(&mut self, room: usize, number: u64, tracked: bool) -> u64 {
        if tracked {
            self.outstanding[place(number)] = self.members[room];
            self.in_flight += 1;
        }
        let sequence = self.published[room];
        self.published[room] += 1;
        sequence
    }

    pub(crate) fn delivered(&mut self, client: usize, stamp: Stamp, now_ns: u64) {
        self.deliveries += 1;
        let outstanding = &mut self.outstanding[place(stamp.number)];
        if *outstanding > 0 {
            *outstanding -= 1;
            self.in_flight -= usize::from(*outstanding == 0);
        }
        match &mut self.log {
            Some(log) => log.push(Seen {
                client,
                number: stamp.number,
                sent_ns: stamp.sent_ns,
                now_ns,
            }),
            None => self
                .latencies
                .saturating_record(now_ns.saturating_sub(stamp.sent_ns) / 1_000),
        }
        let progress = &mut self.clients[client];
        if stamp.sequence == progress.next {
            progress.next += 1;
        } else if stamp.sequence > progress.next {
            progress.missing.extend(progress.next..stamp.sequence);
            progress.next = stamp.sequence + 1;
        } else if let Some(at) = progress
            .missing
            .iter()
            .position(|missing| *missing == stamp.sequence)
        {
            progress.missing.swap_remove(at);
            self.faults.reordered += 1;
        } else {
            self.faults.duplicated += 1;
        }
    }

    pub(crate) fn acknowledged(&mut self, took_ns: u64) {
        self.commands += 1;
        self.latencies.saturating_record(took_ns / 1_000);
    }

    /// Has the client had everything of its room?
    pub(crate) fn is_complete(&self, client: usize) -> bool {
        let progress = &self.clients[client];
        progress.next >= self.published[progress.room] && progress.missing.is_empty()
    }

    pub(crate) fn all_complete(&self) -> bool {
        (0..self.clients.len()).all(|client| self.is_complete(client))
    }

    /// If nothing else came.
    pub(crate) fn faults(&self) -> Faults {
        let lost = self.clients.iter().map(|progress| {
            self.published[progress.room].saturating_sub(progress.next)
                + progress.missing.len() as u64
        });
        Faults {
            lost: lost.sum(),
            ..self.faults
        }
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0) % RING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(sequences: &[u64]) -> Faults {
        let mut tally = Tally::new([0, 0].into_iter(), 1);
        for number in 0..4 {
            assert_eq!(tally.publish(0, number, true), number);
        }
        for (client, sequences) in [(0, &[0, 1, 2, 3][..]), (1, sequences)] {
            for sequence in sequences {
                let stamp = Stamp {
                    number: *sequence,
                    sequence: *sequence,
                    sent_ns: 0,
                };
                tally.delivered(client, stamp, 1_000);
            }
        }
        assert_eq!(tally.in_flight == 0, tally.faults().lost == 0);
        assert_eq!(tally.all_complete(), tally.faults().lost == 0);
        tally.faults()
    }

    #[test]
    fn holes_repeats_and_disorder_are_told_apart() {
        let faults = |lost, duplicated, reordered| Faults {
            lost,
            duplicated,
            reordered,
        };
        assert_eq!(received(&[0, 1, 2, 3]), faults(0, 0, 0));
        assert_eq!(received(&[0, 1, 2]), faults(1, 0, 0));
        assert_eq!(received(&[0, 3]), faults(2, 0, 0));
        assert_eq!(received(&[0, 2, 1, 3]), faults(0, 0, 1));
        assert_eq!(received(&[0, 1, 1, 2, 3]), faults(0, 1, 0));
    }
}
