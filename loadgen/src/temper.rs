//! The clients of `loadgen run`: some are cut, some stall, all are judged as they receive.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::check::ClientCheck;
use crate::client::{Act, Ended, Part, Sight};
use crate::clock::Clock;
use crate::latency::{Group, Latencies, Phase};
use crate::producer::AckTimes;
use crate::record::{EVENT, Payload};
use crate::socket::Transport;

/// What is done to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    Steady,
    /// Its TCP connection is reset again and again; it comes back at once.
    Cut {
        first: Duration,
        every: Duration,
    },
    /// It stops reading once, keeps the connection, and goes on.
    Stalled {
        after: Duration,
        lasts: Duration,
        receive_buffer: u32,
    },
}

/// Where the run stands; all clients read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// Producing since then; the stall in nanoseconds since the epoch.
    Running {
        since: Instant,
        stall: (u64, u64),
    },
    Stop,
}

/// What the clients of all threads tell the run as they go.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Clients whose rooms are acknowledged.
    pub(crate) ready: AtomicU64,
    /// Refused for good.
    pub(crate) refused: AtomicU64,
    /// Deliveries, each counted once.
    pub(crate) received: AtomicU64,
}

/// What the clients of one thread share.
pub(crate) struct Surroundings {
    pub(crate) clock: Clock,
    pub(crate) acks: Arc<AckTimes>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) latencies: RefCell<Latencies>,
}

/// What happened to one client beside its deliveries.
#[derive(Debug, Default, Clone)]
pub(crate) struct Story {
    pub(crate) cuts: u64,
    pub(crate) stalls: u64,
    /// Connections that ended without our doing.
    pub(crate) lost_connections: u64,
    pub(crate) failed_attempts: u64,
    /// Welcomes by what they say of the resume.
    pub(crate) fresh: u64,
    pub(crate) resumed: u64,
    pub(crate) resynced: u64,
    /// `resync_required` events.
    pub(crate) resync_required: u64,
    /// From the cut to the welcome after it.
    pub(crate) back_after: Vec<Duration>,
    /// The last words of the connection, or of the server.
    pub(crate) last_trouble: Option<String>,
}

/// One client of a run.
pub(crate) struct Tempered {
    pub(crate) temper: Temper,
    around: Rc<Surroundings>,
    pub(crate) state: RefCell<State>,
}

pub(crate) struct State {
    pub(crate) check: ClientCheck,
    pub(crate) story: Story,
    subscribed: bool,
    away_since: Option<Instant>,
}

impl Tempered {
    pub(crate) fn new(temper: Temper, check: ClientCheck, around: Rc<Surroundings>) -> Self {
        let state = State {
            check,
            story: Story::default(),
            subscribed: false,
            away_since: None,
        };
        Self {
            temper,
            around,
            state: RefCell::new(state),
        }
    }

    fn group(&self) -> Group {
        if self.temper == Temper::Steady {
            Group::Others
        } else {
            Group::Disturbed
        }
    }

    fn take_record(&self, state: &mut State, name: &str, payload: &str, has_cursor: bool) {
        if name != EVENT {
            let head: String = payload.chars().take(120).collect();
            state.check.unexpected(&format!("event {name} {head}"));
            return;
        }
        let around = &self.around;
        if let Some((room, stamp)) = state.check.receive(&Payload::read(payload)) {
            let now = around.clock.now_ns();
            let phase = phase(&around.stage, stamp.sent_ns);
            let acknowledged = around.acks.get(room, stamp.sequence);
            around.latencies.borrow_mut().record(
                self.group(),
                phase,
                now,
                stamp.sent_ns,
                acknowledged,
            );
            around.progress.received.fetch_add(1, Ordering::Relaxed);
        }
        if !has_cursor {
            state.check.unexpected("a routed event without a cursor");
        }
    }

