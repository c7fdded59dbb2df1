//! Identifiers: the narrow ones, and those of users, whose issuers have rules of their own.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// An organisation, channel, incident or asset: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
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
        let text = text_of(value).ok_or(InvalidId)?;
        Self::parse(&text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user, as their issuer names them: `u1`, `auth0|5f7c8ec7c33c6c004bbafe82`, an e-mail address. 1 to 128 characters, at most 512 bytes,
/// none of them a control character; compared byte for byte. U+FFFD, which stands for what was no text, is in none.
///
/// It may hold any punctuation, colons included: a room of a user is recognised by its whole name, which is never taken apart.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

/// The text does not fit the rule for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user is named by 1 to 128 characters, at most 512 bytes, none of them a control character"
)]
pub struct InvalidUserId;

impl UserId {
    pub const MAX_CHARS: usize = 128;
    pub const MAX_BYTES: usize = 512;

    pub fn parse(text: &str) -> Result<Self, InvalidUserId> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len())
            && text.chars().count() <= Self::MAX_CHARS
            && !text.contains(char::REPLACEMENT_CHARACTER)
            && !text.contains(char::is_control);
        if fits {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidUserId)
        }
    }

    /// As [`Id::from_json`].
    pub fn from_json(value: &serde_json::Value) -> Result<Self, InvalidUserId> {
        let text = text_of(value).ok_or(InvalidUserId)?;
        Self::parse(&text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Each of the narrow ones names a user too.
impl From<&Id> for UserId {
    fn from(id: &Id) -> Self {
        Self(id.0.clone())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A string, or an integer as its decimal text.
fn text_of(value: &serde_json::Value) -> Option<Cow<'_, str>> {
    match value {
        serde_json::Value::String(text) => Some(Cow::Borrowed(text)),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => {
            Some(Cow::Owned(number.to_string()))
        }
        _ => None,
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
    fn users_are_named_as_their_issuers_name_them() {
        let longest = "é".repeat(UserId::MAX_CHARS);
        let widest = "\u{1f692}".repeat(UserId::MAX_CHARS);
        assert_eq!(widest.len(), UserId::MAX_BYTES);
        for good in [
            "u1",
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "ann@acme.example",
            "google-oauth2|103547991597142817347",
            "a:org:o2",
            "*",
            "Ann O'Hara",
            "%2F/../x",
            &longest,
            &widest,
        ] {
            assert_eq!(
                UserId::parse(good).map(|id| id.to_string()).as_deref(),
                Ok(good)
            );
        }
        for bad in [
            "",
            "a\0",
            "a\nb",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{fffd}",
            &"x".repeat(UserId::MAX_CHARS + 1),
            &format!("{longest}e"),
        ] {
            assert_eq!(UserId::parse(bad), Err(InvalidUserId), "{bad:?}");
        }
        // Byte for byte: two ways to write the same letter are two users.
        assert_ne!(UserId::parse("e\u{301}"), UserId::parse("\u{e9}"));
        for (json, expected) in [
            ("7", Some("7")),
            ("\"a|b\"", Some("a|b")),
            ("7.0", None),
            ("null", None),
            ("[\"a\"]", None),
        ] {
            let by_value = UserId::from_json(&json::parse(json).expect("test JSON"));
            let raw: &RawValue = serde_json::from_str(json).expect("test JSON");
            assert_eq!(by_value, decode::user_id(raw), "{json}");
            assert_eq!(
                by_value.ok().as_ref().map(UserId::as_str),
                expected,
                "{json}"
            );
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
