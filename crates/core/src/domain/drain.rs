//! Draining a share of the connections, so that other instances get them: how many, which, and when each is closed.

use std::fmt;
use std::time::Duration;

/// Seconds over which a drain may be spread.
pub const MAX_DRAIN_SECONDS: u32 = 3_600;

/// If it is not said.
pub const DEFAULT_DRAIN_SECONDS: u32 = 30;

/// A share of the connections: above 0, at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrainShare(f64);

impl DrainShare {
    /// What the instances that were there give away when their number is doubled.
    pub const HALF: Self = Self(0.5);

    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let share = text
            .parse()
            .ok()
            .filter(|share| *share > 0.0 && *share <= 1.0);
        share
            .map(Self)
            .ok_or("expected a number above 0 and at most 1")
    }

    /// The first of these transports that carry this share of all connections: of the nearest whole number of them, and one more where
    /// the last transport carries two. Each stands for the connections that it carries; in random order, the choice is random.
    pub fn choose<C>(self, transports: Vec<Vec<C>>) -> Vec<Vec<C>> {
        let all = number(transports.iter().map(Vec::len).sum());
        let wanted = self.0 * f64::from(all);
        let mut chosen = 0_u32;
        let mut transports = transports;
        let count = transports.iter().take_while(|carried| {
            let more = f64::from(chosen) + 0.5 <= wanted;
            chosen = chosen.saturating_add(number(carried.len()));
            more
        });
        let count = count.count();
        transports.truncate(count);
        transports
    }
}

/// As it is parsed.
impl fmt::Display for DrainShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

pub fn parse_drain_seconds(text: &str) -> Result<u32, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| *seconds <= MAX_DRAIN_SECONDS);
    seconds.ok_or_else(|| format!("expected a whole number from 0 to {MAX_DRAIN_SECONDS}"))
}

/// How long after the start the transport with this number, counted from 0, is closed: evenly spread, the first at once.
pub fn closed_after(spread: Duration, number: u32, count: u32) -> Duration {
    spread.mul_f64(f64::from(number) / f64::from(count.max(1)))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> DrainShare {
        DrainShare::parse(text).unwrap()
    }

    #[test]
    fn s4_25_a_share_is_a_number_above_0_and_at_most_1() {
        for good in ["0.5", "1", "1.0", "1e-3", "0.01", "5e-324"] {
            let share = share(good);
            assert_eq!(DrainShare::parse(&share.to_string()), Ok(share), "{good}");
        }
        for bad in [
            "",
            " ",
            "0",
            "-0",
            "0.0",
            "-0.5",
            "1.0000001",
            "2",
            "50",
            "50%",
            "NaN",
            "nan",
            "-nan",
            "inf",
            "-inf",
            "infinity",
            "1e400",
            "-1e400",
            "1e-400",
            "abc",
            "0,5",
            "0x1",
            "1/2",
            " 0.5",
            "0.5 ",
            "0.5.5",
            "½",
            "true",
            "null",
        ] {
            assert!(DrainShare::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn s4_25_drain_seconds_are_a_whole_number_up_to_an_hour() {
        for (good, seconds) in [("0", 0), ("30", 30), ("3600", 3600)] {
            assert_eq!(parse_drain_seconds(good), Ok(seconds));
        }
        for bad in [
            "",
            "-1",
            "3601",
            "1.5",
            "30.0",
            "1e3",
            "30s",
            "NaN",
            "inf",
            "abc",
            "4294967296",
            " 1",
            "99999999999999999999",
        ] {
            assert!(parse_drain_seconds(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn s4_25_the_nearest_number_of_connections_is_chosen() {
        for (text, open, chosen) in [
            ("0.5", 40, 20),
            ("0.5", 1, 1),
            ("0.5", 3, 2),
            ("0.49", 1, 0),
            ("0.01", 49, 0),
            ("0.01", 50, 1),
            ("0.1", 30, 3),
            ("0.333", 10_000, 3_330),
            ("1", 10_000, 10_000),
            ("5e-324", 10_000, 0),
            ("1", 0, 0),
        ] {
            let transports: Vec<_> = (0..open).map(|number| vec![number]).collect();
            let found = share(text).choose(transports.clone());
            assert_eq!(found, transports[..chosen], "{text} of {open}");
        }
    }

    #[test]
    fn s4_25_a_transport_with_two_namespaces_is_chosen_whole_and_counts_as_two_connections() {
        for (text, carried, chosen) in [
            ("0.5", &[2, 2, 2, 2][..], 2),
            ("0.5", &[1, 1, 2, 1, 1], 3),
            ("0.5", &[1, 2, 1, 1, 1], 2),
            ("0.5", &[2, 2, 1, 1], 2),
            ("0.5", &[2], 1),
            ("1", &[1, 2, 1], 3),
        ] {
            let transports: Vec<_> = carried.iter().map(|count| vec![(); *count]).collect();
            let found = share(text).choose(transports);
            let found: Vec<_> = found.iter().map(Vec::len).collect();
            assert_eq!(found, carried[..chosen], "{text} of {carried:?}");
        }
    }

    #[test]
    fn s4_25_closes_are_spread_evenly_from_the_start_on() {
        let after = |seconds, count: u32| -> Vec<u128> {
            let spread = Duration::from_secs(seconds);
            let after = (0..count).map(|number| closed_after(spread, number, count));
            after.map(|after| after.as_millis()).collect()
        };
        assert_eq!(after(2, 4), [0, 500, 1000, 1500]);
        assert_eq!(after(3600, 1), [0]);
        assert_eq!(after(0, 3), [0, 0, 0]);
        let many = after(u64::from(MAX_DRAIN_SECONDS), 10_000);
        assert!(many.windows(2).all(|pair| pair[1] - pair[0] == 360));
        assert_eq!(closed_after(Duration::from_secs(1), 0, 0), Duration::ZERO);
    }
}
