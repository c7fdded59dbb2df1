//! The clients of a measurement: all on one thread, each a socket and a few numbers. See `tally` for what is checked.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token};

use super::BrokenPromise;
use super::event::{channel, cursor_of, read_event};
use super::frames::{head_end, take_frames, upgrade_request};
use super::member::{Identity, Member, Phase};
use super::tally::Tally;
use crate::clock::Clock;
use crate::protocol::{connect_packet, is_success, subscribe_packet};

/// Connections that are being opened at a time.
const OPENING: usize = 128;
/// Clients that may wait are read for so long, then the others are looked at again.
const SLICE: Duration = Duration::from_micros(500);
/// Without any progress of those that connect or subscribe.
const STALLED: Duration = Duration::from_secs(20);

pub(crate) struct Swarm {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    clock: Clock,
    port: u16,
    members: Vec<Member>,
    /// Keeps the cursors: only where clients come back, because it costs a copy for each event.
    pub(crate) keep_cursors: bool,
    /// Those that catch up while others are measured: they are read behind the others, who would be on machines of their own.
    pub(crate) may_wait: Vec<bool>,
    /// Of those, the ones that have something to read or write.
    waiting: VecDeque<(usize, bool)>,
    /// Sends the next command as soon as one is acknowledged; empty: commands are not repeated.
    pub(crate) command: Vec<u8>,
    pub(crate) tally: Tally,
    connected: usize,
    joined: usize,
    /// The first fault in what a client was sent.
    broken: Option<anyhow::Error>,
}

impl Swarm {
    pub(crate) fn new(
        port: u16,
        clock: Clock,
        identities: Vec<Identity>,
        rooms: usize,
    ) -> Result<Self> {
        let tally = Tally::new(identities.iter().map(|identity| identity.room), rooms);
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 * 1024],
            clock,
            port,
            members: identities.into_iter().map(Member::new).collect(),
            keep_cursors: false,
            may_wait: Vec::new(),
            waiting: VecDeque::new(),
            command: Vec::new(),
            tally,
            connected: 0,
            joined: 0,
            broken: None,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Gives each client an address that it connects from, among those of loopback.
    pub(crate) fn come_from(&mut self, address: impl Fn(usize) -> Ipv4Addr) {
        for (client, member) in self.members.iter_mut().enumerate() {
            member.address = Some(address(client));
        }
    }

    pub(crate) fn joined(&self) -> usize {
        self.joined
    }

    /// Connects these clients, a few at a time, until the namespace of each is connected. Those that have a cursor show it
    /// with their room.
    pub(crate) fn connect(&mut self, clients: &[usize]) -> Result<()> {
        let (mut next, mut seen, mut progress) = (0, 0, Instant::now());
        let before = self.connected;
        loop {
            let done = self.connected - before;
            if done == clients.len() {
                return Ok(());
            }
            while next < clients.len() && next - done < OPENING {
                self.open(clients[next])?;
                next += 1;
            }
            if done != seen {
                (seen, progress) = (done, Instant::now());
            }
            ensure!(
                progress.elapsed() < STALLED,
                "only {done} of {} clients were connected",
                clients.len()
            );
            self.turn(Duration::from_millis(10))?;
        }
    }

