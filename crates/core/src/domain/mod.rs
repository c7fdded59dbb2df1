//! Pure decisions: values in, values out.

pub mod claims;
pub mod client_address;
pub mod client_json;
pub mod connection_events;
pub mod control_record;
pub mod cursor;
pub mod decode;
pub mod drain;
pub mod emitters;
pub mod envelope;
pub mod explain;
pub mod grants;
pub mod id;
pub mod json;
pub mod memory_limit;
pub mod percent;
pub mod policy;
pub mod protocol;
pub mod publication;
pub mod publish_rights;
pub mod published;
pub mod record;
pub mod revocation;
pub mod room;
pub mod room_operation;
pub mod route;
pub mod skip;
pub mod sorted;
pub mod spec;
pub mod topic_name;

#[cfg(test)]
mod properties;
