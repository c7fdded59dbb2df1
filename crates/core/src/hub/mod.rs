//! The hub: a bounded window of what was published recently, and the connections that are fed from it.
//!
//! One idea carries it: *being resumed is being slow*. A connection is `Live` (each publication is offered as it is
//! appended) or `Lagging` (it is fed from the window at the pace that it can take). A full outlet makes it lag; a client
//! that comes with a cursor starts lagging; reaching the head makes it live in the same turn. So replayed and live events
//! cannot cross, and slow consumers, resume and late subscription are one mechanism.
//!
//! It is a state machine: values in, offers to [`Outlet`]s out. It neither blocks nor reads the clock.
//!
//! What comes in is a [`feed`]. It moves the [`positions`] and fills the [`window`]; [`connections`] come with rooms and perhaps a
//! cursor; [`delivery`] gets the one to the other. This file is where they meet: [`Hub::apply`], and turns.

mod connections;
mod delivery;
pub mod feed;
mod limit;
mod positions;
mod settings;
mod statistics;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{HashMap, VecDeque};

use slotmap::SlotMap;

use crate::domain::id::Id;
use crate::domain::protocol::ResyncReason;

use connections::resyncs::{Concerned, Resyncs};
use connections::visits::Visits;
use connections::{Connection, Control, Schedule};
use delivery::turn::{Turn, TurnBudget};
use feed::Feed;
use limit::LimitState;
use outlet::Outlet;
use positions::Positions;
use positions::read_history::ReadHistory;
use positions::recreated::PartlyDeleted;
use window::OrganisationLog;
use window::record_index::RecordIndex;

pub use connections::{Start, resume};
pub use delivery::outlet;
pub use settings::{HubSettings, NAMED_PARTITIONS};
pub use statistics::{Counts, HubStatistics, OTHER_EVENTS, RoomCount};

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

/// Whether the log can be read, and since when (wall time, milliseconds).
#[derive(Debug, Clone, Copy)]
struct LogContact {
    stale: bool,
    since: u64,
    /// How often it was lost or found, for connections that were not notified of the last time.
    changes: u32,
}

#[derive(Debug)]
pub struct Hub<O> {
    settings: HubSettings,
    positions: Positions,
    organisations: SlotMap<OrganisationKey, OrganisationLog>,
    by_id: HashMap<Id, OrganisationKey>,
    record_index: RecordIndex,
    connections: SlotMap<ConnectionKey, Connection<O>>,
    /// Lagging connections that want a turn, in the order in which they asked.
    turns: VecDeque<ConnectionKey>,
    visits: Visits,
    resyncs: Resyncs,
    bytes: usize,
    limit: LimitState,
    snapshot_bytes: usize,
    contact: LogContact,
    /// Numbers the appends.
    appends: u64,
    /// Numbers the events that are offered to rooms, so that a connection in several of them gets each once.
    fan_outs: u64,
    read_history: ReadHistory,
    partly_deleted: PartlyDeleted,
    counts: Counts,
}

/// How much work it was to apply something, in deliveries: so many were taken, of so many members or records that were looked at. To look
/// at eight that do not take it takes about as long as one delivery.
fn work_of(delivered: u64, looked_at: usize) -> u64 {
    delivered + (looked_at as u64).saturating_sub(delivered) / 8
}

impl<O> Hub<O> {
    pub fn new(settings: HubSettings) -> Self {
        Self {
            settings,
            positions: Positions::new(settings),
            organisations: SlotMap::with_key(),
            by_id: HashMap::new(),
            record_index: RecordIndex::default(),
            connections: SlotMap::with_key(),
            turns: VecDeque::new(),
            bytes: 0,
            limit: LimitState::new(settings.window_bytes),
            snapshot_bytes: 0,
            contact: LogContact {
                stale: false,
                since: 0,
                changes: 0,
            },
            visits: Visits::default(),
            resyncs: Resyncs::default(),
            appends: 0,
            fan_outs: 0,
            read_history: ReadHistory::default(),
            partly_deleted: PartlyDeleted::default(),
            counts: Counts::default(),
        }
    }
}

