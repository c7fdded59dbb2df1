//! The hub: a bounded window of what was published of late, and the connections that are fed from it.
//!
//! One idea carries it: *being resumed is being slow*. A connection is `Live` (each publication is offered as it is
//! appended) or `Lagging` (it is fed from the window at the pace that it can take). A full outlet makes it lag; a client
//! that comes with a cursor starts lagging; reaching the head makes it live in the same turn. So replayed and live events
//! cannot cross, and slow consumers, resume and late subscription are one mechanism.
//!
//! It is a state machine: values in, offers to [`Outlet`]s out. It neither blocks nor asks for the time.

mod connection;
pub mod feed;
mod log;
pub mod outlet;
mod positions;
mod replay;
pub mod resume;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use slotmap::SlotMap;

use crate::domain::cursor::Cursor;
use crate::domain::id::Id;
use crate::domain::protocol::{ResyncReason, RevokeReason};
use crate::domain::publication::Publication;
use crate::domain::room::Room;
use crate::failpoints::{self, Bug};

use connection::{Connection, Control, Lag, Schedule, State};
use feed::Feed;
use log::OrganisationLog;
use outlet::{Item, Offered, Outlet, Resumed};
use positions::Positions;
use replay::Turn;

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
}

impl Settings {
    /// How long an instance keeps what it promises to keep for the window: clocks differ.
    pub fn kept_ms(&self) -> u64 {
        self.window_ms + resume::SKEW_MS
    }

    /// Cursors name the partitions that carried a record of the organisation within the last two windows.
    fn memory_ms(&self) -> u64 {
        self.kept_ms() * 2
    }

    /// A quiet connection is given a newer cursor this often.
    fn quiet_ms(&self) -> u64 {
        (self.window_ms / 4).min(60_000)
    }
}

/// How a connection starts.
#[derive(Debug, Clone)]
pub enum Start {
    Fresh,
    /// From a cursor that [`Hub::inspect`] found good, and its text.
    Resume(Cursor, Arc<str>),
    Resync(ResyncReason),
}

/// What the hub counted since it was made.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub deliveries: BTreeMap<Arc<str>, u64>,
    pub publications: u64,
    /// By [`Resumed`] as index.
    pub starts: [u64; Resumed::ALL.len()],
    /// By [`ResyncReason`] as index.
    pub resyncs: [u64; ResyncReason::ALL.len()],
    /// Records that came again, or of a partition that is gone: not handed out.
    pub repeated: u64,
    /// Live connections that turned lagging because their outlet was full.
    pub slowed: u64,
    /// Publications that the byte cap evicted before the window's time was over.
    pub evicted_early: u64,
}

impl Counts {
    fn delivered(&mut self, event: &Arc<str>, count: u64) {
        match self.deliveries.get_mut(event) {
            Some(total) => *total += count,
            None => {
                self.deliveries.insert(event.clone(), count);
            }
        }
    }
}

/// Whether the log can be read, and since when (wall time, milliseconds).
#[derive(Debug, Clone, Copy)]
struct Contact {
    stale: bool,
    since: u64,
}

/// How things stand.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub counts: Counts,
    pub connections: usize,
    pub lagging: usize,
    /// Members by kind of room.
    pub rooms: BTreeMap<String, RoomCount>,
    pub organisations: usize,
    pub window_bytes: usize,
    pub window_entries: usize,
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

#[derive(Debug)]
pub struct Hub<O> {
    settings: Settings,
    positions: Positions,
    organisations: SlotMap<OrganisationKey, OrganisationLog>,
    by_id: HashMap<Id, OrganisationKey>,
    connections: SlotMap<ConnectionKey, Connection<O>>,
    /// Lagging connections that want a turn, in the order in which they asked.
    turns: VecDeque<ConnectionKey>,
    bytes: usize,
    contact: Contact,
    /// Numbers the appends, so that a connection in several rooms of one publication gets it once.
    appends: u64,
    counts: Counts,
}

impl<O> Hub<O> {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            positions: Positions::new(),
            organisations: SlotMap::with_key(),
            by_id: HashMap::new(),
            connections: SlotMap::with_key(),
            turns: VecDeque::new(),
            bytes: 0,
            contact: Contact {
                stale: false,
                since: 0,
            },
            appends: 0,
            counts: Counts::default(),
        }
    }
}

