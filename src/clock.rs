//! The only place that asks the machine for the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The last moment of the year 9999, in milliseconds since the Unix epoch.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the wall clock"
)]
pub fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of monotonic time since the process first asked.
pub fn monotonic_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How long the calling thread has had the processor since it began.
pub fn thread_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or(Duration::ZERO)
}

/// `2026-11-21T12:00:00.000Z`, from milliseconds since the Unix epoch; nothing later than the year 9999.
pub fn rfc3339(wall_ms: u64) -> String {
    // The library panics at later ones.
    let wall_ms = Duration::from_millis(wall_ms.min(LATEST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + wall_ms).to_string()
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
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }
}
