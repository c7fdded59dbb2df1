//! What records of revocations and grants change, and what it changes that a topic's log was lost.
//!
//! A grant that is in no log any more ends, since an instance that starts now does not know of it. A revocation is never forgotten: it is
//! written once more, so that an instance that starts now knows of it, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetcast_core::domain::control_record::BadControlRecord;
use fleetcast_core::domain::grants::GrantChange;
use fleetcast_core::domain::revocation::{
    LogNumber, Revocation, RevocationChange, RevocationTarget,
};

use super::topics::ControlTopics;
use crate::clock;
use crate::kafka::{CompactedItem, CompactedRecord};
use crate::session::Sessions;
use crate::telemetry::events;
use crate::telemetry::labels::{ControlKind, ControlOutcome};

/// No clock that is ahead, and no leeway of another instance, explains more.
const AHEAD_MS: u64 = 10 * 60 * 1000;

/// The logs of the topic's partitions.
#[derive(Default)]
pub(in crate::app) struct RevocationLogs(Mutex<KnownLogs>);

#[derive(Default)]
struct KnownLogs {
    newest: LogNumber,
    by_partition: HashMap<i32, LogNumber>,
    /// Of partitions that say once more what they hold.
    repeating: HashMap<i32, KeptRecords>,
}

/// In their order: those behind the newest tombstone, and it. A revocation adds to the one before it.
type KeptRecords = HashMap<RevocationTarget, Vec<CompactedRecord>>;

impl KnownLogs {
    fn begin(&mut self, partition: i32) -> LogNumber {
        self.newest += 1;
        self.by_partition.insert(partition, self.newest);
        self.newest
    }
}

impl RevocationLogs {
    fn lock(&self) -> MutexGuard<'_, KnownLogs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a partition is lost.
    fn repeat(&self, partition: i32) {
        let mut logs = self.lock();
        logs.begin(partition);
        logs.repeating.insert(partition, KeptRecords::new());
    }

    /// Keeps a record until its partition has said everything: what was revoked and taken back long ago is not revoked for the moment in
    /// between. Gives back one that is to be applied now.
    fn keep(&self, record: CompactedRecord) -> Option<CompactedRecord> {
        let mut logs = self.lock();
        let Some(kept) = logs.repeating.get_mut(&record.partition) else {
            return Some(record);
        };
        let Ok(target) = RevocationChange::target(&record.key) else {
            return Some(record);
        };
        let of_target = kept.entry(target).or_default();
        if record.value.is_none() {
            of_target.clear();
        }
        of_target.push(record);
        None
    }

    fn repeated(&self, partition: i32) -> KeptRecords {
        self.lock().repeating.remove(&partition).unwrap_or_default()
    }

    fn of(&self, partition: i32) -> LogNumber {
        let mut logs = self.lock();
        let known = logs.by_partition.get(&partition).copied();
        known.unwrap_or_else(|| logs.begin(partition))
    }

    /// `None`: not all that they hold has been read.
    fn all_read(&self) -> Option<Vec<LogNumber>> {
        let logs = self.lock();
        (logs.repeating.is_empty()).then(|| logs.by_partition.values().copied().collect())
    }
}

impl ControlTopics {
    pub(in crate::app) fn apply(&self, sessions: &Arc<Sessions>, item: CompactedItem) {
        match item {
            CompactedItem::Record(record) if self.is_grants(&record.topic) => {
                self.apply_grant(sessions, &record);
            }
            CompactedItem::Record(record) => {
                if let Some(record) = self.logs.keep(record) {
                    self.apply_revocation(sessions, &record);
                }
            }
            CompactedItem::Lost { topic, partition } if self.is_grants(&topic) => {
                events::control_log_lost(self.metrics(), ControlKind::Grant, &topic, partition);
                sessions.repeat_grants(partition);
            }
            CompactedItem::Lost { topic, partition } => {
                let kind = ControlKind::Revocation;
                events::control_log_lost(self.metrics(), kind, &topic, partition);
                self.logs.repeat(partition);
            }
            CompactedItem::Repeated { topic, partition } if self.is_grants(&topic) => {
                let (withdrawn, granted) = sessions.grants_repeated(partition);
                events::grants_repeated(&topic, partition, withdrawn, granted);
            }
            CompactedItem::Repeated { topic, partition } => {
                let owed = self.revocations_repeated(sessions, partition);
                events::revocations_repeated(&topic, partition, owed);
            }
            CompactedItem::Loaded => self.repairs.wake(),
        }
    }

    fn is_grants(&self, topic: &Arc<str>) -> bool {
        self.grants() == Some(topic)
    }

