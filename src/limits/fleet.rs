//! The limits of users and organisations over all instances together. The count of this instance comes first, and costs nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleetcast_core::domain::id::{Id, UserId};

use super::{IdentitySlot, Limits};
use crate::telemetry::labels::RejectReason;

/// Counts the connections of users and organisations on all instances.
pub trait FleetCounts: Send + Sync {
    /// One that is going to be asked for. It is [released](Self::release) whatever becomes of that.
    fn new_slot(&self, organisation: &Id, user: &UserId) -> u64;

    /// Takes it, unless there are too many. What is taken already stays so. If the others cannot be counted, it is taken.
    fn take(
        &self,
        slot: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), RejectReason>> + Send + '_>>;

    /// Not to be counted any more. Never blocks.
    fn release(&self, slot: u64);
}

/// One of them. Released when it is dropped, wherever its connect was cancelled.
pub(super) struct FleetSlot {
    counts: Arc<dyn FleetCounts>,
    number: u64,
    taken: AtomicBool,
}

impl Drop for FleetSlot {
    fn drop(&mut self) {
        self.counts.release(self.number);
    }
}

impl Limits {
    /// From now on other instances count, too. The first call counts.
    pub fn count_with(&self, counts: Arc<dyn FleetCounts>) {
        self.fleet.get_or_init(|| counts);
    }

    /// Whether what was taken of this instance may be had of all together. Two connections that share a slot may both ask: it is one
    /// for both.
    pub async fn take_of_fleet(&self, slot: &IdentitySlot) -> Result<(), RejectReason> {
        let Some(counts) = self.fleet.get() else {
            return Ok(());
        };
        let of_fleet = slot.fleet.get_or_init(|| {
            let (organisation, user) = &slot.owner;
            Box::new(FleetSlot {
                number: counts.new_slot(organisation, user),
                counts: counts.clone(),
                taken: AtomicBool::new(false),
            })
        });
        if !of_fleet.taken.load(Ordering::Relaxed) {
            of_fleet.counts.take(of_fleet.number).await?;
            of_fleet.taken.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;
    use std::sync::Mutex;

    use super::*;
    use crate::limits::LimitSettings;

    /// Takes one at a time, and one step later.
    #[derive(Default)]
    struct OneOnly {
        known: Mutex<BTreeSet<u64>>,
        taken: Mutex<Option<u64>>,
        asked: Mutex<usize>,
    }

    impl FleetCounts for OneOnly {
        fn new_slot(&self, _: &Id, _: &UserId) -> u64 {
            let mut known = self.known.lock().unwrap();
            let next = known.last().map_or(0, |last| last + 1);
            known.insert(next);
            next
        }

        fn take(
            &self,
            slot: u64,
        ) -> Pin<Box<dyn Future<Output = Result<(), RejectReason>> + Send + '_>> {
            Box::pin(async move {
                *self.asked.lock().unwrap() += 1;
                tokio::task::yield_now().await;
                match *self.taken.lock().unwrap().get_or_insert(slot) {
                    taken if taken == slot => Ok(()),
                    _ => Err(RejectReason::UserLimit),
                }
            })
        }

        fn release(&self, slot: u64) {
            assert!(self.known.lock().unwrap().remove(&slot), "once");
            self.taken.lock().unwrap().take_if(|taken| *taken == slot);
        }
    }

    #[tokio::test]
    async fn what_is_taken_of_the_fleet_is_released_with_the_slot_wherever_its_connect_ends() {
        let limits = Limits::new(LimitSettings {
            connections_per_user: NonZeroU32::new(9),
            ..LimitSettings::default()
        });
        let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
        let take = || limits.take_identity(&organisation, &user).unwrap().unwrap();
        assert_eq!(limits.take_of_fleet(&take()).await, Ok(()), "no fleet");

        let counts = Arc::new(OneOnly::default());
        limits.count_with(counts.clone());
        let first = take();
        let both = tokio::join!(limits.take_of_fleet(&first), limits.take_of_fleet(&first));
        assert_eq!(both, (Ok(()), Ok(())), "two namespaces of one client");
        assert_eq!(limits.take_of_fleet(&first).await, Ok(()));
        assert_eq!(
            *counts.asked.lock().unwrap(),
            2,
            "what is taken is not asked for"
        );
        let refused = take();
        let answer = limits.take_of_fleet(&refused).await;
        assert_eq!(answer, Err(RejectReason::UserLimit));
        drop(refused);
        assert_eq!(counts.known.lock().unwrap().len(), 1);
        drop(first);

        let cancelled = take();
        {
            let mut asked = Box::pin(limits.take_of_fleet(&cancelled));
            let waker = std::task::Waker::noop();
            let polled = asked
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker));
            assert!(polled.is_pending());
        }
        drop(cancelled);
        assert!(counts.known.lock().unwrap().is_empty());
        assert_eq!(limits.take_of_fleet(&take()).await, Ok(()));
    }
}
