//! A client that counts the events that it is sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::{EVENT, ROOM};
use crate::bench::frames::{head_end, push_client_frame, take_frames, upgrade_request};
use crate::protocol::subscribe_packet;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// One in [`ROOM`], on a thread of its own.
pub(super) struct Listener {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Listener {
    /// `connect`: the packet that connects the namespace. Waits until it is in the room.
    pub(super) fn join(port: u16, connect: &str) -> Result<Self> {
        let mut link = Connection::open(port)?;
        link.send(connect)?;
        link.wait_for("40")?;
        link.send(&subscribe_packet(0, &[ROOM.to_owned()]))?;
        link.wait_for("430")?;
        let (received, stop) = (Arc::default(), Arc::default());
        let (counted, stopped) = (Arc::clone(&received), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("listener".to_owned());
        let thread = thread.spawn(move || link.count(&counted, &stopped))?;
        Ok(Self {
            received,
            stop,
            thread,
        })
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn leave(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("a listener panicked"))?
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.write_all(upgrade_request(port, "").as_bytes())?;
        let mut connection = Self {
            stream,
            unread: Vec::new(),
        };
        let begin = Instant::now();
        while head_end(&connection.unread).is_none() {
            ensure!(begin.elapsed() < CONNECT_TIMEOUT, "it is not upgraded");
            connection.read()?;
        }
        let end = head_end(&connection.unread).context("a head")?;
        connection.unread.drain(..end);
        Ok(connection)
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        let mut frame = Vec::new();
        push_client_frame(&mut frame, packet.as_bytes());
        self.stream.write_all(&frame).context("cannot send")
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(anyhow!("the server has closed the connection")),
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(())
            }
            Err(error) => Err(error).context("the connection has broken"),
        }
    }

    /// Gives how many packets of those that came satisfy `wanted`. Pings are answered.
    fn take(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<u64> {
        let (mut found, mut pings) = (0, 0);
        let taken = take_frames(&mut self.unread, |packet| {
            pings += u32::from(packet == b"2");
            found += u64::from(wanted(packet));
        });
        self.unread
            .drain(..taken.context("the server closes the connection")?);
        for _ in 0..pings {
            self.send("3")?;
        }
        Ok(found)
    }

    fn wait_for(&mut self, start: &str) -> Result<()> {
        let begin = Instant::now();
        while self.take(|packet| packet.starts_with(start.as_bytes()))? == 0 {
            ensure!(begin.elapsed() < CONNECT_TIMEOUT, "no packet {start} came");
            self.read()?;
        }
        Ok(())
    }

    fn count(mut self, received: &AtomicU64, stop: &AtomicBool) -> Result<()> {
        let event = format!("42[\"{EVENT}\"");
        while !stop.load(Ordering::Relaxed) {
            self.read()?;
            let more = self.take(|packet| packet.starts_with(event.as_bytes()))?;
            received.fetch_add(more, Ordering::Relaxed);
        }
        Ok(())
    }
}
