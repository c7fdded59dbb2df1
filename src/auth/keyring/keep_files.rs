//! Key files, read again when they have changed: not while they are being written, and not for ever if the disk hangs.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Keyring;
use crate::telemetry::labels::Component;
use crate::telemetry::{Metrics, events};

/// A file that changes under the reader's eyes is read until it rests: so often, with this pause.
const SETTLE_TRIES: u32 = 20;
const SETTLE_PAUSE: Duration = Duration::from_millis(25);

/// A disk that takes longer is logged.
const READ: Duration = Duration::from_secs(5);

impl Keyring {
    /// Keeps the files' keys current until `stopping`.
    pub(in crate::auth) async fn keep_files(
        self: Arc<Self>,
        metrics: Metrics,
        stopping: CancellationToken,
    ) {
        if self.files.is_empty() {
            return;
        }
        let work = async {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(self.pace.files_every) => {}
                    () = self.look_at_files.notified() => {}
                }
                self.progress
                    .send_modify(|progress| progress.files.begun += 1);
                let mut good = true;
                for index in 0..self.files.len() {
                    good &= self.look_at(index, &metrics).await;
                }
                self.progress.send_modify(|progress| {
                    progress.files.ended = progress.files.begun;
                    if good {
                        progress.files.good = progress.files.ended;
                    }
                });
            }
        };
        stopping.run_until_cancelled(work).await;
    }

    /// Is what the file says now in force?
    async fn look_at(&self, index: usize, metrics: &Metrics) -> bool {
        let file = &self.files[index];
        let content = self.settled(index, metrics).await;
        let judged = match &content {
            Ok(content) => {
                let seen = self.hasher.hash_one(content);
                if self.lock().of_files[index].seen == Some(seen) {
                    return self.lock().of_files[index].problem.is_none();
                }
                file.parse(content, &self.allowed)
                    .map_err(|why| (why, Some(seen)))
                    .map(|keys| (keys, seen))
            }
            Err(why) => Err((why.clone(), None)),
        };
        let mut state = self.lock();
        let known = &mut state.of_files[index];
        match judged {
            Ok((keys, seen)) => {
                let count = keys.len();
                known.keys = keys.into_iter().map(Arc::new).collect();
                known.seen = Some(seen);
                known.problem = None;
                self.publish(&state);
                events::keys_read(file.variable(), &file.path, count);
                true
            }
            Err((why, seen)) => {
                let reported = known.problem.as_ref() == Some(&why);
                known.seen = seen;
                known.problem = Some(why.clone());
                drop(state);
                metrics.errors.increment(Component::Keys);
                if !reported {
                    events::keys_kept(file.variable(), &file.path, &why);
                }
                false
            }
        }
    }

    /// The content once two looks have seen the same: a file that is written in place is incomplete for a while.
    async fn settled(&self, index: usize, metrics: &Metrics) -> Result<Vec<u8>, String> {
        let mut content = self.read(index, metrics).await;
        for _ in 0..SETTLE_TRIES {
            if let Ok(content) = &content {
                let seen = Some(self.hasher.hash_one(content));
                if self.lock().of_files[index].seen == seen {
                    break;
                }
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
            let again = self.read(index, metrics).await;
            let rests = again == content;
            content = again;
            if rests {
                break;
            }
        }
        content
    }

    async fn read(&self, index: usize, metrics: &Metrics) -> Result<Vec<u8>, String> {
        let file = self.files[index].clone();
        let mut reading = tokio::task::spawn_blocking(move || file.read());
        let outcome = if let Ok(outcome) = tokio::time::timeout(READ, &mut reading).await {
            outcome
        } else {
            let why = format!("reading it takes more than {} s", READ.as_secs());
            let file = &self.files[index];
            events::keys_kept(file.variable(), &file.path, &why);
            metrics.errors.increment(Component::Keys);
            {
                let known = &mut self.lock().of_files[index];
                known.problem = Some(why);
                known.seen = None;
            }
            // A second thread would hang as this one does.
            reading.await
        };
        outcome.unwrap_or_else(|_| Err("reading it failed".to_owned()))
    }
}
