//! One clock for the producer and all clients of a process: nanoseconds since the Unix epoch that never step.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
    unix_base: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let unix_base = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            base: Instant::now(),
            unix_base,
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from((self.unix_base + self.base.elapsed()).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn unix_seconds(self) -> u64 {
        self.now_ns() / 1_000_000_000
    }

    /// `2026-11-21T12:00:00Z`: what records carry as `timestamp`.
    pub(crate) fn rfc3339(self) -> String {
        rfc3339(self.unix_seconds())
    }
}

/// Days to a date by counting 400-year cycles from 1 March of year 0 (the usual civil calendar arithmetic).
fn rfc3339(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400 + 719_468, unix_seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_262_400), "2026-11-21T12:00:00Z");
    }
}