    /// Opens the connection of one that is away, without waiting for it.
    pub(crate) fn open(&mut self, client: usize) -> Result<()> {
        let member = &self.members[client];
        let mut stream = member.dial(self.port).context("cannot connect")?;
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(client), interest)?;
        let member = &mut self.members[client];
        ensure!(
            member.stream.is_none(),
            "client {client} is connected already"
        );
        member.stream = Some(stream);
        Ok(())
    }

    /// Subscribes all that are connected to their rooms.
    pub(crate) fn join(&mut self) -> Result<()> {
        let (mut asked, mut progress, mut seen) = (0, Instant::now(), self.joined);
        loop {
            if self.joined == self.members.len() {
                return Ok(());
            }
            while asked < self.members.len() && asked < self.joined + OPENING {
                let member = &mut self.members[asked];
                if member.phase == Phase::Connected {
                    let room = format!("channel:{}", channel(member.identity.room));
                    member.send(subscribe_packet(0, &[room]).as_bytes())?;
                }
                asked += 1;
            }
            if seen != self.joined {
                (seen, progress) = (self.joined, Instant::now());
            }
            ensure!(
                progress.elapsed() < STALLED,
                "only {} clients have subscribed",
                self.joined
            );
            self.turn(Duration::from_millis(10))?;
        }
    }

    /// Ends these connections with a reset.
    pub(crate) fn cut(&mut self, clients: &[usize]) -> Result<()> {
        for client in clients {
            let member = &mut self.members[*client];
            let Some(mut stream) = member.stream.take() else {
                continue;
            };
            self.connected -= usize::from(matches!(member.phase, Phase::Connected | Phase::Joined));
            self.joined -= usize::from(member.phase == Phase::Joined);
            member.phase = Phase::Away;
            member.partial = Vec::new();
            self.poll.registry().deregister(&mut stream)?;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        // What is known of a connection says nothing of the next one.
        let members = &self.members;
        self.waiting
            .retain(|(client, _)| members[*client].stream.is_some());
        Ok(())
    }

    /// Sends `command` from each of these clients.
    pub(crate) fn ask(&mut self, clients: std::ops::Range<usize>) -> Result<()> {
        for client in clients {
            let command = std::mem::take(&mut self.command);
            let member = &mut self.members[client];
            member.asked_ns = self.clock.now_ns();
            member.send(&command)?;
            self.command = command;
        }
        Ok(())
    }

    /// Waits at most so long for anything to come, and reads all that has come; of clients that may wait, some.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<()> {
        let wait = if self.waiting.is_empty() {
            wait
        } else {
            Duration::ZERO
        };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let (client, writable) = (event.token().0, event.is_writable());
            if self.may_wait.get(client) == Some(&true) {
                self.waiting.push_back((client, writable));
            } else {
                self.serve(client, writable)?;
            }
        }
        self.events = events;
        let begin = Instant::now();
        while begin.elapsed() < SLICE
            && let Some((client, writable)) = self.waiting.pop_front()
        {
            self.serve(client, writable)?;
        }
        Ok(())
    }

    fn serve(&mut self, client: usize, writable: bool) -> Result<()> {
        let member = &mut self.members[client];
        if writable && member.phase == Phase::Away {
            let Some(stream) = &mut member.stream else {
                return Ok(());
            };
            if let Some(error) = stream.take_error()? {
                return Err(error).context("a client cannot connect");
            }
            stream
                .write_all(upgrade_request(self.port, "").as_bytes())
                .context("the upgrade does not fit")?;
            member.phase = Phase::Upgrading;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read(client, &mut buffer);
        self.buffer = buffer;
        result.with_context(|| format!("client {client}"))?;
        match self.broken.take() {
            Some(error) => Err(error.context(format!("client {client}"))),
            None => Ok(()),
        }
    }

    fn read(&mut self, client: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let member = &mut self.members[client];
            let Some(stream) = &mut member.stream else {
                return Ok(());
            };
            let kept = member.partial.len();
            buffer[..kept].copy_from_slice(&member.partial);
            let read = match stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err(member.ended("the end of the stream")),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(member.ended(&error.to_string())),
            };
            member.partial.clear();
            let end = kept + read;
            self.take(client, &mut buffer[..end])?;
            // The kernel had no more: with edge-triggered readiness the next byte brings another event.
            if end < buffer.len() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, client: usize, bytes: &mut [u8]) -> Result<()> {
        let mut begin = 0;
        if self.members[client].phase == Phase::Upgrading {
            let Some(end) = head_end(bytes) else {
                self.members[client].partial.extend_from_slice(bytes);
                return Ok(());
            };
            ensure!(
                bytes.starts_with(b"HTTP/1.1 101 "),
                "not upgraded: {}",
                String::from_utf8_lossy(&bytes[..end])
            );
            self.members[client].phase = Phase::Opening;
            begin = end;
        }
        let now = self.clock.now_ns();
        let taken = take_frames(&mut bytes[begin..], |packet| {
            if let Err(error) = self.packet(client, packet, now) {
                self.broken.get_or_insert(error);
            }
        });
        let member = &mut self.members[client];
        let taken = taken.ok_or_else(|| member.ended("a Close frame, or none of a server's"))?;
        member.partial.extend_from_slice(&bytes[begin + taken..]);
        Ok(())
    }

    fn packet(&mut self, client: usize, packet: &[u8], now: u64) -> Result<()> {
        if let Some((ack, stamp)) = read_event(packet) {
            self.tally.delivered(client, stamp, now);
            let member = &mut self.members[client];
            if self.keep_cursors
                && let Some(cursor) = cursor_of(packet)
            {
                member.cursor.clear();
                member.cursor.extend_from_slice(cursor);
            }
            if let Some(id) = ack {
                member.send(format!("43{id}[]").as_bytes())?;
                self.tally.answered += 1;
            }
            return Ok(());
        }
        let member = &mut self.members[client];
        match packet {
            b"2" => member.send(b"3"),
            [b'0', ..] => {
                let room = format!("channel:{}", channel(member.identity.room));
                let cursor = String::from_utf8_lossy(&member.cursor).into_owned();
                let rooms: &[String] = if cursor.is_empty() { &[] } else { &[room] };
                member.send(connect_packet(&member.identity.token, &cursor, rooms).as_bytes())
            }
            [b'4', b'0', ..] => {
                self.connected += 1;
                member.phase = Phase::Connected;
                if !member.cursor.is_empty() {
                    member.phase = Phase::Joined;
                    self.joined += 1;
                }
                Ok(())
            }
            [b'4', b'3', ..] => self.acknowledged(client, packet, now),
            [b'4', b'2', ..] => self.own_event(client, packet),
            // Of Engine.IO and of Socket.IO: close, disconnect.
            b"1" | b"41" => Err(member.ended(&head(packet))),
            _ => bail!("unexpected packet {}", head(packet)),
        }
    }

    fn acknowledged(&mut self, client: usize, packet: &[u8], now: u64) -> Result<()> {
        ensure!(
            is_success(&String::from_utf8_lossy(packet)),
            "a command failed: {}",
            head(packet)
        );
        let member = &mut self.members[client];
        if member.asked_ns == 0 {
            ensure!(
                member.phase == Phase::Connected,
                "an acknowledgement that was not asked for"
            );
            member.phase = Phase::Joined;
            self.joined += 1;
            return Ok(());
        }
        self.tally.acknowledged(now.saturating_sub(member.asked_ns));
        member.asked_ns = 0;
        if self.command.is_empty() {
            return Ok(());
        }
        self.ask(client..client + 1)
    }

    /// An event of the server's own.
    fn own_event(&mut self, client: usize, packet: &[u8]) -> Result<()> {
        let is = |name: &str| packet[2..].starts_with(format!("[\"{name}\"").as_bytes());
        if is("resync_required") {
            bail!(BrokenPromise(head(packet)));
        }
        ensure!(
            is("connection_established") || is("cursor"),
            "unexpected event {}",
            head(packet)
        );
        if let Some(cursor) = cursor_of(packet).filter(|_| self.keep_cursors) {
            self.members[client].cursor = cursor.to_vec();
        }
        Ok(())
    }
}

