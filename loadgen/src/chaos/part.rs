//! The clients of a chaos run: how they keep to their habits, and how what they see becomes their history.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Act, Ended, Part, Sight};
use crate::clock::Clock;
use crate::latency::{Group, Latencies, Phase};
use crate::socket::{BrokenFrame, Transport};

use super::habit::Habit;
use super::history::ClientHistory;
use super::record::{CHANNEL_EVENT, ORGANISATION_EVENT, POSITION_EVENT, Payload};
use super::seating::Seating;

/// What the nemesis tells all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Habits begin then.
    pub(crate) since: Option<Instant>,
    /// Counts how often everybody's connection is cut at once.
    pub(crate) storms: u32,
    /// Habits are over: what is owed is to be delivered in peace.
    pub(crate) calm: bool,
    pub(crate) stop: bool,
}

/// What the clients of all threads tell the run, and the run them.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Clients whose first rooms are acknowledged.
    pub(crate) ready: AtomicU64,
    /// Clients that are welcomed now.
    pub(crate) connected: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Odd while a fault lasts.
    pub(crate) epoch: AtomicU32,
    /// The beginning is over: from here on latency is that of records that found everybody in their seats.
    pub(crate) measuring: AtomicBool,
    /// When the last fault ended, in nanoseconds since the epoch.
    pub(crate) ended_ns: AtomicU64,
}

/// What the clients of one thread share.
pub(crate) struct Around {
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) seating: Arc<Seating>,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) latencies: RefCell<Latencies>,
    pub(crate) scratch: RefCell<String>,
    /// Of the stock client 1 s; smaller to come back sooner.
    pub(crate) backoff: Duration,
}

/// A small receive buffer, so that the stall reaches the server.
const STALL_RECEIVE_BUFFER: u32 = 16 * 1024;
/// `reconnectionDelayMax` of the stock client.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

pub(crate) struct Seated {
    pub(crate) habit: Habit,
    organisation: u16,
    other_room: u16,
    /// By HTTP long-polling, unless it reads slowly: a receive buffer is a WebSocket's.
    polls: bool,
    around: Rc<Around>,
    random: RefCell<SmallRng>,
    pub(crate) history: RefCell<ClientHistory>,
    epoch: Cell<u32>,
    storms: Cell<u32>,
    subscribed: Cell<bool>,
    welcomed: Cell<bool>,
    /// Trickle, stop or leave has begun.
    begun: Cell<bool>,
    other_held: Cell<bool>,
    flinches: Cell<u32>,
    flinch: Notify,
}

impl Seated {
    pub(crate) fn new(
        index: usize,
        habit: Habit,
        history: ClientHistory,
        around: Rc<Around>,
        random: SmallRng,
    ) -> Self {
        Self {
            habit,
            organisation: around.seating.organisation_of_client(index),
            other_room: around.seating.another_channel(index),
            // Every thirty-first: an odd number, so that both organisations have some.
            polls: index % 31 == 7,
            around,
            random: RefCell::new(random),
            history: RefCell::new(history),
            epoch: Cell::new(0),
            storms: Cell::new(0),
            subscribed: Cell::new(false),
            welcomed: Cell::new(false),
            begun: Cell::new(false),
            other_held: Cell::new(false),
            flinches: Cell::new(0),
            flinch: Notify::new(),
        }
    }

