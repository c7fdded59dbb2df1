//! Keeps in Redis what is open on this instance: one task, one step after the other, each within a second.
//!
//! What has begun or ended is written within some 50 ms; a walk over all connections finds what else has changed of them. Whenever the
//! connection to Redis is another one, or Redis has another number of connections than were written, everything is written again.

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
const RENEW: Duration = Duration::from_secs(1);
/// From one walk over all connections to the next: with what a walk takes, records are older than 5 s nowhere.
const WALK: Duration = Duration::from_secs(4);
/// A walk that has nothing to write takes so many ticks, whatever the number of connections.
const TICKS_OF_WALK: usize = 20;
/// Connections that the source gives at once.
const LOOK: usize = 64;
/// After a failure nothing is written for so long.
const PAUSE: Duration = Duration::from_millis(500);
/// Every so many renewals it is seen to what others have left.
const RENEWALS_PER_REAPING: u32 = 5;
/// Instances that are reaped in one step.
const REAPED_AT_ONCE: u32 = 8;

pub(super) struct Writer<'a> {
    pub(super) registry: &'a Registry,
    source: &'a dyn OpenConnections,
    /// What of each connection is in Redis, as its fingerprint; 0: it is not known.
    written: HashMap<Arc<str>, u64>,
    epoch: Option<u64>,
    walk: Walk,
    renew_at: Instant,
    renewals: u32,
    pause_until: Instant,
    /// Redis may have other slots than this instance.
    pub(super) slots_differ: bool,
    /// The last write has failed: what of it is in Redis is not known until it is repeated.
    unsure: bool,
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
        commands.atomic().zrem(self.instances(), &*self.instance);
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
            renew_at: now,
            renewals: 0,
            pause_until: now,
            slots_differ: false,
            unsure: false,
        }
    }

    /// Writes what there is to write, if Redis is there.
    pub(super) async fn step(&mut self) {
        let LinkState::Up(epoch) = *self.registry.link.state().borrow() else {
            return self.registry.reports(Err(RedisFault::Lost));
        };
        let now = Instant::now();
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            (self.renew_at, self.pause_until) = (now, now);
            self.doubt();
        }
        if now < self.pause_until {
            return;
        }
        let outcome = self.work().await;
        if outcome.is_err() {
            self.pause_until = Instant::now() + PAUSE;
        }
        self.registry.reports(outcome);
    }

    /// Redis may have lost everything, or kept it.
    fn doubt(&mut self) {
        for fingerprint in self.written.values_mut() {
            *fingerprint = 0;
        }
        self.slots_differ = true;
        self.walk = Walk::Behind {
            place: None,
            hurried: true,
        };
    }

    async fn work(&mut self) -> Result<(), RedisFault> {
        self.renew_if_due().await?;
        self.write_slots().await?;
        self.write_changed().await?;
        self.walk_on().await
    }

    /// Called between any two steps, so that nothing that takes long lets the lease lapse.
    pub(super) async fn renew_if_due(&mut self) -> Result<(), RedisFault> {
        if Instant::now() < self.renew_at {
            return Ok(());
        }
        self.renew_at = Instant::now() + RENEW;
        self.renewals += 1;
        let reaps = self.renewals.is_multiple_of(RENEWALS_PER_REAPING);
        let registry = self.registry;
        let mut renewal = registry.scripts.renew.prepare_invoke();
        renewal
            .arg(&*registry.prefix)
            .arg(&*registry.instance)
            .arg(ms(LEASE))
            .arg(ms(KEEP))
            .arg(if reaps { REAPED_AT_ONCE } else { 0 });
        let (connections, places, slots, live, _reaped): (usize, usize, usize, u32, u32) =
            registry.link.run(&renewal).await?;
        registry.counts.instances.set(f64::from(live));
        if reaps && slots != lock(&registry.slots).count() {
            self.slots_differ = true;
        }
        let is_settled = !self.unsure && matches!(self.walk, Walk::Until(_));
        let is_whole = |count| count == self.written.len();
        if is_settled && !(is_whole(connections) && is_whole(places)) {
            // No other process writes these keys. What an earlier process of the same name has left is among them.
            self.start_over().await?;
        }
        Ok(())
    }

    /// Begins with nothing in Redis.
    async fn start_over(&mut self) -> Result<(), RedisFault> {
        let mut commands = redis::pipe();
        for kind in ["connections", "order"] {
            commands.unlink(self.registry.key(kind));
        }
        self.registry
            .link
            .ask_all::<redis::Value>(&commands)
            .await?;
        self.written = HashMap::new();
        self.doubt();
        Ok(())
    }

    async fn write_changed(&mut self) -> Result<(), RedisFault> {
        loop {
            let Some(places) = lock(&self.registry.changed).take(LOOK) else {
                self.start_over().await?;
                return Ok(());
            };
            if places.is_empty() {
                self.unsure = false;
                return Ok(());
            }
            let records = self.source.records(&places);
            self.write(places.into_iter().zip(records).collect())
                .await?;
            self.renew_if_due().await?;
            tokio::task::yield_now().await;
        }
    }

    /// Goes on with the walk, or begins one.
    async fn walk_on(&mut self) -> Result<(), RedisFault> {
        if matches!(self.walk, Walk::Until(due) if Instant::now() >= due) {
            self.walk = Walk::Behind {
                place: None,
                hurried: false,
            };
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
                self.written.get(&place.connection) != Some(&record.fingerprint())
            };
            let new = part.items.into_iter().filter(is_new);
            let new: Vec<_> = new.map(|(place, record)| (place, Some(record))).collect();
            if !new.is_empty() {
                self.write(new).await?;
            }
            // Set before the lease is renewed, which may have the walk begin again.
            self.walk = match part.up_to {
                Some(place) => Walk::Behind {
                    place: Some(place),
                    hurried,
                },
                None => Walk::Until(Instant::now() + WALK),
            };
            self.renew_if_due().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
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
                Some(record) => self.written.insert(place.connection, record.fingerprint()),
                None => self.written.remove(&place.connection),
            };
        }
        if self.written.capacity() > 1_024 && self.written.len() < self.written.capacity() / 4 {
            self.written.shrink_to_fit();
        }
        Ok(())
    }
}