impl<O: Outlet> Hub<O> {
    /// Takes what the consumer learned. Live connections are offered each publication before this returns; the answer is
    /// how many of them took it.
    pub fn apply(&mut self, feed: Feed, now: Now) -> u64 {
        match feed {
            Feed::Publication {
                partition,
                publication,
            } => return self.publish(partition, publication, now),
            Feed::Passed { partition, offset } => {
                if !self.positions.advance(partition, offset) {
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
                self.positions
                    .add(index, &topic, topic_id, number, start, now);
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
            Feed::Gone { partition } => {
                self.positions.remove(partition, now);
                self.resync_all(ResyncReason::TopicRecreated, now);
            }
            Feed::Contact { up } => self.contact(up, now),
        }
        0
    }

    /// The start is over: every partition was read to its end once.
    pub fn loaded(&mut self) {
        self.positions.loaded();
    }

    fn publish(&mut self, partition: u32, publication: Publication, now: Now) -> u64 {
        if !self.positions.advance(partition, publication.offset) {
            self.counts.repeated += 1;
            return 0;
        }
        self.appends += 1;
        self.counts.publications += 1;
        let key = self.organisation(&publication.organisation);
        let log = &mut self.organisations[key];
        log.touch(partition, now);
        let cursor = log
            .cursor(&self.positions, self.settings.memory_ms(), now)
            .encode(self.positions.shared_table(now, self.settings.window_ms));
        let publication = Arc::new(publication);
        let before = log.bytes;
        let sequence = log.append(publication.clone(), partition, cursor.clone(), now);
        self.bytes += log.bytes - before;

        let item = Item::Publication {
            publication: &publication,
            cursor: &cursor,
        };
        let mut delivered = 0;
        for room in &publication.rooms {
            for member in &log.rooms[room].members {
                let connection = &mut self.connections[*member];
                if std::mem::replace(&mut connection.stamp, self.appends) == self.appends {
                    continue;
                }
                if !connection.is_live() {
                    if connection.schedule == Schedule::Idle {
                        connection.schedule = Schedule::Queued;
                        self.turns.push_back(*member);
                    }
                    continue;
                }
                if failpoints::once_in(10_000, Bug::DropEmit) {
                    continue;
                }
                match connection.outlet.offer(item) {
                    Offered::Taken => {
                        delivered += 1;
                        // Should it lag from here on, this is where it stands.
                        connection.last = cursor.clone();
                        connection.last_at = now.monotonic;
                    }
                    Offered::Full => {
                        self.counts.slowed += 1;
                        connection.state = State::Lagging(Lag {
                            next: sequence + u64::from(failpoints::is(Bug::CursorFirst)),
                            own: None,
                        });
                        connection.schedule = Schedule::Blocked;
                    }
                }
            }
        }
        if failpoints::once_in(500, Bug::Foreign) {
            let mut others = self.connections.values_mut();
            let foreign = others.find(|other| other.organisation != key && other.is_live());
            delivered +=
                u64::from(foreign.is_some_and(|it| it.outlet.offer(item) == Offered::Taken));
        }
        self.counts.delivered(&publication.event, delivered);
        self.evict_for_space();
        delivered
    }

    fn organisation(&mut self, id: &Id) -> OrganisationKey {
        if let Some(key) = self.by_id.get(id) {
            return *key;
        }
        let key = self.organisations.insert(OrganisationLog::new(id.clone()));
        self.by_id.insert(id.clone(), key);
        key
    }

    /// Over the cap, the organisation that takes most gives way: a noisy one shortens only its own window.
    fn evict_for_space(&mut self) {
        if self.bytes <= self.settings.window_bytes {
            return;
        }
        // A little more than needed, so that the look-up is not repeated at each append.
        let target = self.settings.window_bytes - self.settings.window_bytes / 64;
        while self.bytes > target {
            let largest = self.organisations.values_mut().max_by_key(|log| log.bytes);
            let Some(log) = largest.filter(|log| !log.is_empty()) else {
                return;
            };
            let share = log.bytes - log.bytes / 64;
            loop {
                self.bytes -= log.evict_oldest(true);
                self.counts.evicted_early += 1;
                if self.bytes <= target || log.bytes <= share || log.is_empty() {
                    break;
                }
            }
        }
    }

    /// Adds a connection. It holds `rooms` (all of `organisation`, each once) from this moment on; its welcome, and what
    /// it missed, goes out in turns.
    pub fn connect(
        &mut self,
        organisation: &Id,
        rooms: Vec<Room>,
        start: Start,
        outlet: O,
        now: Now,
    ) -> ConnectionKey {
        let organisation = self.organisation(organisation);
        let log = &mut self.organisations[organisation];
        log.connections += 1;
        let (first, head) = (log.first(), log.head());
        let from = |next, own| Lag { next, own };
        let (resumed, lag, last, reason) = match start {
            Start::Resume(cursor, text) => {
                (Resumed::Resumed, from(first, Some(cursor)), text, None)
            }
            Start::Fresh => (Resumed::Fresh, from(head, None), Arc::from(""), None),
            Start::Resync(reason) => {
                let nowhere = Arc::from("");
                (Resumed::Resync, from(head, None), nowhere, Some(reason))
            }
        };
        self.counts.starts[resumed as usize] += 1;
        let mut controls = VecDeque::from([Control::Welcome(resumed)]);
        if self.contact.stale {
            controls.push_back(Control::Stale);
        }
        let key = self.connections.insert(Connection {
            outlet,
            organisation,
            rooms,
            revoked: Vec::new(),
            state: State::Lagging(lag),
            controls,
            last,
            last_at: now.monotonic,
            stamp: 0,
            schedule: Schedule::Idle,
        });
        for room in &self.connections[key].rooms {
            log.room(room).members.push(key);
        }
        if let Some(reason) = reason {
            self.with_turn(key, now, |turn, connection| turn.resync(connection, reason));
        } else if resumed == Resumed::Fresh {
            self.with_turn(key, now, |turn, connection| connection.last = turn.here());
        }
        self.schedule(key);
        key
    }

    /// Joins a room from the connection's own position on. False if it was held already: then nothing changes.
    pub fn subscribe(&mut self, key: ConnectionKey, room: &Room, now: Now) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        if connection.holds(room) {
            return false;
        }
        let log = &mut self.organisations[connection.organisation];
        let overtaken = match &connection.state {
            State::Lagging(lag) => lag.next < log.first(),
            State::Live => false,
        };
        log.room(room).members.push(key);
        connection.rooms.push(room.clone());
        if overtaken {
            // Whether the room had something between the connection's position and the window is no longer known.
            self.with_turn(key, now, |turn, connection| {
                turn.resync(connection, ResyncReason::Evicted);
            });
            self.schedule(key);
        }
        true
    }

    /// Leaves a room. False if it was not held.
    pub fn unsubscribe(&mut self, key: ConnectionKey, room: &Room) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(at) = connection.rooms.iter().position(|held| held == room) else {
            return false;
        };
        connection.rooms.remove(at);
        self.organisations[connection.organisation].leave(room, key);
        true
    }

