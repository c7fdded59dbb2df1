//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::check::{Faults, Verdict};
use crate::latency::{Latencies, Summaries, Summary, ratio};
use crate::layout::Args;
use crate::process::Usage;
use crate::producer::Produced;
use crate::run::ServerSample;
use crate::temper::{Story, Temper};

/// One client at the end of the run.
#[derive(Debug)]
pub(crate) struct ClientOutcome {
    pub(crate) index: usize,
    pub(crate) temper: Temper,
    pub(crate) story: Story,
    pub(crate) verdict: Verdict,
}

pub(crate) struct Measured {
    pub(crate) before: ServerSample,
    pub(crate) after: ServerSample,
    /// From the last acknowledged record to the last delivery.
    pub(crate) drained: Duration,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    run: String,
    clients: usize,
    organisations: usize,
    rooms: usize,
    records_per_second: u32,
    seconds: u32,
    payload_bytes: usize,
    producer: ProducerReport,
    deliveries_expected: u64,
    deliveries_received: u64,
    drain_ms: u64,
    #[serde(flatten)]
    faults: Faults,
    clean: bool,
    reconnects: Reconnects,
    disturbed: Vec<Disturbed>,
    /// Milliseconds from just before the record was handed to the producer's Kafka client (so linger, append and
    /// acknowledgement lie within); `since_broker_ack` begins when the producer saw the acknowledgement.
    latency_ms: Summaries,
    server: Option<ProcessReport>,
    loadgen: ProcessReport,
    /// The server's counters that moved.
    counters: BTreeMap<String, f64>,
    samples: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProducerReport {
    sent: u64,
    acknowledged: u64,
    failed: u64,
    first_failure: Option<String>,
    /// Records out of their room's partition or offset order: above 0 the order check means nothing.
    misplaced: u64,
    partitions: usize,
    /// The most that the pace was behind its plan.
    late_ms: f64,
    records_per_second: f64,
}

#[derive(Debug, Default, Serialize)]
struct Reconnects {
    cuts: u64,
    /// Connections that ended without our doing.
    lost_connections: u64,
    failed_attempts: u64,
    welcomed_fresh: u64,
    welcomed_resumed: u64,
    welcomed_resync: u64,
    resync_required: u64,
    /// From the cut to the welcome after it.
    back_after_ms_p50: f64,
    back_after_ms_max: f64,
}

/// A client that was cut or stalled.
#[derive(Debug, Serialize)]
struct Disturbed {
    client: usize,
    what: String,
    times: u64,
    expected: u64,
    received: u64,
    #[serde(flatten)]
    faults: Faults,
    lost_connections: u64,
    resumed: u64,
    resync_required: u64,
    last_trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct ProcessReport {
    cpu_us_per_delivery: f64,
    /// Share of one core over the measured time.
    cpu_cores: f64,
    rss_mib_before: f64,
    rss_mib_after: f64,
    rss_mib_peak: f64,
}

impl Report {
    pub(crate) fn new(
        run: &str,
        args: &Args,
        produced: &Produced,
        mut outcomes: Vec<ClientOutcome>,
        latencies: &Latencies,
        measured: &Measured,
    ) -> Self {
        outcomes.sort_by_key(|outcome| outcome.index);
        let mut faults = Faults::default();
        let (mut expected, mut received) = (0, 0);
        let mut samples = Vec::new();
        for ClientOutcome {
            index,
            verdict,
            story,
            ..
        } in &outcomes
        {
            faults += verdict.faults;
            expected += verdict.expected;
            received += verdict.received;
            samples.extend(
                verdict
                    .samples
                    .iter()
                    .map(|sample| format!("client {index}: {sample}")),
            );
            samples.extend(
                story
                    .last_trouble
                    .iter()
                    .map(|trouble| format!("client {index}: {trouble}")),
            );
        }
        samples.truncate(20);
        let wall = measured.after.at - measured.before.at;
        let account =
            |before: &Usage, after: &Usage| ProcessReport::new(before, after, received, wall);
        let server = measured
            .before
            .server
            .as_ref()
            .zip(measured.after.server.as_ref());
        let counters = measured
            .before
            .counters
            .as_ref()
            .zip(measured.after.counters.as_ref());
        Self {
            run: run.to_owned(),
            clients: args.clients,
            organisations: args.organisations,
            rooms: args.channels,
            records_per_second: args.rate,
            seconds: args.seconds,
            payload_bytes: args.payload_bytes,
            producer: ProducerReport::new(produced),
            deliveries_expected: expected,
            deliveries_received: received,
            drain_ms: u64::try_from(measured.drained.as_millis()).unwrap_or(u64::MAX),
            faults,
            clean: faults.is_clean(),
            reconnects: Reconnects::of(&outcomes),
            disturbed: outcomes.iter().filter_map(Disturbed::of).collect(),
            latency_ms: latencies.summaries(),
            server: server.map(|(before, after)| account(before, after)),
            loadgen: account(&measured.before.own, &measured.after.own),
            counters: counters
                .map(|(before, after)| after.since(before))
                .unwrap_or_default(),
            samples,
        }
    }

