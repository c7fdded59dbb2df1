//! The connections of all instances, as Redis knows them; and the limits that hold over all of them.
//!
//! - `record`, `place`: what is written of a connection, and the order of connections
//! - `writer`: keeps in Redis what is open here, under one lease of this instance
//! - `reader`, `merge`: what the other instances have
//! - `slots`, `taking`: the connections that count against limits
//! - `scripts`: what Redis does in one step
//!
//! Keys, behind `REDIS_PREFIX`: `instances` (sorted set: when the lease of each ends, by the clock of Redis), and for each instance
//! `connections:<instance>` (hash: connection id to record), `order:<instance>` and `slots:<instance>` (sorted sets of one score: organisation,
//! user and connection or slot). `rewriting` is a sorted set as `instances`, of those that Redis does not have all of. Each key expires unless the lease is renewed. No instance writes the keys of another one; what has lapsed
//! for a minute is removed by any other one.

mod merge;
mod place;
mod reader;
mod record;
mod scripts;
mod slots;
mod taking;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use merge::{SortedPart, merged};
pub use place::{RegistryPlace, RegistryRange};
pub use reader::{FleetCount, RemoteConnection, RemotePart};
pub use record::{NAMED_ROOMS, RegistryRecord};
pub use slots::SlotLimits;

use super::fault::RedisFault;
use super::link::{Link, LinkState};
use crate::telemetry::{Metrics, RedisMetrics, events};
use scripts::Scripts;
use slots::Slots;
use taking::Taking;

/// A lease that is not renewed for so long has lapsed: its connections are not listed and do not count any more.
const LEASE: Duration = Duration::from_secs(10);
/// What has lapsed is kept for so long: an instance that was paused comes back to what it had.
const KEEP: Duration = Duration::from_mins(1);

/// After a connection to Redis was lost, others are back within this time, and have written what they have open.
const SETTLING: Duration = Duration::from_secs(5);
/// Of the first connection to Redis that a process has.
const FIRST_EPOCH: u64 = 1;

/// Changes that wait for Redis. Beyond that everything is written again instead.
const MOST_CHANGED: usize = 65_536;

/// Where the connections are that the registry writes.
pub trait OpenConnections: Send + Sync {
    /// Some of those that follow, in the order of places.
    fn following(&self, after: Option<&RegistryPlace>)
    -> SortedPart<RegistryPlace, RegistryRecord>;

    /// Those of the places, in their order. `None`: it has ended. Asked for some tens at once.
    fn records(&self, places: &[RegistryPlace]) -> Vec<Option<RegistryRecord>>;

    fn count(&self) -> usize;
}

/// What this instance keeps in Redis, and what it sees there of others.
pub struct Registry {
    link: Arc<Link>,
    scripts: Scripts,
    prefix: Box<str>,
    instance: Box<str>,
    limits: SlotLimits,
    changed: Mutex<Changed>,
    slots: Mutex<Slots>,
    taking: Mutex<Taking>,
    /// Why not all can be written although Redis is there.
    fault: Mutex<Option<RedisFault>>,
    /// There is a fault, and it was told.
    is_refused: AtomicBool,
    /// Which connection to Redis the lists come by, and since when.
    lists: Mutex<Option<(u64, Instant)>>,
    metrics: Metrics,
    counts: RedisMetrics,
}

/// Connections that have begun or ended and were not written yet.
#[derive(Default)]
struct Changed {
    places: HashMap<Arc<str>, RegistryPlace>,
    /// There were too many.
    overflown: bool,
}

impl Changed {
    /// At most so many.
    fn take(&mut self, most: usize) -> Vec<RegistryPlace> {
        let some: Vec<_> = self.places.keys().take(most).cloned().collect();
        let places = some.iter().filter_map(|one| self.places.remove(one));
        let places = places.collect();
        // After a storm the table is not kept at its largest.
        if self.places.is_empty() && self.places.capacity() > 1_024 {
            self.places = HashMap::new();
        }
        places
    }
}

impl Registry {
    pub fn new(
        link: Arc<Link>,
        prefix: &str,
        instance: &str,
        limits: SlotLimits,
        metrics: &Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            link,
            scripts: Scripts::new(),
            prefix: prefix.into(),
            instance: instance.into(),
            limits,
            changed: Mutex::default(),
            slots: Mutex::default(),
            taking: Mutex::default(),
            fault: Mutex::default(),
            is_refused: AtomicBool::new(false),
            lists: Mutex::default(),
            metrics: metrics.clone(),
            counts: metrics.bus(),
        })
    }

    /// A connection has begun or ended, which is written soon.
    pub fn changed(&self, place: RegistryPlace) {
        let mut too_many = HashMap::new();
        let mut changed = lock(&self.changed);
        if changed.places.len() >= MOST_CHANGED {
            changed.overflown = true;
            too_many = std::mem::take(&mut changed.places);
        }
        changed.places.insert(place.connection.clone(), place);
        drop(changed);
        // So many are not dropped under a lock. A caller may hold others.
        drop(too_many);
    }

    /// Why other instances do not learn of the connections of this one, or are not counted, although Redis is there. `None`: they do, or
    /// Redis is away.
    pub fn fault(&self) -> Option<String> {
        let fault = lock(&self.fault).clone();
        let fault = fault.or_else(|| lock(&self.taking).fault());
        fault
            .filter(|_| self.link.is_up())
            .map(|fault| fault.to_string())
    }

    /// What became of writing. The link tells when Redis is away. Another answer than before is news.
    fn reports(&self, outcome: Result<(), RedisFault>) {
        let fault = outcome.err();
        let (is_up, taking) = (self.link.is_up(), lock(&self.taking).fault());
        let works = fault.is_none() && taking.is_none();
        (self.counts.limits_across_instances).set(if works { 1.0 } else { 0.0 });
        let fault = fault.filter(|fault| is_up && !fault.is_of_link());
        let refused = fault.clone().or(taking).filter(|_| is_up);
        *lock(&self.fault) = fault;
        let before = self.is_refused.swap(refused.is_some(), Ordering::Relaxed);
        match refused {
            Some(refused) if !before => events::registry_refused(&self.metrics, &refused),
            None if before && is_up => events::registry_written(),
            _ => {}
        }
    }

    /// Lists are asked for by another connection to Redis, which may have lost everything.
    fn lists_by(&self, epoch: u64) {
        *lock(&self.lists) = Some((epoch, Instant::now()));
    }

    /// Whether other instances have had the time to write what they have open, and this one could.
    fn is_settled(&self) -> bool {
        let LinkState::Up(epoch) = *self.link.state().borrow() else {
            return false;
        };
        let lists = *lock(&self.lists);
        // The first connection of a process finds what others have written before.
        let is_old = |since: Instant| epoch == FIRST_EPOCH || since.elapsed() > SETTLING;
        lists.is_some_and(|(by, since)| by == epoch && is_old(since)) && lock(&self.fault).is_none()
    }

    fn key(&self, kind: &str) -> String {
        format!("{}:{kind}:{}", self.prefix, self.instance)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
