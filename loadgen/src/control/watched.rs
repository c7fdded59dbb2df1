//! One client of a case: what it does, and what it keeps of what it sees.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::Rng;
use tokio::sync::watch;
use tokio::time::sleep;

use super::server::SECRET;
use crate::check::ClientCheck;
use crate::client::{Act, Ended, Part, Sight};
use crate::clock::Clock;
use crate::latency::histogram;
use crate::record::{EVENT, Payload};
use crate::socket::{Minter, Transport};

/// All records and tokens are of it.
pub(super) const ORGANISATION: &str = "control";
/// A slow reader's, so that what it does not read waits in the server.
const SLOW_RECEIVE_BUFFER: u32 = 16 * 1024;
pub(super) const TOKEN_SECONDS: u64 = 3_600;

/// What a client does beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Routine {
    Steady,
    /// `auth:refresh` again and again, while that is ordered.
    Refreshes {
        first: Duration,
        every: Duration,
    },
    /// Is away for so long, once that is ordered.
    Leaves(Duration),
    /// Once that is ordered, reads one message in each of these for so long.
    Dawdles {
        lasts: Duration,
        pause: Duration,
    },
}

/// What the case wants of its clients now.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Wanted {
    /// Tokens are refreshed.
    pub(super) refreshing: bool,
    /// Those that leave or dawdle do so now.
    pub(super) disturbed: bool,
    pub(super) stop: bool,
}

/// What the clients of all threads count as they go.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Clients whose rooms are acknowledged.
    pub(super) ready: AtomicU64,
    /// Deliveries, each counted once.
    pub(super) received: AtomicU64,
    /// Refused for good.
    pub(super) refused: AtomicU64,
    /// What was sent later belongs to the second stretch of the case; 0: it has not begun.
    pub(super) second_stretch_ns: AtomicU64,
}

/// Histograms of one thread's clients.
pub(super) struct Times {
    /// From the producer to the client, in the first stretch of the case and in the second.
    pub(super) deliveries: [Histogram<u64>; 2],
    /// From `auth:refresh` to its acknowledgement.
    pub(super) refreshes: Histogram<u64>,
}

