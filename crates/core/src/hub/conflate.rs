//! What a lagging connection is spared: of each key of class `latest` it gets the newest, not all that led there.
//!
//! A key keeps its place in the queue. When the first of its records that wait has its turn, the newest goes out in its
//! stead, so that a key which changes faster than the client reads is not put off for ever; what lies between is passed
//! over. The newest then carries a cursor from before itself, so a resume may bring it a second time.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::Lag;
use super::log::Entry;
use super::replay::Turn;
use crate::domain::publication::Publication;
use crate::domain::room::Room;

/// Keys of which a connection may be given something before its turn. Of further ones the newest comes in its own turn.
const MOST_AHEAD: usize = 128;

/// By key: the entry that was given already. What is older of the key needs no more be given.
#[derive(Debug, Default)]
pub(super) struct Ahead(HashMap<(Arc<str>, Arc<str>), u64>);

impl Ahead {
    pub(super) fn of(&self, publication: &Publication) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let (event, of) = publication.latest_key()?;
        self.0.get(&(event.clone(), of.clone())).copied()
    }

    /// Whether one more can be noted by a connection that stands at `next`.
    pub(super) fn has_room(&mut self, next: u64) -> bool {
        if self.0.len() >= MOST_AHEAD {
            self.0.retain(|_, given| *given >= next);
        }
        self.0.len() < MOST_AHEAD
    }

    pub(super) fn note(&mut self, publication: &Publication, sequence: u64) {
        if let Some((event, of)) = publication.latest_key() {
            self.0.insert((event.clone(), of.clone()), sequence);
        }
    }
}

/// What to do about an entry that is owed.
pub(super) enum Conflated<'a> {
    No,
    /// The client was given it before its turn.
    Given,
    /// The client has a newer one of the key, or that comes in its own turn.
    Spared,
    /// A newer one goes out now, and this one never.
    Instead(u64, &'a Arc<Entry>),
}

impl<'a> Turn<'a> {
    /// `rooms`: those of the entry's that the connection holds. In each of them there must be something newer: if it leaves
    /// one of them before that comes, it still gets the newest of the others.
    pub(super) fn conflate(
        &self,
        lag: &mut Lag,
        (sequence, entry): (u64, &Entry),
        rooms: &[&Room],
    ) -> Conflated<'a> {
        let publication = &entry.publication;
        if publication.latest_key().is_none() {
            return Conflated::No;
        }
        match lag.ahead.of(publication) {
            Some(given) if given == sequence => return Conflated::Given,
            Some(given) if given > sequence => return Conflated::Spared,
            _ => {}
        }
        let mut newest = sequence;
        for room in rooms {
            let newer = self.log.latest.newest(room, publication);
            let comes = |at: &u64| {
                let newer = self.log.entry(*at);
                *at > sequence && newer.is_some_and(|newer| !self.passed_over(lag, newer, &[room]))
            };
            match newer.filter(comes) {
                Some(at) => newest = newest.max(at),
                None => return Conflated::No,
            }
        }
        match self.log.entry(newest) {
            Some(newer) if lag.ahead.has_room(sequence) => Conflated::Instead(newest, newer),
            _ => Conflated::Spared,
        }
    }
}
