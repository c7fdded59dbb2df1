//! Gives memory back to the system after many connections have ended. The allocator keeps what lies between pieces that are still in
//! use, and after a storm of 5,000 connections that was 96 MiB; asked for it, it returns nearly all. (jemalloc and mimalloc return it by
//! themselves, and need 1.5 KB and 2.5 KB more for each idle connection.)
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "no crate offers malloc_trim as a safe function")
)]

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Between two looks. Memory is asked for at most that often.
const LOOK: Duration = Duration::from_secs(20);

/// It is worth it after so many connections have ended: they held 10 MB.
const MANY: u64 = 500;

/// Until `stop`. `ended`: how many connections have ended since the start.
pub async fn give_back_memory(ended: impl Fn() -> u64, stop: CancellationToken) {
    let mut before = 0;
    while stop
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        let now = ended();
        if now.saturating_sub(before) >= MANY {
            before = now;
            // Not on the loop's thread: it takes some milliseconds. A panic in it would be in the allocator.
            drop(tokio::task::spawn_blocking(trim).await);
        }
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it may be called at any time and on any thread, and takes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators (musl) return what is free.
#[cfg(not(target_env = "gnu"))]
fn trim() {}