impl<O: Outlet> Hub<O> {
    /// Takes in what a feeder learned. Live connections are offered each publication before this returns, and all are offered
    /// each ephemeral event. Returns how much work that was: see [`work_of`].
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
            Feed::Tombstone {
                partition,
                offset,
                key,
            } => {
                if self.positions.advance(partition, offset) {
                    self.remove_record(partition, &key);
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
                let replaced = self
                    .positions
                    .add(index, &topic, topic_id, number, start, now);
                self.recreated(&replaced);
            }
            Feed::TopicId {
                partition,
                topic_id,
            } => self.learn_topic_id(partition, topic_id, now),
            Feed::Unwanted { partition } => self.positions.unwanted(partition, now),
            Feed::Gap { partition, next } => {
                if self.positions.gap(partition, next, now) {
                    self.raise_resync(ResyncReason::Gap, Concerned::All);
                }
            }
            Feed::TopicDeleted { partition } => {
                let scanned = self.snapshot_records();
                self.topic_deleted(partition, now);
                return work_of(0, scanned);
            }
            Feed::Truncated { partition } => {
                let scanned = self.snapshot_records();
                self.truncated(partition, now);
                return work_of(0, scanned);
            }
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
        self.contact = LogContact {
            stale: !up,
            since: now.wall,
            changes: self.contact.changes.wrapping_add(1),
        };
        self.visit_all();
    }

    fn control(&mut self, key: ConnectionKey, control: Control, now: Now) {
        self.see_to(key, now);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.push(control);
        let log = &self.organisations[connection.details.organisation];
        connection.turn_lagging(log, log.head());
        if connection.schedule == Schedule::Idle {
            self.run_turn(key, now);
        }
    }

    /// The connection's outlet has capacity again.
    pub fn ready(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.schedule == Schedule::Waiting {
            connection.schedule = Schedule::Idle;
            self.schedule(key);
        }
    }

    /// Runs the next queued connection's turn. False if none is queued.
    pub fn turn(&mut self, now: Now) -> bool {
        while let Some(key) = self.turns.pop_front() {
            if self.connections.contains_key(key) {
                self.run_turn(key, now);
                return true;
            }
        }
        false
    }

    /// Whether a [`turn`](Self::turn) or a [`visit`](Self::visit) is due.
    pub fn has_work(&self) -> bool {
        !self.turns.is_empty() || self.visits_waiting()
    }

    /// Once a second: evicts what is too old, and has connections [visited](Self::visit): quiet ones are sent a newer cursor.
    pub fn tick(&mut self, now: Now) {
        self.evict_expired(now);
        if self.positions.is_loaded() {
            let read_up_to = self.positions.read_up_to(now);
            self.read_history
                .note(read_up_to, self.settings.window_ms, now);
        }
        self.visit_all();
    }

    /// The wall time (milliseconds) up to which everything is known to be read; 0 before the start is over.
    pub fn read_up_to(&self, now: Now) -> u64 {
        self.positions.read_up_to(now)
    }

    /// The organisation's key; it gets one when it is first named.
    fn organisation(&mut self, id: &Id) -> OrganisationKey {
        if let Some(key) = self.by_id.get(id) {
            return *key;
        }
        let key = self.organisations.insert_with_key(|key| {
            let owner = self.record_index.add_owner(key);
            OrganisationLog::new(id.clone(), owner)
        });
        self.by_id.insert(id.clone(), key);
        key
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
            self.run_turn(key, now);
        }
    }

    fn run_turn(&mut self, key: ConnectionKey, now: Now) {
        let schedule = self.with_turn(key, now, |turn, connection| {
            turn.apply_resyncs(connection);
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
            log: &self.organisations[connection.details.organisation],
            positions: &self.positions,
            settings: &self.settings,
            contact: self.contact,
            resyncs: &self.resyncs,
            appends: self.appends,
            counts: &mut self.counts,
            now,
            budget: TurnBudget::default(),
        };
        Some(act(&mut turn, connection))
    }
}