fn head(packet: &[u8]) -> String {
    String::from_utf8_lossy(packet).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::frames::push_server_frame;
    use super::*;

    /// What the turn ends with in which a subscribed client is sent this packet.
    fn sent(packet: &str) -> anyhow::Error {
        let identity = Identity {
            token: String::new(),
            room: 0,
        };
        let mut swarm = Swarm::new(0, Clock::start(), vec![identity], 1).expect("epoll");
        swarm.members[0].phase = Phase::Joined;
        let mut frame = Vec::new();
        push_server_frame(&mut frame, packet.as_bytes());
        swarm.take(0, &mut frame).expect("a whole frame");
        swarm.serve(0, false).expect_err("the packet is wrong")
    }

    #[test]
    fn a_resync_is_a_broken_promise_and_an_unknown_event_is_not() {
        let resync = sent(r#"42["resync_required",{"reason":"evicted"}]"#);
        assert!(resync.is::<BrokenPromise>(), "{resync:#}");
        let unknown = sent(r#"42["unknown",{}]"#);
        assert!(!unknown.is::<BrokenPromise>(), "{unknown:#}");
    }

    #[test]
    fn a_subscribed_client_whose_connection_is_ended_is_a_broken_promise() {
        for packet in ["1", "41"] {
            let end = sent(packet);
            assert!(end.is::<BrokenPromise>(), "{end:#}");
        }
    }
}