    fn take_end(&self, state: &mut State, ended: &Ended) {
        let story = &mut state.story;
        match ended {
            Ended::Cut(_) => {
                story.cuts += 1;
                state.away_since = Some(Instant::now());
            }
            Ended::Lost(error) => {
                story.lost_connections += 1;
                story.last_trouble = Some(format!("{error:#}"));
            }
            Ended::Dismissed(packet) => {
                story.lost_connections += 1;
                story.last_trouble = Some(format!("{packet}: a stock client would not come back"));
            }
            Ended::Failed(error) => {
                story.failed_attempts += 1;
                story.last_trouble = Some(format!("{error:#}"));
            }
            Ended::Refused(message) => {
                story.last_trouble = Some(format!("refused: {message}"));
                self.around.progress.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Part for Tempered {
    fn is_disturbed(&self) -> bool {
        self.temper != Temper::Steady
    }

    async fn next_act(&self) -> Act {
        let mut stage = self.around.stage.clone();
        let since = match stage
            .wait_for(|stage| matches!(stage, Stage::Running { .. }))
            .await
            .as_deref()
        {
            Ok(Stage::Running { since, .. }) => *since,
            Ok(_) | Err(_) => return std::future::pending().await,
        };
        let (cuts, stalls) = {
            let story = &self.state.borrow().story;
            (story.cuts, story.stalls)
        };
        match self.temper {
            Temper::Cut { first, every } => {
                let due = since + first + every * u32::try_from(cuts).unwrap_or(u32::MAX);
                sleep_until(due.into()).await;
                Act::Cut
            }
            Temper::Stalled { after, lasts, .. } if stalls == 0 => {
                sleep_until((since + after).into()).await;
                // Counted before: a session that dies meanwhile must not stall again.
                self.state.borrow_mut().story.stalls += 1;
                Act::Stall(lasts)
            }
            Temper::Stalled { .. } | Temper::Steady => std::future::pending().await,
        }
    }

    fn see(&self, sight: &Sight<'_>) {
        let state = &mut *self.state.borrow_mut();
        match sight {
            Sight::Record {
                name,
                payload,
                has_cursor,
            } => self.take_record(state, name, payload, *has_cursor),
            Sight::Subscribed(_) => {
                if !std::mem::replace(&mut state.subscribed, true) {
                    self.around.progress.ready.fetch_add(1, Ordering::Relaxed);
                }
            }
            Sight::Welcome { resume, .. } => {
                match *resume {
                    "resumed" => state.story.resumed += 1,
                    "resync" => state.story.resynced += 1,
                    _ => state.story.fresh += 1,
                }
                if let Some(since) = state.away_since.take() {
                    state.story.back_after.push(since.elapsed());
                }
            }
            Sight::Resync(reason) => {
                state.story.resync_required += 1;
                state.story.last_trouble = Some(format!("resync_required: {reason}"));
            }
            Sight::Odd(what) => state.check.unexpected(what),
            Sight::Closed(ended) => self.take_end(state, ended),
            Sight::Opened { .. } | Sight::Unsubscribed(_) | Sight::Refreshed | Sight::Cursor => {}
        }
    }

    fn pause(&self, ended: &Ended, _attempt: u32) -> Duration {
        match ended {
            Ended::Cut(away) => away.unwrap_or(Duration::ZERO),
            // The stock client's first delay: a second, half of it random.
            _ => Duration::from_millis(rand::rng().random_range(500..1_500)),
        }
    }

    fn transport(&self) -> Transport {
        let receive_buffer = match self.temper {
            Temper::Stalled { receive_buffer, .. } => Some(receive_buffer),
            Temper::Steady | Temper::Cut { .. } => None,
        };
        Transport::WebSocket { receive_buffer }
    }
}

fn phase(stage: &watch::Receiver<Stage>, sent_ns: u64) -> Phase {
    match *stage.borrow() {
        Stage::Running {
            stall: (begin, end),
            ..
        } if sent_ns >= begin => {
            if sent_ns < end {
                Phase::During
            } else {
                Phase::After
            }
        }
        _ => Phase::Before,
    }
}
