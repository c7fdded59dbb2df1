//! Keeps in Redis what is open on this instance: one task, one step after the other, each within a second.
//!
//! What has begun or ended is written within some 50 ms; a walk over all connections finds what else has changed of them. Whenever the
//! connection to Redis is another one, or Redis has another number of connections than were written, everything is written again.

mod renewal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::record::RegistryRecord;
use super::{KEEP, LEASE, OpenConnections, Registry, RegistryPlace, lock, ms};
use crate::bus::fault::RedisFault;
use crate::bus::link::LinkState;

const TICK: Duration = Duration::from_millis(50);
/// From one walk over all connections to the next: with what a walk takes, records are older than 5 s nowhere.
const WALK: Duration = Duration::from_secs(3);
/// A walk that has nothing to write takes so many ticks, whatever the number of connections.
const TICKS_OF_WALK: usize = 20;
/// Connections that the source gives at once.
const LOOK: usize = 64;
/// Changes that are written at once, and how often in one step.
const AT_ONCE: usize = 512;
const ROUNDS: usize = 16;
/// After a failure nothing is written for so long.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Writer<'a> {
    pub(super) registry: &'a Registry,
    source: &'a dyn OpenConnections,
    written: HashMap<Arc<str>, WrittenRecord>,
    epoch: Option<u64>,
    walk: Walk,
    /// Which one it is.
    walks: u32,
    renew_at: Instant,
    /// Why the last renewal has failed.
    renewal: Result<(), RedisFault>,
    renewals: u32,
    /// Others were told that Redis does not have all of this instance.
    is_marked: bool,
    pause_until: Instant,
    /// Something has failed, and no renewal has succeeded after that.
    has_failed: bool,
    /// Redis has something of this instance that it should not have.
    must_start_over: bool,
    /// Redis may have other slots than this instance.
    pub(super) slots_differ: bool,
    /// How often in a row it had another number of them.
    slot_differences: u32,
    /// When they may be compared.
    pub(super) compare_at: Instant,
    /// The last write has failed: what of it is in Redis is not known until it is repeated.
    unsure: bool,
}

/// What of a connection is in Redis.
#[derive(Clone, Copy)]
struct WrittenRecord {
    /// 0: it is not known.
    fingerprint: u64,
    /// The walk that has met it, or in which it began.
    walk: u32,
}

/// What there is to do in a step.
enum StepPart {
    Slots,
    Whole,
    Changed,
    Walk,
}

/// Where the walk over all connections is.
#[derive(Debug, PartialEq, Eq)]
enum Walk {
    Until(Instant),
    /// `hurried`: Redis is known to lack something.
    Behind {
        place: Option<RegistryPlace>,
        hurried: bool,
    },
}

