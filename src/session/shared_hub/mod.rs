//! The hub in the running process: one lock, one task that feeds it.

mod driver;
mod outlet;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetcast_core::hub::{ConnectionKey, Hub, HubSettings, Now};
use tokio::sync::Notify;

pub use self::outlet::{AnyOutlet, OutletLane, TransportOutlet};
use crate::clock;
use crate::net::{Guard, LaneFlush};

/// Lanes are flushed so many at a time: about a millisecond of system calls.
const LANES_PER_FLUSH: usize = 256;

/// So many of them are looked at before the first is written.
const LOOK_AHEAD: usize = 8;

/// The hub, shared by the sockets' tasks and the one that feeds it. The lock is never held across an await, and an
/// outlet's [`ready`](SharedHub::ready) never takes it, so a stream may report frames from inside a write.
pub struct SharedHub {
    hub: Mutex<Hub<AnyOutlet>>,
    ready: Mutex<Vec<ConnectionKey>>,
    /// Lanes with frames that are not written out, each once: only the first frame since its flush is answered
    /// [`FirstQueued`](crate::net::LaneOffer::FirstQueued).
    dirty: Mutex<VecDeque<Arc<Guard>>>,
    work: Notify,
}

impl SharedHub {
    pub fn new(settings: HubSettings) -> Arc<Self> {
        Arc::new(Self {
            hub: Mutex::new(Hub::new(settings)),
            ready: Mutex::new(Vec::new()),
            dirty: Mutex::default(),
            work: Notify::new(),
        })
    }

    /// Does something with the hub; what it leaves to do is done by [`drive`](Self::drive).
    pub fn with<T>(&self, act: impl FnOnce(&mut Hub<AnyOutlet>, Now) -> T) -> T {
        let mut hub = lock(&self.hub);
        let done = act(&mut hub, now());
        let work = hub.has_work();
        drop(hub);
        // What a command has sent need not wait for the driver. A command that reached more connections leaves them to it.
        if self.flush_some() || work {
            self.work.notify_one();
        }
        done
    }

    /// The lane of this connection has its first frame since it was flushed: it is flushed when the hub's lock is free.
    pub fn dirty(&self, lane: Arc<Guard>) {
        lock(&self.dirty).push_back(lane);
    }

    /// Writes out what was sent outside [`with`](Self::with). Not to be called under the hub's lock.
    pub fn flush_now(&self) {
        if self.flush_some() {
            self.work.notify_one();
        }
    }

    /// Flushes some of the lanes that are dirty. True if there are more. Not to be called under the hub's lock.
    fn flush_some(&self) -> bool {
        let mut flush = LaneFlush::new(clock::wall_ms());
        for _ in 0..LANES_PER_FLUSH / LOOK_AHEAD {
            // Not held over a write: it may have the hub notified.
            let mut dirty = lock(&self.dirty);
            let lanes = [(); LOOK_AHEAD].map(|()| dirty.pop_front());
            drop(dirty);
            for lane in lanes.iter().flatten() {
                lane.look_ahead();
            }
            flush.at(clock::wall_ms());
            for lane in lanes {
                let Some(lane) = lane else {
                    return false;
                };
                lane.flush_lane(&mut flush);
            }
        }
        !lock(&self.dirty).is_empty()
    }

    /// The outlet of this connection has capacity again.
    pub fn ready(&self, key: ConnectionKey) {
        lock(&self.ready).push(key);
        self.work.notify_one();
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
