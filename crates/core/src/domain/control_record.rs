//! What the records of revocations and grants have in common.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A key or a value is no longer than this, in bytes.
pub const MAX_RECORD: usize = 8 * 1024;

/// The form of values that this version writes and reads.
pub const VERSION: u64 = 1;

/// Why a record is not applied. It says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadControlRecord {
    #[error("the key is none of this topic")]
    Key,
    #[error("the value is not of the form that this version reads")]
    Value,
    #[error("the value is of another version")]
    Version,
}

/// The key as text.
pub(super) fn key(key: &[u8]) -> Result<&str, BadControlRecord> {
    let text = std::str::from_utf8(key).map_err(|_| BadControlRecord::Key)?;
    if text.len() > MAX_RECORD {
        return Err(BadControlRecord::Key);
    }
    Ok(text)
}

/// The value, all of it or none: a member that is not known may say that less is meant.
pub(super) fn value<T: DeserializeOwned>(value: &[u8]) -> Result<T, BadControlRecord> {
    if value.len() > MAX_RECORD {
        return Err(BadControlRecord::Value);
    }
    let Ok(Value::Object(mut value)) = serde_json::from_slice(value) else {
        return Err(BadControlRecord::Value);
    };
    let version = value.remove("v").ok_or(BadControlRecord::Value)?;
    if version.as_u64() != Some(VERSION) {
        return Err(BadControlRecord::Version);
    }
    serde_json::from_value(Value::Object(value)).map_err(|_| BadControlRecord::Value)
}
