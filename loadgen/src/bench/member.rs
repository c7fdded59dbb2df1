//! One client of a measurement.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, anyhow};
use mio::net::TcpStream;
use rustix::io::Errno;

use super::BrokenPromise;
use super::frames::push_client_frame;
use crate::socket::bound_socket;

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
    /// What it connects from; `None`: the system chooses.
    pub(crate) address: Option<Ipv4Addr>,
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
            address: None,
            partial: Vec::new(),
            cursor: Vec::new(),
            asked_ns: 0,
        }
    }

    /// Begins to connect.
    pub(crate) fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Some(own) = self.address else {
            return TcpStream::connect(server);
        };
        let socket = bound_socket(own)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&server.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    /// Sends a packet as a text frame.
    pub(crate) fn send(&mut self, packet: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(packet.len() + 14);
        push_client_frame(&mut frame, packet);
        let stream = self.stream.as_mut().context("it is away")?;
        stream.write_all(&frame).context("its server takes no more")
    }

    /// The server has ended the connection: of a client that has subscribed, and so does nothing wrong, that is a broken promise.
    pub(crate) fn ended(&self, how: &str) -> anyhow::Error {
        let text = format!("the connection has ended in phase {:?}: {how}", self.phase);
        if self.phase == Phase::Joined {
            BrokenPromise(text).into()
        } else {
            anyhow!(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_subscribed_client_is_promised_its_connection() {
        let mut member = Member::new(Identity {
            token: String::new(),
            room: 0,
        });
        assert!(!member.ended("not accepted").is::<BrokenPromise>());
        member.phase = Phase::Joined;
        assert!(member.ended("a Close frame").is::<BrokenPromise>());
    }
}