    /// A run that had nothing to deliver proves nothing, and neither does one whose records were not in order.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean && self.deliveries_expected > 0 && self.producer.misplaced == 0
    }

    #[expect(clippy::print_stdout, reason = "the report is what the command is for")]
    pub(crate) fn print(&self) {
        println!("{}", self.text());
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "run {}: {} clients, {} rooms in {} organisations, {} records/s of {} bytes for {} s",
                self.run,
                self.clients,
                self.rooms,
                self.organisations,
                self.records_per_second,
                self.payload_bytes,
                self.seconds
            ),
            format!(
                "produced       {} sent, {} acknowledged, {} failed{}, {:.0}/s, at most {:.1} ms behind, {} partitions, {} misplaced",
                self.producer.sent,
                self.producer.acknowledged,
                self.producer.failed,
                self.producer
                    .first_failure
                    .as_ref()
                    .map(|why| format!(" ({why})"))
                    .unwrap_or_default(),
                self.producer.records_per_second,
                self.producer.late_ms,
                self.producer.partitions,
                self.producer.misplaced
            ),
            format!(
                "deliveries     {} expected, {} received, the last {} ms after the last record",
                self.deliveries_expected, self.deliveries_received, self.drain_ms
            ),
            format!("faults         {}", fault_text(&self.faults)),
            format!(
                "reconnects     {} cuts, {} lost connections, {} failed attempts; welcomed {} fresh, {} resumed, {} resync; resync_required {}; back after p50 {:.1} ms, max {:.1} ms",
                self.reconnects.cuts,
                self.reconnects.lost_connections,
                self.reconnects.failed_attempts,
                self.reconnects.welcomed_fresh,
                self.reconnects.welcomed_resumed,
                self.reconnects.welcomed_resync,
                self.reconnects.resync_required,
                self.reconnects.back_after_ms_p50,
                self.reconnects.back_after_ms_max
            ),
        ];
        for one in &self.disturbed {
            lines.push(format!(
                "  client {:<4} {} ({} times): {} expected, {} received, {}; {} lost connections, {} resumed, {} resync_required{}",
                one.client, one.what, one.times, one.expected, one.received, fault_text(&one.faults),
                one.lost_connections, one.resumed, one.resync_required,
                one.last_trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default()
            ));
        }
        lines.push("latency in ms from just before the hand-over to the producer's client (append included)".to_owned());
        let latency = &self.latency_ms;
        let mut rows = vec![("all", &latency.all), ("others", &latency.others)];
        if !self.disturbed.is_empty() {
            rows.push(("cut or stalled", &latency.disturbed));
        }
        if latency.others_after_stall.count + latency.others_during_stall.count > 0 {
            rows.push(("others before", &latency.others_before_stall));
            rows.push(("others in stall", &latency.others_during_stall));
            rows.push(("others after", &latency.others_after_stall));
        }
        rows.push(("others, from ack", &latency.others_since_broker_ack));
        lines.extend(
            rows.into_iter()
                .map(|(name, summary)| latency_text(name, summary)),
        );
        lines.push(format!(
            "  ({} deliveries came before the broker's ack and are not in the last row)",
            latency.before_broker_ack
        ));
        lines.extend(self.server.iter().map(|server| server.text("server")));
        lines.push(self.loadgen.text("loadgen"));
        lines.extend(
            self.counters
                .iter()
                .map(|(series, growth)| format!("  {series} +{growth}")),
        );
        lines.extend(self.samples.iter().map(|sample| format!("  ! {sample}")));
        lines.push(if self.is_clean() {
            "CLEAN".to_owned()
        } else {
            "NOT CLEAN".to_owned()
        });
        lines.join("\n")
    }
}

