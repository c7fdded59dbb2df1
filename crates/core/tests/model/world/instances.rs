//! Instances with clocks of their own: they read, stall, lose contact, find partitions, and restart.

use fleetcast_core::domain::memory_limit::WindowLimit;
use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::{Hub, HubSettings, Now};

use super::super::log::{TOPIC, TOPIC_ID, Written, feed};
use super::super::pipe::TestOutlet;
use super::{ALL_NAMED, EPOCH, WINDOW_MS, World};

/// By then an instance has found a new partition.
const FOUND_WITHIN_MS: u64 = 25_000;

/// What an instance has read it keeps for so long.
const KEPT_MS: u64 = WINDOW_MS + 10_000;

/// What is younger is not evicted where memory is short.
const SPARED_MS: u64 = 20_000;

pub(super) struct Instance {
    pub(super) hub: Hub<TestOutlet>,
    /// By partition that it knows: what it reads next, and what it read first.
    pub(super) next: Vec<i64>,
    pub(super) first: Vec<i64>,
    /// It knows the topic's id. Until then, and for ever with some brokers, it goes by the name alone.
    knows_id: bool,
    pub(super) stalled: usize,
    /// Steps until the brokers answer again.
    pub(super) out_of_contact: usize,
    /// Its clock is off by so many milliseconds.
    skew: i64,
    /// When it had read all that there was, and when it last read without having done so for longer than a window.
    at_end: u64,
    late: u64,
    /// Wall time at which records were lost that it had not read.
    pub(super) gap_at: Option<u64>,
    /// Its memory was short at some time.
    was_short: bool,
}

impl Instance {
    pub(super) fn time(&self, now: u64) -> Now {
        Now {
            monotonic: now - EPOCH,
            wall: now.saturating_add_signed(self.skew),
        }
    }
}

impl World {
    pub(super) fn boot(&mut self) -> Instance {
        let settings = HubSettings {
            window_ms: WINDOW_MS,
            window_bytes: self.bytes,
            latest_bytes: self.bytes,
            named_partitions: self.named,
        };
        let mut instance = Instance {
            hub: Hub::new(settings),
            next: Vec::new(),
            first: Vec::new(),
            knows_id: self.random.chance(50),
            stalled: 0,
            out_of_contact: 0,
            skew: self.random.below(6_000) as i64 - 3_000,
            at_end: self.now,
            late: 0,
            gap_at: None,
            was_short: false,
        };
        self.find_partitions(&mut instance, settings.loaded_ms());
        self.read(&mut instance, usize::MAX);
        instance.hub.loaded();
        instance
    }

    /// Takes up the partitions that it does not read yet, from what is younger than `age` by its own clock.
    pub(super) fn find_partitions(&self, instance: &mut Instance, age: u64) {
        let now = instance.time(self.now);
        for number in instance.next.len()..self.log.len() {
            let log = &self.log[number];
            let kept = |written: &Written| written.stamped.saturating_add(age) >= now.wall;
            let start = log.iter().position(kept).unwrap_or(log.len()) as i64;
            let feed = Feed::Partition {
                index: number as u32,
                topic: TOPIC.into(),
                number: number as i32,
                topic_id: instance.knows_id.then_some(TOPIC_ID),
                start,
            };
            instance.hub.apply(feed, now);
            instance.next.push(start);
            instance.first.push(start);
        }
    }

    fn learn_id(&mut self, instance: &mut Instance) {
        if instance.knows_id || !self.random.chance(2) {
            return;
        }
        instance.knows_id = true;
        self.outcome.learned += 1;
        let now = instance.time(self.now);
        for partition in 0..instance.next.len() as u32 {
            let topic_id = TOPIC_ID;
            instance.hub.apply(
                Feed::TopicId {
                    partition,
                    topic_id,
                },
                now,
            );
        }
    }

    /// The brokers have dropped records that it has not read: every connection is to be resynced before anything else.
    ///
    /// Only where cursors name all partitions. Of one that is not named, the cursor after such a resync does not say that the lost
    /// records are done with, and another instance may have read them before: they may come then, and need not.
    fn lose_records(&mut self, instance: &mut Instance) {
        let partition = self.random.below(instance.next.len());
        let next = instance.next[partition];
        let unread = self.log[partition].len() as i64 - next;
        if self.named != ALL_NAMED || unread == 0 || !self.random.chance(5) {
            return;
        }
        let next = next + 1 + self.random.below(unread as usize) as i64;
        let now = instance.time(self.now);
        let gap = Feed::Gap {
            partition: partition as u32,
            next,
        };
        instance.hub.apply(gap, now);
        instance.next[partition] = next;
        instance.first[partition] = next;
        instance.gap_at = Some(now.wall);
        self.outcome.gaps += 1;
    }

