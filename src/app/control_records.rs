//! What records of revocations and grants change, and what it changes that a topic's log was lost.
//!
//! A grant that is in no log any more ends, since an instance that starts now does not know of it. A revocation is never forgotten: it is
//! written once more, so that an instance that starts now knows of it, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetcast_core::domain::control_record::BadControlRecord;
use fleetcast_core::domain::grants::GrantChange;
use fleetcast_core::domain::revocation::{Revocation, RevocationChange, RevocationTarget};

use super::control_topics::ControlTopics;
use crate::clock;
use crate::kafka::{CompactedItem, CompactedRecord};
use crate::session::Sessions;
use crate::telemetry::events;
use crate::telemetry::labels::{ControlKind, ControlOutcome};

/// The newest record of each key in partitions that say once more what they hold. What was revoked and taken back long ago is not revoked
/// for the moment in between.
#[derive(Default)]
pub(super) struct RepeatedRevocations(Mutex<HashMap<i32, NewestRecords>>);

type NewestRecords = HashMap<RevocationTarget, CompactedRecord>;

impl RepeatedRevocations {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, NewestRecords>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, partition: i32) {
        self.lock().insert(partition, NewestRecords::new());
    }

    /// Keeps a record until its partition has said everything. Gives back one that is to be applied now.
    fn keep(&self, record: CompactedRecord) -> Option<CompactedRecord> {
        let mut repeating = self.lock();
        let Some(newest) = repeating.get_mut(&record.partition) else {
            return Some(record);
        };
        let Ok(target) = RevocationChange::target(&record.key) else {
            return Some(record);
        };
        newest.insert(target, record);
        None
    }

    fn end(&self, partition: i32) -> NewestRecords {
        self.lock().remove(&partition).unwrap_or_default()
    }
}

impl ControlTopics {
    pub(super) fn apply(&self, sessions: &Arc<Sessions>, item: CompactedItem) {
        match item {
            CompactedItem::Record(record) if self.is_grants(&record.topic) => {
                self.apply_grant(sessions, &record);
            }
            CompactedItem::Record(record) => {
                if let Some(record) = self.repeating.keep(record) {
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
                self.repeating.begin(partition);
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
                sessions.restore(&target);
                self.repairs.settle(&target);
                ControlOutcome::Deleted
            }
            Ok(RevocationChange {
                target,
                revocation: Some(revocation),
            }) => {
                // Compaction keeps this record alone, and another instance, which did not know of the wider one yet, may have written it.
                if sessions.revoke(&target, revocation) == revocation {
                    self.repairs.settle(&target);
                } else {
                    self.repairs.owe(target);
                }
                ControlOutcome::Applied
            }
        };
        self.count(ControlKind::Revocation, outcome, record);
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
                self.repairs.settle(&target);
            }
        }
    }

    fn count(&self, kind: ControlKind, outcome: ControlOutcome, record: &CompactedRecord) {
        let at = (&*record.topic, record.partition, record.offset);
        events::control_record(self.metrics(), kind, outcome, at);
    }

    /// A partition has said once more what it holds. Gives how many revocations it does not hold, and which are written again.
    fn revocations_repeated(&self, sessions: &Arc<Sessions>, partition: i32) -> usize {
        let newest = self.repeating.end(partition);
        let mut owed = 0;
        for (target, record) in &newest {
            let known = sessions.revocation(target);
            // It may have been read before, and its target been revoked again since, by what is in no log any more.
            let written = record.timestamp.and_then(|ms| u64::try_from(ms).ok());
            let is_older = |known: Revocation| {
                written.is_none_or(|written_ms| written_ms / 1000 < known.issued_until)
            };
            if record.value.is_none() && known.is_some_and(is_older) {
                self.repairs.owe(target.clone());
                owed += 1;
            } else {
                self.apply_revocation(sessions, record);
            }
        }
        for target in sessions.revoked_targets() {
            if !newest.contains_key(&target) {
                self.repairs.owe(target);
                owed += 1;
            }
        }
        owed
    }
}
