//! Between a client and an instance: it connects, joins and leaves rooms, receives at its pace, and is cut off.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fleetcast_core::domain::cursor::partition_hash;
use fleetcast_core::domain::protocol::ResyncReason;
use fleetcast_core::hub::resume::Inspection;
use fleetcast_core::hub::{ConnectionKey, Start};

use super::super::client::{Held, ModelClient, RoomStage, decode};
use super::super::log::{ROOMS, TOPIC, organisation, room};
use super::super::pipe::{ModelPipe, Sent, TestOutlet};
use super::{ALL_NAMED, WINDOW_MS, World};

pub(crate) struct Connected {
    pub(super) instance: usize,
    key: ConnectionKey,
    pub(super) pipe: Rc<RefCell<ModelPipe>>,
}

impl World {
    /// As `socketio::handshake` does it: judged, the brokers are asked if that may help, and judged again.
    fn start(&mut self, client: &ModelClient, at: usize) -> Start {
        let Some(text) = &client.cursor else {
            return Start::Fresh;
        };
        let id = organisation(client.organisation);
        let now = self.instances[at].time(self.now);
        if self.instances[at].hub.inspect(&id, text, now) == Inspection::Unknown {
            self.outcome.unknown += 1;
            if self.instances[at].out_of_contact == 0 && self.random.chance(80) {
                let mut instance = self.instances.remove(at);
                self.find_partitions(&mut instance, u64::MAX);
                self.instances.insert(at, instance);
            }
        }
        match self.instances[at].hub.inspect(&id, text, now) {
            Inspection::Resume(cursor) => {
                self.outcome.resumed += 1;
                Start::Resume(cursor, text.clone())
            }
            Inspection::Resync(reason) => {
                self.may_refuse(at, text, reason);
                self.outcome.refused += 1;
                *self.outcome.by_reason.entry(reason.as_str()).or_default() += 1;
                Start::Resync(reason)
            }
            Inspection::Unknown => {
                self.outcome.not_found += 1;
                Start::Resync(ResyncReason::TopicRecreated)
            }
        }
    }

    /// A cursor that is no older than the window is refused only by an instance that has no space for the window, was long without
    /// the log, or did not load what the client still misses: the client was cut off in the midst of a replay after an outage.
    fn may_refuse(&self, at: usize, text: &str, reason: ResyncReason) {
        let instance = &self.instances[at];
        let cursor = decode(text, &self.tables);
        let is_old = cursor.issued + WINDOW_MS < instance.time(self.now).wall;
        let mut first = (0..).zip(&instance.first);
        let is_before = first.any(|(number, first)| {
            let next = cursor.next(partition_hash(TOPIC, number));
            // Where all are named it had not been found yet, so nothing of it was seen.
            let next = next.or((self.named == ALL_NAMED).then_some(0));
            next.is_some_and(|next| next < *first)
        });
        let lacks_space = self.bytes < 1_000_000;
        let lost = |at: u64| at + WINDOW_MS / 6 > cursor.issued && reason == ResyncReason::Gap;
        assert!(
            is_old
                || lacks_space
                || self.was_short(instance, cursor.issued)
                || instance.gap_at.is_some_and(lost)
                || is_before
                || self.was_late(instance),
            "seed {}: resynced for nothing: {reason:?}",
            self.seed
        );
    }

    pub(super) fn connect(&mut self, client: &mut ModelClient, at: usize) {
        let start = self.start(client, at);
        let now = self.instances[at].time(self.now);
        let id = organisation(client.organisation);
        let pipe = Rc::new(RefCell::new(ModelPipe {
            capacity: 1 + self.random.below(6),
            queue: VecDeque::new(),
            waiting: false,
        }));
        let rooms = client.rooms.keys();
        let rooms = rooms
            .map(|index| room(client.organisation, *index))
            .collect();
        client.comes_back(&self.log, &self.tables);
        let hub = &mut self.instances[at].hub;
        let key = hub.connect(&id, rooms, start, TestOutlet(pipe.clone()), now);
        client.connected = Some(Connected {
            instance: at,
            key,
            pipe,
        });
        client.newest.connected();
    }

