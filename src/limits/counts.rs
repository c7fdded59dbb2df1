//! How many there are at a time of each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// At most so many of each key. Keys of which there are none take no memory.
pub(super) struct KeyedCounts<K> {
    most: NonZeroU32,
    taken: Mutex<HashMap<K, u32>>,
}

/// One of them. Released when it is dropped, or before.
pub struct CountedSlot<K: Hash + Eq> {
    counts: Arc<KeyedCounts<K>>,
    key: K,
    released: AtomicBool,
}

impl<K: Hash + Eq + Clone> KeyedCounts<K> {
    pub(super) fn new(most: NonZeroU32) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// `None`: there are as many as there may be.
    pub(super) fn take(self: &Arc<Self>, key: &K) -> Option<CountedSlot<K>> {
        let mut taken = self.lock();
        let count = taken.entry(key.clone()).or_default();
        if *count >= self.most.get() {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(CountedSlot {
            counts: self.clone(),
            key: key.clone(),
            released: AtomicBool::new(false),
        })
    }
}

impl<K> KeyedCounts<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> CountedSlot<K> {
    /// Only the first call counts.
    pub fn release(&self) {
        if self.released.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut taken = self.counts.lock();
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
        // After a storm the table is not kept at its largest.
        if taken.capacity() > 64 && taken.len() < taken.capacity() / 8 {
            taken.shrink_to_fit();
        }
    }
}

impl<K: Hash + Eq> Drop for CountedSlot<K> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit_and_a_slot_is_released_once() {
        let counts = KeyedCounts::new(NonZeroU32::new(2).unwrap());
        let first = counts.take(&"a").unwrap();
        let second = counts.take(&"a").unwrap();
        assert!(counts.take(&"a").is_none());
        let other = counts.take(&"b").unwrap();
        first.release();
        first.release();
        drop(first);
        let third = counts.take(&"a").unwrap();
        assert!(counts.take(&"a").is_none(), "released once");
        drop((second, third, other));
        assert!(counts.lock().is_empty(), "nothing is left of what is gone");
    }

    #[test]
    fn a_refusal_takes_no_memory() {
        let counts = KeyedCounts::new(NonZeroU32::MIN);
        let slots: Vec<_> = (0..1_000).map(|key| counts.take(&key).unwrap()).collect();
        assert!((0..1_000).all(|key| counts.take(&key).is_none()));
        assert_eq!(counts.lock().len(), 1_000);
        drop(slots);
        assert_eq!(counts.lock().len(), 0);
        assert!(counts.lock().capacity() < 100);
    }
}
