//! Gives memory back to the system after many connections have ended. The allocator keeps what lies between pieces that are still in
//! use, and after a storm of 5,000 connections that was 96 MiB; asked for it, it returns nearly all. (jemalloc and mimalloc return it by
//! themselves, and need 1.5 KB and 2.5 KB more for each idle connection.)
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "no crate offers malloc_trim as a safe function")
)]

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Between two looks: the allocator is asked at most that often.
const LOOK: Duration = Duration::from_secs(20);

/// It is worth it after the number of open connections has fallen by so many: they held 10 MB. Clients that come and go while their
/// number stays the same use the memory again.
const MANY: usize = 500;

/// Looks after the memory until `stop`. `connections`: the most that were open since the last call, and how many are open now.
pub async fn give_back_memory(connections: impl Fn() -> (usize, usize), stop: CancellationToken) {
    let mut fall = Fall::default();
    while stop
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        let (peak, open) = connections();
        if fall.is_over(peak, open) {
            return_free_memory().await;
        }
    }
}

/// Has the allocator return what is free, on another thread, because it takes some milliseconds. The loop waits all the same where it
/// allocates from the part of the memory that is being looked through, and the log says for how long that may be. A panic is logged by the
/// panic hook.
pub async fn return_free_memory() {
    if let Ok(took) = tokio::task::spawn_blocking(trim).await {
        debug!(took_ms = took.as_millis(), "memory was given back");
    }
}

/// How far the number of connections has fallen since memory was given back last.
#[derive(Debug, Default)]
struct Fall {
    peak: usize,
}

impl Fall {
    /// Whether it has fallen far enough. Then it is counted from here.
    fn is_over(&mut self, peak: usize, open: usize) -> bool {
        self.peak = self.peak.max(peak);
        let is_over = self.peak.saturating_sub(open) >= MANY;
        if is_over {
            self.peak = open;
        }
        is_over
    }
}

/// Returns how long it took.
fn trim() -> Duration {
    let begin = Instant::now();
    trim_heap();
    begin.elapsed()
}

#[cfg(target_env = "gnu")]
fn trim_heap() {
    // SAFETY: it may be called at any time and on any thread, and takes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators (musl) return what is free.
#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_the_number_has_fallen_and_not_when_clients_come_and_go() {
        let mut fall = Fall::default();
        let looks = [
            (10_000, 10_000, false),
            (10_300, 9_900, false),
            (9_900, 9_850, false),
            (9_850, 9_790, true),
            (10_200, 9_800, false),
            (9_800, 9_300, true),
            (5_000, 0, true),
            (499, 0, false),
            (0, 0, false),
            (500, 0, true),
        ];
        for (peak, open, expected) in looks {
            assert_eq!(fall.is_over(peak, open), expected, "{peak} {open}");
        }
    }

    #[test]
    fn memory_can_be_given_back_at_any_time() {
        let kept: Vec<Vec<u8>> = (0..1_000).map(|at| vec![7; at]).collect();
        assert!(trim() < Duration::from_mins(1));
        assert!(kept.iter().flatten().all(|byte| *byte == 7));
    }
}
