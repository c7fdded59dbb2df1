//! `loadgen bare`: the least that a server can do for a delivery, as the limit that Fleetcast is measured against. One
//! thread, fixed answers, and for each publication one frame, encoded once and written to each member's socket.
//!
//! The publisher is a WebSocket too. Its messages are `p`, the room, and a packet in each further line: the packets of one
//! message leave in one write per member.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::frames::{head_end, push_server_frame, take_frames};

const LISTENER: Token = Token(usize::MAX - 1);
const OPEN: &str = "0{\"sid\":\"bare\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}";
const CONNECTED: &str = "40{\"sid\":\"bare\"}";
const DONE: &str = "[{\"status\":\"success\",\"success\":true}]";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    port: u16,
}

/// Serves until it is killed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    listener.set_nonblocking(true)?;
    listener.bind(&address.into())?;
    listener.listen(4096)?;
    let mut listener = TcpListener::from_std(listener.into());
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Bare {
        peers: Vec::new(),
        rooms: HashMap::new(),
        buffer: vec![0; 256 * 1024],
    };
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                server.accept(&listener, &poll)?;
            } else {
                server.serve(event.token().0, event.is_readable(), event.is_writable());
            }
        }
    }
}

struct Bare {
    /// A closed connection leaves its place empty: the servers of a measurement are short-lived.
    peers: Vec<Option<Peer>>,
    rooms: HashMap<Vec<u8>, Vec<usize>>,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    /// Bytes of a frame whose end has not come.
    partial: Vec<u8>,
    /// What the kernel did not take.
    waiting: Vec<u8>,
}

impl Bare {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.peers.len());
            poll.registry().register(
                &mut stream,
                token,
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.peers.push(Some(Peer {
                stream,
                upgraded: false,
                partial: Vec::new(),
                waiting: Vec::new(),
            }));
        }
    }

    fn serve(&mut self, index: usize, readable: bool, writable: bool) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let open = (!writable || peer.flush()) && (!readable || self.read(index));
        if !open {
            self.peers[index] = None;
            for members in self.rooms.values_mut() {
                members.retain(|member| *member != index);
            }
        }
    }

    /// False: the connection has ended.
    fn read(&mut self, index: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let open = loop {
            let Some(peer) = self.peers[index].as_mut() else {
                break false;
            };
            let kept = peer.partial.len();
            buffer[..kept].copy_from_slice(&peer.partial);
            peer.partial.clear();
            match peer.stream.read(&mut buffer[kept..]) {
                Ok(0) => break false,
                Ok(read) => {
                    let drained = kept + read < buffer.len();
                    if !self.take(index, &mut buffer[..kept + read]) {
                        break false;
                    }
                    if drained {
                        break true;
                    }
                }
                Err(error) => {
                    peer.partial.extend_from_slice(&buffer[..kept]);
                    break error.kind() == ErrorKind::WouldBlock;
                }
            }
        };
        self.buffer = buffer;
        open
    }

    fn take(&mut self, index: usize, bytes: &mut [u8]) -> bool {
        let Some(peer) = self.peers[index].as_mut() else {
            return false;
        };
        let mut begin = 0;
        if !peer.upgraded {
            let Some(end) = head_end(bytes) else {
                peer.partial.extend_from_slice(bytes);
                return true;
            };
            peer.upgrade(&bytes[..end]);
            begin = end;
        }
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let Some(taken) = take_frames(&mut bytes[begin..], |text| packets.push(text.to_vec()))
        else {
            return false;
        };
        peer.partial.extend_from_slice(&bytes[begin + taken..]);
        for packet in packets {
            self.answer(index, &packet);
        }
        true
    }

    fn answer(&mut self, index: usize, packet: &[u8]) {
        let answer = match packet {
            [b'p', publication @ ..] => {
                self.publish(publication);
                return;
            }
            [b'4', b'0', ..] => CONNECTED.to_owned(),
            [b'4', b'2', command @ ..] => {
                let text = String::from_utf8_lossy(command);
                let (id, command) = text.split_at(text.find('[').unwrap_or(0));
                if command.starts_with("[\"subscribe\"") {
                    let room = command.rsplit('"').nth(1).unwrap_or_default();
                    self.rooms
                        .entry(room.as_bytes().to_vec())
                        .or_default()
                        .push(index);
                }
                format!("43{id}{DONE}")
            }
            _ => return,
        };
        let mut frame = Vec::new();
        push_server_frame(&mut frame, answer.as_bytes());
        if let Some(peer) = &mut self.peers[index] {
            peer.write(&frame);
        }
    }

    fn publish(&mut self, publication: &[u8]) {
        let mut lines = publication.split(|byte| *byte == b'\n');
        let room = lines.next().unwrap_or_default();
        let mut frames = Vec::with_capacity(publication.len() + 64);
        for packet in lines {
            push_server_frame(&mut frames, packet);
        }
        let Some(members) = self.rooms.get(room) else {
            return;
        };
        for member in members {
            if let Some(peer) = &mut self.peers[*member] {
                peer.write(&frames);
            }
        }
    }
}

impl Peer {
    fn upgrade(&mut self, head: &[u8]) {
        let text = String::from_utf8_lossy(head);
        let key = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then(|| value.trim())
        });
        let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        push_server_frame(&mut answer, OPEN.as_bytes());
        self.upgraded = true;
        self.write(&answer);
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.extend_from_slice(bytes);
            return;
        }
        // An error other than a full buffer shows when the connection is read.
        let written = self.stream.write(bytes).unwrap_or(0);
        self.waiting.extend_from_slice(&bytes[written..]);
    }

    /// False: the connection has ended.
    fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        // A peer that was slow once is not to be larger for it.
        self.waiting = Vec::new();
        true
    }
}
