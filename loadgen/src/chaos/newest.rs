//! Class `latest`: what a client was given of each key, and what it must have been given in the end.
//!
//! Keys come and go as vehicles do in a shift: each is updated a few times and then never again. So the last record of a key
//! is looked for of every few seconds of the run, in the middle of the faults too.

use std::collections::HashMap;

use super::history::ClientHistory;
use super::ledger::{Fate, Ledger};
use super::stretch::End;
use super::verdict::{ChaosVerdict, SAMPLES_EACH, around};

/// By key.
#[derive(Debug, Default, Clone)]
pub(crate) struct Newest(HashMap<u32, Known>);

#[derive(Debug, Clone, Copy)]
struct Known {
    lane: u16,
    /// What came last.
    last: u32,
    /// The newest that came over this connection.
    here: Option<u32>,
}

/// What a record is to a client that follows its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    Newer,
    /// What it has already.
    Again,
    /// A newer one came before, over the same connection.
    Older,
}

impl Newest {
    /// `order` is the record's in its lane; all records of a key are in one.
    pub(crate) fn take(&mut self, lane: u16, key: u32, order: u32) -> Arrival {
        let known = self.0.entry(key).or_insert(Known {
            lane,
            last: order,
            here: None,
        });
        known.last = order;
        match known.here {
            Some(here) if order < here => Arrival::Older,
            Some(here) if order == here => Arrival::Again,
            _ => {
                known.here = Some(order);
                Arrival::Newer
            }
        }
    }

    /// From here on an older one may come once more.
    pub(crate) fn resumed(&mut self) {
        for known in self.0.values_mut() {
            known.here = None;
        }
    }
}

/// The last acknowledged record of each key that was sent while the client held the room came, and nothing older behind it.
pub(super) fn judge(
    ledger: &Ledger,
    client: &ClientHistory,
    index: usize,
    verdict: &mut ChaosVerdict,
    samples: &mut Vec<String>,
) {
    for (key, known) in &client.newest.0 {
        let lane = ledger.lanes.get(usize::from(known.lane));
        let sent = lane.is_some_and(|lane| {
            let mut rooms = client.rooms.iter();
            rooms.any(|room| lane.key(room.room, *key).contains(&known.last))
        });
        if !sent {
            verdict.faults.unexpected += 1;
            samples.push(format!(
                "client {index}: of key {key} a record that no producer sent"
            ));
        }
    }
    if client.gone {
        return;
    }
    for room in &client.rooms {
        let since_ns = match room.spans.last() {
            Some(span) if span.end == End::Run => span.since_ns.unwrap_or(u64::MAX),
            _ => continue,
        };
        for lane in &ledger.lanes {
            for (key, orders) in lane.keys(room.room) {
                let acknowledged = |order: &&u32| {
                    matches!(lane.entries[**order as usize].fate, Fate::Acknowledged(_))
                };
                let Some(newest) = orders.iter().rev().find(acknowledged) else {
                    continue;
                };
                let entry = &lane.entries[*newest as usize];
                if entry.sent_ns <= since_ns {
                    continue;
                }
                verdict.checked += 1;
                let last = client.newest.0.get(&key).map(|known| known.last);
                if last.is_some_and(|last| last >= *newest) {
                    continue;
                }
                verdict.faults.stale += 1;
                if samples.len() < SAMPLES_EACH {
                    samples.push(format!(
                        "client {index}: of key {key} it was given {last:?} last, and not {} (order {newest}), sent at {}; {}",
                        lane.id(entry),
                        entry.sent_ns,
                        around(client, entry.sent_ns)
                    ));
                }
            }
        }
    }
}
