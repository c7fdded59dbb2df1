//! What a member's value is, once it is known to be wanted.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::id::{Id, InvalidId};

/// An identifier by the rule for records and claims: a string that fits, or an integer of at most 64 bits.
pub(in crate::domain) fn id(value: &RawValue) -> Result<Id, InvalidId> {
    let json = value.get();
    if let Some(text) = text(value) {
        return Id::parse(&text);
    }
    // The text of an integer is its decimal form already, except that of negative zero.
    let integer = json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok();
    if integer && json != "-0" {
        Id::parse(json)
    } else {
        Err(InvalidId)
    }
}

/// The text of a JSON string; `None` for other values and for escapes that make no text (half a surrogate pair).
pub(in crate::domain) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(value.get())
            .ok()
            .map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
