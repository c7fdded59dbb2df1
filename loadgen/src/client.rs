//! One client at protocol level: connects, subscribes, receives, and comes back with its cursor and its rooms, as the
//! few documented lines of JavaScript do. What is done to it, and what becomes of what it sees, is its [`Part`].

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep};

use crate::protocol::{
    Event, Packet, connect_packet, field, is_success, number, refresh_packet, subscribe_packet,
    unsubscribe_packet,
};
use crate::socket::{Endpoint, Line, OpenError, Transport};

/// What `run` and `chaos` each have of their own.
pub(crate) trait Part {
    /// False: nothing will ever be done to this client, so it need not look.
    fn is_disturbed(&self) -> bool;

    /// The next thing to do to it; pending for ever if there is none.
    async fn next_act(&self) -> Act;

    /// Takes note of what the client has seen.
    fn see(&self, sight: &Sight<'_>);

    /// How long it stays away after its connection has ended; `attempt` counts from 1 since it was connected.
    fn pause(&self, ended: &Ended, attempt: u32) -> Duration;

    fn transport(&self) -> Transport;
}

/// What can be done to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Its TCP connection is reset.
    Cut,
    /// The same, and it stays away for so long.
    Leave(Duration),
    /// It reads nothing for so long; its kernel goes on acknowledging.
    Stall(Duration),
    /// For `lasts` it reads one message in each `pause`.
    Trickle {
        lasts: Duration,
        pause: Duration,
    },
    Subscribe(String),
    Unsubscribe(String),
    /// Goes on with this token.
    Refresh(String),
}

