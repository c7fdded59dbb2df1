//! The verdict over a recorded history, when all is over: values in, values out.

use serde::Serialize;

use crate::bitmap::Bitmap;

use super::history::{ClientHistory, Offences, Return};
use super::late::Late;
use super::ledger::{Fate, Ledger};
use super::newest;
use super::recovery::{Recovery, Spread, away_for, recoveries};
use super::stretch::{End, Span};
use super::told;

/// What the nemesis did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
    /// What clients note with their first event after its begin; the end has the next number.
    pub(crate) epoch: u32,
}

/// Being told `resync_required` for one of these reasons is right within this time: the nemesis has made it so.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    /// Whose clients; `None`: everybody's.
    pub(crate) organisation: Option<String>,
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
    pub(crate) reasons: &'static [&'static str],
    /// For clients that have missed so much, or more. What the servers themselves were behind by is on top of what a client
    /// missed: see [`Late`].
    pub(crate) least_ns: u64,
}

impl Permit {
    /// At that time, to that client, for that reason.
    pub(crate) fn covers(&self, client: &ClientHistory, at_ns: u64, reason: &str) -> bool {
        let its = self.organisation.as_ref();
        its.is_none_or(|organisation| *organisation == client.organisation)
            && (self.from_ns..=self.until_ns).contains(&at_ns)
            && self.reasons.contains(&reason)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// How far back the servers promise to resume.
    pub(crate) window_ns: u64,
    pub(crate) permits: Vec<Permit>,
}

/// What was broken of the promises. All zero is a clean run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Acknowledged by the brokers, of a room that the client held, and not received.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Received after a record with a higher offset of the same partition, or of class `latest` after a newer one of its key.
    pub(crate) reordered: u64,
    pub(crate) leaked: u64,
    /// Of a room that the client did not hold, of an aborted transaction, or of nobody's making.
    pub(crate) unexpected: u64,
    pub(crate) altered: u64,
    /// Of class `latest`: the record of a key that the client was given last is not the newest.
    pub(crate) stale: u64,
    /// A resync although the client was not outside the window, or a cursor that was passed over without a word.
    pub(crate) false_resyncs: u64,
    /// A welcome told a window that was not the organisation's.
    pub(crate) mistold: u64,
    /// An event between a welcome that says `resync` and the notice.
    pub(crate) untold: u64,
    /// Packets after which a stock client stays away.
    pub(crate) dismissed: u64,
    /// Clients whose subscription was never acknowledged.
    pub(crate) never_subscribed: u64,
    /// Clients that were away at the end and should not have been.
    pub(crate) never_back: u64,
}

impl Faults {
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn named(&self) -> [(&'static str, u64); 13] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("leaked", self.leaked),
            ("unexpected", self.unexpected),
            ("altered", self.altered),
            ("stale", self.stale),
            ("false resyncs", self.false_resyncs),
            ("mistold", self.mistold),
            ("untold", self.untold),
            ("dismissed", self.dismissed),
            ("never subscribed", self.never_subscribed),
            ("never back", self.never_back),
        ]
    }

    fn add(&mut self, offences: &Offences) {
        let Offences {
            duplicated,
            reordered,
            leaked,
            unexpected,
            altered,
            untold,
            dismissed,
        } = offences;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.leaked += leaked;
        self.unexpected += unexpected;
        self.altered += altered;
        self.untold += untold;
        self.dismissed += dismissed;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Deliveries that had to be, and were looked for one by one.
    pub(crate) checked: u64,
    pub(crate) received: u64,
    pub(crate) faults: Faults,
    pub(crate) resyncs: u64,
    pub(crate) repeated_after_resync: u64,
    pub(crate) cuts: u64,
    pub(crate) lost_connections: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) back_after_cut_ms: Spread,
    pub(crate) recoveries: Vec<Recovery>,
    /// The first few faults in words.
    pub(crate) samples: Vec<String>,
    /// The first few clients that had any.
    pub(crate) clients: Vec<usize>,
}

const SAMPLES: usize = 24;
/// Of one client.
pub(super) const SAMPLES_EACH: usize = 3;

pub(crate) fn judge(
    ledger: &Ledger,
    clients: &[ClientHistory],
    faults: &[Fault],
    rules: &Rules,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut late = Late::default();
    for client in clients {
        late.add(&client.late);
    }
    for (index, client) in clients.iter().enumerate() {
        verdict.received += client.received;
        verdict.repeated_after_resync += client.repeated_after_resync;
        verdict.faults.add(&client.offences);
        let noted = client.samples.iter();
        let mut samples: Vec<String> = noted
            .map(|text| format!("client {index}: {text}"))
            .collect();
        deliveries(ledger, client, index, &mut verdict, &mut samples);
        newest::judge(ledger, client, index, &mut verdict, &mut samples);
        told::judge(client, index, rules, &late, &mut verdict, &mut samples);
        for back in &client.returns {
            *if back.wanted {
                &mut verdict.cuts
            } else {
                &mut verdict.lost_connections
            } += 1;
            verdict.failed_attempts += u64::from(back.failed_attempts);
        }
        if client
            .returns
            .last()
            .is_some_and(|back| back.welcome_ns.is_none())
            && !client.gone
        {
            verdict.faults.never_back += 1;
            samples.push(format!("client {index}: has not come back"));
        }
        let room = SAMPLES.saturating_sub(verdict.samples.len());
        if room > 0 && !samples.is_empty() {
            verdict.clients.push(index);
        }
        verdict
            .samples
            .extend(samples.into_iter().take(room.min(SAMPLES_EACH)));
    }
    let returns = || clients.iter().flat_map(|client| &client.returns);
    let cuts = returns().filter(|back| back.wanted);
    verdict.back_after_cut_ms = Spread::of(cuts.filter_map(away_for).collect());
    verdict.recoveries = recoveries(clients, faults);
    verdict
}