    async fn habit(&self, since: Instant) -> Act {
        let once = |after: Duration| sleep_until(since + after);
        match self.habit {
            Habit::Cut { least, most } => {
                let next = self.random.borrow_mut().random_range(least..=most);
                sleep(next).await;
                Act::Cut
            }
            Habit::Flinch { least, most, times } => {
                let next = self.random.borrow_mut().random_range(least..=most);
                tokio::select! {
                    () = self.flinch.notified() => {}
                    () = sleep(next) => self.flinches.set(times),
                }
                Act::Cut
            }
            Habit::Toggle { every } => {
                let least = every / 2;
                let next = self.random.borrow_mut().random_range(least..=every + least);
                sleep(next).await;
                let join = !self.other_held.get();
                self.other_held.set(join);
                self.history.borrow_mut().asked(self.other_room, join);
                let name = self.around.seating.asked(self.other_room);
                if join {
                    Act::Subscribe(name)
                } else {
                    Act::Unsubscribe(name)
                }
            }
            // On each of its connections, as long as it lasts.
            Habit::Trickle {
                after,
                lasts,
                pause,
            } if !self.begun.get() => {
                once(after).await;
                self.begun.set(true);
                let lasts = (since + after + lasts).saturating_duration_since(Instant::now());
                Act::Trickle { lasts, pause }
            }
            Habit::Stop { after, lasts } if !self.begun.get() => {
                once(after).await;
                self.begun.set(true);
                Act::Stall(lasts)
            }
            Habit::StopForGood { after } if !self.begun.get() => {
                once(after).await;
                self.begun.set(true);
                self.history.borrow_mut().gone = true;
                Act::Stall(Duration::from_hours(24))
            }
            Habit::Leave { after, away } if !self.begun.get() => {
                once(after).await;
                self.begun.set(true);
                Act::Leave(away)
            }
            _ => std::future::pending().await,
        }
    }

    async fn storm(&self, mut orders: watch::Receiver<Orders>) {
        let known = self.storms.get();
        match orders.wait_for(|orders| orders.storms > known).await {
            Ok(orders) => self.storms.set(orders.storms),
            Err(_) => std::future::pending().await,
        }
    }

    fn record(&self, name: &str, payload: &str, has_cursor: bool) {
        let around = &self.around;
        let now = around.clock.now_ns();
        let mut history = self.history.borrow_mut();
        let mut scratch = around.scratch.borrow_mut();
        let stamp = match Payload::read(payload, &mut scratch) {
            Payload::Untouched(stamp) => stamp,
            Payload::Altered(stamp) => {
                history.offend(|| format!("altered: {stamp:?}"), |it| it.altered += 1);
                stamp
            }
            Payload::Strange => {
                let head: String = payload.chars().take(120).collect();
                history.offend(
                    || format!("strange: {name} {head}"),
                    |it| it.unexpected += 1,
                );
                return;
            }
        };
        if !has_cursor || ![CHANNEL_EVENT, ORGANISATION_EVENT, POSITION_EVENT].contains(&name) {
            history.offend(
                || format!("{name} without a cursor"),
                |it| it.unexpected += 1,
            );
        }
        let epoch = around.shared.epoch.load(Ordering::Relaxed);
        if self.epoch.replace(epoch) != epoch {
            history.first_after.push((epoch, now));
        }
        let ended = around.shared.ended_ns.load(Ordering::Relaxed);
        if stamp.sent_ns < ended {
            history.catch_up(ended, now);
        }
        let seating = &around.seating;
        let new = if let Some(asset) = stamp.asset {
            let room = seating.find_positions(stamp.organisation);
            history.moved(&stamp, asset, room, now)
        } else {
            let room = seating.find(stamp.organisation, stamp.channel);
            history.received(&stamp, room, now)
        };
        if new {
            around.shared.received.fetch_add(1, Ordering::Relaxed);
            let group = match self.habit {
                Habit::Steady | Habit::Toggle { .. } => Group::Others,
                _ => Group::Disturbed,
            };
            if group == Group::Others {
                history.took(stamp.sent_ns, now);
            }
            let phase = match epoch {
                0 => Phase::Before,
                epoch if epoch % 2 == 1 => Phase::During,
                _ => Phase::After,
            };
            if around.shared.measuring.load(Ordering::Relaxed) {
                around
                    .latencies
                    .borrow_mut()
                    .record(group, phase, now, stamp.sent_ns, None);
            }
        }
        if let Some(left) = self.flinches.get().checked_sub(1) {
            self.flinches.set(left);
            self.flinch.notify_one();
        }
    }

