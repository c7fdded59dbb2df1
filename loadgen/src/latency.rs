//! Latency histograms, split by who received and when it was sent.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Ten minutes in microseconds: what takes longer is recorded as that.
const HIGHEST_US: u64 = 600_000_000;

/// Of microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("constant bounds are valid")
}

/// When a record was sent, against the stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    During,
    After,
}

/// Whose deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Neither cut nor stalled.
    Others,
    Disturbed,
}

#[derive(Debug)]
pub(crate) struct Latencies {
    /// From the moment just before the record was handed to the Kafka client. By group, by phase.
    since_send: [[Histogram<u64>; 3]; 2],
    /// From the moment at which the broker's acknowledgement was seen. By group.
    since_ack: [Histogram<u64>; 2],
    /// Deliveries seen before the acknowledgement was: in no `since_ack` histogram.
    before_ack: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let three = || [histogram(), histogram(), histogram()];
        Self {
            since_send: [three(), three()],
            since_ack: [histogram(), histogram()],
            before_ack: 0,
        }
    }

    /// All times in nanoseconds since the epoch.
    pub(crate) fn record(
        &mut self,
        group: Group,
        phase: Phase,
        now: u64,
        sent: u64,
        acknowledged: Option<u64>,
    ) {
        self.since_send[group as usize][phase as usize]
            .saturating_record(now.saturating_sub(sent) / 1_000);
        match acknowledged {
            Some(time) => {
                self.since_ack[group as usize].saturating_record(now.saturating_sub(time) / 1_000);
            }
            None => self.before_ack += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let ours = self
            .since_send
            .iter_mut()
            .flatten()
            .chain(&mut self.since_ack);
        let theirs = other.since_send.iter().flatten().chain(&other.since_ack);
        for (ours, theirs) in ours.zip(theirs) {
            ours.add(theirs).expect("histograms of the same bounds");
        }
        self.before_ack += other.before_ack;
    }

    pub(crate) fn summaries(&self) -> Summaries {
        let [others, disturbed] = &self.since_send;
        let sum = |parts: &[&[Histogram<u64>]]| {
            let mut all = histogram();
            for part in parts.iter().copied().flatten() {
                all.add(part).expect("histograms of the same bounds");
            }
            Summary::of(&all)
        };
        Summaries {
            all: sum(&[others, disturbed]),
            others: sum(&[others]),
            disturbed: sum(&[disturbed]),
            others_before_stall: Summary::of(&others[Phase::Before as usize]),
            others_during_stall: Summary::of(&others[Phase::During as usize]),
            others_after_stall: Summary::of(&others[Phase::After as usize]),
            others_since_broker_ack: Summary::of(&self.since_ack[Group::Others as usize]),
            before_broker_ack: self.before_ack,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Summaries {
    pub(crate) all: Summary,
    pub(crate) others: Summary,
    pub(crate) disturbed: Summary,
    pub(crate) others_before_stall: Summary,
    pub(crate) others_during_stall: Summary,
    pub(crate) others_after_stall: Summary,
    pub(crate) others_since_broker_ack: Summary,
    /// Deliveries that overtook the broker's acknowledgement on its way to the producer.
    pub(crate) before_broker_ack: u64,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Summary {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(histogram.max()),
        }
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    ratio(microseconds, 1_000)
}

/// 0 when there is nothing to divide by.
#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people: 52 bits are plenty"
)]
pub(crate) fn ratio(value: u64, by: u64) -> f64 {
    if by == 0 {
        0.0
    } else {
        value as f64 / by as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_land_in_their_group_and_phase() {
        let mut first = Latencies::new();
        first.record(
            Group::Others,
            Phase::Before,
            5_000_000,
            1_000_000,
            Some(3_000_000),
        );
        let mut second = Latencies::new();
        second.record(Group::Disturbed, Phase::During, 9_000_000, 1_000_000, None);
        first.merge(&second);
        let summaries = first.summaries();
        assert_eq!(
            (
                summaries.all.count,
                summaries.others.count,
                summaries.before_broker_ack
            ),
            (2, 1, 1)
        );
        assert_eq!(
            (
                summaries.others_before_stall.count,
                summaries.others_during_stall.count
            ),
            (1, 0)
        );
        assert!(
            (summaries.others.max - 4.0).abs() < 0.01,
            "{:?}",
            summaries.others
        );
        assert!((summaries.others_since_broker_ack.p50 - 2.0).abs() < 0.01);
    }
}