    /// Reads up to `count` records in a random interleaving of the partitions.
    pub(super) fn read(&mut self, instance: &mut Instance, count: usize) {
        let now = instance.time(self.now);
        if self.is_late(instance) {
            instance.late = self.now;
        }
        for _ in 0..count {
            let waiting: Vec<usize> = (0..instance.next.len())
                .filter(|partition| instance.next[*partition] < self.log[*partition].len() as i64)
                .collect();
            if waiting.is_empty() {
                break;
            }
            let partition = waiting[self.random.below(waiting.len())];
            let offset = instance.next[partition];
            instance.next[partition] = offset + 1;
            let written = &self.log[partition][offset as usize];
            instance.hub.apply(feed(partition, offset, written), now);
        }
        for partition in 0..instance.next.len() {
            let next = self.log[partition].len() as i64;
            if instance.next[partition] == next {
                instance.hub.apply(
                    Feed::End {
                        partition: partition as u32,
                        next,
                        asked: now.wall,
                    },
                    now,
                );
            }
        }
        let is_read = |(log, next): (&Vec<Written>, &i64)| log.len() as i64 == *next;
        if self.log.len() == instance.next.len() && self.log.iter().zip(&instance.next).all(is_read)
        {
            instance.at_end = self.now;
        }
    }

    fn is_late(&self, instance: &Instance) -> bool {
        self.now - instance.at_end > WINDOW_MS
    }

    /// It is or was so far behind that it cannot tell for some cursors what is new to them.
    pub(super) fn was_late(&self, instance: &Instance) -> bool {
        self.is_late(instance) || self.now - instance.late < KEPT_MS + 1_000
    }

    /// Where memory may be short, it is at times, and later there is more of it again.
    fn limit_window(&mut self, instance: &mut Instance) {
        if self.has_short_memory && self.random.chance(5) {
            let bytes = [0, 2_000, 12_000, usize::MAX / 2][self.random.below(4)];
            let kept_ms = SPARED_MS;
            instance.hub.limit_window(WindowLimit { bytes, kept_ms });
            instance.was_short = true;
            self.outcome.limited += 1;
        }
    }

    /// What came before the cursor was issued may be missing, because memory was short, and nothing later.
    pub(super) fn was_short(&self, instance: &Instance, issued: u64) -> bool {
        // Each clock may be off by 3 s.
        let now = instance.time(self.now).wall + 6_000;
        instance.was_short && issued + SPARED_MS <= now
    }

    /// Loses contact or is without it. True if nothing is read meanwhile.
    fn out_of_contact(&mut self, instance: &mut Instance) -> bool {
        let now = instance.time(self.now);
        if instance.out_of_contact > 0 {
            instance.out_of_contact -= 1;
            if instance.out_of_contact == 0 {
                instance.hub.apply(Feed::Contact { up: true }, now);
            }
        } else if self.random.chance(1) {
            let steps = 2 + self.random.below(150);
            self.lose_contact(instance, steps);
        }
        instance.out_of_contact > 0
    }

    fn lose_contact(&mut self, instance: &mut Instance, steps: usize) {
        let now = instance.time(self.now);
        instance.out_of_contact = steps;
        instance.hub.apply(Feed::Contact { up: false }, now);
        self.outcome.stale += 1;
    }

    /// The brokers do not answer for a while.
    pub(super) fn outage(&mut self) {
        let steps = 2 + self.random.below(150);
        for at in 0..self.instances.len() {
            let mut instance = self.instances.remove(at);
            let later = self.random.below(4);
            self.lose_contact(&mut instance, steps + later);
            self.instances.insert(at, instance);
        }
        self.outcome.outages += 1;
    }

    pub(super) fn run(&mut self, instance: &mut Instance) {
        if instance.stalled > 0 {
            instance.stalled -= 1;
            return;
        }
        if self.random.chance(1) {
            instance.stalled = 3 + self.random.below(30);
        }
        let count = if self.random.chance(80) {
            usize::MAX
        } else {
            self.random.below(4)
        };
        self.limit_window(instance);
        if !self.out_of_contact(instance) {
            self.learn_id(instance);
            let due = |made: &u64| made + FOUND_WITHIN_MS < self.now;
            if self.made.get(instance.next.len()).is_some_and(due) || self.random.chance(10) {
                self.find_partitions(instance, u64::MAX);
            }
            self.lose_records(instance);
            self.read(instance, count);
        }
        let now = instance.time(self.now);
        if self.random.chance(30) {
            instance.hub.tick(now);
        }
        for _ in 0..self.random.below(8) {
            instance.hub.turn(now);
            instance.hub.visit(self.random.below(2), now);
        }
    }
}
