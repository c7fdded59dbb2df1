//! The hub in the running process: one lock, one task that feeds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetcast_core::hub::feed::Feed;
use fleetcast_core::hub::outlet::Outlet;
use fleetcast_core::hub::{ConnectionKey, Hub, HubSettings, Now};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::SharedFrames;
use crate::clock;
use crate::net::Guard;

/// After so many items of the consumer's, or so many turns, the sockets get the thread: their writers drain what was
/// offered, and a burst does not fill every outlet before the first byte has gone.
const ITEMS_PER_SLICE: usize = 32;
const TURNS_PER_SLICE: usize = 16;

const TICK: Duration = Duration::from_secs(1);

/// An outlet of any transport.
pub type AnyOutlet = Box<dyn Outlet<Shared = SharedFrames> + Send>;

/// Called once for each publication that reached a connection, with the event and its Kafka timestamp in milliseconds.
pub type OnDelivered = Box<dyn Fn(&str, i64) + Send + Sync>;

/// The hub, shared by the sockets' tasks and the one that feeds it. The lock is never held across an await, and an
/// outlet's [`ready`](SharedHub::ready) never takes it, so a stream may report frames from inside a write.
pub struct SharedHub {
    hub: Mutex<Hub<AnyOutlet>>,
    ready: Mutex<Vec<ConnectionKey>>,
    /// Lanes with frames that are not written out.
    dirty: Mutex<Vec<Arc<Guard>>>,
    work: Notify,
}

impl SharedHub {
    pub fn new(settings: HubSettings) -> Arc<Self> {
        Arc::new(Self {
            hub: Mutex::new(Hub::new(settings)),
            ready: Mutex::new(Vec::new()),
            dirty: Mutex::new(Vec::new()),
            work: Notify::new(),
        })
    }

    /// Does something with the hub; what it leaves to do is done by [`drive`](Self::drive).
    pub fn with<T>(&self, act: impl FnOnce(&mut Hub<AnyOutlet>, Now) -> T) -> T {
        let mut hub = lock(&self.hub);
        let done = act(&mut hub, now());
        if hub.turns_waiting() {
            self.work.notify_one();
        }
        drop(hub);
        self.flush();
        done
    }

    /// The lane of this connection has its first frame since it was flushed: it is flushed when the hub's lock is free.
    pub fn dirty(&self, lane: Arc<Guard>) {
        lock(&self.dirty).push(lane);
    }

    fn flush(&self) {
        let dirty = std::mem::take(&mut *lock(&self.dirty));
        for lane in dirty {
            lane.flush_lane();
        }
    }

    /// The outlet of this connection has capacity again.
    pub fn ready(&self, key: ConnectionKey) {
        lock(&self.ready).push(key);
        self.work.notify_one();
    }

    /// Feeds the hub until `stop`: new items first, then turns of lagging connections, then whatever is due each second.
    /// False if the consumer ended before.
    pub async fn drive(
        &self,
        mut feed: mpsc::Receiver<Vec<Feed>>,
        delivered: OnDelivered,
        stop: CancellationToken,
    ) -> bool {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return true,
                _ = tick.tick() => self.with(Hub::tick),
                batch = feed.recv() => match batch {
                    Some(batch) => self.apply(batch, &delivered).await,
                    None => return false,
                },
                () = self.work.notified() => {}
            }
            self.turns();
            tokio::task::yield_now().await;
        }
    }

    async fn apply(&self, batch: Vec<Feed>, delivered: &OnDelivered) {
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            {
                let mut hub = lock(&self.hub);
                let now = now();
                for feed in batch.by_ref().take(ITEMS_PER_SLICE) {
                    let timed = match &feed {
                        Feed::Publication { publication, .. } => publication
                            .timestamp
                            .map(|at| (publication.event.clone(), at)),
                        _ => None,
                    };
                    let reached = hub.apply(feed, now);
                    if let Some((event, timestamp)) = timed.filter(|_| reached > 0) {
                        delivered(&event, timestamp);
                    }
                }
            }
            self.flush();
            tokio::task::yield_now().await;
        }
    }

    fn turns(&self) {
        let ready = std::mem::take(&mut *lock(&self.ready));
        let mut hub = lock(&self.hub);
        for key in ready {
            hub.ready(key);
        }
        let now = now();
        let more = (0..TURNS_PER_SLICE).all(|_| hub.turn(now));
        drop(hub);
        self.flush();
        if more {
            self.work.notify_one();
        }
    }
}

fn now() -> Now {
    Now {
        monotonic: clock::monotonic_ms(),
        wall: clock::wall_ms(),
    }
}

/// A panic inside the hub is counted and logged by the panic hook; the state it leaves is not checked, but the
/// alternative is to lose every connection.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
