//! What comes in: appended, offered to who is live, and let go of when it is old or too much.

use std::sync::Arc;

use super::connection::{Lag, Schedule, State};
use super::log::OrganisationLog;
use super::outlet::{Delivery, DeliveryCursor, Entry, Item, Offered, Outlet};
use super::space::give_way;
use super::{Hub, Now, OrganisationKey};
use crate::domain::id::Id;
use crate::domain::publication::{Ephemeral, Publication};
use crate::failpoints::{self, Bug};

impl<O: Outlet> Hub<O> {
    pub(super) fn publish(&mut self, partition: u32, publication: Publication, now: Now) -> u64 {
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
        let before = (log.bytes, log.latest.bytes());
        let sequence = log.append(Arc::clone(&entry), &mut self.by_record);
        self.bytes += log.bytes - before.0;
        // A newer record may be smaller than the one in whose place it comes.
        self.latest_bytes = self.latest_bytes - before.1 + log.latest.bytes();

        let item = Item::Publication(Delivery {
            entry: &entry,
            cursor: DeliveryCursor::Shared,
        });
        self.fan_outs += 1;
        let mut delivered = 0;
        for room in entry.publication.audience() {
            for member in &log.rooms[&room].members {
                let connection = &mut self.connections[*member];
                if !connection.is_first_of(self.fan_outs) {
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
                        connection.last = entry.cursor.clone();
                        connection.last_at = now.monotonic;
                    }
                    Offered::Full => {
                        self.counts.slowed += 1;
                        connection.state = State::Lagging(Lag::from(
                            sequence + u64::from(failpoints::is(Bug::CursorFirst)),
                        ));
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
        self.counts.delivered(&entry.publication.event, delivered);
        self.evict_for_space();
        self.bound_latest();
        delivered
    }

    /// Offers an event without a position to who is a member of its rooms now, live or lagging alike. It takes no place in the
    /// window and moves nothing of a connection: whatever becomes of it, the log goes on where it stood.
    pub(super) fn offer_ephemeral(&mut self, ephemeral: Ephemeral) -> u64 {
        let Some(key) = self.by_id.get(&ephemeral.organisation) else {
            return 0;
        };
        let log = &self.organisations[*key];
        let ephemeral = Arc::new(ephemeral);
        self.fan_outs += 1;
        let mut delivered = 0;
        for room in ephemeral.audience() {
            let members = log.rooms.get(&room).map_or(&[][..], |log| &log.members);
            for member in members {
                let connection = &mut self.connections[*member];
                if !connection.is_first_of(self.fan_outs) || !connection.is_welcomed() {
                    continue;
                }
                match connection.outlet.offer(Item::Ephemeral(&ephemeral)) {
                    Offered::Taken => delivered += 1,
                    Offered::Full => self.counts.volatile_dropped += 1,
                }
            }
        }
        delivered
    }

    pub(super) fn organisation(&mut self, id: &Id) -> OrganisationKey {
        if let Some(key) = self.by_id.get(id) {
            return *key;
        }
        let key = self.organisations.insert_with_key(|key| {
            let owner = self.by_record.enlist(key);
            OrganisationLog::new(id.clone(), owner)
        });
        self.by_id.insert(id.clone(), key);
        key
    }

    fn evict_for_space(&mut self) {
        self.counts.evicted_early += give_way(
            &mut self.organisations,
            &mut self.bytes,
            self.settings.window_bytes,
            |log| log.bytes,
            |log| (!log.is_empty()).then(|| log.evict_oldest(true)),
        );
    }

    /// Lets go of what is too old. What is the newest of its key stays in the table of those.
    pub(super) fn evict_old(&mut self, now: Now) {
        let kept = self.settings.kept_ms();
        // Cursors are as old as what is read, so what they have to name is, too.
        let behind = now.wall.saturating_sub(self.positions.read_up_to(now));
        let memory = self.settings.memory_ms().saturating_add(behind);
        self.positions.forget(memory, now);
        for log in self.organisations.values_mut() {
            while log
                .oldest()
                .is_some_and(|at| now.monotonic.saturating_sub(at.monotonic) >= kept)
            {
                self.bytes -= log.evict_oldest(false);
            }
            log.forget(&self.positions, &self.settings, memory, now);
        }
        self.organisations.retain(|_, log| {
            let keep = !log.is_forgotten();
            if !keep {
                self.by_id.remove(&log.id);
                self.by_record.strike(log.latest.owner());
            }
            keep
        });
    }

    /// The newest records of class `latest` have a cap of their own; those go that were updated longest ago.
    fn bound_latest(&mut self) {
        let by_record = &mut self.by_record;
        self.counts.latest_evicted += give_way(
            &mut self.organisations,
            &mut self.latest_bytes,
            self.settings.latest_bytes,
            |log| log.latest.bytes(),
            |log| (log.latest.len() > 0).then(|| log.latest.evict_oldest(by_record)),
        );
    }

    /// The record of this key was deleted in its partition: it is nobody's newest any more. Who has it is not told.
    pub(super) fn deleted(&mut self, partition: u32, key: &Arc<str>) {
        // It may have been written when the partition was read under an earlier index.
        for partition in self.positions.same_log(partition) {
            for (organisation, sequence) in self.by_record.of(partition, key) {
                if let Some(log) = self.organisations.get_mut(organisation) {
                    self.latest_bytes -= log.latest.remove(sequence, &mut self.by_record);
                }
            }
        }
    }

    /// What is known of a topic that is gone is the newest of nothing.
    pub(super) fn forget_partition(&mut self, partition: u32) {
        for log in self.organisations.values_mut() {
            self.latest_bytes -= log.forget_partition(partition, &mut self.by_record);
        }
    }
}
