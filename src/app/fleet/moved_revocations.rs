//! Revocations that Redis keeps from the time before there was a topic for them: they move to the topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::app::control::ControlTopics;
use crate::bus::{Adapter, KeptPage, KeptRevocation, KeptRevocations, RedisFault};
use crate::session::Sessions;
use crate::telemetry::Metrics;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

/// Instances that have no topic yet may keep some more.
const LOOK: Duration = Duration::from_mins(1);

/// Before what has failed is tried again, and between two looks at whether the topic is read.
const AGAIN: Duration = Duration::from_secs(1);

/// The topic shows what is written to it within this time.
const SHOWN: Duration = Duration::from_secs(10);

pub(super) struct RevocationMover {
    adapter: Arc<Adapter>,
    kept: KeptRevocations,
    sessions: Arc<Sessions>,
    topics: Arc<ControlTopics>,
    metrics: Metrics,
    is_read: AtomicBool,
    has_failed: AtomicBool,
}

impl RevocationMover {
    pub(super) fn new(
        adapter: &Arc<Adapter>,
        sessions: &Arc<Sessions>,
        topics: &Arc<ControlTopics>,
    ) -> Self {
        Self {
            adapter: adapter.clone(),
            kept: adapter.kept_revocations(),
            sessions: sessions.clone(),
            topics: topics.clone(),
            metrics: sessions.metrics().clone(),
            is_read: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Whether the start has nothing to wait for: all was read once, or could not be.
    pub(super) fn is_settled(&self) -> bool {
        self.is_read.load(Ordering::Relaxed) || self.has_failed.load(Ordering::Relaxed)
    }

    /// For good.
    pub(super) async fn run(&self) {
        // What the topic holds is known first, so that nothing is written to it that it has.
        while !self.topics.is_read() {
            tokio::time::sleep(AGAIN / 10).await;
        }
        loop {
            let pause = match self.pass().await {
                Ok(0) => LOOK,
                Ok(_) => SHOWN,
                Err(fault) => {
                    // Of a Redis that is away the log has a line of its own.
                    let is_news = fault != RedisFault::NotYet
                        && !self.has_failed.swap(true, Ordering::Relaxed);
                    if is_news && self.adapter.link().is_up() {
                        let context = "cannot move revocations from Redis to their topic";
                        events::fault(&self.metrics, Component::Redis, context, &fault);
                    }
                    AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Learns all that is kept, has the topic hold it, and removes what the topic holds. Gives how many wait for that.
    async fn pass(&self) -> Result<usize, RedisFault> {
        let (mut from, mut waiting) = (Some(0), 0);
        while let Some(place) = from {
            let KeptPage { kept, next, .. } = self.kept.page(place).await?;
            let total = kept.len();
            let moved: Vec<_> = kept.into_iter().filter(|one| self.is_moved(one)).collect();
            waiting += total - moved.len();
            if !moved.is_empty() {
                self.kept.remove(&moved).await?;
            }
            from = next;
            tokio::task::yield_now().await;
        }
        self.is_read.store(true, Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
        Ok(waiting)
    }

    /// Whether the topic says as much, or nothing needs to.
    fn is_moved(&self, one: &KeptRevocation) -> bool {
        let KeptRevocation {
            target, revocation, ..
        } = one;
        if self.sessions.has_ended(*revocation, Duration::ZERO) {
            return true;
        }
        let before = self.sessions.revocation(target);
        let merged = self.sessions.revoke(target, *revocation);
        if before == Some(merged) && self.sessions.revocation_log(target) != 0 {
            return true;
        }
        if before != Some(merged) {
            self.sessions.revocation_read_in(target, 0);
        }
        self.topics.repairs.owe(target.clone());
        false
    }
}
