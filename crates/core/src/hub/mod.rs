//! The hub: a bounded window of what was published of late, and the connections that are fed from it.
//!
//! One idea carries it: *being resumed is being slow*. A connection is `Live` (each publication is offered as it is
//! appended) or `Lagging` (it is fed from the window at the pace that it can take). A full outlet makes it lag; a client
//! that comes with a cursor starts lagging; reaching the head makes it live in the same turn. So replayed and live events
//! cannot cross, and slow consumers, resume and late subscription are one mechanism.
//!
//! It is a state machine: values in, offers to [`Outlet`]s out. It neither blocks nor asks for the time.

mod by_record;
mod conflate;
mod connection;
mod counts;
mod cut;
pub mod feed;
mod gone;
mod late;
mod latest;
mod log;
mod members;
pub mod outlet;
mod positions;
mod publish;
mod reach;
mod recall;
mod replay;
pub mod resume;
mod space;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use slotmap::SlotMap;

use crate::domain::id::Id;
use crate::domain::protocol::ResyncReason;

use by_record::ByRecord;
use connection::{Connection, Control, Lag, Schedule, State};
pub use counts::{Counts, RoomCount, Snapshot};
use feed::Feed;
use gone::Told;
use log::OrganisationLog;
pub use members::Start;
use outlet::Outlet;
use positions::Positions;
use reach::Reach;
use replay::{Spent, Turn};

slotmap::new_key_type! {
    /// A connection of the hub. Keys are not reused: a late message about a closed connection finds nothing.
    pub struct ConnectionKey;
    struct OrganisationKey;
}

/// The time, as the caller reads it. Ages are monotonic; cursors and floors carry wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some fixed moment of this process.
    pub monotonic: u64,
    /// Milliseconds since the Unix epoch.
    pub wall: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How far back a client can be resumed, in milliseconds.
    pub window_ms: u64,
    /// The most that the window may take, in bytes.
    pub window_bytes: usize,
    /// The most that the newest records of class `latest` may take, in bytes; 0 keeps none.
    pub latest_bytes: usize,
    /// Cursors name every partition while there are no more than so many; [`NAMED_PARTITIONS`] is a good number.
    pub named_partitions: usize,
}

/// Then a cursor is at most about 380 characters long, and most are much shorter. Beyond, those are left out that carried nothing
/// of the organisation for long, and whether a record in them is new is known only as well as timestamps are right: one that is
/// stamped an hour late is left out at the start of an instance, one of the future is read again.
pub const NAMED_PARTITIONS: usize = 64;

impl Settings {
    /// How long an instance keeps what it promises to keep for the window: clocks differ.
    pub fn kept_ms(&self) -> u64 {
        self.window_ms + resume::SKEW_MS
    }

    /// How far back an instance reads when it starts, in milliseconds: also what was written before a cursor was issued, in a
    /// partition that its issuer had not found by then.
    pub fn loaded_ms(&self) -> u64 {
        self.kept_ms() + positions::DISCOVERY_MS
    }

    /// Of many partitions, cursors name those that carried a record of the organisation within this time: long enough for what another
    /// instance has loaded at its start, and then kept.
    fn memory_ms(&self) -> u64 {
        self.kept_ms() + self.loaded_ms() + 2 * resume::SKEW_MS
    }

    /// A partition that a cursor does not name carried nothing of its organisation from this wall time on until the cursor was
    /// issued, by the clock of any instance.
    fn silent_from(&self, issued: u64) -> u64 {
        issued
            .saturating_add(resume::SKEW_MS)
            .saturating_sub(self.memory_ms())
    }

    /// A quiet connection is given a newer cursor this often.
    fn quiet_ms(&self) -> u64 {
        (self.window_ms / 4).min(60_000)
    }
}

/// Whether the log can be read, and since when (wall time, milliseconds).
#[derive(Debug, Clone, Copy)]
struct Contact {
    stale: bool,
    since: u64,
}

#[derive(Debug)]
pub struct Hub<O> {
    settings: Settings,
    positions: Positions,
    organisations: SlotMap<OrganisationKey, OrganisationLog>,
    by_id: HashMap<Id, OrganisationKey>,
    by_record: ByRecord,
    connections: SlotMap<ConnectionKey, Connection<O>>,
    /// Lagging connections that want a turn, in the order in which they asked.
    turns: VecDeque<ConnectionKey>,
    bytes: usize,
    latest_bytes: usize,
    contact: Contact,
    /// Numbers the appends.
    appends: u64,
    /// Numbers the events that are offered to rooms, so that a connection in several of them gets each once.
    fan_outs: u64,
    reach: Reach,
    told: Told,
    counts: Counts,
}

impl<O> Hub<O> {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            positions: Positions::new(settings),
            organisations: SlotMap::with_key(),
            by_id: HashMap::new(),
            by_record: ByRecord::default(),
            connections: SlotMap::with_key(),
            turns: VecDeque::new(),
            bytes: 0,
            latest_bytes: 0,
            contact: Contact {
                stale: false,
                since: 0,
            },
            appends: 0,
            fan_outs: 0,
            reach: Reach::default(),
            told: Told::default(),
            counts: Counts::default(),
        }
    }
}

