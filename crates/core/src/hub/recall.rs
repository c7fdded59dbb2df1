//! How things stand, for who asked: the newest record of each key of a room, before anything else of the log.

use super::connection::{Connection, State};
use super::outlet::{Item, Offered, Outlet};
use super::replay::{Stop, TURN_ENTRIES, Turn};
use crate::domain::room::Room;

/// Which record goes out for one that is the newest of its key in a room that was asked for.
enum Choice {
    This,
    /// By another room the connection may see a newer one, which it may have been given already.
    Other(u64),
    /// None: it was given a newer one by a room in which that was replaced meanwhile. The one that took its place comes.
    Given,
}

impl Turn<'_> {
    /// Hands out what is owed of the table, in the order of the log, up to where the connection stands; what was appended
    /// from there on it gets as ordinary events behind this. A record that is replaced meanwhile moves there. So nothing
    /// comes twice, and nothing old behind something newer.
    pub(super) fn recall<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Result<(), Stop> {
        let State::Lagging(lag) = &connection.state else {
            return Ok(());
        };
        if connection.recalls.is_empty() {
            return Ok(());
        }
        let stands_at = lag.next;
        let cursor = self.standing(connection);
        let table = &self.log.latest;
        let mut upcoming: Vec<_> = connection
            .recalls
            .iter()
            .map(|recall| table.first_in(&recall.room, recall.next..stands_at))
            .collect();
        for _ in 0..TURN_ENTRIES {
            let Some(sequence) = upcoming.iter().flatten().min().copied() else {
                connection.recalls.clear();
                return Ok(());
            };
            let (choice, looks) = self.choice(connection, sequence, stands_at);
            let chosen = match choice {
                Choice::This => table.get(sequence),
                Choice::Other(newer) => table.get(newer),
                Choice::Given => None,
            };
            if let Some(publication) = chosen {
                self.spent.check()?;
                let item = Item::Snapshot {
                    publication,
                    cursor: &cursor,
                };
                if connection.outlet.offer(item) == Offered::Full {
                    return Err(Stop::Blocked);
                }
                self.spent.on(publication);
                self.counts.delivered(&publication.event, 1);
                connection.last = cursor.clone();
                connection.last_at = self.now.monotonic;
                if let (Choice::Other(newer), State::Lagging(lag)) = (choice, &mut connection.state)
                    && lag.ahead.has_room(0)
                {
                    lag.ahead.note(publication, newer);
                }
            }
            for (recall, upcoming) in connection.recalls.iter_mut().zip(&mut upcoming) {
                recall.next = recall.next.max(sequence + 1);
                if *upcoming == Some(sequence) {
                    *upcoming = table.first_in(&recall.room, recall.next..stands_at);
                }
            }
            // Only behind what they were for: so one record goes out in each turn, however many rooms are held.
            self.spent.on_looks(looks)?;
        }
        Err(Stop::Budget)
    }

    /// And in how many rooms something newer was looked for, beyond those of the record.
    fn choice<O>(
        &self,
        connection: &Connection<O>,
        sequence: u64,
        stands_at: u64,
    ) -> (Choice, usize) {
        let Some(publication) = self.log.latest.get(sequence) else {
            return (Choice::This, 0);
        };
        if let State::Lagging(lag) = &connection.state
            && lag.ahead.of(publication) > Some(sequence)
        {
            return (Choice::Given, 0);
        }
        let newest_in = |room: &Room| self.log.latest.newest(room, publication);
        // The key has not moved on to other rooms: nearly always so, and cheaper to ask than all rooms that are held.
        if publication
            .audience()
            .all(|room| newest_in(&room).is_none_or(|newest| newest == sequence))
        {
            return (Choice::This, 0);
        }
        let looks = connection.rooms.len();
        let held = connection.rooms.iter();
        let held = held.filter_map(|room| Some((newest_in(room)?, room)));
        let Some((newest, room)) = held.max_by_key(|(newest, _)| *newest) else {
            return (Choice::This, looks);
        };
        // Unless it leaves that room before.
        let comes = newest >= stands_at
            || connection
                .recalls
                .iter()
                .any(|recall| recall.room == *room && recall.next <= newest);
        let choice = if comes || newest == sequence {
            Choice::This
        } else {
            Choice::Other(newest)
        };
        (choice, looks)
    }
}
