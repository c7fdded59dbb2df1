//! Identifiers that may stand in a room name.

use std::fmt;
use std::sync::Arc;

/// An organisation, user, channel, incident or asset: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
///
/// The narrow alphabet is what makes `channel:7:org:o1` unambiguous: no identifier can carry a colon.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Arc<str>);

/// The text does not fit the rule for identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier is 1 to 64 characters of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidId;

impl Id {
    /// The longest identifier, in bytes (all of them ASCII).
    pub const MAX_LEN: usize = 64;

    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if fits {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidId)
        }
    }

    /// A string that fits, or an integer as its decimal text; [`json::parse`](super::json::parse) reads those beyond 64 bits.
    /// Floats are refused even when they are whole: `7.0` and `1e3` are written back differently by every language, so they
    /// would name different rooms.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, InvalidId> {
        match value {
            serde_json::Value::String(text) => Self::parse(text),
            serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => {
                Self::parse(&number.to_string())
            }
            _ => Err(InvalidId),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identifier's own text, shared.
impl From<Id> for Arc<str> {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::{decode, json};
    use super::*;

    #[test]
    fn identifiers_are_short_and_plain() {
        for good in ["o1", "7", "A-b_9", &"x".repeat(64)] {
            assert!(Id::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a:org:b", "a b", "é", "a\0", "../x", &"x".repeat(65)] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn integers_become_their_decimal_text_and_nothing_else_does() {
        let digits = |count: usize| "9".repeat(count);
        let (longest, too_long) = (digits(64), digits(65));
        // Claims and requests of clients are read as values, records as text: both must name the same room.
        let from_text = |text: &str| {
            let by_value = Id::from_json(&json::parse(text).expect("test JSON"));
            let raw: &RawValue = serde_json::from_str(text).expect("test JSON");
            assert_eq!(by_value, decode::id(raw), "{text}");
            by_value.map(|id| id.to_string())
        };
        for integer in [
            "7",
            "0",
            "-5",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            &longest,
        ] {
            for json in [integer.to_owned(), format!("\"{integer}\"")] {
                assert_eq!(from_text(&json).as_deref(), Ok(integer), "{json}");
            }
        }
        for json in [
            "-0",
            "7.0",
            "18446744073709551616.0",
            "1e3",
            "1e30",
            "1e400",
            &too_long,
            &digits(400),
            "true",
            "null",
            "[7]",
            "{}",
            "\"\"",
            "\"\\ud800\"",
        ] {
            assert_eq!(from_text(json), Err(InvalidId), "{json}");
        }
    }
}
