//! Statistics: the state of the hub, and what it has done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outlet::Outlet;
use super::resume::Resumption;
use super::window::OrganisationLog;
use super::{Hub, Now};
use crate::domain::protocol::ResyncReason;

/// All events that were not named. No event can be called so.
pub const OTHER_EVENTS: &str = "(other)";

/// What the hub counted since it was made.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// By event: those that [`Hub::name_events`] has named, from zero on, and the others as one.
    pub deliveries: BTreeMap<Arc<str>, u64>,
    pub publications: u64,
    /// By [`Resumption::index`].
    pub starts: [u64; Resumption::NAMES.len()],
    /// By [`ResyncReason`] as index.
    pub resyncs: [u64; ResyncReason::ALL.len()],
    /// Records that came again, or of a partition that was removed: not delivered.
    pub repeated: u64,
    /// Live connections that turned lagging because their outlet was full.
    pub slowed: u64,
    /// Publications that the byte cap evicted before the window's time was over.
    pub evicted_early: u64,
    /// Publications of class `latest` that a lagging connection was not sent, because it gets a newer one of the same key.
    pub conflated: u64,
    /// Ephemeral events that a full outlet did not take.
    pub volatile_dropped: u64,
    /// Records that were evicted from snapshots, because these took too many bytes.
    pub latest_evicted: u64,
}

impl Counts {
    pub(super) fn delivered(&mut self, event: &Arc<str>, count: u64) {
        if let Some(total) = self.deliveries.get_mut(event) {
            *total += count;
            return;
        }
        *self.deliveries.entry(Arc::from(OTHER_EVENTS)).or_default() += count;
    }
}

#[derive(Debug, Clone)]
pub struct HubStatistics {
    pub counts: Counts,
    pub connections: usize,
    pub lagging: usize,
    /// Members by kind of room.
    pub rooms: BTreeMap<String, RoomCount>,
    pub organisations: usize,
    pub window_bytes: usize,
    /// What the window may take for now, in bytes.
    pub window_limit: usize,
    pub window_entries: usize,
    /// What snapshots take in bytes, records that are in the window too included.
    pub latest_bytes: usize,
    pub latest_records: usize,
    /// Age of the oldest publication in the window, in milliseconds.
    pub window_age_ms: u64,
    /// How far "everything is read" lies behind now, in milliseconds.
    pub behind_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomCount {
    pub rooms: usize,
    pub members: usize,
}

impl<O: Outlet> Hub<O> {
    /// Deliveries of these events are counted by name from now on. Names are shown to anybody: of a profile, never of what is
    /// published.
    pub fn name_events<'a>(&mut self, events: impl Iterator<Item = &'a str>) {
        for event in events {
            if !self.counts.deliveries.contains_key(event) {
                self.counts.deliveries.insert(Arc::from(event), 0);
            }
        }
    }

    pub fn statistics(&self, now: Now) -> HubStatistics {
        let mut rooms = BTreeMap::<String, RoomCount>::new();
        for (room, log) in self.organisations.values().flat_map(|log| &log.rooms) {
            if !log.members.is_empty() {
                let count = rooms.entry(room.kind.as_str().to_owned()).or_default();
                count.rooms += 1;
                count.members += log.members.len();
            }
        }
        let oldest = self
            .organisations
            .values()
            .filter_map(OrganisationLog::oldest);
        HubStatistics {
            counts: self.counts.clone(),
            connections: self.connections.len(),
            lagging: self
                .connections
                .values()
                .filter(|connection| !connection.is_live())
                .count(),
            rooms,
            organisations: self.organisations.len(),
            window_bytes: self.bytes,
            window_limit: self.limit.now.bytes,
            window_entries: self.organisations.values().map(OrganisationLog::len).sum(),
            latest_bytes: self.snapshot_bytes,
            latest_records: self
                .organisations
                .values()
                .map(|log| log.snapshot.len())
                .sum(),
            window_age_ms: oldest
                .map(|at| now.monotonic.saturating_sub(at.monotonic))
                .max()
                .unwrap_or(0),
            behind_ms: now.wall.saturating_sub(self.positions.read_up_to(now)),
        }
    }
}
