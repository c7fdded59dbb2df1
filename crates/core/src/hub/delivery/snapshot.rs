//! Sending snapshots: the newest record of each key of a room, before anything else of the log, for a subscription that asked for it.

use super::outlet::{Item, Offered, Outlet};
use super::turn::{Stop, TURN_ENTRIES, Turn};
use crate::domain::room::Room;
use crate::hub::connections::{Connection, ConnectionState};

/// Which record is sent for one that is the newest of its key in a room that was asked for.
enum Choice {
    This,
    /// A newer one, which the connection may see by another room and may have been sent before.
    Other(u64),
    /// None: a newer one was sent by a room in which that has been replaced since. The one that replaced it is sent.
    Sent,
}

impl Turn<'_> {
    /// Sends what is pending of the snapshots, in the order of the log, up to the connection's position; what was appended from
    /// there on follows as ordinary events. A record that is replaced meanwhile moves there. So nothing is sent twice, and nothing
    /// old after something newer.
    pub(super) fn send_snapshots<O: Outlet>(
        &mut self,
        connection: &mut Connection<O>,
    ) -> Result<(), Stop> {
        let ConnectionState::Lagging(lag) = &connection.state else {
            return Ok(());
        };
        if connection.details.snapshots.is_empty() {
            return Ok(());
        }
        let position = lag.next;
        let cursor = self.cursor_of(connection);
        let table = &self.log.snapshot;
        let mut upcoming: Vec<_> = connection
            .details
            .snapshots
            .iter()
            .map(|pending| table.first_in(&pending.room, pending.next..position))
            .collect();
        for _ in 0..TURN_ENTRIES {
            let Some(sequence) = upcoming.iter().flatten().min().copied() else {
                connection.details.snapshots.clear();
                return Ok(());
            };
            let (choice, lookups) = self.choose(connection, sequence, position);
            let chosen = match choice {
                Choice::This => table.get(sequence),
                Choice::Other(newer) => table.get(newer),
                Choice::Sent => None,
            };
            if let Some(publication) = chosen {
                self.budget.check()?;
                let item = Item::Snapshot {
                    publication,
                    cursor: &cursor,
                };
                if connection.outlet.offer(item) == Offered::Full {
                    return Err(Stop::OutletFull);
                }
                self.budget.count(publication);
                self.counts.delivered(&publication.event, 1);
                connection.details.last = cursor.clone();
                connection.last_at = self.now.monotonic;
                if let (Choice::Other(newer), ConnectionState::Lagging(lag)) =
                    (choice, &mut connection.state)
                    && lag.sent_early.has_capacity(0)
                {
                    lag.sent_early.add(publication, newer);
                }
            }
            for (pending, upcoming) in connection.details.snapshots.iter_mut().zip(&mut upcoming) {
                pending.next = pending.next.max(sequence + 1);
                if *upcoming == Some(sequence) {
                    *upcoming = table.first_in(&pending.room, pending.next..position);
                }
            }
            // Only after what they were for: so each turn sends at least one record, however many rooms are held.
            self.budget.count_lookups(lookups)?;
        }
        Err(Stop::Budget)
    }

    /// And in how many rooms a newer record was looked up, beyond those of the record.
    fn choose<O>(
        &self,
        connection: &Connection<O>,
        sequence: u64,
        position: u64,
    ) -> (Choice, usize) {
        let Some(publication) = self.log.snapshot.get(sequence) else {
            return (Choice::This, 0);
        };
        if let ConnectionState::Lagging(lag) = &connection.state
            && lag.sent_early.of(publication) > Some(sequence)
        {
            return (Choice::Sent, 0);
        }
        let newest_in = |room: &Room| self.log.snapshot.newest(room, publication);
        // The key has not moved on to other rooms: nearly always so, and cheaper to look up than all rooms that are held.
        if publication
            .audience()
            .all(|room| newest_in(&room).is_none_or(|newest| newest == sequence))
        {
            return (Choice::This, 0);
        }
        let lookups = connection.details.rooms.len();
        let held = connection.details.rooms.iter();
        let held = held.filter_map(|room| Some((newest_in(room)?, room)));
        let Some((newest, room)) = held.max_by_key(|(newest, _)| *newest) else {
            return (Choice::This, lookups);
        };
        // The newer one is sent in its own place, unless the connection leaves that room before.
        let is_due = newest >= position
            || connection
                .details
                .snapshots
                .iter()
                .any(|pending| pending.room == *room && pending.next <= newest);
        let choice = if is_due || newest == sequence {
            Choice::This
        } else {
            Choice::Other(newest)
        };
        (choice, lookups)
    }
}