    /// A command of the client's, and the cursor that follows it.
    pub(super) fn join_or_leave(&mut self, client: &mut ModelClient) {
        let Some(connected) = &client.connected else {
            return;
        };
        let instance = &mut self.instances[connected.instance];
        if client.since.is_none() || instance.stalled > 0 {
            return;
        }
        let now = instance.time(self.now);
        let index = ROOMS[self.random.below(4)];
        let named = room(client.organisation, index);
        let asks = self.random.chance(50);
        if asks {
            let nth = self.outcome.asked;
            connected
                .pipe
                .borrow_mut()
                .queue
                .push_back(Sent::Asked(index, nth));
            // The cap of the table may push out what it had.
            let first = (self.bytes > 1_000_000).then(|| instance.first.clone());
            client.newest.ask(index, nth, first);
            self.outcome.asked += 1;
        }
        if client.rooms.contains_key(&index) && asks {
            instance.hub.subscribe_latest(connected.key, &named, now);
            instance.hub.cursor(connected.key, now);
        } else if client.rooms.contains_key(&index) {
            if client.rooms.len() == 1 {
                return;
            }
            assert!(instance.hub.unsubscribe(connected.key, &named));
            connected
                .pipe
                .borrow_mut()
                .queue
                .push_back(Sent::Left(index));
            self.outcome.left += 1;
            client.check(&self.log, &self.tables, Some(index), self.seed);
            client.rooms.remove(&index);
            client.left(index, &self.log, &self.tables);
            client.parting.push(index);
        } else {
            let nth = self.outcome.joined;
            connected
                .pipe
                .borrow_mut()
                .queue
                .push_back(Sent::Joined(index, nth));
            if asks {
                instance.hub.subscribe_latest(connected.key, &named, now);
            } else if nth.is_multiple_of(2) {
                // A back-end has it join.
                let rooms = std::slice::from_ref(&named);
                assert_eq!(instance.hub.join(connected.key, rooms, now), 1);
            } else {
                assert!(instance.hub.subscribe(connected.key, &named, now));
            }
            instance.hub.cursor(connected.key, now);
            self.outcome.joined += 1;
            let held = Held {
                not_before: client.cursor.clone(),
                surely_from: instance.next.clone(),
                stage: RoomStage::Asked,
                nth,
            };
            client.rooms.insert(index, held);
        }
    }

    pub(super) fn cut(&mut self, client: &mut ModelClient) {
        if let Some(connected) = client.connected.take() {
            self.instances[connected.instance].hub.close(connected.key);
        }
    }

    pub(super) fn receive(&mut self, client: &mut ModelClient, count: usize) {
        let Some(connected) = client.connected.take() else {
            return;
        };
        for _ in 0..count {
            let Some(sent) = connected.pipe.borrow_mut().queue.pop_front() else {
                break;
            };
            match sent {
                Sent::Interval { resumed, cursor } => {
                    self.outcome.resyncs += usize::from(!resumed && client.since.is_some());
                    if !resumed {
                        client.cursor = None;
                    }
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    if !resumed {
                        client.starts_over(&self.tables);
                    }
                }
                Sent::Cursor(cursor) => {
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    client.newest.cursor_came();
                }
                Sent::Stale(cursor) => client.moved(cursor, &self.log, &self.tables, self.seed),
                Sent::Asked(index, nth) => client.newest.is_asked(index, nth),
                Sent::Joined(index, nth) => {
                    let held = client.rooms.get_mut(&index);
                    if let Some(held) = held.filter(|held| held.nth == nth) {
                        held.stage = RoomStage::Joined;
                    }
                    client.leaving.retain(|left| *left != index);
                }
                Sent::Left(index) => {
                    client.left(index, &self.log, &self.tables);
                    client.newest.left();
                    client.parting.retain(|parts| *parts != index);
                    client.leaving.push(index);
                }
                Sent::Record(place, cursor) => {
                    let written = &self.log[place.0][place.1 as usize];
                    client.may_hear(place, written, self.seed);
                    match written.key {
                        Some(key) => client.newest.record(key, place, self.seed),
                        None => client.once(place, self.seed),
                    }
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    self.outcome.received += 1;
                }
                Sent::Newest(place, cursor) => {
                    let written = &self.log[place.0][place.1 as usize];
                    client.may_hear(place, written, self.seed);
                    let key = written.key.expect("only class latest has a newest");
                    client.newest.given(key, place, self.seed);
                    client.moved(cursor, &self.log, &self.tables, self.seed);
                    self.outcome.given += 1;
                }
            }
        }
        let waiting = std::mem::take(&mut connected.pipe.borrow_mut().waiting);
        if waiting {
            self.instances[connected.instance].hub.ready(connected.key);
        }
        client.connected = Some(connected);
    }
}
