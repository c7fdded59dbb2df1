//! What the city says: one record's worth.

use serde::Serialize;
use serde_json::Value;

/// One event of the dispatch profile, before it is a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub topic: &'static str,
    /// The object that it is about: records of one object stay in order.
    pub key: String,
    pub name: &'static str,
    pub organisation: &'static str,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    pub data: Value,
}

impl Event {
    /// The record's value, as the contract shows it.
    pub fn value(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            event_type: &'a str,
            organization_id: &'a str,
            timestamp: String,
            data: &'a Value,
        }
        let body = Body {
            event_type: self.name,
            organization_id: self.organisation,
            timestamp: iso8601(self.timestamp_ms),
            data: &self.data,
        };
        serde_json::to_string(&body).expect("text keys and finite numbers always serialise")
    }
}

/// `2026-11-21T12:00:00.000Z`
pub(super) fn iso8601(unix_ms: u64) -> String {
    const DAY_S: u64 = 86_400;
    let seconds = unix_ms / 1000;
    let (year, month, day) = civil(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        unix_ms % 1000
    )
}

/// Year, month and day of a day counted from 1970-01-01, by eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    let days = days + 719_468;
    let era = days / ERA_DAYS;
    let of_era = days % ERA_DAYS;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_and_parsers_expect() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso8601(unix_ms), text);
        }
    }
}
