//! Renews the lease of this instance, learns what Redis has of it, and begins again where that is something else than was written.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{PAUSE, Walk, Writer};
use crate::bus::fault::RedisFault;
use crate::bus::registry::lock;
use crate::bus::registry::scripts::MOST_LIVE;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

const RENEW: Duration = Duration::from_secs(1);
/// Every so many renewals it is seen to what others have left.
const RENEWALS_PER_REAPING: u32 = 5;
/// Instances that are reaped in one step: as many as are looked at.
const REAPED_AT_ONCE: u32 = MOST_LIVE;
/// So often all slots are compared, whatever their number is.
const LONGEST_UNCOMPARED: Duration = Duration::from_mins(5);

impl Writer<'_> {
    /// Called between any two steps, so that nothing that takes long lets the lease lapse.
    pub(in crate::bus::registry) async fn renew_if_due(&mut self) {
        let begin = Instant::now();
        if begin < self.renew_at {
            return;
        }
        self.renewal = self.renew().await;
        if self.renewal.is_ok() {
            self.renew_at = begin + RENEW;
            self.registry.ask_again().await;
        } else {
            self.renew_at = Instant::now() + PAUSE;
        }
    }

    async fn renew(&mut self) -> Result<(), RedisFault> {
        let reaps = self.renewals.is_multiple_of(RENEWALS_PER_REAPING);
        self.renewals = self.renewals.wrapping_add(1);
        let is_marked = self.lacks_something();
        let registry = self.registry;
        let mut renewal = registry.scripts.renew.prepare_invoke();
        renewal
            .arg(&*registry.prefix)
            .arg(&*registry.instance)
            .arg(u8::from(is_marked))
            .arg(if reaps { REAPED_AT_ONCE } else { 0 });
        let (connections, places, slots, live, healed): (usize, usize, usize, u32, u32) =
            registry.link.run(&renewal).await?;
        (self.has_failed, self.is_marked) = (false, is_marked);
        registry.counts.instances.set(f64::from(live));
        if healed > 0 {
            events::fault(
                &registry.metrics,
                Component::Redis,
                "a key of this instance in Redis was of another type: what it had is written again",
                &healed,
            );
        }
        if slots == lock(&registry.slots).taken() {
            self.slot_differences = 0;
        } else {
            self.slot_differences += 1;
        }
        let compared_long_ago = self.compare_at.elapsed() > LONGEST_UNCOMPARED;
        self.slots_differ |= self.slot_differences > 1 || compared_long_ago;
        let is_settled = !self.unsure && matches!(self.walk, Walk::Until(_));
        let is_whole = |count| count == self.written.len();
        // No other process writes these keys. What an earlier process of the same name has left is among them.
        self.must_start_over |= is_settled && !(is_whole(connections) && is_whole(places));
        if live > MOST_LIVE {
            return Err(RedisFault::TooManyInstances(live));
        }
        Ok(())
    }

    fn lacks_something(&self) -> bool {
        self.must_start_over || matches!(self.walk, Walk::Behind { hurried: true, .. })
    }

    /// Begins with nothing in Redis, if it has what it should not have.
    pub(super) async fn start_over_if_due(&mut self) -> Result<(), RedisFault> {
        if !self.must_start_over {
            return Ok(());
        }
        if !self.is_marked {
            self.renew().await?;
        }
        let mut commands = redis::pipe();
        for kind in ["connections", "order"] {
            commands.unlink(self.registry.key(kind));
        }
        self.registry
            .link
            .ask_all::<redis::Value>(&commands)
            .await?;
        lock(&self.registry.changed).overflown = false;
        self.must_start_over = false;
        self.written = HashMap::new();
        self.doubt();
        Ok(())
    }
}
