//! The driver: the one task that feeds the hub.
//!
//! It takes the thread in slices, and what is live comes first: what the consumer has ready is applied until nothing is left or [`LIVE`] is
//! over, then follows one slice of what can wait (visits, then turns), and the feed is looked at again. So what live events leave of the
//! thread goes to replays, and a replay holds up an event by one slice at most. No lane is flushed under the hub's lock.
//!
//! The feed is looked at between the slices of a flush too: the lanes that still wait for an event get the next one in the same write.

use std::time::{Duration, Instant};

use fleetcast_core::hub::Hub;
use fleetcast_core::hub::feed::Feed;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use super::{SharedHub, lock, now};

/// What is applied before every lane has been flushed: so many events, or so many bytes of payload. No connection gets
/// more live ones than that, with envelopes and cursors it stays below the 64 KiB of its send budget, and a burst does not fill every
/// outlet before the first byte has gone.
const UNFLUSHED_EVENTS: usize = 64;
const UNFLUSHED_BYTES: usize = 44 * 1024;

/// What is applied under one lock: so many items, or so much work, in deliveries. To queue so many takes about a millisecond. Eight events
/// to a thousand clients leave in one write each.
const ITEMS_PER_SLICE: usize = 64;
const WORK_PER_SLICE: u64 = 8_192;

/// While there is always something to apply, one slice of what can wait comes after so much time: welcomes and turns keep a ninth of
/// the thread.
const LIVE: Duration = Duration::from_millis(4);

/// Turns follow each other for so long, their flushes included. One turn may go over it: by 64 events at most.
const TURNS: Duration = Duration::from_micros(500);

/// So many connections are visited at a time: each may be sent an item.
const VISITS_PER_SLICE: usize = 256;

const TICK: Duration = Duration::from_secs(1);

/// What the consumer has handed over and is not applied.
struct FeedBacklog {
    feed: mpsc::Receiver<Vec<Feed>>,
    batch: std::vec::IntoIter<Feed>,
    ended: bool,
}

impl FeedBacklog {
    fn new(feed: mpsc::Receiver<Vec<Feed>>) -> Self {
        Self {
            feed,
            batch: Vec::new().into_iter(),
            ended: false,
        }
    }

    fn next(&mut self) -> Option<Feed> {
        loop {
            if let Some(feed) = self.batch.next() {
                return Some(feed);
            }
            match self.feed.try_recv() {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    return None;
                }
            }
        }
    }

    /// Waits until there is something to apply. May be cancelled.
    async fn wait(&mut self) {
        if self.batch.len() > 0 {
            return;
        }
        match self.feed.recv().await {
            Some(batch) => self.batch = batch.into_iter(),
            None => self.ended = true,
        }
    }
}

/// What was sent since no lane was dirty: the most that a connection may wait for.
#[derive(Default)]
struct Unflushed {
    events: usize,
    bytes: usize,
    /// A turn or a visit has sent something, too: as much as one connection's budget, maybe.
    spare: bool,
}

impl Unflushed {
    fn add(&mut self, feed: &Feed) {
        if let Some(bytes) = payload_len(feed) {
            self.events += 1;
            self.bytes += bytes;
        }
    }

    /// All lanes are to be flushed before anything more is applied.
    fn is_full(&self) -> bool {
        self.spare || self.events >= UNFLUSHED_EVENTS || self.bytes >= UNFLUSHED_BYTES
    }
}

impl SharedHub {
    /// Feeds the hub until `stop`. False if the consumer ended before.
    pub async fn drive(&self, feed: mpsc::Receiver<Vec<Feed>>, stop: CancellationToken) -> bool {
        let mut backlog = FeedBacklog::new(feed);
        let mut unflushed = Unflushed::default();
        let mut dirty = false;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !backlog.ended {
            tokio::select! {
                biased;
                () = stop.cancelled() => return true,
                _ = tick.tick() => self.with(Hub::tick),
                () = backlog.wait() => {}
                () = self.work.notified() => {}
            }
            let began = Instant::now();
            while began.elapsed() < LIVE {
                if !self.apply_slice(&mut backlog, &mut unflushed) && !dirty {
                    break;
                }
                dirty = self.flush_slice(&mut unflushed).await;
            }
            let waiting = self.spare_slice(&mut unflushed);
            dirty = self.flush_slice(&mut unflushed).await;
            if dirty || waiting {
                self.work.notify_one();
            }
        }
        false
    }

    /// Flushes some lanes; all of them where no more may be applied before that. True if some are left. The sockets' tasks get the
    /// thread at least once. (One thread does all this: no lane is between the list and the kernel while another task runs.)
    async fn flush_slice(&self, unflushed: &mut Unflushed) -> bool {
        loop {
            let dirty = self.flush_some();
            tokio::task::yield_now().await;
            if !dirty {
                *unflushed = Unflushed::default();
            }
            if !(dirty && unflushed.is_full()) {
                return dirty;
            }
        }
    }

    /// Applies some of what the consumer has ready, of several batches if need be: what is ready together leaves in one write.
    /// False if nothing was.
    fn apply_slice(&self, backlog: &mut FeedBacklog, unflushed: &mut Unflushed) -> bool {
        let Some(mut feed) = backlog.next() else {
            return false;
        };
        let mut hub = lock(&self.hub);
        let now = now();
        let (mut items, mut work) = (0, 0);
        loop {
            items += 1;
            unflushed.add(&feed);
            work += hub.apply(feed, now);
            if items >= ITEMS_PER_SLICE || work >= WORK_PER_SLICE || unflushed.is_full() {
                return true;
            }
            match backlog.next() {
                Some(next) => feed = next,
                None => return true,
            }
        }
    }

