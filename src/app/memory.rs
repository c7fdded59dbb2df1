//! `MAX_RSS`: measures what the process takes, and acts on it. What is to be done is decided by [`MemoryLimit`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use fleetcast_core::domain::memory_limit::{MemoryLimit, MemoryReading, SPARED_MS, WindowUse};
use tokio_util::sync::CancellationToken;

use crate::api::ComponentHealth;
use crate::clock;
use crate::lifecycle::{resident_bytes, return_free_memory};
use crate::session::SharedHub;
use crate::telemetry::labels::{Component, RejectReason};
use crate::telemetry::{Metrics, events};

/// Between two readings; less while memory may be full before the next.
const READING: Duration = Duration::from_secs(1);
const NEAR_READING: Duration = Duration::from_millis(200);

pub(super) struct MemoryWatch {
    /// Bytes; `None`: there is no limit, and nothing is watched.
    max_rss: Option<u64>,
    window_bytes: usize,
    hub: Arc<SharedHub>,
    metrics: Metrics,
    status: ArcSwap<MemoryStatus>,
}

/// After the last reading.
#[derive(Debug, Default)]
struct MemoryStatus {
    resident: u64,
    refuses: bool,
    /// What the window may take, if that is less than its setting.
    window_limit: Option<usize>,
    window_at_minimum: bool,
}

impl MemoryWatch {
    /// Fails if there is a limit and memory cannot be measured here. Sizes are numbers of bytes.
    pub(super) fn new(
        max_rss: Option<u64>,
        window_bytes: usize,
        hub: Arc<SharedHub>,
        metrics: Metrics,
    ) -> anyhow::Result<Arc<Self>> {
        if max_rss.is_some() {
            resident_bytes().context("MAX_RSS is set, but memory cannot be measured here")?;
        }
        Ok(Arc::new(Self {
            max_rss,
            window_bytes,
            hub,
            metrics,
            status: ArcSwap::default(),
        }))
    }

    /// Whether there is memory for one more connection.
    pub(super) fn admits(&self) -> Result<(), RejectReason> {
        if self.status.load().refuses {
            Err(RejectReason::MemShed)
        } else {
            Ok(())
        }
    }

    pub(super) fn health(&self) -> ComponentHealth {
        let status = self.status.load();
        let limit = status.window_limit.map(|bytes| {
            let of = mib(self.window_bytes as u64);
            let bytes = mib(bytes as u64);
            if status.window_at_minimum {
                let seconds = SPARED_MS / 1_000;
                format!("the window is at its minimum: its last {seconds} s stay")
            } else {
                format!("the window may take {bytes} of {of} MiB")
            }
        });
        if !status.refuses {
            return ComponentHealth::healthy(
                limit.map(|limit| format!("memory was short: {limit}")),
            );
        }
        let max = self.max_rss.unwrap_or(0);
        let mut reason = format!(
            "{} of {} MiB (MAX_RSS) are taken: new connections are refused",
            mib(status.resident),
            mib(max)
        );
        if let Some(limit) = limit {
            reason = format!("{reason}, and {limit}");
        }
        ComponentHealth::unhealthy(reason)
    }

    /// Measures and acts until `stop`. Without a limit there is nothing to do.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(max) = self.max_rss else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut limit = MemoryLimit::new(max, self.window_bytes);
        // The window is being loaded.
        let mut pause = NEAR_READING;
        while stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            pause = READING;
            match resident_bytes() {
                Ok(resident) => {
                    if limit.is_near(resident) {
                        pause = NEAR_READING;
                    }
                    self.act(&mut limit, resident).await;
                }
                Err(error) => {
                    let context = "cannot measure the memory of the process";
                    events::fault(&self.metrics, Component::Memory, context, &error);
                }
            }
        }
        Ok(())
    }

    async fn act(&self, limit: &mut MemoryLimit, resident: u64) {
        let window = self.hub.with(|hub, now| hub.window_use(now));
        let action = limit.observe(MemoryReading {
            now_ms: clock::monotonic_ms(),
            resident,
            window,
        });
        if let Some(limit) = action.limit {
            self.hub.with(|hub, _| hub.limit_window(limit));
        }
        self.tell(limit, resident, window);
        if action.shrinks {
            events::window_shortened(&self.metrics, resident, window.bytes, limit.window().bytes);
        }
        if action.trim {
            return_free_memory().await;
        }
    }

    /// Stores the status, and logs what has changed of it.
    fn tell(&self, limit: &MemoryLimit, resident: u64, window: WindowUse) {
        let limited = limit.is_limited().then(|| limit.window().bytes);
        let status = MemoryStatus {
            resident,
            refuses: limit.refuses(),
            window_limit: limited,
            window_at_minimum: limit.is_at_minimum(window),
        };
        let before = self.status.swap(Arc::new(status));
        let max = self.max_rss.unwrap_or(0);
        if before.refuses != limit.refuses() {
            if limit.refuses() {
                events::memory_short(&self.metrics, resident, max);
            } else {
                events::memory_free(&self.metrics, resident, max);
            }
        }
        if !before.window_at_minimum && limit.is_at_minimum(window) {
            events::window_at_minimum(&self.metrics, resident, max);
        }
        if before.window_limit.is_some() && limited.is_none() {
            events::window_unlimited(&self.metrics);
        }
    }
}

/// Whole, rounded.
fn mib(bytes: u64) -> u64 {
    (bytes + (1 << 19)) >> 20
}

#[cfg(test)]
mod tests {
    use fleetcast_core::hub::HubSettings;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn watch(max_rss: u64) -> Arc<MemoryWatch> {
        let hub = SharedHub::new(HubSettings {
            window_ms: 60_000,
            window_bytes: 1_000_000,
            latest_bytes: 0,
            named_partitions: 0,
        });
        MemoryWatch::new(Some(max_rss), 1_000_000, hub, Metrics::new()).expect("Linux")
    }

    fn said(watch: &MemoryWatch) -> (bool, String) {
        let health = watch.health();
        let json = serde_json::to_value(&health).expect("plain data");
        let reason = json["reason"].as_str().unwrap_or_default().to_owned();
        (health.is_healthy(), reason)
    }

    #[tokio::test]
    async fn what_is_refused_and_how_short_the_window_is_are_said_in_words() {
        let watch = watch(200 * MIB);
        let mut limit = MemoryLimit::new(200 * MIB, 1_000_000);
        watch.act(&mut limit, 100 * MIB).await;
        assert_eq!(
            (watch.admits(), said(&watch)),
            (Ok(()), (true, String::new()))
        );
        watch.act(&mut limit, 175 * MIB).await;
        assert_eq!(watch.admits(), Err(RejectReason::MemShed));
        let refused = "175 of 200 MiB (MAX_RSS) are taken: new connections are refused";
        assert_eq!(said(&watch), (false, refused.to_owned()));
        // There is nothing in the window to evict.
        watch.act(&mut limit, 190 * MIB).await;
        let (is_healthy, reason) = said(&watch);
        assert!(!is_healthy);
        assert!(
            reason.ends_with(", and the window is at its minimum: its last 10 s stay"),
            "{reason}"
        );
        watch.act(&mut limit, 160 * MIB).await;
        let (is_healthy, reason) = said(&watch);
        assert_eq!((watch.admits(), is_healthy), (Ok(()), true));
        assert!(
            reason.starts_with("memory was short: the window is"),
            "{reason}"
        );
        let shrunk = "fleetcast_window_shortened_total 1";
        assert!(watch.metrics.render().contains(shrunk));
    }
}
