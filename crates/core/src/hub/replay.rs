//! A turn: feeding one connection from the log, at the pace that its outlet takes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::cursor::Cursor;
use crate::domain::protocol::ResyncReason;
use crate::domain::publication::Publication;
use crate::domain::room::Room;
use crate::failpoints::{self, Bug};

use super::conflate::Conflated;
use super::connection::{Connection, Control, Lag, Schedule, State};
use super::log::{Entry, OrganisationLog};
use super::outlet::{ControlItem, Delivery, DeliveryCursor, Item, Offered, Outlet, Resumed};
use super::positions::{Partition, Positions};
use super::{Contact, Counts, Now, Settings};

/// A turn ends after so many publications, so many bytes of payload, or so many entries looked at.
const TURN_PUBLICATIONS: usize = 64;
const TURN_BYTES: usize = 64 * 1024;
pub(super) const TURN_ENTRIES: usize = 4096;
/// And after so many rooms in which something newer than an entry was looked for: that is dearer than to pass it over.
const TURN_LOOKS: usize = 1024;

/// What a turn may read and count, beside the connection itself.
pub(super) struct Turn<'a> {
    pub(super) log: &'a OrganisationLog,
    pub(super) positions: &'a Positions,
    pub(super) settings: &'a Settings,
    pub(super) contact: Contact,
    pub(super) appends: u64,
    pub(super) counts: &'a mut Counts,
    pub(super) now: Now,
    pub(super) spent: Spent,
}

/// Why the feeding stopped early.
pub(super) enum Stop {
    Blocked,
    Budget,
}

/// What a turn has handed out.
#[derive(Default)]
pub(super) struct Spent {
    publications: usize,
    bytes: usize,
    looks: usize,
}

impl Spent {
    /// Whether one more may go out.
    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.publications == TURN_PUBLICATIONS || self.bytes >= TURN_BYTES {
            return Err(Stop::Budget);
        }
        Ok(())
    }

    /// Entries that came to nothing cost as well, and so does it to find out what goes out in place of one.
    pub(super) fn on_looks(&mut self, rooms: usize) -> Result<(), Stop> {
        self.looks += rooms;
        if self.looks >= TURN_LOOKS {
            return Err(Stop::Budget);
        }
        Ok(())
    }

    pub(super) fn on(&mut self, publication: &Publication) {
        self.publications += 1;
        self.bytes += publication.payload.get().len();
    }
}

