//! Commands and their answers.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::follow::Follower;
use super::link::{ClientLink, LinkError};
use super::packet;

/// How long a command may go without an answer.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) struct PendingCommand {
    command: &'static str,
    room: Option<String>,
    until: Instant,
}

impl Follower {
    pub(super) fn answered(&mut self, id: u64, arguments: &[Box<RawValue>]) -> anyhow::Result<()> {
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
    pub(super) async fn obey(
        &mut self,
        link: &mut ClientLink,
        line: &str,
    ) -> anyhow::Result<Result<(), LinkError>> {
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

    pub(super) async fn ask(
        &mut self,
        link: &mut ClientLink,
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

    pub(super) async fn leave_due(
        &mut self,
        link: &mut ClientLink,
        began: Instant,
    ) -> Result<(), LinkError> {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.arguments.leave)
            .into_iter()
            .partition(|(_, after)| began.elapsed() >= *after);
        self.arguments.leave = later;
        for (room, _) in due {
            self.ask(link, "unsubscribe", Some(room)).await?;
        }
        Ok(())
    }

    pub(super) fn look_at_deadlines(&mut self) -> anyhow::Result<()> {
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
