//! What Redis knows of a connection: what `GET /api/connections` shows of it, and nothing secret.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use fleetcast_core::domain::id::{Id, UserId};
use serde::{Deserialize, Serialize};

use super::place::RegistryPlace;

/// Rooms of a connection of which the names are written: more than it may hold by default, its own two included. Of those beyond it
/// only the number is known on other instances.
pub const NAMED_ROOMS: usize = 256;

/// Instances of the next version may write more members, which this one skips.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegistryRecord {
    /// What people call the instance. The key has its id.
    pub instance: String,
    #[serde(rename = "organization_id")]
    pub organisation: String,
    #[serde(rename = "user_id")]
    pub user: String,
    pub roles: Vec<String>,
    pub transport: String,
    pub namespace: String,
    /// How many it holds.
    pub rooms: usize,
    /// `channel:7`; at most [`NAMED_ROOMS`].
    pub room_names: Vec<String>,
    /// RFC 3339.
    pub connected_at: String,
    pub address: Option<String>,
    pub client: Option<String>,
    pub lagging: bool,
    /// When its token expires, RFC 3339.
    pub expires_at: String,
}

impl RegistryRecord {
    /// Tells whether it has changed, in less memory than the record.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is plain data")
    }

    /// `None`: it cannot be read, as when something else than Fleetcast has written it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn place(&self, connection: &str) -> Option<RegistryPlace> {
        Some(RegistryPlace {
            organisation: Id::parse(&self.organisation).ok()?,
            user: UserId::parse(&self.user).ok()?,
            connection: connection.into(),
        })
    }
}
