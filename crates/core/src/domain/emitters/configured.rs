//! Emitters as the operator names them: `node:o1`, `python:o1:events`. Every channel belongs to one of them, and so to one organisation.

use super::{Emitter, EmitterKind, node};
use crate::domain::id::Id;

/// Bytes of a key.
const MAX_KEY: usize = 128;

/// Why a list of emitters cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmitter {
    #[error(
        "{0}: expected node:ORGANISATION, node:ORGANISATION:KEY, python:ORGANISATION or python:ORGANISATION:CHANNEL"
    )]
    Form(String),
    #[error("{0}: an organisation is 1 to 64 characters of A-Z, a-z, 0-9, _ and -")]
    Organisation(String),
    #[error("{0}: a key or channel is 1 to {MAX_KEY} bytes without spaces and control characters")]
    Key(String),
    #[error("{0} is named twice")]
    Twice(String),
    /// Messages could be of either, and a channel is all that says which organisation they are for.
    #[error("{0} and {1} share channels: give each emitter a key of its own")]
    Shared(String, String),
}

impl Emitter {
    /// Of one entry. Without a key: the one that its library uses by default.
    ///
    /// # Errors
    ///
    /// The entry does not name an emitter.
    pub fn parse(text: &str) -> Result<Self, InvalidEmitter> {
        let form = || InvalidEmitter::Form(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(form)?;
        let (kind, default) = match kind {
            "node" => (EmitterKind::Node, "socket.io"),
            "python" => (EmitterKind::Python, "socketio"),
            _ => return Err(form()),
        };
        let (organisation, key) = rest.split_once(':').unwrap_or((rest, default));
        let organisation =
            Id::parse(organisation).map_err(|_| InvalidEmitter::Organisation(text.to_owned()))?;
        let is_odd = |sign: char| sign.is_control() || sign.is_whitespace();
        if !(1..=MAX_KEY).contains(&key.len()) || key.contains(is_odd) {
            return Err(InvalidEmitter::Key(text.to_owned()));
        }
        Ok(Self {
            kind,
            organisation,
            key: key.to_owned(),
        })
    }

    /// Of all entries.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn parse_all<'a>(
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, Vec<InvalidEmitter>> {
        let (mut emitters, mut wrong) = (Vec::<Self>::new(), Vec::new());
        for entry in entries {
            match Self::parse(entry) {
                Ok(emitter) => {
                    wrong.extend(emitters.iter().filter_map(|other| emitter.conflict(other)));
                    emitters.push(emitter);
                }
                Err(error) => wrong.push(error),
            }
        }
        if wrong.is_empty() {
            Ok(emitters)
        } else {
            Err(wrong)
        }
    }

    /// With another one. Within an organisation too: its messages would come twice.
    fn conflict(&self, other: &Self) -> Option<InvalidEmitter> {
        if self == other {
            return Some(InvalidEmitter::Twice(self.to_string()));
        }
        let is_shared = match (self.kind, other.kind) {
            (EmitterKind::Python, EmitterKind::Python) => self.key == other.key,
            (EmitterKind::Node, EmitterKind::Python) => self.receives(other.key.as_bytes()),
            (EmitterKind::Python, EmitterKind::Node) => other.receives(self.key.as_bytes()),
            (EmitterKind::Node, EmitterKind::Node) => {
                // What begins with the longer one begins with the shorter one.
                let others = node::prefixes(&other.key);
                node::prefixes(&self.key).iter().any(|own| {
                    let mut others = others.iter();
                    others.any(|other| own.starts_with(other) || other.starts_with(own))
                })
            }
        };
        is_shared.then(|| InvalidEmitter::Shared(other.to_string(), self.to_string()))
    }
}
