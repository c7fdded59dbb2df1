//! Conflation: of each key of class `latest` a lagging connection is sent the newest record, not all that led there.
//!
//! A key keeps its place in the order. When the first of its pending records is due, the newest is sent in its place, so that a
//! key which changes faster than the client reads is not deferred for ever; what lies between is skipped. The newest then carries
//! a cursor from before itself, so a resume may bring it a second time.

use std::collections::HashMap;
use std::sync::Arc;

use super::turn::Turn;
use crate::domain::publication::Publication;
use crate::domain::room::Room;
use crate::hub::connections::Lag;
use crate::hub::outlet::Entry;

/// Keys of which a connection may be sent a record early. Of further ones the newest is sent in its own place.
const MAX_SENT_EARLY: usize = 128;

/// By key: the entry that was sent in the place of an older one. What is older of the key need not be sent any more.
#[derive(Debug, Default)]
pub(in crate::hub) struct SentEarly(HashMap<(Arc<str>, Arc<str>), u64>);

impl SentEarly {
    pub(super) fn of(&self, publication: &Publication) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let (event, of) = publication.latest_key()?;
        self.0.get(&(event.clone(), of.clone())).copied()
    }

    /// Whether one more can be added for a connection whose position is `next`.
    pub(super) fn has_capacity(&mut self, next: u64) -> bool {
        if self.0.len() >= MAX_SENT_EARLY {
            // What lies behind the position is not met again.
            self.0.retain(|_, sent| *sent >= next);
        }
        self.0.len() < MAX_SENT_EARLY
    }

    pub(super) fn add(&mut self, publication: &Publication, sequence: u64) {
        if let Some((event, of)) = publication.latest_key() {
            self.0.insert((event.clone(), of.clone()), sequence);
        }
    }
}

/// What to do with an entry that is due.
pub(super) enum Conflation<'a> {
    /// It is sent.
    Send,
    /// It was sent early.
    Sent,
    /// It is skipped: the client has a newer record of the key, or that is sent in its own place.
    Superseded,
    /// This newer entry of the key is sent now, and the one that is due never.
    Replace(u64, &'a Arc<Entry>),
}

impl<'a> Turn<'a> {
    /// `held`: the rooms of the entry that the connection holds.
    pub(super) fn conflate(
        &self,
        lag: &mut Lag,
        (sequence, entry): (u64, &Entry),
        held: &[&Room],
    ) -> Conflation<'a> {
        // Only a record of class `latest` says all that its predecessors said. Of any other class each counts.
        let publication = entry.publication();
        if publication.latest_key().is_none() {
            return Conflation::Send;
        }

        // What was sent early decides first: to send an older record of the key behind it would set the client back.
        match lag.sent_early.of(publication) {
            Some(sent) if sent == sequence => return Conflation::Sent,
            Some(sent) if sent > sequence => return Conflation::Superseded,
            _ => {}
        }

        // There must be a newer record in *each* held room: the client may leave one of the rooms before the newer record is due,
        // and must still get the newest of the others. A newer record counts only if it will be sent by that room: one that is
        // covered by the cursor vector, or whose topic was deleted, replaces nothing.
        let mut newest = sequence;
        for room in held {
            let newer = self.log.snapshot.newest(room, publication);
            let is_due = |at: &u64| {
                let newer = self.log.entry(*at);
                *at > sequence && newer.is_some_and(|newer| !self.is_skipped(lag, newer, &[room]))
            };
            match newer.filter(is_due) {
                Some(at) => newest = newest.max(at),
                None => return Conflation::Send,
            }
        }

        // The newest of all the rooms goes in this place, if it can be remembered until its own place is reached. Otherwise it is
        // sent there, and this entry is skipped all the same.
        match self.log.entry(newest) {
            Some(newer) if lag.sent_early.has_capacity(sequence) => {
                Conflation::Replace(newest, newer)
            }
            _ => Conflation::Superseded,
        }
    }
}