impl Registry {
    /// Writes what is open, until `stop`.
    pub async fn keep(self: Arc<Self>, source: Arc<dyn OpenConnections>, stop: CancellationToken) {
        let mut writer = Writer::new(&self, &*source);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if stop.run_until_cancelled(writer.step()).await.is_none() {
                return;
            }
        }
    }

    /// This instance has no connections any more: others need not wait until its lease has lapsed.
    pub async fn leave(&self) {
        let mut commands = redis::pipe();
        commands.atomic();
        for all in ["instances", "rewriting"] {
            commands.zrem(format!("{}:{all}", self.prefix), &*self.instance);
        }
        for kind in ["connections", "order", "slots"] {
            commands.unlink(self.key(kind));
        }
        // If Redis does not take that, the lease lapses.
        drop(self.link.ask_all::<redis::Value>(&commands).await);
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(registry: &'a Registry, source: &'a dyn OpenConnections) -> Self {
        let now = Instant::now();
        Self {
            registry,
            source,
            written: HashMap::new(),
            epoch: None,
            walk: Walk::Until(now),
            walks: 0,
            renew_at: now,
            renewal: Ok(()),
            renewals: 0,
            is_marked: false,
            pause_until: now,
            has_failed: false,
            must_start_over: false,
            slots_differ: false,
            slot_differences: 0,
            compare_at: now,
            unsure: false,
        }
    }

    /// Writes what there is to write, if Redis is there.
    pub(super) async fn step(&mut self) {
        let LinkState::Up(epoch) = *self.registry.link.state().borrow() else {
            self.has_failed = true;
            return self.registry.reports(Err(RedisFault::Lost));
        };
        let now = Instant::now();
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            (self.renew_at, self.pause_until, self.compare_at) = (now, now, now);
            self.registry.lists_by(epoch);
            self.doubt();
        }
        if now < self.pause_until {
            return;
        }
        let outcome = self.work().await;
        if outcome.is_err() {
            self.has_failed = true;
            self.pause_until = Instant::now() + PAUSE;
        } else if self.has_failed {
            // Nothing was there to write, perhaps.
            return;
        }
        self.registry.reports(outcome);
    }

    /// Redis may have lost everything, or kept it.
    fn doubt(&mut self) {
        for written in self.written.values_mut() {
            written.fingerprint = 0;
        }
        self.slots_differ = true;
        self.begin_walk(true);
    }

    fn begin_walk(&mut self, hurried: bool) {
        self.walks = self.walks.wrapping_add(1);
        self.walk = Walk::Behind {
            place: None,
            hurried,
        };
    }

    /// Each part is tried whatever became of those before it, unless Redis does not answer. The first fault stands for all.
    async fn work(&mut self) -> Result<(), RedisFault> {
        self.must_start_over |= lock(&self.registry.changed).overflown;
        self.renew_if_due().await;
        let mut outcome = self.renewal.clone();
        for part in [
            StepPart::Slots,
            StepPart::Whole,
            StepPart::Changed,
            StepPart::Walk,
        ] {
            if matches!(outcome, Err(RedisFault::TimedOut(_) | RedisFault::Lost)) {
                break;
            }
            let done = match part {
                StepPart::Slots => self.write_slots().await,
                StepPart::Whole => self.start_over_if_due().await,
                StepPart::Changed => self.write_changed().await,
                StepPart::Walk => self.walk_on().await,
            };
            outcome = outcome.and(done);
        }
        outcome.and(self.renewal.clone())
    }

    /// What is left is written in the next step.
    async fn write_changed(&mut self) -> Result<(), RedisFault> {
        for _ in 0..ROUNDS {
            let places = lock(&self.registry.changed).take(AT_ONCE);
            if places.is_empty() {
                self.unsure = false;
                break;
            }
            let mut records = Vec::new();
            for some in places.chunks(LOOK) {
                records.extend(self.source.records(some));
                tokio::task::yield_now().await;
            }
            self.write(places.into_iter().zip(records).collect())
                .await?;
            self.write_released().await?;
            self.renew_if_due().await;
        }
        Ok(())
    }

    /// Goes on with the walk, or begins one.
    async fn walk_on(&mut self) -> Result<(), RedisFault> {
        if matches!(self.walk, Walk::Until(due) if Instant::now() >= due) {
            self.begin_walk(false);
        }
        let in_this_tick = self.source.count() / (LOOK * TICKS_OF_WALK) + 1;
        let mut looks = 0;
        while let Walk::Behind { place, hurried } = &self.walk {
            let hurried = *hurried;
            if !hurried && looks == in_this_tick {
                break;
            }
            looks += 1;
            let part = self.source.following(place.as_ref());
            let is_new = |(place, record): &(RegistryPlace, RegistryRecord)| {
                let written = self.written.get_mut(&place.connection);
                !written.is_some_and(|written| {
                    written.walk = self.walks;
                    written.fingerprint == record.fingerprint()
                })
            };
            let new = part.items.into_iter().filter(is_new);
            let new: Vec<_> = new.map(|(place, record)| (place, Some(record))).collect();
            if !new.is_empty() {
                self.write(new).await?;
            }
            // Set before the lease is renewed, which may have the walk begin again.
            self.walk = if part.up_to.is_some() {
                Walk::Behind {
                    place: part.up_to,
                    hurried,
                }
            } else {
                self.end_walk(hurried);
                Walk::Until(Instant::now() + WALK)
            };
            self.renew_if_due().await;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// What was met by no walk has ended, and its end is among the changes, or was missed.
    fn end_walk(&mut self, hurried: bool) {
        let changed = lock(&self.registry.changed);
        let walk = self.walks;
        let mut others = (self.written.iter()).filter(|(_, written)| written.walk != walk);
        let is_missed = others.any(|(connection, _)| !changed.places.contains_key(connection));
        self.must_start_over |= is_missed;
        if hurried {
            // Others learn at once that all is there.
            self.renew_at = Instant::now();
        }
    }

    /// `None`: the connection has ended.
    async fn write(
        &mut self,
        places: Vec<(RegistryPlace, Option<RegistryRecord>)>,
    ) -> Result<(), RedisFault> {
        let registry = self.registry;
        let (connections, order) = (registry.key("connections"), registry.key("order"));
        let (mut records, mut members) = (Vec::new(), Vec::new());
        let (mut ended, mut ended_members) = (Vec::new(), Vec::new());
        for (place, record) in &places {
            if let Some(record) = record {
                records.push((&*place.connection, record.write()));
                members.push((0, place.member()));
            } else {
                ended.push(&*place.connection);
                ended_members.push(place.member());
            }
        }
        let mut commands = redis::pipe();
        // Both or none: they are counted.
        commands.atomic();
        if !records.is_empty() {
            // The library's own name for it is one that is deprecated.
            commands
                .cmd("HSET")
                .arg(&connections)
                .arg(&records)
                .ignore();
            commands.zadd_multiple(&order, &members).ignore();
        }
        if !ended.is_empty() {
            commands.hdel(&connections, ended).ignore();
            commands.zrem(&order, ended_members).ignore();
        }
        for key in [connections, order] {
            let expiry = i64::try_from(ms(LEASE + KEEP)).unwrap_or(i64::MAX);
            commands.pexpire(key, expiry).ignore();
        }
        if let Err(fault) = registry.link.ask_all::<()>(&commands).await {
            self.unsure = true;
            for (place, _) in places {
                registry.changed(place);
            }
            return Err(fault);
        }
        for (place, record) in places {
            match record {
                Some(record) => self.written.insert(
                    place.connection,
                    WrittenRecord {
                        fingerprint: record.fingerprint(),
                        walk: self.walks,
                    },
                ),
                None => self.written.remove(&place.connection),
            };
        }
        if self.written.capacity() > 1_024 && self.written.len() < self.written.capacity() / 4 {
            self.written.shrink_to_fit();
        }
        Ok(())
    }
}