impl<O: Outlet> Hub<O> {
    /// Takes what the consumer learned. Live connections are offered each publication before this returns, and all are offered
    /// each ephemeral event; the answer is how many took it.
    pub fn apply(&mut self, feed: Feed, now: Now) -> u64 {
        match feed {
            Feed::Publication {
                partition,
                publication,
            } => return self.publish(partition, publication, now),
            Feed::Ephemeral(ephemeral) => return self.offer_ephemeral(ephemeral),
            Feed::Passed { partition, offset } => {
                if !self.positions.advance(partition, offset) {
                    self.counts.repeated += 1;
                }
            }
            Feed::Deleted {
                partition,
                offset,
                key,
            } => {
                if self.positions.advance(partition, offset) {
                    self.deleted(partition, &key);
                } else {
                    self.counts.repeated += 1;
                }
            }
            Feed::End {
                partition,
                next,
                asked,
            } => {
                self.positions.end(partition, next, asked.min(now.wall));
            }
            Feed::Partition {
                index,
                topic,
                number,
                topic_id,
                start,
            } => {
                let gone = self
                    .positions
                    .add(index, &topic, topic_id, number, start, now);
                self.log_gone(&gone, now);
            }
            Feed::TopicId {
                partition,
                topic_id,
            } => self.positions.learn(partition, topic_id, now),
            Feed::Unwanted { partition } => self.positions.unwanted(partition, now),
            Feed::Gap { partition, next } => {
                if self.positions.gap(partition, next, now) {
                    self.resync_all(ResyncReason::Gap, now);
                }
            }
            Feed::Gone { partition } => self.gone(partition, now),
            Feed::Cut { partition } => self.cut(partition, now),
            Feed::Contact { up } => self.contact(up, now),
        }
        0
    }

    /// The start is over: every partition was read to its end once.
    pub fn loaded(&mut self) {
        self.positions.loaded();
    }

    /// Puts a `cursor` item into the connection's feed.
    pub fn cursor(&mut self, key: ConnectionKey, now: Now) {
        self.control(key, Control::Cursor, now);
    }

    fn contact(&mut self, up: bool, now: Now) {
        if self.contact.stale != up {
            return;
        }
        self.contact = Contact {
            stale: !up,
            since: now.wall,
        };
        for key in self.connections.keys().collect::<Vec<_>>() {
            self.control(key, Control::Stale, now);
        }
    }

    fn control(&mut self, key: ConnectionKey, control: Control, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.push(control);
        if connection.is_live() {
            let log = &self.organisations[connection.organisation];
            connection.state = State::Lagging(Lag::from(log.head()));
        }
        if connection.schedule == Schedule::Idle {
            self.turn_of(key, now);
        }
    }

    /// The connection's outlet has room again.
    pub fn ready(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.schedule == Schedule::Blocked {
            connection.schedule = Schedule::Idle;
            self.schedule(key);
        }
    }

    /// Gives the next waiting connection its turn. False if none waits.
    pub fn turn(&mut self, now: Now) -> bool {
        while let Some(key) = self.turns.pop_front() {
            if self.connections.contains_key(key) {
                self.turn_of(key, now);
                return true;
            }
        }
        false
    }

    pub fn turns_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Once a second: lets go of what is too old, and gives quiet connections a newer cursor.
    pub fn tick(&mut self, now: Now) {
        self.evict_old(now);
        if self.positions.is_loaded() {
            let read_up_to = self.positions.read_up_to(now);
            self.reach.note(read_up_to, self.settings.window_ms, now);
        }
        let quiet = self.settings.quiet_ms();
        let due: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| now.monotonic.saturating_sub(connection.last_at) >= quiet)
            .map(|(key, _)| key)
            .collect();
        for key in due {
            // One that still merges stands where it looked last. What came since is to lie behind its cursor, not before it.
            self.turn_if_idle(key, now);
            self.cursor(key, now);
        }
        let merging: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                !connection.is_live() && connection.schedule == Schedule::Idle
            })
            .map(|(key, _)| key)
            .collect();
        for key in merging {
            self.schedule(key);
        }
    }

    /// The wall time (milliseconds) up to which everything is known to be read; 0 before the start is over.
    pub fn read_up_to(&self, now: Now) -> u64 {
        self.positions.read_up_to(now)
    }

    fn resync_all(&mut self, reason: ResyncReason, now: Now) {
        for key in self.connections.keys().collect::<Vec<_>>() {
            self.resync(key, reason, now);
        }
    }

    fn resync(&mut self, key: ConnectionKey, reason: ResyncReason, now: Now) {
        self.with_turn(key, now, |turn, connection| turn.resync(connection, reason));
        self.schedule(key);
    }

    fn schedule(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.schedule == Schedule::Idle {
            connection.schedule = Schedule::Queued;
            self.turns.push_back(key);
        }
    }

    fn turn_if_idle(&mut self, key: ConnectionKey, now: Now) {
        let connection = self.connections.get(key);
        if connection.is_some_and(|it| !it.is_live() && it.schedule == Schedule::Idle) {
            self.turn_of(key, now);
        }
    }

    fn turn_of(&mut self, key: ConnectionKey, now: Now) {
        let schedule = self.with_turn(key, now, |turn, connection| {
            connection.schedule = turn.run(connection);
            connection.schedule
        });
        if schedule == Some(Schedule::Queued) {
            self.turns.push_back(key);
        }
    }

    fn with_turn<T>(
        &mut self,
        key: ConnectionKey,
        now: Now,
        act: impl FnOnce(&mut Turn<'_>, &mut Connection<O>) -> T,
    ) -> Option<T> {
        let connection = self.connections.get_mut(key)?;
        let mut turn = Turn {
            log: &self.organisations[connection.organisation],
            positions: &self.positions,
            settings: &self.settings,
            contact: self.contact,
            appends: self.appends,
            counts: &mut self.counts,
            now,
            spent: Spent::default(),
        };
        Some(act(&mut turn, connection))
    }
}
