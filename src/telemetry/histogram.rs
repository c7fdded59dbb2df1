//! Histograms of our own, for what is taken often (deliveries, pauses of the loop): fixed buckets of atomics. Those of the recorder keep
//! every sample in memory until the next upkeep, and allocate for it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalogue::Declared;

/// The buckets of a histogram, and the unit in which it is fed.
#[derive(Debug)]
pub(super) struct BucketBounds {
    /// Units in a second.
    pub(super) per_second: u32,
    /// The largest whole number of units in each bucket, rising, and the bucket's upper bound in seconds as a scrape shows it.
    pub(super) at_most: &'static [(u64, &'static str)],
}

/// One series of a histogram. Feeding it takes two relaxed additions, no lock and no memory.
#[derive(Debug)]
pub(super) struct BucketCounts {
    bounds: &'static BucketBounds,
    /// By bucket, not cumulative; the last one is for what is above all bounds.
    counts: Box<[AtomicU64]>,
    /// In units.
    sum: AtomicU64,
}

impl BucketCounts {
    pub(super) fn new(bounds: &'static BucketBounds) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.at_most.len())
                .map(|_| AtomicU64::new(0))
                .collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Adds `count` samples of `value` units each.
    pub(super) fn add(&self, value: u64, count: u64) {
        let bounds = self.bounds.at_most;
        let bucket = bounds.partition_point(|(at_most, _)| *at_most < value);
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        self.sum
            .fetch_add(value.saturating_mul(count), Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        let mut counts = self.counts.iter();
        counts.all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// Appends the lines of this series, in Prometheus' text format. The count is that of `+Inf`; a sample that comes in the
    /// meantime may be in the sum already.
    pub(super) fn render(
        &self,
        declared: Declared,
        label: Option<(&str, &str)>,
        text: &mut String,
    ) {
        let name = declared.name;
        let label = label.map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
        let (front, alone) = match &label {
            Some(label) => (format!("{label},"), format!("{{{label}}}")),
            None => (String::new(), String::new()),
        };
        let bounds = self.bounds.at_most.iter().map(|(_, shown)| *shown);
        let mut total = 0;
        for (bound, count) in bounds.chain(["+Inf"]).zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            line(
                text,
                format_args!("{name}_bucket{{{front}le=\"{bound}\"}} {total}"),
            );
        }
        let sum = seconds(self.sum.load(Ordering::Relaxed), self.bounds.per_second);
        line(text, format_args!("{name}_sum{alone} {sum}"));
        line(text, format_args!("{name}_count{alone} {total}"));
    }
}

/// Appends the two lines that stand above the series of a metric.
pub(super) fn render_head(declared: Declared, kind: &str, text: &mut String) {
    let Declared { name, help, .. } = declared;
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

/// Appends one line.
pub(super) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}

/// Of a number of units.
#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
pub(super) fn seconds(units: u64, per_second: u32) -> f64 {
    units as f64 / f64::from(per_second)
}

/// As a label's value stands between quotes.
fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{DELIVERY_SECONDS, LOOP_PAUSE_SECONDS};
    use super::super::{delivery_times, loop_pauses};
    use super::*;

    const BOUNDS: BucketBounds = BucketBounds {
        per_second: 1_000,
        at_most: &[(2, "0.0025"), (1_000, "1")],
    };

    #[test]
    fn a_series_is_rendered_as_prometheus_reads_it() {
        let series = BucketCounts::new(&BOUNDS);
        assert!(series.is_empty());
        series.add(0, 1);
        series.add(2, 1);
        series.add(3, 4);
        series.add(1_001, 1);
        assert!(!series.is_empty());
        let mut text = String::new();
        series.render(DELIVERY_SECONDS, Some(("event", r#"a"b\c"#)), &mut text);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                r#"fleetcast_delivery_seconds_bucket{event="a\"b\\c",le="0.0025"} 2"#,
                r#"fleetcast_delivery_seconds_bucket{event="a\"b\\c",le="1"} 6"#,
                r#"fleetcast_delivery_seconds_bucket{event="a\"b\\c",le="+Inf"} 7"#,
                r#"fleetcast_delivery_seconds_sum{event="a\"b\\c"} 1.015"#,
                r#"fleetcast_delivery_seconds_count{event="a\"b\\c"} 7"#,
            ]
        );
    }

    #[test]
    fn a_series_without_labels_has_no_empty_braces() {
        let mut text = String::new();
        BucketCounts::new(&BOUNDS).render(LOOP_PAUSE_SECONDS, None, &mut text);
        assert!(text.contains("fleetcast_loop_pause_seconds_bucket{le=\"1\"} 0\n"));
        assert!(text.ends_with("_sum 0\nfleetcast_loop_pause_seconds_count 0\n"));
    }

    /// A bound of 2.5 ms holds whole milliseconds up to 2.
    #[test]
    fn bounds_rise_and_say_in_seconds_what_they_hold_in_units() {
        for bounds in [&delivery_times::BOUNDS, &loop_pauses::BOUNDS] {
            assert!(bounds.at_most.is_sorted_by(|one, next| one.0 < next.0));
            for (units, shown) in bounds.at_most {
                let bound: f64 = shown.parse().unwrap();
                assert_eq!(bound.to_string(), *shown);
                assert!(seconds(*units, bounds.per_second) <= bound, "{shown}");
                assert!(seconds(units + 1, bounds.per_second) > bound, "{shown}");
            }
        }
    }
}