    /// Takes rooms away from a connection, and tells it in its feed. Nothing of them comes any more, also of what it was still
    /// owed; of its other rooms everything does. Gives the number of rooms that it held of these.
    pub fn revoke(
        &mut self,
        key: ConnectionKey,
        rooms: &[Room],
        reason: RevokeReason,
        now: Now,
    ) -> usize {
        let mut count = 0;
        for room in rooms {
            if !self.unsubscribe(key, room) {
                continue;
            }
            count += 1;
            let revoked = &mut self.connections[key].revoked;
            if !revoked.contains(room) {
                revoked.push(room.clone());
            }
        }
        if count > 0 {
            self.control(key, Control::Revoked(reason), now);
        }
        count
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
            connection.state = State::Lagging(Lag {
                next: log.head(),
                own: None,
            });
        }
        if connection.schedule == Schedule::Idle {
            self.turn_of(key, now);
        }
    }

    /// The rooms that the connection holds, in the order in which it joined them.
    pub fn rooms(&self, key: ConnectionKey) -> &[Room] {
        self.connections
            .get(key)
            .map_or(&[], |connection| &connection.rooms)
    }

    /// The connection is gone.
    pub fn close(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.remove(key) else {
            return;
        };
        let log = &mut self.organisations[connection.organisation];
        log.connections -= 1;
        for room in &connection.rooms {
            log.leave(room, key);
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
        let kept = self.settings.kept_ms();
        let memory = self.settings.memory_ms();
        for log in self.organisations.values_mut() {
            while log
                .oldest()
                .is_some_and(|at| now.monotonic.saturating_sub(at.monotonic) >= kept)
            {
                self.bytes -= log.evict_oldest(false);
            }
            log.forget(memory, now);
        }
        self.organisations.retain(|_, log| {
            let keep = !log.is_forgotten();
            if !keep {
                self.by_id.remove(&log.id);
            }
            keep
        });
        let quiet = self.settings.quiet_ms();
        let due: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| now.monotonic.saturating_sub(connection.last_at) >= quiet)
            .map(|(key, _)| key)
            .collect();
        for key in due {
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

    /// The end of the partition's log lies at `high`: a client that says it has seen more saw another topic of that name.
    pub fn end_of_log(&mut self, partition: u32, high: i64, now: Now) {
        let Some((hash, next)) = self
            .positions
            .get(partition)
            .map(|partition| (partition.hash, partition.next))
        else {
            return;
        };
        if next > high {
            // More has been read here than that: the news is old.
            return;
        }
        let beyond = |connection: &Connection<O>| match &connection.state {
            State::Lagging(Lag { own: Some(own), .. }) => {
                own.next(hash).is_some_and(|next| next > high)
            }
            _ => false,
        };
        let misled: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| beyond(connection))
            .map(|(key, _)| key)
            .collect();
        for key in misled {
            self.with_turn(key, now, |turn, connection| {
                turn.resync(connection, ResyncReason::LogTruncated);
            });
            self.schedule(key);
        }
    }

    fn resync_all(&mut self, reason: ResyncReason, now: Now) {
        for key in self.connections.keys().collect::<Vec<_>>() {
            self.with_turn(key, now, |turn, connection| turn.resync(connection, reason));
            self.schedule(key);
        }
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
            counts: &mut self.counts,
            now,
        };
        Some(act(&mut turn, connection))
    }

    pub fn snapshot(&self, now: Now) -> Snapshot {
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
        Snapshot {
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
            window_entries: self.organisations.values().map(OrganisationLog::len).sum(),
            window_age_ms: oldest
                .map(|at| now.monotonic.saturating_sub(at.monotonic))
                .max()
                .unwrap_or(0),
            behind_ms: now.wall.saturating_sub(self.positions.read_up_to(now)),
        }
    }
}
