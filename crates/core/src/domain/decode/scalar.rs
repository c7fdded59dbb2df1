//! What a member's value is, once it is known to be wanted.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::id::{Id, InvalidId};
use super::super::json;

/// An identifier by the rule for records and claims: a string that fits, or an integer whose decimal text does.
pub(in crate::domain) fn id(value: &RawValue) -> Result<Id, InvalidId> {
    if let Some(text) = text(value) {
        return Id::parse(&text);
    }
    let number = value.get();
    if json::is_integer(number) {
        Id::parse(number)
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
