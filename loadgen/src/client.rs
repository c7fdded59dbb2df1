//! One client at protocol level: connects, subscribes, receives, comes back with its cursor; some are cut, some stall.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures_util::StreamExt;
use rand::Rng;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use crate::check::ClientCheck;
use crate::clock::Clock;
use crate::latency::{Group, Latencies, Phase};
use crate::producer::AckTimes;
use crate::protocol::{Event, Packet, connect_packet, field, is_success, subscribe_packet};
use crate::record::{EVENT, Payload};
use crate::socket::{Endpoint, OpenError, Socket, cut, send};

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

/// Where the run stands, told to all clients.
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
    pub(crate) endpoint: Endpoint,
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

pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) temper: Temper,
    token: String,
    /// As the client names them: `channel:7`.
    rooms: Vec<String>,
    pub(crate) state: RefCell<State>,
}

pub(crate) struct State {
    pub(crate) check: ClientCheck,
    pub(crate) story: Story,
    cursor: String,
    subscribed: bool,
    away_since: Option<Instant>,
}

/// Why a session ended.
enum Ended {
    Cut,
    Lost(anyhow::Error),
    Refused(String),
}

/// What a frame asks for.
enum Step {
    Nothing,
    Reply(String),
    End(anyhow::Error),
}

impl Client {
    pub(crate) fn new(
        index: usize,
        temper: Temper,
        token: String,
        rooms: Vec<String>,
        check: ClientCheck,
    ) -> Self {
        let state = State {
            check,
            story: Story::default(),
            cursor: String::new(),
            subscribed: false,
            away_since: None,
        };
        Self {
            index,
            temper,
            token,
            rooms,
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

    /// Keeps the client connected until it is refused for good; the run ends it by dropping this future.
    pub(crate) async fn run(&self, around: &Surroundings) {
        loop {
            let ended = self.session(around).await.unwrap_or_else(Ended::Lost);
            match ended {
                Ended::Cut => {
                    let mut state = self.state.borrow_mut();
                    state.story.cuts += 1;
                    state.away_since = Some(Instant::now());
                }
                Ended::Lost(error) => {
                    self.state.borrow_mut().story.last_trouble = Some(format!("{error:#}"));
                    // The stock client's first delay: a second, half of it random.
                    let delay = rand::rng().random_range(500..1_500);
                    sleep(Duration::from_millis(delay)).await;
                }
                Ended::Refused(message) => {
                    self.state.borrow_mut().story.last_trouble =
                        Some(format!("refused: {message}"));
                    around.progress.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    async fn session(&self, around: &Surroundings) -> Result<Ended> {
        let receive_buffer = match self.temper {
            Temper::Stalled { receive_buffer, .. } => Some(receive_buffer),
            Temper::Steady | Temper::Cut { .. } => None,
        };
        let (connect, subscribe) = {
            let state = self.state.borrow();
            let held: &[String] = if state.subscribed { &self.rooms } else { &[] };
            let subscribe = (!state.subscribed).then(|| subscribe_packet(&self.rooms));
            (connect_packet(&self.token, &state.cursor, held), subscribe)
        };
        let mut socket = match around.endpoint.session(receive_buffer, connect).await {
            Ok(socket) => socket,
            Err(OpenError::Refused(message)) => return Ok(Ended::Refused(message)),
            Err(OpenError::Temporary(error)) => {
                self.state.borrow_mut().story.failed_attempts += 1;
                return Ok(Ended::Lost(error));
            }
        };
        if let Some(packet) = subscribe {
            send(&mut socket, packet).await?;
        }
        let ended = self.receive(&mut socket, around).await;
        match ended {
            Ok(Ended::Cut) => cut(socket)?,
            Ok(_) | Err(_) => self.state.borrow_mut().story.lost_connections += 1,
        }
        ended
    }

    async fn receive(&self, socket: &mut Socket, around: &Surroundings) -> Result<Ended> {
        let mut disturbance = pin!(self.disturbance(around.stage.clone()));
        loop {
            tokio::select! {
                // A busy socket must not keep the disturbance waiting; steady clients do not look at it at all.
                biased;
                () = &mut disturbance, if self.temper != Temper::Steady => match self.temper {
                    Temper::Cut { .. } => return Ok(Ended::Cut),
                    Temper::Stalled { lasts, .. } => {
                        // Counted before: a session that dies meanwhile must not stall again.
                        self.state.borrow_mut().story.stalls += 1;
                        sleep(lasts).await;
                        disturbance.set(self.disturbance(around.stage.clone()));
                    }
                    Temper::Steady => {}
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => match self.take(text.as_str(), around) {
                        Step::Nothing => {}
                        Step::Reply(packet) => send(socket, packet).await?,
                        Step::End(error) => return Ok(Ended::Lost(error)),
                    },
                    Some(Ok(Message::Binary(_))) => self.state.borrow_mut().check.unexpected("a binary frame"),
                    Some(Ok(Message::Close(frame))) => return Ok(Ended::Lost(anyhow!("closed by the server: {frame:?}"))),
                    // The library answers WebSocket pings by itself.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Err(error)) => return Ok(Ended::Lost(error.into())),
                    None => return Ok(Ended::Lost(anyhow!("the connection ended"))),
                },
            }
        }
    }

    /// Returns when the next thing is to be done to this client.
    async fn disturbance(&self, mut stage: watch::Receiver<Stage>) {
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
        let due = match self.temper {
            Temper::Cut { first, every } => {
                since + first + every * u32::try_from(cuts).unwrap_or(u32::MAX)
            }
            Temper::Stalled { after, .. } if stalls == 0 => since + after,
            Temper::Stalled { .. } | Temper::Steady => return std::future::pending().await,
        };
        sleep_until(due.into()).await;
    }

    fn take(&self, frame: &str, around: &Surroundings) -> Step {
        let mut state = self.state.borrow_mut();
        match Packet::parse(frame) {
            Packet::Event(event) => self.take_event(&mut state, &event, around),
            Packet::Ping => Step::Reply("3".to_owned()),
            Packet::Ack { id: 0, args } if !state.subscribed => {
                if !is_success(args) {
                    return Step::End(anyhow!("subscribe failed: {args}"));
                }
                state.subscribed = true;
                around.progress.ready.fetch_add(1, Ordering::Relaxed);
                Step::Nothing
            }
            Packet::Pong | Packet::Noop => Step::Nothing,
            Packet::Close => Step::End(anyhow!("Engine.IO close packet")),
            Packet::Disconnect => Step::End(anyhow!(
                "Socket.IO DISCONNECT: a stock client would not come back"
            )),
            Packet::Open
            | Packet::Connect
            | Packet::ConnectError(_)
            | Packet::Ack { .. }
            | Packet::Unknown => {
                let head: String = frame.chars().take(80).collect();
                state.check.unexpected(&format!("packet {head}"));
                Step::Nothing
            }
        }
    }

    fn take_event(&self, state: &mut State, event: &Event<'_>, around: &Surroundings) -> Step {
        let (payload, cursor) = event.split_cursor();
        if event.name == EVENT {
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
            if cursor.is_none() {
                state.check.unexpected("a routed event without a cursor");
            }
        } else {
            take_other(state, event.name, payload);
        }
        if let Some(cursor) = cursor {
            state.cursor.clear();
            state.cursor.push_str(cursor);
        }
        event
            .ack
            .map_or(Step::Nothing, |id| Step::Reply(format!("43{id}[]")))
    }
}

/// The events of the contract that are not records.
fn take_other(state: &mut State, name: &str, payload: &str) {
    match name {
        "connection_established" => {
            match field(payload, "resume") {
                Some("resumed") => state.story.resumed += 1,
                Some("resync") => state.story.resynced += 1,
                _ => state.story.fresh += 1,
            }
            if let Some(since) = state.away_since.take() {
                state.story.back_after.push(since.elapsed());
            }
        }
        "resync_required" => {
            state.story.resync_required += 1;
            let reason = field(payload, "reason").unwrap_or("no reason given");
            state.story.last_trouble = Some(format!("resync_required: {reason}"));
        }
        "cursor" | "stale" => {}
        other => {
            let head: String = payload.chars().take(120).collect();
            state.check.unexpected(&format!("event {other} {head}"));
        }
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
