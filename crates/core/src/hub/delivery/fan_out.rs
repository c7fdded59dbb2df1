//! Fan-out: a publication is appended to the window and offered to the live members of its rooms; an ephemeral event is offered
//! alone.

use std::sync::Arc;

use slotmap::SlotMap;

use super::outlet::{Entry, Offered, Outlet};
use crate::domain::publication::{Ephemeral, Publication};
use crate::hub::connections::{Connection, Schedule};
use crate::hub::{ConnectionKey, Hub, Now, OrganisationKey, work_of};

/// An event that asks for an acknowledgement is offered to so many members in one step: each question is remembered separately, which for
/// thousands takes some milliseconds. The other members get the event in turns.
const ASKED_AT_ONCE: usize = 256;

/// So many members are looked at before the first of them is offered the entry: their memory is fetched together.
const LOOK_AHEAD: usize = 8;

impl<O: Outlet> Hub<O> {
    /// Appends a publication to the window and offers it. Returns how much work that was. One whose offset was passed before is dropped.
    pub(in crate::hub) fn publish(
        &mut self,
        partition: u32,
        publication: Publication,
        now: Now,
    ) -> u64 {
        if !self.positions.advance(partition, publication.offset) {
            self.counts.repeated += 1;
            return 0;
        }
        self.appends += 1;
        self.positions.appended(partition, self.appends);
        self.counts.publications += 1;
        let key = self.organisation(&publication.organisation);
        let log = &mut self.organisations[key];
        log.touch(partition, now);
        if let Some(read) = self.positions.get(partition) {
            log.late
                .note(partition, read.written_after, &self.settings, now);
        }
        let cursor = log
            .cursor(&self.positions, &self.settings, now)
            .encode(self.positions.tables().shared(now));
        let entry = Entry::new(Arc::new(publication), partition, cursor, now);
        let entry = Arc::new(entry);
        let before = (log.bytes, log.snapshot.bytes());
        let sequence = log.append(Arc::clone(&entry), &mut self.record_index);
        self.bytes += log.bytes - before.0;
        // A record may be smaller than the one that it replaces in the snapshot.
        self.snapshot_bytes = self.snapshot_bytes - before.1 + log.snapshot.bytes();

        let (delivered, members) = self.fan_out(key, &entry, sequence, now);
        self.counts.delivered(&entry.publication().event, delivered);
        self.evict_over_cap();
        self.evict_snapshots();
        work_of(delivered, members)
    }

    /// Offers the entry that was appended last to each live member of its rooms, and schedules the lagging ones. Returns how many
    /// took it, and how many were looked at.
    ///
    /// All members in one go: between two parts of it one could leave a room and another take its place in the list, unseen.
    fn fan_out(
        &mut self,
        organisation: OrganisationKey,
        entry: &Arc<Entry>,
        sequence: u64,
        now: Now,
    ) -> (u64, usize) {
        let mut shared = O::Shared::default();
        let log = &self.organisations[organisation];
        self.fan_outs += 1;
        let epoch = self.resyncs.epoch();
        let mut offers = if entry.publication().ack {
            ASKED_AT_ONCE
        } else {
            usize::MAX
        };
        let (mut delivered, mut looked_at) = (0, 0);
        for room in entry.publication().audience() {
            let members = &log.rooms[&*room].members;
            looked_at += members.len();
            for (at, member) in members.iter().enumerate() {
                if at.is_multiple_of(LOOK_AHEAD) {
                    look_ahead(&self.connections, &members[at..]);
                }
                let connection = &mut self.connections[*member];
                if !connection.is_first_of(self.fan_outs) {
                    continue;
                }
                if connection.is_live() && (connection.epoch != epoch || offers == 0) {
                    // It gets the entry in a turn, unless it is resynced there: that comes before any later cursor.
                    connection.turn_lagging(log, sequence);
                }
                if !connection.is_live() {
                    if connection.schedule == Schedule::Idle {
                        connection.schedule = Schedule::Queued;
                        self.turns.push_back(*member);
                    }
                    continue;
                }
                offers -= 1;
                match connection.outlet.offer_shared(entry, &mut shared) {
                    Offered::Taken => {
                        delivered += 1;
                        connection.last_at = now.monotonic;
                    }
                    Offered::Full => {
                        self.counts.slowed += 1;
                        connection.turn_lagging(log, sequence);
                        connection.schedule = Schedule::Waiting;
                    }
                }
            }
        }
        (delivered, looked_at)
    }

    /// Offers an event without a position to the present members of its rooms, live or lagging alike, and returns how much work that was.
    /// It is not kept, and moves nothing of a connection: whatever becomes of it, the log goes on where it was.
    pub(in crate::hub) fn offer_ephemeral(&mut self, ephemeral: Ephemeral) -> u64 {
        let Some(key) = self.by_id.get(&ephemeral.organisation) else {
            return 0;
        };
        let log = &self.organisations[*key];
        let ephemeral = Arc::new(ephemeral);
        let mut shared = O::Shared::default();
        self.fan_outs += 1;
        let (mut delivered, mut looked_at) = (0, 0);
        for room in ephemeral.audience() {
            let members = log.rooms.get(&*room).map_or(&[][..], |log| &log.members);
            looked_at += members.len();
            for member in members {
                let connection = &mut self.connections[*member];
                if !connection.is_first_of(self.fan_outs) || !connection.is_welcomed() {
                    continue;
                }
                match connection.outlet.offer_ephemeral(&ephemeral, &mut shared) {
                    Offered::Taken => delivered += 1,
                    Offered::Full => self.counts.volatile_dropped += 1,
                }
            }
        }
        work_of(delivered, looked_at)
    }
}

fn look_ahead<O: Outlet>(
    connections: &SlotMap<ConnectionKey, Connection<O>>,
    members: &[ConnectionKey],
) {
    for member in members.iter().take(LOOK_AHEAD) {
        connections[*member].outlet.look_ahead();
    }
}
