//! Grants as records of their topic.

use serde::Deserialize;

use super::GrantedRoom;
use crate::domain::control_record::{self, BadControlRecord, VERSION};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantChange {
    pub target: GrantedRoom,
    /// False: a tombstone, which withdraws it.
    pub granted: bool,
}

/// The value, without its version: the key says all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantValue {}

impl GrantChange {
    /// The value of a record that grants.
    pub fn value() -> String {
        format!("{{\"v\":{VERSION}}}")
    }

    /// What a record is about, whatever its value says.
    pub fn target(key: &[u8]) -> Result<GrantedRoom, BadControlRecord> {
        let key = control_record::key(key)?;
        GrantedRoom::parse(key).ok_or(BadControlRecord::Key)
    }

    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, BadControlRecord> {
        let target = Self::target(key)?;
        if let Some(value) = value {
            let GrantValue {} = control_record::value(value)?;
        }
        Ok(Self {
            target,
            granted: value.is_some(),
        })
    }
}