    /// One slice of what can wait. True if there is more.
    fn spare_slice(&self, unflushed: &mut Unflushed) -> bool {
        let began = Instant::now();
        // Lanes that wait in front of those that turns send to.
        let behind = !lock(&self.dirty).is_empty();
        let ready = std::mem::take(&mut *lock(&self.ready));
        let mut hub = lock(&self.hub);
        for key in ready {
            hub.ready(key);
        }
        unflushed.spare = hub.has_work();
        if hub.visits_waiting() {
            hub.visit(VISITS_PER_SLICE, now());
            return hub.has_work();
        }
        drop(hub);
        loop {
            let mut hub = lock(&self.hub);
            let more = hub.turn(now());
            drop(hub);
            let dirty = !behind && self.flush_some();
            if !more {
                return false;
            }
            if dirty || began.elapsed() >= TURNS {
                return true;
            }
        }
    }
}

/// Of what is sent to clients.
fn payload_len(feed: &Feed) -> Option<usize> {
    match feed {
        Feed::Publication { publication, .. } => Some(publication.payload.get().len()),
        Feed::Ephemeral(ephemeral) => Some(ephemeral.size()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetcast_core::domain::id::Id;
    use fleetcast_core::domain::publication::Ephemeral;
    use fleetcast_core::hub::HubSettings;
    use serde_json::value::RawValue;

    use super::super::LANES_PER_FLUSH;
    use super::*;
    use crate::net::Guard;

    fn ephemeral(bytes: usize) -> Feed {
        let payload = format!("\"{}\"", "x".repeat(bytes - 2));
        Feed::Ephemeral(Ephemeral {
            event: "presence".into(),
            organisation: Id::parse("o1").expect("an id"),
            rooms: Vec::new(),
            arguments: vec![RawValue::from_string(payload).expect("a string")],
        })
    }

    fn hub() -> Arc<SharedHub> {
        SharedHub::new(HubSettings {
            window_ms: 60_000,
            window_bytes: 1_000_000,
            latest_bytes: 0,
            named_partitions: 0,
        })
    }

    /// How many items each slice applies of batches of these sizes.
    fn slices(batches: &[usize], bytes: usize) -> Vec<usize> {
        let hub = hub();
        let (sender, feed) = mpsc::channel(batches.len());
        for items in batches {
            let batch = (0..*items).map(|_| ephemeral(bytes)).collect();
            sender.try_send(batch).expect("there is capacity");
        }
        let mut backlog = FeedBacklog::new(feed);
        let left = |backlog: &FeedBacklog| {
            let whole = &batches[batches.len() - backlog.feed.len()..];
            backlog.batch.len() + whole.iter().sum::<usize>()
        };
        let mut slices = Vec::new();
        loop {
            let before = left(&backlog);
            if !hub.apply_slice(&mut backlog, &mut Unflushed::default()) {
                return slices;
            }
            slices.push(before - left(&backlog));
        }
    }

    #[tokio::test]
    async fn waiting_drops_nothing_of_a_batch_that_is_half_applied() {
        let (sender, feed) = mpsc::channel(2);
        for _ in 0..2 {
            let batch = vec![ephemeral(100), ephemeral(100)];
            sender.send(batch).await.expect("there is capacity");
        }
        let mut backlog = FeedBacklog::new(feed);
        for _ in 0..4 {
            backlog.wait().await;
            assert!(backlog.next().is_some());
        }
        drop(sender);
        backlog.wait().await;
        assert!(backlog.next().is_none() && backlog.ended);
    }

    #[tokio::test]
    async fn the_feed_is_looked_at_between_the_slices_of_a_flush_until_a_connection_may_wait_for_no_more()
     {
        let hub = hub();
        let (sender, feed) = mpsc::channel(2);
        let mut backlog = FeedBacklog::new(feed);
        let mut unflushed = Unflushed::default();
        let lanes = |slices: usize| {
            for _ in 0..slices * LANES_PER_FLUSH - 1 {
                hub.dirty(Arc::new(Guard::in_memory(([127, 0, 0, 1], 1).into())));
            }
        };
        lanes(3);
        for slice in 1..=3 {
            sender.send(vec![ephemeral(100)]).await.expect("capacity");
            assert!(hub.apply_slice(&mut backlog, &mut unflushed));
            let applied = unflushed.events;
            let dirty = hub.flush_slice(&mut unflushed).await;
            assert_eq!((applied, dirty), (slice, slice < 3));
        }
        assert_eq!(unflushed.events, 0, "nothing waits any more");
        lanes(3);
        sender
            .send(vec![ephemeral(UNFLUSHED_BYTES)])
            .await
            .expect("capacity");
        assert!(hub.apply_slice(&mut backlog, &mut unflushed));
        let dirty = hub.flush_slice(&mut unflushed).await;
        assert!(!dirty, "all lanes are flushed before more is applied");
        // What a turn has sent may fill one connection's budget.
        lanes(3);
        unflushed.spare = true;
        assert!(!hub.flush_slice(&mut unflushed).await);
        assert!(!unflushed.is_full());
    }

    #[test]
    fn batches_that_are_ready_together_are_applied_together_up_to_a_slice() {
        assert_eq!(slices(&[1, 1, 6], 100), [8], "one write for all of them");
        assert_eq!(slices(&[60, 80], 100), [64, 64, 12]);
        // Of large ones fewer: a connection that is sent all of them must not turn slow by that.
        assert_eq!(slices(&[10], 10 * 1024), [5, 5]);
        assert_eq!(slices(&[2], 1024 * 1024), [1, 1]);
    }
}
