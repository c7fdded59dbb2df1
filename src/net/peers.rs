//! How many connections one peer may have. Which peers are limited, and by how much, is decided elsewhere.

use std::fmt::Debug;
use std::net::IpAddr;

/// Asked for each connection that was accepted.
pub trait PeerLimit: Debug + Send + Sync {
    fn admit(&self, peer: IpAddr) -> PeerAdmission;
}

/// One of the connections that a peer may have; dropped when its socket closes.
pub type PeerSlot = Box<dyn Send + Sync>;

pub enum PeerAdmission {
    /// No limit is for this peer.
    Exempt,
    Counted(PeerSlot),
    /// It has as many as it may have.
    Refused,
}
