//! Connecting, joining, following, coming back.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::super::lines;
use super::ClientArguments;
use super::commands::PendingCommand;
use super::link::{ClientLink, Endpoint, LinkError};
use super::packet::{self, EventMeta, Packet, ReceivedEvent};
use super::retries::Retries;
use super::show::Show;

/// Nothing more of the past has come for so long: it is over.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// A deadline that is not reached.
const NEVER: Duration = Duration::from_hours(10 * 365 * 24);

/// Standard input, line by line.
type Lines = mpsc::Receiver<io::Result<Vec<u8>>>;

pub(super) struct Follower {
    url: Endpoint,
    pub(super) arguments: ClientArguments,
    pub(super) show: Show,
    cursor: Option<String>,
    pub(super) rooms: BTreeSet<String>,
    /// By the number of the acknowledgement.
    pub(super) asked: HashMap<u64, PendingCommand>,
    pub(super) next_id: u64,
    shown: u64,
    /// Something was refused: the exit code says so.
    pub(super) refused: bool,
    /// While events of the past come: the server's time at the welcome, how many came, and when the last did.
    pub(super) catching_up: Option<CatchingUp>,
    retries: Retries,
}

pub(super) struct CatchingUp {
    since_ms: i64,
    count: u64,
    pub(super) quiet_at: Instant,
}

/// Why following ended.
enum End {
    /// As asked: time over, count reached, `quit`, Ctrl-C.
    Asked,
    Lost(LinkError),
}

/// What may come next, beside packets.
enum Next {
    Packet(Result<Packet, LinkError>),
    Line(Option<io::Result<Vec<u8>>>),
    Leave,
    Tick,
    Over,
}

impl Follower {
    pub(super) fn new(url: Endpoint, arguments: ClientArguments, show: Show) -> Self {
        let cursor = arguments.resume.clone().filter(|cursor| !cursor.is_empty());
        Self {
            retries: Retries::new(arguments.wait, arguments.resume.is_some()),
            url,
            cursor,
            arguments,
            show,
            rooms: BTreeSet::new(),
            asked: HashMap::new(),
            next_id: 0,
            shown: 0,
            refused: false,
            catching_up: None,
        }
    }