/// What a client sees.
#[derive(Debug)]
pub(crate) enum Sight<'a> {
    /// The namespace is connected; whether a cursor was shown.
    Opened {
        with_cursor: bool,
    },
    Subscribed(&'a [String]),
    Unsubscribed(&'a str),
    /// The newer token holds.
    Refreshed,
    /// An event that is none of the contract's own, so of a record.
    Record {
        name: &'a str,
        payload: &'a str,
        has_cursor: bool,
    },
    Welcome {
        /// `fresh`, `resumed` or `resync`.
        resume: &'a str,
        /// How far back this organisation can be resumed; 0 if that was not said.
        window_seconds: u64,
    },
    Resync(&'a str),
    /// An event of the contract that only moves the cursor.
    Cursor,
    /// Not caused by this run.
    Odd(String),
    Closed(&'a Ended),
}

/// Why a session ended, or did not come about.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By us; how long to stay away, if that was said.
    Cut(Option<Duration>),
    Lost(anyhow::Error),
    /// By a packet after which a stock client does not come back.
    Dismissed(&'static str),
    /// No connection came about.
    Failed(anyhow::Error),
    /// `connect_error`: final.
    Refused(String),
}

pub(crate) struct Client<P> {
    pub(crate) index: usize,
    token: RefCell<String>,
    /// As the client names them: `channel:7`.
    wanted: Vec<String>,
    pub(crate) part: P,
    hold: RefCell<Hold>,
    attempt: Cell<u32>,
}

/// What it would show to come back.
#[derive(Default)]
struct Hold {
    cursor: String,
    rooms: Vec<String>,
    /// Commands that wait for their acknowledgements: a handful at most, for habits are slow.
    asked: Vec<(u64, ClientCommand)>,
    next_id: u64,
}

enum ClientCommand {
    Join(Vec<String>),
    Leave(String),
    Refresh(String),
}

/// What a frame asks for.
enum Step {
    Nothing,
    Reply(String),
    End(Ended),
}

impl<P: Part> Client<P> {
    pub(crate) fn new(index: usize, token: String, wanted: Vec<String>, part: P) -> Self {
        Self {
            index,
            token: RefCell::new(token),
            wanted,
            part,
            hold: RefCell::default(),
            attempt: Cell::new(0),
        }
    }

    /// Keeps the client connected until it is refused for good; the run ends it by dropping this future.
    pub(crate) async fn run(&self, endpoint: &Endpoint) {
        loop {
            let ended = self.session(endpoint).await;
            self.hold.borrow_mut().asked.clear();
            self.part.see(&Sight::Closed(&ended));
            if let Ended::Refused(_) = ended {
                return;
            }
            self.attempt.set(self.attempt.get() + 1);
            sleep(self.part.pause(&ended, self.attempt.get())).await;
        }
    }

    async fn session(&self, endpoint: &Endpoint) -> Ended {
        let (connect, with_cursor) = {
            let hold = self.hold.borrow();
            let packet = connect_packet(&self.token.borrow(), &hold.cursor, &hold.rooms);
            (packet, !hold.cursor.is_empty())
        };
        let mut line = match endpoint.session(self.part.transport(), connect).await {
            Ok(line) => line,
            Err(OpenError::Refused(message)) => return Ended::Refused(message),
            Err(OpenError::Temporary(error)) => return Ended::Failed(error),
        };
        self.attempt.set(0);
        self.part.see(&Sight::Opened { with_cursor });
        let ended = match self.receive(&mut line).await {
            Ok(ended) => ended,
            Err(error) => Ended::Lost(error),
        };
        if let Ended::Cut(_) = ended
            && let Err(error) = line.cut()
        {
            return Ended::Lost(error);
        }
        ended
    }

    async fn receive(&self, line: &mut Line) -> Result<Ended> {
        if let Some(packet) = self.first_subscription() {
            line.send(packet).await?;
        }
        let mut disturbance = pin!(self.part.next_act());
        let disturbed = self.part.is_disturbed();
        let mut trickle: Option<(Instant, Duration)> = None;
        loop {
            tokio::select! {
                // A busy socket must not keep the disturbance waiting; steady clients do not look at it at all.
                biased;
                act = &mut disturbance, if disturbed => {
                    match act {
                        Act::Cut => return Ok(Ended::Cut(None)),
                        Act::Leave(away) => return Ok(Ended::Cut(Some(away))),
                        Act::Stall(lasts) => sleep(lasts).await,
                        Act::Trickle { lasts, pause } => trickle = Some((Instant::now() + lasts, pause)),
                        Act::Subscribe(room) => {
                            let packet = self.ask(ClientCommand::Join(vec![room]));
                            line.send(packet).await?;
                        }
                        Act::Unsubscribe(room) => {
                            let packet = self.ask(ClientCommand::Leave(room));
                            line.send(packet).await?;
                        }
                        Act::Refresh(token) => {
                            let packet = self.ask(ClientCommand::Refresh(token));
                            line.send(packet).await?;
                        }
                    }
                    disturbance.set(self.part.next_act());
                }
                packet = line.next() => {
                    let Some(packet) = packet? else {
                        return Ok(Ended::Lost(anyhow!("the connection ended")));
                    };
                    match self.take(packet.as_str()) {
                        Step::Nothing => {}
                        Step::Reply(packet) => line.send(packet).await?,
                        Step::End(ended) => return Ok(ended),
                    }
                    match trickle {
                        Some((until, pause)) if Instant::now() < until => sleep(pause).await,
                        Some(_) => trickle = None,
                        None => {}
                    }
                }
            }
        }
    }

    /// For the wanted rooms that are not held yet.
    fn first_subscription(&self) -> Option<String> {
        let missing: Vec<String> = {
            let hold = self.hold.borrow();
            let missing = self.wanted.iter().filter(|room| !hold.rooms.contains(room));
            missing.cloned().collect()
        };
        (!missing.is_empty()).then(|| self.ask(ClientCommand::Join(missing)))
    }

    fn ask(&self, asked: ClientCommand) -> String {
        let mut hold = self.hold.borrow_mut();
        let id = hold.next_id;
        hold.next_id += 1;
        let packet = match &asked {
            ClientCommand::Join(rooms) => subscribe_packet(id, rooms),
            ClientCommand::Leave(room) => {
                // As in the documented lines: a room that is being left is not asked for again.
                hold.rooms.retain(|held| held != room);
                unsubscribe_packet(id, room)
            }
            ClientCommand::Refresh(token) => refresh_packet(id, token),
        };
        hold.asked.push((id, asked));
        packet
    }

    fn take(&self, frame: &str) -> Step {
        match Packet::parse(frame) {
            Packet::Event(event) => self.take_event(&event),
            Packet::Ping => Step::Reply("3".to_owned()),
            Packet::Ack { id, args } => self.take_ack(id, args),
            Packet::Pong | Packet::Noop => Step::Nothing,
            Packet::Close => Step::End(Ended::Dismissed("Engine.IO close packet")),
            Packet::Disconnect => Step::End(Ended::Dismissed("Socket.IO DISCONNECT")),
            Packet::Open | Packet::Connect | Packet::ConnectError(_) | Packet::Unknown => {
                self.odd(format!("packet {}", head(frame)))
            }
        }
    }

    fn odd(&self, what: String) -> Step {
        self.part.see(&Sight::Odd(what));
        Step::Nothing
    }

    fn take_ack(&self, id: u64, args: &str) -> Step {
        let asked = {
            let mut hold = self.hold.borrow_mut();
            let at = hold.asked.iter().position(|(asked, _)| *asked == id);
            at.map(|at| hold.asked.remove(at))
        };
        let Some((_, asked)) = asked else {
            return self.odd(format!("acknowledgement {id} {}", head(args)));
        };
        if !is_success(args) {
            return Step::End(Ended::Lost(anyhow!("a command failed: {args}")));
        }
        match asked {
            ClientCommand::Join(rooms) => {
                self.part.see(&Sight::Subscribed(&rooms));
                self.hold.borrow_mut().rooms.extend(rooms);
            }
            ClientCommand::Leave(room) => {
                self.part.see(&Sight::Unsubscribed(&room));
                // Its subscription may have been acknowledged after it was asked to be left.
                let asked_again = |(_, asked): &(u64, ClientCommand)| matches!(asked, ClientCommand::Join(rooms) if rooms.contains(&room));
                let mut hold = self.hold.borrow_mut();
                if !hold.asked.iter().any(asked_again) {
                    hold.rooms.retain(|held| *held != room);
                }
            }
            ClientCommand::Refresh(token) => {
                self.token.replace(token);
                self.part.see(&Sight::Refreshed);
            }
        }
        Step::Nothing
    }

    fn take_event(&self, event: &Event<'_>) -> Step {
        let (payload, cursor) = event.split_cursor();
        let sight = match event.name {
            "connection_established" => Sight::Welcome {
                resume: field(payload, "resume").unwrap_or("fresh"),
                window_seconds: number(payload, "window_seconds").unwrap_or(0),
            },
            "resync_required" => {
                Sight::Resync(field(payload, "reason").unwrap_or("no reason given"))
            }
            "cursor" | "stale" => Sight::Cursor,
            "error" | "auth_expiring" | "room_revoked" => {
                Sight::Odd(format!("event {} {}", event.name, head(payload)))
            }
            name => Sight::Record {
                name,
                payload,
                has_cursor: cursor.is_some(),
            },
        };
        self.part.see(&sight);
        if let Some(cursor) = cursor {
            let mut hold = self.hold.borrow_mut();
            hold.cursor.clear();
            hold.cursor.push_str(cursor);
        }
        event
            .ack
            .map_or(Step::Nothing, |id| Step::Reply(format!("43{id}[]")))
    }
}

fn head(text: &str) -> String {
    text.chars().take(120).collect()
}
