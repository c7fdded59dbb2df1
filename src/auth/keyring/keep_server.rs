//! The key server, asked again before its answer is stale, when a token wants it, and at growing distances while it is away.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::server::{FetchedKeys, KeyServer};
use super::{Keyring, RefreshIntervals};
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events};

impl Keyring {
    /// Keeps the key server's keys current until `stopping`.
    pub(in crate::auth) async fn keep_server(
        self: Arc<Self>,
        metrics: Metrics,
        stopping: CancellationToken,
    ) {
        let Some(server) = &self.server else { return };
        let work = async {
            let mut failures = 0;
            loop {
                let wait = if let Some(good_for) = self.ask_once(server, &metrics).await {
                    failures = 0;
                    good_for
                } else {
                    failures += 1;
                    back_off(self.pace, failures)
                };
                self.until_due(Instant::now() + wait).await;
            }
        };
        stopping.run_until_cancelled(work).await;
    }

    async fn until_due(&self, due: Instant) {
        loop {
            if self.lock().of_server.wanted {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                // Left over from a question that has been asked meanwhile, maybe: look again.
                () = self.ask_server.notified() => {}
            }
        }
    }

    /// One question to the server, for how long its answer is good. The command line asks once, too.
    async fn ask_once(&self, server: &KeyServer, metrics: &Metrics) -> Option<Duration> {
        let bypass_caches = {
            let mut state = self.lock();
            state.of_server.last_begun = Some(Instant::now());
            std::mem::take(&mut state.of_server.wanted)
        };
        self.progress
            .send_modify(|progress| progress.server.begun += 1);
        let answer = server.fetch(&self.allowed, bypass_caches).await;
        let good_for = self.take(server, answer, metrics);
        self.progress.send_modify(|progress| {
            progress.server.ended = progress.server.begun;
            if good_for.is_some() {
                progress.server.good = progress.server.ended;
            }
        });
        good_for
    }

    fn take(
        &self,
        server: &KeyServer,
        answer: Result<FetchedKeys, String>,
        metrics: &Metrics,
    ) -> Option<Duration> {
        let mut state = self.lock();
        let known = &mut state.of_server;
        match answer {
            Ok(FetchedKeys { keys, good_for }) => {
                let news = known.answered.is_none() || known.problem.is_some();
                let count = keys.len();
                known.keys = keys.into_iter().map(Arc::new).collect();
                known.answered = Some(Instant::now());
                known.problem = None;
                self.publish(&state);
                if news {
                    events::key_server_up(&server.name(), count);
                }
                Some(good_for)
            }
            Err(why) => {
                let (news, has_keys) = (known.problem.is_none(), known.answered.is_some());
                known.problem = Some(why.clone());
                drop(state);
                metrics.errors.increment(Component::Keys);
                if news {
                    events::key_server_down(&server.name(), &why, has_keys);
                }
                None
            }
        }
    }

    /// Asks the key server, if there is one, and says what it said. For the command line.
    pub(in crate::auth) async fn ask_now(&self, metrics: &Metrics) -> anyhow::Result<()> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        if self.ask_once(server, metrics).await.is_none() {
            let problem = self.lock().of_server.problem.clone();
            return Err(anyhow::anyhow!(problem.unwrap_or_default()))
                .with_context(|| format!("the key server {} gave no keys", server.name()));
        }
        Ok(())
    }
}

/// Spread, so that instances that lost the server together do not ask it together.
fn back_off(pace: RefreshIntervals, failures: u32) -> Duration {
    let doubled = pace
        .retry_first
        .saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(pace.retry_longest)
        .mul_f64(rand::rng().random_range(0.75..1.25))
}
