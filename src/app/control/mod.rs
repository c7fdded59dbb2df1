//! Live authorisation across instances: which tokens are revoked and which rooms are granted, as the compacted topics say.
//!
//! `revocations` and `grants` take what the API asks for and write it; `topics` reads it back, here as on every instance; `records` says
//! what a record changes, and what it changes that a log was lost; `repairs` writes again what no log holds any more.

mod grants;
mod records;
mod repairs;
mod revocations;
mod topics;

pub(super) use grants::GrantRequests;
pub(super) use revocations::RevocationRequests;
pub(super) use topics::{BuiltControlTopics, ControlTopics};
