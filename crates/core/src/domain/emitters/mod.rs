//! Emitters of Socket.IO back-ends: what they publish in Redis, as events of Fleetcast.
//!
//! Two kinds of senders are understood: `@socket.io/redis-emitter` ([`node`]) and the write-only manager of python-socketio
//! ([`python`]). Each channel belongs to one organisation by configuration, whatever a message says. An emitter may send events and
//! nothing else: to join, leave or disconnect others would let it decide over rooms and connections.
//!
//! Messages are hostile input: every client of Redis can publish there. Size and depth are bounded before and while a message is
//! read, and no length in it makes anything allocate.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod configured;
mod emitted;
mod msgpack;
mod node;
mod python;
mod refused;

use std::fmt;

use super::id::Id;
use super::publication::Ephemeral;
pub use configured::InvalidEmitter;
use emitted::Emitted;
pub use refused::Refused;

/// Bytes of a message beside its arguments: names of rooms, and how an argument is written.
pub const MESSAGE_ENVELOPE: usize = 64 * 1024;

/// What is accepted on the channels of one emitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitter {
    pub kind: EmitterKind,
    /// Of all that it sends.
    pub organisation: Id,
    /// The option `key` of the one, `channel` of the other.
    key: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmitterKind {
    /// `@socket.io/redis-emitter`, and the Redis adapter of a Socket.IO server in Node.js.
    Node,
    /// python-socketio.
    Python,
}

/// What to subscribe to in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmitterChannel {
    Exact(String),
    /// As `PSUBSCRIBE` takes it.
    Pattern(String),
}

impl Emitter {
    /// All channels on which its messages come.
    pub fn channels(&self) -> Vec<EmitterChannel> {
        match self.kind {
            EmitterKind::Node => node::prefixes(&self.key)
                .map(|prefix| EmitterChannel::Pattern(literal(&prefix) + "*"))
                .into(),
            EmitterKind::Python => vec![EmitterChannel::Exact(self.key.clone())],
        }
    }

    /// Whether a message of this channel is one of its. No two emitters of a configuration share a channel.
    pub fn receives(&self, channel: &[u8]) -> bool {
        match self.kind {
            EmitterKind::Node => node::prefixes(&self.key)
                .iter()
                .any(|prefix| channel.starts_with(prefix.as_bytes())),
            EmitterKind::Python => channel == self.key.as_bytes(),
        }
    }

    /// Whether one of its channels can begin so.
    pub fn reaches(&self, beginning: &str) -> bool {
        match self.kind {
            EmitterKind::Node => (node::prefixes(&self.key).iter())
                .any(|prefix| prefix.starts_with(beginning) || beginning.starts_with(prefix)),
            EmitterKind::Python => self.key.starts_with(beginning),
        }
    }

    /// A message as an event for the members of its rooms, or of the whole organisation if it names none. `is_known`: the profile has
    /// rooms of this kind.
    ///
    /// # Errors
    ///
    /// The message is none of an emitter, or it asks for what an emitter may not do, or cannot have here.
    pub fn decode(
        &self,
        channel: &[u8],
        payload: &[u8],
        max_event_bytes: usize,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Ephemeral, Refused> {
        let most = max_event_bytes.saturating_add(MESSAGE_ENVELOPE);
        if payload.len() > most {
            return Err(Refused::TooLarge);
        }
        let text;
        let emitted: Emitted<'_> = match self.kind {
            EmitterKind::Node => {
                node::check_channel(&self.key, channel)?;
                text = msgpack::to_json(payload, most)?;
                node::read(&text)?
            }
            EmitterKind::Python => python::read(payload)?,
        };
        emitted.event(&self.organisation, max_event_bytes, is_known)
    }
}

/// As it is written in the setting.
impl fmt::Display for Emitter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            EmitterKind::Node => "node",
            EmitterKind::Python => "python",
        };
        write!(formatter, "{kind}:{}:{}", self.organisation, self.key)
    }
}

/// A pattern of Redis that matches this text only.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for sign in text.chars() {
        if matches!(sign, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(sign);
    }
    pattern
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests may fail so"
)]
mod tests;
