//! Connections that are closed one after the other: all of them when the process stops, or a share of them, so that other instances get it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use fleetcast_core::domain::drain::{DrainShare, closed_after};
use fleetcast_core::domain::protocol::CloseReason;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::registry::SLICE;
use super::{Session, Sessions, TransportHandle};
use crate::telemetry::events;

/// Why a share is not drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainRefusal {
    /// Another drain has not ended.
    Running,
    /// All connections are being closed.
    Stopping,
}

impl Sessions {
    /// Closes the transport of every session, in random order and evenly over `spread`, so that the clients do not all reconnect
    /// to the other instances at once. `cut_short` ends the spreading.
    pub async fn drain(&self, spread: Duration, cut_short: &CancellationToken) {
        let mut list = DrainList::new(self.in_random_order(), CloseReason::Draining);
        list.close_over(spread, cut_short).await;
        let never = CancellationToken::new();
        list.close_over(Duration::ZERO, &never).await;
    }

    /// Closes a share of the connections that are open now, in random order and evenly over `spread`, in the background. Their clients
    /// may come back at once. Ends early when the process stops, which closes all. Gives how many connections are chosen.
    pub fn drain_share(
        self: &Arc<Self>,
        share: DrainShare,
        spread: Duration,
    ) -> Result<usize, DrainRefusal> {
        let stopping = self.lifecycle.stopping();
        if stopping.is_cancelled() {
            return Err(DrainRefusal::Stopping);
        }
        let permit = self.share_drain.clone().try_acquire_owned();
        let permit = permit.map_err(|_| DrainRefusal::Running)?;
        let chosen = share.choose(self.in_random_order());
        let connections = chosen.iter().map(Vec::len).sum();
        events::share_drain_started(connections, spread);
        self.lifecycle.spawn("drain of a share", async move {
            let mut list = DrainList::new(chosen, CloseReason::Rebalanced);
            list.close_over(spread, &stopping).await;
            drop(permit);
            events::share_drain_ended(list.closed, connections);
        });
        Ok(connections)
    }

    /// What is open, by transport: two namespaces of a client share one. An entry does not keep its session alive.
    fn in_random_order(&self) -> Vec<Vec<Weak<Session>>> {
        type Carried = (Arc<dyn TransportHandle>, Arc<Session>);
        let address = |(transport, _): &Carried| Arc::as_ptr(transport).cast::<()>();
        let sessions = self.open.keyed().into_iter();
        let mut carried: Vec<Carried> = sessions
            .filter_map(|(_, session)| Some((session.transport()?, session)))
            .collect();
        carried.sort_unstable_by_key(address);
        let transports = carried.chunk_by(|one, other| address(one) == address(other));
        let sessions = |carried: &[Carried]| {
            let sessions = carried.iter();
            sessions
                .map(|(_, session)| Arc::downgrade(session))
                .collect()
        };
        let mut transports: Vec<_> = transports.map(sessions).collect();
        transports.shuffle(&mut rand::rng());
        transports
    }
}

/// Transports that are still to be closed, each as the sessions that it carries.
struct DrainList {
    transports: std::vec::IntoIter<Vec<Weak<Session>>>,
    reason: CloseReason,
    /// Connections: a transport may carry two.
    closed: usize,
}

impl DrainList {
    fn new(transports: Vec<Vec<Weak<Session>>>, reason: CloseReason) -> Self {
        Self {
            transports: transports.into_iter(),
            reason,
            closed: 0,
        }
    }

    /// Closes them evenly over `spread`, until all are or `until` is cancelled.
    async fn close_over(&mut self, spread: Duration, until: &CancellationToken) {
        let count = u32::try_from(self.transports.len()).unwrap_or(u32::MAX);
        let start = Instant::now();
        for number in 0..count {
            let due = start + closed_after(spread, number, count);
            tokio::select! {
                biased;
                () = until.cancelled() => return,
                () = sleep_until(due) => {}
            }
            self.close_next();
            // Where all are due at once, no sleep does it.
            if self.transports.len().is_multiple_of(SLICE) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Unless it has ended by itself.
    fn close_next(&mut self) {
        let sessions = self.transports.next().unwrap_or_default();
        let open = sessions.iter().filter_map(Weak::upgrade);
        // Closing it may end its sessions.
        let carriers: Vec<Arc<dyn TransportHandle>> =
            open.filter_map(|session| session.transport()).collect();
        if let Some(transport) = carriers.first() {
            self.closed += carriers.len();
            transport.close(self.reason);
        }
    }
}