impl Turn<'_> {
    /// Gives the connection what it is owed, within one turn, and says when it needs the next one. Reaching the head
    /// turns it `Live` in the same turn, so nothing can be appended in between.
    pub(super) fn run<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Schedule {
        self.resync_if_overtaken(connection);
        let stopped = self
            .controls(connection)
            .and_then(|()| self.recall(connection))
            .and_then(|()| self.controls(connection))
            .and_then(|()| self.replay(connection))
            .and_then(|()| self.go_live(connection));
        match stopped {
            Err(Stop::Blocked) => Schedule::Blocked,
            Err(Stop::Budget) if failpoints::is(Bug::SkipOverlap) => {
                connection.state = State::Live;
                Schedule::Idle
            }
            Err(Stop::Budget) => Schedule::Queued,
            Ok(()) => Schedule::Idle,
        }
    }

    /// It is at the head. Once this instance has read all that it came with, it is as good as any other.
    fn go_live<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Result<(), Stop> {
        if self.has_read(connection, |here| here.unwanted) {
            // Of what is not wanted here nothing comes that could be waited for.
            if let State::Lagging(lag) = &mut connection.state {
                lag.uncovered.clear();
            }
            self.controls(connection)?;
        }
        if self.has_read(connection, |_| false) {
            connection.state = State::Live;
        }
        Ok(())
    }

    /// Eviction has passed the connection by: what it missed is gone, so it is told, and goes on from the head.
    fn resync_if_overtaken<O>(&mut self, connection: &mut Connection<O>) {
        let first = self.log.first();
        let State::Lagging(lag) = &mut connection.state else {
            return;
        };
        if lag.next >= first {
            return;
        }
        let missed = connection.rooms.iter().any(|room| {
            self.log
                .rooms
                .get(room)
                .is_some_and(|log| log.evicted > lag.next)
        });
        lag.next = first;
        if missed {
            self.resync(connection, ResyncReason::Evicted);
        }
    }

    /// Skips to the head and says so. From here on every cursor is past the hole, so nothing that carries one may go out
    /// before the notice does: a waiting `cursor` is dropped, a waiting welcome speaks of the resync itself.
    pub(super) fn resync<O>(&mut self, connection: &mut Connection<O>, reason: ResyncReason) {
        connection.state = State::Lagging(Lag::from(self.log.head()));
        connection.last = self.here();
        connection.began = Some(self.appends);
        let welcome = connection
            .controls
            .iter()
            .find_map(|control| match control {
                Control::Welcome(resumed) => Some(*resumed),
                Control::Resync(_) | Control::Revoked(_) | Control::Cursor | Control::Stale => None,
            });
        let (stale, revoked) = connection.other_news();
        connection.controls.clear();
        match welcome {
            // It has seen nothing yet, so it has missed nothing: it begins here.
            Some(Resumed::Fresh) => connection.push(Control::Welcome(Resumed::Fresh)),
            Some(Resumed::Resumed | Resumed::Resync) => {
                connection.push(Control::Welcome(Resumed::Resync));
                connection.push(Control::Resync(reason));
            }
            None => connection.push(Control::Resync(reason)),
        }
        for control in revoked.into_iter().chain(stale) {
            connection.push(control);
        }
        if connection.is_owed_newest() {
            // It still says that they are complete.
            connection.push(Control::Cursor);
        }
        if welcome != Some(Resumed::Fresh) {
            self.counts.resyncs[reason as usize] += 1;
        }
    }

    fn controls<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Result<(), Stop> {
        let incomplete = connection.is_owed_newest();
        let next = |controls: &VecDeque<Control>| {
            let mut controls = controls.iter();
            controls.position(|control| !(incomplete && *control == Control::Cursor))
        };
        while let Some(at) = next(&connection.controls) {
            let control = connection.controls[at];
            let cursor = self.standing(connection);
            let item = match control {
                Control::Welcome(resumed) => ControlItem::Welcome {
                    resumed,
                    rooms: &connection.rooms,
                    window_seconds: self.log.window(self.settings.window_ms, self.now) / 1000,
                    cursor: &cursor,
                },
                Control::Resync(reason) => ControlItem::Resync {
                    reason,
                    rooms: &connection.rooms,
                    cursor: &cursor,
                },
                Control::Revoked(reason) => ControlItem::Revoked {
                    reason,
                    rooms: &connection.revoked,
                    cursor: &cursor,
                },
                Control::Cursor => ControlItem::Cursor { cursor: &cursor },
                Control::Stale => ControlItem::Stale {
                    stale: self.contact.stale,
                    since: self.contact.since,
                    cursor: &cursor,
                },
            };
            if connection.outlet.offer(Item::Control(item)) == Offered::Full {
                return Err(Stop::Blocked);
            }
            connection.controls.remove(at);
            if let Control::Revoked(_) = control {
                connection.revoked.clear();
            }
            connection.last = cursor;
            connection.last_at = self.now.monotonic;
        }
        Ok(())
    }

    /// The cursor that is true for the connection as it stands: never ahead of what it was given.
    pub(super) fn standing<O>(&self, connection: &Connection<O>) -> Arc<str> {
        match &connection.state {
            State::Live => self.here(),
            State::Lagging(lag) if lag.next < self.log.head() => connection.last.clone(),
            State::Lagging(Lag { own: None, .. }) => self.here(),
            State::Lagging(Lag { own: Some(own), .. }) => {
                // At the head: what it came with, and what was handed out or passed over here.
                let here = self.log.cursor(self.positions, self.settings, self.now);
                self.encode(&here.merged(own))
            }
        }
    }

    pub(super) fn here(&self) -> Arc<str> {
        self.encode(&self.log.cursor(self.positions, self.settings, self.now))
    }

    fn encode(&self, cursor: &Cursor) -> Arc<str> {
        cursor.encode(self.positions.tables().shared(self.now))
    }

    /// Hands out the entries of the connection's rooms from `lag.next` on, in the order in which they were appended.
    fn replay<O: Outlet>(&mut self, connection: &mut Connection<O>) -> Result<(), Stop> {
        let State::Lagging(lag) = &mut connection.state else {
            return Ok(());
        };
        let logs: Vec<_> = connection
            .rooms
            .iter()
            .filter_map(|room| Some((room, self.log.rooms.get(room)?)))
            .collect();
        let mut at: Vec<usize> = logs
            .iter()
            .map(|(_, log)| log.entries.partition_point(|sequence| *sequence < lag.next))
            .collect();
        let mut rooms = Vec::with_capacity(logs.len());
        for _ in 0..TURN_ENTRIES {
            let upcoming = logs
                .iter()
                .zip(&at)
                .filter_map(|((_, log), at)| log.entries.get(*at));
            let Some(sequence) = upcoming.min().copied() else {
                lag.next = self.log.head();
                return Ok(());
            };
            rooms.clear();
            for ((room, log), at) in logs.iter().zip(&mut at) {
                if log.entries.get(*at) == Some(&sequence) {
                    *at += 1;
                    rooms.push(*room);
                }
            }
            let entry = self
                .log
                .entry(sequence)
                .expect("the room index holds only living entries");
            if self.passed_over(lag, entry, &rooms) {
                lag.next = sequence + 1;
                continue;
            }
            let (given, instead) = match self.conflate(lag, (sequence, entry), &rooms) {
                Conflated::No => (entry, None),
                Conflated::Instead(newer, instead) => (instead, Some(newer)),
                Conflated::Spared => {
                    self.counts.conflated += 1;
                    lag.next = sequence + 1;
                    self.spent.on_looks(rooms.len())?;
                    continue;
                }
                Conflated::Given => {
                    lag.next = sequence + 1;
                    self.spent.on_looks(rooms.len())?;
                    continue;
                }
            };
            self.spent.check()?;
            let own = match (&lag.own, instead) {
                // It does not stand behind what it is given now.
                (_, Some(_)) => Some(connection.last.clone()),
                (None, None) => None,
                (Some(_), None) if failpoints::is(Bug::OwnCursor) => None,
                (Some(own), None) => Some(
                    self.merged(&entry.cursor, own)
                        .unwrap_or(connection.last.clone()),
                ),
            };
            let publication = &given.publication;
            if let Some(newer) = instead.filter(|_| failpoints::is(Bug::DropNewest)) {
                lag.ahead.note(publication, newer);
                lag.next = sequence + 1;
                continue;
            }
            let item = Item::Publication(Delivery {
                entry: given,
                cursor: match &own {
                    Some(own) => DeliveryCursor::Own(own),
                    None => DeliveryCursor::Shared,
                },
            });
            if connection.outlet.offer(item) == Offered::Full {
                lag.next = sequence;
                return Err(Stop::Blocked);
            }
            if let Some(newer) = instead {
                lag.ahead.note(publication, newer);
                self.counts.conflated += 1;
            }
            self.counts.delivered(&publication.event, 1);
            self.spent.on(publication);
            lag.next = sequence + 1;
            connection.last = own.unwrap_or_else(|| given.cursor.clone());
            connection.last_at = self.now.monotonic;
        }
        Err(Stop::Budget)
    }

    /// Not for this connection, although it holds `rooms` of the entry's: it has it, or its topic is gone.
    pub(super) fn passed_over(&self, lag: &Lag, entry: &Entry, rooms: &[&Room]) -> bool {
        let asked_for = || {
            entry.publication.latest_key().is_some()
                && rooms.iter().any(|room| lag.uncovered.contains(room))
        };
        self.is_gone(entry.partition)
            || (self.covered(lag, entry.partition, entry.publication.offset) && !asked_for())
    }

    /// The topic was deleted or made anew. Everybody was told to resync then, and no later cursor can say what of the old
    /// topic a client has seen: offsets begin again.
    fn is_gone(&self, partition: u32) -> bool {
        self.positions.get(partition).is_none()
    }

    fn covered(&self, lag: &Lag, partition: u32, offset: i64) -> bool {
        let covered = || {
            let hash = self.positions.get(partition)?.hash;
            Some(offset < lag.own.as_ref()?.next(hash)?)
        };
        covered().unwrap_or(false)
    }

    fn merged(&self, cursor: &str, own: &Cursor) -> Option<Arc<str>> {
        let decoded = self
            .positions
            .completed(self.positions.tables().decode(cursor).ok()?);
        Some(self.encode(&decoded.merged(own)))
    }

    /// Everything that the connection came with has been read here too, but for partitions that do not matter. If all do: from
    /// now on the shared cursors are true for it.
    fn has_read<O>(&self, connection: &Connection<O>, but: impl Fn(&Partition) -> bool) -> bool {
        let State::Lagging(Lag { own: Some(own), .. }) = &connection.state else {
            return true;
        };
        own.marks.iter().all(|mark| {
            let index = self.positions.index_of(mark.hash);
            index
                .and_then(|index| self.positions.get(index))
                .is_none_or(|here| here.next >= mark.next || but(here))
        })
    }
}
