//! The connections of all instances, as Redis knows them; and the limits that hold over all of them.
//!
//! - `record`, `place`: what is written of a connection, and the order of connections
//! - `writer`: keeps in Redis what is open here, under one lease of this instance
//! - `reader`, `merge`: what the other instances have
//! - `slots`: the connections that count against limits
//! - `scripts`: what Redis does in one step
//!
//! Keys, behind `REDIS_PREFIX`: `instances` (sorted set: when the lease of each ends, by the clock of Redis), and for each instance
//! `connections:<instance>` (hash: connection id to record), `order:<instance>` and `slots:<instance>` (sorted sets of one score: organisation,
//! user and connection or slot). Each key expires unless the lease is renewed. No instance writes the keys of another one; what has lapsed
//! for a minute is removed by any other one.

mod merge;
mod place;
mod reader;
mod record;
mod scripts;
mod slots;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use merge::{SortedPart, merged};
pub use place::{RegistryPlace, RegistryRange};
pub use reader::RemoteConnection;
pub use record::{NAMED_ROOMS, RegistryRecord};
pub use slots::SlotLimits;

use super::fault::RedisFault;
use super::link::Link;
use crate::telemetry::{Metrics, RedisMetrics, events};
use scripts::Scripts;
use slots::Slots;

/// A lease that is not renewed for so long has lapsed: its connections are not listed and do not count any more.
const LEASE: Duration = Duration::from_secs(10);
/// What has lapsed is kept for so long: an instance that was paused comes back to what it had.
const KEEP: Duration = Duration::from_mins(1);

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
    /// Why nothing can be written although Redis is there.
    fault: Mutex<Option<RedisFault>>,
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
    /// At most so many. `None`: there were too many to know which.
    fn take(&mut self, most: usize) -> Option<Vec<RegistryPlace>> {
        if self.overflown {
            *self = Self::default();
            return None;
        }
        let some: Vec<_> = self.places.keys().take(most).cloned().collect();
        let places = some.iter().filter_map(|one| self.places.remove(one));
        let places = places.collect();
        // After a storm the table is not kept at its largest.
        if self.places.is_empty() && self.places.capacity() > 1_024 {
            self.places = HashMap::new();
        }
        Some(places)
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
            fault: Mutex::default(),
            metrics: metrics.clone(),
            counts: metrics.bus(),
        })
    }

    /// A connection has begun or ended, which is written soon.
    pub fn changed(&self, place: RegistryPlace) {
        let mut changed = lock(&self.changed);
        if changed.places.len() >= MOST_CHANGED {
            *changed = Changed {
                overflown: true,
                ..Changed::default()
            };
        }
        changed.places.insert(place.connection.clone(), place);
    }

    /// Why other instances do not learn of the connections of this one although Redis is there. `None`: they do, or Redis is away.
    pub fn fault(&self) -> Option<String> {
        let fault = lock(&self.fault);
        fault.as_ref().map(ToString::to_string)
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What became of a round of writing. Another answer than before is news.
    fn reports(&self, outcome: Result<(), RedisFault>) {
        // The link tells when Redis is away.
        let away = |fault: &RedisFault| {
            matches!(
                fault,
                RedisFault::Lost | RedisFault::NotYet | RedisFault::GivenUp
            )
        };
        let fault = outcome.err();
        (self.counts.limits_across_instances).set(if fault.is_none() { 1.0 } else { 0.0 });
        let fault = fault.filter(|fault| self.link.is_up() && !away(fault));
        let mut before = lock(&self.fault);
        match (&*before, &fault) {
            (None, Some(fault)) => events::registry_refused(&self.metrics, fault),
            (Some(_), None) if self.link.is_up() => events::registry_written(),
            _ => {}
        }
        *before = fault;
    }

    fn key(&self, kind: &str) -> String {
        format!("{}:{kind}:{}", self.prefix, self.instance)
    }

    fn instances(&self) -> String {
        format!("{}:instances", self.prefix)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
