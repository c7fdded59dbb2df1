//! What the client says: lines for people, or one JSON object per line.

use std::io::{self, IsTerminal};

use serde_json::{Value, json};

use super::super::{complain, plain, plain_json, print};
use super::packet::{EventMeta, ReceivedEvent};
use crate::clock;
use crate::settings::process_environment;

pub(super) struct Show {
    json: bool,
    colours: bool,
}

#[derive(Clone, Copy)]
enum Colour {
    Event,
    Quiet,
    Bad,
}

impl Show {
    /// Colours on a terminal only, and not where <https://no-color.org> is followed.
    pub(super) fn new(json: bool) -> Self {
        let refused = process_environment()
            .get("NO_COLOR")
            .is_some_and(|value| !value.is_empty());
        Self {
            json,
            colours: !json && !refused && io::stdout().is_terminal(),
        }
    }

    pub(super) fn event(
        &self,
        event: &ReceivedEvent,
        meta: Option<&EventMeta>,
    ) -> anyhow::Result<()> {
        let payload = event.payload().map(serde_json::value::RawValue::get);
        if self.json {
            let data: Value = payload
                .and_then(|json| serde_json::from_str(json).ok())
                .unwrap_or_default();
            return line(&json!({
                "type": "event",
                "event": event.name,
                "data": data,
                "id": meta.map(|meta| meta.id.as_str()),
                "timestamp": meta.and_then(|meta| meta.timestamp),
                "cursor": event.cursor(),
            }));
        }
        let name = self.painted(Colour::Event, &plain(&event.name));
        let id = meta.map_or(String::new(), |meta| {
            format!(" {}", self.painted(Colour::Quiet, &plain(&meta.id)))
        });
        // A record may be written over several lines.
        let payload = payload.unwrap_or_default().replace(['\n', '\r', '\t'], " ");
        print(&format!("{} {name}{id} {}\n", now(), plain(&payload)))
    }

    /// Something happened to the connection or to a room.
    pub(super) fn note(&self, kind: &str, text: &str, fields: Value) -> anyhow::Result<()> {
        if self.json {
            return object(kind, text, fields);
        }
        let text = self.painted(Colour::Quiet, &format!("-- {}", plain(text)));
        print(&format!("{} {text}\n", now()))
    }

    /// Something was refused or failed: on standard error too when only JSON is read.
    pub(super) fn bad(&self, kind: &str, text: &str, fields: Value) -> anyhow::Result<()> {
        if self.json {
            complain(&format!("fleetcast: {}\n", plain(text)));
            return object(kind, text, fields);
        }
        let text = self.painted(Colour::Bad, &format!("!! {}", plain(text)));
        print(&format!("{} {text}\n", now()))
    }

    fn painted(&self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Event => "1;36",
            Colour::Quiet => "2",
            Colour::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn object(kind: &str, text: &str, fields: Value) -> anyhow::Result<()> {
    let mut all = json!({"type": kind, "message": text});
    if let (Value::Object(object), Value::Object(fields)) = (&mut all, fields) {
        object.extend(fields);
    }
    line(&all)
}

fn line(object: &Value) -> anyhow::Result<()> {
    print(&format!("{}\n", plain_json(&object.to_string())))
}

/// Time of day, UTC.
fn now() -> String {
    let full = clock::rfc3339(clock::wall_ms());
    full.get(11..19).unwrap_or_default().to_owned()
}
