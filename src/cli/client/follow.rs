//! Connecting, joining, following, coming back.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::super::lines;
use super::ClientArguments;
use super::link::{Link, LinkError};
use super::packet::{self, EventMeta, Packet, ReceivedEvent};
use super::show::Show;

/// How long a command may go without an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Between two tries to connect again, and how long they go on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
const TRY_FOR: Duration = Duration::from_mins(1);

/// Nothing more of the past has come for so long: it is over.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// What is no time: a deadline that is not reached.
const NEVER: Duration = Duration::from_hours(10 * 365 * 24);

pub(super) struct Follower {
    arguments: ClientArguments,
    show: Show,
    cursor: Option<String>,
    rooms: BTreeSet<String>,
    /// By the number of the acknowledgement.
    asked: HashMap<u64, PendingCommand>,
    next_id: u64,
    shown: u64,
    /// Something was refused, so the end is no good one.
    refused: bool,
    /// While events of the past come: the server's time at the welcome, how many came, and when the last did.
    catching_up: Option<CatchingUp>,
}

struct PendingCommand {
    command: &'static str,
    room: Option<String>,
    until: Instant,
}

struct CatchingUp {
    since_ms: i64,
    count: u64,
    quiet_at: Instant,
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
    pub(super) fn new(arguments: ClientArguments, show: Show) -> Self {
        let cursor = arguments.resume.clone().filter(|cursor| !cursor.is_empty());
        Self {
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
        let mut input = Some(lines::standard_input());
        if self.cursor.is_some() {
            // The rooms go along with the cursor, so that what was missed in them comes too.
            self.rooms.extend(self.arguments.room.iter().cloned());
        }
        let mut lost_at: Option<Instant> = None;
        let mut pause = PAUSES.0;
        loop {
            let ended = match self.open().await {
                Ok(mut link) => {
                    lost_at = None;
                    pause = PAUSES.0;
                    let ended = self.follow(&mut link, &mut input, end).await?;
                    if matches!(ended, End::Asked) {
                        link.close().await;
                    }
                    ended
                }
                Err(error) => End::Lost(error),
            };
            self.caught_up()?;
            let error = match ended {
                End::Asked => break,
                End::Lost(error) => error,
            };
            let began = *lost_at.get_or_insert_with(Instant::now);
            let again = matches!(error, LinkError::Lost(_))
                && self.arguments.resume.is_some()
                && began.elapsed() < TRY_FOR
                && Instant::now() + pause < end;
            let kind = if matches!(error, LinkError::Lost(_)) {
                "lost"
            } else {
                "refused"
            };
            self.show
                .bad(kind, &error.to_string(), json!({"again": again}))?;
            if !again {
                self.refused = true;
                break;
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
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
        )?;
        Ok(!self.refused)
    }

    async fn open(&mut self) -> Result<Link, LinkError> {
        self.asked.clear();
        let rooms: Vec<String> = self.rooms.iter().cloned().collect();
        let connect = packet::connect(
            &self.arguments.token,
            self.cursor.as_deref(),
            &rooms,
            self.arguments.latest,
        );
        let mut link = Link::open(&self.arguments.url, &connect).await?;
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
        link: &mut Link,
        input: &mut Option<mpsc::Receiver<io::Result<Vec<u8>>>>,
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
        link: &mut Link,
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
            // Not a record, and nothing that --event may hide: from now on less comes than was asked for.
            "room_revoked" => {
                let data = data(event);
                let lost = data["rooms"].as_array().into_iter().flatten();
                let lost: Vec<&str> = lost.filter_map(Value::as_str).collect();
                self.rooms.retain(|room| !names_one_of(room, &lost));
                let reason = data["reason"].as_str().unwrap_or("no reason given");
                let text = format!("room revoked: {} ({reason})", lost.join(", "));
                self.show.bad("room_revoked", &text, data.clone())
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
        let list = |name: &str| {
            let all = data[name].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        };
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

    fn caught_up(&mut self) -> anyhow::Result<()> {
        let Some(CatchingUp { count, .. }) = self.catching_up.take() else {
            return Ok(());
        };
        self.show.note(
            "caught_up",
            &format!("caught up with {count} events"),
            json!({"events": count}),
        )
    }

    fn answered(&mut self, id: u64, arguments: &[Box<RawValue>]) -> anyhow::Result<()> {
        let Some(PendingCommand { command, room, .. }) = self.asked.remove(&id) else {
            return Ok(());
        };
        let answer: Value = arguments
            .first()
            .and_then(|answer| serde_json::from_str(answer.get()).ok())
            .unwrap_or_default();
        let about = room
            .as_deref()
            .map_or(String::new(), |room| format!(" {room}"));
        if answer["success"].as_bool() != Some(true) {
            self.refused = true;
            let reason = answer["error"]["reason"]
                .as_str()
                .unwrap_or("no reason given");
            let message = answer["message"].as_str().unwrap_or_default();
            let text = format!("{command}{about} refused: {reason}, {message}");
            return self.show.bad(
                "refused",
                &text,
                json!({"command": command, "room": room, "answer": answer}),
            );
        }
        match (command, room.clone()) {
            ("subscribe", Some(room)) => {
                self.rooms.insert(room);
            }
            ("unsubscribe", Some(room)) => {
                self.rooms.remove(&room);
            }
            _ => {}
        }
        let rooms = answer["data"]["rooms"].as_array().into_iter().flatten();
        let rooms: Vec<&str> = rooms.filter_map(Value::as_str).collect();
        let latest = answer["data"]["latest"].as_u64();
        let newest = latest.map_or(String::new(), |count| format!("; {count} newest"));
        let text = format!("{command}{about} done{newest}; rooms {}", rooms.join(", "));
        let mut fields = json!({"room": room, "rooms": rooms});
        if let Some(latest) = latest {
            fields["latest"] = latest.into();
        }
        self.show.note(command, &text, fields)
    }

    /// A line of standard input.
    async fn obey(&mut self, link: &mut Link, line: &str) -> anyhow::Result<Result<(), LinkError>> {
        let mut words = line.split_whitespace();
        Ok(match (words.next(), words.next(), words.next()) {
            (None, ..) => Ok(()),
            (Some("join"), Some(room), None) => {
                self.ask(link, "subscribe", Some(room.to_owned())).await
            }
            (Some("leave"), Some(room), None) => {
                self.ask(link, "unsubscribe", Some(room.to_owned())).await
            }
            (Some("rooms"), None, None) => self.ask(link, "rooms", None).await,
            _ => {
                let text = format!("{line:?} is none of: join KIND:ID, leave KIND:ID, rooms, quit");
                self.show.bad("usage", &text, json!({}))?;
                Ok(())
            }
        })
    }

    async fn ask(
        &mut self,
        link: &mut Link,
        command: &'static str,
        room: Option<String>,
    ) -> Result<(), LinkError> {
        self.next_id += 1;
        let latest = self.arguments.latest && command == "subscribe";
        let frame = packet::command(self.next_id, command, room.as_deref(), latest);
        let until = Instant::now() + ANSWER;
        let asked = PendingCommand {
            command,
            room,
            until,
        };
        self.asked.insert(self.next_id, asked);
        link.send(&frame).await
    }

    async fn leave_due(&mut self, link: &mut Link, began: Instant) -> Result<(), LinkError> {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.arguments.leave)
            .into_iter()
            .partition(|(_, after)| began.elapsed() >= *after);
        self.arguments.leave = later;
        for (room, _) in due {
            self.ask(link, "unsubscribe", Some(room)).await?;
        }
        Ok(())
    }

    fn look_at_deadlines(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if self
            .catching_up
            .as_ref()
            .is_some_and(|past| past.quiet_at <= now)
        {
            self.caught_up()?;
        }
        let late: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(asked) = self.asked.remove(&id) {
                self.refused = true;
                let text = format!("{} was not answered", asked.command);
                self.show
                    .bad("unanswered", &text, json!({"room": asked.room}))?;
            }
        }
        Ok(())
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

/// Whether what was asked for, `channel:7`, is one of `channel:7:org:o1`, as the server says it.
fn names_one_of(room: &str, full: &[&str]) -> bool {
    full.iter().any(|full| {
        let rest = full.strip_prefix(room);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(":org:"))
    })
}

/// Never, once the input has ended.
async fn line(
    input: Option<&mut mpsc::Receiver<io::Result<Vec<u8>>>>,
) -> Option<io::Result<Vec<u8>>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}
