//! What a member's value is, once it is known to be wanted.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::id::{Id, InvalidId, InvalidUserId, UserId};
use super::super::json;

/// An identifier by the rule for records and claims: a string that fits, or an integer whose decimal text does.
pub(in crate::domain) fn id(value: &RawValue) -> Result<Id, InvalidId> {
    Id::parse(&text_or_integer(value).ok_or(InvalidId)?)
}

/// The same by the rule for users.
pub(in crate::domain) fn user_id(value: &RawValue) -> Result<UserId, InvalidUserId> {
    UserId::parse(&text_or_integer(value).ok_or(InvalidUserId)?)
}

fn text_or_integer(value: &RawValue) -> Option<Cow<'_, str>> {
    text(value).or_else(|| {
        let number = value.get();
        json::is_integer(number).then_some(Cow::Borrowed(number))
    })
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
