//! From a record's bytes to the few fields that routing asks for, borrowed and without a tree of values.
//!
//! What a producer wrote is hostile input: nothing here recurses deeper than the profile says, indexes or does arithmetic that
//! could fail.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod fields;
mod format;
mod scalar;
mod walk;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub use fields::{BODY, MAX_PATH, MAX_PLACES};
pub(super) use fields::{Field, FieldPlace, Fields, Looked};
pub use format::Format;
pub(super) use scalar::{id, text, user_id};

pub use super::skip::Skip;
use walk::Walker;

/// Nested objects and arrays, the record itself being the first.
pub const MAX_DEPTH: usize = 128;

/// The wanted fields of one record, as their JSON text.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    /// The whole, found to be JSON.
    pub(super) json: &'a str,
    /// By which schema of the registry it was written.
    pub(super) schema: Option<u32>,
    values: [Option<&'a RawValue>; MAX_PLACES],
}

impl<'a> Decoded<'a> {
    /// In the body, if it is looked for there, else where it belongs. `null` is how many producers write "none", so it counts
    /// as absent.
    pub(super) fn get(&self, field: &Field) -> Option<(FieldPlace, &'a RawValue)> {
        let in_body = field.body.and_then(|slot| self.at(slot));
        let in_body = in_body.map(|value| (FieldPlace::Body, value));
        in_body.or_else(|| Some((field.place(), self.at(field.main)?)))
    }

    /// At the top, of what [`get`](Self::get) finds in the body.
    pub(super) fn get_on(&self, field: &Field) -> Option<(FieldPlace, &'a RawValue)> {
        self.at(field.body?)?;
        Some((field.place(), self.at(field.main)?))
    }

    fn at(&self, slot: fields::FieldSlot) -> Option<&'a RawValue> {
        let value = self.values.get(slot.0).copied().flatten();
        value.filter(|value| value.get() != "null")
    }
}

pub(super) fn decode<'a>(
    value: &'a [u8],
    fields: &Fields,
    format: Format,
    max_bytes: usize,
) -> Result<Decoded<'a>, Skip> {
    if value.is_empty() {
        return Err(Skip::Empty);
    }
    let (value, schema) = format.unframed(value)?;
    if value.len() > max_bytes {
        return Err(Skip::TooLarge);
    }
    let text = std::str::from_utf8(value).map_err(|_| Skip::NotUtf8)?;
    if is_too_deep(value) {
        return Err(Skip::TooDeep);
    }
    if !text.trim_ascii_start().starts_with('{') {
        // serde_json skips over a value without recursion, so this costs no stack.
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(IgnoredAny) => Skip::NotObject,
            Err(_) => Skip::NotJson,
        });
    }
    let mut walker = Walker::new(fields);
    if walker.walk(text).is_err() {
        walker = walk::gently(fields, text).ok_or(Skip::NotJson)?;
    }
    if walker.ambiguous {
        return Err(Skip::AmbiguousField);
    }
    Ok(Decoded {
        json: text,
        schema,
        values: walker.values,
    })
}

/// Counts brackets outside strings, without recursion. Text that is no JSON may be judged either way.
pub(super) fn is_too_deep(value: &[u8]) -> bool {
    // `[` and `{` differ in one bit. Nearly every record has fewer brackets than the limit; counting them all at once
    // is many times faster than walking through the strings.
    let brackets = value.iter().filter(|&&byte| byte | 0x20 == b'{').count();
    if brackets <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
