//! Revocations whose newest record says less than all of their records together: compaction would keep that one alone, so they are written
//! once more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::domain::revocation::RevocationTarget;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::topics::ControlTopics;
use crate::session::Sessions;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

/// So many are written at a time.
const AT_A_TIME: usize = 256;

/// After one could not be written.
const PAUSE: Duration = Duration::from_secs(1);

/// Those that wait for it. No more than there are revocations.
#[derive(Default)]
pub(in crate::app) struct Repairs {
    owed: Mutex<BTreeSet<RevocationTarget>>,
    woken: Notify,
}

impl Repairs {
    /// The newest record of this one says too little.
    pub(in crate::app) fn owe(&self, target: RevocationTarget) {
        self.owed().insert(target);
        self.wake();
    }

    /// The newest record of this one says everything.
    pub(in crate::app) fn settle(&self, target: &RevocationTarget) {
        self.owed().remove(target);
    }

    pub(in crate::app) fn wake(&self) {
        self.woken.notify_one();
    }

    fn take(&self) -> Vec<RevocationTarget> {
        let mut owed = self.owed();
        let rest = owed.iter().nth(AT_A_TIME).cloned();
        let rest = rest.map(|first| owed.split_off(&first)).unwrap_or_default();
        std::mem::replace(&mut *owed, rest).into_iter().collect()
    }

    fn owed(&self) -> MutexGuard<'_, BTreeSet<RevocationTarget>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControlTopics {
    /// Writes what is owed, until `stop`, and again what could not be written. Each instance that notices writes the same. Not before the
    /// topic is read: later records may say the rest.
    pub(in crate::app) async fn repair(
        self: Arc<Self>,
        sessions: Arc<Sessions>,
        topic: Arc<str>,
        stop: CancellationToken,
    ) {
        while stop
            .run_until_cancelled(self.repairs.woken.notified())
            .await
            .is_some()
        {
            while self.is_read() && !stop.is_cancelled() {
                let targets = self.repairs.take();
                if targets.is_empty() {
                    break;
                }
                let writes = targets.iter().filter_map(|target| {
                    // One that is over by now needs no record.
                    let value = sessions.revocation(target)?.to_json();
                    let written = self.write(&topic, &target.to_string(), Some(&value));
                    Some(async move { (target, written.await) })
                });
                let failed: Vec<_> = (join_all(writes).await.into_iter())
                    .filter_map(|(target, written)| Some((target, written.err()?)))
                    .collect();
                for (target, error) in &failed {
                    let context = "cannot write a merged revocation, trying again";
                    events::fault(self.metrics(), Component::Kafka, context, error);
                    self.repairs.owe((*target).clone());
                }
                if !failed.is_empty() {
                    let pause = tokio::time::sleep(PAUSE);
                    stop.run_until_cancelled(pause).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_what_is_owed_is_taken_once_and_a_slice_at_a_time() {
        let repairs = Repairs::default();
        let target =
            |nth: usize| RevocationTarget::token(None, &format!("t{nth}")).expect("a token");
        for nth in (0..AT_A_TIME + 10).chain(0..5) {
            repairs.owe(target(nth));
        }
        repairs.settle(&target(3));
        assert_eq!(repairs.take().len(), AT_A_TIME);
        assert_eq!(repairs.take().len(), 9);
        assert!(repairs.take().is_empty());
    }
}