/// Exactly the acknowledged records of its rooms, in each stretch between subscription or resync and the next.
fn deliveries(
    ledger: &Ledger,
    client: &ClientHistory,
    index: usize,
    verdict: &mut Verdict,
    samples: &mut Vec<String>,
) {
    for room in &client.rooms {
        if room.wanted && room.spans.is_empty() {
            verdict.faults.never_subscribed += 1;
            samples.push(format!("client {index}: never held room {}", room.room));
        }
        for (number, lane) in ledger.lanes.iter().enumerate() {
            let seen = |sequence| {
                let bitmap = room.seen.get(number);
                bitmap.is_some_and(|bitmap| bitmap.contains(sequence))
            };
            let orders = lane.room(room.room);
            for span in &room.spans {
                let (from, until) = owed(
                    span,
                    number,
                    lane.first_after(span.since_ns.unwrap_or(u64::MAX)),
                    client.gone,
                );
                let begin = orders.partition_point(|order| *order < from);
                for (sequence, order) in (0u32..).zip(orders).skip(begin) {
                    if *order >= until {
                        break;
                    }
                    let entry = &lane.entries[*order as usize];
                    let Fate::Acknowledged(acknowledged_ns) = entry.fate else {
                        continue;
                    };
                    verdict.checked += 1;
                    if seen(sequence) {
                        continue;
                    }
                    verdict.faults.lost += 1;
                    if samples.len() < SAMPLES_EACH {
                        samples.push(format!(
                            "client {index}: lost {}/{}/{} of room {} (lane {number}, order {order}), sent at {}, acknowledged {} ms later; {}",
                            lane.topic,
                            lane.partition,
                            entry.offset,
                            room.room,
                            entry.sent_ns,
                            acknowledged_ns.saturating_sub(entry.sent_ns) / 1_000_000,
                            around(client, entry.sent_ns)
                        ));
                    }
                }
            }
            let mine = (0u32..).zip(orders).filter(|(sequence, _)| seen(*sequence));
            let aborted =
                mine.filter(|(_, order)| lane.entries[**order as usize].fate == Fate::Aborted);
            let aborted = aborted.count() as u64;
            if aborted > 0 {
                verdict.faults.unexpected += aborted;
                samples.push(format!(
                    "client {index}: {aborted} records of aborted transactions"
                ));
            }
            let seen = room.seen.get(number).map_or(0, Bitmap::len);
            let invented = seen.saturating_sub(orders.len() as u64);
            if invented > 0 {
                verdict.faults.unexpected += invented;
                samples.push(format!(
                    "client {index}: {invented} records that nobody sent"
                ));
            }
        }
    }
}

/// From which order on, and up to which, everything must be there: what was sent since the stretch began, and no hole
/// between the first and the last that came.
fn owed(span: &Span, lane: usize, first_after: u32, gone: bool) -> (u32, u32) {
    let received = span.received.get(lane).copied().flatten();
    let begin = span.since_ns.map_or(u32::MAX, |_| first_after);
    let from = received.map_or(begin, |(first, _)| first.min(begin));
    let until = match span.end {
        End::Run if !gone => u32::MAX,
        _ => received.map_or(0, |(_, last)| last.saturating_add(1)),
    };
    (from, until)
}

/// The client's own doings at that time.
pub(super) fn around(client: &ClientHistory, at_ns: u64) -> String {
    let away = |back: &&Return| back.closed_ns.saturating_sub(2_000_000_000) < at_ns;
    let before = client.returns.iter().rev().find(away);
    before.map_or_else(
        || "its connection had never ended before".to_owned(),
        |back| {
            let since = |ns: Option<u64>| {
                ns.map_or("never".to_owned(), |ns| {
                    format!("at {} ms", ns.saturating_sub(back.closed_ns) / 1_000_000)
                })
            };
            let sent = i128::from(at_ns) - i128::from(back.closed_ns);
            format!(
                "its connection {} {} ms before that; welcome {}, first event {}",
                if back.wanted { "was cut" } else { "ended" },
                sent / 1_000_000,
                since(back.welcome_ns),
                since(back.event_ns)
            )
        },
    )
}
