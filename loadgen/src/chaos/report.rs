//! What a scenario found, for people and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::latency::{Latencies, Summaries};

use super::fleet::Memory;
use super::ledger::{Fate, Ledger};
use super::nemesis::Stalls;
use super::recovery::{Recovery, Spread};
use super::scenario::{Form, Scenario};
use super::verdict::{ChaosFaults, ChaosVerdict};

/// What was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Setup {
    /// And the seeded bug.
    pub(crate) scenario: String,
    pub(crate) about: &'static str,
    pub(crate) form: Form,
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) rate: u32,
    pub(crate) seconds: u64,
    pub(crate) instances: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    setup: Setup,
    records_sent: u64,
    records_acknowledged: u64,
    records_unknown: u64,
    /// Above 0 the order check means nothing.
    records_misplaced: u64,
    pub(crate) deliveries_checked: u64,
    deliveries_received: u64,
    pub(crate) faults: ChaosFaults,
    resyncs: u64,
    repeated_after_resync: u64,
    cuts: u64,
    lost_connections: u64,
    failed_attempts: u64,
    back_after_cut_ms: Spread,
    recoveries: Vec<Recovery>,
    /// From the last record to the last delivery.
    drained_ms: u64,
    latency_ms: Summaries,
    /// Of each server.
    memory_kib: Vec<Memory>,
    stalls: Stalls,
    /// Promises that were broken beside the deliveries.
    complaints: Vec<String>,
    samples: Vec<String>,
}

