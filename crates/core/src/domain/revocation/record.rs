//! Revocations as records of their topic.

use serde::{Deserialize, Serialize};

use super::{LATEST, Revocation, RevocationTarget};
use crate::domain::control_record::{self, BadControlRecord, VERSION};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationChange {
    pub target: RevocationTarget,
    /// `None`: a tombstone. It is revoked no more.
    pub revocation: Option<Revocation>,
}

/// The value, without its version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationValue {
    issued_until: u64,
    until: Option<u64>,
}

impl RevocationChange {
    /// Whom a record is about, whatever its value says.
    pub fn target(key: &[u8]) -> Result<RevocationTarget, BadControlRecord> {
        let key = control_record::key(key)?;
        RevocationTarget::parse(key).ok_or(BadControlRecord::Key)
    }

    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, BadControlRecord> {
        let target = Self::target(key)?;
        let revocation = match value {
            None => None,
            Some(value) => {
                let RevocationValue {
                    issued_until,
                    until,
                } = control_record::value(value)?;
                if issued_until.max(until.unwrap_or_default()) > LATEST {
                    return Err(BadControlRecord::Value);
                }
                Some(Revocation {
                    issued_until,
                    until,
                })
            }
        };
        Ok(Self { target, revocation })
    }
}

impl Revocation {
    /// The value of its record: `{"v":1,"issued_until":1795000000,"until":null}`.
    pub fn to_json(self) -> String {
        #[derive(Serialize)]
        struct Versioned {
            v: u64,
            issued_until: u64,
            until: Option<u64>,
        }
        let value = Versioned {
            v: VERSION,
            issued_until: self.issued_until,
            until: self.until,
        };
        serde_json::to_string(&value).expect("numbers are plain data")
    }
}
