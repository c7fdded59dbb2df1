//! The life of the process: the one way to start tasks and threads, the two stages of stopping, and who decides that it failed.
//!
//! *Soft* means: take nothing new, finish what is open, end. *Hard* means: end now. The first signal and every failure of a
//! critical part cancel soft; a second signal or the deadline cancels hard. Cancelling hard cancels soft too.

mod heap;
mod panics;
mod resident;
mod signals;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

pub use heap::{give_back_memory, return_free_memory};
pub use panics::log_panics;
pub use resident::resident_bytes;
pub use signals::Signals;

/// How long tasks and threads may take to end once the hard token is cancelled.
const AFTER_HARD: Duration = Duration::from_secs(2);

/// A handle on the life of the process. Clones share it; two of them in one process (tests) do not meet.
#[derive(Clone, Default)]
pub struct Lifecycle {
    shared: Arc<LifecycleState>,
}

struct LifecycleState {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    /// How many of each name have not ended, for the log line that says who missed the deadline.
    running: Mutex<BTreeMap<&'static str, usize>>,
    /// The first failure decides.
    failure: Mutex<Option<PartFailure>>,
    reload: Notify,
}

impl Default for LifecycleState {
    fn default() -> Self {
        let hard = CancellationToken::new();
        Self {
            soft: hard.child_token(),
            hard,
            tasks: TaskTracker::new(),
            running: Mutex::default(),
            failure: Mutex::default(),
            reload: Notify::new(),
        }
    }
}

/// Why the process ends with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFailure {
    /// The name given to `critical` or `thread`, or `shutdown`.
    pub part: &'static str,
    pub why: String,
}

impl fmt::Display for PartFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed: {}", self.part, self.why)
    }
}

impl std::error::Error for PartFailure {}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that may end whenever it likes. A panic in it is logged and counted, and the process goes on.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let running = self.enter(name);
        self.shared.tasks.spawn(async move {
            let _running = running;
            future.await;
        });
    }

    /// For tasks that come by the thousand and need no names, such as connections: they are waited for all the same.
    pub fn tasks(&self) -> TaskTracker {
        self.shared.tasks.clone()
    }

    /// Starts a critical task: if it fails, panics, or ends before the soft token is cancelled, the
    /// process stops and fails.
    pub fn critical(
        &self,
        name: &'static str,
        future: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let running = self.enter(name);
        let mut verdict = CriticalTask::new(self.clone(), name);
        self.shared.tasks.spawn(async move {
            let _running = running;
            let outcome = future.await;
            verdict.reached = true;
            verdict.lifecycle.judge(name, outcome);
        });
    }

    /// Starts an OS thread for work that blocks. It must watch `stopping`. Threads are few and each one matters, so a panic
    /// stops the process and fails it; a normal end does not.
    pub fn thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let running = self.enter(name);
        // The tracker waits for threads by their token, as it does for tasks.
        let tracked = self.shared.tasks.token();
        let lifecycle = self.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _tracked = tracked;
                let _running = running;
                if panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
                    lifecycle.fail(name, "panicked");
                }
            })
            .map(drop)
    }

    /// Cancelled when the process begins to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.shared.soft.clone()
    }

    /// Cancelled when there is no time left.
    pub fn killed(&self) -> CancellationToken {
        self.shared.hard.clone()
    }

    /// Waits until SIGHUP asks to read the settings again. Several before the next wait count as one.
    pub async fn reload_asked(&self) {
        self.shared.reload.notified().await;
    }

    /// Begins an orderly stop, as the first signal does.
    #[cfg(test)]
    pub fn stop(&self) {
        self.shared.soft.cancel();
    }

    /// Ends everything now, as the second signal does.
    #[cfg(test)]
    pub fn kill(&self) {
        self.shared.hard.cancel();
    }

    /// Records that `part` cannot go on and begins an orderly stop; the process will exit with 1. The first failure is kept.
    pub fn fail(&self, part: &'static str, why: impl fmt::Display) {
        let failure = PartFailure {
            part,
            why: why.to_string(),
        };
        error!(part, reason = %failure.why, "critical task failed: shutting down");
        lock(&self.shared.failure).get_or_insert(failure);
        self.shared.soft.cancel();
    }

    /// Waits until a signal or a failure begins the end, then until everything started here has ended: at most
    /// `deadline` in an orderly way (it must be longer than the drain), then the hard token is cancelled and all get another
    /// two seconds. An error is exit code 1: a critical part failed, or something never ended.
    pub async fn run(&self, mut signals: Signals, deadline: Duration) -> Result<(), PartFailure> {
        let Signals { stops, hangup } = &mut signals;
        loop {
            tokio::select! {
                name = stops.next() => info!(signal = name, "stopping; a second signal cuts it short"),
                () = self.shared.soft.cancelled() => info!("stopping"),
                _ = hangup.recv() => {
                    self.shared.reload.notify_one();
                    continue;
                }
            }
            break;
        }
        self.shared.soft.cancel();
        self.shared.tasks.close();
        tokio::select! {
            () = self.shared.tasks.wait() => {}
            () = self.shared.hard.cancelled() => {}
            () = tokio::time::sleep(deadline) => {
                warn!(deadline_seconds = deadline.as_secs(), unfinished = %self.unfinished(), "the deadline of the stop has passed: ending now");
            }
            name = stops.next() => warn!(signal = name, unfinished = %self.unfinished(), "second signal: ending now"),
        }
        self.shared.hard.cancel();
        if tokio::time::timeout(AFTER_HARD, self.shared.tasks.wait())
            .await
            .is_err()
        {
            self.fail("shutdown", format!("did not end: {}", self.unfinished()));
        }
        if let Some(failure) = lock(&self.shared.failure).clone() {
            return Err(failure);
        }
        info!("stopped");
        Ok(())
    }

    /// What the outcome of a critical part means.
    fn judge(&self, name: &'static str, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) if self.shared.soft.is_cancelled() => {}
            Ok(()) => self.fail(name, "ended unexpectedly"),
            Err(error) => self.fail(name, format!("{error:#}")),
        }
    }

    fn enter(&self, name: &'static str) -> Running {
        *lock(&self.shared.running).entry(name).or_insert(0) += 1;
        Running {
            shared: Arc::clone(&self.shared),
            name,
        }
    }

    /// `name x count` of all that runs, for people.
    fn unfinished(&self) -> String {
        let running = lock(&self.shared.running);
        let names: Vec<String> = running
            .iter()
            .map(|(name, count)| match count {
                1 => (*name).to_owned(),
                count => format!("{name} x {count}"),
            })
            .collect();
        names.join(", ")
    }
}

/// Counts a task or thread while it lives.
struct Running {
    shared: Arc<LifecycleState>,
    name: &'static str,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = lock(&self.shared.running);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

/// Dropped without a verdict while unwinding: the task has panicked. (Dropped by a runtime that goes down: nothing to say.)
struct CriticalTask {
    lifecycle: Lifecycle,
    name: &'static str,
    reached: bool,
}

impl CriticalTask {
    fn new(lifecycle: Lifecycle, name: &'static str) -> Self {
        Self {
            lifecycle,
            name,
            reached: false,
        }
    }
}

impl Drop for CriticalTask {
    fn drop(&mut self) {
        if !self.reached && std::thread::panicking() {
            self.lifecycle.fail(self.name, "panicked");
        }
    }
}

/// A panic elsewhere leaves nothing half-written in these maps, so a poisoned lock is as good as a clean one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
