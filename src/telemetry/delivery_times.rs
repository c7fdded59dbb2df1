//! How long events took from Kafka to the kernel. Taken once per delivery, so each one has to cost a few nanoseconds: the event's
//! name is looked up once per publication, and its deliveries go by index.

use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use fleetcast_core::hub::OTHER_EVENTS;

use super::catalogue::DELIVERY_SECONDS;
use super::histogram::{BucketBounds, BucketCounts, render_head};

/// From a millisecond to half a minute.
pub(super) const BOUNDS: BucketBounds = BucketBounds {
    per_second: 1_000,
    at_most: &[
        (1, "0.001"),
        (2, "0.0025"),
        (5, "0.005"),
        (10, "0.01"),
        (25, "0.025"),
        (50, "0.05"),
        (100, "0.1"),
        (250, "0.25"),
        (500, "0.5"),
        (1_000, "1"),
        (2_500, "2.5"),
        (5_000, "5"),
        (10_000, "10"),
        (30_000, "30"),
    ],
};

/// Events with a series of their own: those of the profile, and after reloads those of the profiles before.
const MAX_EVENTS: usize = 1_000;

/// Longer times count as this, a day: producers may stamp a record with anything, and a sum that overflows would look like a
/// restart to Prometheus.
const LONGEST_MS: u64 = 86_400_000;

/// `fleetcast_delivery_seconds`, by event.
pub struct DeliveryTimes {
    numbers: RwLock<BTreeMap<String, u32>>,
    /// By index. 0 is that of the further events, and of those that are published under other names; it is shown once it has samples.
    series: Box<[OnceLock<BucketCounts>]>,
}

impl DeliveryTimes {
    pub(super) fn new() -> Self {
        let times = Self {
            numbers: RwLock::default(),
            series: (0..=MAX_EVENTS).map(|_| OnceLock::new()).collect(),
        };
        times.series[0].get_or_init(|| BucketCounts::new(&BOUNDS));
        times
    }

    /// Gives an event a series, at zero the first time. Names of events come from the profile, never from records.
    pub(super) fn declare(&self, event: &str) {
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        let next = numbers.len() + 1;
        let Some(series) = self.series.get(next) else {
            return;
        };
        if !numbers.contains_key(event) {
            series.get_or_init(|| BucketCounts::new(&BOUNDS));
            let next = u32::try_from(next).expect("there are not so many series");
            numbers.insert(event.to_owned(), next);
        }
    }

    /// The index of an event for [`observe`](Self::observe), good for as long as the process lives. Look it up once per
    /// publication. Events without a series of their own share one.
    pub fn index(&self, event: &str) -> u32 {
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        numbers.get(event).copied().unwrap_or(0)
    }

    /// The kernel has the last byte of an event for one client, so many milliseconds after the record's timestamp: see
    /// [`elapsed`](Self::elapsed).
    pub fn observe(&self, index: u32, milliseconds: u64) {
        self.observe_many(index, milliseconds, 1);
    }

    /// The same for `count` deliveries of one event that took equally long.
    pub fn observe_many(&self, index: u32, milliseconds: u64, count: u64) {
        let series = usize::try_from(index).ok();
        let series = series.and_then(|index| self.series.get(index)?.get());
        if let Some(series) = series {
            series.add(milliseconds.min(LONGEST_MS), count);
        }
    }

    /// Milliseconds from a record's timestamp to `wall_ms`, both since the Unix epoch. 0 if the producer's clock is ahead.
    pub fn elapsed(timestamp: i64, wall_ms: u64) -> u64 {
        wall_ms.saturating_sub(u64::try_from(timestamp).unwrap_or(0))
    }

    /// Appends the metric in Prometheus' text format, events by name. Nothing without events.
    pub(super) fn render(&self, text: &mut String) {
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        let series = |number| self.series.get(usize::try_from(number).ok()?)?.get();
        let other = series(0).filter(|other| !other.is_empty());
        let events = numbers
            .iter()
            .filter_map(|(event, number)| Some((event.as_str(), series(*number)?)));
        let mut all = other
            .map(|other| (OTHER_EVENTS, other))
            .into_iter()
            .chain(events);
        let Some(first) = all.next() else {
            return;
        };
        render_head(DELIVERY_SECONDS, "histogram", text);
        for (event, series) in [first].into_iter().chain(all) {
            series.render(DELIVERY_SECONDS, Some(("event", event)), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(times: &DeliveryTimes) -> String {
        let mut text = String::new();
        times.render(&mut text);
        text
    }

    #[track_caller]
    fn check(times: &DeliveryTimes, lines: &[&str]) {
        let text = rendered(times);
        for line in lines {
            assert!(text.lines().any(|shown| shown == *line), "{line}:\n{text}");
        }
    }

    #[test]
    fn declared_events_are_there_at_zero_and_count_apart() {
        let times = DeliveryTimes::new();
        assert_eq!(rendered(&times), "");
        times.declare("alert_created");
        times.declare("asset_moved");
        let alert = times.index("alert_created");
        times.declare("alert_created");
        assert_eq!(times.index("alert_created"), alert);
        times.observe(alert, 3);
        times.observe_many(alert, 40_000, 2);
        check(
            &times,
            &[
                "# TYPE fleetcast_delivery_seconds histogram",
                r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="0.0025"} 0"#,
                r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="0.005"} 1"#,
                r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="30"} 1"#,
                r#"fleetcast_delivery_seconds_bucket{event="alert_created",le="+Inf"} 3"#,
                r#"fleetcast_delivery_seconds_sum{event="alert_created"} 80.003"#,
                r#"fleetcast_delivery_seconds_count{event="alert_created"} 3"#,
                r#"fleetcast_delivery_seconds_count{event="asset_moved"} 0"#,
            ],
        );
        assert!(!rendered(&times).contains(OTHER_EVENTS));
    }

    #[test]
    fn events_that_are_not_declared_or_too_many_share_a_series() {
        let times = DeliveryTimes::new();
        for number in 0..=MAX_EVENTS {
            times.declare(&format!("event_{number}"));
        }
        let last = times.index(&format!("event_{}", MAX_EVENTS - 1));
        assert_eq!(usize::try_from(last).unwrap(), MAX_EVENTS);
        let further = times.index(&format!("event_{MAX_EVENTS}"));
        assert_eq!(further, times.index("unheard_of"));
        times.observe(last, 1);
        times.observe(further, 1);
        times.observe(u32::MAX, 1);
        check(
            &times,
            &[
                r#"fleetcast_delivery_seconds_count{event="event_999"} 1"#,
                r#"fleetcast_delivery_seconds_count{event="(other)"} 1"#,
            ],
        );
    }

    #[test]
    fn a_clock_ahead_counts_as_no_time_and_a_timestamp_of_zero_as_a_day() {
        assert_eq!(DeliveryTimes::elapsed(1_500, 1_000), 0);
        assert_eq!(DeliveryTimes::elapsed(1_000, 1_500), 500);
        assert_eq!(DeliveryTimes::elapsed(-1, 1_500), 1_500);
        let times = DeliveryTimes::new();
        times.declare("alert_created");
        let index = times.index("alert_created");
        times.observe_many(index, u64::MAX, 10_000_000);
        let sum = r#"fleetcast_delivery_seconds_sum{event="alert_created"} 864000000000"#;
        check(&times, &[sum]);
    }
}
