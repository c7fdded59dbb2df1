//! Replay: a lagging connection is sent the entries of its rooms from the window, in the order in which they were appended.

use std::sync::Arc;

use super::conflate::Conflation;
use super::outlet::{Delivery, DeliveryCursor, Entry, Item, Offered, Outlet};
use super::turn::{Stop, TURN_ENTRIES, Turn};
use crate::domain::room::Room;
use crate::hub::connections::{Connection, ConnectionState, Lag};
use crate::hub::window::{OrganisationLog, RoomLog};

/// The entries of several rooms in the order of the organisation's log, each once.
struct RoomMerge<'a> {
    rooms: Vec<(&'a Room, &'a RoomLog)>,
    /// By room: the index of its next entry.
    at: Vec<usize>,
}

impl<'a> RoomMerge<'a> {
    /// From this sequence number on.
    fn new(log: &'a OrganisationLog, rooms: &'a [Room], next: u64) -> Self {
        let rooms: Vec<_> = rooms
            .iter()
            .filter_map(|room| Some((room, log.rooms.get(room)?)))
            .collect();
        let at = rooms
            .iter()
            .map(|(_, log)| log.entries.partition_point(|sequence| *sequence < next))
            .collect();
        Self { rooms, at }
    }

    /// The next entry of any room, and in `held` the rooms that have it.
    fn next(&mut self, held: &mut Vec<&'a Room>) -> Option<u64> {
        // Sequence numbers rise within each room, so the smallest of their next ones is the next of all.
        let upcoming = self
            .rooms
            .iter()
            .zip(&self.at)
            .filter_map(|((_, log), at)| log.entries.get(*at));
        let sequence = upcoming.min().copied()?;

        // An entry is in the log of each of its rooms. All of them move past it together, so it comes once.
        held.clear();
        for ((room, log), at) in self.rooms.iter().zip(&mut self.at) {
            if log.entries.get(*at) == Some(&sequence) {
                *at += 1;
                held.push(*room);
            }
        }
        Some(sequence)
    }
}

impl Turn<'_> {
    /// Sends the entries of the connection's rooms from its position on, up to the head.
    pub(super) fn replay<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Result<(), Stop> {
        let ConnectionState::Lagging(lag) = &mut connection.state else {
            return Ok(());
        };
        let mut merge = RoomMerge::new(self.log, &connection.details.rooms, lag.next);
        let mut held = Vec::with_capacity(merge.rooms.len());
        for _ in 0..TURN_ENTRIES {
            // Nothing is appended during a turn, so a connection without a next entry has reached the head, also if the last entries
            // of the log are in rooms that it does not hold.
            let Some(sequence) = merge.next(&mut held) else {
                lag.next = self.log.head();
                return Ok(());
            };
            let entry = self
                .log
                .entry(sequence)
                .expect("the room index holds only entries of the window");

            // An entry that is skipped leaves the cursor where it is: `last` is still true, for it claims no more than was sent.
            if self.is_skipped(lag, entry, &held) {
                lag.next = sequence + 1;
                continue;
            }

            // Conflation comes before the budget, because it is about entries that are not sent: they use up lookups instead.
            let (sent, newer) = match self.conflate(lag, (sequence, entry), &held) {
                Conflation::Send => (entry, None),
                Conflation::Replace(newer, newest) => (newest, Some(newer)),
                unsent @ (Conflation::Superseded | Conflation::Sent) => {
                    // One that was sent early was counted as a delivery then.
                    let superseded = matches!(unsent, Conflation::Superseded);
                    self.counts.conflated += u64::from(superseded);
                    lag.next = sequence + 1;
                    self.budget.count_lookups(held.len())?;
                    continue;
                }
            };
            self.budget.check()?;

            // A full outlet leaves the connection before this entry: it is offered again, by then perhaps with a newer record of its
            // key in its place.
            let own = self.own_cursor(lag, entry, newer.is_some(), &connection.details.last);
            let delivery = Delivery {
                entry: sent,
                cursor: own
                    .as_ref()
                    .map_or(DeliveryCursor::Shared, DeliveryCursor::Own),
            };
            if connection.outlet.offer(Item::Publication(delivery)) == Offered::Full {
                lag.next = sequence;
                return Err(Stop::OutletFull);
            }

            // Only now that it is on its way: the newer record is not to be sent again in its own place, and the connection stands
            // behind the entry, not behind the newer record.
            if let Some(newer) = newer {
                lag.sent_early.add(sent.publication(), newer);
                self.counts.conflated += 1;
            }
            self.counts.delivered(&sent.publication().event, 1);
            self.budget.count(sent.publication());
            lag.next = sequence + 1;
            connection.details.last = own.unwrap_or_else(|| sent.cursor().clone());
            connection.last_at = self.now.monotonic;
        }
        Err(Stop::Budget)
    }

    /// The cursor that goes with an entry to this connection alone, if the entry's own is not true for it.
    fn own_cursor(
        &self,
        lag: &Lag,
        entry: &Entry,
        replaced: bool,
        last: &Arc<str>,
    ) -> Option<Arc<str>> {
        if replaced {
            // What is sent was appended later than the entry in whose place it goes. Its cursor would cover what lies between and
            // was not sent yet; the connection stands where it stood.
            return Some(last.clone());
        }
        // Without a vector the connection has been sent all that was appended here before the entry: the shared cursor is true.
        let vector = lag.cursor_vector.as_ref()?;
        // If it cannot be merged, the cursor before is true still: a resume from it brings this entry again, and loses nothing.
        Some(
            self.merged(entry.cursor(), vector)
                .unwrap_or_else(|| last.clone()),
        )
    }

    /// Whether an entry is not for this connection, although the connection holds `held` of its rooms: the client has it from before,
    /// or its topic was deleted.
    pub(super) fn is_skipped(&self, lag: &Lag, entry: &Entry, held: &[&Room]) -> bool {
        // A room whose snapshot was asked for is new to the client: the vector covers its records, but the client never had them.
        let asked_for = || {
            entry.publication().latest_key().is_some()
                && held.iter().any(|room| lag.uncovered.contains(room))
        };
        self.is_deleted(entry.partition)
            || (self.is_covered(lag, entry.partition, entry.publication().offset) && !asked_for())
    }

    /// The topic was deleted or recreated. All connections were resynced then, and no later cursor can say what of the former
    /// topic a client has seen: offsets begin again.
    fn is_deleted(&self, partition: u32) -> bool {
        self.positions.get(partition).is_none()
    }

    fn is_covered(&self, lag: &Lag, partition: u32, offset: i64) -> bool {
        let covered = || {
            let hash = self.positions.get(partition)?.hash;
            Some(offset < lag.cursor_vector.as_ref()?.next(hash)?)
        };
        covered().unwrap_or(false)
    }
}
