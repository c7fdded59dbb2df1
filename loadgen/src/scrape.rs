//! Fleetcast's metrics at one moment.

/// Writes to the kernel of the lane.
pub(crate) const WRITES: &str = "fleetcast_lane_writes_total";
const PAUSES: &str = "fleetcast_loop_pause_seconds_bucket";

pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) fn parse(text: String) -> Self {
        Self(text)
    }

    /// Summed over its series; `None`: there is no such metric.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.labelled(name, "")
    }

    /// The same over those series that have this among their labels: `outcome="ok"`.
    pub(crate) fn labelled(&self, name: &str, label: &str) -> Option<f64> {
        let series = self.0.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(label))
        });
        let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.reduce(|sum, value| sum + value)
    }

    pub(crate) fn growth(&self, before: &Self, name: &str) -> Option<f64> {
        Some(self.value(name)? - before.value(name).unwrap_or(0.0))
    }

    /// The upper end in seconds of the highest bucket of the loop's pauses that has grown; infinite if that is the last one.
    pub(crate) fn longest_pause(&self, before: &Self) -> Option<f64> {
        let mut longest = None;
        let mut below = 0.0;
        for (limit, now) in self.pauses() {
            let then = before.pauses().find(|(earlier, _)| *earlier == limit);
            let grown = now - then.map_or(0.0, |(_, count)| count);
            if grown > below {
                longest = Some(if limit == "+Inf" {
                    f64::INFINITY
                } else {
                    limit.parse().ok()?
                });
            }
            below = grown;
        }
        longest
    }

    /// The buckets, which are cumulative, in the order of their limits.
    fn pauses(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(PAUSES)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let limit = labels.split("le=\"").nth(1)?.split('"').next()?;
            Some((limit, value.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(text: &str) -> Scrape {
        Scrape::parse(text.to_owned())
    }

    #[test]
    fn values_are_summed_over_series_and_absent_ones_are_none() {
        let text = "a_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 7\nb 1\n";
        assert_eq!(scrape(text).value("a_total"), Some(5.0));
        assert_eq!(scrape(text).labelled("a_total", "x=\"2\""), Some(3.0));
        assert_eq!(scrape(text).value("c_total"), None);
        assert_eq!(
            scrape(text).growth(&scrape("a_total 1\n"), "a_total"),
            Some(4.0)
        );
    }

    #[test]
    fn the_longest_pause_is_the_highest_bucket_with_something_new() {
        let bucket = |limit: &str, count: u32| format!("{PAUSES}{{le=\"{limit}\"}} {count}\n");
        let before = [bucket("0.01", 5), bucket("0.02", 6), bucket("+Inf", 6)].concat();
        let after = [bucket("0.01", 9), bucket("0.02", 11), bucket("+Inf", 11)].concat();
        assert_eq!(scrape(&after).longest_pause(&scrape(&before)), Some(0.02));
        assert_eq!(scrape(&before).longest_pause(&scrape(&before)), None);
        let worse = [bucket("0.01", 5), bucket("0.02", 6), bucket("+Inf", 7)].concat();
        assert_eq!(
            scrape(&worse).longest_pause(&scrape(&before)),
            Some(f64::INFINITY)
        );
    }
}
