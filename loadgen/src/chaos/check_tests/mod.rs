//! Each verdict, on histories of a few records.

mod deliveries;
mod newest;
mod resyncs;
mod stretches;

use std::cell::RefCell;
use std::mem::replace;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use crate::client::{Part, Sight};
use crate::clock::Clock;
use crate::latency::Latencies;

use super::check::judge;
use super::habit::Habit;
use super::history::ClientHistory;
use super::ledger::{Fate, Ledger};
use super::part::{Around, Orders, Seated, Shared};
use super::record::Stamp;
use super::recovery::Fault;
use super::seating::Seating;
use super::verdict::{ChaosFaults, ChaosVerdict, Rules};

const SECOND: u64 = 1_000_000_000;
const WINDOW: u64 = 100 * SECOND;
const OWN: u16 = 10;
const CHANNEL: u16 = 3;
const OTHER: u16 = 5;
const POSITIONS: u16 = 13;

/// One client of organisation `lg0` that holds its own room and one channel, and one topic with two partitions.
/// Record `n` is sent at second `n`.
struct Case {
    ledger: Ledger,
    client: ClientHistory,
    rules: Rules,
    faults: Vec<Fault>,
    sent: Vec<(u16, u16, u32, u32)>,
}

impl Case {
    fn new() -> Self {
        let mut ledger = Ledger::default();
        ledger.add_lane("t", 0);
        ledger.add_lane("t", 1);
        let mut client = ClientHistory::new("lg0", "r", OWN, &[CHANNEL]);
        client.opened(false);
        client.welcomed("fresh", WINDOW, 0);
        client.subscribed(CHANNEL, 0);
        Self {
            ledger,
            client,
            rules: Rules {
                window_ns: WINDOW,
                permits: Vec::new(),
            },
            faults: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Sends a record and gives its number.
    fn send(&mut self, lane: u16, room: u16, fate: Fate) -> usize {
        let at = (self.sent.len() as u64 + 1) * SECOND;
        let (order, sequence) = self.ledger.send(lane, room, at, fate);
        self.sent.push((lane, room, order, sequence));
        self.sent.len()
    }

    fn sent(&mut self, lane: u16, room: u16) -> usize {
        self.send(lane, room, Fate::Acknowledged(0))
    }

    /// The same of class `latest`.
    fn moved(&mut self, lane: u16, key: u32) -> usize {
        let at = (self.sent.len() as u64 + 1) * SECOND;
        let fate = Fate::Acknowledged(0);
        let (order, sequence) = self.ledger.send_latest(lane, POSITIONS, key, at, fate);
        self.sent.push((lane, POSITIONS, order, sequence));
        self.sent.len()
    }

    fn stamp(&self, number: usize) -> (Stamp<'static>, u16) {
        let (lane, room, order, sequence) = self.sent[number - 1];
        let stamp = Stamp {
            organisation: "lg0",
            channel: None,
            asset: None,
            run: "r",
            lane,
            order,
            sequence,
            sent_ns: number as u64 * SECOND,
        };
        (stamp, room)
    }

    fn receive(&mut self, numbers: &[usize]) {
        for number in numbers {
            let (stamp, room) = self.stamp(*number);
            self.client.received(&stamp, Some(room), stamp.sent_ns);
        }
    }

    /// What its connection sees becomes its history as in a run.
    fn see(&mut self, sight: &Sight<'_>) {
        let placeholder = ClientHistory::new("lg0", "r", OWN, &[]);
        let history = replace(&mut self.client, placeholder);
        let random = SmallRng::seed_from_u64(0);
        let seated = Seated::new(0, Habit::Steady, history, around(), random);
        seated.see(sight);
        self.client = seated.history.into_inner();
    }

    fn verdict(&self) -> ChaosVerdict {
        let client = std::slice::from_ref(&self.client);
        judge(&self.ledger, client, &self.faults, &self.rules)
    }

    fn faults(&self) -> ChaosFaults {
        self.verdict().faults
    }
}

fn around() -> Rc<Around> {
    let (_, orders) = watch::channel(Orders {
        since: None,
        storms: 0,
        calm: false,
        stop: false,
    });
    Rc::new(Around {
        clock: Clock::start(),
        shared: Arc::new(Shared::default()),
        seating: Arc::new(Seating {
            organisations: 2,
            channels: OWN,
            clients: 10,
            burst_clients: 0,
            slow_channels: 0,
            positions: true,
        }),
        orders,
        latencies: RefCell::new(Latencies::new()),
        scratch: RefCell::default(),
        backoff: Duration::from_secs(1),
    })
}

fn only(change: impl FnOnce(&mut ChaosFaults)) -> ChaosFaults {
    let mut faults = ChaosFaults::default();
    change(&mut faults);
    faults
}
