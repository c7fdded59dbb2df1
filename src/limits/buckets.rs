//! Token buckets, one for each key, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::clock;

/// Keys of which a bucket is kept: those that were used lately. About 4 MB.
const MOST_KEYS: usize = 65_536;

/// The monotonic clock of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessClock;

impl Clock for ProcessClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(clock::monotonic_ms())
    }
}

/// `burst` at once, then `per_second`.
pub(super) fn quota(per_second: NonZeroU32, burst: NonZeroU32) -> Quota {
    Quota::per_second(per_second).allow_burst(burst)
}

/// A bucket for each key. A key that is new while too many are known shares one bucket with all others of that kind: so a flood
/// from ever new addresses takes no more memory, is limited, and leaves those that were there before alone.
pub(super) struct KeyedBuckets<K: Hash + Eq + Clone, C: Clock = ProcessClock> {
    limiter: RateLimiter<BucketAccess<K>, BoundedStates<K>, C, NoOpMiddleware<C::Instant>>,
}

impl<K: Hash + Eq + Clone> KeyedBuckets<K> {
    pub(super) fn new(quota: Quota) -> Self {
        Self::with(quota, MOST_KEYS, ProcessClock)
    }
}

impl<K: Hash + Eq + Clone, C: Clock> KeyedBuckets<K, C> {
    fn with(quota: Quota, most: usize, clock: C) -> Self {
        let states = BoundedStates {
            most,
            known: Mutex::default(),
        };
        Self {
            limiter: RateLimiter::new(quota, states, clock),
        }
    }

    /// Takes one out of the bucket. False: it is empty.
    pub(super) fn take(&self, key: &K) -> bool {
        self.access(key, true)
    }

    /// Whether there is one left.
    pub(super) fn has(&self, key: &K) -> bool {
        self.access(key, false)
    }

    fn access(&self, key: &K, takes: bool) -> bool {
        let access = BucketAccess {
            key: key.clone(),
            takes,
        };
        self.limiter.check_key(&access).is_ok()
    }

    /// Drops the buckets that are full again.
    pub(super) fn clean(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// How a bucket is looked at: governor knows only taking.
#[derive(Clone, PartialEq, Eq, Hash)]
struct BucketAccess<K> {
    key: K,
    /// Else the bucket stays as it is.
    takes: bool,
}

/// The state of each bucket, as governor counts it; `None` is the bucket of all keys beyond `most`.
struct BoundedStates<K> {
    most: usize,
    known: Mutex<HashMap<Option<K>, Nanos>>,
}

impl<K> BoundedStates<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<K>, Nanos>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> StateStore for BoundedStates<K> {
    type Key = BucketAccess<K>;

    fn measure_and_replace<T, F, E>(&self, access: &Self::Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.lock();
        let own = Some(access.key.clone());
        let key = if known.contains_key(&own) || known.len() < self.most {
            own
        } else {
            None
        };
        let (outcome, state) = decide(known.get(&key).copied())?;
        if access.takes {
            known.insert(key, state);
        }
        Ok(outcome)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<BucketAccess<K>> for BoundedStates<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.lock().retain(|_, state| *state > drop_below);
    }

    fn shrink_to_fit(&self) {
        let mut known = self.lock();
        // Not for the sake of a few: the next ones need the capacity again.
        if known.capacity() > 64 && known.len() < known.capacity() / 8 {
            known.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn buckets(
        per_second: u32,
        burst: u32,
        most: usize,
    ) -> (KeyedBuckets<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let [per_second, burst] = [per_second, burst].map(|it| NonZeroU32::new(it).unwrap());
        let quota = quota(per_second, burst);
        (KeyedBuckets::with(quota, most, clock.clone()), clock)
    }

    fn taken(buckets: &KeyedBuckets<u32, FakeRelativeClock>, key: u32) -> usize {
        (0..1_000).take_while(|_| buckets.take(&key)).count()
    }

    #[test]
    fn a_bucket_holds_a_burst_and_fills_with_time() {
        let (buckets, clock) = buckets(10, 30, 100);
        assert_eq!(taken(&buckets, 1), 30);
        assert!(!buckets.has(&1) && buckets.has(&2));
        assert_eq!(taken(&buckets, 2), 30, "each key has its own");
        clock.advance(Duration::from_millis(500));
        assert!(buckets.has(&1) && buckets.has(&1), "looking takes nothing");
        assert_eq!(taken(&buckets, 1), 5);
        clock.advance(Duration::from_mins(1));
        assert_eq!(taken(&buckets, 1), 30, "never more than a burst");
    }

    #[test]
    fn h24_new_keys_beyond_the_bound_share_a_bucket_and_known_ones_keep_theirs() {
        let (buckets, clock) = buckets(10, 30, 100);
        for key in 0..100 {
            assert!(buckets.take(&key));
        }
        let admitted = (1_000..11_000).filter(|key| buckets.take(key)).count();
        assert_eq!(admitted, 30, "one bucket for all of them");
        assert!(buckets.limiter.len() <= 101);
        assert_eq!(taken(&buckets, 7), 29);
        buckets.clean();
        assert_eq!(buckets.limiter.len(), 101, "none is full again");
        clock.advance(Duration::from_millis(200));
        buckets.clean();
        assert_eq!(buckets.limiter.len(), 2, "two are not full again");
        assert_eq!(taken(&buckets, 5_000), 30, "there is space again");
    }

    #[test]
    fn looking_takes_no_memory() {
        let (buckets, _) = buckets(1, 1, 100);
        assert!((0..1_000).all(|key| buckets.has(&key)));
        assert_eq!(buckets.limiter.len(), 0);
    }
}