impl Report {
    #[expect(
        clippy::too_many_arguments,
        reason = "all that was measured comes together here, once"
    )]
    pub(crate) fn new(
        setup: Setup,
        scenario: Scenario,
        ledger: &Ledger,
        verdict: ChaosVerdict,
        latencies: &Latencies,
        drained: Duration,
        memory_kib: Vec<Memory>,
        complaints: Vec<String>,
        stalls: Stalls,
    ) -> Self {
        let mut report = Self {
            setup,
            records_sent: ledger.sent(),
            records_acknowledged: ledger.count(|fate| matches!(fate, Fate::Acknowledged(_))),
            records_unknown: ledger.count(|fate| matches!(fate, Fate::Unknown | Fate::Open)),
            records_misplaced: ledger.misplaced(),
            deliveries_checked: verdict.checked,
            deliveries_received: verdict.received,
            faults: verdict.faults,
            resyncs: verdict.resyncs,
            repeated_after_resync: verdict.repeated_after_resync,
            cuts: verdict.cuts,
            lost_connections: verdict.lost_connections,
            failed_attempts: verdict.failed_attempts,
            back_after_cut_ms: verdict.back_after_cut_ms,
            recoveries: verdict.recoveries,
            drained_ms: u64::try_from(drained.as_millis()).unwrap_or(u64::MAX),
            latency_ms: latencies.summaries(),
            memory_kib,
            stalls,
            complaints,
            samples: verdict.samples,
        };
        report.demand(scenario);
        report
    }

    /// What the scenario promises beside exactly-once.
    fn demand(&mut self, scenario: Scenario) {
        let mut complaints = Vec::new();
        for Recovery {
            fault,
            back_after_ms: back,
            caught_up_after_ms: caught_up,
            ..
        } in &self.recoveries
        {
            if scenario == Scenario::Kill && (back.p99 > 8_000 || back.max > 15_000) {
                complaints.push(format!(
                    "{fault}: back after p99 {} ms, max {} ms; 8 s and 15 s are promised",
                    back.p99, back.max
                ));
            }
            if scenario.breaks_kafka() && caught_up.max > 30_000 {
                complaints.push(format!(
                    "{fault}: caught up after {} ms; 30 s are promised",
                    caught_up.max
                ));
            }
        }
        if scenario.breaks_kafka() && self.lost_connections > 0 {
            complaints.push(format!(
                "{} connections were closed although only Kafka was away",
                self.lost_connections
            ));
        }
        if scenario.breaks_redis() && self.lost_connections > 0 {
            complaints.push(format!(
                "{} connections were closed although only Redis was away",
                self.lost_connections
            ));
        }
        if scenario == Scenario::Storm && self.back_after_cut_ms.max > 30_000 {
            complaints.push(format!(
                "the last one was back after {} ms; 30 s are promised",
                self.back_after_cut_ms.max
            ));
        }
        if scenario.is_short_of_space() && self.resyncs == 0 {
            complaints.push("no client missed more than the window holds".to_owned());
        }
        self.demand_of_stalls(&mut complaints);
        self.complaints.extend(complaints);
    }

    fn demand_of_stalls(&self, complaints: &mut Vec<String>) {
        let Stalls {
            all,
            closed,
            closed_after_ms,
            ..
        } = &self.stalls;
        if *all == 0 {
            return;
        }
        if closed_after_ms.is_none_or(|after| after > 60_000) {
            complaints.push(format!(
                "{closed} of {all} clients that read nothing were closed, all of them after {closed_after_ms:?} ms; 60 s are promised"
            ));
        }
        let (before, during) = (
            self.latency_ms.others_before_stall.p99,
            self.latency_ms.others_during_stall.p99,
        );
        // The short form has neither the time nor the machine for itself.
        if self.setup.form == Form::Long && during > before * 1.2 {
            complaints.push(format!(
                "p99 of the others was {before:.1} ms before and {during:.1} ms while they read nothing; 20 % more are promised"
            ));
        }
        for (server, memory) in self.memory_kib.iter().enumerate() {
            let growth = memory
                .most_beside_window
                .saturating_sub(memory.before_beside_window);
            // Any server may have had all of them; and so much it may grow for other reasons.
            let allowed = (*all as u64 + 16) * 1024;
            if growth > allowed {
                complaints.push(format!(
                    "server {server} has grown by {growth} KiB beside its window; {allowed} are promised"
                ));
            }
        }
    }

    /// A run that had nothing to deliver proves nothing, and neither does one whose records were not in order.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_clean()
            && self.complaints.is_empty()
            && self.deliveries_checked > 0
            && self.records_misplaced == 0
    }

    pub(crate) fn text(&self) -> String {
        let Setup {
            scenario,
            about,
            form: _,
            seed,
            clients,
            rate,
            seconds,
            instances,
        } = &self.setup;
        let mut lines = vec![
            format!("{scenario}: {about}"),
            format!(
                "  asked          {clients} clients, {instances} servers, {rate} records/s for {seconds} s, seed {seed}"
            ),
            format!(
                "  produced       {} sent, {} acknowledged, {} unknown, {} misplaced",
                self.records_sent,
                self.records_acknowledged,
                self.records_unknown,
                self.records_misplaced
            ),
            format!(
                "  deliveries     {} checked, {} received, the last one {} ms after the last record",
                self.deliveries_checked, self.deliveries_received, self.drained_ms
            ),
            format!("  faults         {}", fault_text(&self.faults)),
            format!(
                "  connections    {} cut, {} lost, {} failed attempts, {} resyncs, {} repeats after a resync",
                self.cuts,
                self.lost_connections,
                self.failed_attempts,
                self.resyncs,
                self.repeated_after_resync
            ),
        ];
        if self.cuts > 0 {
            lines.push(format!(
                "  back after cut {}",
                spread_text(&self.back_after_cut_ms)
            ));
        }
        for recovery in &self.recoveries {
            lines.push(format!("  {} ({} times)", recovery.fault, recovery.times));
            if recovery.back_after_ms.count > 0 {
                lines.push(format!(
                    "    lost connections: event again after {}",
                    spread_text(&recovery.back_after_ms)
                ));
            }
            if recovery.event_after_ms.count > 0 {
                lines.push(format!(
                    "    first event after its end: {}",
                    spread_text(&recovery.event_after_ms)
                ));
            }
            if recovery.caught_up_after_ms.count > 0 {
                lines.push(format!(
                    "    caught up with what was sent before its end: {}",
                    spread_text(&recovery.caught_up_after_ms)
                ));
            }
        }
        let latency = &self.latency_ms;
        for (name, summary) in [
            ("before faults", &latency.others_before_stall),
            ("during", &latency.others_during_stall),
            ("after", &latency.others_after_stall),
        ] {
            lines.push(format!(
                "  latency of undisturbed clients {name:<13} p50 {:>8.1}  p99 {:>8.1}  max {:>9.1} ms ({})",
                summary.p50, summary.p99, summary.max, summary.count
            ));
        }
        for (server, memory) in self.memory_kib.iter().enumerate() {
            lines.push(format!(
                "  memory         server {server}: {}",
                memory.text()
            ));
        }
        if self.stalls.all > 0 {
            let last = self.stalls.closed_after_ms;
            let last = last.map_or(String::new(), |ms| format!(", the last after {ms} ms"));
            lines.push(format!(
                "  stalled        {} clients read nothing, {} of them for good; {} connections were closed for it{last}",
                self.stalls.all, self.stalls.for_good, self.stalls.closed
            ));
        }
        lines.extend(
            self.complaints
                .iter()
                .map(|complaint| format!("  ! {complaint}")),
        );
        lines.extend(self.samples.iter().map(|sample| format!("  ! {sample}")));
        lines.push(format!(
            "  {}",
            if self.is_clean() {
                "CLEAN"
            } else {
                "NOT CLEAN"
            }
        ));
        lines.join("\n")
    }
}

fn fault_text(faults: &ChaosFaults) -> String {
    let named = faults
        .named()
        .map(|(name, count)| format!("{name} {count}"));
    named.join(", ")
}

fn spread_text(spread: &Spread) -> String {
    format!(
        "p50 {}, p99 {}, max {} ms ({})",
        spread.p50, spread.p99, spread.max, spread.count
    )
}

/// Each scenario in one line, and below it what it promised beside exactly-once and did not keep.
pub(crate) fn print_sum(reports: &[Report]) {
    let mut checked = 0;
    for report in reports {
        checked += report.deliveries_checked;
        show(&format!(
            "{:<10} {:>10} checked  {}  {}",
            report.setup.scenario,
            report.deliveries_checked,
            fault_text(&report.faults),
            if report.is_clean() {
                "CLEAN"
            } else {
                "NOT CLEAN"
            }
        ));
        report
            .complaints
            .iter()
            .for_each(|why| show(&format!("  ! {why}")));
    }
    show(&format!(
        "{checked} deliveries checked in {} scenarios",
        reports.len()
    ));
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(crate) fn show(text: &str) {
    println!("{text}");
}
