//! How much memory the last answers of all polling sessions may take together. The oldest is evicted first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use metrics::Gauge;

use super::last_answer::LastAnswer;

/// Bytes of all kept answers.
pub(super) const MAX_KEPT: usize = 64 * 1024 * 1024;

pub(super) struct KeptAnswers {
    max_bytes: usize,
    gauge: Gauge,
    list: Mutex<KeptList>,
}

#[derive(Default)]
struct KeptList {
    /// By age: keys only grow.
    answers: BTreeMap<u64, KeptAnswer>,
    next: u64,
    bytes: usize,
}

struct KeptAnswer {
    session: Weak<LastAnswer>,
    bytes: usize,
}

impl KeptAnswers {
    pub(super) fn new(max_bytes: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            gauge,
            list: Mutex::default(),
        })
    }

    /// Adds an answer of so many bytes. Gives its key, and the answers that have to be evicted for it.
    pub(super) fn add(
        &self,
        session: &Arc<LastAnswer>,
        bytes: usize,
    ) -> (u64, Vec<(u64, Arc<LastAnswer>)>) {
        let mut list = self.lock();
        let key = list.next;
        list.next += 1;
        let session = Arc::downgrade(session);
        list.answers.insert(key, KeptAnswer { session, bytes });
        list.bytes += bytes;
        let mut evicted = Vec::new();
        while list.bytes > self.max_bytes {
            let Some((key, oldest)) = list.answers.pop_first() else {
                break;
            };
            list.bytes -= oldest.bytes;
            evicted.extend(oldest.session.upgrade().map(|session| (key, session)));
        }
        self.show(&list);
        (key, evicted)
    }

    /// The answer is not kept any more.
    pub(super) fn release(&self, key: u64) {
        let mut list = self.lock();
        if let Some(answer) = list.answers.remove(&key) {
            list.bytes -= answer.bytes;
        }
        self.show(&list);
    }

    #[expect(clippy::cast_precision_loss, reason = "64 MiB are exact in a float")]
    fn show(&self, list: &KeptList) {
        self.gauge.set(list.bytes as f64);
    }

    fn lock(&self) -> MutexGuard<'_, KeptList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