    /// False when something was refused, lost or missed.
    pub(super) async fn run(mut self) -> anyhow::Result<bool> {
        let end = Instant::now() + self.arguments.duration.unwrap_or(NEVER);
        // Reading would stop a background job of a terminal before it has shown anything.
        let mut input = (!lines::would_stop()).then(lines::standard_input);
        if self.cursor.is_some() {
            // The rooms go along with the cursor, so that what was missed in them comes too.
            self.rooms.extend(self.arguments.room.iter().cloned());
        }
        loop {
            let ended = self.connection(&mut input, end).await?;
            self.caught_up()?;
            let error = match ended {
                End::Asked => break,
                End::Lost(error) => error,
            };
            let retry = self
                .retries
                .next(&error, Instant::now())
                .filter(|at| *at < end);
            self.say_lost(&error, retry.is_some())?;
            let Some(at) = retry else {
                self.refused = true;
                break;
            };
            tokio::select! {
                () = sleep_until(at) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        self.say_end()?;
        Ok(!self.refused)
    }

    /// One connection, from the first attempt to its end.
    async fn connection(&mut self, input: &mut Option<Lines>, end: Instant) -> anyhow::Result<End> {
        let opened = tokio::select! {
            opened = self.open() => opened,
            _ = tokio::signal::ctrl_c() => return Ok(End::Asked),
        };
        let mut link = match opened {
            Ok(link) => link,
            Err(error) => return Ok(End::Lost(error)),
        };
        self.retries.connected();
        let ended = self.follow(&mut link, input, end).await?;
        if matches!(ended, End::Asked) {
            link.close().await;
        }
        Ok(ended)
    }

    fn say_lost(&mut self, error: &LinkError, again: bool) -> anyhow::Result<()> {
        let kind = match error {
            LinkError::Lost(_) => "lost",
            LinkError::Refused(_) | LinkError::Dismissed => "refused",
        };
        let text = if again {
            format!("{error}; trying again")
        } else {
            error.to_string()
        };
        self.show.bad(kind, &text, json!({"again": again}))
    }

    fn say_end(&mut self) -> anyhow::Result<()> {
        if self.arguments.count.is_some_and(|count| self.shown < count) {
            self.refused = true;
        }
        let cursor = self.cursor.as_deref();
        let text = format!(
            "end: {} events; cursor {}",
            self.shown,
            cursor.unwrap_or("none")
        );
        self.show.note(
            "end",
            &text,
            json!({"events": self.shown, "cursor": cursor}),
        )
    }

    async fn open(&mut self) -> Result<ClientLink, LinkError> {
        self.asked.clear();
        let rooms: Vec<String> = self.rooms.iter().cloned().collect();
        let connect = packet::connect(
            &self.arguments.token,
            self.cursor.as_deref(),
            &rooms,
            self.arguments.latest,
        );
        let mut link = ClientLink::open(&self.url, &connect).await?;
        if self.cursor.is_none() {
            let mut wanted: Vec<String> = self.arguments.room.clone();
            wanted.extend(rooms);
            wanted.dedup();
            for room in wanted {
                self.ask(&mut link, "subscribe", Some(room)).await?;
            }
        }
        Ok(link)
    }

    async fn follow(
        &mut self,
        link: &mut ClientLink,
        input: &mut Option<Lines>,
        end: Instant,
    ) -> anyhow::Result<End> {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            let leave = self.arguments.leave.iter().map(|(_, after)| *after).min();
            let next = tokio::select! {
                biased;
                () = sleep_until(end) => Next::Over,
                _ = tokio::signal::ctrl_c() => Next::Over,
                packet = link.next() => Next::Packet(packet),
                line = line(input.as_mut()) => Next::Line(line),
                () = sleep_until(began + leave.unwrap_or(NEVER)), if leave.is_some() => Next::Leave,
                _ = tick.tick() => Next::Tick,
            };
            let done = match next {
                Next::Over => return Ok(End::Asked),
                Next::Packet(Ok(packet)) => self.take(link, packet).await?,
                Next::Packet(Err(error)) => Err(error),
                Next::Line(None) => {
                    *input = None;
                    Ok(())
                }
                Next::Line(Some(line)) => {
                    let line = String::from_utf8_lossy(&line?).trim().to_owned();
                    if matches!(line.as_str(), "quit" | "exit") {
                        return Ok(End::Asked);
                    }
                    self.obey(link, &line).await?
                }
                Next::Leave => self.leave_due(link, began).await,
                Next::Tick => {
                    self.look_at_deadlines()?;
                    Ok(())
                }
            };
            if let Err(error) = done {
                return Ok(End::Lost(error));
            }
            if self
                .arguments
                .count
                .is_some_and(|count| self.shown >= count)
            {
                return Ok(End::Asked);
            }
        }
    }

    async fn take(
        &mut self,
        link: &mut ClientLink,
        packet: Packet,
    ) -> anyhow::Result<Result<(), LinkError>> {
        match packet {
            Packet::Event(event) => {
                if let Some(id) = event.ack
                    && let Err(error) = link.send(&packet::acknowledgement(id)).await
                {
                    return Ok(Err(error));
                }
                self.event(&event)?;
            }
            Packet::Ack { id, arguments } => self.answered(id, &arguments)?,
            _ => {}
        }
        Ok(Ok(()))
    }

    fn event(&mut self, event: &ReceivedEvent) -> anyhow::Result<()> {
        if let Some(cursor) = event.cursor() {
            self.cursor = Some(cursor);
        }
        let meta = event.meta();
        match event.name.as_str() {
            "connection_established" => self.welcome(event),
            "cursor" => Ok(()),
            "resync_required" => {
                let data = data(event);
                let reason = data["reason"].as_str().unwrap_or("no reason given");
                let text = format!("resync required: {reason}; what was missed is not sent");
                self.show.bad("resync_required", &text, data.clone())
            }
            // Neither is a record, and none that --event may hide: from now on less comes than was asked for, or more may be asked for.
            "room_revoked" => {
                let data = data(event);
                let lost = texts(&data["rooms"]);
                self.rooms.retain(|room| !names_one_of(room, &lost));
                let reason = data["reason"].as_str().unwrap_or("no reason given");
                let text = format!("room revoked: {} ({reason})", lost.join(", "));
                self.show.bad("room_revoked", &text, data.clone())
            }
            "room_granted" => {
                let data = data(event);
                let rooms = texts(&data["rooms"]);
                let text = rooms.join(", ");
                let text = if data["reason"] == "joined" {
                    // Not asked for, and lost by the next connection that does not.
                    self.rooms.extend(rooms.into_iter().map(str::to_owned));
                    format!("room joined by a back-end: {text}")
                } else {
                    format!("room granted: {text}; subscribe to join")
                };
                self.show.note("room_granted", &text, data)
            }
            "auth_expiring" => {
                let data = data(event);
                let expires = data["expires_at"].as_str().unwrap_or("soon");
                let text = format!("the token expires at {expires}");
                self.show.note("auth_expiring", &text, data.clone())
            }
            name => {
                self.count_past(meta.as_ref())?;
                let wanted = &self.arguments.event;
                if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
                    self.shown += 1;
                    self.show.event(event, meta.as_ref())?;
                }
                Ok(())
            }
        }
    }