impl Times {
    pub(super) fn new() -> Self {
        Self {
            deliveries: [histogram(), histogram()],
            refreshes: histogram(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let same = "histograms of the same bounds";
        for (ours, theirs) in self.deliveries.iter_mut().zip(&other.deliveries) {
            ours.add(theirs).expect(same);
        }
        self.refreshes.add(&other.refreshes).expect(same);
    }
}

/// What the clients of one thread share.
pub(super) struct Circle {
    pub(super) clock: Clock,
    pub(super) counts: Arc<Counts>,
    pub(super) wanted: watch::Receiver<Wanted>,
    pub(super) times: RefCell<Times>,
}

/// What a client has seen.
pub(super) struct Seen {
    pub(super) check: ClientCheck,
    /// How often its connection was welcomed, by what that said.
    pub(super) fresh: u64,
    pub(super) resumed: u64,
    /// Reasons of `resync_required`.
    pub(super) resyncs: Vec<String>,
    /// Connections that ended without our doing.
    pub(super) lost_connections: u64,
    /// The last words of the first of them.
    pub(super) trouble: Option<String>,
    /// When the first of them ended, in nanoseconds since the epoch.
    pub(super) closed_ns: Option<u64>,
    /// The `connect_error` after which it gave up.
    pub(super) refused: Option<String>,
    pub(super) last_event_ns: Option<u64>,
    /// The highest sequence number of its room that it got.
    pub(super) last_sequence: Option<u32>,
    pub(super) refreshes: u64,
}

impl Seen {
    pub(super) fn new(check: ClientCheck) -> Self {
        Self {
            check,
            fresh: 0,
            resumed: 0,
            resyncs: Vec::new(),
            lost_connections: 0,
            trouble: None,
            closed_ns: None,
            refused: None,
            last_event_ns: None,
            last_sequence: None,
            refreshes: 0,
        }
    }
}

pub(super) struct Watched {
    user: String,
    routine: Routine,
    circle: Rc<Circle>,
    is_ready: Cell<bool>,
    has_acted: Cell<bool>,
    asked_ns: Cell<u64>,
    pub(super) seen: RefCell<Seen>,
}

impl Watched {
    pub(super) fn new(
        user: &str,
        routine: Routine,
        check: ClientCheck,
        circle: Rc<Circle>,
    ) -> Self {
        Self {
            user: user.to_owned(),
            routine,
            circle,
            is_ready: Cell::new(false),
            has_acted: Cell::new(false),
            asked_ns: Cell::new(0),
            seen: RefCell::new(Seen::new(check)),
        }
    }

    async fn until(&self, like: impl FnMut(&Wanted) -> bool) {
        if self.circle.wanted.clone().wait_for(like).await.is_err() {
            // The run is gone: nothing is to be done any more.
            std::future::pending::<()>().await;
        }
    }

    /// The next refresh, in its turn.
    async fn refresh(&self, first: Duration, every: Duration) -> Act {
        loop {
            self.until(|wanted| wanted.refreshing).await;
            let has_acted = self.has_acted.replace(true);
            sleep(if has_acted { every } else { first }).await;
            if !self.circle.wanted.borrow().refreshing {
                continue;
            }
            let expires = self.circle.clock.unix_seconds() + TOKEN_SECONDS;
            let token = Minter::new(SECRET, expires)
                .and_then(|minter| minter.dispatcher(&self.user, ORGANISATION))
                .expect("a token was made for this user before");
            self.asked_ns.set(self.circle.clock.now_ns());
            return Act::Refresh(token);
        }
    }

    fn take_record(&self, seen: &mut Seen, name: &str, payload: &str) {
        let now = self.circle.clock.now_ns();
        seen.last_event_ns = Some(now);
        if name != EVENT {
            seen.check.unexpected(&format!("event {name}"));
            return;
        }
        let Some((_, stamp)) = seen.check.receive(&Payload::read(payload)) else {
            return;
        };
        seen.last_sequence = seen.last_sequence.max(Some(stamp.sequence));
        let counts = &self.circle.counts;
        counts.received.fetch_add(1, Ordering::Relaxed);
        let second = counts.second_stretch_ns.load(Ordering::Relaxed);
        let stretch = usize::from(second != 0 && stamp.sent_ns >= second);
        self.circle.times.borrow_mut().deliveries[stretch]
            .saturating_record(now.saturating_sub(stamp.sent_ns) / 1_000);
    }

    fn take_end(&self, seen: &mut Seen, ended: &Ended) {
        match ended {
            Ended::Cut(_) => {}
            // An attempt to come back that the server could not serve yet.
            Ended::Failed(_) => {}
            Ended::Refused(message) => {
                seen.refused = Some(message.clone());
                self.circle.counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ended::Lost(_) | Ended::Dismissed(_) => {
                seen.lost_connections += 1;
                seen.closed_ns.get_or_insert(self.circle.clock.now_ns());
                seen.trouble.get_or_insert_with(|| format!("{ended:?}"));
            }
        }
    }
}

impl Part for Watched {
    fn is_disturbed(&self) -> bool {
        self.routine != Routine::Steady
    }

    async fn next_act(&self) -> Act {
        match self.routine {
            Routine::Steady => std::future::pending().await,
            Routine::Refreshes { first, every } => self.refresh(first, every).await,
            Routine::Leaves(_) | Routine::Dawdles { .. } if self.has_acted.get() => {
                std::future::pending().await
            }
            Routine::Leaves(away) => {
                self.until(|wanted| wanted.disturbed).await;
                self.has_acted.set(true);
                Act::Leave(away)
            }
            Routine::Dawdles { lasts, pause } => {
                self.until(|wanted| wanted.disturbed).await;
                self.has_acted.set(true);
                Act::Trickle { lasts, pause }
            }
        }
    }

    fn see(&self, sight: &Sight<'_>) {
        let seen = &mut *self.seen.borrow_mut();
        match sight {
            Sight::Record { name, payload, .. } => self.take_record(seen, name, payload),
            Sight::Subscribed(_) => {
                if !self.is_ready.replace(true) {
                    self.circle.counts.ready.fetch_add(1, Ordering::Relaxed);
                }
            }
            Sight::Welcome { resume, .. } => match *resume {
                "fresh" => seen.fresh += 1,
                "resumed" => seen.resumed += 1,
                // It is counted by what comes next.
                _ => {}
            },
            Sight::Resync(reason) => seen.resyncs.push((*reason).to_owned()),
            Sight::Refreshed => {
                seen.refreshes += 1;
                let took = self.circle.clock.now_ns() - self.asked_ns.get();
                let times = &mut *self.circle.times.borrow_mut();
                times.refreshes.saturating_record(took / 1_000);
            }
            Sight::Odd(what) => seen.check.unexpected(what),
            Sight::Closed(ended) => self.take_end(seen, ended),
            Sight::Opened { .. } | Sight::Unsubscribed(_) | Sight::Cursor => {}
        }
    }

    fn pause(&self, ended: &Ended, _attempt: u32) -> Duration {
        match ended {
            Ended::Cut(away) => away.unwrap_or(Duration::ZERO),
            _ => Duration::from_millis(rand::rng().random_range(200..800)),
        }
    }

    fn transport(&self) -> Transport {
        let is_slow = matches!(self.routine, Routine::Dawdles { .. });
        Transport::WebSocket {
            receive_buffer: is_slow.then_some(SLOW_RECEIVE_BUFFER),
        }
    }
}
