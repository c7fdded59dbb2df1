//! One client of a measurement.

use std::io::Write;

use anyhow::{Context, Result};
use mio::net::TcpStream;

use super::frames::push_client_frame;

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Away,
    Upgrading,
    Opening,
    /// The namespace is connected.
    Connected,
    /// Its room is subscribed to, or restored by a cursor.
    Joined,
}

/// What a client shows when it connects.
pub(crate) struct Identity {
    /// Empty: the server does not ask for one.
    pub(crate) token: String,
    pub(crate) room: usize,
}

pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) stream: Option<TcpStream>,
    pub(crate) phase: Phase,
    /// Bytes of a frame whose end has not come.
    pub(crate) partial: Vec<u8>,
    pub(crate) cursor: Vec<u8>,
    /// When its command left, in nanoseconds since the epoch; 0: none is under way.
    pub(crate) asked_ns: u64,
}

impl Member {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            stream: None,
            phase: Phase::Away,
            partial: Vec::new(),
            cursor: Vec::new(),
            asked_ns: 0,
        }
    }

    /// Sends a packet as a text frame.
    pub(crate) fn send(&mut self, packet: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(packet.len() + 14);
        push_client_frame(&mut frame, packet);
        let stream = self.stream.as_mut().context("it is away")?;
        stream.write_all(&frame).context("its server takes no more")
    }
}
