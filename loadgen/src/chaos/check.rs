//! The verdict over a recorded history, when all is over: values in, values out.

use crate::bitmap::Bitmap;

use super::history::ClientHistory;
use super::late::Late;
use super::ledger::{Fate, Ledger};
use super::newest;
use super::recovery::{Fault, Spread, away_for, recoveries};
use super::resyncs;
use super::stretch::{End, Span};
use super::verdict::{ChaosVerdict, Rules, SAMPLES_EACH, around};

const SAMPLES: usize = 24;

pub(crate) fn judge(
    ledger: &Ledger,
    clients: &[ClientHistory],
    faults: &[Fault],
    rules: &Rules,
) -> ChaosVerdict {
    let mut verdict = ChaosVerdict::default();
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
        resyncs::judge(client, index, rules, &late, &mut verdict, &mut samples);
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
    verdict: &mut ChaosVerdict,
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
                            "client {index}: lost {} of room {} (lane {number}, order {order}), sent at {}, acknowledged {} ms later; {}",
                            lane.id(entry),
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
                    "client {index}: {invented} records that no producer sent"
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