fn fault_text(faults: &Faults) -> String {
    let Faults {
        lost,
        duplicated,
        out_of_order,
        foreign,
        altered,
        unexpected,
    } = faults;
    format!(
        "lost {lost}, duplicated {duplicated}, out of order {out_of_order}, foreign {foreign}, altered {altered}, unexpected {unexpected}"
    )
}

fn latency_text(name: &str, summary: &Summary) -> String {
    let Summary {
        count,
        p50,
        p95,
        p99,
        p999,
        max,
    } = summary;
    format!(
        "  {name:<17} p50 {p50:>8.2}  p95 {p95:>8.2}  p99 {p99:>8.2}  p99.9 {p999:>8.2}  max {max:>9.2}  ({count})"
    )
}

impl ProducerReport {
    fn new(produced: &Produced) -> Self {
        Self {
            sent: produced.sent,
            acknowledged: produced.acknowledged,
            failed: produced.failed,
            first_failure: produced.first_failure.clone(),
            misplaced: produced.misplaced,
            partitions: produced.partitions,
            late_ms: produced.late.as_secs_f64() * 1e3,
            records_per_second: per_second(produced.sent, produced.took),
        }
    }
}

impl Reconnects {
    fn of(outcomes: &[ClientOutcome]) -> Self {
        let mut all = Self::default();
        let mut back_after = Vec::new();
        for ClientOutcome { story, .. } in outcomes {
            all.cuts += story.cuts;
            all.lost_connections += story.lost_connections;
            all.failed_attempts += story.failed_attempts;
            all.welcomed_fresh += story.fresh;
            all.welcomed_resumed += story.resumed;
            all.welcomed_resync += story.resynced;
            all.resync_required += story.resync_required;
            back_after.extend(&story.back_after);
        }
        back_after.sort_unstable();
        let milliseconds = |at: usize| {
            back_after
                .get(at)
                .map_or(0.0, |time: &Duration| time.as_secs_f64() * 1e3)
        };
        all.back_after_ms_p50 = milliseconds(back_after.len() / 2);
        all.back_after_ms_max = milliseconds(back_after.len().saturating_sub(1));
        all
    }
}

impl Disturbed {
    fn of(outcome: &ClientOutcome) -> Option<Self> {
        let ClientOutcome {
            index,
            temper,
            story,
            verdict,
        } = outcome;
        let (what, times) = match temper {
            Temper::Steady => return None,
            Temper::Cut { every, .. } => (format!("cut every {every:?}"), story.cuts),
            Temper::Stalled { lasts, .. } => (format!("stalled for {lasts:?}"), story.stalls),
        };
        Some(Self {
            client: *index,
            what,
            times,
            expected: verdict.expected,
            received: verdict.received,
            faults: verdict.faults,
            lost_connections: story.lost_connections,
            resumed: story.resumed,
            resync_required: story.resync_required,
            last_trouble: story.last_trouble.clone(),
        })
    }
}

impl ProcessReport {
    fn new(before: &Usage, after: &Usage, deliveries: u64, wall: Duration) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu);
        let micros = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        Self {
            cpu_us_per_delivery: ratio(micros, deliveries),
            cpu_cores: cpu.as_secs_f64() / wall.as_secs_f64(),
            rss_mib_before: ratio(before.rss_kib, 1024),
            rss_mib_after: ratio(after.rss_kib, 1024),
            rss_mib_peak: ratio(after.peak_rss_kib, 1024),
        }
    }

    fn text(&self, who: &str) -> String {
        format!(
            "{who:<14} {:.2} us CPU per delivery, {:.2} cores; RSS {:.0} -> {:.0} MiB, peak {:.0}",
            self.cpu_us_per_delivery,
            self.cpu_cores,
            self.rss_mib_before,
            self.rss_mib_after,
            self.rss_mib_peak
        )
    }
}

fn per_second(count: u64, took: Duration) -> f64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    ratio(count.saturating_mul(1_000_000), micros)
}
