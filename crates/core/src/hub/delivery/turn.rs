//! A turn: one lagging connection's share of the thread, within a budget and at the pace that its outlet takes.

use crate::domain::protocol::ResyncReason;
use crate::domain::publication::Publication;
use crate::hub::connections::resyncs::Resyncs;
use crate::hub::connections::{Connection, ConnectionState, Schedule};
use crate::hub::outlet::Outlet;
use crate::hub::positions::Positions;
use crate::hub::window::OrganisationLog;
use crate::hub::{Counts, HubSettings, LogContact, Now};

/// A turn ends after so many publications, so many bytes of payload, or so many entries looked at.
const TURN_PUBLICATIONS: usize = 64;
const TURN_BYTES: usize = 64 * 1024;
pub(super) const TURN_ENTRIES: usize = 4096;
/// And after so many rooms in which a newer record than an entry was looked up: that costs more than to skip the entry.
const TURN_LOOKUPS: usize = 1024;

/// What a turn may read and count, beside the connection itself.
pub(in crate::hub) struct Turn<'a> {
    pub(in crate::hub) log: &'a OrganisationLog,
    pub(in crate::hub) positions: &'a Positions,
    pub(in crate::hub) settings: &'a HubSettings,
    pub(in crate::hub) contact: LogContact,
    pub(in crate::hub) resyncs: &'a Resyncs,
    pub(in crate::hub) appends: u64,
    pub(in crate::hub) counts: &'a mut Counts,
    pub(in crate::hub) now: Now,
    pub(in crate::hub) budget: TurnBudget,
}

/// Why a turn stopped before the head.
pub(super) enum Stop {
    OutletFull,
    Budget,
}

/// What a turn has used.
#[derive(Default)]
pub(in crate::hub) struct TurnBudget {
    publications: usize,
    bytes: usize,
    lookups: usize,
}

impl TurnBudget {
    /// Whether one more publication may be offered.
    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.publications == TURN_PUBLICATIONS || self.bytes >= TURN_BYTES {
            return Err(Stop::Budget);
        }
        Ok(())
    }

    /// Entries that are not sent cost as well, and so does finding out what is sent in the place of one.
    pub(super) fn count_lookups(&mut self, rooms: usize) -> Result<(), Stop> {
        self.lookups += rooms;
        if self.lookups >= TURN_LOOKUPS {
            return Err(Stop::Budget);
        }
        Ok(())
    }

    pub(super) fn count(&mut self, publication: &Publication) {
        self.publications += 1;
        self.bytes += publication.payload.get().len();
    }
}

impl Turn<'_> {
    /// Sends the connection what is pending for it, within one turn, and says when it needs the next one. Reaching the head makes
    /// it `Live` in the same turn, so nothing can be appended in between.
    pub(in crate::hub) fn run<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Schedule {
        self.resync_if_evicted(connection);
        // Controls a second time: a `cursor` that waited for the snapshots is true now.
        let stopped = self
            .send_controls(connection)
            .and_then(|()| self.send_snapshots(connection))
            .and_then(|()| self.send_controls(connection))
            .and_then(|()| self.replay(connection))
            .and_then(|()| self.go_live(connection));
        match stopped {
            Err(Stop::OutletFull) => Schedule::Waiting,
            Err(Stop::Budget) => Schedule::Queued,
            Ok(()) => Schedule::Idle,
        }
    }

    /// The connection is at the head. It turns live once this instance has read all that its cursor vector covers: from then on the
    /// shared cursors are true for it.
    fn go_live<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Result<(), Stop> {
        if self.has_passed_vector(connection, |here| here.unwanted) {
            // Of what is unwanted here nothing comes that could be waited for, so its snapshots are complete.
            if let ConnectionState::Lagging(lag) = &mut connection.state {
                lag.uncovered.clear();
            }
            self.send_controls(connection)?;
        }
        if self.has_passed_vector(connection, |_| false) {
            connection.state = ConnectionState::Live;
            connection.details.live_from = self.log.head();
        }
        Ok(())
    }

    /// Eviction has overtaken the connection: what it missed is no longer in the window, so it is resynced at the head. It has
    /// missed nothing if none of the evicted entries was in a room that it holds.
    fn resync_if_evicted<O>(&mut self, connection: &mut Connection<O>) {
        let first = self.log.first();
        let ConnectionState::Lagging(lag) = &mut connection.state else {
            return;
        };
        if lag.next >= first {
            return;
        }
        let missed = connection.details.rooms.iter().any(|room| {
            let log = self.log.rooms.get(room);
            log.is_some_and(|log| log.evicted > lag.next)
        });
        lag.next = first;
        if missed {
            self.resync(connection, ResyncReason::Evicted);
        }
    }
}