    fn apply_grant(&self, sessions: &Arc<Sessions>, record: &CompactedRecord) {
        let outcome = match GrantChange::parse(&record.key, record.value.as_deref()) {
            Err(bad) => {
                // Compaction keeps this record alone, so an instance that starts now does not know of the grant before it.
                if let Ok(target) = GrantChange::target(&record.key) {
                    sessions.withdraw(&target, record.partition);
                }
                ControlOutcome::from(bad)
            }
            Ok(GrantChange {
                target,
                granted: true,
            }) => {
                sessions.grant(&target, record.partition);
                ControlOutcome::Applied
            }
            Ok(GrantChange {
                target,
                granted: false,
            }) => {
                sessions.withdraw(&target, record.partition);
                ControlOutcome::Deleted
            }
        };
        self.count(ControlKind::Grant, outcome, record);
    }

    fn apply_revocation(&self, sessions: &Arc<Sessions>, record: &CompactedRecord) {
        let outcome = match RevocationChange::parse(&record.key, record.value.as_deref()) {
            Err(bad) => {
                self.apply_unread(sessions, record, bad);
                ControlOutcome::from(bad)
            }
            Ok(RevocationChange {
                target,
                revocation: None,
            }) => {
                if self.takes_back(sessions.revocation(&target), record) {
                    sessions.restore(&target);
                    self.repairs.settle(&target);
                    ControlOutcome::Deleted
                } else {
                    self.repairs.owe(target);
                    ControlOutcome::Outdated
                }
            }
            Ok(RevocationChange {
                target,
                revocation: Some(revocation),
            }) => {
                // Compaction keeps this record alone, and another instance, which did not know of the wider one yet, may have written it.
                let merged = sessions.revoke(&target, revocation);
                sessions.revocation_read_in(&target, self.logs.of(record.partition));
                if merged == revocation {
                    self.repairs.settle(&target);
                } else {
                    self.repairs.owe(target);
                }
                ControlOutcome::Applied
            }
        };
        self.count(ControlKind::Revocation, outcome, record);
    }

    /// A tombstone takes back what was asked for before it. In a topic that was restored from a backup, or whose end was lost, it may be
    /// older than what is known, and the record in between in no log any more.
    fn takes_back(&self, known: Option<Revocation>, tombstone: &CompactedRecord) -> bool {
        let leeway_ms = u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX);
        // What a request at that moment would have revoked.
        let asked_at = |ms: u64| Revocation::requested(ms.saturating_add(leeway_ms), None);
        let written = tombstone.timestamp.and_then(|ms| u64::try_from(ms).ok());
        known.is_none_or(|known| {
            // An operator has written a time that is to come, which does not say when it was asked for.
            let is_ahead = known.issued_until > asked_at(clock::wall_ms() + AHEAD_MS).issued_until;
            is_ahead || written.is_some_and(|ms| known.issued_until <= asked_at(ms).issued_until)
        })
    }

    /// Compaction drops what the records before this one said.
    fn apply_unread(
        &self,
        sessions: &Arc<Sessions>,
        record: &CompactedRecord,
        bad: BadControlRecord,
    ) {
        let Ok(target) = RevocationChange::target(&record.key) else {
            return;
        };
        match bad {
            BadControlRecord::Key => {}
            BadControlRecord::Value => {
                if sessions.revocation(&target).is_some() {
                    self.repairs.owe(target);
                }
            }
            // A later version of Fleetcast has written it, and knows what it says. This one keeps out everybody whom it may mean.
            BadControlRecord::Version => {
                let now_ms = clock::wall_ms();
                let written_ms = record.timestamp.and_then(|ms| u64::try_from(ms).ok());
                let written_ms = written_ms.map_or(now_ms, |ms| ms.min(now_ms));
                sessions.revoke(&target, Revocation::requested(written_ms, None));
                sessions.revocation_read_in(&target, self.logs.of(record.partition));
                self.repairs.settle(&target);
            }
        }
    }

    fn count(&self, kind: ControlKind, outcome: ControlOutcome, record: &CompactedRecord) {
        let at = (&*record.topic, record.partition, record.offset);
        events::control_record(self.metrics(), kind, outcome, at);
    }

    /// A partition has said once more what it holds. Gives how many revocations are in no log any more, and are written again: not before
    /// all partitions have said it, since a key may be in another one than before.
    fn revocations_repeated(&self, sessions: &Arc<Sessions>, partition: i32) -> usize {
        for record in self.logs.repeated(partition).values().flatten() {
            self.apply_revocation(sessions, record);
        }
        let Some(logs) = self.logs.all_read() else {
            return 0;
        };
        let missing = sessions.revoked_in_none_of(&logs);
        let owed = missing.len();
        for target in missing {
            self.repairs.owe(target);
        }
        owed
    }
}