    fn welcome(&mut self, event: &ReceivedEvent) -> anyhow::Result<()> {
        let data = data(event);
        let text = |name: &str| data[name].as_str().unwrap_or("?").to_owned();
        let list = |name: &str| texts(&data[name]).join(", ");
        let resume = text("resume");
        let line = format!(
            "connected as {} of {} ({}), {resume}, connection {}; rooms {}",
            text("user_id"),
            text("organization_id"),
            list("roles"),
            text("connection_id"),
            list("rooms"),
        );
        if resume == "resumed" {
            let since_ms = i64::try_from(crate::clock::wall_ms()).unwrap_or(i64::MAX);
            self.catching_up = Some(CatchingUp {
                since_ms,
                count: 0,
                quiet_at: Instant::now() + CAUGHT_UP,
            });
        }
        self.show.note("connected", &line, data)
    }

    /// Records from before the welcome are what was missed.
    fn count_past(&mut self, meta: Option<&EventMeta>) -> anyhow::Result<()> {
        let Some(past) = &mut self.catching_up else {
            return Ok(());
        };
        let of_the_past = meta
            .and_then(|meta| meta.timestamp)
            .is_some_and(|timestamp| timestamp < past.since_ms);
        if !of_the_past {
            return self.caught_up();
        }
        past.count += 1;
        past.quiet_at = Instant::now() + CAUGHT_UP;
        Ok(())
    }

    pub(super) fn caught_up(&mut self) -> anyhow::Result<()> {
        let Some(CatchingUp { count, .. }) = self.catching_up.take() else {
            return Ok(());
        };
        self.show.note(
            "caught_up",
            &format!("caught up with {count} events"),
            json!({"events": count}),
        )
    }
}

/// What the server says stands in `{data, timestamp}`.
fn data(event: &ReceivedEvent) -> Value {
    let envelope = event
        .payload()
        .and_then(|json| serde_json::from_str(json.get()).ok());
    let envelope: Value = envelope.unwrap_or_default();
    envelope["data"].clone()
}

/// Those of a list.
fn texts(list: &Value) -> Vec<&str> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

/// Whether what was asked for, `channel:7`, is one of `channel:7:org:o1`, as the server says it.
fn names_one_of(room: &str, full: &[&str]) -> bool {
    full.iter().any(|full| {
        let rest = full.strip_prefix(room);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(":org:"))
    })
}

/// Never, once the input has ended.
async fn line(input: Option<&mut Lines>) -> Option<io::Result<Vec<u8>>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}