    fn welcome(&self, resume: &str, window: Duration, now: u64) {
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        self.history.borrow_mut().welcomed(resume, window_ns, now);
        if !self.welcomed.replace(true) {
            self.around.shared.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn closed(&self, ended: &Ended, now: u64) {
        if self.welcomed.replace(false) {
            self.around.shared.connected.fetch_sub(1, Ordering::Relaxed);
        }
        let mut history = self.history.borrow_mut();
        match ended {
            Ended::Cut(_) => history.closed(true, now),
            Ended::Lost(error) => {
                if error.is::<BrokenFrame>() {
                    history.offend(|| format!("{error:#}"), |it| it.broken += 1);
                }
                history.closed(false, now);
            }
            Ended::Dismissed(packet) => {
                history.offend(|| (*packet).to_owned(), |it| it.dismissed += 1);
                history.closed(false, now);
            }
            Ended::Failed(_) => history.failed_attempt(),
            Ended::Refused(message) => {
                self.around.shared.refused.fetch_add(1, Ordering::Relaxed);
                history.offend(|| format!("refused: {message}"), |it| it.dismissed += 1);
            }
        }
        if let Habit::Trickle { .. } = self.habit {
            self.begun.set(false);
        }
        if self.other_held.get() && !history.holds(self.other_room) {
            self.other_held.set(false);
        }
    }
}

impl Part for Seated {
    fn is_disturbed(&self) -> bool {
        true
    }

    async fn next_act(&self) -> Act {
        let mut orders = self.around.orders.clone();
        let since = match orders.wait_for(|orders| orders.since.is_some()).await {
            Ok(orders) => orders.since,
            Err(_) => None,
        };
        let Some(since) = since else {
            return std::future::pending().await;
        };
        let mut until_calm = orders.clone();
        tokio::select! {
            biased;
            // What has been ordered is carried out, also when the calm has begun.
            () = self.storm(orders) => return Act::Cut,
            _ = until_calm.wait_for(|orders| orders.calm) => {}
            act = self.habit(since) => return act,
        }
        std::future::pending().await
    }

    fn see(&self, sight: &Sight<'_>) {
        let now = self.around.clock.now_ns();
        match sight {
            Sight::Record {
                name,
                payload,
                has_cursor,
            } => self.record(name, payload, *has_cursor),
            Sight::Opened { with_cursor } => self.history.borrow_mut().opened(*with_cursor),
            Sight::Subscribed(rooms) => {
                let seating = &self.around.seating;
                for room in *rooms {
                    if let Some(room) = seating.find_asked(self.organisation, room) {
                        self.history.borrow_mut().subscribed(room, now);
                    }
                }
                if !self.subscribed.replace(true) {
                    self.around.shared.ready.fetch_add(1, Ordering::Relaxed);
                }
            }
            Sight::Unsubscribed(room) => {
                if let Some(room) = self.around.seating.find_asked(self.organisation, room) {
                    self.history.borrow_mut().unsubscribed(room);
                }
            }
            Sight::Welcome {
                resume,
                window_seconds,
            } => self.welcome(resume, Duration::from_secs(*window_seconds), now),
            Sight::Resync(reason) => self.history.borrow_mut().resync(reason, now),
            Sight::Refreshed => {}
            Sight::Cursor => self.history.borrow_mut().cursor(now),
            Sight::Odd(what) => {
                let mut history = self.history.borrow_mut();
                history.offend(|| format!("unexpected: {what}"), |it| it.unexpected += 1);
            }
            Sight::Closed(ended) => self.closed(ended, now),
        }
    }

    /// As the stock client computes it: doubled with each attempt, half of it random, 5 s at most.
    fn pause(&self, ended: &Ended, attempt: u32) -> Duration {
        if let Ended::Cut(Some(away)) = ended {
            return *away;
        }
        let doubled = self.around.backoff * 2u32.saturating_pow(attempt.saturating_sub(1).min(8));
        let factor = self.random.borrow_mut().random_range(0.5..1.5);
        doubled.mul_f64(factor).min(LONGEST_BACKOFF)
    }

    fn transport(&self) -> Transport {
        let receive_buffer = match self.habit {
            Habit::Trickle { .. } | Habit::Stop { .. } | Habit::StopForGood { .. } => {
                Some(STALL_RECEIVE_BUFFER)
            }
            _ if self.polls => return Transport::Polling,
            _ => None,
        };
        Transport::WebSocket { receive_buffer }
    }
}
